"""Hubs: the named places in this process where the memory connectors and the tests that look at them meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Condition, Lock

from pydantic import Field

from connectors.contracts import Arrival, Delivery
from connectors.settings import ConnectorSettings


class Broken(BaseException):
    """The process ends here, as far as a test goes: nothing may catch it, no more than a SIGKILL."""


@dataclass
class Hub:
    """What stands under one name."""

    queues: dict[str, list[bytes]] = field(default_factory=dict)
    """Payloads to read, by path."""
    finished: list[str] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    """What waits for a feed, in order; let more arrive with `put`."""
    taken: dict[int, list[Arrival]] = field(default_factory=dict)
    """What feeds took and did not ack, by the number of their connection."""
    reachable: bool = True
    """Whether feeds reach what arrives."""
    takes: int = 0
    """Calls of `take` so far: what a feed's `every` counts."""
    delivered: dict[str, Delivery] = field(default_factory=dict)
    """Deliveries by id, in the order in which they were accepted."""
    contents: dict[tuple[str, int], str] = field(default_factory=dict)
    """Content by key and version."""
    staged: dict[str, tuple[str, list[bytes]]] = field(default_factory=dict)
    """Records by temporary name, with the final one."""
    parts: dict[str, list[bytes]] = field(default_factory=dict)
    """Records by final name."""
    writes: int = 0
    """Deliveries and records offered so far: what `every` counts."""
    lock: Lock = field(default_factory=Lock)
    arrived: Condition = field(default_factory=Condition)

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Let these arrive, and wake who waits for them."""
        with self.arrived:
            self.arrivals.extend(arrivals)
            self.arrived.notify_all()

    def lose(self) -> None:
        """Every feed loses its connection: what was taken and not acked waits again, before all that came later."""
        with self.arrived:
            for number in sorted(self.taken, reverse=True):
                self.arrivals[:0] = self.taken.pop(number)
            self.arrived.notify_all()

    def held(self) -> int:
        """Records in parts, staged or not."""
        return sum(len(part) for _, part in self.staged.values()) + sum(map(len, self.parts.values()))


_HUBS: dict[str, Hub] = {}


def hub(name: str) -> Hub:
    """The hub of a name; made when first asked for."""
    return _HUBS.setdefault(name, Hub())


def forget(name: str) -> None:
    """Forget a hub and all that stands in it."""
    _HUBS.pop(name, None)


class HubSettings(ConnectorSettings):
    """Which hub."""

    hub: str = Field(default="main", min_length=1)
