"""One visit by two ways: when it is one, and which one."""

from datetime import date
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.merging import Visit, match_one, same_visit

SHOP = Visit("44|4401|A1", "LSVAL41Z882104202", "4401", date(2025, 3, 1), Decimal(51000), "A1", "44", "SVW")
HEADQUARTERS = SHOP._replace(key="oem-SVW|4401|A1", system="oem-SVW")

VISITS = st.builds(
    Visit,
    key=st.sampled_from("abcdef"),
    vin=st.sampled_from(["V1", "V2"]),
    company=st.just("4401"),
    settledate=st.dates(date(2025, 3, 1), date(2025, 3, 3)),
    mileage=st.sampled_from([Decimal(0), Decimal(51000)]),
    costlistcode=st.sampled_from(["A1", "A2"]),
    system=st.sampled_from(["44", "oem-SVW", "oem-BYD"]),
    dealer_of=st.sampled_from(["SVW", ""]),
    partner=st.sampled_from(["", "a", "b"]),
)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"settledate": date(2025, 3, 2)},
        {"settledate": date(2025, 2, 28)},
        {"mileage": Decimal(1)},
        {"costlistcode": "B7"},
        {"mileage": Decimal("51000.0"), "costlistcode": ""},
    ],
)
def test_one_visit(change):
    other = HEADQUARTERS._replace(**change)
    assert same_visit(SHOP, other)
    assert same_visit(other, SHOP)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"vin": "LFV2A21KXE4176550"}, id="other vehicle"),
        pytest.param({"company": "4402"}, id="other shop"),
        pytest.param({"settledate": date(2025, 3, 3)}, id="two days apart"),
        pytest.param({"settledate": date(2025, 2, 27)}, id="two days before"),
        pytest.param({"mileage": Decimal(1), "costlistcode": "B7"}, id="neither mileage nor list code"),
        pytest.param({"system": "44"}, id="same way"),
        pytest.param({"system": "oem-BYD"}, id="headquarters of another OEM"),
        pytest.param({"dealer_of": ""}, id="no dealer on that day"),
        pytest.param({"dealer_of": "BYD", "system": "oem-BYD"}, id="dealer of another OEM by then"),
    ],
)
def test_two_visits(change):
    assert not same_visit(SHOP, HEADQUARTERS._replace(**change))
    assert not same_visit(HEADQUARTERS._replace(**change), SHOP)


def test_a_mileage_of_zero_proves_nothing():
    assert not same_visit(
        SHOP._replace(mileage=Decimal(0)), HEADQUARTERS._replace(mileage=Decimal(0), costlistcode="B7")
    )


def test_no_two_shops_without_a_register():
    assert not same_visit(SHOP._replace(dealer_of=""), HEADQUARTERS._replace(dealer_of=""))


def test_the_nearest_wins_whatever_the_order():
    by_both = HEADQUARTERS._replace(key="z")
    by_code = HEADQUARTERS._replace(key="y", mileage=Decimal(7))
    next_day = by_code._replace(key="x", settledate=date(2025, 3, 2))
    by_mileage = HEADQUARTERS._replace(key="a", costlistcode="B7")
    twin = HEADQUARTERS._replace(key="b", costlistcode="B8")
    for order in permutations([by_both, by_code, next_day, by_mileage, twin]):
        assert match_one(SHOP, order) == by_both
        assert match_one(SHOP, [v for v in order if v.key != "z"]) == by_code
        assert match_one(SHOP, [v for v in order if v.key in "xab"]) == next_day
        assert match_one(SHOP, [v for v in order if v.key in "ab"]) == by_mileage


def test_nobody_is_merged_twice():
    taken = HEADQUARTERS._replace(partner="44|4401|other")
    assert match_one(SHOP, [taken]) is None
    assert match_one(SHOP._replace(partner="oem-SVW|4401|other"), [HEADQUARTERS]) is None
    assert match_one(SHOP, []) is None
    assert match_one(SHOP, [SHOP]) is None


def test_a_pair_stays_a_pair_when_a_version_changes_everything():
    changed = SHOP._replace(partner=HEADQUARTERS.key, mileage=Decimal(9), costlistcode="C", settledate=date(2025, 4, 1))
    mate = HEADQUARTERS._replace(partner=SHOP.key)
    nearer = HEADQUARTERS._replace(key="a")
    assert match_one(changed, [nearer, mate]) == mate
    assert match_one(SHOP, [nearer, mate]) == mate


@settings(max_examples=200, derandomize=True, deadline=None)
@given(VISITS, st.lists(VISITS, max_size=6), st.randoms(use_true_random=False))
def test_matching_is_deterministic_symmetric_and_one_to_one(candidate, visits, random):
    unique = list({visit.key: visit for visit in visits}.values())
    found = match_one(candidate, unique)
    random.shuffle(unique)
    assert match_one(candidate, unique) == found
    for visit in unique:
        assert same_visit(candidate, visit) == same_visit(visit, candidate)
    if found is not None:
        assert found.key != candidate.key
        assert candidate.partner in ("", found.key)
        assert found.partner in ("", candidate.key)
        assert candidate.partner == found.key or found.partner == candidate.key or same_visit(candidate, found)
