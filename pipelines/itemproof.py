"""What the state remembers of items that were read, against the batches that read them.

A row of `items` makes an item known: a wrong one would let bytes be read twice, or never.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from pipelines import tables
from pipelines.journal import Journal
from pipelines.knownitems import RESTORED, sender, stop, unpacked_items
from pipelines.problems import Problem

_UNREMEMBERED = ("known", "inbox", RESTORED)
"""Kinds of batches of which no item is remembered: an earlier batch's are, the inbox knows its envelopes by key, or
nobody knows any more what was read."""

_Name = tuple[str, str, str, int]


class _Wanted(NamedTuple):
    """The columns of an item's row besides its name, and where it lies."""

    stop: int
    envelopes: int
    run: int
    place: str


def check_items(
    connection: Connection, row: Any, remembered: Sequence[Any], books: Mapping[int, Journal]
) -> Iterator[Problem]:
    """The rows of a batch (`row`, with its journals) that are missing, changed or too many among those remembered.

    Bytes that a later batch read again, in other ranges, are that batch's.
    """
    if row.kind in _UNREMEMBERED:
        return
    found = {_name(one): one for one in remembered}
    for name, wanted in _wanted(row, books).items():
        here = found.pop(name, None)
        if here is None:
            if not _read_again(connection, name, row.number):
                yield Problem("items", row.id, "", 1, 0, wanted.place, "missing")
            continue
        for column in ("stop", "envelopes", "run"):
            if getattr(here, column) != getattr(wanted, column):
                values = getattr(wanted, column), getattr(here, column)
                yield Problem("items", row.id, "", *values, wanted.place, column)
    for _, whose, digest, start in found:
        yield Problem("items", row.id, "", 0, 1, f"{whose} {digest[:12]}@{start}", "extra")


def stray_items(connection: Connection, exchanges: Sequence[str] | None) -> Iterator[tuple[str, Problem]]:
    """Rows of batches that are not, with their exchange."""
    t = tables.items
    strays = select(t).where(t.c.batch.not_in(select(tables.batches.c.id)))
    for one in connection.execute(strays.order_by(t.c.exchange, t.c.sender, t.c.digest, t.c.start)):
        if exchanges is None or one.exchange in exchanges:
            place = f"{one.sender} {one.digest[:12]}@{one.start}"
            yield one.exchange, Problem("items", one.batch, "", 0, 1, place, "extra")


def _wanted(row: Any, books: Mapping[int, Journal]) -> dict[_Name, _Wanted]:
    wanted = {}
    for number, item in enumerate(unpacked_items(row._mapping["items"])):
        name = row.exchange, sender(item), item.digest, item.offset
        wanted[name] = _Wanted(stop(item), len(books[number].lines), row.run, f"{item.source}@{item.offset}")
    return wanted


def _name(row: Any) -> _Name:
    return row.exchange, row.sender, row.digest, row.start


def _read_again(connection: Connection, name: _Name, number: int) -> bool:
    """Whether a later batch remembers the item."""
    t, b = tables.items, tables.batches
    exchange, sender, digest, start = name
    where = (t.c.exchange == exchange) & (t.c.sender == sender) & (t.c.digest == digest) & (t.c.start == start)
    later = select(b.c.number).join(t, t.c.batch == b.c.id).where(where, b.c.number > number)
    return connection.execute(later).first() is not None
