"""The inbox: what is put is new once, is taken in order, and comes back when its batch was forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, insert, select

from connectors.contracts import Arrival
from pipelines import tables
from pipelines.inbox import Inbox, Judged
from pipelines.state import State

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def state(tmp_path: Path, request: pytest.FixtureRequest):
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    with State(tmp_path / "state", own=True, url=url) as state:
        yield state


def put(state: State, *arrivals: Arrival, exchange: str = "collect", at: datetime = NOW) -> list[bool]:
    with state.unit_of_work() as connection:
        return Inbox(exchange, state.sealer()).put(connection, [Judged(one) for one in arrivals], at)


def arrival(body: bytes, key: str = "", source: str = "queue") -> Arrival:
    return Arrival(body, source, key, "31000001", "31")


def batch(state: State, number: int, exchange: str = "collect") -> None:
    row = {"id": f"b-{number}", "exchange": exchange, "number": number, "run": 1, "kind": "inbox", "state": "open"}
    with state.unit_of_work() as connection:
        if connection.execute(select(tables.runs.c.id)).first() is None:
            connection.execute(insert(tables.runs), {"exchange": exchange, "started_at": ""})
        connection.execute(insert(tables.batches), {**row, "received_at": "", "items": b"[]"})


def test_known_keys_are_not_kept_again(state: State) -> None:
    assert put(state, arrival(b"a", "1"), arrival(b"b", "1"), arrival(b"c", "2")) == [True, False, True]
    assert put(state, arrival(b"a", "1"), arrival(b"d", "1", source="other")) == [False, True]
    assert put(state, arrival(b"a", "1"), exchange="report") == [True]


def test_envelopes_without_a_key_are_all_new(state: State) -> None:
    assert put(state, arrival(b"a"), arrival(b"a")) == [True, True]


def test_what_is_sure_to_be_new_is_kept_and_known_when_it_comes_again(state: State) -> None:
    a, b = arrival(b"a", "A"), arrival(b"b", "B")
    new = [one._replace(new=True) for one in (a, b, a)]
    assert put(state, *new) == [True, True, True]
    assert put(state, a, b) == [False, False]
    assert put(state, a._replace(new=True)) == [True]


@pytest.mark.parametrize("bad", ["\0", "a\0b", "\ud800", "x" * 1_000_000, "😀" * 300])
def test_names_that_no_database_takes_stand_for_themselves(state: State, bad: str) -> None:
    one = Arrival(b"a", "queue", bad, bad, bad)
    other = Arrival(b"b", "queue", bad + "!", "31000001", "31")
    assert put(state, one, other) == [True, True]
    assert put(state, one, other) == [False, False]
    inbox = Inbox("collect", state.sealer())
    with state.unit_of_work() as connection:
        first, second = inbox.take(connection, 10, 1000, 1)
    assert (second.company, second.system) == ("31000001", "31")
    assert first.company  # nobody, and not: whom the payload names
    assert len(first.company) <= 200


def test_only_bodies_that_are_taken_are_read(state: State) -> None:
    put(state, *(arrival(b"%d" % n * 100) for n in range(9)))
    asked: list[str] = []
    event.listen(state.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with state.unit_of_work() as connection:
        taken = Inbox("collect", state.sealer()).take(connection, 9, 250, 7)
    assert [one.body for one in taken] == [b"0" * 100, b"1" * 100]
    assert not [one for one in asked if one.startswith("SELECT") and "body" in one]


def test_a_key_is_known_after_its_envelope_went(state: State) -> None:
    put(state, arrival(b"a", "1"))
    inbox = Inbox("collect", state.sealer())
    with state.unit_of_work() as connection:
        inbox.take(connection, 10, 1000, 7)
        assert inbox.remove(connection, 7) == 1
    assert put(state, arrival(b"a", "1")) == [False]
    with state.unit_of_work() as connection:
        assert inbox.forget_keys(connection, NOW + timedelta(days=7)) == 1
    assert put(state, arrival(b"a", "1")) == [True]


def test_taken_in_order_and_bounded(state: State) -> None:
    put(state, *[arrival(bytes([65 + i]) * 10) for i in range(5)])
    inbox = Inbox("collect", state.sealer())
    with state.unit_of_work() as connection:
        assert [one.body[:1] for one in inbox.take(connection, 2, 1000, 1)] == [b"A", b"B"]
        assert [one.body[:1] for one in inbox.take(connection, 9, 20, 2)] == [b"C", b"D"]
        assert [one.body[:1] for one in inbox.take(connection, 9, 1, 3)] == [b"E"], "one at least, however large"
        assert inbox.take(connection, 9, 1000, 4) == []
        assert [one.body[:1] for one in inbox.of(connection, 2)] == [b"C", b"D"]


def test_what_is_put_for_a_batch_is_what_it_would_have_taken(state: State) -> None:
    put(state, arrival(b"known", "1"))
    inbox = Inbox("collect", state.sealer())
    came = [arrival(b"known", "1"), arrival(b"b", "2"), arrival(b"c"), arrival(b"b", "2")]
    with state.unit_of_work() as connection:
        first = inbox.take(connection, 9, 1000, 1)
        given = inbox.put_for(connection, [Judged(one, "national", 7) for one in came], NOW, 2)
    assert [(one.body, one.company, one.system, one.dialect) for one in given] == [
        (body, "31000001", "31", "national") for body in (b"b", b"c")
    ]
    assert first[-1].id < given[0].id < given[1].id
    batch(state, 1)
    with state.unit_of_work() as connection:
        assert list(inbox.of(connection, 2)) == given
        assert inbox.waiting(connection) == (0, 0)
        assert inbox.give_back(connection) == 2
        assert inbox.take(connection, 9, 1000, 3) == given
        assert inbox.put_for(connection, [Judged(came[1])], NOW, 4) == []


def test_envelopes_of_forgotten_batches_wait_again(state: State) -> None:
    put(state, arrival(b"a"), arrival(b"b"))
    batch(state, 1)
    inbox = Inbox("collect", state.sealer())
    with state.unit_of_work() as connection:
        inbox.take(connection, 1, 1000, 1)
        inbox.take(connection, 1, 1000, 2)
        assert inbox.waiting(connection) == (0, 0)
        assert inbox.give_back(connection) == 1
        assert [one.body for one in inbox.take(connection, 9, 1000, 3)] == [b"b"]


def test_bodies_lie_sealed(state: State) -> None:
    put(state, arrival("沪A12345".encode()))
    with state.reading() as connection:
        body = connection.execute(select(tables.inbox.c.body)).scalar_one()
    assert "沪A12345".encode() not in body
    for file in state.path.glob("vingate.db*"):
        assert "沪A12345".encode() not in file.read_bytes()
