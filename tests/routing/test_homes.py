"""The rows of domain table 7.3 that say where a vehicle is at home."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings import divisions, plates
from mappings.records import VehicleRegistration
from routing.facts import facts_of
from routing.homes import MemoryRegistrations, home_by_plate, homes_for

DAY = date(2025, 6, 15)
VIN = "LSVAL41Z882104202"


def registration(home, valid_from, valid_to=None, vin=VIN):
    return VehicleRegistration(vin=vin, home=home, valid_from=valid_from, valid_to=valid_to)


def homes(plate, *registrations, system="44", company="440100000000001", day=DAY):
    return homes_for(facts_of(VIN, plate, company, day, system), MemoryRegistrations(registrations))


@pytest.mark.parametrize(
    ("plate", "system", "state", "home", "reason"),
    [
        pytest.param("京A12345", "44", "known", "11", "", id="province character"),
        pytest.param("沪A-１２３４５", "44", "known", "31", "", id="as written, full width and dash"),
        pytest.param("粤BD12345", "31", "known", "44", "", id="new energy, 8 characters"),
        pytest.param("粤Z1234港", "31", "known", "44", "", id="粤Z 港"),
        pytest.param("粤Z1234澳", "31", "known", "44", "", id="粤Z 澳"),
        pytest.param("京A1234警", "44", "known", "11", "", id="police"),
        pytest.param("沪A1234领", "44", "known", "31", "", id="consulate"),
        pytest.param("京??", "44", "known", "11", "", id="broken but the province shows"),
        pytest.param("新A12345", "65", "known", "65", "", id="新 alone is Xinjiang"),
        pytest.param("新A12345", "44", "known", "65", "", id="新 repaired elsewhere"),
        pytest.param("新A12345", "bt", "known", "bt", "", id="新 collected by 兵团's own system"),
        pytest.param("新A1234学", "bt", "known", "bt", "", id="新 trainer collected by 兵团"),
        pytest.param("京A12345", "bt", "known", "11", "", id="only 新 plates can be 兵团's"),
        pytest.param("123456使", "11", "none", "", "embassy", id="使"),
        pytest.param("使123456", "11", "none", "", "embassy", id="使, old form"),
        pytest.param("KA12345", "11", "none", "", "military", id="military"),
        pytest.param("WJ京12345", "11", "none", "", "military", id="armed police names no home"),
        pytest.param("临京A12345", "11", "none", "", "temporary", id="temporary"),
        pytest.param("京A临12345", "44", "none", "", "temporary", id="temporary after the province"),
        pytest.param("", "44", "unknown", "", "home-unknown", id="no plate"),
        pytest.param("N/A", "44", "unknown", "", "home-unknown", id="placeholder"),
        pytest.param("台A12345", "44", "unknown", "", "home-unknown", id="no participating province"),
    ],
)
def test_home_by_plate(plate, system, state, home, reason):
    found = homes(plate, system=system)
    assert (found.state, found.keys, found.reason) == (state, (home,) if home else (), reason)


def test_a_shop_of_bingtuan_is_not_enough():
    """Home of a 新 plate is 兵团 only where its own system collected, wherever the shop stands."""
    assert homes("新A12345", system="65", company="659001000000001").keys == ("65",)


def test_registration_comes_before_the_plate():
    assert homes("京A12345", registration("31", date(2020, 1, 1))).keys == ("31",)


def test_registration_gives_a_special_or_unreadable_plate_its_home():
    entry = registration("31", date(2020, 1, 1))
    assert homes("123456使", entry).keys == homes("", entry).keys == ("31",)


def test_registration_in_659001_is_bingtuan_wherever_it_was_repaired():
    assert homes("新A12345", registration("bt", date(2020, 1, 1)), system="44").keys == ("bt",)


def test_registration_in_xinjiang_wins_over_a_bingtuan_shop():
    assert homes("新A12345", registration("65", date(2020, 1, 1)), system="bt").keys == ("65",)


@pytest.mark.parametrize(
    ("valid_from", "valid_to", "expected"),
    [
        (DAY, DAY, "31"),
        (date(2020, 1, 1), DAY, "31"),
        (DAY, None, "31"),
        (date(2020, 1, 1), date(2025, 6, 14), "11"),
    ],
)
def test_both_ends_of_validity_count(valid_from, valid_to, expected):
    assert homes("京A12345", registration("31", valid_from, valid_to)).keys == (expected,)


def test_of_overlapping_registrations_the_latest_begun_counts():
    entries = (registration("44", date(2024, 1, 1)), registration("31", date(2020, 1, 1)))
    assert homes("京A12345", *entries).keys == ("44",)
    assert homes("京A12345", *reversed(entries)).keys == ("44",)


def test_a_corrected_registration_replaces_the_one_of_the_same_day():
    entries = (registration("44", date(2025, 7, 1)), registration("31", date(2025, 7, 1)))
    assert homes("京A12345", *entries).keys == ("11", "31")


def test_moved_vehicle_has_its_home_then_and_every_later_one_once():
    moves = (
        registration("31", date(2020, 1, 1), date(2025, 6, 30)),
        registration("44", date(2025, 7, 1), date(2025, 8, 1)),
        registration("31", date(2025, 8, 2), date(2025, 9, 1)),
        registration("51", date(2025, 9, 2)),
    )
    assert homes("京A12345", *moves).keys == ("31", "44", "51")
    assert homes("京A12345", *moves, day=date(2025, 8, 15)).keys == ("31", "51")


@pytest.mark.parametrize("plate", ["", "123456使"])
def test_a_later_registration_ends_the_wait(plate):
    assert homes(plate, registration("31", date(2025, 7, 1))).keys == ("31",)


def test_registered_where_no_system_takes_part():
    found = homes("京A12345", registration("81", date(2020, 1, 1)))
    assert (found.state, found.reason) == ("none", "no-system")


def test_registrations_of_other_vehicles_do_not_count():
    assert homes("京A12345", registration("31", date(2020, 1, 1), vin="LFV2A21KXE4176550")).keys == ("11",)


def test_at_gives_the_registration_in_force():
    old, new = registration("31", date(2020, 1, 1), date(2024, 12, 31)), registration("44", date(2025, 1, 1))
    held = MemoryRegistrations([new, old])
    assert held.at(VIN, date(2024, 12, 31)) == old
    assert held.at(VIN, date(2025, 1, 1)) == new
    assert held.at(VIN, date(2019, 1, 1)) is None
    assert held.all_homes(VIN) == (old, new)
    assert (len(held), held.all_homes("?")) == (1, ())


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.sampled_from("京津沪粤新"),
    st.text(alphabet="AZO0159?WJ临使领港警学.", max_size=8),
    st.sampled_from(["44", "bt"]),
)
def test_the_short_way_agrees_with_the_forms_of_ga_36(character, rest, system):
    plate = plates.normalise(character + rest)
    found = home_by_plate(plate, system)
    if plates.special(plate):
        assert found.state == "none"
    elif character == "新" and system == "bt":
        assert found.key == "bt"
    else:
        assert found.key == plates.province_key(plate)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(max_size=12), st.sampled_from([*divisions.PROVINCES, "oem-SVW", ""]))
def test_any_text_is_known_none_or_unknown(plate, system):
    found = homes(plate, system=system)
    assert found.state in {"known", "none", "unknown"}
    assert bool(found.keys) == (found.state == "known")
    assert bool(found.reason) == (found.state != "known")
    assert set(found.keys) <= set(divisions.PROVINCES)
