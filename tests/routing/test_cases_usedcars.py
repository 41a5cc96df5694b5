"""Reports and certificates of a vehicle's history: what they say, of which days, and nothing of who."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import market_facts as m
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents.usedcars import ExportCertificate, HistoryOrder, HistoryReport
from mappings.records import Part, Project
from routing.cases.usedcars import Settings, UsedCars
from routing.errors import TableError
from routing.vehiclehistory import load_words, shipped_words

VIN = m.vehicle(1)
ORDER = HistoryOrder(requester="R", number="A1", purpose="trade", approval="P1", vin=VIN, day=date(2026, 11, 1))
EXPORT = ORDER.model_copy(update={"number": "A2", "purpose": "export", "exportproof": "E1", "requestername": "某某"})


def visit(number, day, mileage, *projects, **changes):
    return m.repair(
        1,
        number,
        costlistcode=f"JS{number:06d}",
        repairdate=day,
        settledate=day,
        mileage=Decimal(mileage),
        projects=tuple(Project(one, Decimal(1)) for one in projects),
        **changes,
    )


def derived(*records):
    return list(UsedCars().derive(VIN, [m.fact(one) for one in records], m.TODAY))


def history(*rows):
    (report,) = derived(ORDER, *rows)
    return report.history


def test_without_an_order_nothing_follows():
    assert derived(visit(1, date(2026, 1, 1), 1000, "保养")) == []


def test_an_order_of_a_vehicle_without_records_is_answered_too():
    found = history()
    assert (found.visits, found.maintaintimes, found.mileageestimate, found.lastrepairtime) == ((), 0, None, None)


def test_flags_months_and_bands():
    found = history(
        visit(1, date(2024, 3, 5), 20_100, "更换机油机滤"),
        visit(2, date(2025, 3, 5), 40_000, "更换变速箱总成", "更换机油"),
        visit(3, date(2026, 3, 5), 61_000, "更换左前大灯"),
    )
    assert (found.carcomponentrecordsflag, found.carconstructrecordsflag, found.odometerflag) == (1, 0, 0)
    assert (found.maintaintimes, found.lastmaintaintime, found.lastrepairtime) == (2, "2025-03", "2026-03")
    assert [(one.month, one.category, one.groups, one.mileagefrom) for one in found.visits] == [
        ("2024-03", "maintenance", (), 20_000),
        ("2025-03", "repair", ("gearbox",), 40_000),
        ("2026-03", "repair", (), 60_000),
    ]
    assert found.mileageestimate == "70000-80000"


def test_an_odometer_that_fell_is_flagged_and_the_highest_reading_counts():
    found = history(visit(1, date(2026, 1, 1), 90_000, "漆面"), visit(2, date(2026, 2, 1), 50_000, "漆面"))
    assert (found.odometerflag, found.mileageestimate) == (1, "90000-100000")
    same_day = history(visit(1, date(2026, 1, 1), 90_000, "漆面"), visit(2, date(2026, 1, 1), 50_000, "漆面"))
    assert same_day.odometerflag == 0


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("发动机大修", {"engine"}),
        ("更换发动机机油", set()),
        ("曲轴位置传感器", set()),
        ("更换变速箱油", set()),
        ("B柱切割焊接", {"structure"}),
        ("更换A柱饰板", set()),
        ("主气囊更换", {"airbag"}),
        ("动力电池包更换", {"traction-battery"}),
    ],
)
def test_important_parts_are_told_by_their_names(name, groups):
    words = shipped_words()
    assert words.groups_of(visit(1, date(2026, 1, 1), 1, name, parts=())) == groups
    assert words.groups_of(visit(1, date(2026, 1, 1), 1, "更换", parts=(Part(name, None, ""),))) == groups


def test_later_visits_change_no_report():
    before = derived(ORDER, visit(1, date(2026, 10, 1), 1000, "保养"))
    assert (
        derived(ORDER, visit(1, date(2026, 10, 1), 1000, "保养"), visit(2, date(2026, 11, 2), 2000, "保养")) == before
    )


def test_an_order_for_export_has_a_certificate_too():
    report, certificate = derived(EXPORT, visit(1, date(2026, 10, 1), 1000, "保养"))
    assert isinstance(report, HistoryReport)
    assert isinstance(certificate, ExportCertificate)
    assert (certificate.maker, certificate.exportproof, certificate.history) == ("上汽大众", "E1", report.history)
    assert report.identity == ("vingate", "R:A2", date(2026, 11, 1), VIN)


def test_orders_of_other_vehicles_are_not_answered():
    assert derived(ORDER.model_copy(update={"vin": m.vehicle(2)})) == []


days = st.dates(date(2020, 1, 1), date(2026, 12, 31))
rows = st.lists(
    st.builds(
        lambda number, day, mileage, text: visit(
            number,
            day,
            mileage,
            f"{text}13812345678",
            companyname="百联车坊",
            plate="粤B7K7P3",
            faultdescription=f"{text} 车主张伟国",
            parts=(Part(f"{text}张伟国", Decimal(1), "13812345678"),),
        ),
        st.integers(0, 20),
        days,
        st.integers(0, 400_000),
        st.sampled_from(["更换机油", "发动机大修", "大梁校正", "补漆"]),
    ),
    max_size=8,
)


@given(rows, st.randoms(use_true_random=False))
def test_reports_are_of_the_set_alone_and_tell_nobody(visits, chance):
    last = {one.key: one for one in [m.fact(ORDER), m.fact(EXPORT), *map(m.fact, visits)]}
    facts = list(last.values())
    found = list(UsedCars().derive(VIN, facts, m.TODAY))
    again = facts * 2
    chance.shuffle(again)
    assert sorted(map(str, UsedCars().derive(VIN, again, m.TODAY + timedelta(days=99)))) == sorted(map(str, found))
    told = b"".join(one.content() for one in found).decode()
    hidden = ["13812345678", "张伟国", "百联车坊", "粤B7K7P3", *(one.companycode for one in visits)]
    assert [value for value in hidden if value in told] == []


def test_a_table_of_words_that_is_wrong_says_where():
    with pytest.raises(TableError, match="edition"):
        load_words("maintenance = []\n")


def test_words_of_ones_own():
    text = """
    edition = "1"
    source = "own"
    maintenance = ["洗车"]
    [[group]]
    id = "seat"
    zh = "座椅"
    en = "seats"
    flag = "construct"
    words = ["座椅"]
    """
    rules = Settings(words=load_words(text))
    facts = [m.fact(ORDER), m.fact(visit(1, date(2026, 1, 1), 1, "座椅骨架"))]
    (report,) = UsedCars(rules).derive(VIN, facts, m.TODAY)
    assert report.history.carconstructrecordsflag == 1
