"""`vingate check ROLE`: every exchange of a role, its feeds and sinks asked whether they can be used, and declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from connectors import registry
from connectors.contracts import ConnectorError
from pipelines.agreecheck import examples, over
from pipelines.serving.approvals import asked_examples
from pipelines.serving.roles import Role, Work
from pipelines.serving.shared import explained
from pipelines.settings import Exchange, replaced
from pipelines.usable import built, usable
from pipelines.workbench import make_source


class Said(NamedTuple):
    """What one part of a role says."""

    exchange: str
    part: str
    """`source`, `feeds.NAME`, `sinks.NAME`, `routing.dealers`, `agreements`."""
    lines: list[str]
    problem: str = ""
    """Why it cannot be used, and the remedy; empty: it can."""
    warns: bool = False
    """Whether the lines are warnings: it can be used, and somebody should act."""


def check_role(role: Role, folder: Path, *, declare: bool) -> Iterator[Said]:
    """Ask every part; with `declare` also make what is missing: queues, tables, a register in the state's folder.

    Raises:
        PipelineError, ConnectorError, MappingError, ProfileError, RoutingError: settings that can never work.
    """
    if role.state.share:
        yield Said("", "state.share", explained(role))
    for name, work in role.exchanges.items():
        settings = work.settings.placed(folder)
        if declare:
            yield from _register(name, settings, folder)
        usable(settings)
        yield from (Said(name, "agreements", [], wrong) for wrong in over(settings, datetime.now(UTC)))
        for wrong in examples(settings):
            yield _example(name, "agreements", wrong, demanded=role.audit.demanded)
        for part, make in _parts(work, folder):
            yield _asked(name, part, make, declare=declare)
        yield from _sinks(name, work, folder, declare=declare)
    for wrong in asked_examples(role):
        yield _example("", "door.closures", wrong, demanded=role.audit.demanded)


def _example(exchange: str, part: str, wrong: str, *, demanded: bool) -> Said:
    return Said(exchange, part, [], wrong) if demanded else Said(exchange, part, [wrong], warns=True)


def _register(name: str, exchange: Exchange, folder: Path) -> Iterator[Said]:
    """The dealer register that an exchange names, made without entries where it lies in the state's folder."""
    register = Path(exchange.routing.dealers)
    if exchange.routing.dealers and register.is_relative_to(folder) and not register.exists():
        register.parent.mkdir(parents=True, exist_ok=True)
        register.touch()
        yield Said(
            name, "routing.dealers", [f"已建立空名录，请填写 / an empty register was made, to be filled: {register}"]
        )


def _parts(work: Work, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    exchange = work.settings.placed(folder)
    path = exchange.source.options.get("path")
    if (work.every or work.cron) and (path is None or Path(str(path)).exists()):  # else the start makes it
        yield "source", lambda: make_source(exchange)
    for name, feed in work.feeds.items():
        options = replaced(feed.options, "{state}", folder.as_posix())
        yield f"feeds.{name}", partial(registry.feed, feed.connector, options)


def _sinks(name: str, work: Work, folder: Path, *, declare: bool) -> Iterator[Said]:
    exchange = work.settings.placed(folder)
    for sink, given in exchange.sinks.items():
        place, part = str(given.options.get("url") or given.options.get("path") or ""), f"sinks.{sink}"
        store = Path(place.removeprefix("sqlite:///").partition("?")[0])
        ours = place.startswith("sqlite:///") and store.is_relative_to(folder.absolute()) and not store.exists()
        if "{destination}" in place:
            continue  # the first record makes it
        if ours and not declare:
            yield Said(name, part, [f"{place} 将在首次运行时创建 / will be made by the first run"])
            continue
        if ours:
            store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield _asked(name, part, partial(built, given, exchange.mapping.kinds), declare=declare)


def _asked(exchange: str, part: str, make: Callable[[], Any], *, declare: bool) -> Said:
    lines: list[str] = []
    try:
        made = make()
        try:
            if declare:
                lines += _declared(made)
            lines += made.check()
        finally:
            if hasattr(made, "close"):
                made.close()
    except ConnectorError as error:
        return Said(exchange, part, lines, str(error))
    return Said(exchange, part, list(dict.fromkeys(lines)))


def _declared(made: Any) -> list[str]:
    """Queues and tables, made where they are missing."""
    if hasattr(made, "create"):
        made.create()
    return list(made.declare()) if hasattr(made, "declare") else []
