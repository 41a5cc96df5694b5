"""From a load to machines: how much of what each part takes, how many machines that is, and what gives way first.

Two phases are planned, each for itself, since the backlog comes before the days: its machines can be those of the days
afterwards. All use is linear in the records a second; what the machines are has no bearing on what is needed, only
on how many of them carry it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil

from pipelines.sizing.figures import FIGURES, Basis, Figures
from pipelines.sizing.parts import Flow, Machine, Part, parts
from pipelines.sizing.throughput import bulk_share

__all__ = ["Kind", "Load", "Phase", "Plan", "Resource", "plan"]

_HOUR, _DAY = 3_600, 86_400
_SERVERS = ("database", "broker")
"""What they write to their disks nobody measured."""
_TINY = 1e-9
"""Rounding of floats must not cost a machine."""


@dataclass(frozen=True)
class Load:
    """What the network has to carry."""

    records_per_day: int = 0
    peak: float = 1.0
    """How many times the mean rate of a day its busiest moment has."""
    backlog: int = 0
    """Records that are there already."""
    hours: float = 24.0
    """In which the backlog has to be done."""
    stores: int = 1
    """Into how many stores each record of the backlog is loaded: none (files only), one, another one too."""


@dataclass(frozen=True)
class Resource:
    """One thing of one kind of machine that can run short."""

    kind: str
    """Of machine: bulk, gateway, door, database, broker."""
    name: str
    """time (cores, or processes that have one each) or disk (writing)."""
    demand: float
    """Cores busy, or MB written a second, at the busiest moment, in all."""
    capacity: float
    """Of one machine, in the same unit."""
    machines: int
    basis: Basis

    @property
    def use(self) -> float:
        """The share of what all machines of the kind have that is used."""
        return self.demand / (self.machines * self.capacity) if self.machines else 0.0

    @property
    def headroom(self) -> float:
        """The share that is left."""
        return 1 - self.use


@dataclass(frozen=True)
class Kind:
    """So many machines for one thing."""

    name: str
    machines: int
    resources: tuple[Resource, ...]


@dataclass(frozen=True)
class Phase:
    """The backlog, or the busiest moment of a day."""

    flow: Flow
    records: int
    """Of the backlog, or of one day."""
    rate: float
    """Records a second at the busiest moment."""
    kinds: tuple[Kind, ...]
    cpu_s: float
    """Processor seconds of all machines for all its records, on the machine that was measured."""
    kept_bytes: float
    """What its records leave on the disks of bulk machines, in all."""
    database_bytes: float
    """What they leave in databases, in all."""

    @property
    def machines(self) -> int:
        """Of all kinds."""
        return sum(kind.machines for kind in self.kinds)

    @property
    def bottleneck(self) -> Resource | None:
        """What gives way first when more comes: the resource with the least headroom; None where nothing is to do."""
        used = [resource for kind in self.kinds for resource in kind.resources if resource.demand]
        return max(used, key=lambda one: one.use, default=None)

    @property
    def one_machine(self) -> float:
        """How many machines would do if each carried a share of everything: below the target, one is enough."""
        by_name: dict[str, float] = {}
        for kind in self.kinds:
            for one in kind.resources:
                by_name[one.name] = by_name.get(one.name, 0.0) + one.demand / one.capacity
        return max(by_name.values(), default=0.0)


@dataclass(frozen=True)
class Plan:
    """What a load needs."""

    load: Load
    machine: Machine
    target_use: float
    phases: tuple[Phase, ...]
    """The backlog, then a day; a phase without records has no machines."""


def plan(load: Load, machine: Machine | None = None, figures: Figures = FIGURES) -> Plan:
    """Work out what a load needs.

    Args:
        load: what is to be carried.
        machine: of what machines the plan is made; None for ones like that which was measured.
        figures: what was measured.
    """
    one = machine or Machine(figures.cores, 1.0, figures["disk_mb_s"])
    backlog = load.backlog / (load.hours * _HOUR)
    day = load.records_per_day * load.peak / _DAY
    phases = (
        _phase("backlog", load.backlog, backlog, load.stores, one, figures),
        _phase("day", load.records_per_day, day, load.stores, one, figures),
    )
    return Plan(load, one, figures["target_use"], phases)


def _phase(flow: Flow, records: int, rate: float, stores: int, machine: Machine, figures: Figures) -> Phase:
    passed = [part for part in parts(figures, stores) if part.flow == flow]
    return Phase(
        flow=flow,
        records=records,
        rate=rate,
        kinds=tuple(_kinds(passed, rate, machine, figures)) if records else (),
        cpu_s=records * _sum(passed, lambda part: part.cpu_us + part.database_us + part.broker_us) / 1e6,
        kept_bytes=records * _sum(passed, lambda part: part.kept_bytes),
        database_bytes=records * _sum(passed, lambda part: part.database_bytes),
    )


def _kinds(passed: list[Part], rate: float, machine: Machine, figures: Figures) -> Iterable[Kind]:
    """Kinds of machines with work in a phase: those that parts run on, then database and broker."""
    scale = rate / (1e6 * machine.speed)
    for name in dict.fromkeys(part.kind for part in passed):
        own = [part for part in passed if part.kind == name]
        share = bulk_share(figures, machine.cores) * machine.cores if name == "bulk" else 1.0
        time = scale * _sum(own, lambda part: part.busy_us) * share
        written = rate * _sum(own, lambda part: part.kept_bytes) / 1e6
        yield _kind(name, time, written, machine, figures)
    for name, busy, wrote in (
        ("database", _sum(passed, lambda part: part.database_us), _sum(passed, lambda part: part.database_written)),
        ("broker", _sum(passed, lambda part: part.broker_us), _sum(passed, lambda part: part.broker_written)),
    ):
        if busy:
            yield _kind(name, scale * busy, rate * wrote / 1e6, machine, figures)


def _kind(name: str, time: float, written: float, machine: Machine, figures: Figures) -> Kind:
    """A kind with as many machines as keep each of its resources below the target."""
    extrapolated = machine.cores > figures.cores
    demands: list[tuple[str, float, float, Basis]] = []
    demands.append(("time", time, float(machine.cores), "modelled" if extrapolated else "derived"))
    if written:
        demands.append(("disk", written, machine.disk_mb_s, "modelled" if name in _SERVERS else "derived"))
    target = figures["target_use"]
    machines = max(1, *(ceil(demand / (capacity * target) - _TINY) for _, demand, capacity, _ in demands))
    return Kind(name, machines, tuple(Resource(name, what, d, c, machines, told) for what, d, c, told in demands))


def _sum(passed: Iterable[Part], what: Callable[[Part], float]) -> float:
    return sum(map(what, passed))
