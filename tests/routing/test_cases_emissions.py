"""The emission loop: examples of each rule, a thousand generated vehicles under disturbance, and the reports."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal

import emission_stories as e
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents.closures import closure_of
from mappings.documents.imcases import FINDINGS, Match, both_sides
from routing.cases.emissionreports import not_m_stations, overdue, pass_rates, received, remarked, to_match
from routing.cases.emissions import Deadline, Emissions, Settings
from routing.cases.visits import visits
from routing.mstations import MStations

DAY = date(2024, 3, 1)
VIN, OTHER = e.number_of(1), e.number_of(2)
FIRST, SECOND, THIRD = (f"33010011240301100000{n:04d}" for n in (1, 2, 3))
M_SHOP, SHOP, I_STATION = e.M_SHOPS[0], e.OTHER_SHOPS[0], e.TEST_STATIONS[0]
REGISTER = MStations(e.REGISTER)
LOOP = Emissions(Settings(stations=REGISTER))


def inspected(day, report, *, passed, **kwargs):
    return e.fact(f"33|{I_STATION}|inspection:{report}", e.result(VIN, day, report, I_STATION, passed=passed, **kwargs))


def repaired(begun, code="W1", shop=M_SHOP, fault="车辆抖动", vin=VIN, **kwargs):
    return e.fact(f"33|{shop}|{code}", e.repair(vin, begun, shop, code, fault, **kwargs))


def named(report):
    return f"尾气超标 报告编码{{{report}}}"


def after(days):
    return DAY + timedelta(days=days)


def follow(*facts, loop=LOOP, vin=VIN):
    """Cases and closures that follow, each by number."""
    found = list(loop.derive(vin, facts, DAY))
    assert len({(one.identity.issuer, one.listed) for one in found}) == len(found), "each key once"
    cases = [one for one in found if one.KIND == "im-case"]
    return cases, [one for one in found if one.KIND == "closure"]


def told(cases):
    return [(case.state, case.findings) for case in cases]


def test_a_failed_test_opens_a_case():
    (case,), closures = follow(inspected(DAY, FIRST, passed=False))
    assert (case.state, case.opened, case.due, case.closed, case.area) == ("failed", DAY, after(30), None, "330102")
    assert case.identity == (I_STATION, f"{FIRST}/{VIN}", DAY, VIN)
    assert [(one.what, one.ref, one.by) for one in case.events] == [("failed", FIRST, I_STATION)]
    assert closures == []


def test_a_repair_that_names_the_report_answers_it_and_is_a_closure():
    (case,), (closure,) = follow(inspected(DAY, FIRST, passed=False), repaired(after(5), fault=named(FIRST)))
    assert (case.state, case.due, case.findings) == ("repaired", after(36), ())
    assert (closure.test_no, closure.vin, closure.area, closure.companyuniquecode) == (FIRST, VIN, "330101", "M330100")
    assert [(one.what, one.by, one.counts) for one in case.events][1] == ("repaired", "M330100", True)


def test_a_passed_test_closes_it_and_another_failure_opens_another():
    facts = [inspected(DAY, FIRST, passed=False), repaired(after(5)), inspected(after(9), SECOND, passed=True)]
    (case,), closures = follow(*facts)
    assert (case.state, case.due, case.closed, case.findings) == ("closed", None, after(9), ())
    assert [one.test_no for one in closures] == [FIRST]
    cases, _ = follow(*facts, inspected(after(400), THIRD, passed=False))
    assert [(one.state, one.opened) for one in cases] == [("closed", DAY), ("failed", after(400))]


def test_failed_again():
    facts = [
        inspected(DAY, FIRST, passed=False),
        repaired(after(5), fault=named(FIRST)),
        inspected(after(9), SECOND, passed=False),
    ]
    (case,), closures = follow(*facts)
    assert (case.state, case.due, len(closures)) == ("failed-again", after(39), 1)
    (case,), closures = follow(*facts, repaired(after(12), "W2", fault=named(FIRST)))
    assert case.state == "repaired", "the first report's number on the second repair means this case all the same"
    assert sorted(one.test_no for one in closures) == [FIRST, SECOND]


def test_all_on_one_day():
    (case,), closures = follow(
        inspected(DAY, FIRST, passed=False, hour=9), repaired(DAY), inspected(DAY, SECOND, passed=True, hour=16)
    )
    assert (case.state, case.findings, len(closures)) == ("closed", (), 1)


@pytest.mark.parametrize(
    ("repair", "linked"),
    [
        (repaired(after(90)), True),
        (repaired(after(91)), False),
        (repaired(after(-1)), False),
        (repaired(after(5), shop=SHOP), False),
        (repaired(after(5), fault=named(FIRST)), True),
        (repaired(after(91), fault=named(FIRST)), True),
        (repaired(after(5), fault="报告编码：" + FIRST.lower()), True),
    ],
)
def test_what_links_a_repair_to_a_failed_test(repair, linked):
    (case,), closures = follow(inspected(DAY, FIRST, passed=False), repair)
    assert (case.state == "repaired", len(closures)) == (linked, int(linked))


def test_a_repair_after_the_next_test_does_not_answer_the_one_before():
    cases, closures = follow(
        inspected(DAY, FIRST, passed=False), inspected(after(3), SECOND, passed=True), repaired(after(5))
    )
    assert told(cases) == [("closed", ("PASSED_WITHOUT_REPAIR",))]
    assert closures == []


@pytest.mark.parametrize("fault", [named(FIRST), "尾气超标"])
def test_a_shop_that_is_no_m_station_moves_nothing(fault):
    (case,), closures = follow(inspected(DAY, FIRST, passed=False), repaired(after(5), shop=SHOP, fault=fault))
    assert (case.state, case.findings, closures) == ("failed", ("NOT_AN_M_STATION",), [])
    assert [one.counts for one in case.events] == [True, False]


def test_a_station_counts_while_its_listing_is_in_force():
    ended = MStations([e.REGISTER[0].model_copy(update={"valid_to": after(5)})])
    loop = Emissions(Settings(stations=ended))
    for begun, state in ((after(4), "repaired"), (after(5), "failed")):
        (case,), _ = follow(inspected(DAY, FIRST, passed=False), repaired(begun, fault=named(FIRST)), loop=loop)
        assert case.state == state, "the day of settlement counts, one day after"


def test_without_a_register_every_shop_counts_and_time_alone_links_nothing():
    loop = Emissions(Settings())
    (case,), closures = follow(
        inspected(DAY, FIRST, passed=False), repaired(after(5), shop=SHOP, fault=named(FIRST)), loop=loop
    )
    assert (case.state, [one.companyuniquecode for one in closures]) == ("repaired", [SHOP])
    (case,), _ = follow(inspected(DAY, FIRST, passed=False), repaired(after(5)), loop=loop)
    assert case.state == "failed"


def test_a_report_of_no_test_of_this_vehicle_waits_for_a_person():
    cases, closures = follow(inspected(DAY, FIRST, passed=False), repaired(after(5), fault=named(SECOND)))
    waiting, failed = sorted(cases, key=lambda one: one.state, reverse=True)
    assert (failed.state, closures) == ("failed", [])
    assert (waiting.state, waiting.findings) == ("to-match", ("TESTNO_VIN_MISMATCH",))
    assert (waiting.named, waiting.candidates, waiting.issuer) == (SECOND, (FIRST,), "M330100")
    assert to_match(cases) == [waiting]


def test_the_report_may_come_later():
    facts = (repaired(after(5), fault=named(FIRST)), inspected(DAY, FIRST, passed=False))
    assert told(follow(*facts[:1])[0]) == [("to-match", ("TESTNO_VIN_MISMATCH",))]
    assert told(follow(*facts)[0]) == [("repaired", ())]


@pytest.mark.parametrize(("fault", "found"), [(named(FIRST), 1), ("尾气治理", 1), ("车辆抖动", 0)])
def test_an_emission_repair_without_a_failed_test(fault, found):
    cases, closures = follow(inspected(DAY, FIRST, passed=True), repaired(after(5), fault=fault))
    assert told(cases) == [("no-test", ("REPAIR_WITHOUT_FAILED_TEST",))] * found
    assert closures == []


def decided(about, reportvin, reportno, vin=VIN, days=10, office="330100"):
    row = about.repair
    one = Match(
        office=office,
        repair=about.key,
        vin=vin,
        repairvin=row.vin,
        reportvin=reportvin,
        reportno=reportno,
        companyuniquecode="M330100",
        repairdate=row.repairdate,
        settledate=row.settledate,
        decidedby="HZ-0417",
        decidedat=e.result(VIN, after(days), FIRST, I_STATION, passed=True).endtime,
        reason="报告编号录入错误",
    )
    return e.fact(f"33|{office}|im-match:{about.key}/{vin}", one)


def test_a_person_decides_which_report_a_repair_answers():
    about = repaired(after(5), fault=named(SECOND))
    (case,), (closure,) = follow(inspected(DAY, FIRST, passed=False), about, decided(about, VIN, FIRST))
    assert (case.state, closure.test_no) == ("repaired", FIRST)
    (case,), closures = follow(inspected(DAY, FIRST, passed=False), about, decided(about, None, None))
    assert (case.state, closures) == ("failed", [])


def test_the_last_of_several_decisions_counts():
    about = repaired(after(5), fault=named(SECOND))
    facts = [decided(about, VIN, FIRST), decided(about, None, None, days=11, office="330000")]
    assert follow(inspected(DAY, FIRST, passed=False), about, *facts)[1] == []


def test_a_repair_that_names_the_wrong_vehicle_moves_the_right_ones_case():
    about = repaired(after(5), fault=named(FIRST), vin=OTHER)
    first, second = both_sides(decided(about, VIN, FIRST).record)
    cases, (closure,) = follow(about, e.fact("33|330100|a", first), vin=OTHER)
    assert (cases, closure.vin, closure.test_no) == ([], VIN, FIRST)
    (case,), closures = follow(inspected(DAY, FIRST, passed=False), e.fact("33|330100|b", second))
    assert (case.state, closures) == ("repaired", []), "its closure follows in the file where the repair stands"
    bare = second.model_copy(update={"companyuniquecode": M_SHOP})
    (case,), _ = follow(inspected(DAY, FIRST, passed=False), e.fact("33|330100|b", bare))
    assert [event.by for event in case.events if event.what == "repaired"] == [f"M{M_SHOP[:6]}"]


def test_deadlines_are_local():
    settings = Settings(
        stations=REGISTER,
        deadline=Deadline(repair_days=10),
        deadlines={"33": Deadline(repair_days=20), "330102": Deadline(repair_days=15, test_days=5)},
    )
    (case,), _ = follow(inspected(DAY, FIRST, passed=False), loop=Emissions(settings))
    assert case.due == after(15)
    (case,), _ = follow(inspected(DAY, FIRST, passed=False), repaired(after(3)), loop=Emissions(settings))
    assert case.due == after(9)
    assert settings.deadline_of("440100").repair_days == 10
    assert settings.deadline_of("330200").repair_days == 20


def test_one_test_told_twice_and_its_diagnosis_are_one_visit():
    message = e.result(VIN, DAY, FIRST, I_STATION, passed=True)
    row = message.model_copy(update={"inspectionid": None, "resultid": "7001"})
    check = message.model_copy(update={"method": "obd", "reportno": None, "resultid": "o1", "passed": False})
    (visit,) = visits([row, check, message])
    assert (visit.ref, visit.passed) == (FIRST, False), "a visit passed when all of it did"
    assert {"7001", FIRST, message.inspectionid} <= visit.numbers
    assert visits([check.model_copy(update={"passed": True})]) == [], "the diagnosis alone is no pass"
    assert [one.passed for one in visits([check])] == [False]


# -- a thousand vehicles ----------------------------------------------------------------------------------------------


class Runner:
    """What a runner of derivations does: the newest version of each record counts, and differences are sent."""

    def __init__(self, loop):
        self.loop, self.facts, self.versions = loop, {}, {}
        self.by_vin = defaultdict(dict)
        self.given = defaultdict(dict)
        self.held = {}

    def take(self, events):
        touched = set()
        for event in events:
            if event.version <= self.versions.get(event.key, 0):
                continue
            self.versions[event.key] = event.version
            before = self.facts.pop(event.key, None)
            if before is not None:
                touched.add(before.record.vin)
                self.by_vin[before.record.vin].pop(event.key, None)
            if event.record is not None:
                fact = self.facts[event.key] = e.fact(event.key, event.record, event.version)
                self.by_vin[event.record.vin][event.key] = fact
                touched.add(event.record.vin)
        for vin in touched:
            self.look(vin)

    def look(self, vin):
        follows = {
            (one.identity.issuer, one.listed): one.content()
            for one in self.loop.derive(vin, list(self.by_vin[vin].values()), DAY)
        }
        for key in self.given[vin].keys() - follows.keys():
            del self.held[key]
        self.held.update(follows)
        self.given[vin] = follows


def disturbed(events, rnd):
    """The same events late, doubled and in any order, in batches."""
    told = [*events, *(event for event in events if rnd.random() < 0.2)]
    rnd.shuffle(told)
    while told:
        size = rnd.randint(20, 120)
        yield told[:size]
        told = told[size:]


@pytest.fixture(scope="module")
def lives():
    return e.stories(1000, seed=20240601)


@pytest.fixture(scope="module")
def ordered(lives):
    runner = Runner(LOOP)
    for life in lives:
        runner.take(life.events)
    return runner


def test_a_thousand_vehicles_end_as_their_stories_say(lives, ordered):
    states, remarks = Counter(), Counter()
    for life in lives:
        cases, closures = follow(*ordered.by_vin[life.vin].values(), vin=life.vin)
        assert (sorted(told(cases)), sorted(one.test_no for one in closures)) == life.wanted, life
        states.update(case.state for case in cases)
        remarks.update(code for case in cases for code in case.findings)
    assert set(states) == {"failed", "repaired", "failed-again", "closed", "to-match", "no-test"}, "all that there is"
    assert set(remarks) == set(FINDINGS)
    assert min(*states.values(), *remarks.values()) > 20, (states, remarks)


@pytest.mark.parametrize("seed", [1, 2])
def test_order_doubling_delay_and_correction_change_nothing_in_the_end(lives, ordered, seed):
    rnd = random.Random(seed)  # noqa: S311 - the same disturbance in every run
    events = [event for life in lives for event in life.events]
    assert sum(event.version > 1 for event in events) > 500, "corrections are among them"
    runner = Runner(LOOP)
    for batch in disturbed(events, rnd):
        runner.take(batch)
    assert runner.held == ordered.held


@given(st.randoms(use_true_random=False), st.integers(0, 999))
def test_order_and_repetition_of_facts_change_nothing(lives, ordered, rnd, which):
    vin = lives[which].vin
    facts = list(ordered.by_vin[vin].values())
    wanted = [one.content() for one in LOOP.derive(vin, facts, DAY)]
    again = [*facts, *rnd.choices(facts, k=2)] if facts else []
    rnd.shuffle(again)
    assert [one.content() for one in LOOP.derive(vin, again, date(2030, 1, 1))] == wanted


def test_what_follows_is_read_again_as_it_was_written(lives, ordered):
    for life in lives[:200]:
        for one in LOOP.derive(life.vin, list(ordered.by_vin[life.vin].values()), DAY):
            again = type(one).of_members(one.members())
            assert (again, again.content()) == (one, one.content())


def test_days_at_the_end_of_the_calendar_are_no_trouble():
    about = repaired(after(5), fault=named(FIRST))
    late = about._replace(record=about.repair._replace(settledate=date.max))
    (case,), _ = follow(inspected(DAY, FIRST, passed=False), late)
    assert (case.state, case.due) == ("repaired", date.max)


# -- reports ----------------------------------------------------------------------------------------------------------


def test_what_is_overdue_at_a_day():
    cases, _ = follow(inspected(DAY, FIRST, passed=False))
    assert overdue(cases, after(30)) == []
    assert [(one.case, one.days) for one in overdue(cases, after(33))] == [(cases[0], 3)]


def test_cases_by_remark_and_shops_that_are_no_m_stations():
    cases, _ = follow(
        *(inspected(DAY, FIRST, passed=False), repaired(after(5), shop=SHOP, fault=named(FIRST))),
        *(inspected(after(9), SECOND, passed=True), repaired(after(20), "W2", fault=named(SECOND))),
    )
    assert [case.state for case in remarked(cases, "NOT_AN_M_STATION")] == ["closed"]
    assert [case.state for case in remarked(cases, "REPAIR_WITHOUT_FAILED_TEST")] == ["no-test"]
    assert remarked(cases, "PASSED_WITHOUT_REPAIR") == []
    assert not_m_stations(cases) == {SHOP: (f"33|{SHOP}|W1",)}
    with pytest.raises(KeyError, match="NOT_AN_M_STATION"):
        remarked(cases, "NOT_A_REMARK")


def test_pass_rates_per_station_that_repaired_and_that_tested_again():
    again = e.TEST_STATIONS[1]
    facts = [
        inspected(DAY, FIRST, passed=False),
        repaired(after(5), "W1"),
        e.fact("33|b|2", e.result(VIN, after(9), SECOND, again, passed=False)),
        repaired(after(12), "W2", shop=e.M_SHOPS[1]),
        e.fact("33|b|3", e.result(VIN, after(15), THIRD, again, passed=True)),
    ]
    cases, _ = follow(*facts)
    assert pass_rates(cases) == [
        ("M330100", 1, 1, 0, Decimal("0.00")),
        ("M330200", 1, 1, 1, Decimal("100.00")),
    ]
    assert pass_rates(cases, "tester") == [(again, 2, 2, 1, Decimal("50.00"))]
    cases, _ = follow(*facts[:2])
    assert pass_rates(cases) == [("M330100", 1, 0, 0, None)]
    assert pass_rates(cases, "tester") == []


def test_closures_received_equal_closures_due_by_day_and_district(ordered, lives):
    due = [
        one
        for life in lives[:100]
        for one in LOOP.derive(life.vin, list(ordered.by_vin[life.vin].values()), DAY)
        if one.KIND == "closure"
    ]
    rows = received(due, reversed(due))
    assert all(row.balanced and row.due == row.received for row in rows)
    assert sum(row.due for row in rows) == len(due)
    assert {row.area for row in rows} == {"330101", "330201", "330301"}
    lost, changed = due[0], due[1].model_copy(update={"mileage": Decimal(1)})
    stranger = due[2].model_copy(update={"costlistcode": "X", "settledate": date(2020, 1, 2)})
    rows = received(due, [changed, *due[2:], stranger])
    wrong = [row for row in rows if not row.balanced]
    assert sum(len(row.missing) for row in wrong) == sum(len(row.differing) for row in wrong) == 1
    assert [row.missing for row in wrong if row.missing] == [(" ".join(lost.identity[:2]),)]
    assert [(row.day, row.due, row.received) for row in wrong if row.unexpected] == [(date(2020, 1, 2), 0, 1)]


# -- rows of RepairInfo_M that M stations send -------------------------------------------------------------------------


def sent(report, begun=5, code="W1", unique=M_SHOP, fault="车辆抖动", vin=VIN):
    row = e.repair(vin, after(begun), unique, code, fault)
    return e.fact(f"33|{unique}|closure:{code}/{vin}", closure_of(row, report))


def test_test_no_of_the_stations_row_links_the_shops_record():
    facts = [inspected(DAY, FIRST, passed=False), repaired(after(200)), sent(FIRST, 200)]
    (case,), (closure,) = follow(*facts)
    assert (case.state, closure.test_no) == ("repaired", FIRST), "long after the window that time alone would have"
    (alone,), none = follow(*facts[:2])
    assert (alone.state, none) == ("failed", [])


def test_test_no_goes_before_what_the_fault_description_names():
    facts = [inspected(DAY, FIRST, passed=False), repaired(after(5), fault=named(SECOND)), sent(FIRST)]
    (case,), (closure,) = follow(*facts)
    assert (case.state, closure.test_no) == ("repaired", FIRST)


def test_a_row_without_a_record_is_a_repair_by_itself_and_one_with_it_is_no_second_one():
    (case,), (closure,) = follow(inspected(DAY, FIRST, passed=False), sent(FIRST))
    assert (case.state, closure.test_no, closure.companyuniquecode) == ("repaired", FIRST, "M330100")
    (_,), closures = follow(inspected(DAY, FIRST, passed=False), sent(FIRST), repaired(after(5)))
    assert len(closures) == 1


def test_the_row_may_name_the_station_by_the_departments_code():
    facts = [inspected(DAY, FIRST, passed=False), repaired(after(200)), sent(FIRST, 200, unique="M330100")]
    (case,), closures = follow(*facts)
    assert (case.state, len(case.events), len(closures)) == ("repaired", 2, 1)


def test_a_row_whose_test_no_is_none_of_this_vehicle_waits_for_a_person():
    cases, closures = follow(inspected(DAY, FIRST, passed=False), sent(THIRD))
    assert (sorted(one.state for one in cases), closures) == (["failed", "to-match"], [])


def test_the_order_of_rows_and_records_changes_nothing():
    facts = [inspected(DAY, FIRST, passed=False), repaired(after(5)), sent(FIRST)]
    assert follow(*facts) == follow(*reversed(facts)) == follow(*facts, *facts)
