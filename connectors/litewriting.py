"""How rows get into a versioned table of SQLite: one writer at a time, one look-up by a JSON array, raw inserts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Table, bindparam, func, insert, select, update

from connectors.contracts import Delivery
from connectors.engines import WRITES


class LiteWriting:
    """The statements by which a sink writes; all of a table of SQLite."""

    def __init__(self, table: Table) -> None:
        self._table = table
        own = table.c
        wanted = select(func.json_each(bindparam("keys")).table_valued("value").c.value)
        self._standing = select(own.record_key, own.version, own.delivery_id, own.content, own.batch).where(
            own.record_key.in_(wanted)
        )
        self._taken = select(own.delivery_id, own.record_key).where(own.delivery_id.in_(wanted))

    def unfit(self, _delivery: Delivery, _row: Sequence[Any]) -> str:
        """Why this database cannot hold a row: it can hold all that is a row."""
        return ""

    @contextmanager
    def begin(self, engine: Engine, _keys: Collection[str]) -> Iterator[Connection]:
        """A transaction that no other writer can overlap."""
        with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            yield connection

    def settle(self, _connection: Connection) -> None:
        """Nothing to wait for: who writes alone commits in the order of its numbers."""

    def standing(self, connection: Connection, keys: Collection[str]) -> Iterable[Any]:
        """Key, version, delivery id, content and batch of the rows with these keys."""
        return connection.execute(self._standing, {"keys": orjson.dumps(list(keys)).decode()})

    def taken(self, connection: Connection, ids: Sequence[str]) -> Iterable[Any]:
        """Delivery id and key of the rows with these ids."""
        return connection.execute(self._taken, {"keys": orjson.dumps(list(ids)).decode()})

    def supersede(self, connection: Connection, keys: Collection[str]) -> None:
        """No version of these keys is current any more."""
        own = self._table.c
        statement = update(self._table).where(own.record_key == bindparam("k"), own.current.is_(True))
        connection.execute(statement.values(current=False), [{"k": key} for key in keys])

    def insert(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, whose columns are those of the table behind `seq`.

        Raises:
            IntegrityError: an id or a version is there already.
        """
        # The statement comes from SQLAlchemy, the rows go straight to the driver: half the time of execute().
        names = [column.name for column in self._table.columns if column.name != "seq"]
        compiled: Any = insert(self._table).compile(dialect=connection.dialect, column_keys=names)
        connection.exec_driver_sql(str(compiled), list(rows))
