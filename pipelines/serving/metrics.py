"""Metrics: counted with prometheus-client in each process, carried to the supervisor, shown by it on one page.

A child's families travel in its beats as plain JSON and are shown with the label `process`. Metrics that any module
counts in the default registry are carried too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from connectors.gates import gates
from pipelines.version import BUILD

Families = Sequence[Sequence[Any]]
"""Metric families as they travel: name, help, type, samples (name, labels, value)."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_WITHOUT = ("python_info", "python_gc_")

disable_created_metrics()

BATCHES = Counter("vingate_batches", "批次 / batches closed", ["exchange"])
RECORDS = Counter(
    "vingate_records",
    "记录去向：received 收到，decoded、dead、duplicate、filtered、unplaced、fragments / records by outcome, at intake",
    ["exchange", "outcome"],
)
STAGES = Histogram(
    "vingate_stage_seconds",
    "批次各阶段用时 / seconds a batch spends: work, decide, deliver, and all of it as batch",
    ["exchange", "stage"],
    buckets=_BUCKETS,
)
CYCLES = Counter("vingate_failures", "循环出错次数 / how often an exchange failed and began again", ["exchange"])
FEEDS = Gauge("vingate_feed_connected", "队列、轮询来源是否连接 / whether a feed is connected", ["exchange", "feed"])


PARTITIONS = Gauge(
    "vingate_partitions_held", "本网关持有的分区数，共享状态时 / partitions that this gateway has, where several share"
)
LEADS = Gauge(
    "vingate_leads", "本网关执行只应执行一次的工作 / whether this gateway does what must be done by one alone"
)
MEMBERS = Gauge("vingate_members", "共享此状态的网关数 / gateways that share the state")


DIFFERENCES = Gauge(
    "vingate_reconcile_differences",
    "最近一次对账的差异数 / records on which the last reconciliation found the two sides to differ",
    ["exchange"],
)
STATES = {"closed": 0, "half-open": 1, "open": 2}
"""How the state of a breaker is shown."""
DESTINATIONS = Gauge(
    "vingate_destination_breaker",
    "去向熔断：0 闭合 1 半开 2 断开 / breaker of a destination: 0 closed, 1 half open, 2 open",
    ["exchange", "destination"],
)


class _Peers:
    """What stands before the HTTP peers of this process."""

    def collect(self) -> Iterator[Metric]:
        """The state of each breaker, and for how long nothing goes out."""
        found = {gate.peer: gate for gate in gates()}
        states: dict[tuple[str, ...], float] = {(name,): STATES[gate.breaker] for name, gate in found.items()}
        pauses: dict[tuple[str, ...], float] = {(name,): gate.pause().seconds for name, gate in found.items()}
        yield gauge("vingate_breaker", "熔断：0 闭合 1 半开 2 断开 / 0 closed, 1 half open, 2 open", ["peer"], states)
        yield gauge("vingate_peer_pause_seconds", "暂停呼叫的秒数 / nothing goes out for so long", ["peer"], pauses)


def carried(registry: CollectorRegistry = REGISTRY) -> list[list[Any]]:
    """All families of a registry in the form in which they travel."""
    return [
        [family.name, family.documentation, family.type, [[one.name, one.labels, one.value] for one in family.samples]]
        for family in registry.collect()
        if not family.name.startswith(_WITHOUT)
    ]


class Source(Protocol):
    """Where the page gets more families from."""

    def __call__(self) -> Iterable[Metric]:
        """Families of this moment; must not raise."""


class Page:
    """The page of metrics: what the children carried here, what the supervisor knows, and the build."""

    def __init__(self) -> None:
        self._carried: dict[str, Families] = {}
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Show the families of a source too."""
        self._sources.append(source)

    def carry(self, process: str, families: Families) -> None:
        """Take a child's families in place of those that it sent before."""
        self._carried[process] = families

    def collect(self) -> Iterator[Metric]:
        """All families; one that several processes have is shown once, with all their samples."""
        build = GaugeMetricFamily("vingate_build_info", "版本 / the build that runs", labels=["version"])
        build.add_metric([BUILD], 1)
        found: dict[str, Metric] = {build.name: build}
        for process, families in sorted({**self._carried, "supervisor": carried()}.items()):
            for name, documentation, kind, samples in families:
                family = found.setdefault(name, Metric(name, documentation, kind))
                for sample, labels, value in samples:
                    family.add_sample(sample, {**labels, "process": process}, value)
        for source in self._sources:
            for family in source():
                found[family.name] = family
        yield from found.values()

    def text(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self)


def gauge(name: str, documentation: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A family of gauges, by the values of their labels."""
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


REGISTRY.register(_Peers())
