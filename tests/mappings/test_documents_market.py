"""Documents of the market: forms in, encodings out, and what each of them is known by."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mappings.documents.interchange import encode_document
from mappings.documents.kinds import KINDS, kind
from mappings.documents.market import DefectLead, encode_defect_lead
from mappings.documents.roadadmin import OperatorNotice, encode_operator_notices
from mappings.documents.usedcars import (
    ExportCertificate,
    History,
    HistoryReport,
    Visit,
    encode_export_certificate,
    encode_history_flags,
    encode_history_records,
)
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read

ORDER = {
    "orderNo": "A1",
    "requester": "91330100799655058B",
    "requesterName": "某某汽车出口有限公司",
    "purpose": "export",
    "approval": "商建〔2026〕1号",
    "exportProof": "EX-1",
    "vin": "LSVAL41Z882104202",
    "orderDate": "2026-11-01",
}
FILING = {
    "filingNo": "BA330106-1",
    "operatorCode": "330106000000001",
    "operatorName": "杭州某某汽车维修有限公司",
    "uscc": "91330100799655058B",
    "division": "330106",
    "state": "1",
    "filedDate": "20260105",
}
RECTIFICATION = {
    "rectificationNo": "ZG-7",
    "authority": "杭州市交通运输局",
    "companyCode": "330106000000001",
    "matter": "2",
    "orderedDate": "2026/9/1",
    "deadline": "20260930",
}
HISTORY = History(
    carcomponentrecordsflag=1,
    carconstructrecordsflag=0,
    odometerflag=0,
    lastmaintaintime="2026-04",
    lastrepairtime=None,
    maintaintimes=1,
    mileageestimate="60000-70000",
    visits=(Visit(month="2026-04", category="maintenance", groups=("engine",), mileagefrom=60_000),),
)
NONE = HISTORY.model_copy(
    update={"visits": (), "carcomponentrecordsflag": 0, "lastmaintaintime": None, "mileageestimate": None}
)
REPORT = HistoryReport(
    issuer="44",
    requester="R",
    order="A1",
    purpose="trade",
    approval="P1",
    vin="LSVAL41Z882104202",
    day=date(2026, 11, 1),
    history=HISTORY,
)
CERTIFICATE = ExportCertificate(
    issuer="44",
    requester="R",
    requestername="某某",
    order="A1",
    approval="P1",
    exportproof="E1",
    vin="LSVAL41Z882104202",
    maker="上汽大众",
    day=date(2026, 11, 1),
    history=HISTORY,
)
LEAD = DefectLead(
    issuer="44",
    number="0a" * 12,
    model="LSVAL41Z",
    maker="上汽大众",
    region="44",
    month="2026-09",
    mileagefrom=40_000,
    mileageto=50_000,
    fault="发动机异响",
    part=None,
    partcode=None,
    count=12,
    evidence="ab" * 32,
)
NOTICE = OperatorNotice(
    issuer="33",
    companycode="330106000000001",
    notice="rectification-overdue",
    since=date(2026, 9, 30),
    day=date(2026, 10, 1),
    authority="杭州市交通运输局",
    rectification="ZG-7",
    matter="2",
)


def judged(payload: dict[str, Any], rules: str = "strict"):
    body = json.dumps(payload, ensure_ascii=False).encode()
    return judge(read(body), Context(profile(rules), datetime(2026, 11, 2, tzinfo=UTC)))


def codes(payload, rules="strict"):
    return {(one.code, one.field) for one in judged(payload, rules).findings}


@pytest.mark.parametrize(
    ("payload", "form", "identity"),
    [
        (ORDER, "history-order", ("91330100799655058B", "A1", date(2026, 11, 1), "LSVAL41Z882104202")),
        (FILING, "operator-filing", ("330106000000001", "BA330106-1", date(2026, 1, 5), "")),
        (RECTIFICATION, "rectification", ("330106000000001", "杭州市交通运输局:ZG-7", date(2026, 9, 1), "")),
    ],
)
def test_what_comes_in_is_recognised_and_clean(payload, form, identity):
    found = judged(payload)
    assert (found.dialect, found.kind, found.findings) == (form, form, ())
    assert found.record.identity == identity


@pytest.mark.parametrize(
    ("payload", "changes", "finding"),
    [
        (ORDER, {"approval": "无"}, ("MANDATORY_MISSING", "approval")),
        (ORDER, {"exportProof": ""}, ("MANDATORY_MISSING", "exportproof")),
        (ORDER, {"purpose": "resale"}, ("CODE_NOT_IN_TABLE", "purpose")),
        (ORDER, {"purpose": ["export"]}, ("STRUCTURE_WRONG", "purpose")),
        (ORDER, {"vin": "LSVAL41Z"}, ("VIN_LENGTH", "vin")),
        (ORDER, {"orderDate": "20261332"}, ("DATE_FORMAT", "day")),
        (ORDER, {"orderNo": "1" * 51}, ("TOO_LONG", "number")),
        (ORDER, {"ownerPhone": "13800000012"}, ("UNKNOWN_MEMBER", "ownerPhone")),
        (FILING, {"uscc": "91330100799655058C"}, ("USCC_CHECK_CHAR", "companyunifiedsocialcreditidentifier")),
        (FILING, {"division": "990106"}, ("CODE_NOT_IN_TABLE", "companyadministrativedivisioncode")),
        (FILING, {"state": "8"}, ("CODE_NOT_IN_TABLE", "companyoperationstate")),
        (FILING, {"operatorName": None}, ("MANDATORY_MISSING", "companyname")),
        (RECTIFICATION, {"deadline": "20260801"}, ("DATE_ORDER", "day")),
        (RECTIFICATION, {"completedDate": "20260801"}, ("DATE_ORDER", "day")),
        (RECTIFICATION, {"matter": "7"}, ("CODE_NOT_IN_TABLE", "matter")),
    ],
)
def test_findings(payload, changes, finding):
    found = judged({**payload, **changes})
    assert finding in {(one.code, one.field.rpartition(".")[2]) for one in found.findings}
    assert found.rejected == (finding[0] != "UNKNOWN_MEMBER")
    assert "13800000012" not in repr(found)


def test_lenient_reads_a_purpose_by_its_words():
    assert judged({**ORDER, "purpose": "二手车出口"}, "lenient").record.purpose == "export"


def test_all_findings_come_at_once():
    wrong = {**ORDER, "approval": None, "vin": "", "orderDate": "x", "purpose": "?"}
    assert len([one for one in judged(wrong).findings if one.severity == "reject"]) == 4


@given(
    st.sampled_from([ORDER, FILING, RECTIFICATION]),
    st.dictionaries(
        st.sampled_from(sorted({*ORDER, *FILING, *RECTIFICATION})),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.lists(st.text(max_size=3))),
    ),
)
def test_no_payload_makes_the_judge_raise(payload, changes):
    found = judged({**payload, **changes})
    assert found.rejected or found.record is not None


@pytest.mark.parametrize("document", [REPORT, CERTIFICATE, LEAD, NOTICE], ids=lambda one: one.KIND)
def test_our_own_form_gives_the_same_document_again(document):
    assert kind(document.KIND) is type(document)
    sent = encode_document(document, {"system": "44", "dialect": "derived", "received_at": "2026-11-01T10:00:00+08:00"})
    found = judge(read(sent), Context(profile("strict"), datetime(2026, 11, 2, tzinfo=UTC)))
    assert found.record == document


def test_every_kind_is_loaded_by_its_name():
    assert {name: kind(name).KIND for name in KINDS} == {name: name for name in KINDS}


def test_a_lead_has_no_owner_block_and_no_vehicle():
    told = json.loads(encode_defect_lead(LEAD))
    assert set(told) == {"schema", "leadNo", "issuer", "vehicle", "defect", "evidence"}
    assert (told["vehicle"]["model"], told["defect"]["regionName"], told["defect"]["count"]) == (
        "LSVAL41Z",
        "广东省",
        12,
    )


@pytest.mark.parametrize("change", [{"model": "LSVAL41Z882104202"}, {"count": 1}, {"month": "2026-13"}, {"vin": "x"}])
def test_a_lead_that_tells_too_much_is_no_lead(change):
    with pytest.raises(ValidationError):
        DefectLead(**{**LEAD.model_dump(), **change})


def test_used_car_answers_have_the_names_and_codes_of_the_market():
    flags = json.loads(encode_history_flags(REPORT))
    assert (flags["code"], flags["orderNo"]) == (10000, "A1")
    assert set(flags["data"]) == {
        "vin",
        "carComponentRecordsFlag",
        "carConstructRecordsFlag",
        "lastMainTainTime",
        "lastRepairTime",
        "mainTainTimes",
        "mileageEstimate",
    }
    records = json.loads(encode_history_records(REPORT))
    assert (records["code"], records["data"]["records"][0]["month"]) == (200, "2026-04")
    empty = json.loads(encode_history_records(REPORT.model_copy(update={"history": NONE})))
    assert (empty["code"], empty["data"]) == (404, None)


def test_what_is_signed_of_a_certificate_is_canonical():
    body = encode_export_certificate(CERTIFICATE)
    assert body == json.dumps(json.loads(body), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def test_the_list_for_road_administration_is_one_of_a_set():
    other = NOTICE.model_copy(update={"notice": "silent", "rectification": None, "authority": None, "matter": None})
    body = encode_operator_notices([NOTICE, other, NOTICE])
    assert body == encode_operator_notices([other, NOTICE])
    assert [one["notice"] for one in json.loads(body)["notices"]] == ["rectification-overdue", "silent"]
    assert "tel" not in body.decode().lower()
