"""Bodies that letters keep by reference: where their files lie, and payloads too long to be held."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection

from connectors.contracts import WorkItem
from connectors.folders import from_name
from dlq.letter import BodyRef
from dlq.reasons import Reason
from dlq.rows import chunks
from dlq.sealing import Sealer
from pipelines.keptsettings import kept_exchange, newest_run
from pipelines.settings import Exchange

_LENGTH = re.compile(r"(\d+) bytes$")


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
    run = newest_run(connection, exchange)
    return locator(kept_exchange(connection, sealer, run) if run is not None else None)


def too_long(
    item: WorkItem, offset: int, reasons: Sequence[Reason], locate: Callable[[str], Path]
) -> tuple[BodyRef, tuple[str, int]] | None:
    """Reference, SHA-256 and size of a line that its source only measured, because it is longer than a payload may be.

    None for other letters, and inside archives, whose offsets name no bytes of the file.

    Raises:
        BodyGone: the file is not there any more.
    """
    if item.extra.get("packed") or item.extra.get("format") not in ("ndjson", "lines"):
        return None
    found = next((_LENGTH.search(r.value) for r in reasons if r.code == "PAYLOAD_TOO_LARGE"), None)
    if found is None:
        return None
    ref = BodyRef(item.source, offset, int(found[1]))
    whole = sha256()
    for chunk in chunks(locate(item.source), ref):
        whole.update(chunk)
    return ref, (whole.hexdigest(), ref.length)
