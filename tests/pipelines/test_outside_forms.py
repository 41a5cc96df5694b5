"""Outbound forms behind the agreements: a closure becomes a row of RepairInfo_M, and says what it lacks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pytest

from mappings.documents.closures import Closure, ClosurePart
from mappings.documents.interchange import encode_document, encode_withdrawn
from mappings.documents.outbound import OUTBOUND, UnfitError
from mappings.records import Withdrawal
from pipelines.partners.environment import ENVIRONMENT

CLOSURE = Closure(
    companyuniquecode="M440103000000002",
    companyname="广州某某维护站",
    costlistcode="JS1",
    test_no="440100112609041952540972",
    plate="粤A12345",
    vin="LSVAL41Z882104202",
    mileage=Decimal(50000),
    repairdate=date(2026, 9, 5),
    settledate=date(2026, 9, 5),
    faultdescription="尾气超标",
    parts=(ClosurePart(name="三元催化器", quantity=Decimal(1), code="C-1"),),
)
TOLD = {
    "system": "44",
    "version": 1,
    "dialect": "document",
    "received_at": datetime(2026, 9, 6, tzinfo=UTC),
    "findings": (),
}


def record(**changes):
    made = orjson.loads(encode_document(CLOSURE, TOLD))
    for name, value in changes.items():
        made["members"].pop(name, None)
        if value is not None:
            made["members"][name] = value
    return made


def judged(row):
    return list(ENVIRONMENT.judges["closures"](row))


def test_a_closure_is_a_row_that_the_department_takes():
    row = orjson.loads(OUTBOUND["repairinfo-m"](record()))
    assert (row["Vin"], row["test_no"], row["companyuniquecode"]) == (CLOSURE.vin, CLOSURE.test_no, "M440103000000002")
    assert judged(row) == []


def test_a_closure_that_is_taken_back_names_the_same_row():
    row = orjson.loads(OUTBOUND["repairinfo-m"](record()))
    gone = orjson.loads(encode_withdrawn(Withdrawal("M440103000000002", CLOSURE.listed, "录错"), TOLD))
    withdrawn = orjson.loads(OUTBOUND["repairinfo-m"](gone))
    assert withdrawn == {"RepairVeID": row["RepairVeID"], "withdrawn": "录错"}
    assert judged(withdrawn) == []


@pytest.mark.parametrize("name", ["vin", "settledate", "costlistcode"])
def test_what_an_agreement_withheld_and_the_form_needs_is_named(name):
    with pytest.raises(UnfitError, match=name):
        OUTBOUND["repairinfo-m"](record(**{name: None}))


def test_another_kind_is_no_closure():
    with pytest.raises(UnfitError, match="kind"):
        OUTBOUND["repairinfo-m"]({**record(), "kind": "nothing"})


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"Vin": "LSVAL41Z982104202"}, "Vin"),
        ({"settledate": "2026-13-01"}, "settledate"),
        ({"repairmileage": "far"}, "repairmileage"),
    ],
)
def test_the_department_names_what_is_wrong(changes, wrong):
    row = orjson.loads(OUTBOUND["repairinfo-m"](record()))
    assert [why.split(":")[0] for why in judged({**row, **changes})] == [wrong]
