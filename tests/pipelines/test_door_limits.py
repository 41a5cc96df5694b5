"""Rate limits: never more than burst plus rate times time, whoever else calls, in bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.door.limits import AddressLimiter, Buckets, address_key
from pipelines.door.sharedlimits import SIZE, SharedBuckets, memory


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


def test_the_default_is_a_hundred_a_second():
    clock = Clock()
    buckets = Buckets(clock=clock)
    assert [buckets.take("a") for _ in range(100)] == [0.0] * 100
    assert buckets.take("a") == pytest.approx(0.01)
    assert buckets.take("b") == 0.0
    clock.seconds += 1
    assert [buckets.take("a") for _ in range(100)] == [0.0] * 100
    assert buckets.take("a") > 0


@given(
    st.lists(st.tuples(st.floats(0, 2), st.sampled_from("ab")), max_size=120),
    st.floats(0.5, 20),
    st.floats(1, 10),
)
def test_nobody_gets_more_than_burst_and_rate(calls, rate, burst):
    clock = Clock()
    buckets = Buckets(rate, burst, clock=clock)
    taken = {"a": 0, "b": 0}
    for wait, key in calls:
        clock.seconds += wait
        taken[key] += buckets.take(key) == 0.0
    for number in taken.values():
        assert number <= burst + rate * (clock.seconds - 100) + 1e-6


@given(st.floats(0.5, 200), st.floats(1, 50), st.integers(1, 60))
def test_who_waits_as_told_gets_through(rate, burst, calls):
    clock = Clock()
    buckets = Buckets(rate, burst, clock=clock)
    for _ in range(calls):
        wait = buckets.take("a")
        if wait:
            clock.seconds += wait + 1e-6
            assert buckets.take("a") == 0.0


def test_a_batch_is_paid_for_afterwards():
    clock = Clock()
    buckets = Buckets(100, 100, clock=clock)
    assert buckets.take("a", 1_000) == 0.0
    assert buckets.take("a") == pytest.approx(9.01)
    clock.seconds += 9.02
    assert buckets.take("a") == 0.0
    assert buckets.take("a", 1_000) > 0


def test_refused_calls_cost_nothing():
    clock = Clock()
    buckets = Buckets(1, 1, clock=clock)
    buckets.take("a")
    for _ in range(50):
        assert buckets.take("a") == pytest.approx(1.0)
    clock.seconds += 1
    assert buckets.take("a") == 0.0


def test_a_clock_that_goes_back_gives_nothing():
    clock = Clock()
    buckets = Buckets(1, 1, clock=clock)
    buckets.take("a")
    clock.seconds -= 50
    assert buckets.take("a") == pytest.approx(1.0)


def test_the_number_of_buckets_is_bounded_and_the_quietest_go():
    clock = Clock()
    buckets = Buckets(1, 2, most=3, clock=clock)
    for key in "abc":
        buckets.take(key)
        buckets.take(key)
    for key in "abd":
        buckets.take(key)
    assert len(buckets) == 3
    assert buckets.take("a") > 0
    assert buckets.take("c") == 0.0


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_is_more_than_nothing(rate):
    with pytest.raises(ValueError, match="0"):
        Buckets(rate)


def test_asking_for_the_wait_takes_nothing():
    buckets = Buckets(1, 2, clock=lambda: 0.0)
    assert [buckets.wait("a") for _ in range(5)] == [0.0] * 5
    assert len(buckets) == 0
    assert [buckets.take("a"), buckets.take("a"), buckets.wait("a"), buckets.take("a")] == [0.0, 0.0, 1.0, 1.0]


def test_threads_together_get_no_more():
    buckets = Buckets(1, 50, clock=lambda: 0.0)
    with ThreadPoolExecutor(8) as pool:
        assert sum(wait == 0.0 for wait in pool.map(lambda _: buckets.take("a"), range(400))) == 50


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "?"),
        ("unix:/run/door", "?"),
    ],
)
def test_a_network_of_64_bits_is_one_caller(address, key):
    assert address_key(address) == key


def test_addresses_are_limited_apart():
    limiter = AddressLimiter(Buckets(1, 2, clock=lambda: 0.0))
    assert [limiter.take("2001:db8::1"), limiter.take("2001:db8::2")] == [0.0, 0.0]
    assert limiter.take("2001:db8::3") > 0
    assert limiter.take("203.0.113.7") == 0.0
    assert len(limiter) == 2


@pytest.fixture
def fd():
    made = memory()
    yield made
    os.close(made)


@given(
    st.lists(st.tuples(st.floats(0, 2), st.sampled_from(["a", "b", "公司"]), st.sampled_from(range(5))), max_size=80)
)
def test_shared_buckets_do_what_those_of_one_process_do(calls):
    clock, made = Clock(), memory()
    try:
        own, shared = Buckets(2, 3, clock=clock), [SharedBuckets(made, SIZE, 2, 3, clock=clock) for _ in range(2)]
        for at, (wait, key, what) in enumerate(calls):
            clock.seconds += wait
            ask = {0: "give_back", 1: "wait"}.get(what, "take")
            assert getattr(shared[at % 2], ask)(key) == getattr(own, ask)(key)
        assert len(shared[0]) == len(shared[1])
    finally:
        os.close(made)


def test_tables_of_one_memory_are_apart(fd):
    companies, addresses = SharedBuckets(fd, 0, 1, clock=lambda: 1.0), SharedBuckets(fd, SIZE, 1, clock=lambda: 1.0)
    assert (companies.take("a"), companies.take("a"), addresses.take("a")) == (0.0, 1.0, 0.0)


def test_of_more_callers_than_there_is_room_the_quietest_go(fd):
    clock = Clock()
    buckets = SharedBuckets(fd, 0, 0.001, 1, clock=clock)
    for at in range(100_000):
        clock.seconds += 0.0001
        assert buckets.take(f"address-{at}") == 0.0
    assert len(buckets) * 32 <= SIZE
    assert buckets.take("address-99999") > 0
    assert buckets.take("address-0") == 0.0


def _take(fd, times, found):
    buckets = SharedBuckets(fd, 0, 1, 500, clock=lambda: 1.0)
    found.put(sum(buckets.take("a") == 0.0 for _ in range(times)))


def test_processes_together_get_no_more(fd):
    forked = multiprocessing.get_context("fork")
    found = forked.SimpleQueue()
    processes = [forked.Process(target=_take, args=(fd, 400, found)) for _ in range(4)]
    for one in processes:
        one.start()
    assert sum(found.get() for _ in processes) == 500
    for one in processes:
        one.join()


def _hold(fd, held):
    buckets = SharedBuckets(fd, 0, 1, clock=lambda: 1.0)
    with buckets._alone("a"):
        held.put("held")
        signal.pause()


def test_who_dies_with_a_bucket_in_hand_keeps_it_from_nobody(fd):
    forked = multiprocessing.get_context("fork")
    held = forked.SimpleQueue()
    holder = forked.Process(target=_hold, args=(fd, held))
    holder.start()
    assert held.get() == "held"
    holder.kill()
    holder.join()
    assert SharedBuckets(fd, 0, 1, clock=lambda: 1.0).take("a") == 0.0
