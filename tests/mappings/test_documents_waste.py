"""Waste documents in every form: what is found in them, what becomes of them, and that encoders and forms agree."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import waste_samples as ws
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents import interchange, kinds
from mappings.documents import waste as w
from mappings.documents.wasteforms import encode_message
from mappings.documents.wasteledger import TABLES, encode_ledger, encode_row
from mappings.documents.wasterules import weights_differ

ORDER = next((Path(__file__).parents[1] / "payloads").glob("23_*.json"))
SIGNED = {
    "vehicleNumber1": "浙A12345",
    "licenseNumber1": "330100000001",
    "forbiddenEmergency": "防火",
    "mainIngredient": "矿物油",
    "passBy1": "杭州",
    "transportPurpose": "利用",
    "wasteForm": "液态",
    "wasteFeatures": "T,I",
    "wastePackageType": "桶",
}
CONSUMED = {
    "finalWeight": 290,
    "certNumber": "浙危废经第1号",
    "disposeType": "R9",
    "storeType": "罐",
    "usageType": "再生",
}


def order(**changes):
    return {**json.loads(ORDER.read_text("utf-8")), "wasteType": "HW08", **changes}


def test_the_sample_order_is_rejected_for_its_category_and_flagged_for_its_unit():
    judgement = ws.judged(ORDER.read_bytes())
    assert [(f.code, f.severity, f.field, f.wire) for f in judgement.findings] == [
        ("UNIT_MISSING", "flag", "unit", ""),
        ("WASTE_CATEGORY_MISMATCH", "reject", "category", "wasteType"),
    ]
    assert judgement.record is None


def test_an_order_keeps_companies_and_no_people():
    document = ws.judged(order()).record
    assert (document.code, document.category, document.weight, document.unit) == ("900-214-08", "HW08", 300, "kg")
    assert document.producer == w.OrderParty(
        id="20200108142040696SCP657494",
        name="渔港（接口测试勿删）",
        kind="2",
        province="330000",
        city="331000",
        area="331002",
    )
    assert document.issuer == document.producer.id
    assert document.status == "1"
    assert "13100000000" not in document.content().decode()
    assert "小明" not in document.content().decode()


def test_an_order_names_the_company_that_sent_it_and_is_the_same_when_it_comes_again():
    first = ws.judged(order(), company=ws.SHOP).record
    later = ws.judged(order(), company=ws.SHOP).record
    assert first.issuer == ws.SHOP
    assert first.identity == later.identity
    assert ws.judged(order(proxyNo="77"), company=ws.SHOP).record.number == "77"
    assert ws.judged(order(weight=301), company=ws.SHOP).record.number != first.number


@pytest.mark.parametrize(
    ("changes", "status", "codes"),
    [
        ({}, "1", []),
        (SIGNED, "2", []),
        ({**SIGNED, **CONSUMED}, "3", []),
        (CONSUMED, "1", []),
        ({**SIGNED, **CONSUMED, "status": "1"}, "1", []),
        ({**SIGNED, **CONSUMED, "weight": 2200, "finalWeight": 2100}, "3", []),  # 100 kg are not more than 0.1 t
        ({**SIGNED, **CONSUMED, "weight": 2000, "finalWeight": 1890}, "3", ["WEIGHT_DIFFERENCE"]),
        ({**SIGNED, **CONSUMED, "weight": 300, "finalWeight": 199}, "3", ["WEIGHT_DIFFERENCE"]),
        ({**SIGNED, **CONSUMED, "weight": 3000, "finalWeight": 2890}, "3", []),  # 3.7 %
        ({**SIGNED, **CONSUMED, "weight": 2, "finalWeight": 1.8, "wasteUnit": "吨"}, "3", ["WEIGHT_DIFFERENCE"]),
    ],
)
def test_the_flow_of_an_order(changes, status, codes):
    judgement = ws.judged(order(**{"wasteUnit": "kg", **changes}))
    assert [f.code for f in judgement.findings] == codes
    assert judgement.record.status == status


@pytest.mark.parametrize(("body", "party"), [(SIGNED, "transporter"), (CONSUMED, "consumer")])
def test_follow_up_calls_are_signatures_under_the_number_of_their_path(body, party):
    judgement = ws.judged({**body, "proxyNo": "20240001"}, company=ws.SHOP)
    assert judgement.findings == ()
    document = judgement.record
    assert (document.KIND, document.order, document.party, document.number) == (
        "waste-signature",
        "20240001",
        party,
        f"20240001:{party}",
    )
    assert (document.transport is None, document.consumption is None) == (party == "consumer", party == "transporter")
    assert ws.found(body) == [("MANDATORY_MISSING", "order")]


APPROVED = {"state": "APPROVED", "day": "20240502"}
CASES = [
    ("waste-event", {"code": "900-21-08"}, "WASTE_CODE_FORMAT", "code", "reject"),
    ("waste-event", {"code": "900-213-08"}, "WASTE_CODE_UNKNOWN", "code", "flag"),
    ("waste-event", {"code": "900-044-49", "category": "HW49"}, "WASTE_CODE_OLD", "code", "flag"),
    ("waste-event", {"category": "HW09"}, "WASTE_CATEGORY_MISMATCH", "category", "reject"),
    ("waste-event", {"code": "HW09-900-214-08"}, "WASTE_CATEGORY_MISMATCH", "code", "reject"),
    ("waste-event", {"category": "废油"}, "CODE_NOT_IN_TABLE", "category", "reject"),
    ("waste-event", {"code": "无"}, "MANDATORY_MISSING", "code", "reject"),
    ("waste-event", {"unit": None}, "UNIT_MISSING", "unit", "flag"),
    ("waste-event", {"unit": "升"}, "CODE_NOT_IN_TABLE", "unit", "reject"),
    ("waste-event", {"quantity": "少许"}, "WEIGHT_NOT_NUMERIC", "quantity", "reject"),
    ("waste-event", {"quantity": 0}, "WEIGHT_NOT_POSITIVE", "quantity", "reject"),
    ("waste-event", {"quantity": []}, "STRUCTURE_WRONG", "quantity", "reject"),
    ("waste-event", {"quantity": -1}, "RED_WITHOUT_ORIGINAL", "reverses", "reject"),
    ("waste-event", {"reverses": "E-1"}, "RED_WITHOUT_ORIGINAL", "reverses", "reject"),
    ("waste-event", {"event": "burnt"}, "CODE_NOT_IN_TABLE", "event", "reject"),
    ("waste-event", {"day": "20241301"}, "DATE_FORMAT", "day", "reject"),
    ("waste-event", {"day": "20240603"}, "DAY_IN_FUTURE", "day", "reject"),
    ("waste-event", {"batch": "HWRK20240520001"}, "BATCH_CODE_FORMAT", "batch", "flag"),
    ("waste-event", {"batch": "B-7"}, "BATCH_CODE_FORMAT", "batch", "flag"),
    ("waste-event", {"handler": "李四"}, "UNKNOWN_MEMBER", "handler", "info"),
    ("waste-event", {"name": "油" * 201}, "TOO_LONG", "name", "reject"),
    ("waste-manifest", {"received": "0.9"}, "WEIGHT_DIFFERENCE", "received", "flag"),
    ("waste-manifest", {"number": "ZY20240614002"}, "MANIFEST_NUMBER_FORMAT", "number", "info"),
    ("waste-manifest", {"state": "APPROVED"}, "MANIFEST_STATE", "state", "reject"),
    ("waste-manifest", {"steps": [APPROVED]}, "MANIFEST_STATE", "steps[0].state", "reject"),
    ("waste-manifest", {"steps": [7]}, "STRUCTURE_WRONG", "steps[0]", "reject"),
    ("waste-manifest", {"steps": []}, "STRUCTURE_WRONG", "steps", "reject"),
    ("waste-manifest", {"steps": [{"state": "x"}]}, "CODE_NOT_IN_TABLE", "steps[0].state", "reject"),
    ("waste-manifest", {"steps": [{"state": "SUBMITTED"}]}, "MANDATORY_MISSING", "steps[0].day", "reject"),
    ("waste-manifest", {"origin": "999999"}, "CODE_NOT_IN_TABLE", "origin", "reject"),
    ("waste-licence", {"validto": "2021-01-01"}, "DATE_ORDER", "validfrom", "reject"),
    ("waste-licence", {"scopes": None}, "MANDATORY_MISSING", "scopes", "reject"),
    ("waste-licence", {"scopes": [{"category": "?"}]}, "CODE_NOT_IN_TABLE", "scopes[0].category", "reject"),
    ("waste-licence", {"standing": "?"}, "CODE_NOT_IN_TABLE", "standing", "reject"),
    ("waste-plan", {"year": "24"}, "DATE_FORMAT", "year", "reject"),
    ("waste-plan", {"state": "?"}, "CODE_NOT_IN_TABLE", "state", "reject"),
    ("waste-plan", {"unit": "件"}, "CODE_NOT_IN_TABLE", "unit", "reject"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["strict", "lenient"])
@pytest.mark.parametrize(("kind", "changes", "code", "field", "severity"), CASES)
def test_code(kind, changes, code, field, severity, name):
    judgement = ws.judged({**ws.SAMPLES[kind], **changes}, name)
    wanted = "flag" if (code, name) == ("TOO_LONG", "lenient") else severity
    assert [f.severity for f in judgement.findings if (f.code, f.field) == (code, field)] == [wanted]
    assert (judgement.record is None) == any(f.severity == "reject" for f in judgement.findings)


@pytest.mark.parametrize("kind", ws.SAMPLES)
def test_clean_samples_have_no_finding(kind):
    judgement = ws.judged(ws.SAMPLES[kind])
    assert judgement.findings == ()
    assert judgement.record.KIND == judgement.kind == kind
    assert judgement.record.issuer == ws.SHOP


def test_a_manifest_in_tonnes_is_kept_in_kilograms():
    document = ws.judged(ws.MANIFEST).record
    assert (document.quantity, document.received, document.unit, document.state) == (1200, 1180, "kg", "RECEIVED")
    assert [step.state for step in document.steps] == ["SUBMITTED", "APPROVED", "IN_TRANSIT", "RECEIVED"]


def test_a_red_entry_is_below_zero_however_its_sign_was_written():
    for quantity in ("4.5", -4.5):
        document = ws.judged({**ws.EVENT, "number": "E-2", "reverses": "E-1", "quantity": quantity}).record
        assert (document.quantity, document.reverses) == (Decimal("-4.5"), "E-1")


def test_a_row_of_the_public_manifest_table():
    row = {
        "tmanifestid": "20243301000001",
        "transappcode": "P-1",
        "generatorname": "杭州某某汽车维修有限公司",
        "transunitname": "某某运输",
        "receivername": "某某环保",
        "wastename": "废机油",
        "wastetype": "HW08",
        "wastecode": "900-214-08",
        "wasteamount": "0.3",
        "wasteunit": "吨",
        "initiatedate": "2024-05-04",
        "businessstate": "已发运",
    }
    judgement = ws.judged(row, company=ws.SHOP)
    assert (judgement.findings, judgement.dialect) == ((), "waste-manifest")
    document = judgement.record
    assert (document.issuer, document.state, document.quantity, document.day) == (
        ws.SHOP,
        "IN_TRANSIT",
        300,
        date(2024, 5, 4),
    )


GENERATED = {
    "产生批次编码": "HWCS20240520001",
    "产生时间": "2024-05-20 16:00:00",
    "危险废物名称": "废机油",
    "危险废物类别": "HW08 废矿物油与含矿物油废物",
    "危险废物代码": "900-214-08",
    "产生量": "0.0045",
    "计量单位": "吨",
    "容器/包装编码": "T-1",
    "容器/包装类型": "桶",
    "容器/包装数量": "1",
    "产生设施编码": "MF0001",
    "产生部门经办人": "李四",
    "去向": "贮存",
}


def test_a_ledger_row_of_the_standard_becomes_an_event_without_its_people():
    judgement = ws.judged(GENERATED, company=ws.SHOP)
    assert judgement.findings == ()
    assert judgement.record == w.WasteEvent(
        issuer=ws.SHOP,
        number="HWCS20240520001",
        day=date(2024, 5, 20),
        event="generated",
        category="HW08",
        code="900-214-08",
        name="废机油",
        quantity=Decimal("4.5"),
        unit="kg",
        batch="HWCS20240520001",
        destination="贮存",
        facility="MF0001",
        containercode="T-1",
        containertype="桶",
        containers=Decimal(1),
    )
    assert "李四" not in judgement.record.content().decode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_ledger_row_in_csv_is_the_same_event(encoding, separator):
    text = separator.join(GENERATED) + "\r\n" + separator.join(GENERATED.values()) + "\r\n"
    judgement = ws.judged(text.encode(encoding), company=ws.SHOP)
    assert (judgement.dialect, judgement.findings) == ("waste-ledger-csv", ())
    assert judgement.record == ws.judged(GENERATED, company=ws.SHOP).record


def test_several_rows_in_one_payload_are_refused():
    row = ",".join(GENERATED.values())
    body = "\n".join([",".join(GENERATED), row, row]).encode()
    assert ws.found(body, company=ws.SHOP) == [("STRUCTURE_WRONG", "rows")]


@pytest.mark.parametrize(
    ("method", "event"), [("R9", "used"), ("利用", "used"), ("D10", "disposed"), ("", "disposed"), (None, "disposed")]
)
def test_what_a_shop_treated_itself_was_used_or_disposed_of(method, event):
    row = {
        "自行利用/处置批次编码": "HWLY1",
        "自行利用/处置时间": "2024-05-20",
        "危险废物代码": "900-214-08",
        "自行利用/处置量": 3,
        "计量单位": "kg",
        "自行利用/处置方式": method,
    }
    assert ws.judged(row, company=ws.SHOP).record.event == event


LEDGER_EVENTS = [table.event for table in TABLES]


@given(st.sampled_from(LEDGER_EVENTS).flatmap(lambda event: ws.events(event=event)))
def test_a_ledger_row_is_read_as_what_was_written_as_far_as_its_table_goes(document):
    table = next(table for table in TABLES if table.event == document.event)
    carried = {*table.columns, "event", "issuer", "number", "category", "name"}
    number = document.batch or document.number
    expected = {name: value for name, value in document.members().items() if name in carried}
    expected |= {"number": number, "batch": number, "event": expected["event"]}
    if document.event == "disposed" and (document.method or "").upper().startswith(("R", "利用")):
        expected["event"] = "used"
    judgement = ws.judged(encode_row(document), dialect="waste-ledger-csv")
    assert {f.code for f in judgement.findings} <= {"BATCH_CODE_FORMAT"}
    assert judgement.record == w.WasteEvent.of_members(expected)


def test_entries_of_several_tables_are_no_one_ledger():
    entries = [ws.judged({**ws.EVENT, "event": event, "batch": None}).record for event in ("generated", "stored")]
    with pytest.raises(ValueError, match="one ledger table"):
        encode_ledger(entries)
    with pytest.raises(ValueError, match="one ledger table"):
        encode_ledger([])
    assert encode_ledger([entries[0]] * 2).count(b"\n") == 3


@pytest.mark.parametrize("strategy", [ws.events(), ws.manifests(), ws.licences(), ws.plans()])
def test_messages_and_interchange_are_read_as_what_was_written(strategy):
    provenance = {"system": "33", "dialect": "waste", "received_at": "2024-06-01T10:00:00+08:00"}

    @given(strategy)
    def same(document):
        message = ws.judged(encode_message(document))
        assert [f for f in message.findings if f.severity == "reject"] == []
        assert message.record == document
        assert message.record.content() == document.content()
        assert ws.judged(interchange.encode_document(document, provenance)).record == document

    same()


@pytest.mark.parametrize("amount", ["1E+20", "1e999", "0.00001", "NaN", "1" * 17])
def test_no_document_holds_an_amount_that_no_partner_may_state(amount):
    document = ws.judged(ws.EVENT).record
    with pytest.raises(ValueError, match="quantity"):
        w.WasteEvent.of_members({**document.members(), "quantity": amount})


def test_derived_kinds_travel_in_our_own_form_too():
    case = w.WasteCase(
        issuer=ws.SHOP,
        number="undeclared:900-214-08:2024-05",
        day=date(2024, 5, 1),
        reason="undeclared",
        severity="breach",
        expected=Decimal("7.5"),
        records=1,
        evidence=(w.Evidence(key="33|1|2", day=date(2024, 5, 2), what="repair", quantity=Decimal("3.5"), unit="kg"),),
    )
    assert ws.judged(encode_message(case)).record == case
    broken = orjson.loads(encode_message(case)) | {"reason": "whim", "records": None}
    assert {field for _, field in ws.found(broken)} == {"reason", "records"}
    assert ws.found({"schema": "vingate.waste/1", "kind": "repair"}) == [("CODE_NOT_IN_TABLE", "kind")]


def test_every_kind_is_registered():
    for name in [name for name in kinds.KINDS if name.startswith("waste-")]:
        assert name == kinds.kind(name).KIND


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_objects = st.dictionaries(st.sampled_from(["state", "day", "category", "id", "x"]), _scalars, max_size=3)
_json = _scalars | _objects | st.lists(_scalars | _objects, max_size=3)
_SIGNATURES = [{**body, "proxyNo": "1"} for body in (SIGNED, CONSUMED)]
_BASES = [*ws.SAMPLES.values(), order(**SIGNED, **CONSUMED), *_SIGNATURES, GENERATED]


@given(st.data())
def test_no_member_of_any_kind_breaks_a_form(data):
    base = data.draw(st.sampled_from(_BASES))
    changes = {name: data.draw(_json) for name in data.draw(st.lists(st.sampled_from(sorted(base)), max_size=4))}
    judgement = ws.judged(json.dumps({**base, **changes}).encode())
    if judgement.record is None:
        assert judgement.rejected
    else:
        assert type(judgement.record).of_members(judgement.record.members()) == judgement.record


def test_weights_differ_only_beyond_both_bounds():
    assert not weights_differ(Decimal(300), Decimal(290), 5, 100)
    assert not weights_differ(Decimal(100), Decimal(0), 5, 100)
    assert weights_differ(Decimal(101), Decimal(0), 5, 100)
    assert weights_differ(Decimal(1000), Decimal(1101), 5, 100)
