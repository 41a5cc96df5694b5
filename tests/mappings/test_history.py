"""History rules: what earlier records say about a new one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from mappings.findings import profile
from mappings.history import HISTORY_CODES, HoursShare, MemoryHistory, batch_findings
from mappings.records import Part, Project, RepairRow

NOON = datetime(2024, 3, 10, 4, 0, tzinfo=UTC)
ROW = RepairRow(
    companycode="310000010001",
    companyname="上海某某汽车维修有限公司",
    plate="沪A12345",
    vin="LVSHCAMB1CE054249",
    repairdate=date(2024, 3, 9),
    settledate=date(2024, 3, 10),
    mileage=Decimal(50_000),
    faultdescription="异响",
    costlistcode="B",
    parts=(Part("机油", Decimal(1), "P"),),
    projects=(Project("保养", Decimal("1.5")),),
)


def earlier(days: int = 5, **changes):
    moved = timedelta(days=days)
    base = ROW._replace(repairdate=ROW.repairdate - moved, settledate=ROW.settledate - moved, costlistcode="A")
    return base._replace(mileage=Decimal(49_000))._replace(**changes)


def found(*past, row=ROW, received=NOON, codes=HISTORY_CODES, history=None):
    history = history or MemoryHistory()
    for known in past:
        history.add(known)
    (told,) = batch_findings([row], history, received, profile("strict"), codes)
    return [(f.code, f.field, f.severity) for f in told]


def test_nothing_known_nothing_found():
    assert found() == []
    assert found(earlier()) == []


@pytest.mark.parametrize(
    ("past", "wanted"),
    [
        (earlier(mileage=Decimal(50_001)), True),
        (earlier(mileage=Decimal(50_000)), False),
        (earlier(mileage=Decimal(50_001), companycode="other"), True),
        (earlier(mileage=Decimal(50_001), vin="WP1AG2923CLA64129", plate="沪B12345"), False),
        (earlier(0, mileage=Decimal(60_000)), False),
        (earlier(-5, mileage=Decimal(60_000)), False),
        (earlier(mileage=Decimal(60_000), costlistcode="B"), False),
    ],
)
def test_mileage_regression(past, wanted):
    assert found(past) == ([("MILEAGE_REGRESSION", "mileage", "flag")] if wanted else [])


def test_a_mileage_of_zero_is_no_reading():
    assert found(earlier(), row=ROW._replace(mileage=Decimal(0))) == []


@pytest.mark.parametrize(
    ("past", "wanted"),
    [
        (earlier(30, plate="沪B12345"), True),
        (earlier(31, plate="沪B12345"), False),
        (earlier(5, plate="沪B12345", companycode="other"), False),
        (earlier(5, plate="沪B12345", costlistcode="B"), False),
    ],
)
def test_vin_many_plates_at_one_shop_in_a_short_time(past, wanted):
    assert found(past) == ([("VIN_MANY_PLATES", "plate", "flag")] if wanted else [])


def test_plate_many_vins():
    assert found(earlier(400, vin="WP1AG2923CLA64129")) == [("PLATE_MANY_VINS", "vin", "flag")]
    assert found(earlier(400, vin="WP1AG2923CLA64129", costlistcode="B")) == []


@pytest.mark.parametrize(
    ("share", "own", "wanted"),
    [
        (HoursShare(19, 18), "50", True),
        (HoursShare(18, 18), "50", False),
        (HoursShare(19, 16), "50", False),
        (HoursShare(100, 100), "1.5", False),
        (HoursShare(100, 100), "0", False),
    ],
)
def test_price_as_hours(share, own, wanted):
    history = MemoryHistory(hours={ROW.companycode: share})
    row = ROW._replace(projects=(Project("小保养", Decimal(own)), Project("洗车", None)))
    assert found(row=row, history=history) == ([("PRICE_AS_HOURS", "projects", "flag")] if wanted else [])


@pytest.mark.parametrize(
    ("registered", "wanted"),
    [("上海某某汽车维修有限公司", False), ("上海 某某汽车维修有限公司", False), ("上海另一家公司", True)],
)
def test_company_name(registered, wanted):
    history = MemoryHistory(names={ROW.companycode: registered})
    assert found(history=history) == ([("COMPANY_NAME_MISMATCH", "companyname", "flag")] if wanted else [])


def test_settled_late_counts_days_in_china():
    assert found(received=datetime(2024, 3, 11, 15, 59, tzinfo=UTC)) == []
    assert found(received=datetime(2024, 3, 11, 16, 0, tzinfo=UTC)) == [("SETTLED_LATE", "settledate", "info")]


def everything():
    history = MemoryHistory(names={ROW.companycode: "x"}, hours={ROW.companycode: HoursShare(100, 100)})
    history.add(earlier(plate="沪B12345", mileage=Decimal(60_000)))
    history.add(earlier(vin="WP1AG2923CLA64129", costlistcode="C"))
    return history, ROW._replace(projects=(Project("小保养", Decimal(50)),)), NOON + timedelta(days=9)


@pytest.mark.parametrize("codes", [set(), *({code} for code in sorted(HISTORY_CODES)), HISTORY_CODES])
def test_each_rule_can_be_switched(codes):
    history, row, received = everything()
    assert {code for code, _, _ in found(row=row, received=received, history=history, codes=codes)} == codes


def test_a_batch_is_history_for_its_own_later_records():
    first = earlier(mileage=Decimal(60_000))
    history = MemoryHistory()
    one, two = batch_findings([first, ROW], history, NOON, profile("strict"), {"MILEAGE_REGRESSION"})
    assert one == []
    assert [f.code for f in two] == ["MILEAGE_REGRESSION"]
    assert history.by_vin == {}


def test_a_batch_asks_each_question_once_and_only_those_needed():
    class Counting(MemoryHistory):
        asked: list[str]

        def __getattribute__(self, name):
            if name in ("visits_of_vins", "visits_of_plates", "hours_of", "names_of"):
                self.asked.append(name)
            return super().__getattribute__(name)

    history = Counting()
    history.asked = []
    batch_findings([ROW, earlier()] * 3, history, NOON, profile("strict"))
    assert sorted(history.asked) == ["hours_of", "names_of", "visits_of_plates", "visits_of_vins"]
    history.asked = []
    batch_findings([ROW], history, NOON, profile("strict"), {"SETTLED_LATE"})
    assert history.asked == []


def test_what_was_corrected_to_another_vehicle_or_plate_is_no_history_of_the_first():
    far = earlier(costlistcode="F", mileage=Decimal(200_000), plate="沪C12345")
    corrected = far._replace(vin="WP1AG2923CLA64129", plate="沪D12345")
    others = [ROW, ROW._replace(costlistcode="D", plate="沪C12345")]
    together = batch_findings([far, corrected, *others], MemoryHistory(), NOON, profile("strict"))
    assert [f.code for one in together[2:] for f in one] == ["VIN_MANY_PLATES"]  # of the last two, one vehicle


def test_where_batches_are_cut_makes_no_difference():
    vins, plates = ("LVSHCAMB1CE054249", "WP1AG2923CLA64129"), ("沪A12345", "沪B12345")
    rows = [
        earlier(n % 7, vin=vins[n % 2], plate=plates[n % 3 // 2], mileage=Decimal(40_000 + n * 977 % 9_000))._replace(
            costlistcode=str(n % 5)
        )
        for n in range(24)
    ]
    whole = batch_findings(rows, MemoryHistory(), NOON, profile("strict"))
    assert sum(map(len, whole)) > 5
    for size in (1, 2, 5, 11):
        kept, parts = MemoryHistory(), []
        for at in range(0, len(rows), size):
            part = rows[at : at + size]
            parts += batch_findings(part, kept, NOON, profile("strict"))
            for row in part:
                kept.add(row)
        assert parts == whole, size
