"""What insurers send: the assessment's XML, hostile or honest, and the estimate; and the answers to them."""

import re
from datetime import date
from decimal import Decimal

import document_samples as s
import orjson
import pytest
from document_samples import DROP, FORMS, VIN, changed, judged, seen
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents import lossxml
from mappings.documents.claimforms import answer_assessment, answer_estimate, encode_assessment, encode_estimate
from mappings.documents.claims import (
    POLICIES,
    SUMS,
    AccidentRepair,
    ApprovedWork,
    Assessment,
    Damage,
    Estimate,
    FittedPart,
    WorkSum,
    encode_claim,
    holder,
)

XML = (s.PAYLOADS / "insurers/loss-assessment.xml").read_bytes()
TEXT = XML.decode("gbk")


def edited(old, new="", encoding="gbk"):
    assert old in TEXT
    return TEXT.replace(old, new).encode(encoding)


def without(name):
    return re.sub(f"<{name}>[^<]*</{name}>", "", TEXT).encode("gbk")


def test_the_sample_is_read_whole():
    found = judged(XML)
    assert (found.dialect, found.kind, found.findings) == ("loss-assessment", "assessment", ())
    one = found.record
    assert one.identity == ("PICC", "DS2026100012", date(2026, 10, 2), VIN)
    assert (one.reportcode, one.plate, one.totalsum) == ("RP2026100300001", "沪A12345", Decimal("2860.5"))
    assert one.auditrepairsum == 800, "AuditRepiarSum, as it is spelled on the wire"
    assert [(part.partid, part.partname, part.auditcount, part.fitbackflag) for part in one.fits] == [
        ("JY-0012", "前保险杠", 1, False),
        ("JY-0100", "机油滤清器", 2, True),
    ]
    assert [(work.repairname, work.apprhour) for work in one.repairs] == [("前保险杠喷漆", Decimal("4.5"))]
    assert (one.outrepairs, one.assists, len(one.repairsums)) == (1, 0, 1)


def test_the_sample_estimate_is_taken_as_its_readme_asks():
    found = judged(FORMS["damage-estimate"])
    assert (found.dialect, found.findings) == ("damage-estimate", ())
    assert found.record.identity == ("", "7b8c1b0e-0000-4000-8000-000000000002", date(2018, 4, 23), VIN)
    assert not found.members.keys() & set(POLICIES), "policy numbers are not displayed"


def test_whoever_is_authenticated_is_the_insurer():
    assert judged(XML, company="CPIC").record.insurer == "CPIC"
    assert judged(changed("damage-estimate", insurer="X"), company="CPIC").record.insurer == "CPIC"


@pytest.mark.parametrize("name", [*("LossNo", "DmgVhclId", "ReportCode", "AuditRepiarSum", "TotalSum", "RequestType")])
def test_every_mandatory_element_is_missed(name):
    found = judged(without(name))
    assert [finding.code for finding in found.findings] == ["MANDATORY_MISSING"]
    assert name.lower() in (found.findings[0].wire or found.findings[0].field)


@pytest.mark.parametrize(
    ("old", "new", "code", "field"),
    [
        ("<RequestType>006", "<RequestType>007", "CODE_NOT_IN_TABLE", "requesttype"),
        ("<TotalSum>2860.50", "<TotalSum>many", "AMOUNT_NOT_NUMERIC", "totalsum"),
        ("<TotalSum>2860.50", "<TotalSum>-1", "AMOUNT_NEGATIVE", "totalsum"),
        ("<PartId>JY-0012</PartId>", "", "MANDATORY_MISSING", "fits[0].partid"),
        ("<AuditCount>2</AuditCount>", "", "QUANTITY_NOT_NUMERIC", "fits[1].auditcount"),
        ("<ApprHour>4.5", "<ApprHour>x", "HOURS_NOT_NUMERIC", "repairs[0].apprhour"),
        ("<FitBackFlag>1", "<FitBackFlag>?", "CODE_NOT_IN_TABLE", "fits[1].fitbackflag"),
        ("<FitBackFlag>1", "<Odd>1</Odd><FitBackFlag>1", "UNKNOWN_MEMBER", "fits[].odd"),
        ("<PlateNo>沪A12345", "<PlateNo>沪A", "PLATE_SYNTAX", "plate"),
        ("<VinNo>LSVAL41Z882104202", "<VinNo>LSV", "VIN_LENGTH", "vin"),
        ("<VinNo>LSVAL41Z882104202</VinNo>", "", "CLAIM_VEHICLE_UNNAMED", "vin"),
        ("<AuditDate>2026-10-02", "<AuditDate>2027-10-02", "DAY_IN_FUTURE", "assessedon"),
        ("<HEAD>", "<HEAD><Sender>x</Sender>", "UNKNOWN_MEMBER", "sender"),
    ],
)
def test_code_of_an_assessment(old, new, code, field):
    assert seen(judged(edited(old, new))) == [(code, field)]


def test_findings_name_the_packets_elements():
    told = judged(edited("<PartId>JY-0012</PartId>", "").replace(b"<ApprHour>4.5", b"<ApprHour>x")).findings
    assert [(one.field, one.wire) for one in told] == [
        ("fits[0].partid", "fitinfo[0].partid"),
        ("repairs[0].apprhour", "repairinfo[0].apprhour"),
    ]


def test_a_vin_that_stands_for_the_vehicles_id_is_the_vin():
    text = TEXT.replace(f"<VinNo>{VIN}</VinNo>", "").replace("<DmgVhclId>1<", f"<DmgVhclId>{VIN}<")
    found = judged(text.encode("gbk"))
    assert (found.findings, found.record.vin) == ((), VIN)


def test_an_assessment_without_a_day_is_of_the_day_it_came():
    assert judged(without("AuditDate")).record.assessedon == date(2026, 11, 29)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"estimate_request_uuid": ""}, "MANDATORY_MISSING", "estimate_request_uuid"),
        ({"report_no": "N/A"}, "MANDATORY_MISSING", "report_no"),
        ({"frame_no": DROP}, "VIN_MISSING", "vin"),
        ({"request_timestamp": "soon"}, "DATE_FORMAT", "requestedon"),
        ({"image_list": "x"}, "STRUCTURE_WRONG", "images"),
        ({"commercial_policy_no": []}, "STRUCTURE_WRONG", "commercial_policy_no"),
        ({"damage_list": [{"parts_cost": "x"}]}, "AMOUNT_NOT_NUMERIC", "damages[0].parts_cost"),
        ({"damage_list": [{"old_recycle": "x"}]}, "CODE_NOT_IN_TABLE", "damages[0].old_recycle"),
        ({"owner": "张三"}, "UNKNOWN_MEMBER", "owner"),
    ],
)
def test_code_of_an_estimate(changes, code, field):
    assert seen(judged(changed("damage-estimate", **changes))) == [(code, field)]


def test_no_finding_shows_an_amount_or_a_policy_number():
    odd = judged(edited("<TotalSum>2860.50", "<TotalSum>-73519"))
    assert "73519" not in repr(odd.findings)
    policy = "P" + "73519" * 20
    assert "73519" not in repr(judged(changed("damage-estimate", commercial_policy_no=policy)).findings)


@pytest.mark.parametrize(
    "bomb",
    [
        '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]>',
        '<!DOCTYPE a SYSTEM "file:///etc/hostname">',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x"> %x;]>',
        "<!DOCTYPE a>",
    ],
)
def test_a_document_type_is_refused_whatever_it_says(bomb):
    found = judged(edited("<PACKET>", f"{bomb}<PACKET>"))
    assert seen(found) == [("XML_UNREADABLE", "")]
    assert "DOCTYPE" in found.findings[0].value


@pytest.mark.parametrize(
    "body",
    [
        XML[:200],
        XML[:-12],
        edited("</LossNo>", "</Loss>"),
        edited("<LossNo>", "<LossNo>&x;"),
        b"<LossInfo>" * 33 + b"</LossInfo>" * 33,
        b"<LossInfo>" + b"<a/>" * 200_001 + b"</LossInfo>",
        b"<LossInfo><LossNo>" + b"x" * 4_001 + b"</LossNo></LossInfo>",
        b"<LossInfo>" + b" " * lossxml.MOST_BYTES + b"</LossInfo>",
        b"<LossInfo>\0</LossInfo>",
        b"<LossInfo>\xff\xff\xff</LossInfo>",
    ],
    ids=["cut", "cut late", "wrong end", "entity", "deep", "many", "long", "large", "nul", "no encoding"],
)
def test_xml_that_cannot_be_read_says_so(body):
    assert seen(judged(body)) == [("XML_UNREADABLE", "")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_another_encoding_than_declared_is_read_and_flagged(encoding):
    found = judged(TEXT.encode(encoding))
    assert [(one.code, one.severity) for one in found.findings] == [("CHARSET_MISMATCH", "flag")]
    assert found.record == judged(XML).record


def test_gbk_under_the_name_of_utf_8_is_read_and_flagged():
    assert seen(judged(edited('encoding="GBK"', 'encoding="UTF-8"'))) == [("CHARSET_MISMATCH", "")]
    assert judged(edited('encoding="GBK"', 'encoding="UTF-8"', "utf-8")).findings == ()
    assert judged(edited('encoding="GBK"', 'encoding="gb2312"')).findings == ()


def test_gbk_that_could_be_utf_8_by_chance_stays_gbk():
    text = TEXT.replace("前保险杠喷漆", "").replace("前保险杠", "").replace("机油滤清器", "眉").replace("沪A12345", "")
    body = text.encode("gbk")
    assert body.decode("utf-8"), "a pair of bytes that both encodings know"
    assert judged(body).record.fits[1].partname == "眉"


@pytest.mark.parametrize("body", [b"<html><body>502 Bad Gateway</body></html>", b"<", b"<?xml version='1.0'?><a/>"])
def test_other_xml_is_no_assessment(body):
    assert seen(judged(body)) == [("NOT_JSON", "")]


def test_an_assessment_that_is_not_json_is_not_asked_as_an_estimate():
    assert seen(judged(XML, "damage-estimate")) == [("NOT_JSON", "")]


def test_answers_to_an_assessment():
    assert lossxml.tree(answer_assessment(())) == {"requesttype": "006", "responsecode": "000", "errormessage": ""}
    refused = answer_assessment(judged(without("LossNo").replace(b"2860.50", b"x")).findings)
    assert refused.decode("gbk").startswith('<?xml version="1.0" encoding="GBK"?>')
    told = lossxml.tree(refused)
    assert told["responsecode"] == "402"
    assert told["errormessage"] == "lossno：缺少必填项；totalsum：金额不是数字"
    failed = lossxml.tree(lossxml.answer(["数据库 <不可用> & 𠮷\x01"], failed=True))
    assert (failed["responsecode"], failed["errormessage"]) == ("499", "数据库 <不可用> & 𠮷\ufffd")


def test_answers_to_an_estimate_repeat_its_key():
    assert orjson.loads(answer_estimate((), "u-1")) == {
        "code": "1",
        "status": "接收成功",
        "estimate_request_uuid": "u-1",
    }
    refused = judged(changed("damage-estimate", report_no="", frame_no="X")).findings
    told = orjson.loads(answer_estimate(refused, "u-1"))
    assert (told["code"], told["status"]) == ("0", "report_no：缺少必填项；frame_no：车辆识别代号不是 17 位")


WORDS = (
    st.text("前保险杠机油滤清器ABC-123/()<&>\"'", min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda text: text not in ("", "-"))
)
AMOUNTS = st.decimals(0, 10**6, places=2).map(lambda one: Decimal(format(one.normalize(), "f")))
FLAGS = st.none() | st.booleans()
DAYS = st.dates(date(2020, 1, 1), date(2026, 11, 29))
VINS = st.sampled_from([VIN, "WP1AG2923CLA64129"])
PLATES = st.none() | st.sampled_from(["沪A12345", "浙AD12345"])
MAYBE = st.none() | AMOUNTS
FITS = st.builds(
    FittedPart,
    partid=WORDS,
    partname=st.none() | WORDS,
    auditcount=AMOUNTS,
    fitbackflag=FLAGS,
    recheckflag=FLAGS,
    **dict.fromkeys(("auditmaterialfee", "apprpartsum", "selfpayprice", "apprremainsprice", "managerate"), MAYBE),
)
WORKS = st.builds(
    ApprovedWork,
    repairid=WORDS,
    repairname=st.none() | WORDS,
    apprhour=AMOUNTS,
    auditmanpowerfee=MAYBE,
    apprrepairsum=MAYBE,
)
ASSESSMENTS = st.builds(
    Assessment,
    insurer=WORDS,
    lossno=WORDS,
    dmgvhclid=WORDS,
    reportcode=WORDS,
    vin=VINS,
    plate=PLATES,
    assessedon=DAYS,
    fits=st.lists(FITS, max_size=3).map(tuple),
    repairs=st.lists(WORKS, max_size=2).map(tuple),
    repairsums=st.lists(st.builds(WorkSum, worktypecode=WORDS, itemcount=MAYBE, apprrepairsum=MAYBE), max_size=2).map(
        tuple
    ),
    outrepairs=st.integers(0, 2),
    assists=st.integers(0, 2),
    **dict.fromkeys(SUMS, AMOUNTS),
)
ESTIMATES = st.builds(
    Estimate,
    insurer=WORDS,
    estimate_request_uuid=WORDS,
    report_no=WORDS,
    survey_no=st.none() | WORDS,
    estimate_no=st.none() | WORDS,
    commercial_policy_no=st.none() | WORDS,
    compulsory_policy_no=st.none() | WORDS,
    vin=VINS,
    engine_no=st.none() | WORDS,
    plate=PLATES,
    model_brand=st.none() | WORDS,
    requestedon=DAYS,
    images=st.integers(0, 3),
    damages=st.lists(
        st.builds(
            Damage,
            damage_type=st.none() | WORDS,
            damage_degree=st.none() | WORDS,
            parts_id=st.none() | WORDS,
            parts_name=st.none() | WORDS,
            parts_cost=MAYBE,
            parts_manage_fee=MAYBE,
            hourly_wage=MAYBE,
            old_recycle=FLAGS,
        ),
        max_size=3,
    ).map(tuple),
)


@given(ASSESSMENTS)
def test_an_assessment_that_is_written_is_read_again(assessment):
    found = judged(encode_assessment(assessment))
    assert (found.record, found.findings) == (assessment, ())


@given(ESTIMATES)
def test_an_estimate_that_is_written_is_read_again(estimate):
    found = judged(encode_estimate(estimate))
    assert (found.record, found.findings) == (estimate, ())


@given(
    st.binary(max_size=80), st.integers(0, len(XML)), st.integers(0, 60), st.sampled_from(["gbk", "utf-8", "utf-16"])
)
def test_broken_xml_never_raises(noise, at, dropped, encoding):
    sent = TEXT.encode(encoding)
    body = sent[:at] + noise + sent[at + dropped :]
    for dialect in ("auto", "loss-assessment"):
        found = judged(body, dialect)
        assert found.record is not None or found.rejected
        answer_assessment(found.findings).decode("gbk")


@given(
    st.recursive(
        st.sampled_from(["LossNo", "FitInfo", "RepairInfo", "Fits", "x"]), lambda inner: st.lists(inner, max_size=4)
    )
)
def test_any_nesting_is_read(shape):
    def written(one):
        return f"<{one}>1</{one}>" if isinstance(one, str) else f"<FitInfo>{''.join(map(written, one))}</FitInfo>"

    assert judged(f"<LossInfo>{written(shape)}</LossInfo>".encode()).rejected


@pytest.mark.parametrize(
    ("fitback", "disposal", "told"),
    [
        (True, None, ("insurer", True)),
        (True, "2", ("insurer", True)),
        (True, "1", ("insurer", False)),
        (True, "3", ("insurer", False)),
        (False, None, ("shop", True)),
        (False, "1", ("owner", True)),
        (None, "2", ("shop", True)),
        (None, "3", ("none", True)),
        (None, None, ("unknown", True)),
        (None, "9", ("unknown", True)),
    ],
)
def test_who_keeps_an_old_part(fitback, disposal, told):
    assert holder(fitback, disposal) == told


def test_what_goes_out_names_its_schema_and_kind():
    sent = AccidentRepair(
        companycode="1",
        companyname="某店",
        costlistcode="W1",
        vin=VIN,
        plate="沪A12345",
        repairdate=date(2026, 10, 1),
        settledate=date(2026, 10, 3),
        mileage=Decimal("15000.5"),
        faultdescription="事故",
        insurer="PICC",
        report_no="R1",
    )
    told = orjson.loads(encode_claim(sent))
    assert (told.pop("schema"), told.pop("kind"), told["mileage"]) == ("vingate.claim/1", "accident-repair", "15000.5")
    assert AccidentRepair.of_members(told) == sent


DISPOSAL = {
    "companycode": "440103000000002",
    "vin": "LSVAL41Z882104202",
    "settlementSeq": "W1",
    "settlementDate": "2026-10-03",
    "oldPartDisposal": "2",
}


def test_the_shops_word_on_old_parts_is_read():
    found = judged(DISPOSAL)
    assert (found.dialect, found.kind, found.findings) == ("old-part-disposal", "old-part-disposal", ())
    assert found.record.identity == ("440103000000002", "W1", date(2026, 10, 3), VIN)
    assert found.record.disposal == "2"
    mapped = judged(DISPOSAL | {"oldPartDisposal": "托修方收回"}, name="lenient")
    assert (mapped.record.disposal, [code for code, _ in seen(mapped)]) == ("1", ["CODE_MAPPED"])


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"oldPartDisposal": "4"}, ("CODE_NOT_IN_TABLE", "disposal")),
        ({"oldPartDisposal": ""}, ("MANDATORY_MISSING", "disposal")),
        ({"settlementSeq": None}, ("MANDATORY_MISSING", "costlistcode")),
        ({"settlementDate": "2026-13-01"}, ("DATE_FORMAT", "settledate")),
        ({"vin": "LSVAL41Z88210420"}, ("VIN_LENGTH", "vin")),
    ],
)
def test_a_wrong_word_on_old_parts_is_refused(change, finding):
    found = judged(DISPOSAL | change)
    assert found.rejected
    assert finding in seen(found)


ANSWER = "<?xml version='1.0' encoding='GBK'?><PACKET><HEAD>{}</HEAD></PACKET>"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (answer_assessment(), []),
        (answer_assessment([], "定损单号已存在"), []),
        (answer_assessment([], "系统异常", failed=True), []),
        (ANSWER.format("<ResponseCode>401</ResponseCode><ErrorMessage>x</ErrorMessage>"), ["CODE_NOT_IN_TABLE"]),
        (ANSWER.format("<ResponseCode>402</ResponseCode>"), ["MANDATORY_MISSING"]),
        (ANSWER.format("<ResponseCode></ResponseCode><ErrorMessage>x</ErrorMessage>"), ["MANDATORY_MISSING"]),
        (ANSWER.format("<ResponseCode>000</ResponseCode><Extra>1</Extra>"), ["UNKNOWN_MEMBER"]),
        ("<a><ResponseCode>000</ResponseCode>", ["XML_UNREADABLE"]),
        ("<!DOCTYPE a><a><ResponseCode>000</ResponseCode></a>", ["XML_UNREADABLE"]),
    ],
)
def test_an_answer_to_an_assessment_is_judged_and_is_no_document(body, found):
    judgement = judged(body.encode("gbk") if isinstance(body, str) else body)
    assert (judgement.dialect, judgement.record) == ("loss-answer", None)
    assert [code for code, _ in seen(judgement)] == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (answer_estimate([], "u-1"), []),
        (answer_estimate([], "u-1", "车架号有误"), []),
        (answer_estimate([], ""), [("MANDATORY_MISSING", "estimate_request_uuid")]),
        ({"code": "2", "status": "x", "estimate_request_uuid": "u"}, [("CODE_NOT_IN_TABLE", "code")]),
        ({"code": "1", "estimate_request_uuid": "u"}, [("MANDATORY_MISSING", "status")]),
    ],
)
def test_an_answer_to_an_estimate_is_judged_and_is_no_document(body, found):
    judgement = judged(body)
    assert (judgement.dialect, judgement.record) == ("estimate-answer", None)
    assert seen(judgement) == found


@pytest.mark.parametrize("form", ["damage-estimate", "loss-assessment"])
def test_no_packet_is_taken_for_an_answer(form):
    body = XML if form == "loss-assessment" else FORMS[form] | {"code": "1", "status": "x"}
    assert judged(body).dialect == form
