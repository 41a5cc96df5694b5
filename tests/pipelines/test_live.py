"""An exchange that runs for ever, driven a step at a time: from arrivals to the store, through all kinds of trouble."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from datetime import UTC, datetime

import psycopg
import pytest
from row_gate import SHOP, Gate, record, vin
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError

from connectors.amqpsplitting import arrivals
from connectors.contracts import Arrival
from connectors.memory import MemoryFeed, forget, hub
from connectors.registry import feed
from pipelines import flow, steps, tables
from pipelines.batchwork import BatchWork
from pipelines.errors import Incomplete
from pipelines.inbox import Inbox, Judged
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.settings import Exchange, load
from pipelines.trace import trace

OTHER = "110105000000007"
SETTINGS = """
name = "collect"
[source]
connector = "files"
path = "{state}/partners/shops"
layout = "{system}/{company}/*"
finished = "keep"
[mapping]
company = "source"
[rules]
history = ["MILEAGE_REGRESSION"]
[routing]
table = "collect"
[sinks.provinces]
connector = "sql"
for = "province-*"
url = "sqlite:///{state}/stores/{destination}.db"
"""


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()
    forget("live")


def settings(gate: Gate, *overrides: str) -> Exchange:
    path = gate.folder / "collect.toml"
    path.write_text(SETTINGS, "utf-8")
    return load(path, overrides, {})


def live(gate: Gate, *overrides: str, records: int = 500) -> Live:
    made = Live(gate.state, settings(gate, *overrides), records=records, milliseconds=0)
    made.recover()
    return made


def arrive(
    gate: Gate, *payloads: object, company: str = SHOP, source: str = "door:national", system: str = "11"
) -> None:
    """Payloads in the inbox, as the door puts them there."""
    judged = [Judged(Arrival(as_bytes(one), source, "", company, system)) for one in payloads]
    with gate.state.unit_of_work() as connection:
        Inbox("collect", gate.state.sealer()).put(connection, judged, datetime.now(UTC))


def as_bytes(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()


def drain(running: Live) -> int:
    """Steps until nothing is left to do; how many did something."""
    did = 0
    while running.step(0):
        did += 1
        assert did < 50
    return did


def waiting(gate: Gate) -> int:
    with gate.state.reading() as connection:
        return len(connection.execute(select(tables.inbox.c.id)).all())


def nameless(code: str, **more: object) -> dict:
    """A record that does not say of which shop it is, as the national interface sends it."""
    payload = record(code, **more)
    del payload["basicInfo"]["companycode"]
    return payload


def test_what_arrived_stands_in_the_store_under_the_company_that_sent_it(gate):
    running = live(gate)
    arrive(gate, nameless("J1"), company=SHOP)
    arrive(gate, nameless("J1"), record("J2", company=OTHER), company=OTHER)
    assert drain(running) == 1
    assert sorted(gate.rows("province-11", "companycode, costlistcode, version")) == [
        (OTHER, "J1", 1),
        (OTHER, "J2", 1),
        (SHOP, "J1", 1),
    ]
    assert waiting(gate) == 0
    assert prove(gate.state).problems == []
    assert prove(gate.state).balanced
    running.close()


def test_the_same_again_is_a_duplicate_and_a_correction_a_version(gate):
    running = live(gate)
    arrive(gate, record("J1", fault="甲"))
    drain(running)
    arrive(gate, record("J1", fault="甲"), record("J1", fault="乙"))
    drain(running)
    arrive(gate, record("J1", fault="乙"))
    drain(running)
    assert gate.versions("province-11") == [("J1", 1, "甲"), ("J1", 2, "乙")]
    assert prove(gate.state).totals["duplicate"] == 2
    running.close()


class Queue:
    """A feed of messages without ids, each delivered for the first time or again."""

    def __init__(self) -> None:
        self.messages: list[tuple[dict, bool]] = []

    def take(self, most: int, seconds: float) -> list[Arrival]:
        del most, seconds
        taken, self.messages = self.messages, []
        return [
            one for body, first in taken for one in arrivals("q", "", as_bytes(body), "none", SHOP, "11", first=first)
        ]

    def ack(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def test_a_record_that_comes_as_it_was_is_a_version_and_a_delivery_again_is_none(gate):
    queue = Queue()
    running = Live(gate.state, settings(gate), {"q": queue}, milliseconds=0)
    running.recover()
    one, other = record("J1", fault="甲"), record("J1", fault="乙")
    for round_ in ([(one, True)], [(other, True)], [(one, True)], [(one, False), (other, False)]):
        queue.messages = round_
        drain(running)
    assert gate.versions("province-11") == [("J1", 1, "甲"), ("J1", 2, "乙"), ("J1", 3, "甲")]
    assert prove(gate.state).balanced
    running.close()


def test_one_that_names_another_company_is_a_letter_of_the_sender(gate):
    running = live(gate)
    arrive(gate, nameless("J1"), record("J2", company=OTHER), b"{", company=SHOP)
    arrive(gate, b"[]", company=OTHER)
    drain(running)
    assert sorted((one["company"], json.loads(one["reasons"])[0][0]) for one in gate.letters()) == [
        (OTHER, "STRUCTURE_WRONG"),
        (SHOP, "COMPANY_CODE_MISMATCH"),
        (SHOP, "NOT_JSON"),
    ]
    assert prove(gate.state).problems == []
    running.close()


def test_a_feed_is_acked_once_its_arrivals_are_kept(gate):
    hub("live").arrivals += [Arrival(as_bytes(record(f"J{i}")), "queue", f"m{i}", SHOP, "11") for i in range(3)]
    hub("live").arrivals += [Arrival(as_bytes(record("J0")), "queue", "m0", SHOP, "11")]
    running = Live(gate.state, settings(gate), {"queue": feed("memory", {"hub": "live"})})
    running.recover()
    drain(running)
    assert hub("live").arrivals == []
    assert not any(hub("live").taken.values())
    assert gate.versions("province-11") == [("J0", 1, "异响"), ("J1", 1, "异响"), ("J2", 1, "异响")]
    assert prove(gate.state).totals["received"] == 3, "a known key is not received twice"
    running.close()


@pytest.mark.parametrize(("way", "before"), [("put_for", 0), ("put", 1)])
def test_what_was_not_kept_comes_again(gate, monkeypatch, way, before):
    hub("live").arrivals += [Arrival(as_bytes(record("J1")), "queue", "m1", SHOP, "11")]
    made = feed("memory", {"hub": "live"})
    assert isinstance(made, MemoryFeed)
    running = Live(gate.state, settings(gate), {"queue": made})
    running.recover()
    for _ in range(before):
        arrive(gate, record("J0"))
    with monkeypatch.context() as patch:
        patch.setattr(Inbox, way, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            running.step(0)
    running.close()
    assert [one.key for one in hub("live").arrivals] == ["m1"]
    assert waiting(gate) == before


def test_what_a_feed_brings_is_a_batch_at_once_and_acked_before_it_is_worked_on(gate, monkeypatch):
    hub("live").arrivals += [
        Arrival(as_bytes(record("J1", fault=f"第{i}次")), "queue", f"m{i}", SHOP, "11") for i in (0, 1)
    ]
    running = Live(gate.state, settings(gate), {"queue": feed("memory", {"hub": "live"})})
    running.recover()

    def worked(*_: object) -> None:
        assert not any(hub("live").taken.values()), "it is in the inbox: nothing more is asked of its system"
        assert waiting(gate) == 2
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(BatchWork, "stage", worked)
        patch.setattr(Inbox, "take", lambda *_: 1 / 0)  # nothing is read of what was just written
        with pytest.raises(Killed):
            running.step(0)
    again = live(gate)
    drain(again)
    assert gate.versions("province-11") == [("J1", 1, "第0次"), ("J1", 2, "第1次")]
    assert prove(gate.state).balanced
    again.close()


def test_what_waits_in_the_inbox_goes_before_what_a_feed_brings(gate):
    running = Live(gate.state, settings(gate), {"queue": feed("memory", {"hub": "live"})})
    running.recover()
    arrive(gate, record("J1", fault="甲"))
    hub("live").arrivals.append(Arrival(as_bytes(record("J1", fault="乙")), "queue", "m1", SHOP, "11"))
    drain(running)
    assert gate.versions("province-11") == [("J1", 1, "甲"), ("J1", 2, "乙")]
    running.close()


def test_what_a_feed_brings_beyond_the_turns_of_a_batch_waits_for_the_next_one(gate, monkeypatch):
    monkeypatch.setattr("pipelines.inboxitems.MOST_TURNS", 1)
    one, other = record("J1", fault="甲"), record("J1", fault="乙")
    sources = ("queue", "queue:other") * 2
    hub("live").arrivals += [
        Arrival(as_bytes(payload), source, f"m{at}", SHOP, "11")
        for at, (source, payload) in enumerate(zip(sources, (one, other, one, other), strict=True))
    ]
    running = Live(gate.state, settings(gate), {"queue": feed("memory", {"hub": "live"})})
    running.recover()
    drain(running)
    assert [version[1:] for version in gate.versions("province-11")] == [(1, "甲"), (2, "乙"), (3, "甲"), (4, "乙")]
    assert prove(gate.state).balanced
    running.close()


@pytest.mark.parametrize(("records", "size"), [(1, 1 << 20), (500, 1_500)])
def test_what_a_feed_brings_is_bounded_as_every_batch(gate, records, size):
    hub("live").arrivals += [Arrival(as_bytes(record(f"J{i}")), "queue", f"m{i}", SHOP, "11") for i in range(6)]
    bound = settings(gate, f"batch.bytes={size}")
    running = Live(gate.state, bound, {"queue": feed("memory", {"hub": "live"})}, records=records)
    running.recover()
    drain(running)
    with gate.state.reading() as connection:
        received = connection.execute(select(tables.batches.c.received)).scalars().all()
    assert sum(received) == 6
    assert max(received) < 6
    running.close()


def test_batches_are_bounded_and_in_order(gate):
    running = live(gate, records=2)
    arrive(gate, *[record("J1", fault=f"第{i}次") for i in range(5)])
    assert drain(running) == 3
    assert [row[2] for row in gate.versions("province-11")] == [f"第{i}次" for i in range(5)]
    running.close()


@pytest.mark.parametrize("moment", ["stage", "decide"])
def test_a_crash_before_the_decision_gives_the_envelopes_back(gate, monkeypatch, moment):
    def killed(*_: object) -> None:
        raise Killed

    running = live(gate)
    arrive(gate, record("J1"), record("J2"))
    with monkeypatch.context() as patch:
        patch.setattr(BatchWork, moment, killed)
        with pytest.raises(Killed):
            running.step(0)
    assert waiting(gate) == 2
    again = live(gate)
    drain(again)
    assert gate.versions("province-11") == [("J1", 1, "异响"), ("J2", 1, "异响")]
    assert prove(gate.state).totals["received"] == 2
    assert prove(gate.state).balanced
    again.close()


def test_a_crash_after_the_decision_is_finished_by_the_next_start(gate, monkeypatch):
    from pipelines.closing import Closer

    def killed(*_: object, **__: object) -> None:
        raise Killed

    running = live(gate)
    arrive(gate, record("J1"))
    with monkeypatch.context() as patch:
        patch.setattr(Closer, "finish", killed)
        with pytest.raises(Killed):
            running.step(0)
    assert waiting(gate) == 0, "decided: the inbox has given it away"
    again = live(gate)
    assert gate.versions("province-11") == [("J1", 1, "异响")]
    assert prove(gate.state).balanced
    again.close()


def test_a_payload_that_breaks_the_steps_becomes_a_letter_alone(gate, monkeypatch):
    whole = steps.judge

    def breaks(bench, load):
        if any(b"BAD" in body for body in load.bodies):
            message = "a defect"
            raise ZeroDivisionError(message)
        return whole(bench, load)

    monkeypatch.setattr(steps, "judge", breaks)
    running = live(gate, records=8)
    arrive(gate, record("J1"), record("BAD"), record("J3"), record("J4"))
    drain(running)
    assert [row[0] for row in gate.versions("province-11")] == ["J1", "J3", "J4"]
    (letter,) = gate.letters()
    assert json.loads(letter["reasons"])[0][0] == "STEPS_FAILED"
    assert prove(gate.state).totals["received"] == 4
    assert prove(gate.state).balanced
    running.close()


@pytest.mark.parametrize("always", [True, False])
def test_a_defect_that_hits_every_payload_stops_and_makes_no_heap_of_letters(gate, monkeypatch, always):
    whole = steps.judge

    def breaks(bench, load):
        if always or load.bodies:
            message = "a defect"
            raise ZeroDivisionError(message)
        return whole(bench, load)

    running = live(gate, records=8)
    arrive(gate, *[record(f"J{i}") for i in range(6)])
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.steps.judging.judge", breaks)  # by which name workers find it
        with pytest.raises(ZeroDivisionError):
            drain(running)
    assert waiting(gate) == (6 if always else 4)
    assert len(gate.letters()) == (0 if always else 2)
    mended = live(gate)
    drain(mended)
    assert len(gate.versions("province-11")) + len(gate.letters()) == 6
    assert prove(gate.state).balanced
    mended.close()


def test_a_crash_never_counts_against_a_message(gate, monkeypatch):
    def killed(*_: object) -> None:
        raise Killed

    arrive(gate, record("J1"))
    for _ in range(5):
        running = live(gate, records=1)
        with monkeypatch.context() as patch:
            patch.setattr(BatchWork, "stage", killed)
            with pytest.raises(Killed):
                running.step(0)
    last = live(gate)
    drain(last)
    assert gate.letters() == []
    assert len(gate.versions("province-11")) == 1
    last.close()


def test_trace_and_replay_know_what_came_by_the_inbox(gate):
    running = live(gate)
    arrive(gate, record("J1", serial=4), record("J2", serial=5, day="20269910"))
    drain(running)
    (found,) = trace(gate.state, gate.state.sealer(), vin(4))["versions"]
    assert (found["costlistcode"], found["destinations"]) == (
        "J1",
        [{"name": "province-11", "outcome": "delivered"}],
    )
    (letter,) = gate.letters()
    running.close()
    again = live(gate)
    again._coordinator.replay([letter["id"]])
    assert prove(gate.state).problems == []


def test_other_settings_take_effect_without_a_restart(gate):
    running = live(gate)
    arrive(gate, record("J1"))
    drain(running)
    running.reload(settings(gate, "mapping.profile=lenient"))
    arrive(gate, record("J2", plate="京I12345"))
    drain(running)
    assert [row[0] for row in gate.versions("province-11")] == ["J1", "J2"]
    running.close()


def test_a_reload_that_meets_an_outage_half_way_can_be_closed_and_begun_anew(gate, monkeypatch):
    running = live(gate)
    drain(running)
    old = running._coordinator

    def away():
        raise OperationalError("end", {}, OSError())

    monkeypatch.setattr(old, "end", away)
    with pytest.raises(OperationalError):
        running.reload(settings(gate, "mapping.profile=lenient"))
    running.close()
    again = live(gate, "mapping.profile=lenient")
    arrive(gate, record("J2", plate="京I12345"))
    drain(again)
    assert [row[0] for row in gate.versions("province-11")] == ["J2"]
    again.close()


def test_an_idle_step_does_nothing(gate):
    running = live(gate)
    assert running.step(0.01) is False
    assert prove(gate.state).balanced
    running.close()


def test_a_scan_takes_in_what_lies_in_the_folder(gate):
    gate.shop(record("J1"))
    running = live(gate)
    assert running.scan() is True
    assert running.scan() is False
    assert gate.versions("province-11") == [("J1", 1, "异响")]
    running.close()


def test_a_kept_pipeline_leaves_nothing_in_the_temporary_folder(gate, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    running = live(gate)
    arrive(gate, record("J1"))
    assert running.step(0)
    running.close()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_kept_pipeline_raises_what_its_steps_raise(gate, monkeypatch):
    def cut(*_: object):
        message = "cut"
        raise Incomplete(message)

    monkeypatch.setattr(steps, "decode", cut)
    running = live(gate)
    arrive(gate, record("J1"))
    with pytest.raises(Incomplete, match="cut"):
        running.step(0)
    assert isinstance(running._kept, flow.Kept)


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (OperationalError("", {}, sqlite3.OperationalError("database is locked")), True),
        (IntegrityError("", {}, sqlite3.IntegrityError("UNIQUE")), False),
        (OperationalError("", {}, psycopg.errors.AdminShutdown()), True),
        (OperationalError("", {}, psycopg.errors.ProgramLimitExceeded()), False),
    ],
)
def test_a_database_that_is_away_is_nobodys_fault(gate, monkeypatch, error, outage):
    running = live(gate, records=1)
    arrive(gate, record("J1"))

    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(BatchWork, "decide", fails)
        for _ in range(4):
            if outage:
                with pytest.raises(OperationalError):
                    running.step(0)
                running.recover()
            else:
                running.step(0)
    drain(running)
    assert bool(gate.letters()) is not outage
    assert waiting(gate) == 0
    assert prove(gate.state).balanced
    running.close()


def test_where_no_news_came_nobody_looks_but_what_a_feed_brought_is_taken(gate):
    news = [True]
    feeds = {"queue": feed("memory", {"hub": "live"})}
    running = Live(gate.state, settings(gate), feeds, milliseconds=0, news=lambda: bool(news and news.pop()))
    running.recover()
    running.step(0)
    arrive(gate, record("J1"))
    assert not running.step(0)
    news.append(True)
    assert running.step(0)
    running.step(0)
    hub("live").arrivals.append(Arrival(as_bytes(record("J2")), "queue", "m2", SHOP, "11"))
    assert running.step(0)
    with gate.state.reading() as connection:
        assert Inbox("collect", gate.state.sealer()).waiting(connection) == (0, 0)
    running.close()
