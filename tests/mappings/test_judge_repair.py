"""Repair records and Shanghai steps: what is read, in which order findings come, and where the lines are drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import judge_samples as s
import pytest

from mappings.findings import Finding
from mappings.records import Part, Project, RepairRow


def test_clean_record_becomes_a_row():
    found = s.judged("repair", s.REPAIR)
    assert found.record == RepairRow(
        "310000010001",
        "上海某某汽车维修有限公司",
        "沪BL7806",
        "WP1AG2923CLA64129",
        date(2018, 4, 12),
        date(2018, 4, 13),
        Decimal(52000),
        "发动机异响",
        "20180413-01",
        (Part("火花塞", Decimal(6), "99917022190"),),
        (Project("更换火花塞", Decimal(2)),),
    )


def test_members_for_display_are_flat_and_typed():
    members = s.changed(s.REPAIR, {"projects.hours": "0.50", "plate": "沪B-L7806", "costlistcode": 21873301})
    assert s.judged("repair", members).members == {
        **s.REPAIR,
        "repairdate": "2018-04-12",
        "settledate": "2018-04-13",
        "mileage": 52000,
        "costlistcode": "21873301",
        "parts": [{"name": "火花塞", "quantity": 6, "code": "99917022190"}],
        "projects": [{"name": "更换火花塞", "hours": Decimal("0.5")}],
    }


def test_what_cannot_be_read_is_left_out_of_the_display():
    found = s.judged("repair", s.changed(s.REPAIR, {"settledate": "gestern", "access_token": "SECRET"}))
    assert found.record is None
    assert found.members.keys() == s.REPAIR.keys() - {"settledate"}


def test_all_problems_at_once_in_the_order_of_the_rules():
    rows = [{"name": "机油", "quantity": "N/A", "code": ""}, {"name": "", "quantity": "x"}]
    members = s.changed(
        s.REPAIR, {"vin": "", "plate": "N/A", "settledate": "20170101", "parts": rows, "projects.hours": -1}
    )
    assert s.seen(s.judged("repair", members)) == [
        ("MANDATORY_MISSING", "plate"),
        ("VIN_MISSING", "vin"),
        ("PLACEHOLDER_NAME", "parts[1].name"),
        ("QUANTITY_NOT_NUMERIC", "parts[0].quantity"),
        ("QUANTITY_NOT_NUMERIC", "parts[1].quantity"),
        ("PLACEHOLDER_PARTSCODE", "parts[0].code"),
        ("PLACEHOLDER_PARTSCODE", "parts[1].code"),
        ("HOURS_NEGATIVE", "projects[0].hours"),
        ("DATE_ORDER", "repairdate"),
    ]


def test_lenient_keeps_the_row_beside_an_empty_number():
    found = s.judged("repair", s.changed(s.REPAIR, {"parts.quantity": "若干"}), "lenient")
    assert found.record.parts == (Part("火花塞", None, "99917022190"),)
    assert [(f.severity, f.value) for f in found.findings] == [("flag", "若干")]


def test_lenient_keeps_long_texts_whole():
    text = "异" * 501
    found = s.judged("repair", s.changed(s.REPAIR, {"faultdescription": text}), "lenient")
    assert found.record.faultdescription == text
    assert found.findings[0].value == text[:100]


@pytest.mark.parametrize(
    ("kwargs", "wanted", "code"),
    [
        ({}, [], ""),
        ({"company_required": True}, [("MANDATORY_MISSING", "companycode")], None),
        ({"company_required": True, "company": "31000001"}, [], "31000001"),
        ({"company": "31000001"}, [], "31000001"),
    ],
)
def test_company_code_is_demanded_only_where_the_source_does_not_supply_it(kwargs, wanted, code):
    found = s.judged("repair", s.changed(s.REPAIR, {"companycode": s.DROP}), **kwargs)
    assert s.seen(found) == wanted
    assert (found.record and found.record.companycode) == code


def test_own_company_code_goes_before_the_envelope_s_and_may_have_any_length():
    assert s.judged("repair", s.REPAIR, company="99").record.companycode == "310000010001"
    assert s.judged("repair", {**s.REPAIR, "companycode": "7" * 40}).findings == ()


@pytest.mark.parametrize(
    ("settle", "received", "header", "late"),
    [
        ("20180827", "2018-08-30T12:00:00+00:00", "20180826", False),
        ("20180828", "2018-08-30T12:00:00+00:00", "20180826", True),
        ("20180830", "2018-08-30T12:00:00+00:00", None, False),
        ("20180831", "2018-08-30T12:00:00+00:00", "20990101", False),
        ("20180901", "2018-08-30T12:00:00+00:00", "20990101", True),
        ("20180901", "2018-08-30T15:59:59+00:00", "not a date", True),
        ("20180901", "2018-08-30T16:00:00+00:00", None, False),
    ],
)
def test_settlement_is_held_against_receipt_and_message_in_shanghai(settle, received, header, late):
    members = {**s.REPAIR, "settledate": settle}
    found = s.judged("repair", members, received_at=datetime.fromisoformat(received), header_date=header)
    assert s.seen(found) == ([("SETTLEDATE_IN_FUTURE", "settledate")] if late else [])


@pytest.mark.parametrize(
    ("vin", "repaired", "codes"),
    [
        ("WVWLJ57N4FV028811", "20140101", []),
        ("WVWLJ57N4FV028811", "20131231", ["VIN_MODEL_YEAR"]),
        ("LBEEFAKB2XK213178", "20180412", []),
        ("LVGBM51K8NG062816", "20180412", ["VIN_CHECK_DIGIT", "VIN_MODEL_YEAR"]),
        ("LVGBM51K8IG062816", "20180412", ["VIN_ALPHABET", "VIN_MODEL_YEAR"]),
        ("LVGBM51K8OG062816", "20180412", ["VIN_ALPHABET", "VIN_MODEL_YEAR"]),
        ("LVGBM51K8QG062816", "20180412", ["VIN_ALPHABET", "VIN_MODEL_YEAR"]),
        ("LVGBM51K8?G062816", "20180412", ["VIN_ALPHABET"]),
        ("WVWLJ57N4IV028811", "20180412", ["VIN_ALPHABET"]),
        ("LVOBM51K8NG062816", "20180412", ["VIN_ALPHABET", "VIN_MODEL_YEAR"]),
        ("WAUAYD4LXAD021549", "20180412", []),
        ("VF1KG1PBE34488860", "20180412", ["VIN_CHECK_DIGIT_NOT_APPLICABLE"]),
        ("W0LPC6DB3ZC123456", "20180412", ["VIN_CHECK_DIGIT_NOT_APPLICABLE"]),
        ("qw1231", "20180412", ["VIN_LENGTH", "VIN_ALPHABET"]),
        ("ｗｐ1AG2923CLA64129 ", "20180412", []),
    ],
)
def test_vin(vin, repaired, codes):
    found = s.judged("repair", {**s.REPAIR, "vin": vin, "repairdate": repaired})
    assert [f.code for f in found.findings] == codes


@pytest.mark.parametrize(
    ("plate", "codes"),
    [
        ("沪A-12345", []),
        ("浙AD12345", []),
        ("GK12001", []),
        ("X1", ["PLATE_SYNTAX", "PLATE_PROVINCE_UNKNOWN"]),
        ("沪12345678901", ["PLATE_SYNTAX"]),
        ("沪A" + "1" * 15, ["TOO_LONG", "PLATE_SYNTAX"]),
    ],
)
def test_plate(plate, codes):
    assert [f.code for f in s.judged("repair", {**s.REPAIR, "plate": plate}).findings] == codes


def test_hours_at_the_limit_are_no_outlier():
    rows = [{"name": "钣金", "hours": 24}] * 4 + [{"name": "喷漆", "hours": "4.0"}]
    assert s.judged("repair", {**s.REPAIR, "projects": rows}).findings == ()


def test_one_row_of_either_kind_is_content():
    assert s.judged("repair", {**s.REPAIR, "parts": []}).findings == ()
    nameless = s.judged("repair", {**s.REPAIR, "parts": [], "projects": [{"name": "N/A", "hours": 1}]})
    assert s.seen(nameless) == [("PLACEHOLDER_NAME", "projects[0].name")]


@pytest.mark.parametrize("text", ["报告编码{%s}", "报告编码：｛%s｝更换催化器", "尾气 报告编码 { %s }"])
def test_report_number_is_linked(text):
    number = "330100112108211315501011"
    found = s.judged("repair", {**s.REPAIR, "faultdescription": text % number})
    assert [(f.code, f.value) for f in found.findings] == [("REPORT_LINK", number)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("报告编码330100112108211315501011", "330100112108211315501011"),
        ("报告编码：3301Ab，已换三元", "3301Ab"),
        ("报告编码{JH２０１９０１}", "JH201901"),
        ("见报告编码 { 12345678901234567890123456789012 }", "12345678901234567890123456789012"),
    ],
)
def test_report_numbers_are_of_many_makes(text, number):
    found = s.judged("repair", {**s.REPAIR, "faultdescription": text})
    assert [(f.code, f.value) for f in found.findings] == [("REPORT_LINK", number)]


@pytest.mark.parametrize(
    "text", ["报告编码{}", "报告编码不详", "报告编码{12345}", "报告编码ABCDEFGH", "报告编码" + "1" * 33]
)
def test_what_is_no_report_number_is_not_linked(text):
    assert s.judged("repair", {**s.REPAIR, "faultdescription": text}).findings == ()


def test_report_number_in_its_own_member_is_linked():
    number = "330100112108211315501011"
    found = s.judged("repair", {**s.REPAIR, "test_no": number})
    assert [(f.code, f.field, f.value) for f in found.findings] == [("REPORT_LINK", "test_no", number)]
    assert "test_no" not in found.members
    assert s.judged("repair", {**s.REPAIR, "test_no": "无"}).findings == ()


def test_wire_path_stands_beside_the_canonical_one():
    wire = {
        "plate": "basicInfo.vehicleplatenumber",
        "parts[].quantity": "vehiclepartslist[].partsquantity",
        "vin": "vin",
    }
    members = s.changed(s.REPAIR, {"plate": "", "parts.quantity": "x", "vin": ""})
    found = s.judged("repair", members, wire=wire)
    assert [f.wire for f in found.findings] == ["basicInfo.vehicleplatenumber", "", "vehiclepartslist[0].partsquantity"]


def test_rows_that_the_partner_nests_keep_an_open_wire_path():
    wire = {"parts[].code": "projects[].parts[].code"}
    found = s.judged("repair", s.changed(s.REPAIR, {"parts.code": ""}), wire=wire)
    assert [f.wire for f in found.findings] == ["projects[].parts[].code"]


def test_a_member_found_broken_while_unwrapping_is_not_missing_as_well():
    note = Finding("STRUCTURE_WRONG", "", "plate", "array", "text")
    members = s.changed(s.REPAIR, {"plate": s.DROP})
    assert s.seen(s.judged("repair", members, notes=(note,))) == [("STRUCTURE_WRONG", "plate")]


@pytest.mark.parametrize(
    ("step", "members", "wanted"),
    [
        ("insert", s.INSERT, []),
        ("insert", {**s.INSERT, "vin": "qw1231"}, [("VIN_LENGTH", "vin"), ("VIN_ALPHABET", "vin")]),
        ("insert", {**s.INSERT, "fuel": "Q1"}, [("CODE_NOT_IN_TABLE", "fuel")]),
        ("insert", {**s.INSERT, "use": 3}, [("CODE_NOT_IN_TABLE", "use")]),
        ("insert", s.changed(s.INSERT, {"fuel": s.DROP, "use": ""}), []),
        (
            "insert",
            {},
            [
                ("MANDATORY_MISSING", "plate"),
                ("VIN_MISSING", "vin"),
                ("MANDATORY_MISSING", "repairdate"),
                ("MANDATORY_MISSING", "mileage"),
                ("PLACEHOLDER_FAULT", "faultdescription"),
                ("MANDATORY_MISSING", "costlistcode"),
            ],
        ),
        ("items", s.ITEMS, [("ORDER_NOT_CHECKED", "costlistcode")]),
        (
            "items",
            {"costlistcode": "1", "projects": []},
            [("EMPTY_CONTENT", "parts"), ("ORDER_NOT_CHECKED", "costlistcode")],
        ),
        ("settle", s.SETTLE, [("ORDER_NOT_CHECKED", "costlistcode")]),
        (
            "settle",
            {"costlistcode": "1", "settledate": "2024-06-03 00:00:01"},
            [("SETTLEDATE_IN_FUTURE", "settledate"), ("ORDER_NOT_CHECKED", "costlistcode")],
        ),
        (
            "settle",
            {},
            [
                ("MANDATORY_MISSING", "settledate"),
                ("MANDATORY_MISSING", "costlistcode"),
                ("ORDER_NOT_CHECKED", "costlistcode"),
            ],
        ),
        ("correction", {"costlistcode": "1"}, [("ORDER_NOT_CHECKED", "costlistcode")]),
        (
            "correction",
            {"costlistcode": "1", "mileage": "-1"},
            [("MILEAGE_NEGATIVE", "mileage"), ("ORDER_NOT_CHECKED", "costlistcode")],
        ),
    ],
)
def test_a_step_is_judged_by_its_own_members(step, members, wanted):
    found = s.judged("step", members, step=step)
    assert s.seen(found) == wanted
    assert found.record is None


def test_a_step_displays_the_members_that_it_has():
    found = s.judged("step", s.INSERT, step="insert", order="R20230203001")
    assert found.order == "R20230203001"
    assert found.members == {
        "plate": "沪A12345",
        "vin": "WVWLJ57N4FV028811",
        "repairdate": "2023-02-03",
        "mileage": 66666,
        "faultdescription": "更换刹车片",
        "costlistcode": "R20230203001",
    }


def test_a_step_displays_nothing_that_it_lacks():
    found = s.judged("step", {"costlistcode": "1", "projects": s.ITEMS["projects"]}, step="items", company="31")
    assert found.members.keys() == {"costlistcode", "projects"}
    assert s.judged("step", s.changed(s.INSERT, {"faultdescription": s.DROP}), step="insert").members.keys() == {
        "plate",
        "vin",
        "repairdate",
        "mileage",
        "costlistcode",
    }


def test_the_same_remark_on_a_field_stands_once():
    note = Finding("STRUCTURE_WRONG", "", "plate", "array", "text")
    assert s.seen(s.judged("repair", {**s.REPAIR, "plate": []}, notes=(note,))) == [("STRUCTURE_WRONG", "plate")]


def test_repair_and_settlement_on_one_day_are_in_order():
    assert s.judged("repair", {**s.REPAIR, "settledate": s.REPAIR["repairdate"]}).findings == ()


@pytest.mark.parametrize(("field", "most"), [("companyname", 100), ("costlistcode", 50), ("faultdescription", 500)])
def test_texts_as_long_as_allowed(field, most):
    assert s.judged("repair", {**s.REPAIR, field: "1" * most}).findings == ()
    assert s.seen(s.judged("repair", {**s.REPAIR, field: "1" * (most + 1)})) == [("TOO_LONG", field)]


def test_limits_may_be_as_wide_as_one_likes():
    strict = s.context().profile
    wide = replace(strict, limits=dict.fromkeys(strict.limits, 10**12))
    assert s.judged("repair", {**s.REPAIR, "settledate": "21991231"}, wide).findings == ()
