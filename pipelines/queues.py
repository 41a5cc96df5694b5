"""Destinations that are behind: what waits for them, who must wait behind it, and when they are tried again.

While a destination is away its deliveries join its queue without a call, so that the others go on at full speed; a
breaker says when it is tried again. So they do in its maintenance windows, and while its call budget is used up. A
delivery whose vehicle has one waiting joins behind it, so that records of a vehicle arrive in order. What waits lies in
the table `waiting`; this is what one process knows of it between batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import func, select

from connectors.breakers import Breaker, BreakerSettings
from connectors.budgets import Budget
from connectors.contracts import ConnectorError
from connectors.gates import Gate, Pause
from connectors.windows import Window
from pipelines import tables
from pipelines.settings import Exchange, Pace
from pipelines.state import State
from pipelines.steps import OPERATORS, REGISTRATIONS
from pipelines.workbench import sink_name

AWAY = "DESTINATION_AWAY: 对方不可用，排队等待 / the destination is away, this waits in its queue"
PACED = (
    "DESTINATION_PACED: 维护时段或额度用尽，排队等待 / a maintenance window or the call budget: this waits in its queue"
)
HELD = (AWAY, PACED)
"""Reasons of what waits until its destination may be called again, and stays due meanwhile."""
BEHIND = "BEHIND: 同一车辆有更早的记录在等待 / an earlier record of this vehicle waits"
_ASK_AGAIN_SECONDS = 1.0


class Holding(NamedTuple):
    """What holds back new deliveries to one destination; asked for once a batch."""

    all: str
    """Why all of them wait; empty: not all do."""
    behind: Mapping[int, int]
    """Signed VIN hash -> how many of that vehicle wait already."""

    def of(self, vin: int) -> str:
        """Why the delivery of a vehicle, by the signed hash of its VIN, must wait; empty: it may go."""
        return self.all or self.behind_of(vin)

    def behind_of(self, vin: int) -> str:
        """The same, of what waits for earlier records of the vehicle alone."""
        return BEHIND if self.behind and self.behind.get(vin) else ""


class Queues:
    """What waits for the destinations of one exchange."""

    def __init__(self, state: State, exchange: Exchange) -> None:
        self._state, self._exchange = state, exchange
        self._settings = BreakerSettings(
            failures=1,
            open_seconds=exchange.retry.first_seconds or 0.001,
            most_seconds=exchange.retry.most_seconds or 1,
        )
        self._gates: dict[str, Gate] = {}
        self._behind: dict[str, Counter[int]] | None = None
        self._bytes = 0

    def _gate(self, destination: str) -> Gate:
        found = self._gates.get(destination)
        if found is None:
            own = destination in (REGISTRATIONS, OPERATORS)  # the state's registers, whatever sink is `for` all
            sink = None if own else self._exchange.sinks.get(sink_name(self._exchange, destination))
            pace = sink.pace if sink is not None else Pace()
            found = self._gates[destination] = Gate(
                breaker=Breaker(self._settings),
                budget=Budget(f"{self._exchange.name}:{destination}", pace.budget) if pace.budget else None,
                windows=[Window.parse(one) for one in pace.maintenance],
            )
        return found

    def held(self, destination: str) -> str:
        """Why a destination is not to be called now; empty: it may be."""
        gate = self._gate(destination)
        if not gate.pause().seconds:
            return ""
        return AWAY if gate.breaker == "open" else PACED

    def away(self, destination: str) -> bool:
        """Whether a destination is not to be called now: its last call failed and the next is not due, or its pace."""
        return bool(self.held(destination))

    def states(self) -> dict[str, str]:
        """The state of the breaker of each destination that was asked for: for metrics, from any thread."""
        return {name: gate.breaker for name, gate in tuple(self._gates.items())}

    def holding(self, destination: str) -> Holding:
        """What holds back new deliveries at this moment, without their being tried."""
        return Holding(self.held(destination), self._waiting().get(destination, {}))

    def admit(self, destination: str) -> str:
        """Ask for one call: empty, and `answered` must follow; else why what is for it must wait."""
        gate = self._gate(destination)
        try:
            pause = gate.admit()
        except ConnectorError as error:  # nobody can say what is left of the budget
            pause = Pause(_ASK_AGAIN_SECONDS, str(error))
        if not pause.seconds:
            return ""
        if not gate.pause().seconds:
            gate.hold(pause.seconds, pause.reason)
        return self.held(destination) or PACED

    def answered(self, destination: str, *, there: bool) -> None:
        """What a call came to: whether the destination was there."""
        gate = self._gate(destination)
        if there:
            gate.succeeded()
        else:
            gate.failed()

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
