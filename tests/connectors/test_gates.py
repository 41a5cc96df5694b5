"""What holds calls back: breaker, budget, maintenance windows, and the gate that puts them together."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import budgets
from connectors.breakers import Breaker, BreakerSettings
from connectors.budgets import Budget, BudgetSettings, FileBudgets, MemoryBudgets, spend
from connectors.contracts import Misconfigured, Unavailable
from connectors.gates import AUTH_FAILED, Gate
from connectors.windows import Window, closed_for


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def breaker(clock, **more):
    return Breaker(
        BreakerSettings(**{"failures": 3, "open_seconds": 10, "most_seconds": 35, "jitter": 0} | more), clock=clock
    )


# -- breaker -----------------------------------------------------------------------------------------------------------


def test_it_opens_after_so_many_failures_in_a_row():
    one = breaker(Clock())
    one.failed()
    one.failed()
    one.succeeded()
    one.failed()
    one.failed()
    assert (one.state, one.wait()) == ("closed", 0)
    one.failed()
    assert (one.state, one.wait()) == ("open", 10)


def test_it_stays_open_longer_each_time_up_to_the_cap_and_forgets_on_success():
    clock = Clock()
    one = breaker(clock)
    for _ in range(3):
        one.failed()
    waits = []
    for _ in range(5):
        waits.append(one.wait())
        clock.now += one.wait()
        assert one.state == "half-open"
        assert one.claim() == 0
        one.failed()
    assert waits == [10, 20, 35, 35, 35]
    clock.now += 35
    one.claim()
    one.succeeded()
    one.failed()
    assert one.state == "closed"


def test_half_open_lets_one_try_at_a_time():
    clock = Clock()
    one = breaker(clock, probe_seconds=60)
    for _ in range(3):
        one.failed()
    clock.now += 10
    assert [one.claim() for _ in range(3)] == [0, 60, 60]
    one.release()
    assert one.claim() == 0
    clock.now += 60  # whoever claimed it never said how it went
    assert one.claim() == 0


def test_failures_that_come_late_do_not_lengthen_the_pause():
    one = breaker(Clock())
    for _ in range(20):  # calls that were under way when it opened
        one.failed()
    assert one.wait() == 10


@given(st.floats(0, 1), st.floats(0, 1))
def test_jitter_only_shortens(dice, jitter):
    one = Breaker(BreakerSettings(failures=1, open_seconds=10, jitter=jitter), clock=Clock(), dice=lambda: dice)
    one.failed()
    assert 10 * (1 - jitter) - 1e-9 <= one.wait() <= 10


def test_many_threads_get_one_try():
    clock = Clock()
    one = breaker(clock)
    for _ in range(3):
        one.failed()
    clock.now += 10
    got = []
    threads = [threading.Thread(target=lambda: got.append(one.claim())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(0) == 1


# -- budget ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.lists(st.floats(0, 40), min_size=1, max_size=120))
def test_in_no_stretch_of_the_window_more_go_out_than_are_allowed(calls, pauses):
    settings, spent, now, out = BudgetSettings(calls=calls, seconds=60), {}, 1_000_000.0, []
    for pause in pauses:
        now += pause
        spent, wait = spend(spent, settings, now)
        if wait:
            assert wait <= 63 + 1e-6
        else:
            out.append(now)
        assert len(spent) <= 21
    for start in out:
        assert sum(start <= one < start + 60 for one in out) <= calls


@given(st.integers(1, 50))
def test_who_waits_as_told_is_let_through_and_all_calls_are_used(calls):
    settings, spent, now, out = BudgetSettings(calls=calls, seconds=60), {}, 5_000.0, []
    while len(out) < calls * 3:
        spent, wait = spend(spent, settings, now)
        if wait:
            now += wait + 1e-6
        else:
            out.append(now)
    assert out[-1] - out[0] <= 2 * 63.1


def test_a_clock_that_was_set_back_gives_nothing_away():
    settings = BudgetSettings(calls=2, seconds=60)
    spent, _ = spend({}, settings, 1000.0)
    spent, _ = spend(spent, settings, 1000.0)
    _, wait = spend(spent, settings, 10.0)
    assert 0 < wait <= 63


def test_a_call_counts_until_the_window_has_passed_for_certain():
    settings = BudgetSettings(calls=1, seconds=60)
    spent, _ = spend({}, settings, 2.9)
    assert spend(spent, settings, 62.8)[1] > 0
    assert spend(spent, settings, 63.0)[1] == 0


def test_budgets_of_a_name_are_one_and_others_are_not():
    store, settings = MemoryBudgets(), BudgetSettings(calls=1)
    one, same, other = (Budget(name, settings, store=store) for name in ("a", "a", "b"))
    assert one.take() == 0
    assert same.take() > 0
    assert other.take() == 0


def test_a_store_for_all_budgets_can_be_set():
    store = MemoryBudgets()
    budgets.share(store)
    try:
        Budget("shared", BudgetSettings(calls=1)).take()
        assert Budget("shared", BudgetSettings(calls=1), store=store).take() > 0
    finally:
        budgets.share(None)


def take_all(folder):
    budget = Budget("peer", BudgetSettings(calls=30, seconds=3600, folder=folder))
    return sum(budget.take() == 0 for _ in range(40))


def test_thirty_are_thirty_across_all_processes(tmp_path):
    with ProcessPoolExecutor(3) as processes:
        assert sum(processes.map(take_all, [tmp_path] * 3)) == 30
    assert take_all(tmp_path) == 0


def test_nobody_comes_between_reading_and_writing(tmp_path):
    store, seen = FileBudgets(tmp_path), []

    def step(spent):
        seen.append(spent.get(0, 0))
        time.sleep(0.005)
        return {0: spent.get(0, 0) + 1}, 0.0

    threads = [threading.Thread(target=lambda: [store.change("a", step) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(20))


def test_a_damaged_file_counts_as_nothing_spent_and_a_wrong_folder_is_named(tmp_path):
    take_all(tmp_path)
    next(tmp_path.glob("*.budget")).write_text("{[")
    assert take_all(tmp_path) == 30
    with pytest.raises(Misconfigured):
        FileBudgets(next(tmp_path.glob("*.budget"))).change("a", lambda spent: (spent, 0.0))


# -- windows -----------------------------------------------------------------------------------------------------------


def at(text):
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("window", "moment", "left"),
    [
        ("01:00-02:00", "2026-03-02T01:00:00+08:00", 3600),
        ("01:00-02:00", "2026-03-02T01:59:59+08:00", 1),
        ("01:00-02:00", "2026-03-02T02:00:00+08:00", 0),
        ("01:00-02:00", "2026-03-02T00:59:59+08:00", 0),
        ("01:00-02:00", "2026-03-01T17:30:00+00:00", 1800),
        ("01:00-02:00 UTC", "2026-03-02T01:30:00+00:00", 1800),
        ("23:00-01:00", "2026-03-02T00:30:00+08:00", 1800),
        ("23:00-01:00 Sun", "2026-03-02T00:30:00+08:00", 1800),
        ("23:00-01:00 Mon", "2026-03-02T00:30:00+08:00", 0),
        ("00:00-24:00 Mon", "2026-03-02T12:00:00+08:00", 12 * 3600),
        ("01:00-02:00 Sat-Mon", "2026-03-02T01:30:00+08:00", 1800),
        ("01:00-02:00 Tue-Fri,Sat", "2026-03-02T01:30:00+08:00", 0),
        ("02:30-03:30 Europe/Berlin", "2026-07-01T03:15:00+02:00", 900),
    ],
)
def test_windows(window, moment, left):
    assert Window.parse(window).left(at(moment)) == left


@pytest.mark.parametrize(
    "text", ["", "1:00-2:00", "25:00-26:00", "01:00", "01:00-02:00 Foo", "01:00-02:00 Mon Nowhere/City"]
)
def test_what_is_no_window_says_what_one_looks_like(text):
    with pytest.raises(ValueError, match=r"23:30-01:00|time zone"):
        Window.parse(text)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), st.integers(0, 1439), st.integers(0, 1439))  # noqa: DTZ001 - made aware below
def test_when_a_window_is_left_it_is_over(moment, start, end):
    window = Window.parse(f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02} UTC")
    now = moment.replace(tzinfo=UTC)
    left = window.left(now)
    assert 0 <= left <= 24 * 3600
    if left and start != end:
        assert window.left(now + timedelta(seconds=left)) == 0
        assert window.left(now + timedelta(seconds=left) - timedelta(microseconds=1)) > 0


def test_of_several_windows_the_longest_counts():
    windows = [Window.parse("01:00-02:00"), Window.parse("01:30-03:00")]
    assert closed_for(windows, at("2026-03-02T01:45:00+08:00")) == 75 * 60
    assert closed_for([], at("2026-03-02T01:45:00+08:00")) == 0


# -- the gate ----------------------------------------------------------------------------------------------------------


def test_a_gate_without_anything_lets_through():
    assert Gate(clock=Clock()).admit().seconds == 0


def test_a_pause_lasts_as_long_as_the_longest_that_was_asked_for():
    clock = Clock()
    gate = Gate(clock=clock)
    gate.hold(30, "asked")
    gate.hold(10, "asked again")
    assert gate.pause() == (30, "asked", False)
    clock.now += 30
    assert gate.admit().seconds == 0


def test_a_stop_says_that_credentials_were_refused_until_it_is_resumed():
    clock = Clock()
    gate = Gate(clock=clock)
    gate.stop(600, "the peer refuses")
    assert gate.pause().stopped
    assert gate.pause().reason.startswith(AUTH_FAILED)
    gate.resume()
    assert gate.pause().seconds == 0


def test_a_call_that_the_budget_holds_back_leaves_the_try_to_others():
    clock = Clock()
    one, settings = breaker(clock), BudgetSettings(calls=1)
    gate = Gate(breaker=one, budget=Budget("g", settings, store=MemoryBudgets()), clock=clock)
    assert gate.admit().seconds == 0
    for _ in range(3):
        gate.failed()
    clock.now += 10
    assert "budget" in gate.admit().reason
    assert one.claim() == 0


def test_a_budget_that_cannot_be_asked_leaves_the_try_to_others():
    class Broken:
        def change(self, name, step):
            message = "no database"
            raise Unavailable(message)

    clock = Clock()
    held = breaker(clock, failures=1)
    gate = Gate(breaker=held, budget=Budget("p", BudgetSettings(calls=1), store=Broken()), clock=clock)
    held.failed()
    clock.now += 10
    for _ in range(2):
        with pytest.raises(Unavailable):
            gate.admit()
    assert held.claim() == 0


def test_looking_takes_nothing():
    clock = Clock()
    gate = Gate(budget=Budget("g", BudgetSettings(calls=1), store=MemoryBudgets()), clock=clock)
    for _ in range(5):
        assert gate.pause().seconds == 0
    assert gate.admit().seconds == 0


def test_a_window_holds_everything_back():
    gate = Gate(windows=[Window.parse("01:00-02:00")], clock=Clock(), now=lambda: at("2026-03-02T01:45:00+08:00"))
    assert gate.admit().seconds == 900
    assert "maintenance" in gate.admit().reason


def test_an_outage_is_tried_ever_more_rarely_and_its_end_is_noticed():
    clock = Clock()
    gate = Gate(breaker=breaker(clock, most_seconds=300), clock=clock)
    tries, end = [], clock.now + 3600
    while clock.now < end:
        held = gate.admit()
        if held.seconds:
            clock.now += held.seconds
            continue
        tries.append(clock.now)
        clock.now += 1
        gate.failed()
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert len(tries) < 25
    clock.now += 300
    assert gate.admit().seconds == 0
    gate.succeeded()
    assert gate.breaker == "closed"
