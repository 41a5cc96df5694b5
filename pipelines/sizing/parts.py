"""What one record costs in each part of the network: time, database, broker, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.sizing.figures import Basis, Figures, weakest

__all__ = ["Flow", "Machine", "Part", "parts"]

Flow = Literal["backlog", "day"]


@dataclass(frozen=True)
class Machine:
    """One machine of the plan; all kinds of machines are alike."""

    cores: int
    speed: float
    """Of one core, beside a core of the machine that was measured (1)."""
    disk_mb_s: float
    """MB a second that one sequential, synced write gets."""


@dataclass(frozen=True)
class Part:
    """What one record costs where it passes."""

    name: str
    flow: Flow
    kind: str
    """The machine that it runs on."""
    cpu_us: float
    """Processor time of the part itself."""
    database_us: float = 0.0
    """Processor time of the database server on its behalf."""
    broker_us: float = 0.0
    kept_bytes: float = 0.0
    """What stays on the machine's own disk."""
    database_bytes: float = 0.0
    """What stays in the database."""
    database_written: float = 0.0
    """What the database writes, log and tables."""
    broker_written: float = 0.0
    basis: Basis = "measured"
    """Of the times; what is written is modelled wherever a database or broker writes it."""

    @property
    def busy_us(self) -> float:
        """For how long one process has to do with the record: it stands still while its database works."""
        return self.cpu_us + self.database_us


def parts(figures: Figures, stores: int = 1) -> tuple[Part, ...]:
    """All parts, in the order in which a record meets them.

    Args:
        figures: what was measured.
        stores: into how many stores a record of the backlog is loaded; the part `load` is for all of them.
    """
    twice, wal, message = figures["written_twice"], figures["inbox_wal_bytes"], figures["record_bytes"]
    bulk = Part(
        "bulk",
        "backlog",
        "bulk",
        cpu_us=figures["bulk_us"],
        kept_bytes=figures["bulk_part_bytes"] + figures["bulk_state_bytes"],
        basis=_basis(figures, "bulk_us"),
    )
    load = Part(
        "load",
        "backlog",
        "gateway",
        cpu_us=figures["load_gateway_us"] * stores,
        database_us=figures["load_database_us"] * stores,
        database_bytes=figures["province_bytes"] * stores,
        database_written=figures["province_bytes"] * twice * stores,
        basis=_basis(figures, "load_gateway_us", "load_database_us"),
    )
    door = Part(
        "door",
        "day",
        "door",
        cpu_us=figures["door_us"],
        database_us=figures["door_database_us"],
        database_written=wal,
        basis=_basis(figures, "door_us", "door_database_us"),
    )
    loads = (load,) if stores else ()
    return (bulk, *loads, door, *(_role(figures, name, message * legs) for name, legs in _ROLES.items()))


_ROLES = {"province": 1, "ministry": 1, "home": 0}
"""Role -> legs over the broker that begin there."""


def _role(figures: Figures, name: str, broker_written: float) -> Part:
    kept = figures[f"{name}_bytes"]
    inbox = 0.0 if name == "province" else figures["inbox_wal_bytes"]  # the province's is written by its door
    return Part(
        name,
        "day",
        "gateway",
        cpu_us=figures[f"{name}_us"],
        database_us=figures["way_database_us"],
        broker_us=figures["way_broker_us"] if broker_written else 0.0,
        database_bytes=kept,
        database_written=kept * figures["written_twice"] + inbox,
        broker_written=broker_written,
        basis=_basis(figures, f"{name}_us", "way_database_us"),
    )


def _basis(figures: Figures, *names: str) -> Basis:
    return weakest(figures.figure(name) for name in names)
