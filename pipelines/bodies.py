"""Bodies that letters keep by reference: where their files lie, and payloads too long to be held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from connectors.contracts import WorkItem
from connectors.folders import from_name
from connectors.lines import Measure
from connectors.unpacking import Inside
from dlq.letter import BodyRef
from dlq.sealing import Sealer
from pipelines.keptsettings import newest_exchange
from pipelines.settings import Exchange


def locator(exchange: Exchange | None) -> Callable[[str], Path]:
    """Where the file of a body by reference lies: below its source's folder, or in its archive."""
    given = exchange.source.options if exchange is not None else {}
    several = given.get("of", {})

    def locate(name: str) -> Path:
        part, _, inner = name.partition("/")
        options, inside = (several[part], inner) if part in several else (given, name)
        root, relative = Path(str(options.get("path", ""))), from_name(inside)
        archive = Path(str(options.get("archive") or root / ".archive"))
        for candidate in (root / relative, archive / relative, root, Path(name)):
            if candidate.is_file():
                return candidate
        return Path(name)

    return locate


def locator_of(connection: Connection, sealer: Sealer, exchange: str) -> Callable[[str], Path]:
    """The same by the name of an exchange, whose newest settings are asked."""
    return locator(newest_exchange(connection, sealer, exchange))


def by_reference(item: WorkItem, offset: int, length: int) -> BodyRef:
    """Where a payload of a file lies, which may be packed."""
    return BodyRef(item.source, offset, length, _inside(item).text)


def too_long(item: WorkItem, offset: int, found: Measure) -> tuple[BodyRef, tuple[str, int]]:
    """Reference, SHA-256 and size of a payload that its source only measured, since it is longer than one may be."""
    inside = _inside(item)._replace(head=found.head)
    size = found.length + (found.head[1] if found.head else 0)
    return BodyRef(item.source, offset, found.length, inside.text), (found.sha256, size)


def _inside(item: WorkItem) -> Inside:
    told = item.extra
    return Inside(str(told.get("packed", "")), int(told.get("member", -1)), str(told.get("member_name", "")))
