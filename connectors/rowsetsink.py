"""Records as rows of somebody else's tables: all rows of one record version are written in one transaction, or none.

    sink = RowsetSink(RowsetSink.Settings(url="postgresql+psycopg://gateway@host/im", tables={
        "RepairInfo_M": {"key": "RepairVeID", "columns": {"RepairVeID": "text", "Vin": "text"}}}))

A newer version replaces the rows of its key, and one without rows removes them; an older one that comes late changes
nothing. What tells versions apart is our own table beside theirs (`book`), which also says what their rows must be: so
a row of theirs that somebody changed or deleted is found by `verify`. It is a versioned store like any (`sqlstore`),
whose rules of a write hold here. `make` creates tables that are missing, for a database of one's own.

What their table refuses (a text too long for a column, a check, a key of another's) is refused for that record alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from pydantic import Field, SecretStr, field_validator
from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy.exc import DataError, IntegrityError

from connectors.contracts import (
    REFUSED,
    ConnectorError,
    Delivery,
    Held,
    Misconfigured,
    Outcome,
    Tally,
    fingerprint,
)
from connectors.engines import translated
from connectors.rowsets import Rows, RowTable, RowTables, book
from connectors.settings import ConnectorSettings
from connectors.sqlbase import ASKED, StoreSettings
from connectors.sqlstore import Change, SqlSink
from connectors.tables import UnmappableError


class RowsetSettings(ConnectorSettings):
    """Whose tables, and where."""

    url: SecretStr
    """Address, as of a SQL store."""
    password: SecretStr = SecretStr("")
    """Password for the address, where it holds none: a text, `env:NAME` or `file:PATH`."""
    tables: Mapping[str, RowTable] = Field(min_length=1)
    """Their tables by name, those first that others refer to."""
    book: str = Field(default="vingate_sent", pattern=r"^[a-z_][a-z0-9_]{0,50}$")
    """Our own table in their database, which is created."""
    make: bool = False
    """Whether their tables are created where they are missing; else they must be there."""
    busy_seconds: float = Field(default=10.0, ge=0)
    """How long to wait for another writer, or for a connection, before answering *unavailable*."""

    @field_validator("tables")
    @classmethod
    def _not_ours(cls, value: Mapping[str, RowTable]) -> Mapping[str, RowTable]:
        if any(not name.isidentifier() or name.startswith("vingate_") for name in value):
            message = "表名不可用 / a table's name is none, or ours"
            raise ValueError(message)
        return value

    def store(self) -> StoreSettings:
        """The settings of our own table."""
        return SqlSink.Settings(
            url=self.url, password=self.password, table=book(self.book), busy_seconds=self.busy_seconds
        )


class _NotTakenError(ConnectorError):
    """Their tables refuse a row."""


class RowsetSink(SqlSink):
    """Deliveries as rows of somebody else's tables; see the module."""

    atomic = False
    """What their tables refuse parts a call."""

    Settings = RowsetSettings  # type: ignore[assignment]  # another class of settings, made into a store's

    def __init__(self, settings: RowsetSettings) -> None:
        super().__init__(settings.store())  # type: ignore[arg-type]
        self._given = settings
        self._theirs = RowTables(settings.tables)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._given,)

    def create(self) -> None:
        """Create our own table, and theirs where the settings say so.

        Raises:
            Misconfigured: the database cannot be created or written.
            Unavailable: locked or full.
        """
        super().create()
        if self._given.make:
            with translated(), self._store.engine.begin() as connection:
                self._store.writing.settle(connection)
                for table in self._theirs.tables.values():
                    table.create(connection, checkfirst=True)

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """One outcome for each delivery, in order; what their tables refuse is found by halving.

        Raises:
            Misconfigured: a table is missing, or may not be written.
        """
        try:
            return super().write(deliveries)
        except _NotTakenError as error:
            if len(deliveries) == 1:
                return [Outcome(REFUSED, error.message)]
            half = len(deliveries) // 2
            return self.write(deliveries[:half]) + self.write(deliveries[half:])

    def _mapped(self, delivery: Delivery) -> tuple[Any, ...] | str:
        row = super()._mapped(delivery)
        if isinstance(row, str):
            return row
        try:
            self._rows(row)
        except UnmappableError as error:
            return str(error)
        return row

    def _rows(self, row: Sequence[Any]) -> Rows:
        return self._theirs.rows(row[0] or "", orjson.loads(row[1] or "null"))

    def _beside(self, connection: Connection, change: Change) -> None:
        """Put the rows of what is current now in place of those that stood."""
        rows = [self._rows(own) for own in change.current()]
        dialect = connection.dialect.name
        try:
            for name in reversed(self._theirs.given):  # those that refer to others go first
                statement = self._theirs.remove(name)
                for at in range(0, len(rows), ASKED):
                    connection.execute(statement, {"keys": [one.key for one in rows[at : at + ASKED]]})
            for name, table in self._theirs.tables.items():
                made = self._theirs.bound(name, (row for one in rows for row in one.tables.get(name, ())), dialect)
                if made:
                    connection.execute(insert(table), made)
        except (DataError, IntegrityError) as error:
            state = getattr(error.orig, "sqlstate", None) or type(error.orig).__name__
            message = f"ROW: 对方的表不接受该行（{state}） / their table does not take the row ({state})"
            raise _NotTakenError(message) from None

    def verify_many(self, batches: Sequence[str]) -> dict[str, Tally]:
        """As of a store; a version that is current counts only where their rows are what it says.

        Raises:
            Misconfigured: a table is missing.
            Unavailable: the database is not to be had now.
        """
        found = super().verify_many(batches)
        for one in self._lost(list(found)):
            count, digest = found[one.batch]
            found[one.batch] = Tally(count - 1, (digest - fingerprint(one)) % 2**64)
        return found

    def held(self, since: datetime, batches: Sequence[str]) -> Iterator[Held]:
        """The versions of some batches, without those whose rows are not what they were.

        Raises:
            Misconfigured: a table is missing.
            Unavailable: the database is not to be had now.
        """
        lost = {one.id for one in self._lost(batches)}
        yield from (one for one in super().held(since, batches) if one.id not in lost)

    def _lost(self, batches: Sequence[str]) -> Iterator[Delivery]:
        """Current versions of some batches whose rows their tables do not hold as they were written."""
        with translated(), self._store.engine.connect() as connection:
            for at in range(0, len(batches), ASKED):
                source, own = self._rows_of(batches[at : at + ASKED])
                wanted = source.add_columns(
                    own.batch, own.delivery_id, own.record_key, own.version, own.content, own.merged_into, own.rowkey,
                    own.tables,
                ).where(own.current.is_(True))  # fmt: skip
                read = connection.execute(wanted).all()
                for begin in range(0, len(read), ASKED):
                    yield from self._lost_of(connection, read[begin : begin + ASKED])

    def _lost_of(self, connection: Connection, read: Sequence[Any]) -> Iterator[Delivery]:
        keys = [row.rowkey for row in read]
        there = {name: self._there(connection, name, keys) for name in self._theirs.given}
        for row in read:
            try:
                wanted = self._rows((row.rowkey, row.tables))
            except (UnmappableError, ValueError):  # changed by hand: the store's own sum tells it
                continue
            if not all(
                self._theirs.same(name, wanted.tables.get(name, ()), there[name].get(row.rowkey, ()))
                for name in self._theirs.given
            ):
                content = self._store.rows.body((row.rowkey, row.tables))
                yield Delivery(
                    row.delivery_id, "", row.record_key, row.version, row.content, content, row.batch, row.merged_into
                )

    def _there(self, connection: Connection, name: str, keys: Sequence[str]) -> Mapping[str, list[Mapping[str, Any]]]:
        table, key = self._theirs.tables[name], self._theirs.given[name].key
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in connection.execute(select(table).where(table.c[key].in_(keys))).mappings():
            found.setdefault(row[key], []).append(dict(row))
        return found

    def check(self) -> list[str]:
        """How much our own table holds, and whether theirs are there with their columns.

        Raises:
            Misconfigured: a table or column is missing.
            Unavailable: the database is not to be had now.
        """
        told = super().check()
        with translated():
            look = inspect(self._store.engine)
            for name, table in self._theirs.tables.items():
                there = {one["name"] for one in look.get_columns(name)} if look.has_table(name) else set()
                missing = [column.name for column in table.columns if column.name not in there]
                if missing:
                    message = f"{name}: 缺少表或列 / the table, or columns, are missing: {', '.join(missing)}"
                    raise Misconfigured(message, "请对方建表，或设 make = true / have it created, or set make = true")
                told.append(f"{name}: {len(table.columns)} 列 / columns")
        return told
