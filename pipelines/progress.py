"""What a run tells while it works: events that screens show and tests wait for."""

from __future__ import annotations

from collections.abc import Mapping
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
