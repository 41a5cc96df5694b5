"""Old parts meet the waste ledger: what goes back is not expected, what stays is, and each difference is one case."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
import waste_world as ww
from hypothesis import given
from hypothesis import strategies as st
from waste_world import BATTERY, FILTER, OIL, SHOP

from mappings.documents import waste as w
from mappings.documents.claims import OldPart, OldPartReturn
from mappings.documents.oldparts import OldPartDisposal
from mappings.records import Part
from routing.cases.waste import Settings, Waste

DAY = date(2024, 4, 2)
LATER = DAY + timedelta(60)
WASTE = Waste(Settings(silence_days=1000))


def returned(visit, *parts, agrees=True):
    """`parts`: (waste code, holder, count)."""
    rows = tuple(
        OldPart(partid=f"P{at}", count=count, holder=holder, agrees=agrees, wastecode=code, inledger=holder == "shop")
        for at, (code, holder, count) in enumerate(parts)
    )
    given = {"insurer": "PICC", "report_no": f"RP-{visit}", "vin": "V" * 17, "settledate": DAY, "parts": rows}
    return OldPartReturn(companycode=SHOP, costlistcode=visit, **given)


def disposal(visit, code):
    return OldPartDisposal(companycode=SHOP, costlistcode=visit, vin="V" * 17, settledate=DAY, disposal=code)


def derived(*records, today=LATER, waste=WASTE):
    facts = [ww.fact(one, getattr(one, "number", None) or one.costlistcode) for one in records]
    return list(waste.derive(SHOP, facts, today))


def cases(*records, **told):
    return [one for one in derived(*records, **told) if isinstance(one, w.WasteCase)]


def expected(*records):
    (found,) = [one for one in derived(*records) if isinstance(one, w.WasteExpected)] or [None]
    return {item.code: item.quantity for item in found.items} if found else {}


BATTERY_VISIT = ww.repair("R1", DAY, "battery")
BATTERY_DECLARED = ww.event("E1", DAY, "generated", BATTERY, 1, costlistcode="R1")
KEY = f"33|{SHOP}|"


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ([], {BATTERY: 1}),
        ([returned("R1", (BATTERY, "insurer", Decimal(1)))], {}),
        ([returned("R1", (BATTERY, "owner", None))], {}),
        ([returned("R1", (BATTERY, "shop", Decimal(1)))], {BATTERY: 1}),
        ([returned("R1", (BATTERY, "unknown", Decimal(1)))], {BATTERY: 1}),
        ([returned("R2", (BATTERY, "insurer", Decimal(1)))], {BATTERY: 1}),
        ([disposal("R1", "1")], {}),
        ([disposal("R1", "2")], {BATTERY: 1}),
        ([disposal("R1", "3")], {}),
    ],
)
def test_only_what_stays_is_expected(told, left):
    assert expected(BATTERY_VISIT, *told) == left


def test_oil_stays_whoever_takes_the_old_parts():
    oil = ww.repair("R1", DAY, "oil")
    assert expected(oil, disposal("R1", "1")).keys() == {OIL, "900-249-08"}
    assert expected(oil, returned("R1", (OIL, "insurer", Decimal(4)))).keys() >= {OIL, FILTER}


def test_of_two_tyres_one_goes_back():
    tyres = ww.repair("R1", DAY, "tyre")
    assert expected(tyres, returned("R1", (ww.TYRE, "insurer", Decimal(1)))) == {ww.TYRE: 1}


def test_an_old_part_that_went_back_and_stands_in_the_ledger_is_a_case():
    back = returned("R1", (BATTERY, "insurer", Decimal(1)))
    (found,) = cases(BATTERY_VISIT, back, BATTERY_DECLARED)
    assert (found.reason, found.severity, found.code, found.expected, found.found) == (
        "old-part-returned",
        "warning",
        BATTERY,
        0,
        1,
    )
    assert {one.key for one in found.evidence} == {f"{KEY}old-part-return:R1", f"{KEY}waste-event:E1"}
    assert cases(BATTERY_VISIT, back) == []


def test_an_old_part_that_stays_and_no_entry_meets_is_a_case_once_the_time_is_over():
    kept = returned("R1", (BATTERY, "shop", Decimal(1)))
    assert cases(BATTERY_VISIT, kept, BATTERY_DECLARED) == []
    assert cases(BATTERY_VISIT, kept, today=DAY + timedelta(31)) == []
    found = {one.reason: one for one in cases(BATTERY_VISIT, kept, today=DAY + timedelta(32))}
    assert found.keys() == {"undeclared", "old-part-undeclared"}
    one = found["old-part-undeclared"]
    assert (one.severity, one.expected, one.found) == ("breach", 1, 0)
    assert {shown.key for shown in one.evidence} == {f"{KEY}old-part-return:R1", f"{KEY}R1"}


def test_a_month_within_its_tolerance_does_not_hide_it():
    visits = [ww.repair(f"R{at}", DAY, "battery") for at in range(1, 6)]
    declared = [ww.event(f"E{at}", DAY, "generated", BATTERY, 1, costlistcode=f"R{at}") for at in range(2, 6)]
    kept = returned("R1", (BATTERY, "shop", Decimal(1)))
    assert [one.reason for one in cases(*visits, *declared, kept)] == ["old-part-undeclared"]


def test_two_parts_of_one_code_are_missed_together():
    both = ww.repair("R1", DAY, "other")._replace(
        parts=(Part("机油滤清器", Decimal(1), "P1"), Part("汽油滤芯", Decimal(1), "P2"))
    )
    kept = returned("R1", (FILTER, "shop", Decimal(2)))
    found = {one.reason: one for one in cases(both, kept)}
    assert (found["old-part-undeclared"].expected, found["old-part-undeclared"].found) == (Decimal("0.8"), 0)


def test_a_count_below_nothing_makes_no_more_waste():
    assert expected(BATTERY_VISIT, returned("R1", (BATTERY, "insurer", Decimal(-1)))) == {BATTERY: 1}


def test_insurer_and_shop_that_do_not_agree_are_a_case():
    told = returned("R1", (BATTERY, "insurer", Decimal(1)), agrees=False)
    (found,) = cases(BATTERY_VISIT, told, disposal("R1", "1"))
    assert (found.reason, found.details) == ("old-part-disputed", ("P0",))
    assert {one.what for one in found.evidence} == {"old-part-return", "old-part-disposal"}


HOLDERS = st.sampled_from(["insurer", "owner", "shop", "unknown"])


@given(st.integers(0, 10**6), st.randoms(use_true_random=False), HOLDERS, st.sampled_from([None, "1", "2", "3"]))
def test_a_shop_that_declares_what_stays_has_no_case_whatever_went_back(seed, random, holder, word):
    """A clean shop; of one battery visit the part goes away or stays, and the ledger follows it."""
    world = ww.World(seed)
    visits = [one.record for one in world.facts.values() if one.kind == "repair"]
    visit = random.choice([one for one in visits if one.parts[0].name == "瓦尔塔蓄电池"])
    back = returned(visit.costlistcode, (BATTERY, holder, Decimal(1)))
    world.put(back.model_copy(update={"settledate": visit.settledate}), f"B{visit.costlistcode}")
    if word:
        world.put(disposal(visit.costlistcode, word), f"D{visit.costlistcode}")
    found = [one for one in WASTE.derive(SHOP, world.shuffled(), world.today) if isinstance(one, w.WasteCase)]
    gone = holder in ("insurer", "owner") or word in ("1", "3")
    entries = [one.record for one in world.facts.values() if one.kind == "waste-event"]
    named = any(one.costlistcode == visit.costlistcode for one in entries)
    assert [one.reason for one in found] == (["old-part-returned"] if gone and named else [])
