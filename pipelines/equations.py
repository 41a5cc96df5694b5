"""The equations of a batch, and its counts recomputed from its journals, its parts and what waits."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Row, Select, func, select

from dlq.errors import SealError
from dlq.sealing import Sealer
from pipelines import accounts, tables
from pipelines.accounts import ENDS
from pipelines.itemproof import check_items
from pipelines.journal import ADDRESSED, Journal
from pipelines.problems import Problem
from pipelines.sealedrows import open_piece, open_waiting

_UNREADABLE = (ValueError, LookupError, TypeError, zlib.error)


_MOST_BATCHES, _MOST_ENVELOPES = 500, 100_000


def portions(batches: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Rows of `batches` in portions whose journals fit into memory; a row needs `received` only."""
    begin = envelopes = 0
    for at, row in enumerate(batches):
        envelopes += row.received
        if at + 1 - begin == _MOST_BATCHES or envelopes >= _MOST_ENVELOPES:
            yield batches[begin : at + 1]
            begin, envelopes = at + 1, 0
    if begin < len(batches):
        yield batches[begin:]


class Stored(NamedTuple):
    """What the state holds of a batch, read in one transaction."""

    row: Any
    destinations: Mapping[str, Any]
    parts: Mapping[str, tuple[int, int]]
    """Destination -> records in parts that are promoted, and in parts that are not."""
    journals: Sequence[tuple[int, bytes]]
    """Item and its packed journal."""
    waiting: Mapping[tuple[str, bool], int]
    """Destination and whether it is being tried -> rows that wait."""
    pieces: int
    """Pieces of orders."""
    remembered: Sequence[Any]
    """Rows of items."""


def check_batches(connection: Connection, batches: Sequence[str]) -> dict[str, list[Problem]]:
    """Everything about some batches that the state alone can tell: batch -> what is wrong with it.

    One query for each kind of what is stored, however many batches there are.
    """
    found: dict[str, list[Problem]] = {}
    for one in _stored(connection, batches):
        books: dict[int, Journal] = {}
        told = [*_equations(one), *_journals(one, books)]
        if len(books) == len(orjson.loads(one.row._mapping["items"])):  # else it was said already
            told += check_items(connection, one.row, one.remembered, books)
        found[one.row.id] = [*told, *_waiting(one)]
    return found


def _stored(connection: Connection, batches: Sequence[str]) -> Iterator[Stored]:
    b, d, p, j = tables.batches, tables.batch_destinations, tables.parts, tables.journals
    w, f = tables.waiting, tables.fragments
    rows = {row.id: row for row in connection.execute(select(b).where(b.c.id.in_(batches)))}
    destinations = _by_batch(connection, select(d).where(d.c.batch.in_(batches)).order_by(d.c.destination))
    parts = _by_batch(
        connection,
        select(p.c.batch, p.c.destination, p.c.promoted, func.sum(p.c.count).label("records"))
        .where(p.c.batch.in_(batches))
        .group_by(p.c.batch, p.c.destination, p.c.promoted),
    )
    journals = _by_batch(
        connection, select(j.c.batch, j.c.item, j.c.lines).where(j.c.batch.in_(batches)).order_by(j.c.item)
    )
    waiting = _by_batch(
        connection,
        select(w.c.batch, w.c.destination, w.c.trying, func.count().label("rows"))
        .where(w.c.batch.in_(batches))
        .group_by(w.c.batch, w.c.destination, w.c.trying),
    )
    pieces = _by_batch(
        connection, select(f.c.batch, func.count().label("rows")).where(f.c.batch.in_(batches)).group_by(f.c.batch)
    )
    remembered = _by_batch(connection, select(tables.items).where(tables.items.c.batch.in_(batches)))
    for batch in batches:
        waits: Counter[tuple[str, bool]] = Counter()
        for one in waiting.get(batch, ()):
            waits[one.destination, bool(one.trying)] += one.rows
        yield Stored(
            rows[batch],
            {one.destination: one for one in destinations.get(batch, ())},
            _parts(parts.get(batch, ())),
            [(one.item, one.lines) for one in journals.get(batch, ())],
            waits,
            sum(one.rows for one in pieces.get(batch, ())),
            remembered.get(batch, ()),
        )


def _by_batch(connection: Connection, statement: Select[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.batch, []).append(row)
    return found


def _parts(rows: Iterable[Any]) -> dict[str, tuple[int, int]]:
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row.destination, [0, 0])[0 if row.promoted else 1] = int(row.records)
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


def _journals(stored: Stored, books: dict[int, Journal]) -> Iterator[Problem]:
    """Counts that the journals give, which are put into `books`."""
    row = stored.row
    if row.kind == "known":  # envelopes known by their source key are counted, not journalled
        return
    for item, packed in stored.journals:
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


def _waiting(stored: Stored) -> Iterator[Problem]:
    """Rows that wait, against the counts."""
    row, rows = stored.row, stored.waiting
    unplaced = rows.get(("", False), 0) + rows.get(("", True), 0)
    if unplaced != row.unplaced:
        yield Problem("waiting", row.id, "", row.unplaced, unplaced, detail="unplaced")
    for destination, here in stored.destinations.items():
        if destination in stored.parts:
            continue
        if rows.get((destination, False), 0) != here.waiting:
            yield Problem(
                "waiting", row.id, destination, here.waiting, rows.get((destination, False), 0), detail="waiting"
            )
        if row.state != "decided" and rows.get((destination, True), 0) != here.in_flight:
            yield Problem(
                "waiting", row.id, destination, here.in_flight, rows.get((destination, True), 0), detail="in_flight"
            )
    if stored.pieces != row.fragments:
        yield Problem("waiting", row.id, "", row.fragments, stored.pieces, detail="fragments")


def check_kept(connection: Connection, sealer: Sealer, batches: Sequence[str]) -> list[Problem]:
    """Whether everything of some batches that waits can still be opened: a changed one could never be sent."""
    w, f = tables.waiting, tables.fragments
    rows = connection.execute(select(w).where(w.c.batch.in_(batches)))
    pieces = connection.execute(select(f).where(f.c.batch.in_(batches), f.c.assembled == 0))
    return [
        *(_changed(row, row.destination) for row in rows if not _opens(open_waiting, sealer, row)),
        *(_changed(row, "") for row in pieces if not _opens(open_piece, sealer, row)),
    ]


def _changed(row: Row[Any], destination: str) -> Problem:
    return Problem("waiting", row.batch, destination, "sealed", "changed", row.id, "unreadable")


def _opens(opened: Callable[[Sealer, Row[Any]], bytes], sealer: Sealer, row: Row[Any]) -> bool:
    try:
        opened(sealer, row)
    except (SealError, TypeError):
        return False
    return True
