"""Months of a divided store as Avro files: out of the database, proved, and back into it.

    archives = Archives(StoreSettings(url=url, table=REPAIRS), Path("archive"))
    archives.archive(202309)
    archives.reload(202309)

A month leaves in steps that may be cut off anywhere and are done again by the next call:

1. its rows are written to a file of another name, which is synced and gets its own name, of which its hash is a part:
   so no other call, and no other store that was given the folder, can put something else in its place;
2. the file is read again: rows and sums of each batch must be those of the table;
3. in one transaction that holds off writers: nothing came since, the catalogue takes the file with its hash and the
   sums of each batch, and the partition is dropped.

`verify` of a sink counts what the catalogue says beside what stands, so a ledger balances on what was archived; the
catalogue stays even when a file's time is over. A file has the rows as they are, all columns of them, so that a row
that comes back gives the same bytes; the exchange's own Avro schema has no place for a store's own columns. Files that
the catalogue does not name are left alone and told (`strays`): of a call that was cut off, of a month that was loaded.
"""

# ruff: noqa: S608 - names come from a table's spec, which checks them, and from numbers of months
from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
from sqlalchemy import Connection, MetaData, Select, delete, func, insert, select, text, update

from connectors.catalogue import ARCHIVED, OVER, catalogue_of
from connectors.contracts import Delivery, Misconfigured, Tally, fingerprint
from connectors.copying import copy_rows
from connectors.engines import translated
from connectors.pgmonths import make_partitions, months_there, partition
from connectors.sqlbase import Store, StoreSettings

_OWN = ("seq", "record_key", "version", "delivery_id", "content", "batch", "merged_into", "current", "late")
_MASK = (1 << 64) - 1


class Refused(Misconfigured):
    """A month cannot be archived or loaded as it is."""


class Archive(NamedTuple):
    """A file of the catalogue."""

    month: int
    part: int
    file: str
    sha256: str
    count: int  # type: ignore[assignment]  # hides tuple.count
    last_day: str
    """The latest day (of the column that divides the store) in it; empty where none has one."""
    state: str
    moment: str
    """When it came to that state."""


class Sums(NamedTuple):
    """What a file holds."""

    batches: dict[str, Tally]
    last_day: str
    last_seq: int

    @property
    def rows(self) -> int:
        """Rows of all batches."""
        return sum(one.count for one in self.batches.values())


class Archives:
    """The months of one store, and the folder of its files.

    Args:
        settings: the store, divided by months.
        folder: where the files lie; made when it is first written to.
        rest_days: a month to which a row came in so many days stays: who reads the store may not have come to it.

    Raises:
        Misconfigured: the store is not divided, so months cannot leave it.
    """

    def __init__(self, settings: StoreSettings, folder: Path, rest_days: int = 0) -> None:
        self._store = Store(settings)
        self._folder, self._rest_days = folder, rest_days
        if not self._store.divided:
            message = (
                "只有 PostgreSQL 上按月分区的库可以归档 / only stores divided by months (PostgreSQL) can be archived"
            )
            raise Misconfigured(message, "SQLite 的库请备份文件 / of a store on SQLite keep the file")
        self._name = self._store.spec.name
        self._files, self._batches = catalogue_of(self._name, MetaData())
        self._names = [*_OWN, *self._store.spec.columns]
        self._schema = fastavro.parse_schema(_schema(self._store))

    def months(self) -> dict[int, int]:
        """Month -> rows that stand in the database."""
        with self._reading() as connection:
            return {month: self._count(connection, month) for month in months_there(connection, self._name)}

    def fresh(self, months: Collection[int]) -> list[int]:
        """Those of these months to which a row came in the last `rest_days`."""
        if not self._rest_days:
            return []
        with self._reading() as connection:
            return [month for month in months if self._came(connection, month) is not None]

    def _came(self, connection: Connection, month: int) -> datetime | None:
        """When the last row came to a month, where that was in the last `rest_days`."""
        asked = text(
            f'SELECT max(received_at::timestamptz) FROM "{partition(self._name, month)}"'
            " HAVING max(received_at::timestamptz) > clock_timestamp() - make_interval(days => :days)"
        )
        came: datetime | None = connection.scalar(asked, {"days": self._rest_days})
        return came

    def archives(self) -> list[Archive]:
        """The catalogue, by month and part."""
        t = self._files
        with self._reading() as connection:
            return [Archive(*row) for row in connection.execute(select(t).order_by(t.c.month, t.c.part))]

    def strays(self) -> list[str]:
        """Names of files of this folder, as of our table, that the catalogue does not name as kept."""
        kept = {one.file for one in self.archives() if one.state == ARCHIVED}
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        ours = (f"{self._name}-", f".{self._name}-")
        return sorted(one.name for one in found if one.name.startswith(ours) and one.name not in kept)

    def archive(self, month: int) -> Archive | None:
        """Move a month into a file; None where nothing stands of it.

        Raises:
            Refused: rows are not as their versions say, the file was not what was written, or rows came meanwhile or
                lately (`rest_days`).
            Unavailable: the database is not to be had now.
            OSError: the folder cannot be written.
        """
        with self._reading() as connection:
            if month not in months_there(connection, self._name) or not self._count(connection, month):
                return None
            self._refuse_bad_rows(connection, month)
            if self._rest_days and (came := self._came(connection, month)):
                raise _lately(month, came, self._rest_days)
            t = self._files
            part = 1 + (connection.scalar(select(func.max(t.c.part)).where(t.c.month == month)) or 0)
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            name, written = self._write(f"{self._name}-{month:06d}-{part:03d}", self._rows(connection, month))
        try:
            digest, found = self._read_back(name)
            if found != written:
                message = f"归档文件与库不一致 / the file is not what stands in the store: {name}"
                raise Refused(
                    message, "未删除任何记录；请检查磁盘后重试 / nothing was removed; check the disk, try again"
                )
            known = Archive(month, part, name, digest, found.rows, found.last_day, ARCHIVED, _now())
            self._drop(known, found)
        except Refused:
            if name in self.strays():
                (self._folder / name).unlink(missing_ok=True)
            raise
        return known

    def _drop(self, known: Archive, found: Sums) -> None:
        with self._writing() as connection:
            if known.month not in months_there(connection, self._name):
                raise _meanwhile(known.month)
            last = text(f'SELECT max(seq) FROM "{partition(self._name, known.month)}"')
            if (self._count(connection, known.month), connection.scalar(last)) != (found.rows, found.last_seq):
                message = f"归档期间 {known.month} 有新记录 / records came to {known.month} while it was archived"
                raise Refused(message, "请重试 / try again")
            connection.execute(insert(self._files), known._asdict())
            rows = [
                {"batch": b, "month": known.month, "part": known.part, "count": one.count, "digest": str(one.digest)}
                for b, one in sorted(found.batches.items())
            ]
            connection.execute(insert(self._batches), rows)
            connection.execute(text(f'DROP TABLE "{partition(self._name, known.month)}"'))

    def reload(self, month: int) -> int:
        """Bring all files of a month back into the database; how many rows came back.

        Done again it finds nothing to do. Newer versions that came meanwhile stay the current ones.

        Raises:
            Refused: a file is gone or was changed.
            Unavailable: the database is not to be had now.
        """
        came = 0
        for known in self.archives():
            if known.month == month and known.state == ARCHIVED:
                self.prove(known)
                came += self._load(known)
        return came

    def _load(self, known: Archive) -> int:
        name = partition(self._name, known.month)
        with self._long() as connection:
            connection.execute(text(f'CREATE TEMPORARY TABLE coming (LIKE "{self._name}") ON COMMIT DROP'))
            columns = [self._store.table.c[one] for one in [*self._names, "month"]]
            rows = ((*row, known.month) for row in self._file_rows(known.file))
            copy_rows(connection, self._store.table, columns, rows, into="coming")
            self._store.writing.settle(connection)
            if connection.execute(self._of(known)).first() is None:
                raise _meanwhile(known.month)
            make_partitions(connection, self._name, [known.month])
            listed = ", ".join(f'"{column.name}"' for column in columns)
            came = connection.execute(
                text(f'INSERT INTO "{name}" ({listed}) SELECT {listed} FROM coming ON CONFLICT DO NOTHING')
            ).rowcount
            connection.execute(
                text(f'UPDATE "{name}" t SET current = g.is_current, late = g.is_late FROM ({_good(name)}) g'
                     " WHERE t.seq = g.seq AND (t.current, t.late) <> (g.is_current, g.is_late)")
            )  # fmt: skip
            for t in (self._batches, self._files):
                connection.execute(delete(t).where(t.c.month == known.month, t.c.part == known.part))
        return came

    def prove(self, known: Archive) -> None:
        """Read a file and compare it with the catalogue.

        Raises:
            Refused: it is gone, or not what was archived.
        """
        try:
            digest, found = self._read_back(known.file)
        except (OSError, ValueError, EOFError, LookupError) as error:
            message = f"归档文件不可读 / the archive cannot be read: {known.file}: {type(error).__name__}"
            raise Refused(message, "请从备份恢复 / restore it from its backup") from None
        t = self._batches
        wanted = select(t.c.batch, t.c.count, t.c.digest).where(t.c.month == known.month, t.c.part == known.part)
        with self._reading() as connection:
            told = {batch: Tally(count, int(total)) for batch, count, total in connection.execute(wanted)}
        if digest != known.sha256 or found.batches != told:
            message = f"归档文件已改变 / the archive was changed: {known.file}"
            raise Refused(message, "请从备份恢复 / restore it from its backup")

    def expire(self, known: Archive) -> None:
        """Remove a file whose time is over; the catalogue keeps its sums. Idempotent."""
        with self._writing() as connection:
            if connection.execute(self._of(known)).first() is not None:
                same = self._files.c.month == known.month, self._files.c.part == known.part
                connection.execute(update(self._files).where(*same).values(state=OVER, moment=_now()))
                (self._folder / known.file).unlink(missing_ok=True)  # cut off before the commit, it is still due

    def _of(self, known: Archive) -> Select[Any]:
        """The row of a file in the catalogue, where that is still what was read there."""
        t = self._files
        same = t.c.month == known.month, t.c.part == known.part, t.c.sha256 == known.sha256
        return select(t.c.file).where(*same, t.c.state == ARCHIVED)

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._store.engine.dispose()

    # -- the database --------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One moment of the database, at which it may take longer to look than a writer may."""
        with translated(), self._store.engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ")
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection

    @contextmanager
    def _long(self) -> Iterator[Connection]:
        """A transaction that may take longer than a writer's."""
        with translated(), self._store.engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that holds off writers."""
        with self._long() as connection:
            self._store.writing.settle(connection)
            yield connection

    def _count(self, connection: Connection, month: int) -> int:
        return int(connection.scalar(text(f'SELECT count(*) FROM "{partition(self._name, month)}"')) or 0)

    def _refuse_bad_rows(self, connection: Connection, month: int) -> None:
        name = partition(self._name, month)
        bad = connection.scalar(
            text(f'SELECT count(*) FROM "{name}" t JOIN ({_good(name)}) g USING (seq)'
                 " WHERE (t.current, t.late) <> (g.is_current, g.is_late)")
        )  # fmt: skip
        if bad:
            message = f"{month}: {bad} 行与其版本不符 / rows are not as their versions say"
            raise Refused(message, "请先执行 vingate ledger / run vingate ledger first")

    def _rows(self, connection: Connection, month: int) -> Generator[tuple[Any, ...]]:
        listed = ", ".join(f'"{one}"' for one in self._names)
        statement = text(f'SELECT {listed} FROM "{partition(self._name, month)}" ORDER BY seq')
        with connection.execution_options(yield_per=2_000).execute(statement) as found:
            for row in found:
                yield tuple(row)

    # -- the files -----------------------------------------------------------------------------------------------------

    def _write(self, head: str, rows: Generator[tuple[Any, ...]]) -> tuple[str, Sums]:
        """Name of the file, which begins so, and what was written."""
        summing = _Summing(self._store)
        unnamed = self._folder / f".{head}.{secrets.token_hex(8)}.writing"
        try:
            with open(unnamed, "xb", opener=_for_us_alone) as file:
                with closing(self._records(summing, rows)) as given:
                    marker = sha256(head.encode()).digest()[:16]
                    fastavro.writer(file, self._schema, given, codec="deflate", sync_marker=marker)
                file.flush()
                os.fsync(file.fileno())
            name = f"{head}-{_hash_of(unnamed)[:8]}.avro"
            unnamed.rename(self._folder / name)
        finally:
            unnamed.unlink(missing_ok=True)
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return name, summing.sums()

    def _records(self, summing: _Summing, rows: Generator[tuple[Any, ...]]) -> Generator[dict[str, Any]]:
        with closing(rows):
            for row in rows:
                yield dict(zip(self._names, summing.seen(row), strict=True))

    def _file_rows(self, name: str) -> Iterator[tuple[Any, ...]]:
        with (self._folder / name).open("rb") as file:
            record: Any
            for record in fastavro.reader(file, self._schema):  # columns that came since are null
                yield tuple(record[one] for one in self._names)

    def _read_back(self, name: str) -> tuple[str, Sums]:
        """Hash of a file, and what it holds."""
        digest, summing = _hash_of(self._folder / name), _Summing(self._store)
        for row in self._file_rows(name):
            summing.seen(row)
        return digest, summing.sums()


class _Summing:
    """Sums of rows that pass, by batch, as `verify` makes them."""

    def __init__(self, store: Store) -> None:
        self._rows = store.rows
        self._day = len(_OWN) + list(store.spec.columns).index(store.spec.month)
        self._found: dict[str, list[int]] = {}
        self._last_day, self._last_seq = "", 0

    def seen(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        seq, key, version, identity, content, batch, merged = row[:7]
        body = self._rows.body(row[len(_OWN) :])
        one = self._found.setdefault(batch, [0, 0])
        one[0] += 1
        one[1] += fingerprint(Delivery(identity, "", key, version, content, body, batch, merged))
        self._last_day = max(self._last_day, row[self._day] or "")
        self._last_seq = max(self._last_seq, seq)
        return row

    def sums(self) -> Sums:
        batches = {batch: Tally(count, digest & _MASK) for batch, (count, digest) in self._found.items()}
        return Sums(batches, self._last_day, self._last_seq)


def _good(name: str) -> str:
    """SQL of what `current` and `late` of a partition's rows ought to be."""
    return (
        "SELECT seq, version = max(version) OVER (PARTITION BY record_key) AS is_current,"
        " coalesce(max(version) OVER (PARTITION BY record_key ORDER BY seq"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), version) > version AS is_late"
        f' FROM "{name}"'
    )


def _schema(store: Store) -> dict[str, Any]:
    kinds = {"seq": "long", "version": "long", "current": "boolean", "late": "boolean"}
    own: list[dict[str, Any]] = [{"name": one, "type": kinds.get(one, "string")} for one in _OWN]
    given = [
        {"name": name, "type": ["null", "long" if kind == "int" else "string"], "default": None}
        for name, kind in store.spec.columns.items()
    ]
    return {"type": "record", "name": f"vingate.archive.{store.spec.name}", "fields": [*own, *given]}


def _lately(month: int, came: datetime, days: int) -> Refused:
    at = f"{came:%Y-%m-%d %H:%M}"
    message = (
        f"{month} 在最近 {days} 天内仍有记录到达（{at}），读取该库的交换可能尚未读到"
        f" / rows came to {month} in the last {days} days ({at}): who reads this store may not have come to them"
    )
    fix = (
        "请稍后再归档；确认均已读完时可设 [archive] rest_days = 0"
        " / archive it later; where all have read it: [archive] rest_days = 0"
    )
    return Refused(message, fix)


def _meanwhile(month: int) -> Refused:
    message = f"{month} 刚被另一命令归档或恢复 / another command archived or loaded {month} meanwhile"
    return Refused(message, "请查看 vingate store months 后重试 / see vingate store months, then try again")


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
