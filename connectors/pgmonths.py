"""A versioned table of PostgreSQL that is divided by months, and how rows get into it.

A partition holds the records whose first version that stands there names a day of its month (`TableSpec.month`): so
indexes that grow in no order stay as small as a month's, and a month leaves by dropping a table. All versions of a
record lie with its first one, wherever a later one says that it belongs: versions are compared, and are unique, within
one partition. Where that is stands in `NAME_keys`, 8 bytes of a digest and the month, which is never divided nor
pruned; two keys of one digest share a month, which harms nobody. What names no day of the network's time lies in
partition 0, unless its record has a place.

A delivery id is looked for within a month: it is derived from the record key, so the same id elsewhere is a record key
that somebody made up.
"""

# ruff: noqa: S608 - names come from a table's spec, which checks them
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    cast,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import BIT

from connectors.copying import copy_rows
from connectors.pgwriting import PostgresWriting, end_when_idle, standing_of, supersede_of

FIRST_YEAR, LAST_YEAR = 2016, 2099
"""Days outside of these lie in partition 0, so that a shop's wrong clock makes no partitions by the hundred."""
_CLASS = 0x56_48
"""First half of the lock under which partitions are made."""
_HOMES = "vingate_homes"


@lru_cache(maxsize=8_192)
def month_of(day: str | None) -> int:
    """The month of a day (`YYYY-MM-DD` or `YYYY-MM`) as a number, 202609; 0 where it is none of the network's time."""
    if day is None or day[4:5] != "-" or not (day[:4] + day[5:7]).isdecimal() or not day.isascii():
        return 0
    year, month = int(day[:4]), int(day[5:7])
    return 100 * year + month if FIRST_YEAR <= year <= LAST_YEAR and 1 <= month <= 12 else 0


def digest_of(record_key: str) -> int:
    """8 bytes of a record key's digest, as the server computes them too (`digested`)."""
    return int.from_bytes(sha256(record_key.encode()).digest()[:8], "big", signed=True)


def digested(record_key: str) -> str:
    """SQL of the same digest of a column."""
    return f"('x' || encode(substr(sha256(convert_to({record_key}, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint"


def partition(table: str, month: int) -> str:
    """The name of a month's partition."""
    return f"{table}_{month:06d}"


def keys_of(table: str) -> Table:
    """In which month the versions of a record lie."""
    key = Column("key", BigInteger, primary_key=True, autoincrement=False)
    return Table(f"{table}_keys", MetaData(), key, Column("month", Integer, nullable=False))


def months_there(connection: Connection, table: str) -> list[int]:
    """The months that have a partition, in order."""
    found = connection.execute(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = to_regclass(:name)"
        ),
        {"name": f'"{table}"'},
    ).scalars()
    return sorted(int(name.rpartition("_")[2]) for name in found)


def make_partitions(connection: Connection, table: str, months: Collection[int]) -> None:
    """Make the partitions that are lacking. Readers and writers of the others go on meanwhile."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:class, hashtext(:name))"), {"class": _CLASS, "name": table})
    for month in sorted(set(months) - set(months_there(connection, table))):
        name = partition(table, month)
        connection.execute(text(f'CREATE TABLE "{name}" (LIKE "{table}" INCLUDING DEFAULTS)'))
        connection.execute(text(f'ALTER TABLE "{table}" ATTACH PARTITION "{name}" FOR VALUES IN ({month:d})'))


def at_home(table: str, own: Any) -> ColumnElement[bool]:  # noqa: ANN401 - columns of a table or a selection
    """Whether a row lies where its record is looked for."""
    keys = keys_of(table).c
    hexed = func.encode(func.substr(func.sha256(func.convert_to(own.record_key, "UTF8")), 1, 8), "hex")
    digest = cast(cast(literal("x").concat(hexed), BIT(64)), BigInteger)
    home: ColumnElement[bool] = own.month == select(keys.month).where(keys.key == digest).scalar_subquery()
    return func.coalesce(home, False)


class DividedWriting(PostgresWriting):
    """The statements by which a sink writes; all of a table that is divided by months.

    What a look-up found of homes is kept with the connection until its transaction ends.
    """

    def __init__(self, table: Table, day: int) -> None:
        """`day` is the place of the column that tells the month, among a row's."""
        super().__init__(table)
        self._day = day
        self._there: set[int] = set()
        self._keys = keys_of(table.name)
        self._homes = text(
            f"SELECT w.key, k.month, to_regclass('{table.name}_' || to_char(k.month, 'FM000000')) IS NOT NULL"
            f" FROM unnest(CAST(:keys AS bigint[])) AS w (key) CROSS JOIN LATERAL"
            f' (SELECT month FROM "{self._keys.name}" AS t WHERE t.key = w.key OFFSET 0) AS k'
        )

    @contextmanager
    def begin(self, engine: Engine, keys: Collection[str]) -> Iterator[Connection]:
        """A transaction that no other writer of these keys can overlap."""
        with super().begin(engine, keys) as connection:
            connection.info[_HOMES] = {}
            yield connection

    def standing(self, connection: Connection, keys: Collection[str]) -> Iterable[Any]:
        """Key, version, delivery id, content and batch of the rows with these keys."""
        digests: dict[int, list[str]] = {}
        for key in keys:
            digests.setdefault(digest_of(key), []).append(key)
        homes: dict[int, int] = connection.info[_HOMES]
        asked: dict[int, list[str]] = {}
        for digest, month, there in connection.execute(self._homes, {"keys": sorted(digests)}):
            homes[digest] = month
            if there:
                asked.setdefault(month, []).extend(digests[digest])
        for month, known in sorted(asked.items()):
            yield from connection.execute(standing_of(self._quoted(month)), {"keys": sorted(known)})

    def supersede(self, connection: Connection, keys: Collection[str]) -> None:
        """No version of these keys is current any more."""
        homes: dict[int, int] = connection.info[_HOMES]
        asked: dict[int, list[str]] = {}
        for key in keys:
            asked.setdefault(homes[digest_of(key)], []).append(key)
        for month, known in sorted(asked.items()):
            connection.execute(supersede_of(self._quoted(month)), {"keys": sorted(known)})

    def _quoted(self, month: int) -> str:
        return f'"{partition(self._table.name, month)}"'

    def taken(self, connection: Connection, ids: Sequence[str]) -> Iterable[Any]:
        """Delivery id and key of the rows with these ids."""
        self._there.clear()  # what was refused may have been a month that was archived meanwhile
        return super().taken(connection, ids)

    def insert(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, whose columns are those of the table behind `seq`, without the month.

        Raises:
            IntegrityError: an id or a version is there already.
        """
        homes: dict[int, int] = connection.info[_HOMES]
        fresh: dict[int, int] = {}
        placed = []
        for row in rows:
            digest = digest_of(row[0])
            month = homes.get(digest)
            if month is None:
                month = homes[digest] = fresh[digest] = month_of(row[self._day])
            placed.append((*row, month))
        wanted = {row[-1] for row in placed}
        if not wanted <= self._there:
            self._there.update(months_there(connection, self._table.name))
        if not wanted <= self._there:  # in a transaction of its own: others need not wait for this one
            with connection.engine.begin() as making:
                end_when_idle(making)
                make_partitions(making, self._table.name, wanted)
        if len(wanted) > 1:
            placed.sort(key=_month)  # a copy that stays in a partition writes many rows at a time
        copy_rows(connection, self._table, self._columns, placed)
        if fresh:
            copy_rows(connection, self._keys, list(self._keys.columns), sorted(fresh.items()))
        self._there |= wanted


def _month(row: tuple[Any, ...]) -> int:
    month: int = row[-1]
    return month
