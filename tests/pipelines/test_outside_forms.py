"""Outbound forms behind the agreements: a closure becomes a row of RepairInfo_M, and says what it lacks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pytest

from connectors.contracts import Delivery
from mappings.documents.closures import Closure, ClosurePart
from mappings.documents.interchange import encode_document, encode_withdrawn
from mappings.documents.outbound import OUTBOUND, UnfitError
from mappings.records import Withdrawal
from pipelines.agreeing import Agreed
from pipelines.errors import SettingsError
from pipelines.leaving import Leaving
from pipelines.nation import DEPLOY
from pipelines.outbox import Sent
from pipelines.partners.environment import ENVIRONMENT
from pipelines.settings import load
from pipelines.usable import usable

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
AGREEMENT = """
id = "closures"
version = 1
zh = "闭环"
en = "closures"
destinations = ["environment"]
approval = "A-1"
basis = ["-"]
purpose = "test"
from = 2020-01-01
[kinds.closure]
"""
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
    row = orjson.loads(OUTBOUND["repairinfo-m"].write(record()))
    assert (row["Vin"], row["test_no"], row["companyuniquecode"]) == (CLOSURE.vin, CLOSURE.test_no, "M440103000000002")
    assert judged(row) == []


def test_a_closure_that_is_taken_back_names_the_same_row():
    row = orjson.loads(OUTBOUND["repairinfo-m"].write(record()))
    gone = orjson.loads(encode_withdrawn(Withdrawal("M440103000000002", CLOSURE.listed, "录错"), TOLD))
    withdrawn = orjson.loads(OUTBOUND["repairinfo-m"].write(gone))
    assert withdrawn == {"RepairVeID": row["RepairVeID"], "withdrawn": "录错"}
    assert judged(withdrawn) == []


@pytest.mark.parametrize("name", ["vin", "settledate", "costlistcode"])
def test_what_an_agreement_withheld_and_the_form_needs_is_named(name):
    with pytest.raises(UnfitError, match=name):
        OUTBOUND["repairinfo-m"].write(record(**{name: None}))


def test_another_kind_is_no_closure():
    with pytest.raises(UnfitError, match="kind"):
        OUTBOUND["repairinfo-m"].write({**record(), "kind": "nothing"})


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"Vin": "LSVAL41Z982104202"}, "Vin"),
        ({"settledate": "2026-13-01"}, "settledate"),
        ({"repairmileage": "far"}, "repairmileage"),
    ],
)
def test_the_department_names_what_is_wrong(changes, wrong):
    row = orjson.loads(OUTBOUND["repairinfo-m"].write(record()))
    assert [why.split(":")[0] for why in judged({**row, **changes})] == [wrong]


# -- behind the agreements ---------------------------------------------------------------------------------------------


def leaving(tmp_path, rules):
    file = tmp_path / "agreement.toml"
    file.write_text(AGREEMENT + rules, "utf-8")
    return Leaving(Agreed([str(file)]), lambda text: text, lambda _: "repairinfo-m")


def sent():
    body = encode_document(CLOSURE, TOLD)
    delivery = Delivery("id-1", "environment", "44|M|closure:1", 1, "00", body, "b-1")
    return Sent(0, 0, delivery, body, "closure")


def test_a_form_is_filled_from_what_may_leave(tmp_path):
    looked = leaving(tmp_path, '"*" = "pass"\n"members.faultdescription" = "mask"\n').look("environment", [sent()])
    (going,) = looked.going
    assert orjson.loads(going.delivery.body)["Vin"] == CLOSURE.vin
    assert (going.delivery.id, looked.stopped) == ("id-1", [])


def test_a_form_that_lacks_what_is_withheld_stops_the_delivery(tmp_path):
    looked = leaving(tmp_path, '"*" = "pass"\n"members.vin" = "withhold"\n').look("environment", [sent()])
    ((_, outcome),) = looked.stopped
    assert (looked.going, outcome.status, outcome.reason.split(":")[0]) == ([], "refused", "FORM_NOT_FILLED")
    assert "vin" in outcome.reason


def test_settings_whose_form_needs_what_is_withheld_are_refused_with_the_field(tmp_path):
    (tmp_path / "agreement.toml").write_text(AGREEMENT + '"*" = "pass"\n"members.settledate" = "withhold"\n', "utf-8")
    chosen = [f"agreements=['own-store', '{tmp_path / 'agreement.toml'}']"]
    exchange = load(DEPLOY / "exchanges" / "environment.toml", chosen, {}).placed(tmp_path)
    with pytest.raises(SettingsError, match=r"members\.settledate"):
        usable(exchange)
