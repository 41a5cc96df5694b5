"""Which journals tell of a vehicle: on PostgreSQL by an index that grows with them, beside SQLite by reading them all.

A state of a province is some hundred MB of journals for ten million records, and a trace that reads them takes seconds
longer with every million. So each journal's vehicles stand in `vin_journals` there, 8 bytes of hash and where; written
in the commit that keeps the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from pipelines import tables
from pipelines.journal import Journal, digest_column
from pipelines.upserts import given_rows, inserting


class Told(NamedTuple):
    """A journal that may tell of the vehicle."""

    batch: str
    item: int
    packed: bytes


def keep(connection: Connection, number: int, item: int, book: Journal) -> None:
    """Note the vehicles of a journal, where the database has the index."""
    vins = _vins(book.lines["vin"]) if connection.dialect.name == "postgresql" else []
    if vins:
        connection.execute(_adding(), given_rows("postgresql", _COLUMNS, [(vin, number, item) for vin in vins]))


def told_of(connection: Connection, vin: int) -> Iterator[Told]:
    """The journals that may tell of a vehicle, by the hash of its VIN."""
    j, b, v = tables.journals, tables.batches, tables.vin_journals
    wanted = select(j.c.batch, j.c.item, j.c.lines)
    if connection.dialect.name == "postgresql":
        signed = vin - (1 << 64) if vin >> 63 else vin
        found = connection.execute(select(v.c.number, v.c.item).where(v.c.vin == signed)).all()
        for number, item in found:
            of = wanted.join(b, b.c.id == j.c.batch).where(b.c.number == number, j.c.item == item)
            yield Told(*connection.execute(of).one())
        return
    for row in connection.execute(wanted.execution_options(yield_per=8)):
        yield Told(*row)


def fill(source: Connection, target: Connection) -> None:
    """Make the index of journals that are there already: in the same database, or in one that they are copied to."""
    from connectors.copying import copy_rows  # late: states on SQLite need none of it

    j, b, v = tables.journals, tables.batches, tables.vin_journals
    wanted = select(b.c.number, j.c.item, j.c.lines).join(b, b.c.id == j.c.batch)
    rows = source.execute(wanted.execution_options(yield_per=100))
    for part in rows.partitions(100):
        found = [(vin, number, item) for number, item, packed in part for vin in _vins(digest_column(packed, "vin"))]
        copy_rows(target, v, list(v.columns), found)


def _vins(column: NDArray[np.uint64]) -> list[int]:
    """The distinct hashes of a journal, as the database's signed numbers."""
    found: list[int] = np.unique(column[column != 0]).view(np.int64).tolist()
    return found


@cache
def _adding() -> Any:
    return inserting("postgresql", tables.vin_journals, _COLUMNS)


_COLUMNS = ("vin", "number", "item")
