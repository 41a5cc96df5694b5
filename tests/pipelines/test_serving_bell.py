"""The bell of a gateway: who wakes it, what a commit to the inbox says, and that nothing relies on being told."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from connectors.contracts import Arrival
from connectors.memory import MemoryFeed
from dlq.sealing import Sealer
from pipelines.inbox import Inbox, Judged
from pipelines.serving.bell import LOOK_SECONDS, Bell, Listener
from pipelines.state import State


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_who_listens_looks_where_it_rang_and_now_and_then_elsewhere():
    clock = Clock()
    bell = Bell(clock)
    assert [bell.rang("a"), bell.rang("a")] == [True, True], "nobody listens: it is looked at in every round"
    bell.listening = True
    assert not bell.rang("a")
    bell.ring("a")
    assert [bell.rang("b"), bell.rang("a"), bell.rang("a")] == [True, True, False]
    clock.now += LOOK_SECONDS
    assert [bell.rang("a"), bell.rang("a")] == [True, False], "no notice came, or it was lost"


def test_a_ring_is_waited_for_once_and_told_until_it_is_asked_for():
    bell = Bell()
    bell.listening = True
    bell.rang("a")
    ringer = threading.Timer(0.01, bell.ring, ["a"])
    ringer.start()
    assert bell.wait(20) == {"a"}
    assert bell.wait(0) == set(), "an exchange that cannot be worked on now must not keep the gateway from resting"
    assert bell.rang("a")
    ringer.join()


class Ringing:
    wake = staticmethod(lambda: None)


def test_a_feed_that_cannot_ring_is_asked_as_often_as_before():
    bell, feed = Bell(), Ringing()
    bell.hear("a", feed)
    assert bell.sure
    feed.wake()
    assert bell.wait(0) == {"a"}
    bell.hear("b", MemoryFeed(MemoryFeed.Settings()))
    assert not bell.sure


@pytest.fixture
def state(tmp_path, postgres_url):
    with State(tmp_path / "state", own=True, url=postgres_url) as made:
        yield made


def put(state: State, exchange: str, *keys: str, fail: bool = False) -> None:
    arrivals = [Judged(Arrival(b"{}", "door", key, "", "")) for key in keys]
    with state.unit_of_work() as connection:
        Inbox(exchange, Sealer(bytes(32))).put(connection, arrivals, datetime.now(UTC))
        if fail:
            raise ZeroDivisionError


def test_a_commit_to_an_inbox_rings_for_its_exchange(state):
    bell = Bell()
    listener = Listener(state.engine, bell, ["a", "b"])
    assert bell.wait(20) == {"a", "b"}, "what came before it listened is looked for"
    assert bell.listening
    with pytest.raises(ZeroDivisionError):
        put(state, "a", "1", fail=True)
    put(state, "foreign", "1")
    put(state, "b", "1", "2")
    assert bell.wait(20) == {"b"}
    put(state, "b", "2")  # known: nothing new
    put(state, "a", "3")
    assert bell.wait(20) == {"a"}
    listener.close()


def test_a_server_that_was_away_is_listened_to_again(postgres_alone, tmp_path):
    with postgres_alone.database() as url, State(tmp_path / "state", own=True, url=url) as state:
        bell = Bell()
        listener = Listener(state.engine, bell, ["a"])
        assert bell.wait(20) == {"a"}
        postgres_alone.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = %s",
            url.rpartition("/")[2].partition("?")[0],
        )
        assert bell.wait(20) == {"a"}, "looked for, since nothing is heard meanwhile"
        assert bell.wait(20) == {"a"}, "and again, once it listens"
        put(state, "a", "1")
        assert bell.wait(20) == {"a"}
        listener.close()
