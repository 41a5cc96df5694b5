"""Staged records of decided batches; their segments in the database, where any gateway can finish them.

Segments stay as they were staged, sealed; they are cut into pieces, since a row is held in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, delete, insert, select

from pipelines import tables
from pipelines.segments import RECORD, StagedRow

PIECE_BYTES = 1 << 20


class Staged(NamedTuple):
    """One staged record: its place in the item, its bytes, and what they say."""

    ordinal: int
    body: bytes
    record: Mapping[str, Any]


def records_of(rows: Iterable[StagedRow]) -> Iterator[Staged]:
    """The records among the rows of a segment."""
    return (Staged(row.ordinal, row.body, orjson.loads(row.body)) for row in rows if row.kind == RECORD)


def keep_rows(connection: Connection, batch: str, paths: Mapping[int, Sequence[str]]) -> None:
    """Copy the segments of a batch, item -> their paths, in the transaction that decides it."""
    for item, segments in paths.items():
        for segment, path in enumerate(segments):
            with Path(path).open("rb") as file:
                for number, body in enumerate(iter(lambda: file.read(PIECE_BYTES), b"")):
                    place = {"batch": batch, "item": item, "segment": segment, "piece": number}
                    connection.execute(insert(tables.staged_rows), {**place, "body": body})


def kept_rows(connection: Connection, batch: str) -> Iterator[tuple[int, BytesIO]]:
    """The segments of a batch with the number of their item, in order."""
    t = tables.staged_rows
    named = select(t.c.item, t.c.segment).where(t.c.batch == batch).distinct().order_by(t.c.item, t.c.segment)
    for item, segment in connection.execute(named).all():
        bodies = select(t.c.body).where(t.c.batch == batch, t.c.item == item, t.c.segment == segment)
        yield item, BytesIO(b"".join(connection.execute(bodies.order_by(t.c.piece)).scalars()))


def drop_rows(connection: Connection, batch: str) -> None:
    """Remove the segments of a batch that is closed."""
    connection.execute(delete(tables.staged_rows).where(tables.staged_rows.c.batch == batch))
