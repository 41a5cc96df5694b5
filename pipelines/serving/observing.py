"""What becomes of a run's events: a line in the log, a time in the metrics, a span in the traces, a sign of life."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import select

from dlq.masking import masked_text
from pipelines import tables
from pipelines.progress import Event
from pipelines.serving.logs import log
from pipelines.serving.metrics import BATCHES, DIFFERENCES, RECORDS, STAGES
from pipelines.serving.tracing import Timed, Tracer
from pipelines.state import State

_ENDS = {"staged": "work", "decided": "decide", "closed": "deliver"}
"""Event -> the stage that it ends."""
_COUNTS = {
    "received": ("received",),
    "decoded": ("decoded",),
    "dead": ("dead_intake", "dead_records"),
    "duplicate": ("duplicate_intake", "duplicate_records"),
    "filtered": ("filtered",),
    "unplaced": ("unplaced",),
    "fragments": ("fragments",),
}
_MOST_OPEN = 1_000
_SHOWN = 20


class _Times(NamedTuple):
    opened: int
    """Nanoseconds since 1970."""
    last: int


class Observing:
    """An observer of all exchanges of a process. `moved` is called with an exchange's name at each of its events."""

    def __init__(
        self,
        state: State,
        tracer: Tracer | None = None,
        moved: Callable[[str], None] = lambda _: None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._state, self._tracer, self._moved, self._clock = state, tracer, moved, clock
        self._open: dict[str, _Times] = {}
        self._calls: dict[tuple[str, str, str], int] = {}

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        self._moved(event.exchange)
        now = self._clock()
        if event.name == "opened":
            if len(self._open) >= _MOST_OPEN:  # batches that failed never close
                self._open.clear()
            self._open[event.batch] = _Times(now, now)
        elif event.name in _ENDS:
            self._stage(event, now)
        elif event.name in ("sending", "sent"):
            if self._tracer is not None:
                self._effect(self._tracer, event, now)
        elif event.name == "reconciled":
            DIFFERENCES.labels(event.exchange).set(event.done)
            counts = {"sent": event.total, "differences": event.done}
            told = {"exchange": event.exchange, "counts": counts, "text": event.note}
            log.log(logging.WARNING if event.note else logging.INFO, "reconciled", extra=told)
        elif event.name in ("finished", "ended") or event.note:
            log.debug(event.name, extra={"exchange": event.exchange, "batch": event.batch, "text": event.note})

    def _effect(self, tracer: Tracer, event: Event, now: int) -> None:
        """A call of a destination: it begins, or has ended."""
        call = event.exchange, event.batch, event.note
        if event.name == "sending":
            self._calls[call] = now
            return
        about: dict[str, str | int] = {"vingate.exchange": event.exchange, "vingate.destination": event.note}
        about |= {"vingate.batch": event.batch} if event.batch else {}
        counts = {"vingate.deliveries.given": event.total, "vingate.deliveries.taken": event.done}
        timed = Timed("effect", self._calls.pop(call, now), now, about | counts)
        if event.batch:
            tracer.stage(event.batch, timed)
        else:
            tracer.alone(timed)

    def _stage(self, event: Event, now: int) -> None:
        times = self._open.get(event.batch)
        if times is not None:
            self._span(event, _ENDS[event.name], times.last, now)
            self._open[event.batch] = times._replace(last=now)
        if event.name == "closed":
            self._closed(event, self._open.pop(event.batch, None), now)

    def _closed(self, event: Event, times: _Times | None, now: int) -> None:
        counts = self._counts(event)
        BATCHES.labels(event.exchange).inc()
        for outcome, count in counts.items():
            RECORDS.labels(event.exchange, outcome).inc(count)
        told: dict[str, Any] = {"exchange": event.exchange, "batch": event.batch, "counts": counts}
        if counts.get("dead"):
            told["letters"] = self._letters(event.batch)
        if times is not None:
            self._span(event, "batch", times.opened, now, counts)
            told["seconds"] = round((now - times.opened) / 1e9, 4)
        log.info("batch", extra=told)

    def _span(self, event: Event, stage: str, since: int, until: int, counts: Mapping[str, int] | None = None) -> None:
        STAGES.labels(event.exchange, stage).observe((until - since) / 1e9)
        if self._tracer is None:
            return
        if stage != "batch":
            self._tracer.stage(event.batch, Timed(stage, since, until))
            return
        about: dict[str, str | int] = {"vingate.exchange": event.exchange, "vingate.batch": event.batch}
        told = {f"vingate.records.{name}": count for name, count in (counts or {}).items()}
        self._tracer.whole(event.batch, Timed("batch", since, until, about | told))

    def _letters(self, batch: str) -> list[str]:
        """The first letters of a batch: id, first reason, and the record's key where it has one."""
        t = tables.letters.letters
        with self._state.reading() as connection:
            rows = connection.execute(
                select(t.c.id, t.c.reason, t.c.record_key).where(t.c.batch == batch).limit(_SHOWN)
            )
            return [" ".join(filter(None, (row.id, row.reason, masked_text(row.record_key)))) for row in rows]

    def _counts(self, event: Event) -> dict[str, int]:
        """What became of the batch at intake; only the number of its payloads where it has no row."""
        b = tables.batches
        found: Mapping[Any, Any] | None = event.counts
        if found is None:
            with self._state.reading() as connection:
                found = connection.execute(select(b).where(b.c.id == event.batch)).mappings().first()
        if found is None:
            return {"received": event.total}
        return {name: sum(found[column] for column in columns) for name, columns in _COUNTS.items()}
