"""What our ledger says of the deliveries to one destination since a moment, ready to be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from pipelines import tables
from pipelines.journal import ADDRESSED, Journal
from pipelines.reconciling.report import Place

Key = tuple[int, int]
"""Halves of a record's key digest."""
STANDS = ("delivered", "merged")


class Sent(NamedTuple):
    """A delivery of the range."""

    place: Place
    source: str
    content: int
    outcome: str
    """`delivered`, `merged`, `duplicate`, `waiting`, `dead`, `filtered`."""


@dataclass
class Book:
    """One destination."""

    sent: dict[Key, list[Sent]] = field(default_factory=dict)
    """Deliveries of closed batches of the range, by key, in order of intake."""
    later: dict[Key, set[int]] = field(default_factory=dict)
    """Contents of deliveries since the range, and of those on their way: the other side may hold them too."""
    batches: list[str] = field(default_factory=list)
    """Batches of the range that addressed it."""


def read_books(connection: Connection, exchange: str, since: datetime, until: datetime) -> dict[str, Book]:
    """Destination -> its book, of the batches that were received in [since, until)."""
    books: dict[str, Book] = {}
    for row, journal, item, source in _journals(connection, exchange, since):
        asked = row.state == "closed" and datetime.fromisoformat(row.received_at) < until
        for destination, line, outcome in _deliveries(journal):
            book = books.setdefault(destination, Book())
            key, content = (int(line["key_hi"]), int(line["key_lo"])), int(line["content"])
            if not asked:
                book.later.setdefault(key, set()).add(content)
                continue
            if not book.batches or book.batches[-1] != row.id:
                book.batches.append(row.id)
            place = Place(row.id, item, int(line["ordinal"]), destination)
            sent = Sent(place, f"{source}@{int(line['offset'])}", content, outcome)
            book.sent.setdefault(key, []).append(sent)
    return books


def sent_ever(connection: Connection, exchange: str, destination: str, keys: Collection[Key]) -> dict[Key, set[int]]:
    """Contents that were ever sent to a destination under some keys; keys of which none was are not in the answer."""
    found: dict[Key, set[int]] = {}
    if not keys:
        return found
    wanted = np.array(sorted({high for high, _ in keys}), np.uint64)
    for _, journal, _, _ in _journals(connection, exchange, None):
        if not np.isin(journal.lines["key_hi"], wanted).any():
            continue
        for name, line, _ in _deliveries(journal):
            key = int(line["key_hi"]), int(line["key_lo"])
            if name == destination and key in keys:
                found.setdefault(key, set()).add(int(line["content"]))
    return found


def _journals(connection: Connection, exchange: str, since: datetime | None) -> Iterator[tuple[Any, Journal, int, str]]:
    """Batch, journal, item and source of what was decided since a moment, in order of intake."""
    j, b = tables.journals, tables.batches
    statement = (
        select(b.c.id, b.c.state, b.c.received_at, j.c.item, j.c.source, j.c.lines)
        .join(j, j.c.batch == b.c.id)
        .where(b.c.exchange == exchange)
        .order_by(b.c.number, j.c.item)
        .execution_options(yield_per=8)
    )
    for row in connection.execute(statement):
        # Moments may be written in any zone: they are compared as moments, not as texts.
        if since is None or datetime.fromisoformat(row.received_at) >= since:
            yield row, Journal.unpack(row.lines), row.item, row.source


def _deliveries(journal: Journal) -> Iterator[tuple[str, Any, str]]:
    """Destination, line and outcome of each delivery of a journal."""
    for line in journal.lines[journal.lines["fate"] == ADDRESSED]:
        told: Mapping[str, str] = journal.outcomes.get(str(int(line["ordinal"])), {})
        for destination in journal.routes[int(line["routes"])]:
            yield destination, line, told.get(destination, "delivered")
