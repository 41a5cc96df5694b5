"""The shipped tables, row by row of domain table 7.3, and what holds for every record."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_strategies import DEALERS, REGISTRATIONS, facts

from mappings import divisions
from mappings.records import VehicleRegistration
from routing.errors import NoRoute
from routing.facts import facts_of
from routing.homes import MemoryRegistrations
from routing.steps import Routing
from routing.table import SHIPPED, load_table

DAY = date(2025, 2, 15)
VIN = "LSVAL41Z882104202"
GUANGDONG, BINGTUAN, SHANGHAI = "440100000000001", "659001000000001", "310000010001"
PROPERTY = settings(max_examples=300, derandomize=True, deadline=None)


def route(table, plate="京A12345", company=GUANGDONG, system="44", *, origin=1, held=(), registrations=None, day=DAY):
    seen = facts_of(VIN, plate, company, day, system, origin, dealers=DEALERS, held=held)
    return load_table(table).route(seen, registrations)


def ends(table, *args, **kwargs):
    decided = route(table, *args, **kwargs)
    return (
        [(found.destination, found.repaircomefrom) for found in decided.routes] or decided.filtered or decided.waiting
    )


def decide(table, seen, registrations):
    """What `route` gives, with the error as a value."""
    try:
        return table.route(seen, registrations)
    except NoRoute as hole:
        return Routing(hole=hole)


def registered(*entries):
    return MemoryRegistrations(
        VehicleRegistration(vin=VIN, home=home, valid_from=valid_from) for home, valid_from in entries
    )


class TestCollect:
    @pytest.mark.parametrize("plate", ["京A12345", "123456使", "KA12345", "", "新A12345"])
    @pytest.mark.parametrize("system", ["44", "11", "bt"])
    def test_always_to_the_collecting_province(self, plate, system):
        assert ends("collect", plate, system=system) == [(f"province-{system}", 1)]

    @pytest.mark.parametrize("key", divisions.PROVINCES)
    def test_every_province_has_its_destination(self, key):
        assert ends("collect", system=key) == [(f"province-{key}", 1)]

    @pytest.mark.parametrize("system", ["", "81", "oem-SVW", "440000"])
    def test_what_is_no_province_is_a_hole(self, system):
        with pytest.raises(NoRoute, match="collect"):
            route("collect", system=system)


class TestHeadquarters:
    def test_to_the_ministry_and_to_the_shop_s_province_as_come_down(self):
        assert ends("headquarters", system="oem-SVW") == [("ministry", 1), ("province-44", 2)]

    def test_goes_by_shop_and_not_by_make_or_plate(self):
        assert ends("headquarters", "新A12345", BINGTUAN, "oem-BYD") == [("ministry", 1), ("province-bt", 2)]

    @pytest.mark.parametrize(
        ("company", "system", "day"),
        [
            pytest.param(GUANGDONG, "oem-BYD", DAY, id="dealer of another OEM"),
            pytest.param(GUANGDONG, "oem-SVW", date(2025, 1, 31), id="not yet a dealer"),
            pytest.param(BINGTUAN, "oem-BYD", date(2025, 1, 19), id="OEM not yet on the list"),
            pytest.param(SHANGHAI, "oem-SVW", DAY, id="no dealer"),
            pytest.param(SHANGHAI, "oem-", DAY, id="no dealer and no OEM"),
            pytest.param("881812000000001", "oem-SVW", DAY, id="a dealer in no province"),
            pytest.param(GUANGDONG, "44", DAY, id="not from a headquarters"),
        ],
    )
    def test_anything_else_is_a_hole(self, company, system, day):
        with pytest.raises(NoRoute, match="dealer_of"):
            route("headquarters", company=company, system=system, day=day)

    def test_what_came_down_does_not_go_up(self):
        assert ends("headquarters", system="oem-SVW", origin=2) == "came-down"


class TestReport:
    def test_own_records_go_up(self):
        assert ends("report") == ends("report", "123456使") == [("ministry", 1)]

    @pytest.mark.parametrize("system", ["44", "11", "oem-SVW"])
    def test_what_came_down_does_not(self, system):
        assert ends("report", system=system, origin=2) == "came-down"

    def test_a_headquarters_record_as_own_is_a_hole(self):
        with pytest.raises(NoRoute):
            route("report", system="oem-SVW")


class TestPush:
    def test_same_province_stays(self):
        assert ends("push", "粤A12345") == "at-home"

    def test_other_province_is_pushed_as_come_down(self):
        assert ends("push", "京A12345") == [("province-11", 2)]

    @pytest.mark.parametrize("plate", ["粤Z1234港", "粤Z1234澳"])
    def test_hong_kong_and_macau_plates_are_at_home_in_guangdong(self, plate):
        assert ends("push", plate, system="31") == [("province-44", 2)]
        assert ends("push", plate, system="44") == "at-home"

    @pytest.mark.parametrize(
        ("plate", "reason"), [("123456使", "embassy"), ("KA12345", "military"), ("临京A12345", "temporary")]
    )
    def test_plates_without_a_home_stay_with_their_reason(self, plate, reason):
        assert ends("push", plate) == reason

    def test_unknown_home_waits_and_a_registration_ends_it(self):
        assert ends("push", "N/A") == "home-unknown"
        assert ends("push", "N/A", registrations=registered(("31", date(2020, 1, 1)))) == [("province-31", 2)]
        assert ends("push", "N/A", registrations=registered(("31", date(2025, 9, 1)))) == [("province-31", 2)]

    def test_bingtuan(self):
        assert ends("push", "新A12345", BINGTUAN, "bt") == "at-home"
        assert ends("push", "新A12345", system="44") == [("province-65", 2)]
        moved = registered(("bt", date(2020, 1, 1)))
        assert ends("push", "新A12345", system="65", registrations=moved) == [("province-bt", 2)]

    def test_a_registration_that_moves_a_vehicle_pushes_what_is_held(self):
        before = registered(("11", date(2020, 1, 1)))
        after = registered(("11", date(2020, 1, 1)), ("51", date(2025, 9, 1)))
        assert ends("push", registrations=before, held={"province-11"}) == "held"
        assert ends("push", registrations=after, held={"province-11"}) == [("province-51", 2)]
        assert ends("push", registrations=after) == [("province-11", 2), ("province-51", 2)]
        assert ends("push", registrations=after, held={"province-11", "province-51"}) == "held"

    def test_home_at_the_time_is_the_shop_s_and_the_later_one_is_not(self):
        moved = registered(("44", date(2020, 1, 1)), ("51", date(2025, 9, 1)))
        assert ends("push", registrations=moved) == [("province-51", 2)]

    def test_headquarters_records_leave_out_the_shop_s_province(self):
        assert ends("push", "粤A12345", system="oem-SVW") == "at-home"
        assert ends("push", "京A12345", system="oem-SVW") == [("province-11", 2)]
        assert ends("push", "京A12345", system="oem-SVW", held={"province-11"}) == "held"

    def test_a_shop_that_another_province_collects_is_pushed_home(self):
        """What counts is who holds the record, not what the company code says."""
        assert ends("push", "粤A12345", GUANGDONG, "31") == [("province-44", 2)]


class TestHome:
    def test_to_the_home_province_whoever_collected(self):
        assert ends("home") == ends("home", system="") == [("province-11", 1)]

    def test_registration_first(self):
        assert ends("home", registrations=registered(("31", date(2020, 1, 1)))) == [("province-31", 1)]

    @pytest.mark.parametrize(
        ("plate", "reason"),
        [("123456使", "embassy"), ("WJ京12345", "military"), ("临京A12345", "temporary"), ("", "home-unknown")],
    )
    def test_without_home(self, plate, reason):
        decided = route("home", plate)
        assert (decided.filtered or decided.waiting) == reason
        assert decided.outcome == ("waiting" if reason == "home-unknown" else "filtered")


@PROPERTY
@given(st.sampled_from(SHIPPED), facts(), REGISTRATIONS)
def test_every_record_comes_to_exactly_one_end(name, seen, registrations):
    decided = decide(load_table(name), seen, registrations)
    assert [bool(end) for end in decided].count(True) == 1
    assert decided.hole is None or (decided.hole.table == name and seen.vin not in str(decided.hole))
    names = [found.destination for found in decided.routes]
    assert len(names) == len(set(names))
    assert set(names) <= {"ministry"} | {f"province-{key}" for key in divisions.PROVINCES}


@PROPERTY
@given(st.sampled_from(SHIPPED), facts(), REGISTRATIONS)
def test_nothing_that_came_down_goes_up(name, seen, registrations):
    decided = load_table(name).explain(seen._replace(repaircomefrom=2), registrations)[-1].decided
    assert all(found.destination != "ministry" for found in decided.routes)


@PROPERTY
@given(facts(), REGISTRATIONS)
def test_push_sends_nothing_to_where_it_is(seen, registrations):
    for found in load_table("push").explain(seen, registrations)[-1].decided.routes:
        assert found.destination not in seen.held
        assert found.destination != f"province-{seen.system}"
        assert found.repaircomefrom == 2
        if seen.system.startswith("oem-"):
            assert found.destination != f"province-{seen.shop_province}"


@PROPERTY
@given(st.sampled_from(SHIPPED), facts(), REGISTRATIONS)
def test_explain_is_route(name, seen, registrations):
    table = load_table(name)
    home, *rules, conclusion = table.explain(seen, registrations)
    assert conclusion.decided == decide(table, seen, registrations)
    assert home.part == "home"
    assert [line.name for line in rules] == [rule.name for rule in table.rules]
    chosen = [destination for line in rules if line.verdict == "matched" for destination in line.destinations]
    assert chosen == [found.destination for found in conclusion.decided.routes]
    assert all(line.zh and line.en for line in (home, *rules, conclusion))
