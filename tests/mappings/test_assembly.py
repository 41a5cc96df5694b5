"""Shanghai's steps of one order: any order of arrival, corrections last, nothing before it is whole."""

import json
from datetime import datetime, timedelta, timezone
from itertools import permutations

import pytest

from mappings.assembly import assemble, missing
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read

INSERT = {
    "orderCode": "R1",
    "vin": "WVWLJ57N4FV028811",
    "vpn": "沪A12345",
    "repairTime": "2023-02-03 09:12:44",
    "repairMileage": 66666.5,
    "faultDesc": "更换刹车片",
    "natureOfUse": 2,
    "carPhoto": "AAAA",
    "sign": "0" * 32,
}
PARTS = [{"partName": "刹车片", "partCode": "B1", "partQty": 2.0}]
ITEMS = {
    "orderCode": "R1",
    "repairProjectList": [{"projectName": "换片", "workingHours": "1.5", "repairPartList": PARTS}],
}
SETTLE = {"orderCode": "R1", "payTime": "2023-02-04 17:20:00", "totalCost": 880}


def piece(step, value):
    return step, json.dumps(value, ensure_ascii=False).encode()


WHOLE = [piece("insert", INSERT), piece("items", ITEMS), piece("settle", SETTLE)]


def test_any_order_gives_the_same_bytes():
    results = {assemble(order) for order in permutations(WHOLE)}
    assert len(results) == 1
    draft = read(results.pop())
    assert (draft.kind, draft.dialect, draft.order, draft.notes) == ("repair", "shanghai-order", "R1", ())
    assert draft.members == {
        "costlistcode": "R1",
        "vin": "WVWLJ57N4FV028811",
        "plate": "沪A12345",
        "repairdate": "2023-02-03 09:12:44",
        "settledate": "2023-02-04 17:20:00",
        "mileage": "66666.5",
        "faultdescription": "更换刹车片",
        "parts": [{"name": "刹车片", "quantity": "2.0", "code": "B1"}],
        "projects": [{"name": "换片", "hours": "1.5"}],
    }


@pytest.mark.parametrize("absent", ["insert", "items", "settle"])
def test_nothing_comes_of_it_while_a_step_is_missing(absent):
    pieces = [entry for entry in WHOLE if entry[0] != absent]
    assert missing(pieces) == [absent]
    assert assemble(pieces) is None


def test_corrections_are_laid_over_last_in_order_of_arrival():
    first = piece("correction", {"orderCode": "R1", "vpn": "沪A11111", "faultDesc": "异响", "vin": ""})
    second = piece("correction", {**ITEMS, "vpn": "沪A22222"} | {"repairProjectList": [{"projectName": "检查"}]})
    draft = read(assemble([first, *WHOLE, second]))
    assert (draft.members["plate"], draft.members["faultdescription"]) == ("沪A22222", "异响")
    assert draft.members["vin"] == "WVWLJ57N4FV028811"
    assert draft.members["projects"] == [{"name": "检查"}]


def test_a_correction_may_look_like_an_insert():
    corrected = piece("correction", {**INSERT, "vpn": "沪A33333"})
    assert read(assemble([corrected, *WHOLE])).members["plate"] == "沪A33333"


def test_the_first_insert_and_the_last_updates_stand():
    again = [
        piece("insert", {**INSERT, "vpn": "沪A99999"}),
        piece("settle", {**SETTLE, "payTime": "2023-02-05 08:00:00"}),
    ]
    members = read(assemble([*WHOLE, *again])).members
    assert (members["plate"], members["settledate"]) == ("沪A12345", "2023-02-05 08:00:00")


def test_the_company_is_handed_in_and_the_record_judged():
    body = assemble(WHOLE, companycode="310000010001", companyname="上海某某汽车维修有限公司")
    received = datetime(2023, 2, 4, 18, tzinfo=timezone(timedelta(hours=8)))
    judgement = judge(read(body), Context(profile("strict"), received))
    assert not judgement.rejected, judgement.findings
    assert (judgement.record.companycode, judgement.record.settledate.isoformat()) == ("310000010001", "2023-02-04")


def test_neither_photos_nor_costs_nor_signs_come_through():
    body = assemble(WHOLE)
    assert b"AAAA" not in body
    assert b"880" not in body
    assert b"00000000" not in body


def test_a_piece_that_cannot_be_read_adds_nothing_and_raises_nothing():
    body = assemble([*WHOLE[:2], ("settle", b"\xff{")])
    assert "settledate" not in read(body).members
