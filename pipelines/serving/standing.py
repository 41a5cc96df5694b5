"""What stands in the state at this moment: backlog, letters, what waits, the ledger's gap; by short queries that look.

The answers are kept for some seconds, so that no number of scrapes loads the database.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from threading import Lock

from prometheus_client.core import Metric
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from pipelines import tables
from pipelines.accounts import ENDS
from pipelines.errors import PipelineError
from pipelines.serving.metrics import gauge
from pipelines.state import State

NEWEST = 1_000
"""Batches whose equations are looked at; `vingate ledger` proves all of them, against the destinations too."""
_INTAKE = ("decoded", "dead_intake", "duplicate_intake", "fragments")
_RECORDS = ("addressed", "dead_records", "duplicate_records", "filtered", "unplaced")


_ByExchange = dict[tuple[str, ...], float]
_RARELY = 20


class Standing:
    """Families of what stands in the state, asked again when the last answer is older than `seconds`.

    Where asking takes long, answers are kept longer: at most a twentieth of the time goes into it. `open_state` gives a
    state to look at, and raises StateMissing as long as there is none. `exchanges` are shown even where they have
    nothing.
    """

    def __init__(self, open_state: Callable[[], State], exchanges: Sequence[str], seconds: float) -> None:
        self._open, self._exchanges, self._seconds = open_state, exchanges, seconds
        self._asking = Lock()
        self._due = float("-inf")
        self._found: list[Metric] = []

    def __call__(self) -> list[Metric]:
        """The families; where the state cannot be asked only `vingate_state_readable` 0."""
        with self._asking:
            began = time.monotonic()
            if began >= self._due:
                self._found = self._ask()
                ended = time.monotonic()
                self._due = ended + max(self._seconds, _RARELY * (ended - began))
            return self._found

    def _ask(self) -> list[Metric]:
        try:
            with self._open() as state, state.reading() as connection:
                found = list(families(connection, self._exchanges, datetime.now(UTC)))
            readable = 1
        except (SQLAlchemyError, PipelineError, OSError):
            found, readable = [], 0
        return [gauge("vingate_state_readable", "状态可读 / the state can be read", [], {(): readable}), *found]


def families(connection: Connection, exchanges: Sequence[str], now: datetime) -> Iterator[Metric]:
    """All families, by queries on one connection."""
    none: _ByExchange = {(name,): 0.0 for name in exchanges}
    yield from _backlog(connection, none, now)
    yield _letters(connection)
    yield from _waiting(connection, none)
    yield _gap(connection, none)


def _backlog(connection: Connection, none: _ByExchange, now: datetime) -> Iterator[Metric]:
    t = tables.inbox
    rows = connection.execute(
        select(t.c.exchange, func.count(), func.sum(t.c.size), func.min(t.c.received_at))
        .where(t.c.batch.is_(None))
        .group_by(t.c.exchange)
    ).all()
    ages = {(row[0],): max((now - datetime.fromisoformat(row[3])).total_seconds(), 0) for row in rows}
    label = ["exchange"]
    yield gauge(
        "vingate_inbox_rows", "收件箱等待条数 / envelopes that wait", label, none | {(r[0],): r[1] for r in rows}
    )
    yield gauge(
        "vingate_inbox_bytes", "收件箱等待字节数 / bytes that wait", label, none | {(r[0],): int(r[2]) for r in rows}
    )
    yield gauge("vingate_inbox_oldest_seconds", "最早一条等待秒数 / age of the oldest that waits", label, none | ages)


def _letters(connection: Connection) -> Metric:
    t = tables.letters.letters
    rows = connection.execute(
        select(t.c.exchange, t.c.reason, t.c.state, func.count()).group_by(t.c.exchange, t.c.reason, t.c.state)
    )
    return gauge(
        "vingate_letters",
        "死信 / letters by first reason and state",
        ["exchange", "reason", "state"],
        {(row[0], row[1], row[2]): row[3] for row in rows},
    )


def _waiting(connection: Connection, none: _ByExchange) -> Iterator[Metric]:
    t = tables.waiting
    rows = connection.execute(
        select(t.c.exchange, t.c.destination, func.count()).group_by(t.c.exchange, t.c.destination)
    ).all()
    yield gauge(
        "vingate_waiting",
        "等待重试的投递 / deliveries that wait for their destination",
        ["exchange", "destination"],
        {(row[0], row[1]): row[2] for row in rows if row[1]},
    )
    yield gauge(
        "vingate_unplaced",
        "车籍未知、等待登记 / records whose home is not known yet",
        ["exchange"],
        none | {(row[0],): row[2] for row in rows if not row[1]},
    )


def _gap(connection: Connection, none: _ByExchange) -> Metric:
    """By how many the equations of the newest batches are out, each exchange: 0, or something is wrong."""
    b, d = tables.batches, tables.batch_destinations
    gaps: Counter[tuple[str, ...]] = Counter(dict.fromkeys(none, 0))
    newest = connection.execute(select(func.max(b.c.number))).scalar() or 0
    columns = [b.c[name] for name in ("received", *_INTAKE, *_RECORDS)]
    for row in connection.execute(select(b.c.exchange, *columns).where(b.c.number > newest - NEWEST)):
        out = abs(row.received - sum(getattr(row, name) for name in _INTAKE))
        gaps[row.exchange,] += out + abs(row.decoded - sum(getattr(row, name) for name in _RECORDS))
    joined = select(b.c.exchange, d.c.addressed, *(d.c[end] for end in ENDS)).join(d, d.c.batch == b.c.id)
    for row in connection.execute(joined.where(b.c.number > newest - NEWEST)):
        gaps[row.exchange,] += abs(row.addressed - sum(getattr(row, end) for end in ENDS))
    about = f"账差（最近 {NEWEST} 批） / by how many the newest batches are out"
    return gauge("vingate_ledger_gap", about, ["exchange"], dict(gaps))
