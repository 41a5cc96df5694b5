"""Rules that say what a repair lets expect of waste: the shipped ones, and those that cannot be used."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.records import Part, Project, RepairRow
from mappings.tables import table
from routing.errors import TableError
from routing.wastereference import load_licences, load_producers
from routing.wasterules import load_waste_rules, plain, shipped_waste_rules

RULE = '[[waste]]\nrule = "oil"\ncode = "900-214-08"\nunit = "kg"\nper = "visit"\nquantity = 3\nconfidence = 0.9\n'


def repair(parts=(), jobs=()):
    rows = tuple(Part(name, None if count is None else Decimal(count), "") for name, count in parts)
    projects = tuple(Project(name, None) for name in jobs)
    day = date(2024, 5, 1)
    return RepairRow("1", "店", "浙A12345", "V" * 17, day, day, Decimal(1), "f", "c", rows, projects)


def expected(parts=(), jobs=()):
    found = shipped_waste_rules().expect(repair(parts, jobs))
    return {one.rule: float(one.quantity) for one in found if one.confidence >= Decimal("0.5")}


@pytest.mark.parametrize(
    ("parts", "jobs", "wanted"),
    [
        ([("壳牌机油 5W-30 4L", 1), ("机油滤清器", 1)], ["更换机油机滤"], {"engine-oil": 3.5, "oil-filter": 0.4}),
        ([("ＭＯＢＩＬ 0w20", 4)], [], {"engine-oil": 3.5}),
        ([], ["小保养服务"], {"engine-oil": 3.5, "oil-filter": 0.4}),
        ([("机油泵总成", 1), ("机油尺", 1), ("油底壳垫", 1)], ["检查机油液位"], {}),
        ([("机油滤清器座", 1)], [], {}),
        ([("变速箱油 ATF", 6)], ["更换变速箱油"], {"gear-oil": 4}),
        ([("方向机油", 1)], [], {"steering-fluid": 0.8}),
        ([("刹车油 DOT4", 1)], [], {"brake-fluid": 0.8}),
        ([("刹车总泵", 1)], [], {}),
        ([("柴油滤芯", 2)], [], {"fuel-filter": 0.8}),
        ([("瓦尔塔蓄电池", 1)], ["更换蓄电池"], {"lead-battery": 1}),
        ([("蓄电池", 2)], [], {"lead-battery": 2}),
        ([("蓄电池", 400)], [], {"lead-battery": 4}),
        ([("蓄电池", None)], [], {"lead-battery": 1}),
        ([("电瓶桩头", 2)], ["电瓶检测"], {}),
        ([("遥控钥匙电池", 1)], ["更换遥控器电池"], {}),
        ([("动力电池包", 1)], [], {}),
        ([("三元催化器总成", 1)], [], {"catalyst": 2}),
        ([("三元催化器隔热板", 1)], ["三元催化清洗"], {}),
        ([("米其林 225/45R17", 4)], ["四轮定位"], {"tyre": 4}),
        ([], ["补胎", "轮胎换位", "轮胎动平衡"], {}),
        ([], ["更换左前轮胎"], {"tyre": 1}),
        ([], ["前保险杠喷漆", "左前门喷漆"], {"paint": 0.6}),
        ([], ["漆面镀晶", "抛光打蜡"], {}),
        ([("前刹车片", 1)], ["更换刹车片"], {}),
    ],
)
def test_words_of_parts_and_jobs(parts, jobs, wanted):
    assert expected(parts, jobs) == wanted


def test_less_is_expected_with_less_confidence_where_only_a_job_says_so():
    rules = shipped_waste_rules()
    (part, *_), (job, *_) = rules.expect(repair([("机油", 1)])), rules.expect(repair((), ["小保养"]))
    assert (part.rule, part.confidence) == ("engine-oil", Decimal("0.9"))
    assert (job.rule, job.confidence) == ("engine-oil", Decimal("0.8"))


def test_the_rules_name_codes_of_the_tables():
    codes = {*table("waste-hazardous").entries, *table("waste-general").entries}
    assert shipped_waste_rules().codes(Decimal(0)) <= codes
    assert {"900-214-08", "900-041-49", "900-052-31", "900-049-50"} <= shipped_waste_rules().codes(Decimal("0.6"))


_names = st.text(max_size=30)
_parts = st.lists(st.tuples(_names, st.none() | st.decimals(-10, 10, places=1)), max_size=4)


@given(_parts, st.lists(_names, max_size=4))
def test_no_name_breaks_a_rule(parts, jobs):
    for one in shipped_waste_rules().expect(repair(parts, jobs)):
        assert one.quantity > 0
        assert one.because


def test_units_of_account():
    rules = shipped_waste_rules()
    assert rules.account("900-052-31", "kg", Decimal(30)) == ("piece", 2)
    assert rules.account("900-041-49", "piece", Decimal(3)) == ("kg", Decimal("1.2"))
    assert rules.account("900-214-08", "piece", Decimal(3)) == ("piece", 3)
    assert rules.account("900-404-06", "kg", Decimal("3.50")) == ("kg", Decimal("3.5"))
    assert [str(plain(Decimal(text))) for text in ("1E+2", "3.50", "0.00005", "-2.0")] == ["100", "3.5", "0.0001", "-2"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (RULE.replace("900-214-08", "900-044-49"), "no waste code in force"),
        (RULE.replace("900-214-08", "HW08-900-214-08"), "no waste code in force"),
        (RULE + 'parts = ["("]\n', "no regular expression"),
        (RULE + "parts = []\n", "regular expression"),
        (RULE + "part = ['x']\n", "part"),
        (RULE.replace("0.9", "1.9"), "confidence"),
        (RULE.replace("= 3", "= 0"), "quantity"),
        (RULE + RULE, "twice"),
    ],
)
def test_rules_that_cannot_be_used_say_why(text, what):
    with pytest.raises(TableError, match=what):
        load_waste_rules(text)


LICENCES = "number,holder,standing,from,to,category,codes,kg_a_year\n"


def test_licences_of_several_rows():
    text = (
        LICENCES
        + "L1,9,ACTIVE,20200101,2025-12-31,HW08,HW08-900-214-08|900-249-08,5000\nL1,9,,20200101,20251231,HW49,,\n"
    )
    (one,) = load_licences(text)
    assert (one.number, one.holder, one.validto) == ("L1", "9", date(2025, 12, 31))
    assert one.scope("900-249-08", "HW08").quantity == 5000
    assert one.scope("900-199-08", "HW08") is None
    assert one.scope("900-041-49", "HW49").quantity is None


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("L1,9,,20200101,20251231,HW08,,\nL1,8,,20200101,20251231,HW49,,\n", "differ"),
        ("L1,9,,20200101,20251231,oil,,\n", "no waste category"),
        ("L1,9,,20200101,20251231,HW08,900,\n", "no waste code"),
        ("L1,9,GONE,20200101,20251231,HW08,,\n", "standing"),
        ("L1,9,,,20251231,HW08,,\n", "from"),
    ],
)
def test_licences_that_cannot_be_used_say_why(rows, what):
    with pytest.raises(TableError, match=what):
        load_licences(LICENCES + rows)


def test_producers():
    assert load_producers('[[producer]]\ncompanycode = "1"\nstanding = "ACTIVE"\n', "toml") == {"1": "ACTIVE"}
