"""The catalogue of what left a divided store for its archive (`connectors.archives`): which files, and their sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, Text, select

from connectors.contracts import Tally

ARCHIVED, OVER = "archived", "over"
"""A file that is kept, and one whose time is over: its sums stay in the catalogue."""


def catalogue_of(table: str, metadata: MetaData) -> tuple[Table, Table]:
    """The files, and what each holds of each batch."""
    files = Table(
        f"{table}_archives",
        metadata,
        Column("month", Integer, primary_key=True, autoincrement=False),
        Column("part", Integer, primary_key=True, autoincrement=False),
        Column("file", Text, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("count", BigInteger, nullable=False),
        Column("last_day", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("moment", Text, nullable=False),
    )
    batches = Table(
        f"{table}_archived",
        metadata,
        Column("batch", Text, primary_key=True),
        Column("month", Integer, primary_key=True, autoincrement=False),
        Column("part", Integer, primary_key=True, autoincrement=False),
        Column("count", BigInteger, nullable=False),
        Column("digest", Text, nullable=False),
    )
    return files, batches


def archived(connection: Connection, table: str, batches: Sequence[str]) -> dict[str, Tally]:
    """Batch -> what of it lies in archives."""
    _, t = catalogue_of(table, MetaData())
    found: dict[str, Tally] = {}
    for batch, count, digest in connection.execute(
        select(t.c.batch, t.c.count, t.c.digest).where(t.c.batch.in_(batches))
    ):
        before = found.get(batch, Tally(0, 0))
        found[batch] = Tally(before.count + count, before.digest + int(digest))
    return found


def kept_of(connection: Connection, table: str) -> Iterator[tuple[str, str]]:
    """Batches of which rows lie in archives that are kept, each with the name of a file."""
    files, t = catalogue_of(table, MetaData())
    same = (files.c.month == t.c.month) & (files.c.part == t.c.part)
    wanted = select(t.c.batch, files.c.file).join(files, same).where(files.c.state == ARCHIVED)
    yield from map(tuple, connection.execute(wanted.order_by(files.c.file)))


def files_of(connection: Connection, table: str, batch: str) -> list[str]:
    """Names of the archives that hold rows of a batch."""
    files, t = catalogue_of(table, MetaData())
    same = (files.c.month == t.c.month) & (files.c.part == t.c.part)
    wanted = select(files.c.file).join(t, same).where(t.c.batch == batch).order_by(files.c.file)
    return list(connection.execute(wanted).scalars())
