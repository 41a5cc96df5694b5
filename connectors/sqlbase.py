"""What the SQL sink and the SQL source share: their settings, the table, the engine."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pydantic import Field, SecretStr
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Index,
    MetaData,
    Table,
    and_,
    func,
    inspect,
    null,
    select,
    true,
)
from sqlalchemy.exc import NoSuchTableError

from connectors.confidential import revealed
from connectors.contracts import Delivery, Tally
from connectors.engines import Limits, address, open_engine, translated
from connectors.litewriting import LiteWriting
from connectors.settings import ConnectorSettings
from connectors.tables import RowMap, TableSpec, tables

ASKED = 500
"""Values in one IN list."""


class StoreSettings(ConnectorSettings):
    """Which table of which database."""

    url: SecretStr
    """Address, as SQLAlchemy writes it: `sqlite:////path/store.db`, `postgresql+psycopg://user@host:5432/database`.

    Or `env:NAME`, `file:PATH`. Never shown: it may hold a password.
    """
    password: SecretStr = SecretStr("")
    """Password for the address, where it holds none: a text, `env:NAME` or `file:PATH`."""
    table: TableSpec
    busy_seconds: float = Field(default=10.0, ge=0)
    """How long to wait for another writer, or for a connection, before answering *unavailable*."""
    statement_seconds: float = Field(default=60.0, gt=0)
    """How long PostgreSQL may work on one statement."""
    connect_seconds: float = Field(default=10.0, gt=0)
    """How long a connection to PostgreSQL may take to be made."""
    silent_seconds: float = Field(default=10.0, gt=0)
    """PostgreSQL that is silent for so long is asked by another connection whether it still works on the statement.

    Where it does not, or cannot be asked, the connection is given up and the answer is *unavailable*.
    """
    connections: int = Field(default=4, ge=1, le=100)
    """Connections to PostgreSQL that are kept, and the most that are opened at a time; two where it says one, since
    a new month is made, and the table's columns are looked up, beside the work that needs them."""

    def address(self) -> str:
        """The address with its password.

        Raises:
            Misconfigured: what it or the password points to is not there, or it is no address.
        """
        return address(revealed(self.url, "url"), revealed(self.password, "password"))

    def open(self) -> Engine:
        """An engine of the database.

        Raises:
            Misconfigured: the address cannot be used.
        """
        connections = max(self.connections, 2)
        limits = Limits(
            self.busy_seconds, self.statement_seconds, connections, self.connect_seconds, self.silent_seconds
        )
        return open_engine(self.address(), limits)


class Writing(Protocol):
    """The statements by which a sink writes; one class for each kind of database."""

    def unfit(self, delivery: Delivery, row: Sequence[Any], /) -> str:
        """Why this database cannot hold a row; empty when it can."""

    def begin(self, engine: Engine, keys: Collection[str], /) -> AbstractContextManager[Connection]:
        """A transaction that no other writer of these keys can overlap."""

    def settle(self, connection: Connection, /) -> None:
        """Wait until every number (`seq`) below the greatest one is committed or never will be."""

    def standing(self, connection: Connection, keys: Collection[str]) -> Iterable[Any]:
        """Key, version, delivery id, content and batch of the rows with these keys."""

    def taken(self, connection: Connection, ids: Sequence[str]) -> Iterable[Any]:
        """Delivery id and key of the rows with these ids."""

    def supersede(self, connection: Connection, keys: Collection[str]) -> None:
        """No version of these keys is current any more."""

    def insert(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, whose columns are those of the table behind `seq`; IntegrityError where an id or version is."""


def writing(engine: Engine, table: Table, spec: TableSpec) -> Writing:
    """The statements for a database."""
    if engine.dialect.name != "postgresql":
        return LiteWriting(table)
    if spec.month:
        from connectors.pgmonths import DividedWriting  # late: stores on SQLite need none of it

        return DividedWriting(table, len(table.columns) - 2 - len(spec.columns) + list(spec.columns).index(spec.month))
    from connectors.pgwriting import PostgresWriting

    return PostgresWriting(table)


class Store:
    """The table, and an engine that is opened when first used, never pickled, and closed with the last user."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.spec = settings.table
        self.rows = RowMap(settings.table)
        self.engine = settings.open()
        self.divided = bool(self.spec.month) and self.engine.dialect.name == "postgresql"
        """Whether the table has a partition for each month."""
        self.table = tables(settings.table, MetaData(), divided=self.divided)
        self.writing = writing(self.engine, self.table, self.spec)
        self._whole = not settings.table.added
        weakref.finalize(self, self.engine.dispose)  # a source has no close(), and sqlite3 warns of what is left open

    def create(self, connection: Connection) -> None:
        """Make the table where it is not there, in a transaction that holds off writers."""
        if self.divided:
            from connectors.dividing import make_divided  # late: stores on SQLite need none of it

            make_divided(connection, self.table, self.spec.month)
        else:
            self.table.create(connection, checkfirst=True)

    def of_one_record(self, one: Any, other: Any) -> ColumnElement[bool]:  # noqa: ANN401 - columns of a table or a selection
        """Whether two rows are versions of the same record: those lie in one partition."""
        same: ColumnElement[bool] = one.record_key == other.record_key
        return and_(same, one.month == other.month) if self.divided else same

    def in_place(self, own: Any) -> ColumnElement[bool]:  # noqa: ANN401 - columns of a table or a selection
        """Whether a row lies where it is looked for."""
        if not self.divided:
            return true()
        from connectors.pgmonths import at_home  # late: stores on SQLite need none of it

        return at_home(self.spec.name, own)

    def archived(self, connection: Connection, batches: Sequence[str]) -> dict[str, Tally]:
        """Batch -> what of it was archived, by the catalogue."""
        if not self.divided:
            return {}
        from connectors.catalogue import archived  # late: stores on SQLite need none of it

        return archived(connection, self.spec.name, batches)

    def lacking(self) -> list[str]:
        """Columns of the spec that the table lacks, since it was made before they came."""
        if self._whole:
            return []
        try:
            there = {column["name"] for column in inspect(self.engine).get_columns(self.spec.name)}
        except NoSuchTableError:
            return []
        missing = [name for name in self.spec.added if name not in there]
        self._whole = not missing
        return missing

    def unindexed(self) -> list[Index]:
        """Indexes of the spec that the table lacks, since it was made before they came."""
        there = {one["name"] for one in inspect(self.engine).get_indexes(self.spec.name)}
        return sorted((one for one in self.table.indexes if one.name not in there), key=lambda one: str(one.name))

    def given(self, own: Any, names: Iterable[str] = ()) -> list[Any]:  # noqa: ANN401 - columns of a table or a selection
        """These columns of the spec, all by themselves, of a table or a selection; null where the table lacks one."""
        missing = self.lacking()
        return [null().label(name) if name in missing else own[name] for name in names or self.spec.columns]

    def check(self) -> list[str]:
        """How much the table holds.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        own = self.table.c
        with translated(), self.engine.connect() as connection:
            total = connection.scalar(select(func.count()).select_from(self.table))
            current = connection.scalar(select(func.count()).select_from(self.table).where(own.current.is_(True)))
        return [f"{self.spec.name}: {total} 个版本, {current} 条现行 / {total} versions, {current} current"]
