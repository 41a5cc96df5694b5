"""Credit entries: what counts, what does not and why, appeals, and that the order of facts changes nothing."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from case_facts import TODAY, VIN, derived, fact, facts, repair
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents.credit import (
    Appeal,
    CheckedItem,
    Complaint,
    Correction,
    CreditEntry,
    CreditSubject,
    Evaluation,
    SpotCheck,
    Transmission,
    Uncounted,
)
from routing.cases.credit import Credit, RegisteredOperator, Settings, load_operators
from routing.cases.creditwords import Difference, explain, recheck
from routing.cases.scoring import load_scoring, shipped
from routing.errors import TableError

USCC = "91310112132259241T"
SUBJECT = CreditSubject(companycode="S1", uscc=USCC, since=date(2020, 1, 1))
OCTOBER = Transmission(
    companycode="S1",
    period="2026-10",
    received=100,
    accepted=96,
    late=12,
    dead=4,
    flagged=3,
    corrected=1,
    silentdays=2,
)


def evaluation(number="E1", code="W1", day=date(2026, 10, 4), stars=4, **members):
    base = {
        "companycode": "S1",
        "evaluationno": number,
        "costlistcode": code,
        "vin": VIN,
        "evaluatedon": day,
        "edition": "82-2021",
        **dict.fromkeys(("quality", "efficiency", "charge", "attitude", "environment"), stars),
    }
    return Evaluation(**{**base, **members})


def check(number="C1", result="3", **members):
    return SpotCheck(companycode="S1", checkno=number, checkedon=date(2026, 10, 5), result=result, **members)


def complaint(number="T1", outcome="1", day=date(2026, 10, 6)):
    return Complaint(companycode="S1", complaintno=number, receivedon=day, subject="1", outcome=outcome)


def appeal(about, number, *corrections, no="A1", decision="2", decided=date(2026, 11, 1)):
    return Appeal(
        companycode="S1",
        appealno=no,
        filedon=date(2026, 10, 25),
        about=about,
        aboutno=number,
        decision=decision,
        decidedon=decided,
        corrections=tuple(Correction(member=member, value=value) for member, value in corrections),
    )


def entry(*records, settings=None, period="2026-10"):
    return derived(Credit(settings), facts(SUBJECT, *records))["S1", f"credit-entry:{period}"]


def figures(one, which="counted"):
    return {measure.name: getattr(measure, which) for measure in one.measures}


def uncounted(one):
    return {(none.kind, none.number, none.reason) for none in one.uncounted}


def test_an_entry_holds_the_four_items_of_the_notice():
    one = entry(OCTOBER, repair(), evaluation(), check(), complaint())
    told = figures(one)
    shares = {name: told[name] for name in ("late_share", "dead_share", "flagged_share", "corrected_share")}
    assert shares == {
        "late_share": Decimal("0.125"),
        "dead_share": Decimal("0.04"),
        "flagged_share": Decimal("0.0313"),
        "corrected_share": Decimal("0.0104"),
    }
    assert (told["received"], told["silent_days"], told["untold_days"]) == (100, 2, 0)
    assert (told["evaluations"], told["evaluation_mean"], told["checks_failed"]) == (1, 4, 1)
    assert told["upheld_per_thousand"] == Decimal("10.4167")
    assert (one.uscc, one.first, one.last, one.identity.day) == (USCC, date(2026, 10, 1), date(2026, 10, 31), one.last)
    assert {line.rule: line.points for line in one.lines} == {
        "late": 30,
        "dead": 50,
        "flagged": 50,
        "corrected": 50,
        "silent": 100,
        "evaluation": 225,
        "spot-check": 40,
        "rectified": 50,
        "complaints": 0,
    }
    assert (one.score, one.full, one.level) == (595, 1000, "C")
    assert (one.foundscore, one.foundlevel, one.corrections) == (595, "C", ())


def test_a_period_is_due_when_the_ledger_tells_of_its_last_day():
    days = [Transmission(companycode="S1", period=f"2026-10-{n:02d}", received=1, accepted=1) for n in range(2, 32)]
    assert derived(Credit(), facts(SUBJECT, repair(), evaluation(), *days[:-1])) == {}
    one = entry(*days)
    assert (figures(one)["received"], figures(one)["untold_days"]) == (30, 1)


def test_a_month_told_whole_stands_for_its_days():
    day = Transmission(companycode="S1", period="2026-10-31", received=7, accepted=7)
    assert figures(entry(OCTOBER, day))["received"] == 100


@pytest.mark.parametrize(("period", "named"), [("quarter", "2026-Q3"), ("year", "2026")])
def test_other_periods(period, named):
    settings = Settings(scoring=shipped().model_copy(update={"period": period}))
    last = {"quarter": "2026-09", "year": "2026-12"}[period]
    told = [OCTOBER.model_copy(update={"period": one}) for one in ("2026-07", last)]
    one = entry(*told, settings=settings, period=named)
    assert figures(one)["received"] == 200
    assert figures(one)["untold_days"] == (31 if period == "quarter" else 303)


def test_evaluations_that_do_not_count_are_listed_with_the_reason():
    one = entry(
        OCTOBER,
        repair(),
        evaluation("E2", stars=1, day=date(2026, 10, 5)),
        evaluation("E1", stars=4),
        evaluation("E3", code="W404"),
        evaluation("E4", vin="WP1AG2923CLA64129"),
        evaluation("E5", day=date(2026, 9, 30)),
        evaluation("E6", code="W2", day=date(2026, 10, 2)),
        repair("W2", began=date(2026, 10, 3)),
    )
    assert figures(one)["evaluation_mean"] == 4
    assert uncounted(one) == {
        ("evaluation", "E2", "second"),
        ("evaluation", "E3", "unknown-visit"),
        ("evaluation", "E4", "unknown-visit"),
        ("evaluation", "E6", "before-visit"),
    }, "E5 is of September"


def test_a_second_one_without_a_number_counts_beside_nothing_and_replaces_nothing():
    """Of one day the one that was received first counts, whatever its number; before it those with one of their own."""
    for first, later in ((1, 5), (5, 1)):
        one, other = (evaluation(f"W1/{VIN}/{stars}", stars=stars) for stars in (first, later))
        given = [
            *facts(SUBJECT, OCTOBER, repair()),
            fact(one)._replace(received_at=datetime(2026, 10, 4, 8, tzinfo=UTC)),
            fact(other)._replace(received_at=datetime(2026, 10, 4, 9, tzinfo=UTC)),
        ]
        for told in (given, given[::-1]):
            made = derived(Credit(), told)["S1", "credit-entry:2026-10"]
            assert figures(made)["evaluation_mean"] == first
            assert uncounted(made) == {("evaluation", other.evaluationno, "second")}
        made = derived(Credit(), [*given, fact(evaluation("Z9", stars=3))])["S1", "credit-entry:2026-10"]
        assert figures(made)["evaluation_mean"] == 3


def test_only_the_newest_version_of_an_item_counts():
    given = [*facts(SUBJECT, OCTOBER, repair()), fact(evaluation(stars=5), 2), fact(evaluation(stars=1), 1)]
    for told in (given, given[::-1]):
        assert figures(derived(Credit(), told)["S1", "credit-entry:2026-10"])["evaluation_mean"] == 5


def test_items_that_were_not_asked_weigh_nothing():
    app = evaluation(edition="app", charge=None, overall=1)
    assert figures(entry(OCTOBER, repair(), app))["evaluation_mean"] == 4
    assert figures(entry(OCTOBER, repair(), app))["charge"] is None


def test_the_same_number_from_two_systems_counts_once():
    given = [*facts(SUBJECT, OCTOBER, complaint()), fact(complaint(), system="33"), fact(OCTOBER, system="33")]
    one = derived(Credit(), given)["S1", "credit-entry:2026-10"]
    assert (figures(one)["complaints"], figures(one)["received"]) == (1, 100)
    assert uncounted(one) == {("complaint", "T1", "told-twice"), ("transmission", "2026-10", "told-twice")}


def test_an_accepted_appeal_corrects_and_both_are_kept():
    one = entry(OCTOBER, appeal("transmission", "2026-10", ("late", "1")))
    assert (figures(one, "found")["late_share"], figures(one)["late_share"]) == (Decimal("0.125"), Decimal("0.0104"))
    late = one.lines[0]
    assert (late.rule, late.found, late.points) == ("late", 30, 100)
    assert one.score - one.foundscore == 70
    (kept,) = one.corrections
    assert (kept.appealno, kept.member, kept.found, kept.counted) == ("A1", "late", "12", "1")


def test_an_appeal_without_corrections_strikes_the_item():
    one = entry(OCTOBER, complaint(), appeal("complaint", "T1"))
    assert (figures(one, "found")["complaints"], figures(one)["complaints"]) == (1, 0)
    assert [(kept.member, kept.counted) for kept in one.corrections] == [("*", None)]


def test_a_struck_evaluation_does_not_let_a_second_one_in():
    one = entry(OCTOBER, repair(), evaluation("E1", stars=1), evaluation("E2", stars=5), appeal("evaluation", "E1"))
    assert figures(one)["evaluation_mean"] is None
    assert uncounted(one) == {("evaluation", "E2", "second")}


@pytest.mark.parametrize("decision", ["1", "3"])
def test_an_appeal_that_is_not_accepted_changes_nothing(decision):
    assert entry(OCTOBER, complaint(), appeal("complaint", "T1", decision=decision)) == entry(OCTOBER, complaint())


def test_appeals_take_effect_in_the_order_of_their_decisions():
    first = appeal("transmission", "2026-10", ("late", "5"), no="A9", decided=date(2026, 11, 1))
    second = appeal("transmission", "2026-10", ("late", "0"), no="A1", decided=date(2026, 11, 2))
    one = entry(OCTOBER, second, first)
    assert [(kept.found, kept.counted) for kept in one.corrections] == [("12", "5"), ("5", "0")]


def test_appeals_without_effect_are_listed():
    one = entry(
        OCTOBER,
        evaluation("E1", code="W404"),
        appeal("complaint", "T404", no="A1"),
        appeal("transmission", "2026-10", ("late", "97"), no="A2"),
        appeal("evaluation", "E1", no="A3"),
    )
    assert uncounted(one) >= {
        ("appeal", "A1", "no-such-item"),
        ("appeal", "A2", "unusable"),
        ("appeal", "A3", "item-uncounted"),
    }


@pytest.mark.parametrize(
    ("by", "done", "overdue"),
    [
        (date(2026, 10, 20), None, 1),
        (date(2026, 10, 20), date(2026, 10, 21), 1),
        (date(2026, 10, 20), date(2026, 10, 20), 0),
        (date(2026, 11, 20), None, 0),
        (None, None, 0),
    ],
)
def test_what_had_to_be_put_right_within_the_period(by, done, overdue):
    item = CheckedItem(item="01", result="2")
    assert figures(entry(OCTOBER, check(rectifyby=by, rectifiedon=done, items=(item,))))["checks_overdue"] == overdue


def test_a_period_without_a_payload_has_no_shares_and_earns_nothing_for_them():
    silent = Transmission(companycode="S1", period="2026-10", received=0, accepted=0, silentdays=31)
    one = entry(silent)
    assert figures(one)["late_share"] is None
    assert {line.rule: line.points for line in one.lines if line.rule in ("late", "dead", "silent")} == {
        "late": 0,
        "dead": 0,
        "silent": 0,
    }


def test_a_company_whose_operator_is_not_known_has_a_gap():
    (gap,) = derived(Credit(), facts(OCTOBER)).values()
    assert (gap.KIND, gap.reason, gap.periods, gap.since) == (
        "credit-gap",
        "uscc-unknown",
        ("2026-10",),
        date(2026, 10, 31),
    )
    listed = RegisteredOperator(companycode="S1", uscc=USCC, valid_from=date(2026, 1, 1))
    (found,) = derived(Credit(Settings(operators=(listed,))), facts(OCTOBER)).values()
    assert found.uscc == USCC


def test_the_operator_of_a_period_is_the_one_of_its_last_day():
    later = CreditSubject(companycode="S1", uscc="91440300MA5H0HLK5U", since=date(2026, 11, 1))
    november = OCTOBER.model_copy(update={"period": "2026-11"})
    found = derived(Credit(), facts(later, SUBJECT, OCTOBER, november))
    assert [one.uscc for one in found.values()] == [USCC, "91440300MA5H0HLK5U"]


def test_an_entry_is_explained_line_by_line():
    one = entry(
        OCTOBER, repair(), evaluation(), evaluation("E2"), complaint(), appeal("transmission", "2026-10", ("late", "1"))
    )
    told = explain(one)
    assert told[0] == f"{USCC} S1 2026-10 (2026-10-01 - 2026-10-31) vingate-1"
    assert told[1].endswith("= 0.0104, <= 0.02 -> 100 % x 100 = 100 (申诉前 / without appeals: 30)")
    assert len([line for line in told if " -> " in line and " % x " in line]) == len(one.lines)
    assert f"得分 / score: {one.score} / 1000 = {one.level}" in told
    assert "申诉 / appeal A1: transmission 2026-10: late 12 -> 1" in told
    assert told[-1].startswith("未计入 / not counted: evaluation E2: 同一次维修已有评价")


def test_the_points_explained_add_up_to_the_score():
    one = entry(OCTOBER, repair(), evaluation(stars=3), complaint())
    assert sum(line.points for line in one.lines) == one.score
    for line in one.lines:
        assert line.points == line.weight * line.percent / 100


def test_an_entry_derived_again_is_the_same_or_tells_where_it_differs():
    given = facts(SUBJECT, OCTOBER, repair(), evaluation())
    one = derived(Credit(), given)["S1", "credit-entry:2026-10"]
    assert recheck(Credit(), one, given) == []
    forged = one.model_copy(update={"score": Decimal(1000)})
    assert recheck(Credit(), forged, given) == [Difference("score", "1000", str(one.score))]
    late = {two.member for two in recheck(Credit(), one, [*given, fact(complaint())])}
    assert late == {"score", "level", "foundscore", "foundlevel", "lines", "measures"}
    assert recheck(Credit(), one, given[:1]) == [Difference("*", "2026-10", None)]


CODES = st.sampled_from(["W1", "W2"])
DAYS = st.dates(date(2026, 9, 28), date(2026, 11, 2))
STARS = st.integers(1, 5)
NUMBERS = st.sampled_from("12345")
RECORDS = st.one_of(
    st.builds(lambda code, day: repair(code, began=day, settled=day), CODES, DAYS),
    st.builds(lambda n, code, day, stars: evaluation(f"E{n}", code, day, stars), NUMBERS, CODES, DAYS, STARS),
    st.builds(lambda n, result: check(f"C{n}", result), NUMBERS, st.sampled_from("1239")),
    st.builds(lambda n, outcome, day: complaint(f"T{n}", outcome, day), NUMBERS, st.sampled_from("012345"), DAYS),
    st.builds(
        lambda period, counts: Transmission(
            companycode="S1", period=period, received=counts[2], accepted=counts[1], late=counts[0]
        ),
        st.sampled_from(["2026-09", "2026-10", "2026-10-31", "2026-10-05"]),
        st.tuples(*[st.integers(0, 50)] * 3).map(sorted),
    ),
    st.builds(
        lambda no, about, to, decided: appeal(*about, *to, no=f"A{no}", decided=decided),
        NUMBERS,
        st.sampled_from([("evaluation", "E1"), ("complaint", "T1"), ("transmission", "2026-10"), ("odd", "1")]),
        st.sampled_from([(), (("quality", "5"),), (("late", "0"),), (("outcome", "3"),), (("late", "x"),)]),
        st.none() | DAYS,
    ),
    st.just(SUBJECT),
)
VERSIONS = st.lists(
    st.tuples(RECORDS, st.integers(1, 3), st.sampled_from(["31", "33"])),
    max_size=14,
    unique_by=lambda told: (fact(told[0], told[1], told[2]).key, told[1]),
)


@given(VERSIONS, st.randoms(use_true_random=False))
def test_order_doubles_and_outdated_versions_change_nothing(told, random):
    given = [fact(record, version, system) for record, version, system in told]
    newest = {one.key: one for one in sorted(given, key=lambda one: one.version)}
    wanted = derived(Credit(), list(newest.values()))
    shuffled = [*given, *random.sample(given, len(given) // 2)]
    random.shuffle(shuffled)
    assert derived(Credit(), shuffled) == wanted
    for one in wanted.values():
        if isinstance(one, CreditEntry):
            assert recheck(Credit(), one, shuffled) == []
            assert 0 <= one.score <= one.full
            assert explain(one)


@given(VERSIONS)
def test_every_evaluation_of_an_entrys_period_counts_or_is_listed(told):
    given = [fact(record, version, system) for record, version, system in told]
    newest = {one.key: one for one in sorted(given, key=lambda one: one.version)}
    for one in derived(Credit(), given).values():
        if isinstance(one, CreditEntry):
            days = [f.record.identity.day for f in newest.values() if isinstance(f.record, Evaluation)]
            within = sum(one.first <= day <= one.last for day in days)
            listed = sum(none.kind == "evaluation" for none in one.uncounted)
            assert figures(one, "found")["evaluations"] + listed == within


def test_a_scoring_of_ones_own():
    own = """
edition = "city-1"
[[rule]]
name = "silence"
measure = "silent_days"
zh = "静默"
en = "silence"
weight = 10
bands = [{ upto = 1, percent = 100 }]
beyond = 50
without = 0
[[level]]
level = "ok"
from = 5
[[level]]
level = "bad"
from = 0
"""
    one = entry(OCTOBER, settings=Settings(scoring=load_scoring(own)))
    assert (one.scoring, one.score, one.level, one.lines[0].bound) == ("city-1", 5, "ok", "> 1")
    for wrong, told in (
        (own.replace("silent_days", "weather"), "measure"),
        (own.replace("weight = 10", "weight = 0"), "weight"),
        (own.replace("percent = 100", "percent = 101"), "percent"),
        (own.replace("from = 0", "from = 7"), "level"),
        (own.replace("beyond = 50\n", ""), "beyond"),
        (own + own[own.index("[[rule]]") : own.index("[[level]]")], "names"),
        ("edition =", "TOML"),
    ):
        with pytest.raises(TableError, match=told):
            load_scoring(wrong)


def test_the_register_of_operators():
    (one,) = load_operators(f"companycode,uscc,from,to\nS1,{USCC},20260101,\n")
    assert (one.companycode, one.valid(TODAY)) == ("S1", True)
    with pytest.raises(TableError, match="uscc"):
        load_operators("companycode,uscc,from\nS1,12,20260101\n")


def test_uncounted_reasons_have_words():
    from routing.cases.credit import REASONS

    assert all(" / " in text for text in REASONS.values())
    assert Uncounted(kind="x", number="1", reason="second").reason in REASONS
