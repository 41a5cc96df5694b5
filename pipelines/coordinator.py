"""One run of an exchange: batches opened, worked, decided, delivered, closed; what a crash left is taken up first.

See ARCHITECTURE.md, "How a batch runs". Only this process changes the state.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import Connection, delete, func, insert, select, text

from connectors.contracts import Source, WorkItem
from pipelines import flow, tables
from pipelines.ahead import Ahead, Steps
from pipelines.batchwork import BatchWork
from pipelines.closing import Closer
from pipelines.followups import following
from pipelines.heap import give_back
from pipelines.inbox import Inbox, Judged, Kept
from pipelines.inboxitems import grouped, write_envelopes
from pipelines.knownitems import account_known, batch_id, packed_items
from pipelines.planning import Planner, marks_of, with_next
from pipelines.progress import Event, Observer, Watch, silent
from pipelines.reconciling import scratch
from pipelines.registering import begin as begin_registrations
from pipelines.runnable import EMBEDDED
from pipelines.runs import Runs
from pipelines.settings import Exchange
from pipelines.sinks import Sinks
from pipelines.sources import Anew, OfDays
from pipelines.state import State
from pipelines.work import Job, Task
from pipelines.workbench import make_source, owned

if TYPE_CHECKING:
    from pipelines.reconciling.report import Place

_Result = TypeVar("_Result")

_OPEN = insert(tables.batches)
_NEWEST = select(func.max(tables.batches.c.number))
_MANY = 20_000
"""Envelopes of a batch after which memory is given back."""


class _Opened(NamedTuple):
    batch: str
    number: int
    received_at: str
    staging: Path


class Taken(NamedTuple):
    """A batch of envelopes of the inbox, opened and not worked on yet."""

    opened: _Opened
    groups: Sequence[tuple[WorkItem, Sequence[Kept]]]
    ids: Sequence[int]


class Coordinator:
    """Runs one exchange on a state that it owns."""

    def __init__(self, state: State, exchange: Exchange, observer: Observer = silent, steps: Steps = flow.run) -> None:
        self.state, self.observer, self._steps, self._ahead = state, observer, steps, Ahead(steps)
        placed = exchange.placed(state.path)
        self.exchange = exchange = owned(placed, state.path)
        self._plain = exchange.model_dump(mode="json", by_alias=True)
        self.sealer = state.sealer()
        self._runs = Runs(state, placed, self.sealer)
        self.sinks = Sinks(exchange, state)
        self.sinks.agree()
        self.run_id = 0
        self._killed: Sequence[int] = ()
        """Runs that were killed, until the source was planned anew."""
        self.closer = Closer(state, exchange, self.sinks, self.sealer, observer)
        self._snapshot = ""
        self._snapshot_of = self._placed_by = self._followed_to = -1
        self.newest = 0
        """Number of the newest batch that was opened here; 0 before the first."""

    def run(self, days: tuple[date, date] | None = None, *, again: bool = False) -> int:
        """Do everything that there is to do; the number of the run, whose batches tell the result.

        Args:
            days: read the source's records of these days, whatever was read before; what is known is a duplicate.
            again: of a source that derives: derive everything anew; only what differs from what was told is told.
        """
        self.begin()
        try:
            self.scan(days, again=again)
            self.follow_up()
            self._sweep()
        finally:
            self.sinks.close()
        self.end()
        return self.run_id

    def begin(self) -> None:
        """Begin a run, or go on with the one that was killed: what it left is taken up."""
        self.run_id, self._killed, resumed = self._runs.begin()
        self._tell("run", note="resumed" if resumed else "")
        try:
            self._recover()
            begin_registrations(self.state, self.exchange)
        except BaseException:
            self.sinks.close()
            raise

    def take_up(self) -> None:
        """Other partitions are ours than before: finish what was inherited, forget what is known of what waits."""
        self.closer.queues.changed()
        self._recover()
        self.closer.queues.changed()

    def scan(self, days: tuple[date, date] | None = None, *, again: bool = False) -> None:
        """Take in everything that the source has now, or its records of some days, or all that follows anew.

        Raises:
            SettingsError: the source knows no days, or derives nothing.
        """
        source = make_source(self.exchange)
        if again:
            self._take_in(Anew(source, self.state.path, self.exchange.name))
        elif days is None:
            self._take_in(source)
        else:
            self._take_in(OfDays(source, days))
        self._killed = ()  # what was done before the kill is behind the marks now

    def end(self) -> None:
        """The run is over: nothing of it is left to do."""
        self._runs.end(self.run_id)
        self._tell("ended")

    # -- begin and recover ---------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Forget open batches, finish decided ones, sweep what nobody names."""
        t = tables.batches
        with self.state.unit_of_work() as connection:
            mine = [t.c.exchange == self.exchange.name]
            if self.state.share is not None:  # what others have in hand is theirs
                mine.append(t.c.member == self.state.member)
            connection.execute(delete(t).where(*mine, t.c.state == "open"))
            unfinished = select(t.c.id).where(*mine, t.c.state == "decided").order_by(t.c.number)
            decided = connection.execute(unfinished).scalars().all()
            Inbox(self.exchange.name, self.sealer).give_back(connection)
            if self.state.versions is not None:
                self.state.versions.sweep(connection)
        for batch in decided:
            self.closer.finish(batch, redo=True)
        self.closer.resume_attempts()
        self.closer.promote_waiting()
        self._sweep()

    def _sweep(self) -> None:
        """Remove what was staged and is named by no decided batch of any exchange, nor waits to be promoted."""
        t, p = tables.batches, tables.parts
        with self.state.reading() as connection:
            decided = set(connection.execute(select(t.c.id).where(t.c.state == "decided")).scalars())
            waiting = list(connection.execute(select(p.c.temporary).where(p.c.promoted.is_(False))).scalars())
        for sink in self.sinks.parts().values():
            sink.sweep(waiting)
        for left in (self.state.path / "staging").iterdir():
            if left.is_dir() and left.name not in decided:
                shutil.rmtree(left, ignore_errors=True)
            elif not left.is_dir():
                left.unlink(missing_ok=True)
        scratch.sweep(self.state.path)
        self._snapshot = ""

    # -- intake --------------------------------------------------------------------------------------------------------

    def _take_in(self, source: Source) -> None:
        planner = Planner(self.state, self.exchange, self._killed)
        in_commit, suffices = getattr(source, "marks_in_commit", False), getattr(source, "mark_suffices", False)
        try:
            for chunk, after in with_next(planner.chunks(source), ahead=self._overlaps):
                done: Sequence[tuple[str, str]] = ()
                if chunk.items:
                    if in_commit:
                        done = [mark for item in chunk.items for mark in marks_of(item)]
                    elif suffices:
                        done = chunk.complete
                    self._batch("source", chunk.items, {"repeated": chunk.repeated, "marks": done}, after)
                elif chunk.repeated:
                    self._known_batch(chunk.repeated)
                # Days are no more than a part of what there is: no path is read to its end by them.
                if in_commit or isinstance(source, OfDays):
                    finished = 0
                else:
                    finished = len(done) or planner.finish(source, chunk.complete)
                if finished:
                    self._tell("finished", total=finished)
        except BaseException as error:
            self._ahead.drop(wait=isinstance(error, Exception))
            raise
        self._ahead.drop()

    @property
    def _overlaps(self) -> bool:
        """Whether other processes do the work stage: that of the next batch may then begin while this one decides."""
        return self.exchange.runner == EMBEDDED and self.exchange.batch.workers > 1 and self._steps is flow.run

    def _known_batch(self, repeated: Sequence[WorkItem]) -> None:
        """A batch of nothing but envelopes that are known by their source key."""
        with self.state.unit_of_work() as connection:
            self.newest = number = self._next(connection)
            account_known(connection, self.exchange.name, number, self.run_id, self._received_at(), repeated)

    # -- one batch -----------------------------------------------------------------------------------------------------

    def _batch(
        self,
        kind: str,
        items: Sequence[WorkItem],
        extra: Mapping[str, Any] | None = None,
        after: Sequence[WorkItem] = (),
    ) -> str:
        """Open, work, decide, deliver and close one batch; its id. Items that are worked on `after` may begin early."""
        with self.state.unit_of_work() as connection:
            opened = self._open(connection, self._next(connection), kind, items)
        return self._work(opened, items, extra or {}, after)

    def inbox_batch(self, most: int, size: int, failing: Collection[int] = ()) -> str:
        """One batch of what waits longest in the inbox, at most so many envelopes and bytes; its id, "" if none waits.

        Envelopes that are known to break the steps (`failing`, by their number in the inbox) become letters.
        """
        inbox, partitions = Inbox(self.exchange.name, self.sealer), self.state.partitions(self.exchange.name)
        with self.state.unit_of_work() as connection:
            number = self._next(connection)
            kept = inbox.take(connection, most, size, number, partitions)
            taken = self._taken(connection, inbox, number, kept, failing)
        return self.work_on(taken) if taken is not None else ""

    def take_in(self, judged: Sequence[Judged]) -> tuple[bool, Taken | None]:
        """Put envelopes into the inbox; where none waits there they are given to a batch in the same commit.

        Returns whether the inbox has anything that waits, and the batch, which is to be worked on.
        """
        inbox = Inbox(self.exchange.name, self.sealer)
        with self.state.unit_of_work() as connection:
            if inbox.any_waits(connection):  # what came first goes first
                inbox.put(connection, judged, now())
                return True, None
            number = self._next(connection)
            kept = inbox.put_for(connection, judged, now(), number)
            taken = self._taken(connection, inbox, number, kept)
        return taken is not None and len(taken.ids) < len(kept), taken

    def _taken(
        self, connection: Connection, inbox: Inbox, number: int, kept: Sequence[Kept], failing: Collection[int] = ()
    ) -> Taken | None:
        """Open a batch of envelopes that were given to it; some of the last may be left for the next one."""
        if not kept:
            return None
        groups = grouped(kept, self.state.path / "staging" / batch_id(self.exchange.name, number), failing)
        ids = sorted(row.id for _, rows in groups for row in rows)
        if len(ids) < len(kept):
            inbox.leave(connection, number, ids[-1])
        return Taken(self._open(connection, number, "inbox", [item for item, _ in groups]), groups, ids)

    def work_on(self, taken: Taken) -> str:
        """Work on a batch of the inbox that was opened; its id."""
        for item, rows in taken.groups:
            write_envelopes(item, rows, self.sealer)
        return self._work(taken.opened, [item for item, _ in taken.groups], {"inbox": taken.ids})

    def _open(self, connection: Any, number: int, kind: str, items: Sequence[WorkItem]) -> _Opened:
        """Write a batch to the ledger, before anything of it is worked on."""
        self.newest, batch = number, batch_id(self.exchange.name, number)
        received_at = self._ahead.received_at(batch) or self._received_at()
        connection.execute(
            _OPEN,
            {
                "id": batch,
                "exchange": self.exchange.name,
                "number": number,
                "run": self.run_id,
                "kind": kind,
                "state": "open",
                "member": self.state.member,
                "received_at": received_at,
                "items": packed_items(items),
            },
        )
        opened = self._placed(number, received_at)
        opened.staging.mkdir(parents=True, exist_ok=True)
        return opened

    def _placed(self, number: int, received_at: str) -> _Opened:
        batch = batch_id(self.exchange.name, number)
        return _Opened(batch, number, received_at, self.state.path / "staging" / batch)

    def _job(self, opened: _Opened) -> Job:
        return Job(
            exchange=self._plain,
            batch=opened.batch,
            number=opened.number,
            received_at=opened.received_at,
            staging=str(opened.staging),
            key=str(self.state.key_path),
            registrations=self._registrations(),
        )

    def _begin_next(self, number: int, extra: Mapping[str, Any], items: Sequence[WorkItem]) -> None:
        """Begin the work stage of the batch after this one: what is known already is accounted as one between them."""
        following = number + 1 + bool(extra.get("repeated"))
        job = self._job(self._placed(following, self._received_at()))
        self._ahead.begin(self.exchange, job, _tasks(items))

    def _work(
        self,
        opened: _Opened,
        items: Sequence[WorkItem],
        extra: Mapping[str, Any],
        after: Sequence[WorkItem] = (),
    ) -> str:
        """Work, decide, deliver and close a batch that was opened; its id."""
        batch, number, _, staging = opened
        job, tasks = self._job(opened), _tasks(items)
        self._tell("opened", batch, total=len(items))
        work = BatchWork(
            self.state, self.exchange, self.sinks, self.sealer, job, tasks, self.run_id, extra, self._ahead.steps
        )
        try:
            with Watch(self.observer, self.exchange.name, batch, staging, len(tasks)):
                work.stage()
            self._tell("staged", batch)
            if after:
                self._begin_next(number, extra, after)
            decided = work.decide()
        except Exception:
            self._ahead.drop()
            with suppress(Exception):  # what went wrong first is what a person must hear of; the next start sweeps too
                self._sweep()
            raise
        self._tell("decided", batch)
        self.closer.finish(batch, redo=False, decided=decided)
        shutil.rmtree(staging, ignore_errors=True)
        if work.envelopes >= _MANY:
            del work, decided
            give_back()
        return batch

    def _next(self, connection: Any) -> int:
        """The number of the next batch; where gateways share the state, one of them is given numbers at a time."""
        if self.state.share is not None:
            connection.execute(text("SELECT pg_advisory_xact_lock(22090)"))
        return int(connection.execute(_NEWEST).scalar() or 0) + 1

    def _received_at(self) -> str:
        return (self.exchange.received_at or now()).isoformat()

    def _registrations(self) -> str:
        """Path of a snapshot of the registrations; empty where none are asked, or there are none."""
        if not self.exchange.routing.registrations or self._snapshot:
            return self._snapshot
        from pipelines.registering import snapshot  # imported late: exchanges without registrations need none of it

        self._snapshot = snapshot(self.state, self.state.path / "staging" / "registrations.ndjson")
        return self._snapshot

    # -- what follows --------------------------------------------------------------------------------------------------

    def followed_up(self) -> bool:
        """Do all that follows, where there is anything; whether it led to a batch."""
        before = self.newest
        with self.state.glancing() as connection:
            found = following(connection, self.exchange.name)
        if found.anything or found.registrations != self._followed_to:
            self.follow_up()
            self.closer.promote_waiting()
            self._followed_to = found.registrations
        return self.newest > before

    def follow_up(self) -> None:
        """Orders that became whole, orders grown too old, deliveries that wait, vehicles that moved.

        Where gateways share the state each tries what waits in its partitions, and one does all the rest.
        """
        from pipelines.assembling import assemble, expire
        from pipelines.reconciling.orders import serve as serve_backfills
        from pipelines.registering import reread

        if not self.state.leads:
            self._retry()
            return
        for items, taken in assemble(self.state, self.exchange, self.sealer):
            self._batch("fragments", items, {"fragments": taken})
        for items, taken in expire(self.state, self.exchange, self.sealer, self._received_at()):
            self._batch("fragments", items, {"fragments": taken})
        serve_backfills(self.state, self.exchange.name, self.queue_again)
        self._retry()
        for items, mark in reread(self.state, self.exchange):
            self._batch("registrations", items, {"mark": mark})
        self.serve_orders()

    def _retry(self) -> None:
        """Try what is due; place what waits for a home, where registrations came since that was done."""
        from pipelines.registering import newest
        from pipelines.retrying import retry, waits_for_a_home

        placing, latest = "", 0
        if self.exchange.routing.registrations:
            with self.state.reading() as connection:
                latest, waits = newest(connection), waits_for_a_home(connection, self.exchange.name)
            if latest != self._snapshot_of:  # no batch is being worked on that reads it
                self._snapshot, self._snapshot_of = "", latest
            placing = self._registrations() if waits and latest != self._placed_by else ""
        retry(self.state, self.exchange, self.sinks, self.sealer, self.closer, placing)
        self._placed_by = latest

    def serve_orders(self) -> None:
        """Replay the letters that commands beside this run have ordered."""
        from pipelines.replayorders import Orders

        if not self.closer.queues.full:  # what is replayed may have to wait as well
            Orders(self.state, self.exchange, self._again, self.begin).serve()

    def replay(self, *portions: Sequence[str]) -> list[str]:
        """Replay letters as a run of its own, each portion as one batch; their ids.

        Each letter enters by the same door as new data.
        """
        return self._aside(lambda: [batch for letters in portions if (batch := self._again(letters))])

    def resend(self, places: Iterable[Place]) -> dict[Place, str]:
        """Send deliveries again that their destinations do not hold, as a run of its own; what became of each."""
        from pipelines.retrying import retry

        def work() -> dict[Place, str]:
            told = self.queue_again(places)
            retry(self.state, self.exchange, self.sinks, self.sealer, self.closer, "")
            return told

        return self._aside(work)

    def queue_again(self, places: Iterable[Place]) -> dict[Place, str]:
        """Queue deliveries anew that their destinations do not hold; what became of each."""
        from pipelines.reconciling.resending import Resending

        return Resending(self.state, self.exchange, self.sinks, self.sealer, self.closer).queue(places)

    def _aside(self, work: Callable[[], _Result]) -> _Result:
        """Do something as a run of its own. One that was killed is left to who calls it again."""
        try:
            self.run_id = self._runs.aside()
            self._recover()
            result = work()
            self._sweep()
        finally:
            self.sinks.close()
        self.end()
        return result

    def _again(self, letters: Sequence[str]) -> str:
        """One batch of letters, and a try of the deliveries among them; the batch's id, "" where there was none."""
        from pipelines.replaying import prepare

        items, extra = prepare(self.state, self.exchange, self.sealer, letters)
        batch = self._batch("letters", items, extra) if items else ""
        if extra.get("deliveries"):
            self._retry()
        return batch

    def _tell(self, name: str, batch: str = "", done: int = 0, total: int = 0, note: str = "") -> None:
        self.observer(Event(name, self.exchange.name, batch, done, total, note))


def _tasks(items: Sequence[WorkItem]) -> list[Task]:
    return [Task(number, item) for number, item in enumerate(items)]


def now() -> datetime:
    """The present moment, aware."""
    return datetime.now(UTC)
