"""Rows of a versioned store as a source: what one exchange delivered, the next one reads.

source = SqlSource(SqlSource.Settings(url="sqlite:///store.db", table=spec, where={"origin": 1}, merged=False))
again = WorkItem("repairs", source.digest, extra={"column": "vin", "values": ["LSV..."]})
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson
from pydantic import Field
from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.engine import make_url

from connectors.contracts import Block, Misconfigured, WorkItem
from connectors.engines import translated
from connectors.sqlbase import ASKED, Store, StoreSettings


class SqlSource:
    """Rows of a versioned table, in the order in which they came, each as one JSON envelope.

    The body has the spec's columns as the sink got them, then `record_key`, `version`, `content` and `merged_into`.
    Late versions are left out: they are history. An item whose `extra` is `{"column": ..., "values": [...]}` reads
    the current rows with these values again, whatever was read before.
    """

    class Settings(StoreSettings):
        """Settings of a SQL source."""

        where: dict[str, str | int] = Field(default_factory=dict)
        """Columns that must have a value, e.g. `{"origin": 1}`."""
        merged: bool = True
        """Whether rows are read too that were merged into another record."""
        item_rows: int = Field(default=10_000, ge=1)
        """Places (`seq`) in one work item."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store = Store(settings)
        self._planned = ""
        self._barren = (1, 0)
        unknown = [name for name in settings.where if name not in settings.table.columns]
        if unknown:
            message = f"where 中有未知列 / where names unknown columns: {', '.join(unknown)}"
            raise Misconfigured(message, f"可用 / known: {', '.join(settings.table.columns)}")
        place = make_url(settings.address()).database or ""
        self.digest = sha256(f"{place.rpartition('/')[2]}/{settings.table.name}".encode()).hexdigest()

    @property
    def remote(self) -> bool:
        """Whether the rows are on a server, so that connecting to them costs as much as reading a few thousand."""
        return self._store.engine.dialect.name == "postgresql"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Items of `item_rows` places behind the mark, which is the last `seq` read, as text.

        `offset` and `length` bound the places; `extra["mark"]` is the mark once the item is done. The digest names the
        store, so that (digest, `seq`) stays the key of an envelope however it is cut. Where no row is for us there is
        no item: what somebody else's rows fill would be a batch of nothing.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        name = self._store.spec.name
        first, last = int(done.get(name, "") or 0) + 1, self._last()
        self._planned = str(max(last, first - 1))
        first = self._first(first, last)
        for at in range(first, last + 1, self.settings.item_rows):
            length = min(self.settings.item_rows, last + 1 - at)
            yield WorkItem(name, self.digest, at, length, extra={"mark": str(at + length - 1)})

    def _first(self, first: int, last: int) -> int:
        """The first place that has a row for us; places where none has are remembered, and no work items."""
        begin, end = self._barren
        if not begin <= first <= end:
            begin, end = first, first - 1
        first = end + 1
        if first > last or (not self.settings.where and self.settings.merged):
            return first
        own = self._store.table.c
        wanted = select(own.seq).where(own.seq >= first, own.seq <= last, own.late.is_(False), *self._asked())
        with translated(), self._store.engine.connect() as connection:
            found = connection.scalar(wanted.order_by(own.seq).limit(1))
        self._barren = begin, last if found is None else found - 1
        return self._barren[1] + 1

    def again(self, column: str, values: Sequence[str]) -> WorkItem:
        """An item that reads the current rows with these values of an indexed column."""
        return WorkItem(self._store.spec.name, self.digest, extra={"column": column, "values": list(values)})

    def _last(self) -> int:
        with translated(), self._store.engine.connect() as connection:
            self._store.writing.settle(connection)
            return connection.scalar(select(func.max(self._store.table.c.seq))) or 0

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's rows; offsets are `seq`.

        Raises:
            Misconfigured: there is no such table or column.
            Unavailable: the database is not to be had now.
        """
        columns = len(self._store.spec.columns)
        for part in self._parts(item):
            with (
                translated(),
                self._store.engine.connect().execution_options(yield_per=block) as connection,
                connection.execute(part) as found,  # closed also where the reader stops midway
            ):
                for rows in found.partitions(block):
                    bodies = [self._body(row[1:], columns) for row in rows]
                    yield Block(item, bodies, [row[0] for row in rows], [])

    def _parts(self, item: WorkItem) -> Iterator[Select[Any]]:
        own = self._store.table.c
        if "column" not in item.extra:
            yield self._select(own.seq >= item.offset, own.seq < item.offset + item.length, own.late.is_(False))
            return
        name = item.extra["column"]
        if name != "record_key" and name not in self._store.spec.columns:
            message = f"没有这一列 / there is no column {name!r}"
            raise Misconfigured(message, "请检查工作项 / check the work item")
        values = list(dict.fromkeys(item.extra["values"]))
        for at in range(0, len(values), ASKED):
            yield self._select(own[name].in_(values[at : at + ASKED]), own.current.is_(True))

    def _select(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        own = self._store.table.c
        given = self._store.given(own)
        wanted = select(own.seq, *given, own.record_key, own.version, own.content, own.merged_into)
        return wanted.where(*conditions, *self._asked()).order_by(own.seq)

    def _asked(self) -> list[ColumnElement[bool]]:
        """What the settings ask of rows."""
        own = self._store.table.c
        asked = [own[name] == value for name, value in self.settings.where.items()]
        return asked if self.settings.merged else [*asked, own.merged_into == literal("")]

    def _body(self, row: Sequence[Any], columns: int) -> bytes:
        head = self._store.rows.body(row[:columns])
        key, version, content, merged = row[columns:]
        tail = orjson.dumps({"record_key": key, "version": version, "content": content, "merged_into": merged})
        return head[:-1] + (b"," if len(head) > 2 else b"") + tail[1:]

    def mark(self, path: str) -> str:
        """The last `seq` that this object planned, else the last one that there is."""
        return self._planned or str(self._last())

    def finish(self, paths: Iterable[str]) -> None:
        """Nothing to do: rows stay, the mark tells what was read."""

    def check(self) -> list[str]:
        """How much the store holds.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        return self._store.check()

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._store.engine.dispose()
