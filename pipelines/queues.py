"""Destinations that are behind: what waits for them, who must wait behind it, and when they are tried again.

While a destination is away its deliveries join its queue without a call, so that the others go on at full speed; a
breaker says when it is tried again. A delivery whose vehicle has one waiting joins behind it, so that records of a
vehicle arrive in order. What waits lies in the table `waiting`; this is what one process knows of it between batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select

from connectors.breakers import Breaker, BreakerSettings
from connectors.contracts import UNAVAILABLE, Outcome
from pipelines import tables
from pipelines.settings import Exchange
from pipelines.state import State

AWAY = "DESTINATION_AWAY: 对方不可用，排队等待 / the destination is away, this waits in its queue"
BEHIND = "BEHIND: 同一车辆有更早的记录在等待 / an earlier record of this vehicle waits"


class Queues:
    """What waits for the destinations of one exchange."""

    def __init__(self, state: State, exchange: Exchange) -> None:
        self._state, self._exchange = state, exchange
        self._settings = BreakerSettings(
            failures=1,
            open_seconds=exchange.retry.first_seconds or 0.001,
            most_seconds=exchange.retry.most_seconds or 1,
        )
        self._breakers: dict[str, Breaker] = {}
        self._behind: dict[str, Counter[int]] | None = None
        self._bytes = 0

    def breaker(self, destination: str) -> Breaker:
        """The breaker of a destination."""
        return self._breakers.setdefault(destination, Breaker(self._settings))

    def away(self, destination: str) -> bool:
        """Whether the last call of a destination failed and the next one is not due."""
        found = self._breakers.get(destination)
        return found is not None and found.wait() > 0

    def states(self) -> dict[str, str]:
        """The state of the breaker of each destination that was called or failed: for metrics, from any thread."""
        return {name: breaker.state for name, breaker in tuple(self._breakers.items())}

    def holds(self, destination: str, vin: int) -> str:
        """Why a new delivery must wait without being tried; empty: it may go. `vin`: the signed hash."""
        if self.away(destination):
            return AWAY
        waiting = self._waiting().get(destination)
        return BEHIND if waiting and waiting.get(vin) else ""

    def answered(self, destination: str, outcomes: Sequence[Outcome]) -> bool:
        """What a call came to; whether the destination is there."""
        there = not outcomes or any(one.status != UNAVAILABLE for one in outcomes)
        if not there:
            self.breaker(destination).failed()
        elif destination in self._breakers:
            self._breakers[destination].succeeded()
        return there

    def joined(self, rows: Iterable[tuple[str, int, int]]) -> None:
        """Deliveries wait now: destination, VIN hash, bytes."""
        waiting = self._waiting()
        for destination, vin, size in rows:
            waiting.setdefault(destination, Counter())[vin] += 1
            self._bytes += size

    def changed(self) -> None:
        """Something else changed what waits: it is read again when it is asked for."""
        self._behind = None

    @property
    def full(self) -> bool:
        """Whether no more may be taken in: what waits has reached its bound."""
        bounds = self._exchange.retry
        if self._behind is not None and not self._behind:
            return False
        rows = sum(waiting.total() for waiting in self._waiting().values())
        return rows >= bounds.most_waiting or self._bytes >= bounds.most_waiting_bytes

    def _waiting(self) -> dict[str, Counter[int]]:
        if self._behind is None:
            t = tables.waiting
            mine = t.c.exchange == self._exchange.name
            columns = (t.c.destination, t.c.vin, func.count(), func.sum(func.length(t.c.record)))
            self._behind, self._bytes = {}, 0
            with self._state.reading() as connection:
                for destination, vin, count, size in connection.execute(
                    select(*columns).where(mine, t.c.destination != "").group_by(t.c.destination, t.c.vin)
                ):
                    self._behind.setdefault(destination, Counter())[vin] = count
                    self._bytes += int(size or 0)
        return self._behind
