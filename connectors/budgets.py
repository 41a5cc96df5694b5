"""Rate budgets: "30 calls a minute" as a bucket of tokens, kept where all who share the budget can see it.

A bucket is two numbers, tokens and a moment, changed in one step by its store. `MemoryBuckets` is one process's store;
one on the state makes the budget that of all processes: it only has to run `spend` inside one transaction.

    >>> now = [0.0]
    >>> budget = Budget("ministry", BudgetSettings(calls=2, seconds=60), store=MemoryBuckets(), clock=lambda: now[0])
    >>> budget.take(), budget.take(), budget.take()
    (0.0, 0.0, 30.0)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple, Protocol

from pydantic import Field

from connectors.settings import ConnectorSettings


class BudgetSettings(ConnectorSettings):
    """How many calls in how many seconds."""

    calls: int = Field(ge=1)
    """Calls that the peer allows in `seconds`; as many may go at once after a pause."""
    seconds: float = Field(default=60.0, gt=0)
    name: str = ""
    """Who shares this budget; by default the peer's address does."""


class Bucket(NamedTuple):
    """How much is left."""

    tokens: float
    at: float
    """When it was so: seconds since the epoch, so that processes and hosts agree."""


def spend(bucket: Bucket | None, settings: BudgetSettings, now: float) -> tuple[Bucket, float]:
    """Take one call out of a bucket, pure: the new bucket, and 0 or the seconds until a call is there to be taken."""
    rate = settings.calls / settings.seconds
    if bucket is None:
        bucket = Bucket(settings.calls, now)
    # A clock that was set back gives nothing and takes nothing.
    tokens = min(bucket.tokens + max(now - bucket.at, 0.0) * rate, settings.calls)
    if tokens >= 1 - 1e-9:
        return Bucket(max(tokens - 1, 0.0), now), 0.0
    return Bucket(tokens, now), (1 - tokens) / rate


class Buckets(Protocol):
    """Where buckets are kept."""

    def change(self, name: str, step: Callable[[Bucket | None], tuple[Bucket, float]]) -> float:
        """Replace the bucket of a name by what `step` makes of it, as one step that nobody comes between.

        Returns what `step` says to wait. A `step` may be called more than once.
        """


class MemoryBuckets:
    """Buckets of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._buckets: dict[str, Bucket] = {}

    def change(self, name: str, step: Callable[[Bucket | None], tuple[Bucket, float]]) -> float:
        """Replace a bucket under the lock."""
        with self._lock:
            self._buckets[name], seconds = step(self._buckets.get(name))
            return seconds


_OURS = MemoryBuckets()


class _Shared:
    """Which store those budgets use that were given none."""

    store: Buckets = _OURS


def share(store: Buckets | None) -> None:
    """Keep all budgets of this process in a store that others see as well; None: in this process again."""
    _Shared.store = _OURS if store is None else store


class Budget:
    """The budget of one name."""

    def __init__(
        self,
        name: str,
        settings: BudgetSettings,
        *,
        store: Buckets | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._settings, self._store, self._clock = settings.name or name, settings, store, clock

    def take(self) -> float:
        """Take one call: 0.0, and it may go out; else nothing is taken and so many seconds are to wait."""
        now = self._clock()
        return (self._store or _Shared.store).change(self._name, lambda bucket: spend(bucket, self._settings, now))
