"""The equations of a batch, and its counts recomputed from its journals, its parts and what waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import orjson
from isal import isal_zlib
from sqlalchemy import Connection, func, select

from dlq.errors import SealError
from dlq.sealing import Sealer
from pipelines import accounts, tables
from pipelines.accounts import ENDS
from pipelines.itemproof import check_items
from pipelines.journal import ADDRESSED, Journal
from pipelines.problems import Problem

_UNREADABLE = (ValueError, LookupError, TypeError, cast("type[Exception]", isal_zlib.error))


class Stored(NamedTuple):
    """What the state holds of a batch, read in one transaction."""

    row: Any
    destinations: Mapping[str, Any]
    parts: Mapping[str, tuple[int, int]]
    """Destination -> records in parts that are promoted, and in parts that are not."""


def check_batch(connection: Connection, batch: str) -> list[Problem]:
    """Everything about a batch that the state alone can tell: empty when all is well."""
    b, d = tables.batches, tables.batch_destinations
    row = connection.execute(select(b).where(b.c.id == batch)).one()
    rows = connection.execute(select(d).where(d.c.batch == batch).order_by(d.c.destination))
    stored = Stored(row, {r.destination: r for r in rows}, _parts(connection, batch))
    books: dict[int, Journal] = {}
    found = [*_equations(stored)]
    found += _journals(connection, stored, books)
    if len(books) == len(orjson.loads(row._mapping["items"])):  # else it was said already
        found += check_items(connection, row, books)
    found += _waiting(connection, stored)
    return found


def _parts(connection: Connection, batch: str) -> dict[str, tuple[int, int]]:
    p = tables.parts
    found: dict[str, list[int]] = {}
    for destination, promoted, count in connection.execute(
        select(p.c.destination, p.c.promoted, func.sum(p.c.count))
        .where(p.c.batch == batch)
        .group_by(p.c.destination, p.c.promoted)
    ):
        found.setdefault(destination, [0, 0])[0 if promoted else 1] = int(count)
    return {destination: (done, left) for destination, (done, left) in found.items()}


def _equations(stored: Stored) -> Iterator[Problem]:
    row = stored.row
    intake = ("decoded", "dead_intake", "duplicate_intake", "fragments")
    records = ("addressed", "dead_records", "duplicate_records", "filtered", "unplaced")
    for name, parts in (("received", intake), ("decoded", records)):
        total = sum(getattr(row, part) for part in parts)
        if total != getattr(row, name):
            yield Problem("equation", row.id, "", total, getattr(row, name), detail=f"{name} = {' + '.join(parts)}")
    for destination, here in stored.destinations.items():
        total = sum(getattr(here, end) for end in ENDS)
        if total != here.addressed:
            detail = f"addressed = {' + '.join(ENDS)}"
            yield Problem("equation", row.id, destination, total, here.addressed, detail=detail)
        if here.stands != here.delivered + here.merged:
            total = here.delivered + here.merged
            yield Problem("equation", row.id, destination, total, here.stands, detail="stands = delivered + merged")
        if row.state == "closed" and here.in_flight:
            yield Problem("equation", row.id, destination, 0, here.in_flight, detail="in_flight = 0")


def _journals(connection: Connection, stored: Stored, books: dict[int, Journal]) -> Iterator[Problem]:
    """Counts that the journals give; `books` is filled."""
    row, t = stored.row, tables.journals
    if row.kind == "known":  # envelopes known by their source key are counted, not journalled
        return
    for item, packed in connection.execute(select(t.c.item, t.c.lines).where(t.c.batch == row.id).order_by(t.c.item)):
        try:
            books[item] = Journal.unpack(packed)
            books[item].counts()
        except _UNREADABLE as error:
            yield Problem("journal", row.id, "", "readable", type(error).__name__, f"item {item}", "unreadable")
            return
    items = len(orjson.loads(row._mapping["items"]))
    if len(books) != items:
        yield Problem("journal", row.id, "", items, len(books), detail="items")
        return
    try:
        counts = accounts.intake(books)
        addressed, outcomes = _addressed(books)
    except _UNREADABLE as error:
        yield Problem("journal", row.id, "", "readable", type(error).__name__, detail="unreadable")
        return
    for name, number in counts.items():
        if number != getattr(row, name):
            yield Problem("journal", row.id, "", number, getattr(row, name), detail=name)
    for destination in sorted({*stored.destinations, *stored.parts, *addressed}):
        yield from _destination(stored, destination, addressed.get(destination), outcomes.get(destination, Counter()))


def _addressed(books: Mapping[int, Journal]) -> tuple[Counter[str], dict[str, Counter[str]]]:
    """Records addressed to each destination, and what became of those that were not simply delivered."""
    addressed: Counter[str] = Counter()
    outcomes: dict[str, Counter[str]] = {}
    for book in books.values():
        addressed.update(book.addressed())
        for ordinal, told in book.outcomes.items():
            line = book.lines[int(ordinal)]
            routes = book.routes[int(line["routes"])] if line["fate"] == ADDRESSED else ()
            for destination, status in told.items():
                if destination in routes:
                    outcomes.setdefault(destination, Counter())[status] += 1
    return addressed, outcomes


def _destination(
    stored: Stored, destination: str, addressed: int | None, outcomes: Mapping[str, int]
) -> Iterator[Problem]:
    row, here = stored.row, stored.destinations.get(destination)
    if here is None:
        yield Problem("journal", row.id, destination, addressed or "parts", 0, detail="addressed")
        return
    if destination in stored.parts:
        done, left = stored.parts[destination]
        total = done + left if addressed is None else addressed
        under_way = "in_flight" if row.state == "decided" else "waiting"
        wanted = {"addressed": total, "delivered": done, under_way: left}
    elif row.state == "decided":
        wanted = {"addressed": addressed or 0, "in_flight": addressed or 0}
    else:
        usual = (addressed or 0) - sum(outcomes.values())
        wanted = {"addressed": addressed or 0, "delivered": usual, **outcomes}
    for name in ("addressed", *ENDS):
        found = getattr(here, name)
        if name == "waiting" and row.state == "settling":
            found += here.in_flight
        elif name == "in_flight" and row.state == "settling":
            continue
        if found != wanted.get(name, 0):
            yield Problem("journal", row.id, destination, wanted.get(name, 0), found, detail=name)


def _waiting(connection: Connection, stored: Stored) -> Iterator[Problem]:
    """Rows that wait, against the counts."""
    row, w, f = stored.row, tables.waiting, tables.fragments
    rows: Counter[tuple[str, bool]] = Counter()
    for destination, trying, count in connection.execute(
        select(w.c.destination, w.c.trying, func.count())
        .where(w.c.batch == row.id)
        .group_by(w.c.destination, w.c.trying)
    ):
        rows[destination, bool(trying)] += count
    unplaced = rows[("", False)] + rows[("", True)]
    if unplaced != row.unplaced:
        yield Problem("waiting", row.id, "", row.unplaced, unplaced, detail="unplaced")
    for destination, here in stored.destinations.items():
        if destination in stored.parts:
            continue
        if rows[destination, False] != here.waiting:
            yield Problem("waiting", row.id, destination, here.waiting, rows[destination, False], detail="waiting")
        if row.state != "decided" and rows[destination, True] != here.in_flight:
            yield Problem("waiting", row.id, destination, here.in_flight, rows[destination, True], detail="in_flight")
    pieces = connection.execute(select(func.count()).select_from(f).where(f.c.batch == row.id)).scalar_one()
    if pieces != row.fragments:
        yield Problem("waiting", row.id, "", row.fragments, pieces, detail="fragments")


def check_kept(connection: Connection, sealer: Sealer, batch: str) -> list[Problem]:
    """Whether everything of a batch that waits can still be opened: a changed one could never be sent."""
    w, f = tables.waiting, tables.fragments
    found: list[Problem] = []
    for name, destination, sealed in connection.execute(
        select(w.c.id, w.c.destination, w.c.record).where(w.c.batch == batch)
    ):
        if not _opens(sealer, sealed, name):
            found.append(Problem("waiting", batch, destination, "sealed", "changed", name, "unreadable"))
    for name, sealed in connection.execute(select(f.c.id, f.c.body).where(f.c.batch == batch, f.c.assembled == 0)):
        if not _opens(sealer, sealed, name):
            found.append(Problem("waiting", batch, "", "sealed", "changed", name, "unreadable"))
    return found


def _opens(sealer: Sealer, sealed: bytes, name: str) -> bool:
    try:
        sealer.unseal(sealed, name.encode())
    except (SealError, TypeError):
        return False
    return True
