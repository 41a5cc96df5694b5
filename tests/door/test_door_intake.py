"""Group commit: many requests, one transaction; what fails fails whole, and alone where it can."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from door_kit import exchange
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors.contracts import Arrival
from pipelines import tables
from pipelines.door import intake as intake_module
from pipelines.door.counting import ABANDONED, FAILED_COMMITS
from pipelines.door.intake import GONE, Bounds, Intake, Item, Kept, NotDurable
from pipelines.door.serving import opened
from pipelines.door.settings import DoorSettings
from pipelines.inbox import Judged
from pipelines.state import State

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path):
    with State(tmp_path / "state", own=True) as state:
        yield state


@contextmanager
def running(state, bounds=Bounds(linger=0.02), database=None):  # noqa: B008
    intake = Intake(database or state, state.sealer(), "collect", bounds, lambda: NOW)
    intake.start()
    try:
        yield intake
    finally:
        intake.stop()


def item(body=b"x", key="", exchange="collect", vin=""):
    return Item(exchange, Judged(Arrival(body, "door:test", key, "c")), vin)


def count(state):
    with state.reading() as connection:
        return connection.execute(select(tables.inbox.c.exchange, tables.inbox.c.key)).all()


def test_requests_share_commits(state):
    async def story(intake):
        kept = await asyncio.gather(*[intake.put([item()]) for _ in range(50)])
        assert kept == [Kept("", (True,))] * 50

    database = Failing(state)
    with running(state, database=database) as intake:
        asyncio.run(story(intake))
        assert database.tries < 10
        assert intake.backlog == (50, 50)
    assert len(count(state)) == 50


def test_what_one_request_brings_is_one(state):
    async def story(intake):
        both = [item(exchange="collect"), item(exchange="operators"), item(key="1")]
        assert (await intake.put(both)).fresh == (True, True, True)
        refused = await intake.put(both, lambda connection, now: "AGAINST")
        assert refused == Kept("AGAINST")
        assert (await intake.put([item(key="1"), item(key="2")])).fresh == (False, True)

    with running(state) as intake:
        asyncio.run(story(intake))
    assert sorted(count(state)) == [("collect", ""), ("collect", "1"), ("collect", "2"), ("operators", "")]


def test_one_request_that_cannot_be_kept_fails_alone(state):
    def poison(connection, now):
        connection.execute(text("insert into meta (name, value) values ('half', 'done')"))
        raise ValueError("what this request says cannot be kept")

    async def story(intake):
        jobs = [intake.put([item()], poison if at == 3 else None) for at in range(6)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert [isinstance(one, NotDurable) for one in results] == [at == 3 for at in range(6)]

    failed = FAILED_COMMITS._value.get()
    with running(state) as intake:
        asyncio.run(story(intake))
    assert FAILED_COMMITS._value.get() == failed + 1
    assert len(count(state)) == 5
    with state.reading() as connection:
        assert connection.execute(text("select count(*) from meta where name = 'half'")).scalar() == 0


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_a_caller_sent_that_goes_is_not_kept_and_the_others_are(state, when):
    gone = [True] if when == "before" else []

    def goes(connection, now):
        gone.append(True)
        return ""

    async def leaving(intake):
        GONE.set(lambda: bool(gone))
        return await intake.put([item(key="left")], goes)

    async def story(intake):
        jobs = intake.put([item(key="a")]), leaving(intake), intake.put([item(key="b")])
        first, second, third = await asyncio.gather(*jobs, return_exceptions=True)
        assert first == third == Kept("", (True,))
        assert isinstance(second, NotDurable)

    abandoned = ABANDONED._value.get()
    with running(state) as intake:
        asyncio.run(story(intake))
        assert intake.backlog == (2, 2)
    assert count(state) == [("collect", "a"), ("collect", "b")]
    assert ABANDONED._value.get() == abandoned + 1


class Failing:
    """A state whose commits fail while `broken`."""

    def __init__(self, state, error=None):
        self.state, self.broken, self.reading, self.tries = state, False, state.reading, 0
        self.error = error or OperationalError("commit", {}, OSError())

    @contextmanager
    def unit_of_work(self):
        with self.state.unit_of_work() as connection:
            yield connection
            self.tries += 1
            if self.broken:
                raise self.error


def test_where_no_connection_is_free_a_group_fails_at_once_and_not_one_by_one(state):
    database = Failing(state, PoolTimeout("QueuePool limit"))

    async def story(intake):
        database.broken = True
        results = await asyncio.gather(*[intake.put([item()]) for _ in range(20)], return_exceptions=True)
        assert all(isinstance(one, NotDurable) for one in results)

    with running(state, database=database) as intake:
        asyncio.run(story(intake))
    assert database.tries < 20


def test_a_commit_that_fails_fails_its_requests_and_no_others(state):
    database = Failing(state)

    async def story(intake):
        await intake.put([item(b"before")])
        database.broken = True
        results = await asyncio.gather(*[intake.put([item()]) for _ in range(5)], return_exceptions=True)
        assert all(isinstance(one, NotDurable) for one in results)
        database.broken = False
        await intake.put([item(b"after")])

    with running(state, database=database) as intake:
        asyncio.run(story(intake))
    assert len(count(state)) == 2


def test_one_alone_waits_for_nobody_and_many_do_not_wait_for_the_next_commit_to_be_due(state, monkeypatch):
    monkeypatch.setattr(intake_module, "_PACE", 3_600.0)

    async def story(intake):
        assert await intake.put([item()]) == Kept("", (True,))
        kept = await asyncio.gather(*(intake.put([item()]) for _ in range(intake_module._MANY)))
        assert kept == [Kept("", (True,))] * intake_module._MANY

    async def bounded(intake):
        await asyncio.wait_for(story(intake), 30)

    with running(state) as intake:
        asyncio.run(bounded(intake))
    assert len(count(state)) == 1 + intake_module._MANY


def test_stopping_commits_what_was_handed_over(state):
    async def story(intake):
        jobs = [asyncio.ensure_future(intake.put([item()])) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.to_thread(intake.stop)
        assert await asyncio.gather(*jobs) == [Kept("", (True,))] * 5
        with pytest.raises(NotDurable):
            await intake.put([item()])

    with running(state, Bounds(linger=0.2)) as intake:
        asyncio.run(story(intake))
    assert len(count(state)) == 5


def test_a_caller_that_goes_away_stops_nobody(state):
    async def story(intake):
        jobs = [asyncio.ensure_future(intake.put([item()])) for _ in range(3)]
        await asyncio.sleep(0)
        jobs[1].cancel()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert [isinstance(one, Kept) for one in results] == [True, False, True]

    with running(state) as intake:
        asyncio.run(story(intake))
    assert len(count(state)) == 3, "what it sent was whole, so it counts"


@pytest.mark.parametrize("bounds", [Bounds(rows=3), Bounds(size=30)])
def test_full_when_enough_waits_and_free_when_it_went(state, bounds):
    async def story(intake):
        for _ in range(3):
            assert not intake.full
            await intake.put([item(b"0123456789")])
        assert intake.full
        with state.unit_of_work() as connection:
            connection.execute(tables.inbox.delete())
        while intake.full:  # counted again by itself, though nobody is let in
            await asyncio.sleep(0.02)

    async def bounded(intake):
        await asyncio.wait_for(story(intake), 30)

    with running(state, bounds) as intake:
        asyncio.run(bounded(intake))


def test_a_full_queue_counts_too(state):
    database = Failing(state)

    async def story(intake):
        jobs = [asyncio.ensure_future(intake.put([item()])) for _ in range(4)]
        await asyncio.sleep(0)
        assert intake.full
        await asyncio.gather(*jobs)
        assert not intake.full

    with running(state, Bounds(linger=0.2, pending=3), database) as intake:
        asyncio.run(story(intake))


def test_what_waits_from_before_counts(state):
    async def story(intake):
        await intake.put([item()])

    for expected in (0, 1, 2):
        with running(state) as intake:
            assert intake.backlog[0] == expected
            asyncio.run(story(intake))


def test_nothing_is_taken_in_while_the_disk_has_no_room(state, caplog):
    hindrance = "磁盘只剩 3 MB / only 3 MB are left"
    intake = Intake(state, state.sealer(), "collect", room=lambda: hindrance)
    with caplog.at_level("WARNING", "vingate.door"):
        for _ in range(2):
            intake._look()
            assert intake.full
    assert caplog.text.count("only 3 MB are left") == 1, "told once"
    hindrance = ""
    intake._look()
    assert not intake.full


def test_a_door_whose_disk_has_less_room_than_it_must_have_is_full(state):
    with opened(DoorSettings(), state, exchange(), free_bytes=1 << 80) as door:
        assert door.desk.intake.full
    with opened(DoorSettings(), state, exchange(), free_bytes=1) as door:
        assert not door.desk.intake.full
