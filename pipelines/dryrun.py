"""A dry run: the first envelopes of an exchange through the steps, without state, counting what would go where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from connectors.contracts import ConnectorError
from pipelines import journal, steps
from pipelines.agreecheck import agree, examples, needs_of, over
from pipelines.errors import SettingsError
from pipelines.runnable import runnable
from pipelines.settings import Exchange
from pipelines.usable import built
from pipelines.work import Dead, Job, Load, Task
from pipelines.workbench import Workbench, sink_name
from routing.errors import RoutingError

_PLACE = "{destination}"


@dataclass
class Preview:
    """What a dry run saw."""

    exchange: str
    source: list[str] = field(default_factory=list)
    """Sentences of the source's own check."""
    sinks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What a person must mend before the exchange runs."""
    warnings: list[str] = field(default_factory=list)
    """What a person must mend before it runs with real data."""
    received: int = 0
    dead: int = 0
    filtered: int = 0
    waiting: int = 0
    fragments: int = 0
    destinations: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    """Payloads by code: reasons of the dead, and flags of the others."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why records are filtered or wait."""


def look(exchange: Exchange, first: int, registrations: str = "") -> Preview:
    """Check the connectors of an exchange, then take its first envelopes through the steps.

    Args:
        exchange: the settings.
        first: most envelopes to look at.
        registrations: path of a snapshot of registrations; empty: none are asked.

    Raises:
        ConnectorError: the source cannot be planned or read.
        MappingError, ProfileError, RoutingError: mapping, profile or routing table cannot be used.
    """
    preview = Preview(exchange.name)
    job = Job(
        exchange=exchange.model_dump(mode="json", by_alias=True),
        batch="check",
        number=0,
        received_at=(exchange.received_at or datetime.now(UTC)).isoformat(),
        staging="",
        key="",
        registrations=registrations,
    )
    bench = Workbench(job)
    # What cannot be used must show even where no envelope waits.
    _ = bench.profile, bench.router, bench.quick_read
    _check_runner(exchange, preview)
    _check_agreements(exchange, preview)
    _check_connectors(bench, preview)
    if not preview.problems:
        for load, dead in _received(bench, first):
            _count(bench, preview, load, dead)
    for name in preview.destinations:
        if name not in (steps.REGISTRATIONS, steps.OPERATORS) and not sink_name(exchange, name):
            preview.problems.append(f"没有 sink 接收 {name} / no sink in [sinks] serves {name}")
    return preview


def _check_runner(exchange: Exchange, preview: Preview) -> None:
    try:
        runnable(exchange)
    except SettingsError as error:
        preview.problems.append(str(error))


def _check_agreements(exchange: Exchange, preview: Preview) -> None:
    """What may not leave; a sink that cannot be built is told by its own check."""
    made = {}
    for name, sink in exchange.sinks.items():
        with suppress(ConnectorError):
            made[name] = built(sink, exchange.mapping.kinds)
    files = frozenset(name for name, sink in made.items() if hasattr(sink, "promote"))
    try:
        agree(exchange, needs_of(exchange, made), files)
    except (SettingsError, RoutingError) as error:
        preview.problems.append(str(error))
    else:
        preview.problems += over(exchange, datetime.now(UTC))
        preview.warnings += examples(exchange)


def _check_connectors(bench: Workbench, preview: Preview) -> None:
    try:
        preview.source += bench.source.check()
    except ConnectorError as error:
        preview.problems.append(f"source: {error}")
    for name, sink in bench.exchange.sinks.items():
        options = sink.options
        place = str(options.get("path") or options.get("url") or "")
        try:
            made = built(sink, bench.exchange.mapping.kinds)
            if _PLACE in place or not _there(place):
                # Asking a sink that is not there yet would create it.
                preview.sinks.append(f"{name}: {place} 将在首次运行时创建 / will be made by the first run")
            else:
                preview.sinks += [f"{name}: {line}" for line in made.check()]
        except ConnectorError as error:
            preview.problems.append(f"{name}: {error}")


def _there(place: str) -> bool:
    """Whether a sink's folder or SQLite file exists; what is no path on this machine counts as there."""
    if place.startswith("sqlite"):
        place = place.partition("///")[2]
    elif "://" in place or not place:
        return True
    return Path(place).exists()


def _received(bench: Workbench, first: int) -> Iterator[tuple[Load, Dead | None]]:
    """Loads until so many envelopes were seen; the last one is cut."""
    left = first
    pattern = bench.exchange.versions.system
    for number, item in enumerate(bench.source.plan({})):
        if "{system}" in pattern:
            item = replace(item, system=pattern.replace("{system}", item.system))
        for load, dead in steps.receive(bench, Task(number, item)):
            if left <= 0:
                return
            yield _cut(load, left), dead
            left -= len(load.bodies) + (len(dead.ordinals) if dead else 0)


def _cut(load: Load, most: int) -> Load:
    return load._replace(ordinals=load.ordinals[:most], offsets=load.offsets[:most], bodies=load.bodies[:most])


def _count(bench: Workbench, preview: Preview, load: Load, dead: Dead | None) -> None:
    preview.received += len(load.bodies) + (len(dead.ordinals) if dead else 0)
    _bury(preview, dead)
    for step in (steps.decode, steps.judge, steps.address):
        load, dead = step(bench, load)
        _bury(preview, dead)
    for codes in load.flags.values():
        preview.findings.update(codes)
    for ordinal, names in zip(load.ordinals, load.destinations, strict=True):
        fate = load.fates.get(ordinal, journal.ADDRESSED)
        if fate == journal.ADDRESSED:
            preview.destinations.update(names)
        elif fate == journal.FRAGMENT:
            preview.fragments += 1
        else:
            preview.filtered += fate == journal.FILTERED
            preview.waiting += fate == journal.UNPLACED
            preview.reasons[load.notes.get(ordinal, "")] += 1


def _bury(preview: Preview, dead: Dead | None) -> None:
    if dead is None:
        return
    preview.dead += len(dead.ordinals)
    for found in dead.whys:
        preview.findings.update({why[0] for why in found})
