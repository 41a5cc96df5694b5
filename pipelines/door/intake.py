"""Group commit: requests hand over envelopes, one thread commits many at once, each is answered after its commit.

Nothing is half accepted: what one request brings (envelopes of several exchanges, a nonce, a claim to an order) is in
one transaction, and when that does not commit exactly its requests are told so.

A request whose caller has gone is not kept. It may have lain here for long, in the queue of a socket or behind a
database that did not answer, and its caller has sent it again by now, and newer ones: an old one that is kept behind
them would undo them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dlq.sealing import Sealer
from pipelines.door.counting import ABANDONED, FAILED_COMMITS
from pipelines.inbox import Inbox, Judged
from pipelines.versions import signed
from pipelines.vinhash import vin_hashes

_OF_THE_STORE = (OperationalError, InterfaceError, PoolTimeout, OSError)
"""Errors that every request of a group would meet."""
LOG = logging.getLogger("vingate.door")
_LINGERS, _GROWTH = 10, 2
"""A commit waits so many times for others at most, and only while this many came meanwhile."""
_PACE, _MANY = 0.015, 16
"""Seconds from one commit to the next while fewer requests than this wait: at a few hundred requests a second each
would else have a commit of its own, at ten times the cost. One that comes alone is committed at once."""
_LOOK_SECONDS = 0.5
_LOOK_SHARE = 20
"""Counting what waits may take this share of the time: 1/20."""


class NotDurable(Exception):
    """What a request brought could not be committed; nothing of it is kept. It may be sent again."""


class _Left(Exception):
    """A caller went away while its request was written: it is not to be committed."""


class Database(Protocol):
    """Where the inbox is (`pipelines.state.State` is one)."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that only looks."""

    def unit_of_work(self) -> AbstractContextManager[Connection]:
        """One transaction, committed at its end."""


class Item(NamedTuple):
    """An envelope for the inbox of an exchange; `vin` is hashed by the writer, many at once."""

    exchange: str
    judged: Judged
    vin: str = ""


Guard = Callable[[Connection, datetime], str]
"""What must hold in the transaction that keeps an envelope: gives the code of what is against it, or nothing."""


class Kept(NamedTuple):
    """What became of a request's envelopes: why none was kept, or for each whether it is new."""

    against: str
    fresh: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many requests share a commit, and how much may wait before callers are sent away."""

    most: int = 500
    """Requests of one commit."""
    linger: float = 0.001
    """Seconds that a commit waits for others, again as long as they come."""
    rows: int = 1_000_000
    """Envelopes waiting in the inbox."""
    size: int = 8 << 30
    """Bytes waiting in the inbox."""
    pending: int = 20_000
    """Requests waiting for a commit in this process."""
    pending_size: int = 256 << 20
    """Bytes of payloads waiting for a commit in this process."""


GONE: ContextVar[Callable[[], bool]] = ContextVar("vingate_gone", default=lambda: False)
"""Whether who sent the present request has gone; asked by the thread that commits."""

Told = Callable[[Kept | None], None]
"""Is told, in the loop, what became of a request's envelopes; None: not durable, nothing of it is kept."""


class _Work(NamedTuple):
    items: Sequence[Item]
    guard: Guard | None
    size: int
    loop: asyncio.AbstractEventLoop
    told: Told
    gone: Callable[[], bool]


class Intake:
    """The one writer of a door process. `start` and `stop` around its use; `full` asks without waiting.

    Args:
        database: where the inbox is.
        sealer: seals what is kept.
        exchange: the exchange whose backlog counts.
        bounds: sizes of groups and of the backlog.
        clock: the moment written as received.
        room: what hinders writing more to the disk, if anything; asked about twice a second.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        exchange: str,
        bounds: Bounds = Bounds(),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        room: Callable[[], str] = lambda: "",
    ) -> None:
        self._database, self._sealer, self._exchange = database, sealer, exchange
        self._bounds, self._clock, self._room = bounds, clock, room
        self._cramped = ""
        self._inboxes: dict[str, Inbox] = {}
        self._queue: deque[_Work] = deque()
        self._wake = threading.Event()
        self._wakes_at = 0
        """At so many waiting requests the thread is woken; 0: it is awake."""
        self._given = self._taken = 0  # bytes: each is counted by one thread alone
        self._backlog = (0, 0)
        self._looked = self._committed = -1e9
        self._took = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="door-intake", daemon=True)

    def start(self) -> None:
        """Count what waits, and start the thread."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """Commit what was handed over, then end the thread. Idempotent."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tell_late()

    @property
    def full(self) -> bool:
        """Whether so much waits, or so little room is left, that callers should come later."""
        bounds, (rows, size) = self._bounds, self._backlog
        return (
            bool(self._cramped)
            or rows >= bounds.rows
            or size >= bounds.size
            or len(self._queue) >= bounds.pending
            or self._given - self._taken >= bounds.pending_size
        )

    @property
    def backlog(self) -> tuple[int, int]:
        """Envelopes that wait in the inbox and their bytes, as last counted, and what was put since."""
        return self._backlog

    async def put(self, items: Sequence[Item], guard: Guard | None = None) -> Kept:
        """Keep envelopes in one commit, shared with other requests.

        Raises:
            NotDurable: the commit failed, or the door is closing.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Kept] = loop.create_future()
        self.hand_over(items, guard, loop, partial(_settle, future))
        return await future

    def hand_over(
        self, items: Sequence[Item], guard: Guard | None, loop: asyncio.AbstractEventLoop, told: Told
    ) -> None:
        """As `put`, for those who wait without a task: `told` is called in their loop, never before this returns.

        Raises:
            NotDurable: the door is closing; `told` will not be called.
        """
        size = sum([len(item.judged.arrival.body) for item in items])
        if self._stopping:
            raise NotDurable
        self._given += size
        self._queue.append(_Work(items, guard, size, loop, told, GONE.get()))
        if 0 < self._wakes_at <= len(self._queue):
            self._wake.set()

    def _run(self) -> None:
        while (group := self._gather()) is not None:
            if group:
                self._commit(group)
            if self._due():
                self._look()

    def _gather(self) -> list[_Work] | None:
        """The next group; empty where there is only a count to renew, None at the end."""
        if not self._queue:
            self._wait(1, _LOOK_SECONDS)
            if not self._queue:
                return None if self._stopping else []
        self._linger()
        group = [self._queue.popleft() for _ in range(min(len(self._queue), self._bounds.most))]
        self._taken += sum([work.size for work in group])
        return self._staying(group)

    def _staying(self, group: Sequence[_Work]) -> list[_Work]:
        """Those whose callers wait for an answer."""
        stay: list[_Work] = []
        left: list[_Work] = []
        for work in group:
            (left if work.gone() else stay).append(work)
        if left:
            ABANDONED.inc(len(left))
            self._tell(left, [None] * len(left))
        return stay

    def _wait(self, many: int, seconds: float) -> None:
        """Wait until so many requests do, or the door closes, or for so long."""
        self._wakes_at = many
        if len(self._queue) < many and not self._stopping:  # one that came before it could see that this thread sleeps
            self._wake.wait(seconds)
        self._wakes_at = 0
        self._wake.clear()

    def _linger(self) -> None:
        """Wait as long as others come: a commit costs the same for one as for many."""
        bounds, seen = self._bounds, 0
        if bounds.linger and (early := self._committed + _PACE - time.monotonic()) > 0:
            self._wait(_MANY, early)
        for _ in range(_LINGERS):
            if len(self._queue) - seen < (1 if not seen else _GROWTH) or len(self._queue) >= bounds.most:
                return
            if not bounds.linger or self._stopping:
                return
            seen = len(self._queue)
            time.sleep(bounds.linger)

    def _commit(self, group: Sequence[_Work]) -> None:
        results: list[Kept | None]
        try:
            items = _hashed([item for work in group for item in work.items])
            with self._database.unit_of_work() as connection:
                results = list(self._keep(connection, group, items))
                if any(work.gone() for work in group):
                    raise _Left
        except _Left:
            if stay := self._staying(group):
                self._commit(stay)
            return
        except Exception as error:  # noqa: BLE001 - whatever it was: nothing of this group is kept
            if len(group) > 1 and not isinstance(error, _OF_THE_STORE):
                for work in group:  # one request's content may be what the store cannot hold: it shall fail alone
                    self._commit([work])
                return
            FAILED_COMMITS.inc()
            LOG.error("inbox commit failed: %s", type(error).__name__, extra={"requests": len(group)})
            results = [None] * len(group)
        else:
            self._committed = time.monotonic()
            self._count(group, results)
        self._tell(group, results)

    def _keep(self, connection: Connection, group: Sequence[_Work], items: Sequence[Item]) -> Sequence[Kept]:
        now = self._clock()
        against = [work.guard(connection, now) if work.guard is not None else "" for work in group]
        wanted: dict[str, list[Judged]] = {}
        at = 0
        for work, why in zip(group, against, strict=True):
            for item in items[at : at + len(work.items)] if not why else ():
                wanted.setdefault(item.exchange, []).append(item.judged)
            at += len(work.items)
        fresh = {name: iter(self._inbox(name).put(connection, judged, now)) for name, judged in wanted.items()}
        return [
            Kept(why) if why else Kept("", tuple([next(fresh[item.exchange]) for item in work.items]))
            for work, why in zip(group, against, strict=True)
        ]

    def _tell_late(self) -> None:
        """Requests that were handed over while the thread ended: nothing of them is kept."""
        late = [self._queue.popleft() for _ in range(len(self._queue))]
        self._tell(late, [None] * len(late))

    def _count(self, group: Sequence[_Work], results: Sequence[Kept | None]) -> None:
        rows = size = 0
        for work, kept in zip(group, results, strict=True):
            for item, new in zip(work.items, kept.fresh if kept else (), strict=False):
                if new and item.exchange == self._exchange:
                    rows += 1
                    size += len(item.judged.arrival.body)
        self._backlog = self._backlog[0] + rows, self._backlog[1] + size

    def _due(self) -> bool:
        return time.monotonic() - self._looked >= max(_LOOK_SECONDS, self._took * _LOOK_SHARE)

    def _look(self) -> None:
        begun = time.monotonic()
        before, self._cramped = self._cramped, self._room()
        if self._cramped and not before:
            LOG.warning("%s; 暂不接收 / nothing is taken in", self._cramped)
        try:
            with self._database.reading() as connection:
                self._backlog = self._inbox(self._exchange).waiting(connection)
        except Exception as error:  # noqa: BLE001 - the count of before stands; the next commit says what is wrong
            LOG.warning("inbox cannot be counted: %s", type(error).__name__)
        self._looked = time.monotonic()
        self._took = self._looked - begun

    def _inbox(self, exchange: str) -> Inbox:
        if exchange not in self._inboxes:
            self._inboxes[exchange] = Inbox(exchange, self._sealer)
        return self._inboxes[exchange]

    @staticmethod
    def _tell(group: Sequence[_Work], results: Sequence[Kept | None]) -> None:
        """Answer every request in its own loop, with one call a loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Told, Kept | None]]] = {}
        for work, kept in zip(group, results, strict=True):
            by_loop.setdefault(work.loop, []).append((work.told, kept))
        for loop, told in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, told)


def _resolve(results: Sequence[tuple[Told, Kept | None]]) -> None:
    for told, kept in results:
        try:
            told(kept)
        except Exception as error:  # noqa: BLE001 - the others are told all the same
            LOG.error("an answer cannot be given: %s", type(error).__name__)


def _settle(future: asyncio.Future[Kept], kept: Kept | None) -> None:
    if future.done():  # the caller went away meanwhile
        return
    if kept is None:
        future.set_exception(NotDurable())
    else:
        future.set_result(kept)


def _hashed(items: Sequence[Item]) -> list[Item]:
    hashes = vin_hashes([item.vin for item in items]).tolist()
    return [
        item._replace(judged=item.judged._replace(vin=signed(found))) for item, found in zip(items, hashes, strict=True)
    ]
