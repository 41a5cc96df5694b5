"""One exchange inside the gateway process: its live run, its schedule, and how it fares.

An exchange whose database or partner is away fails alone: it is built anew after a while, and takes up what it left.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from connectors.contracts import Arrival, ConnectorError, Feed, Unavailable
from dlq.errors import DlqError
from mappings.layout import MappingError
from mappings.profiles import ProfileError
from pipelines.cli.failures import explained
from pipelines.errors import PipelineError, StateLost
from pipelines.serving.logs import log
from pipelines.serving.metrics import CYCLES, DESTINATIONS, FEEDS, STATES
from pipelines.serving.roles import Work
from pipelines.settings import Exchange
from routing.errors import RoutingError

KNOWN = (ConnectorError, PipelineError, DlqError, MappingError, ProfileError, RoutingError, SQLAlchemyError, OSError)
"""Errors that an exchange is begun again after; any other one is a bug, which ends the process."""
FIRST_PAUSE, MOST_PAUSE = 0.5, 30.0
"""Seconds until a failed exchange, or a feed that is away, is tried again; doubled each time."""

CUT_OFF_SECONDS, CONNECTING_SECONDS = 2.0, 10.0
"""A feed that is away so long is left to another gateway, where one shares the state; one that was never there gets the
longer time, to connect."""

REST, MOST_REST = 2.0, 0.1
"""So many times as long as a scan took, and at most so many seconds, none follows: what comes meanwhile costs one."""

_TELLING = 2
"""Failures of a feed in a row before it is told: one that has just begun to connect is not away."""


class Runs(Protocol):
    """What a loop drives (`pipelines.live.Live` is one)."""

    def recover(self) -> None:
        """Take up what a crash left."""

    def step(self, seconds: float = 0.05) -> bool:
        """One round; whether anything was done."""

    def scan(self) -> bool:
        """One pass over the source; whether anything was done."""

    def reconcile(self, moment: datetime) -> None:
        """Compare the days before a moment with what destinations hold, unless that was done."""

    def reload(self, exchange: Exchange) -> None:
        """Go on with other settings."""

    def close(self) -> None:
        """Give back what is held."""

    @property
    def breakers(self) -> Mapping[str, str]:
        """Destination -> state of its breaker."""


Build = Callable[[str, Work], Runs]
"""Builds the live run of an exchange, by its name and its settings."""


class Loop:
    """One exchange, a turn at a time."""

    def __init__(
        self,
        name: str,
        work: Work,
        build: Build,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name, self.work, self._build = name, work, build
        self._clock, self._now = clock, now
        self._runs: Runs | None = None
        self.failing = ""
        """What is wrong, for people; empty: nothing."""
        self._moved_at = clock()
        self._retry_at, self._pause = 0.0, FIRST_PAUSE
        self._scan_at = now() if work.schedule.at_start else self._next_scan()
        self._reconcile_at = work.reconciles.before(now())  # what was missed while nothing ran is made up for
        self._rests_until = -math.inf

    @property
    def built(self) -> bool:
        """Whether it has a run, with feeds of its own."""
        return self._runs is not None

    @property
    def idle(self) -> float:
        """Seconds since it moved last; waiting for its next try after a failure is no standstill."""
        return 0.0 if self.failing else self._clock() - self._moved_at

    def told_breakers(self) -> None:
        """Show the breakers of its destinations in the metrics."""
        runs = self._runs
        for destination, state in runs.breakers.items() if runs is not None else ():
            DESTINATIONS.labels(self.name, destination).set(STATES[state])

    def moved(self) -> None:
        """It gave a sign of life."""
        self._moved_at = self._clock()

    def open(self) -> None:
        """Build it and take up what a crash left; a failure is noted."""
        self._guarded(self._opened)

    def turn(self, seconds: float) -> bool:
        """One round, and a scan where it is due; whether anything was done. Waits so long for input."""
        if self.failing and self._clock() < self._retry_at:
            return False
        return self._guarded(lambda: self._turn(seconds))

    def stir(self) -> None:
        """Something new lies in its source: scan at its next turn, where it scans every so often."""
        if self.work.schedule.at_start:
            self._scan_at = self._now()

    def reload(self, work: Work) -> None:
        """Go on with other settings, which were validated; where that fails it is built anew, with these."""
        changed, rescheduled = work.settings != self.work.settings, work.schedule != self.work.schedule
        if changed and self._runs is not None:
            try:
                self._runs.reload(work.settings)
            except StateLost:
                raise
            except KNOWN as error:  # it may have stopped half-way
                self._failed(error)
        if work.reconciles != self.work.reconciles:
            self._reconcile_at = work.reconciles.after(self._now())
        self.work = work
        if rescheduled:
            self._scan_at = self._now() if work.schedule.at_start else self._next_scan()
        if (changed or rescheduled) and not self.failing:
            log.info("reloaded", extra={"exchange": self.name})

    def renew(self) -> None:
        """Build it anew at its next turn: it is to be built otherwise than before."""
        self.close()

    def close(self) -> None:
        """Give back what is held."""
        runs, self._runs = self._runs, None
        if runs is not None:
            runs.close()

    def _opened(self) -> bool:
        if self._runs is None:
            runs = self._build(self.name, self.work)
            try:
                runs.recover()
            except BaseException:
                runs.close()
                raise
            self._runs = runs
        return True

    def _turn(self, seconds: float) -> bool:
        self._opened()
        assert self._runs is not None  # noqa: S101 - what `_opened` is for
        did = self._runs.step(seconds)
        if self._scan_at is not None and self._scan_at <= self._now() and self._clock() >= self._rests_until:
            began = self._clock()
            did = self._runs.scan() or did
            ended = self._clock()
            self._rests_until = ended + min(REST * (ended - began), MOST_REST)
            self._scan_at = self._next_scan()
        if self._reconcile_at is not None and self._reconcile_at <= self._now():
            self._runs.reconcile(self._reconcile_at)
            self._reconcile_at = self.work.reconciles.after(self._now())
        return did

    def _next_scan(self) -> datetime | None:
        return self.work.schedule.after(self._now())

    def _guarded(self, act: Callable[[], bool]) -> bool:
        try:
            did = act()
        except StateLost:  # nothing can be committed any more: only a new process may take the state again
            raise
        except KNOWN as error:
            self._failed(error)
            return False
        if self.failing:
            log.info("exchange-recovered", extra={"exchange": self.name})
        self.failing, self._pause = "", FIRST_PAUSE
        self.moved()
        return did

    def _failed(self, error: Exception) -> None:
        said = explained(error)[0]
        CYCLES.labels(self.name).inc()
        log.error("exchange-failed", extra={"exchange": self.name, "text": said, "seconds": self._pause})
        self.failing = said
        self._retry_at, self._pause = self._clock() + self._pause, min(self._pause * 2, MOST_PAUSE)
        try:
            self.close()
        except KNOWN as second:
            log.error("close-failed", extra={"exchange": self.name, "text": explained(second)[0]})


class WatchedFeed:
    """A feed whose connection is watched: while it is away it brings nothing, and is asked again after a pause.

    `sure` says whether another gateway may have come to read in our place; then nothing is taken.
    """

    def __init__(
        self,
        exchange: str,
        name: str,
        feed: Feed,
        clock: Callable[[], float] = time.monotonic,
        sure: Callable[[], bool] = lambda: True,
    ) -> None:
        self._feed, self._exchange, self._name, self._clock, self._sure = feed, exchange, name, clock, sure
        self.connected = True
        self.seen = False
        """Whether it was ever there."""
        self._away_since = math.inf
        self._letting_go: threading.Thread | None = None
        self._failures = 0
        self._retry_at, self._pause = 0.0, FIRST_PAUSE
        self._told(connected=True)

    def take(self, most: int, seconds: float) -> list[Arrival]:
        """What the feed brings; nothing while it is away, or may be another's."""
        if not self.connected and self._clock() < self._retry_at:
            return []
        if self._goes or not self._sure():
            return []
        try:
            found = self._feed.take(most, seconds)
        except Unavailable as error:
            self._told(connected=False)
            self._failures += 1
            if self._failures == _TELLING:
                log.warning("feed-away", extra={"exchange": self._exchange, "text": f"{self._name}: {error}"})
            self._retry_at = self._clock() + self._pause
            if self.seen or self.away > CONNECTING_SECONDS:  # until then it is just connecting
                self._pause = min(self._pause * 2, MOST_PAUSE)
            return []
        if self._failures >= _TELLING:
            log.info("feed-back", extra={"exchange": self._exchange, "text": self._name})
        self.seen = True
        self._told(connected=True)
        self._failures, self._pause = 0, FIRST_PAUSE
        return found

    def ack(self) -> None:
        """What was taken is durable. A feed that is away now brings it again, which is harmless."""
        try:
            self._feed.ack()
        except Unavailable:
            self._told(connected=False)

    @property
    def cut_off(self) -> bool:
        """Whether it has been away for so long that another gateway should try."""
        return self.away > (CUT_OFF_SECONDS if self.seen else CONNECTING_SECONDS)

    @property
    def away(self) -> float:
        """Seconds since it was found away; 0: it is there."""
        return max(0.0, self._clock() - self._away_since)

    def let_go(self) -> None:
        """Give what was not acked back to its system at once; from any thread, whatever ours is waiting for.

        A later take opens the feed again, once it is closed. What was taken already is ours to commit or to lose.
        """
        if not self._goes:
            self._letting_go = threading.Thread(target=self._feed.close, daemon=True, name="feed")
            self._letting_go.start()

    @property
    def _goes(self) -> bool:
        return self._letting_go is not None and self._letting_go.is_alive()

    def check(self) -> list[str]:
        """What the feed says."""
        return self._feed.check()

    def close(self) -> None:
        """Give back what is held; where its system is away, nobody waits for that."""
        if self.connected:
            self._feed.close()
        else:
            self.let_go()

    def _told(self, *, connected: bool) -> None:
        self.connected = connected
        self._away_since = math.inf if connected else min(self._away_since, self._clock())
        FEEDS.labels(self._exchange, self._name).set(connected)


def state_of(loops: Mapping[str, Loop], feeds: Mapping[str, Mapping[str, WatchedFeed]]) -> dict[str, Any]:
    """How the loops fare, as it is reported to the supervisor."""
    return {
        name: {
            "idle": round(loop.idle, 3),
            "failing": loop.failing,
            "feeds": {feed: watched.connected for feed, watched in feeds.get(name, {}).items()},
        }
        for name, loop in loops.items()
    }
