"""Shanghai's 二级维护: two uploads judged by their own members, then one record; nothing personal in it."""

import json
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from itertools import permutations

import pytest

from mappings.assembly import assemble, missing, old_parts
from mappings.findings import FLAG, REJECT, profile
from mappings.judging import Context
from mappings.reading import judge, read, read_step

FOLDER = files("mappings").joinpath("data/mappings/examples/secondary")
CAR, ORDER = (json.loads(FOLDER.joinpath(f"{name}.in.json").read_text("utf-8")) for name in ("car", "order"))
RECEIVED = datetime(2020, 12, 24, tzinfo=timezone(timedelta(hours=8)))
INFORMAL = {"SIGN_NOT_CHECKED", "ORDER_NOT_CHECKED"}


def found(value, name="strict"):
    body = json.dumps(value, ensure_ascii=False).encode()
    judgement = judge(read(body), Context(profile(name), RECEIVED))
    return [(f.code, f.severity, f.field) for f in judgement.findings if f.code not in INFORMAL]


def without(value, *names):
    return {name: member for name, member in value.items() if name not in names}


def test_both_uploads_are_clean():
    assert found(CAR) == found(ORDER) == []


@pytest.mark.parametrize("name", ["strict", "lenient"])
def test_a_documented_member_that_is_absent_is_flagged_and_an_empty_one_is_not(name):
    assert found(without(CAR, "color"), name) == [("MANDATORY_MISSING", FLAG, "color")]
    assert found({**CAR, "color": "", "engineNum": "", "brand": ""}, name) == []
    assert found(without(CAR, "engineNum"), name) == [("MANDATORY_MISSING", FLAG, "engine")]
    assert found(without(ORDER, "total", "otherFee")) == [
        ("MANDATORY_MISSING", FLAG, "otherFee"),
        ("MANDATORY_MISSING", FLAG, "total"),
    ]


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        (without(CAR, "licensePlate"), "MANDATORY_MISSING", "plate"),
        ({**CAR, "vin": ""}, "VIN_MISSING", "vin"),
        ({**CAR, "incomingInspectionId": ""}, "MANDATORY_MISSING", "inspection"),
        ({**CAR, "companyIdentity": "913101121322592441T"}, "USCC_LENGTH", "companyunifiedsocialcreditidentifier"),
        ({**ORDER, "companyIdentity": "无"}, "MANDATORY_MISSING", "companyunifiedsocialcreditidentifier"),
        ({**ORDER, "settlementSeq": ""}, "MANDATORY_MISSING", "costlistcode"),
        ({**ORDER, "deliveryDate": "2020-12-25"}, "DATE_ORDER", "repairdate"),
        ({**ORDER, "settlementDate": "2020-12-28"}, "SETTLEDATE_IN_FUTURE", "settledate"),
        ({**ORDER, "repairMileage": "N/A"}, "MANDATORY_MISSING", "mileage"),
        ({**ORDER, "repairItems": "", "repairParts": ""}, "EMPTY_CONTENT", "parts"),
        ({**ORDER, "repairItems": "{"}, "STRUCTURE_WRONG", "repairItems"),
        ({**ORDER, "oldPartDisposal": "4"}, "CODE_NOT_IN_TABLE", "disposal"),
    ],
)
def test_what_a_record_cannot_be_without_rejects(value, code, field):
    assert found(value) == [(code, REJECT, field)]


@pytest.mark.parametrize(
    ("name", "flagged"),
    [
        ("二级维护*1", True),
        ("更换机油 × 2次", True),
        ("二级维护＊1", True),
        ("轮胎205*55", False),
        ("机油5W-30", False),
    ],
)
def test_a_count_glued_to_a_name_is_flagged(name, flagged):
    items = {"subtotal": "", "items": [{"itemName": name, "settlementTime": "1"}]}
    codes = [("NAME_WITH_QUANTITY", FLAG, "projects[0].name")] if flagged else []
    assert found({**ORDER, "repairItems": json.dumps(items)}) == codes


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("brand", "宝骏", "BRAND_WMI_MISMATCH"),
        ("brand", "一汽audi A4", None),
        ("brand", "无", None),
        ("engineNum", "xxxxxxyyyy", "ENGINE_PLACEHOLDER"),
        ("engineNum", "无", "ENGINE_PLACEHOLDER"),
        ("engineNum", 0, "ENGINE_PLACEHOLDER"),
        ("engineNum", "LJ469Q", None),
    ],
)
def test_engine_and_brand_are_judged_for_plausibility_only(member, value, code):
    assert [one for one, severity, _ in found({**CAR, member: value}) if severity == FLAG] == ([code] if code else [])


def pieces():
    return [("car", json.dumps(CAR).encode()), ("order", json.dumps(ORDER).encode())]


def test_the_two_uploads_make_one_record_in_any_order_and_nothing_personal_is_in_it():
    bodies = {assemble(order, "310000010001", "上海某某汽车维修有限公司") for order in permutations(pieces())}
    assert len(bodies) == 1
    (body,) = bodies
    judgement = judge(read(body), Context(profile("strict"), RECEIVED))
    assert not judgement.rejected, judgement.findings
    assert [f.code for f in judgement.findings] == ["PLACEHOLDER_FAULT"]
    row = judgement.record
    assert (row.companycode, row.vin, row.plate, row.costlistcode) == (
        "310000010001",
        "WAUAYD4LXAD021549",
        "沪A099E8",
        "JS20201223001",
    )
    assert (row.parts[0].code, row.projects[0].name) == ("06L115562", "二级维护")
    for told in (
        "王某",
        "13800000000",
        "某某汽修",
        "CDZ123456",
        "奥迪",
        "390",
        "img.example.com",
        "91310112132259241T",
    ):
        assert told not in body.decode()


def test_the_order_s_word_on_old_parts_is_a_message_of_its_own_and_nothing_personal_is_in_it():
    bodies = {old_parts(order, "310000010001") for order in permutations(pieces())}
    assert [json.loads(body) for body in bodies] == [
        {
            "companycode": "310000010001",
            "vin": "WAUAYD4LXAD021549",
            "settlementSeq": "JS20201223001",
            "settlementDate": "2020-12-23",
            "oldPartDisposal": "1",
        }
    ]
    judgement = judge(read(bodies.pop()), Context(profile("strict"), RECEIVED))
    assert not judgement.rejected
    assert (judgement.record.KIND, judgement.record.disposal) == ("old-part-disposal", "1")


@pytest.mark.parametrize(("said", "told"), [("", None), ("无", None), (2, "2")])
def test_what_an_order_says_of_old_parts(said, told):
    body = old_parts([pieces()[0], ("order", json.dumps({**ORDER, "oldPartDisposal": said}).encode())], "S1")
    assert (None if body is None else json.loads(body)["oldPartDisposal"]) == told


def test_one_order_alone_and_one_of_the_other_interface_say_nothing_of_old_parts():
    assert old_parts(pieces()[1:], "S1") is None
    assert old_parts([("insert", b"{}"), ("items", b"{}"), ("settle", b"{}")], "S1") is None


def test_one_upload_waits_for_the_other_and_the_last_of_each_stands():
    car, order = pieces()
    assert (missing([car]), missing([order]), assemble([order])) == (["order"], ["car"], None)
    later = ("order", json.dumps({**ORDER, "repairMileage": "66667"}).encode())
    assert json.loads(assemble([order, car, later]))["mileage"] == "66667"


def test_the_address_called_says_which_piece_it_is():
    draft = read_step(json.dumps(without(ORDER, "settlementDate", "settlementSeq")).encode(), "order")
    assert (draft.dialect, draft.step) == ("secondary", "order")
    assert read_step(b"{", "car").dialect == "secondary"
