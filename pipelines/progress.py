"""What a run tells while it works: events that screens show and tests wait for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol


class Event(NamedTuple):
    """Something that happened in a run.

    `name` is one of: run, batch, opened, item, staged, decided, effect, sending, sent, closed, finished, ended,
    reconciled. Of `sending` and `sent` the note is the destination, `total` says how many deliveries, `done` how many
    it took; a repetition of what waited has no batch.
    """

    name: str
    exchange: str
    batch: str = ""
    done: int = 0
    total: int = 0
    note: str = ""
    counts: Mapping[str, int] | None = None
    """What became of a closed batch at intake, by the columns of its row, where that is at hand."""


class Observer(Protocol):
    """Whoever wants to know."""

    def __call__(self, event: Event, /) -> None:
        """Take note of an event; must not raise."""


def silent(_: Event) -> None:
    """An observer that does not look."""


class Watch:
    """Tells the observer how many items are staged, while the work stage runs."""

    def __init__(self, observer: Observer, exchange: str, batch: str, staging: Path, total: int) -> None:
        self._observer, self._staging = observer, staging
        self._event = Event("item", exchange, batch, 0, total)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        if self._observer is not silent:
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            done = sum(1 for _ in self._staging.glob("*.journal"))
            self._observer(self._event._replace(done=done))
