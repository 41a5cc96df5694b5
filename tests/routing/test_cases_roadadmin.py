"""Notices for road administration: never uploaded, silent, overdue; and when each of them ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import market_facts as m
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents.roadadmin import OperatorFiling, Rectification
from routing.cases.roadadmin import RoadAdministration, Settings

SHOP = m.shop(1)
FILING = OperatorFiling(
    companycode=SHOP, number="BA1", companyname="某某汽修", companyoperationstate="1", filed=date(2026, 9, 1)
)
ORDERED = Rectification(
    companycode=SHOP, authority="市局", number="7", matter="2", day=date(2026, 9, 1), deadline=date(2026, 9, 30)
)
UPLOADED = m.repair(1, 1)


def notices(today, *records, received=datetime(2026, 9, 20, 2, tzinfo=UTC), rules=None):
    facts = [m.fact(one, received_at=received) for one in records]
    return [(one.notice, one.since, one.day) for one in RoadAdministration(rules).derive(SHOP, facts, today)]


def test_a_shop_that_never_uploaded_is_told_of_after_the_grace():
    assert notices(date(2026, 10, 1), FILING) == []
    told = [("never-uploaded", date(2026, 9, 1), date(2026, 10, 2))]
    assert notices(date(2026, 10, 2), FILING) == told
    assert notices(date(2027, 10, 2), FILING) == told
    assert notices(date(2026, 10, 2), FILING, UPLOADED) == []


def test_silence_is_counted_from_the_last_upload_in_china():
    late = datetime(2026, 9, 20, 17, tzinfo=UTC)  # the 21st in China
    assert notices(date(2026, 10, 21), FILING, UPLOADED, received=late) == []
    assert notices(date(2026, 10, 22), FILING, UPLOADED, received=late) == [
        ("silent", date(2026, 9, 21), date(2026, 10, 22))
    ]
    assert notices(date(2026, 10, 22), UPLOADED, received=late) != []


def test_an_overdue_rectification_is_told_of_until_it_is_done():
    assert notices(date(2026, 9, 30), ORDERED) == []
    assert notices(date(2026, 10, 1), ORDERED) == [("rectification-overdue", date(2026, 9, 30), date(2026, 10, 1))]
    assert notices(date(2026, 10, 1), ORDERED.model_copy(update={"completed": date(2026, 10, 1)})) == []


@pytest.mark.parametrize(
    ("state", "told"),
    [("1", 2), ("2", 1), ("3", 2), ("4", 1), ("5", 1), ("6", 0), ("9", 2), (None, 2)],
)
def test_a_closed_shop_is_not_silent_and_one_struck_off_owes_nothing(state, told):
    filing = FILING.model_copy(update={"companyoperationstate": state})
    assert len(notices(m.TODAY, filing, ORDERED)) == told


def test_the_newest_filing_names_the_shop():
    renamed = FILING.model_copy(update={"number": "BA2", "companyname": "新名汽修", "filed": date(2026, 9, 2)})
    (notice,) = RoadAdministration().derive(SHOP, [m.fact(renamed), m.fact(FILING)], m.TODAY)
    assert (notice.companyname, notice.since) == ("新名汽修", date(2026, 9, 2))
    assert notice.identity == ("vingate", f"never-uploaded:{SHOP}", date(2026, 10, 3), "")


def test_other_shops_are_of_no_concern():
    assert list(RoadAdministration().derive(m.shop(2), [m.fact(FILING), m.fact(ORDERED)], m.TODAY)) == []
    assert list(RoadAdministration().derive("", [m.fact(FILING)], m.TODAY)) == []


def test_days_are_settings():
    assert notices(date(2026, 9, 4), FILING, rules=Settings(grace_days=2)) != []
    assert RoadAdministration.daily


@given(
    st.lists(st.sampled_from([FILING, ORDERED, UPLOADED, UPLOADED._replace(costlistcode="X")]), max_size=6),
    st.integers(0, 400),
    st.randoms(use_true_random=False),
)
def test_notices_are_of_the_set_alone(records, days, chance):
    today = date(2026, 9, 1) + timedelta(days=days)
    found = notices(today, *dict.fromkeys(records))
    again = records * 2
    chance.shuffle(again)
    assert sorted(notices(today, *again)) == sorted(found)
    assert len({kind for kind, *_ in found}) == len(found)
    assert all(day <= today for _, _, day in found)
