"""One exchange run for ever, a step at a time: feeds fill the inbox, batches empty it, what waits is tried again.

Nothing here keeps a clock of its own but for pauses, so tests drive it step by step; `vingate serve` drives it all day.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import select

from connectors.contracts import Arrival, Feed
from pipelines import tables
from pipelines.blame import EXPECTED, is_outage
from pipelines.coordinator import Coordinator
from pipelines.flow import Kept
from pipelines.heap import settle
from pipelines.inbox import Inbox, Judged
from pipelines.progress import Event, Observer, silent
from pipelines.reconciling.background import Background
from pipelines.reconciling.commanding import days_before, report_path
from pipelines.settings import Exchange
from pipelines.state import State
from pipelines.work import Job, Receipt, Task
from pipelines.workbench import forget

LOG = logging.getLogger("vingate.live")

ATTEMPTS = 3
"""An envelope on which the steps fail so many times, taken alone, is a letter."""
TO_BLAME = 3
"""So many envelopes that fail alone, with none that goes well between, are not to blame: the program is."""
FOLLOW_UP_SECONDS = 1.0
"""How often orders, deliveries that are due and moved vehicles are looked for."""
ASK_AGAIN_SECONDS = 900.0
"""A comparison for which a destination could not be asked is done again after this."""
KEYS_KEPT = timedelta(days=7)
"""How long a source key is remembered; a redelivery later than that is seen by its content."""
_HOUR = 3_600.0


class Live:
    """Drives one exchange on a state that this process owns.

    Args:
        state: the state.
        exchange: its settings; the source is read by `scan` only.
        feeds: sources that cannot be read again, by name.
        observer: is told of every stage of every batch.
        records: most envelopes of a micro-batch.
        milliseconds: how long a micro-batch waits for more after its first envelope.
        news: whether something may have come into the inbox since it was asked last; if not, nobody looks.
    """

    def __init__(
        self,
        state: State,
        exchange: Exchange,
        feeds: Mapping[str, Feed] | None = None,
        observer: Observer = silent,
        *,
        records: int = 500,
        milliseconds: int = 20,
        news: Callable[[], bool] = lambda: True,
    ) -> None:
        settle(all_day=True)
        self._state, self._observer = state, observer
        self._feeds = dict(feeds or {})
        self._records, self._gather = records, milliseconds / 1000
        self._comparison: Background | None = None
        self._again: tuple[float, datetime] = (float("inf"), datetime.now(UTC))
        """When the last comparison is to be done again, and of which moment it was."""
        self._open(exchange)
        self._most, self._full = records, False
        self._news, self._look, self._sure = news, True, False
        self._failures: Counter[int] = Counter()
        self._blamed: set[int] = set()
        self._followed_up = self._forgotten = float("-inf")
        self._changes = 0

    def _open(self, exchange: Exchange) -> None:
        self._coordinator = Coordinator(self._state, exchange, self._observer, self._kept_run)
        self._exchange = self._coordinator.exchange
        self._inbox = Inbox(self._exchange.name, self._state.sealer())
        self._kept = Kept(self._state.path / "live" / self._exchange.name)

    def recover(self) -> None:
        """Take up what a crash left: decided batches are finished, envelopes of open ones wait again."""
        self._coordinator.begin()

    def step(self, seconds: float = 0.05) -> bool:
        """Feeds to inbox, one micro-batch, and what follows of it; whether anything was done.

        Waits at most `seconds` for input. Raises what the state or a setting is to blame for; nothing is lost by it.
        """
        if self._state.share is not None and self._state.share.changes != self._changes:
            self._coordinator.take_up()  # before anything newer of those vehicles
            self._changes = self._state.share.changes
        if self._coordinator.closer.queues.full:  # nothing more comes in until what waits has gone down
            self._follow_up()
            if self._coordinator.closer.queues.full:
                return self._paused(seconds)
        self._full = False
        took = self._take_in(seconds)
        did = self._batch()
        if not (took or did) and not self._feeds and seconds:
            self._wait(seconds)
            did = self._batch()
        return self._follow_up() or did or took

    def scan(self) -> bool:
        """One pass over the exchange's own source; whether it brought anything."""
        before = self._coordinator.newest
        self._coordinator.scan()
        if time.monotonic() - self._followed_up >= FOLLOW_UP_SECONDS:
            self._followed_up = time.monotonic()
            self._coordinator.followed_up()
        return self._coordinator.newest > before

    def reconcile(self, moment: datetime) -> None:
        """Begin to compare the days before a moment with what destinations hold, unless a report of them lies there.

        Follow-ups take up what it finds; so the exchange goes on meanwhile.
        """
        self._again = (float("inf"), moment)
        since, until = days_before(moment, self._exchange.reconcile.days)
        reported = report_path(self._state.path, self._exchange.name, since, until).exists()
        if self._comparison is None and not reported:
            self._comparison = Background(self._state, self._exchange, since, until)

    def reload(self, exchange: Exchange) -> None:
        """Go on with other settings, tables and mappings, which the caller has validated."""
        forget()
        old, kept = self._coordinator, self._kept
        self._open(exchange)
        kept.close()
        try:
            old.end()
        finally:
            old.sinks.close()
        self._coordinator.begin()

    def close(self) -> None:
        """End the run and give back what is held. What was taken and is not in the inbox goes back to its system."""
        for feed in self._feeds.values():
            feed.close()
        if self._comparison is not None:
            self._comparison.stop()
        if self._coordinator.run_id:
            self._coordinator.end()
        self._coordinator.sinks.close()
        self._kept.close()

    @property
    def breakers(self) -> dict[str, str]:
        """Destination -> state of its breaker, for those that were away once: for metrics, from any thread."""
        return self._coordinator.closer.queues.states()

    def _paused(self, seconds: float) -> bool:
        if not self._full:
            LOG.warning("%s: too much waits for its destinations; nothing more is taken in", self._exchange.name)
        self._full = True
        time.sleep(seconds)
        return False

    # -- intake --------------------------------------------------------------------------------------------------------

    def _take_in(self, seconds: float) -> bool:
        """What the feeds have goes to the inbox; each is acknowledged once that is committed."""
        took = False
        for feed in self._feeds.values():
            arrivals = feed.take(self._records, 0 if took else seconds / len(self._feeds))
            if arrivals:
                self._put(feed, arrivals)
                took = True
        return took

    def _put(self, feed: Feed, arrivals: list[Arrival]) -> None:
        judged = [Judged(one) for one in arrivals]
        if not self._at_once(arrivals):
            with self._state.unit_of_work() as connection:
                self._inbox.put(connection, judged, datetime.now(UTC))
            self._sure = True
            feed.ack()
            return
        self._sure, taken = self._coordinator.take_in(judged)
        feed.ack()
        if taken is not None:
            self._worked(partial(self._coordinator.work_on, taken))

    def _at_once(self, arrivals: Sequence[Arrival]) -> bool:
        """Whether arrivals may be a batch: within its bounds, all of them ours, and no envelope is to blame."""
        return (
            len(arrivals) <= self._most
            and not self._failures
            and self._state.partitions(self._exchange.name) is None
            and sum(len(one.body) for one in arrivals) <= self._exchange.batch.bytes
        )

    def _wait(self, seconds: float) -> None:
        """Until something lies in the inbox, and then a little longer for what comes right behind it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._waits():
                time.sleep(self._gather)
                return
            time.sleep(min(0.01, seconds))

    def _waits(self) -> bool:
        with self._state.glancing() as connection:
            return self._inbox.any_waits(connection, self._state.partitions(self._exchange.name))

    # -- batches -------------------------------------------------------------------------------------------------------

    def _batch(self) -> bool:
        """One micro-batch. One that the steps break on is tried again in smaller ones, down to the one to blame."""
        failing = [number for number, times in self._failures.items() if times >= ATTEMPTS]
        self._look = self._news() or self._look
        if not (self._sure or self._look):
            return False
        self._look, self._sure = True, False
        size = self._exchange.batch.bytes
        self._look = self._worked(lambda: self._coordinator.inbox_batch(self._most, size, failing), failing)
        return self._look

    def _worked(self, work: Callable[[], str], failing: Sequence[int] = ()) -> bool:
        """Work on a micro-batch; whether there was one."""
        try:
            batch = work()
        except EXPECTED:
            raise
        except Exception as error:  # a defect that one payload shows must not stop all others
            if is_outage(error):
                raise
            self._broke(error)
            return True
        if batch and not failing:
            self._blamed.clear()
        for number in failing:
            del self._failures[number]
        self._most = min(self._records, self._most * 2)
        return bool(batch)

    def _kept_run(self, exchange: Exchange, job: Job, tasks: Sequence[Task]) -> list[Receipt]:
        del exchange  # the kept pipeline reads it from the job
        return self._kept.run(job, tasks)

    def _broke(self, error: Exception) -> None:
        LOG.error("steps failed on a batch of at most %d: %s", self._most, type(error).__name__, exc_info=error)
        alone, self._look = self._most == 1, True
        self._most = max(1, self._most // 8)
        if alone:
            t = tables.inbox
            with self._state.reading() as connection:
                b = tables.batches
                mine = select(b.c.number).where(b.c.member == self._state.member, b.c.state == "open")
                where = (t.c.exchange == self._exchange.name) & t.c.batch.in_(mine)
                taken = connection.execute(select(t.c.id).where(where)).scalars().all()
            self._failures.update(taken)
            self._blamed.update(taken)
        self._coordinator.begin()
        hopeless = max(self._failures.values(), default=0) > 2 * ATTEMPTS  # not even its letter can be made
        if hopeless or len(self._blamed) >= TO_BLAME:
            LOG.critical("%s: every envelope fails; nothing more is tried, all of it waits", self._exchange.name)
            raise error

    # -- what follows --------------------------------------------------------------------------------------------------

    def _follow_up(self) -> bool:
        """Orders that became whole, deliveries that are due, vehicles that moved: looked for now and then."""
        now = time.monotonic()
        if now - self._forgotten > _HOUR and self._state.leads:
            self._forgotten = now
            with self._state.unit_of_work() as connection:
                self._inbox.forget_keys(connection, datetime.now(UTC) - KEYS_KEPT)
        if now - self._followed_up < FOLLOW_UP_SECONDS:
            return False
        self._followed_up = now
        did = self._coordinator.followed_up()
        self._compared()
        if now >= self._again[0]:
            self.reconcile(self._again[1])
        return did

    def _compared(self) -> None:
        """Settle a comparison that has ended, and tell of it."""
        if self._comparison is None or not self._comparison.done:
            return
        ended, self._comparison = self._comparison, None
        report = ended.settle(self._coordinator)
        if report is not None:
            differing = len(report.differences)
            sent = sum(side.sent for side in report.sides.values())
            note = "" if report.agreed else "不一致 / they do not agree"
            if not report.asked:
                note = "有目的地无法查询，稍后重试 / a destination could not be asked: again later"
                self._again = (time.monotonic() + ASK_AGAIN_SECONDS, self._again[1])
            self._observer(Event("reconciled", self._exchange.name, "", differing, sent, note))
