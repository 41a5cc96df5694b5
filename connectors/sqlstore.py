"""A versioned store of deliveries in a SQL database (SQLite, PostgreSQL), and its reader.

    spec = TableSpec(name="repairs", columns={"vin": "text", "mileage": "int"}, indexes=("vin",))
    sink = SqlSink(SqlSink.Settings(url="sqlite:///store.db", table=spec))
    sink.create()
    sink.write(deliveries)

Rules of a write, all in one transaction per call: an id that the same batch wrote is *accepted* again, one that another
batch wrote is a *duplicate*; the same key and version with another content is *refused*; a newer version becomes
current; an older one that comes late joins the history and never becomes current. A database that is locked, full
or gone makes every delivery of the call *unavailable*, and none of them is half written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Text, and_, func, literal, literal_column, select, text, true
from sqlalchemy.exc import DBAPIError, IntegrityError

from connectors.contracts import (
    ACCEPTED,
    DUPLICATE,
    REFUSED,
    UNAVAILABLE,
    Delivery,
    Held,
    Outcome,
    Tally,
    Unavailable,
    fingerprint,
)
from connectors.engines import WRITES, translated
from connectors.sqlbase import ASKED, Store, StoreSettings
from connectors.sqlsource import SqlSource
from connectors.tables import TableSpec, UnmappableError, tables

_CURRENT = 6
"""Place of `current` among the columns behind `seq`."""


_TAKEN = Outcome(ACCEPTED)


class _Known(NamedTuple):
    """A version that stands in the store."""

    delivery_id: str
    content: str
    batch: str

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> _Known:
        return cls(*row[2:5])


class SqlSink:
    """Deliveries as versioned rows; see the module."""

    exact = True
    """It tells by id and batch what it has taken: its *duplicate* is one, also after an attempt without an answer."""

    atomic = True
    """A call stands as a whole or not at all: what is in it needs no order beyond its own."""

    class Settings(StoreSettings):
        """Settings of a SQL sink."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store = Store(settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def create(self) -> None:
        """Create the table in a fresh store; one that exists gets the columns and indexes that came to its spec since.

        Raises:
            Misconfigured: the database cannot be created or written.
            Unavailable: locked or full.
        """
        with translated(), self._store.engine.begin() as connection:
            self._store.writing.settle(connection)  # of several processes that start together, one makes it
            self._store.create(connection)
        with translated():
            whole = not self._store.lacking() and not self._store.unindexed()
        if not whole:
            self._complete()

    def _complete(self) -> None:
        """Add what the table lacks; an index of many rows may take longer than a statement may otherwise."""
        alone = self._store.engine.connect().execution_options(**{WRITES: True})
        with translated(), alone as connection, connection.begin():
            self._store.writing.settle(connection)
            for name in self._store.lacking():
                column = self._store.table.c[name]
                kind = column.type.compile(self._store.engine.dialect)
                connection.execute(text(f'ALTER TABLE "{self._store.spec.name}" ADD COLUMN "{name}" {kind}'))
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            for index in self._store.unindexed():
                index.create(connection)

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """One outcome for each delivery, in order; one transaction and one commit in all.

        Raises:
            Misconfigured: there is no such table, or it may not be written.
        """
        if not deliveries:
            return []
        mapped = [self._mapped(delivery) for delivery in deliveries]
        try:
            with translated():
                try:
                    return self._commit(deliveries, mapped, {})
                except IntegrityError:
                    return self._commit(deliveries, mapped, self._taken(deliveries))
                except DBAPIError as error:  # what was written is accepted again by its ids
                    if not error.connection_invalidated:
                        raise
                    return self._commit(deliveries, mapped, {})
        except Unavailable as error:
            return [Outcome(UNAVAILABLE, str(error))] * len(deliveries)

    def _mapped(self, delivery: Delivery) -> tuple[Any, ...] | str:
        """The row of the caller's columns, or why there is none."""
        try:
            row = self._store.rows.row(delivery.body)
        except UnmappableError as error:
            return str(error)
        head = f"{delivery.key}{delivery.id}{delivery.content}{delivery.batch}{delivery.merged_into}"
        if "\0" in head or not 0 <= delivery.version < 2**63:
            return "BODY: 编号含 NUL 字符或版本号越界 / a NUL character in an id, or a version out of range"
        return self._store.writing.unfit(delivery, row) or row

    def _commit(
        self, deliveries: Sequence[Delivery], mapped: Sequence[tuple[Any, ...] | str], taken: dict[str, str]
    ) -> list[Outcome]:
        statements = self._store.writing
        keys = {one.key for one, row in zip(deliveries, mapped, strict=True) if not isinstance(row, str)}
        with statements.begin(self._store.engine, keys) as connection:
            standing: dict[str, dict[int, _Known]] = {}
            for key, version, *known in statements.standing(connection, keys):
                standing.setdefault(key, {})[version] = _Known(*known)
            change = Change(standing, taken)
            outcomes = list(map(change.take, deliveries, mapped))
            if change.superseded:
                statements.supersede(connection, change.superseded)
            if change.rows:
                statements.insert(connection, change.rows)
                self._beside(connection, change)
        return outcomes

    def _beside(self, connection: Connection, change: Change) -> None:
        """What else a write changes in its transaction, for who keeps more than this table."""

    def _taken(self, deliveries: Sequence[Delivery]) -> dict[str, str]:
        """Ids of these deliveries that stand under some key, with it: an id must not mean two things."""
        with self._store.engine.connect() as connection:
            found = self._store.writing.taken(connection, [one.id for one in deliveries])
            return {row[0]: row[1] for row in found}

    def verify(self, batch: str) -> Tally:
        """Rows of the batch and the sum of their fingerprints, computed again from the columns.

        A row is not counted whose `current` or `late` contradicts its versions, or that lies where nobody looks for it.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        return self.verify_many([batch])[batch]

    def verify_many(self, batches: Sequence[str]) -> dict[str, Tally]:
        """The same for each of some batches, in a query for some hundred of them."""
        found: dict[str, list[int]] = {batch: [0, 0] for batch in batches}
        rows, asked = self._store.rows, list(found)
        options: dict[str, Any] = {"yield_per": 2000}
        if self._store.divided:  # rows and catalogue as of one moment, though a month is loaded meanwhile
            options["isolation_level"] = "REPEATABLE READ"
        with translated(), self._store.engine.connect().execution_options(**options) as connection:
            for at in range(0, len(asked), ASKED):
                statement = self._tallied(asked[at : at + ASKED])
                for batch, identity, key, version, content, merged, is_current, is_late, *values in connection.execute(
                    statement
                ):
                    if is_current and is_late:
                        one = Delivery(identity, "", key, version, content, rows.body(values), batch, merged)
                        found[batch][0] += 1
                        found[batch][1] += fingerprint(one)
                for batch, kept in self._store.archived(connection, asked[at : at + ASKED]).items():
                    found[batch][0] += kept.count
                    found[batch][1] += kept.digest
        return {batch: Tally(count, digest % 2**64) for batch, (count, digest) in found.items()}

    def held(self, since: datetime, batches: Sequence[str]) -> Iterator[Held]:
        """The rows of some batches, which the store knows by their names.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        del since
        with translated(), self._store.engine.connect().execution_options(yield_per=2000) as connection:
            for at in range(0, len(batches), ASKED):
                source, own = self._rows_of(batches[at : at + ASKED])
                wanted = source.add_columns(own.record_key, own.content, own.delivery_id, own.version)
                for row in connection.execute(wanted):
                    yield Held(*row)

    def _tallied(self, batches: Sequence[str]) -> Select[Any]:
        """Rows of some batches, and whether `current` and `late` are what their versions say."""
        source, own = self._rows_of(batches)
        other = self._store.table.alias("other")
        same = self._store.of_one_record(other.c, own)
        newest = select(func.max(other.c.version)).where(same).scalar_subquery()
        before = select(func.max(other.c.version)).where(same, other.c.seq < own.seq).scalar_subquery()
        return source.add_columns(
            own.batch, own.delivery_id, own.record_key, own.version, own.content, own.merged_into,
            and_(own.current == (own.version == newest), self._store.in_place(own)),
            own.late == (func.coalesce(before, own.version) > own.version),
            *self._store.given(own),
        )  # fmt: skip

    def _rows_of(self, batches: Sequence[str]) -> tuple[Select[Any], Any]:
        """Selects rows of batches, and their columns; PostgreSQL goes batch by batch, or it might read the table."""
        table = self._store.table
        if self._store.engine.dialect.name != "postgresql":
            return select().select_from(table).where(table.c.batch.in_(batches)), table.c
        from sqlalchemy.dialects.postgresql import ARRAY  # late: stores on SQLite need none of it

        names = func.unnest(literal(list(batches), ARRAY(Text))).table_valued("name").render_derived()
        own = select(table).where(table.c.batch == names.c.name).offset(literal_column("0")).lateral()
        return select().select_from(names.join(own, true())), own.c

    def check(self) -> list[str]:
        """How much the store holds.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        return self._store.check()

    def close(self) -> None:
        """Close the connections. Idempotent; a later call opens them again."""
        self._store.engine.dispose()


class Change:
    """What one write changes, worked out in memory from what stands.

    A key that stands nowhere yet costs one tuple, its row: what a garbage collector must walk is a fifth of the time.
    """

    def __init__(self, standing: dict[str, dict[int, _Known]], taken: dict[str, str]) -> None:
        self._standing = standing
        self._elsewhere = dict(taken)
        self._newest: dict[str, int] = {}
        self.rows: list[tuple[Any, ...]] = []
        self.superseded: set[str] = set()

    def current(self) -> Iterator[tuple[Any, ...]]:
        """The caller's columns of the rows that are current from now on."""
        return (row[_CURRENT + 2 :] for row in self.rows if row[_CURRENT])

    def take(self, delivery: Delivery, row: tuple[Any, ...] | str) -> Outcome:
        """Add one delivery; what it meets decides its outcome."""
        if isinstance(row, str):
            return Outcome(REFUSED, row)
        key, version = delivery.key, delivery.version
        versions = self._standing.get(key)
        before = self._newest.get(key)
        if versions is None and before is not None:
            versions = self._standing[key] = {self.rows[before][1]: _Known.of(self.rows[before])}
        known = versions.get(version) if versions else None
        if known is not None:
            return _met(delivery, known)
        if self._elsewhere.setdefault(delivery.id, key) != key:
            return Outcome(REFUSED, "ID_CONFLICT: 该编号已属另一记录 / this id belongs to another record")
        late = versions is not None and max(versions) > version
        values = (
            key, version, delivery.id, delivery.content, delivery.batch, delivery.merged_into, not late, late, *row,
        )  # fmt: skip
        if versions is not None:
            versions[version] = _Known.of(values)
        if not late:
            if before is not None:
                old = self.rows[before]
                self.rows[before] = (*old[:_CURRENT], False, *old[_CURRENT + 1 :])
            elif versions is not None:
                self.superseded.add(key)
            self._newest[key] = len(self.rows)
        self.rows.append(values)
        return _TAKEN


def _met(delivery: Delivery, known: _Known) -> Outcome:
    if known.delivery_id == delivery.id:
        return Outcome(ACCEPTED if known.batch == delivery.batch else DUPLICATE)
    if known.content == delivery.content:
        return Outcome(DUPLICATE)
    return Outcome(REFUSED, "VERSION_CONFLICT: 该版本已有不同内容 / this version stands with another content")


__all__ = ["Change", "SqlSink", "SqlSource", "StoreSettings", "TableSpec", "tables"]
