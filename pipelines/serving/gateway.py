"""The gateway process: all exchanges of a role in turn, on one state.

In turn and not in threads, because an embedded state belongs to one writer. Where all have nothing to do, the process
waits for the bell; where nobody can ring it, in the exchange that had something last, and looks at the others.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors import registry
from connectors.contracts import Feed, Unavailable
from pipelines.cli import uncollected, without
from pipelines.errors import StateBusy
from pipelines.looks import demand
from pipelines.progress import Observer
from pipelines.serving import link
from pipelines.serving.approvals import approved
from pipelines.serving.bell import Bell, Listener
from pipelines.serving.logs import log
from pipelines.serving.loops import Build, Loop, Runs, WatchedFeed, state_of
from pipelines.serving.metrics import LEADS, MEMBERS, PARTITIONS, carried
from pipelines.serving.observing import Observing
from pipelines.serving.opening import open_state
from pipelines.serving.roles import Role, Work
from pipelines.serving.shared import by_partitions
from pipelines.serving.tracing import open_tracer
from pipelines.settings import Destinations, replaced
from pipelines.sharedbudgets import budgets_elsewhere
from pipelines.state import State
from pipelines.usable import built, usable

if TYPE_CHECKING:
    from pipelines.sharing import Share  # it takes PostgreSQL's dialect along

WAIT_SECONDS = 0.02
"""How long an idle round waits for input, in the exchange that had some last; the others are looked at in between."""
IDLE_SECONDS = 0.25
"""How long it waits for the bell; schedules, orders and what is due are looked at in between."""
GATHER_SECONDS = 0.02
"""How long it rests after a round that did something: a batch of what comes meanwhile costs little more than of one."""
BEAT_SECONDS = 1.0
FIRST_ASIDE, MOST_ASIDE = 3.0, 60.0
"""Seconds for which it is left to the others; doubled each time: where none reaches it, it goes round less often."""
LOCK_SECONDS = 3.0
"""How long a start waits for the lock of a gateway that is just ending."""


class Gateway:
    """Runs loops in turn until it is told to stop. Of a state that is shared, those that are this gateway's."""

    def __init__(
        self,
        role: Role,
        build: Build,
        share: Share | None = None,
        bell: Bell | None = None,
        feeds: Mapping[str, Mapping[str, WatchedFeed]] | None = None,
    ) -> None:
        self.role, self._share, self._bell = role, share, bell or Bell()
        self._feeds = {} if feeds is None else feeds
        self._aside = FIRST_ASIDE
        self._unsure = False
        self._led = share is None or share.once
        self._last = next(iter(role.exchanges))
        self.loops = {name: Loop(name, work, build) for name, work in role.exchanges.items()}
        self._readers = readers(role)

    def open(self, stopping: threading.Event) -> None:
        """Build all exchanges and take up what a crash left."""
        self._look()
        for loop in self.loops.values():
            if not stopping.is_set() and self._ours(loop):
                loop.open()

    def _ours(self, loop: Loop) -> bool:
        return self._share is None or self._share.once or loop.name in self._share.partitioned

    def _look(self) -> None:
        """See who shares the state, and whether we have come to do what one gateway alone does."""
        if self._share is None:
            return
        try:
            self._share.tick()
            if self._share.once and self._share.members > 1:
                self._leave_to_others(self._share)
        except (DBAPIError, PoolTimeout) as error:  # the database is away: the exchanges say so
            log.warning("share-failed", extra={"text": type(error).__name__})
        if self._share.once and not self._led:
            self._led = True
            log.info("leads", extra={"text": self._share.name})
            for name, loop in self.loops.items():
                if self.role.exchanges[name].feeds:
                    loop.renew()
        told(self._share)

    def _leave_to_others(self, share: Share) -> None:
        """Leave feeds that we cannot reach, and all else that one gateway does alone, to who can perhaps."""
        built = (name for name, loop in self.loops.items() if loop.built)  # what was closed says nothing any more
        watched = {name: feeds.values() for name in built if (feeds := self._feeds.get(name))}
        away = sorted(name for name, feeds in watched.items() if any(one.cut_off for one in feeds))
        if not away:
            if watched and all(one.connected and one.seen for feeds in watched.values() for one in feeds):
                self._aside = FIRST_ASIDE
        elif share.stand_aside(self._aside):
            log.warning("stands-aside", extra={"text": ", ".join(away), "seconds": self._aside})
            self._led, self._aside = False, min(self._aside * 2, MOST_ASIDE)
            for name, loop in self.loops.items():
                if self.role.exchanges[name].feeds or not self._ours(loop):
                    loop.renew()

    def let_go(self) -> None:
        """Give what the feeds have in hand back to its systems; from any thread."""
        for feeds in list(self._feeds.values()):
            for one in list(feeds.values()):
                one.let_go()

    def guard(self) -> None:
        """Let go of the feeds in time where our lease may run out: what they hold back is another's soon. Any thread.

        Whoever works may be waiting for a database that does not answer, and hear of nothing.
        """
        unsure = self._share is not None and not self._share.sure
        if unsure and not self._unsure:
            log.warning("lets-go", extra={"text": "the lease was not renewed in time"})
            self.let_go()
        self._unsure = unsure

    def run(self, stopping: threading.Event, order: Callable[[], Mapping[str, Any] | None]) -> None:
        """Round after round; `order` gives what the supervisor wants meanwhile."""
        busy = True
        while not stopping.is_set():
            given = order()
            if given is not None and given.get("order") == link.RELOAD:
                self.reload(Role.model_validate(given["role"]))
            listening = self._bell.listening
            busy = self.round(stopping, 0.0 if busy or listening else WAIT_SECONDS)
            if listening and busy:
                time.sleep(GATHER_SECONDS)
            elif listening:
                self._rest()

    def _rest(self) -> None:
        """Wait for the bell, and then a little longer for what comes right behind."""
        rung = self._bell.wait(IDLE_SECONDS if self._bell.sure else WAIT_SECONDS)
        gather = [self.role.exchanges[name].milliseconds for name in rung if name in self.role.exchanges]
        if gather:
            time.sleep(max(gather) / 1000)

    def round(self, stopping: threading.Event, seconds: float) -> bool:
        """One turn of each exchange; whether any of them did anything."""
        began, did = time.monotonic(), False
        self._look()
        waits = self._last
        for name, loop in self.loops.items():
            if stopping.is_set():
                break
            if not self._ours(loop):
                loop.moved()
                continue
            if loop.turn(seconds if name == waits and not did else 0.0):
                did, self._last = True, name
                for reader in self._readers[name]:
                    self.loops[reader].stir()
        if not did and seconds and time.monotonic() - began < seconds / 2:  # it is failing: nobody waited
            stopping.wait(seconds)
        return did

    def reload(self, role: Role) -> None:
        """Go on with other settings of the same exchanges."""
        for name, loop in self.loops.items():
            if name in role.exchanges:
                loop.reload(role.exchanges[name])
        self.role, self._readers = role, readers(role)

    @property
    def sharing(self) -> dict[str, Any] | None:
        """What this gateway has of a state that is shared, for people; from any thread."""
        share = self._share
        if share is None:
            return None
        return {"member": share.name, "members": share.members, "partitions": sorted(share.held), "leads": share.once}

    def moved(self, exchange: str) -> None:
        """An exchange gave a sign of life."""
        if exchange in self.loops:
            self.loops[exchange].moved()

    def close(self) -> None:
        """Close all exchanges."""
        for loop in self.loops.values():
            loop.close()


def serve(line: link.Link) -> None:
    """The work of a gateway process, until its supervisor says stop."""
    role, folder = Role.model_validate(line.task["role"]), Path(str(line.task["state"]))
    tracer = open_tracer(role.name, role.tracing.endpoint) if role.tracing.enabled else None
    for work in role.exchanges.values():
        usable(work.settings.placed(folder))
    approved(role, folder)
    with _owned(role, folder, line.stopping) as state, budgets_elsewhere(role.state.budgets):
        demand(state, demanded=role.audit.demanded)
        feeds: dict[str, dict[str, WatchedFeed]] = {}
        bell = Bell()
        observer = Observing(state, tracer, lambda exchange: gateway.moved(exchange))
        if state.share is not None:
            state.share.partitioned |= {name for name, work in role.exchanges.items() if by_partitions(work)}
        gateway = Gateway(role, _build(state, feeds, observer, bell), state.share, bell, feeds)
        _beat(line, gateway, feeds)
        listener = Listener(state.engine, bell, role.exchanges) if state.notices else None
        try:
            gateway.open(line.stopping)
            _settle()
            line.report(link.READY)
            gateway.run(line.stopping, line.order)
        finally:
            gateway.close()
            if listener is not None:
                listener.close()
            if tracer is not None:
                tracer.close()


@contextmanager
def _owned(role: Role, folder: Path, stopping: threading.Event) -> Iterator[State]:
    """The state, owned; a gateway that was just killed may hold it for a moment."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            state = open_state(role, folder, own=True)
            break
        except StateBusy:
            if time.monotonic() > until or stopping.wait(0.1):
                raise
    with state:
        yield state


def _build(state: State, feeds: dict[str, dict[str, WatchedFeed]], observer: Observer, bell: Bell) -> Build:
    """How a live run is built on the state, with feeds of its own."""
    with uncollected(), without("pymongo"):
        from pipelines.live import Live  # imported late: it takes Beam along

    def build(name: str, work: Work) -> Runs:
        made: dict[str, Feed] = {}
        feeds[name] = {}
        for feed, part in work.feeds.items() if state.leads else ():  # two that take from a queue would mix its order
            options = replaced(part.options, "{state}", state.path.as_posix())
            one = registry.feed(part.connector, options)
            bell.hear(name, one)
            made[feed] = feeds[name][feed] = WatchedFeed(name, feed, one, sure=lambda: state.sure)
        if work.every or work.cron:
            watch_folders(work, state.path)
        make_tables(work, state.path)
        try:
            bounds = {"records": work.records, "milliseconds": work.milliseconds}
            return Live(state, work.settings, made, observer, **bounds, news=lambda: bell.rang(name))
        except BaseException:
            for one in made.values():
                one.close()
            raise

    return build


def told(share: Share) -> None:
    """Show in the metrics what we have of a state that is shared."""
    PARTITIONS.set(len(share.held))
    LEADS.set(share.once)
    MEMBERS.set(share.members)


def readers(role: Role) -> dict[str, list[str]]:
    """Exchange -> those that read what it writes, from the same database: they need not wait for their next scan."""
    return {
        name: [
            other
            for other, its in role.exchanges.items()
            if any(_reads(its, sink) for sink in work.settings.sinks.values())
        ]
        for name, work in role.exchanges.items()
    }


def _reads(work: Work, sink: Destinations) -> bool:
    """Whether an exchange reads what a sink writes; not where it asks for records of another origin."""
    source = work.settings.source
    origin = source.options.get("where", {}).get("repaircomefrom")
    return (
        source.connector == sink.connector == "sql"
        and source.options.get("url") == sink.options.get("url")
        and (not origin or not sink.repaircomefrom or origin == sink.repaircomefrom)
    )


def watch_folders(work: Work, folder: Path) -> None:
    """Make the folders below the state that an exchange scans: there it is our place to make them."""
    source = work.settings.source.options
    parts = source["of"].values() if isinstance(source.get("of"), dict) else [source]
    for part in parts:
        path = str(part.get("path", ""))
        if path.startswith("{state}/") and not Path(path).suffix:
            Path(path.replace("{state}", folder.as_posix())).mkdir(parents=True, exist_ok=True)


def make_tables(work: Work, folder: Path) -> None:
    """Make the tables of stores that an exchange writes: another one may read them before the first record.

    Files of SQLite are made by the first record; a server that is away is met by then too.
    """
    for sink in work.settings.placed(folder).sinks.values():
        url = str(sink.options.get("url", ""))
        if sink.connector == "sql" and "{destination}" not in url and not url.startswith("sqlite"):
            made = built(sink, work.settings.mapping.kinds)
            try:
                with suppress(Unavailable):
                    made.create()
            finally:
                made.close()


def _beat(line: link.Link, gateway: Gateway, feeds: Mapping[str, Mapping[str, WatchedFeed]]) -> None:
    """Tell the supervisor, once a second, how the loops fare and what was counted."""

    def beat() -> None:
        while True:
            gateway.guard()
            for loop in gateway.loops.values():
                loop.told_breakers()
            line.report(link.BEAT, loops=state_of(gateway.loops, feeds), metrics=carried(), share=gateway.sharing)
            time.sleep(BEAT_SECONDS)

    threading.Thread(target=beat, daemon=True, name="beat").start()


def _settle() -> None:
    """What stands now stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
