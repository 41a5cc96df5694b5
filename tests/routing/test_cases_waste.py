"""Waste derived from a shop's facts: seeded imbalances are all found and no false one, whatever order facts come in."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
import waste_world as ww
from hypothesis import given, settings
from hypothesis import strategies as st
from waste_world import BATTERY, CARBON, FILTER, OIL, SHOP, TYRE, World

from mappings.documents import waste as w
from mappings.documents.wasteforms import encode_message
from mappings.reading import read
from routing.cases.waste import Settings, Waste
from routing.wastereference import WasteReference, load_licences

WASTE = Waste(Settings())
seeds = st.integers(0, 10**6)


def derived(facts, today, waste=WASTE):
    return list(waste.derive(SHOP, facts, today))


def cases(facts, today, waste=WASTE):
    return [one for one in derived(facts, today, waste) if isinstance(one, w.WasteCase)]


def told(found):
    return sorted((one.reason, one.code) for one in found)


def of(world):
    return cases(world.facts.values(), world.today)


def single(*records, today=date(2024, 6, 1), waste=WASTE):
    """The cases of a few records, numbered as they say themselves."""
    facts = [ww.fact(one, getattr(one, "number", None) or one.costlistcode) for one in records]
    return cases(facts, today, waste)


@given(seeds)
def test_a_clean_shop_has_no_case_and_every_month_balances(seed):
    world = World(seed)
    found = derived(world.facts.values(), world.today)
    assert [one for one in found if isinstance(one, w.WasteCase)] == []
    balances = [one for one in found if isinstance(one, w.WasteBalance)]
    assert {(one.code, one.month) for one in balances} >= {(code, "2024-01") for code in ww.CODES}
    for one in balances:
        assert one.balanced
        moved = one.generated + one.received - one.handedover - one.used - one.disposed - one.takenout
        assert one.opening + moved == one.closing
        assert one.undeclared <= one.expected


@given(seeds, st.sampled_from([OIL, FILTER, BATTERY, TYRE]), st.integers(1, 4))
def test_waste_that_is_not_declared_is_found_in_its_month(seed, code, month):
    world = World(seed, omit={(code, month)})
    found = of(world)
    assert {(one.reason, one.code) for one in found} <= {("undeclared", code)}
    missing = {one.month: one for one in found}
    assert f"2024-{month:02d}" in missing
    one = missing[f"2024-{month:02d}"]
    repairs = {fact.key: fact.record for fact in world.facts.values() if fact.kind == "repair"}
    assert one.evidence
    assert all(shown.key in repairs and repairs[shown.key].settledate == shown.day for shown in one.evidence)
    assert sum(shown.quantity for shown in one.evidence) == one.expected - one.found > one.tolerance


@given(seeds, st.sampled_from([OIL, FILTER, BATTERY, TYRE]), st.integers(1, 4))
def test_waste_beyond_all_repairs_is_a_lead(seed, code, month):
    world = World(seed, surplus=(code, month, Decimal(300)))
    found = of(world)
    assert told(found) == [("unexplained", code)]
    assert (found[0].month, found[0].severity) == (f"2024-{month:02d}", "warning")


@given(seeds, st.sampled_from([OIL, FILTER, BATTERY, TYRE]), st.integers(1, 3))
def test_more_out_than_in_is_found_once(seed, code, month):
    world = World(seed, counts=False)
    day = world.month_ends[month - 1]
    number = world.number("20243301")
    world.put(ww.manifest(number, day, code, 400), number)
    world.add(day, "handed-over", code, 400, manifest=number, licence=ww.LICENCE if code != TYRE else None)
    found = of(world)
    assert told(found) == [("overdrawn", code)]
    assert found[0].month == f"2024-{month:02d}"
    assert any(shown.what == "handed-over" and shown.quantity == -400 for shown in found[0].evidence)


@given(seeds, st.sampled_from([OIL, FILTER, BATTERY, TYRE]), st.integers(0, 3), st.sampled_from([-1, 1]))
def test_a_count_that_differs_is_found_and_the_right_ones_after_it_are_not(seed, code, month, sign):
    world = World(seed)
    last = world.month_ends[month]
    place, counted = next(
        (place, one.record)
        for place, one in world.facts.items()
        if one.kind == "waste-event" and (one.record.event, one.record.code, one.record.day) == ("counted", code, last)
    )
    wrong = counted.quantity + 60 if sign > 0 or counted.quantity < 60 else counted.quantity - 60
    world.facts[place] = world.facts[place]._replace(record=counted.model_copy(update={"quantity": wrong}))
    found = of(world)
    assert told(found) == [("count-differs", code)]
    assert (found[0].expected, found[0].found) == (counted.quantity, wrong)
    assert found[0].evidence[-1].day <= last


@given(seeds, st.integers(300, 420))
def test_what_lies_there_too_long_is_found_to_the_day(seed, age):
    world = World(seed)
    lot = world.add(world.today - timedelta(age), "generated", CARBON, "12.5", batch="HWCS20230101001")
    found = of(world)
    wanted = [] if age <= 335 else ["storage-due"] if age <= 365 else ["storage-overdue"]
    assert [one.reason for one in found] == wanted
    if found:
        assert (found[0].due, found[0].found) == (lot.day + timedelta(365), Decimal("12.5"))
        assert [shown.key for shown in found[0].evidence] == [f"33|{SHOP}|waste-event:{lot.number}"]


@given(seeds, st.integers(50, 75))
def test_silence_begins_after_sixty_days(seed, age):
    world = World(seed)
    world.today = max(one.record.day for one in world.facts.values() if one.kind == "waste-event") + timedelta(age)
    number = world.number("R")
    world.put(ww.repair(number, world.today - timedelta(10), "oil"), number)
    found = of(world)
    assert told(found) == ([("silence", None)] if age > 60 else [])


@given(seeds)
def test_a_red_entry_without_ground_is_found(seed):
    world = World(seed)
    world.add(date(2024, 2, 3), "generated", OIL, -7, reverses="E-NONE")
    found = of(world)
    assert told(found) == [("red-unfounded", OIL)]
    assert found[0].found == 7


@given(seeds, st.data())
def test_manifests_that_do_not_fit_the_ledger_are_found(seed, data):
    world = World(seed)
    place = data.draw(
        st.sampled_from(sorted(key for key in world.facts if isinstance(key, tuple) and key[0] == "waste-manifest"))
    )
    one = world.facts[place].record
    entry = next(
        key for key, fact in world.facts.items() if fact.kind == "waste-event" and fact.record.manifest == one.number
    )
    way = data.draw(st.sampled_from(["lost entry", "no number", "weight", "receiver", "received"]))
    if way == "lost entry":
        record = world.facts[entry].record
        world.facts[entry] = world.facts[entry]._replace(
            record=record.model_copy(update={"event": "disposed", "manifest": None})
        )
        wanted = {"manifest-without-entry"}
    elif way == "no number":
        record = world.facts[entry].record
        world.facts[entry] = world.facts[entry]._replace(record=record.model_copy(update={"manifest": None}))
        del world.facts[place]
        wanted = set() if one.code == BATTERY else {"entry-without-manifest"}
    elif way == "weight":
        changed = one.model_copy(update={"quantity": one.quantity + 50, "received": one.quantity + 50})
        world.facts[place] = world.facts[place]._replace(record=changed)
        wanted = {"manifest-differs"}
    elif way == "received":
        changed = one.model_copy(update={"received": one.quantity + 300})
        world.facts[place] = world.facts[place]._replace(record=changed)
        wanted = {"manifest-weight"} if one.unit == "kg" else set()
    else:
        changed = one.model_copy(update={"licence": "unknown"})
        world.facts[place] = world.facts[place]._replace(record=changed)
        wanted = {"manifest-gates"}
    found = of(world)
    assert {case.reason for case in found} == wanted
    if way == "receiver":
        assert found[0].details == ("RECEIVER_NOT_LICENSED",)


@settings(max_examples=25)
@given(seeds)
def test_order_and_repetition_change_nothing(seed):
    world = World(seed, omit={(OIL, 2)}, surplus=(BATTERY, 3, Decimal(40)))
    world.add(date(2024, 2, 3), "generated", OIL, -7, reverses="E-NONE")
    world.add(date(2023, 2, 3), "generated", CARBON, 7)
    plain = derived(world.facts.values(), world.today)
    assert len({one.listed for one in plain}) == len(plain)
    shuffled = derived(world.shuffled(), world.today)
    assert {one.listed: one.content() for one in shuffled} == {one.listed: one.content() for one in plain}


@settings(max_examples=10)
@given(seeds)
def test_what_follows_travels_and_says_nothing_of_the_vehicle(seed):
    world = World(seed, omit={(OIL, 2)})
    for one in derived(world.facts.values(), world.today):
        assert type(one).of_members(one.members()) == one
        assert one.identity.vin == ""
        assert "浙A12345" not in one.content().decode()
        assert read(encode_message(one)).dialect == "waste"


@given(st.lists(st.sampled_from(range(60)), max_size=20), seeds)
def test_it_never_raises_whatever_is_missing(gone, seed):
    world = World(seed % 7, months=2)
    facts = [one for place, one in enumerate(world.facts.values()) if place % 60 not in set(gone)]
    derived(facts, world.today)


def test_days_that_are_none_are_left_out():
    odd = [ww.event("1", date.min, "generated", OIL, 5), ww.event("2", date.max, "handed-over", OIL, 5)]
    trip = ww.manifest("20243301000001", date.max, OIL, 5)
    assert single(*odd, trip) == []


def test_what_was_declared_before_the_first_repair_known_needs_no_explanation():
    first = ww.repair("R1", date(2024, 5, 20), "other")
    made = ww.event("1", date(2024, 5, 19), "generated", OIL, 90)
    later = ww.event("1", date(2024, 5, 20), "generated", OIL, 90)
    assert single(first, made) == []
    assert [one.reason for one in single(first, later)] == ["unexplained"]


def test_expected_waste_says_which_rows_let_expect_it():
    facts = [ww.fact(ww.repair("R1", date(2024, 5, 2), "oil"), "R1")]
    (one,) = [one for one in derived(facts, date(2024, 5, 3)) if isinstance(one, w.WasteExpected)]
    assert one.identity == (SHOP, "R1", date(2024, 5, 2), "")
    assert [(item.rule, item.code, item.quantity, item.unit, item.because) for item in one.items] == [
        ("engine-oil", OIL, Decimal("3.5"), "kg", ("parts[0]",)),
        ("oil-filter", FILTER, Decimal("0.4"), "kg", ("parts[1]",)),
        ("oil-can", "900-249-08", Decimal("0.3"), "kg", ("parts[0]",)),
    ]


def test_fifo_takes_the_oldest_unless_a_batch_is_named():
    old = ww.event("9", date(2023, 1, 1), "generated", CARBON, 10, batch="HWCS20230101001")
    new = ww.event("2", date(2024, 5, 1), "generated", CARBON, 10, batch="HWCS20240501001")
    stored = ww.event("3", date(2024, 5, 2), "stored", CARBON, 10, batch="HWRK1", ofbatches=("HWCS20240501001",))
    out = ww.event("4", date(2024, 5, 3), "disposed", CARBON, 10)
    named = ww.event("4", date(2024, 5, 3), "disposed", CARBON, 10, ofbatches=("HWRK1",))
    assert single(old, new, out) == []
    (found,) = single(old, new, stored, named)
    assert (found.reason, found.found) == ("storage-overdue", 10)


def test_taken_out_is_out_once_whether_a_later_entry_says_where_to_or_not():
    made = ww.event("1", date(2024, 5, 1), "generated", CARBON, 10)
    taken = ww.event("2", date(2024, 5, 3), "taken-out", CARBON, 10, batch="HWCK20240503001")
    used = ww.event("3", date(2024, 5, 4), "used", CARBON, 10, ofbatches=("HWCK20240503001",))
    for records in ((made, taken), (made, taken, used), (made, used)):
        facts = [ww.fact(one, one.number) for one in records]
        (balance,) = derived(facts, date(2024, 5, 5))
        assert (balance.closing, balance.takenout + balance.used, balance.balanced) == (0, 10, True)


def test_pieces_and_kilograms_of_one_code_are_one_account():
    made = ww.event("1", date(2024, 5, 1), "generated", BATTERY, 2)
    out = ww.event("2", date(2024, 5, 2), "handed-over", BATTERY, 30, unit="kg")
    found = derived([ww.fact(one, one.number) for one in (made, out)], date(2024, 5, 5))
    assert [(one.unit, one.closing) for one in found] == [("piece", 0)]


def test_more_in_store_than_was_made_is_found():
    made = ww.event("1", date(2024, 5, 1), "generated", CARBON, 10)
    stored = ww.event("2", date(2024, 5, 1), "stored", CARBON, 30)
    (found,) = single(made, stored)
    assert (found.reason, found.expected, found.found) == ("stored-exceeds", 10, 30)


def test_a_difference_that_lasts_is_one_case_and_a_second_one_another():
    made = ww.event("1", date(2024, 4, 1), "generated", CARBON, 100)
    counts = [ww.event(f"C{day}", date(2024, 4, day), "counted", CARBON, 60) for day in (10, 20, 30)]
    assert [one.number for one in single(made, *counts, today=date(2024, 5, 20))] == ["count-differs:900-039-49:kg:C10"]
    less = counts[2].model_copy(update={"quantity": Decimal(20)})
    found = single(made, *counts[:2], less, today=date(2024, 5, 20))
    assert [one.found for one in found] == [60, 20]


def test_the_gap_stays_in_its_month_and_no_entry_is_wasted_on_it():
    january, february = [[date(2024, month, day) for day in (5, 12, 19)] for month in (1, 2)]
    visits = [ww.repair(f"R{day}", day, "tyre") for day in (*january, *february)]
    entries = [ww.event(f"E{day}", day + timedelta(3), "generated", TYRE, 2) for day in february]
    (found,) = single(*visits, *entries, today=date(2024, 3, 20))
    assert (found.reason, found.month, found.expected, found.found) == ("undeclared", "2024-01", 6, 0)
    two = [ww.repair(f"R{day}", date(2024, 1, day), "tyre") for day in (10, 30)]
    late = [ww.event(f"E{day}", day, "generated", TYRE, 2) for day in (date(2024, 1, 31), date(2024, 2, 20))]
    assert single(*two, *late, today=date(2024, 3, 20)) == []


@pytest.mark.parametrize(
    ("age", "reasons"), [(335, []), (336, ["storage-due"]), (365, ["storage-due"]), (366, ["storage-overdue"])]
)
def test_the_days_of_storage(age, reasons):
    today = date(2024, 6, 1)
    made = ww.event("1", today - timedelta(age), "generated", CARBON, 10)
    said = ww.event("2", today, "counted", CARBON, 10)
    assert [one.reason for one in single(made, said, today=today)] == reasons


def test_a_red_entry_takes_back_no_more_than_there_was_and_nothing_else():
    made = ww.event("1", date(2024, 5, 1), "generated", CARBON, 10)
    red = ww.event("2", date(2024, 5, 2), "generated", CARBON, -15, reverses="1")
    (found,) = single(made, red)
    assert (found.reason, found.found) == ("red-unfounded", 5)
    other = ww.event("3", date(2024, 5, 2), "generated", OIL, -1, reverses="1")
    assert [one.reason for one in single(made, other)] == ["red-unfounded"]


@pytest.mark.parametrize(
    ("days", "reasons"), [(31, []), (30, ["licence-expiring"]), (0, ["licence-expiring"]), (-1, ["licence-expired"])]
)
def test_a_licence_warns_thirty_days_before_it_ends(days, reasons):
    today = date(2024, 6, 1)
    ending = ww.licence(validto=today + timedelta(days))
    assert [one.reason for one in single(ending, today=today)] == reasons
    renewed = ww.licence("浙危废经第2号", validto=today + timedelta(900))
    assert single(ending, renewed, today=today) == []


def test_licences_of_the_reference_list_count_where_the_shop_uses_them():
    text = f"number,holder,from,to,category,codes\nL-1,{ww.RECEIVER},2020-01-01,2024-06-10,HW08,900-214-08|900-249-08\n"
    waste = Waste(Settings(), WasteReference(load_licences(text)))
    made = ww.event("1", date(2024, 5, 20), "generated", "900-249-08", 10)
    out = ww.event("2", date(2024, 5, 20), "handed-over", "900-249-08", 10, manifest="M", counterpart=ww.RECEIVER)
    assert [one.reason for one in single(made, out, waste=waste)] == ["licence-expiring"]
    wrong = ww.event("2", date(2024, 5, 20), "handed-over", CARBON, 10, manifest="M", counterpart=ww.RECEIVER)
    made = ww.event("1", date(2024, 5, 20), "generated", CARBON, 10)
    found = single(made, wrong, waste=waste)
    assert [one.reason for one in found] == ["receiver-unlicensed", "licence-expiring"]
    assert found[0].details == ("L-1",)
    assert single(made, waste=waste) == []


def test_a_manifest_on_the_road_too_long_is_late():
    trip = ww.manifest("20243301000001", date(2024, 5, 20), CARBON, 10, state="IN_TRANSIT", received=None)
    made = ww.event("1", date(2024, 5, 20), "generated", CARBON, 10)
    out = ww.event("2", date(2024, 5, 20), "handed-over", CARBON, 10, manifest=trip.number)
    assert single(trip, made, out, today=date(2024, 5, 27)) == []
    (found,) = single(trip, made, out, today=date(2024, 5, 28))
    assert (found.reason, found.severity, found.due) == ("manifest-late", "warning", date(2024, 5, 27))


def order(status):
    producer = w.OrderParty(id="p")
    return w.WasteOrder(
        issuer=SHOP,
        number="O-1",
        day=date(2024, 5, 1),
        code=CARBON,
        category="HW49",
        status=status,
        unit="kg",
        weight=Decimal(10),
        producer=producer,
    )


def test_what_was_carried_off_under_an_order_stands_in_the_ledger():
    signing = w.TransportSigning(vehicle="浙A1")
    signature = w.WasteSignature(
        issuer=SHOP, number="O-1:transporter", day=date(2024, 5, 2), order="O-1", party="transporter", transport=signing
    )
    made = ww.event("1", date(2024, 5, 1), "generated", CARBON, 10)
    out = ww.event("2", date(2024, 5, 20), "handed-over", CARBON, 10, manifest="O-1")
    assert single(order("1"), made) == []
    for records in ((order("2"), made), (order("1"), signature, made)):
        assert [one.reason for one in single(*records)] == ["manifest-without-entry"]
        assert single(*records, out) == []
    assert single(order("2"), made, today=date(2024, 5, 8)) == []


def test_a_limit_is_a_setting():
    made = ww.event("1", date(2024, 4, 1), "generated", CARBON, 10)
    assert [one.reason for one in single(made, today=date(2024, 5, 20), waste=Waste(Settings(storage_days=30)))] == [
        "storage-overdue"
    ]
    with pytest.raises(ValueError, match="storage_dayz"):
        Settings(storage_dayz=1)
