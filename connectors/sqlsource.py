"""Rows of a versioned store as a source: what one exchange delivered, the next one reads.

source = SqlSource(SqlSource.Settings(url="sqlite:///store.db", table=spec, where={"origin": 1}, merged=False))
again = WorkItem("repairs", source.digest, extra={"column": "vin", "values": ["LSV..."]})
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import orjson
from pydantic import Field
from sqlalchemy import ColumnElement, Select, bindparam, func, literal, select
from sqlalchemy.engine import make_url

from connectors.contracts import Block, Misconfigured, WorkItem
from connectors.engines import glancing, translated
from connectors.sqlbase import ASKED, Store, StoreSettings


class SqlSource:
    """Rows of a versioned table, in the order in which they came, each as one JSON envelope.

    The body has the spec's columns as the sink got them, then `record_key`, `version`, `content` and `merged_into`.
    Late versions are left out: they are history. An item whose `extra` is `{"column": ..., "values": [...]}` reads
    the current rows with these values again, whatever was read before.
    """

    mark_suffices = True
    """Nothing is done once a path was read: its mark may be kept in the commit that decides what was read of it."""

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
        self._ranged: tuple[list[str], Select[Any]] | None = None
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
        with translated(), glancing(self._store.engine) as connection:
            found = connection.scalar(self._next, {"first": first, "last": last})
        self._barren = begin, last if found is None else found - 1
        return self._barren[1] + 1

    @cached_property
    def _next(self) -> Select[Any]:
        """The first place from `first` to `last` that has a row for us."""
        own = self._store.table.c
        places = own.seq >= bindparam("first"), own.seq <= bindparam("last")
        return select(own.seq).where(*places, own.late.is_(False), *self._asked()).order_by(own.seq).limit(1)

    def again(self, column: str, values: Sequence[str]) -> WorkItem:
        """An item that reads the current rows with these values of an indexed column."""
        return WorkItem(self._store.spec.name, self.digest, extra={"column": column, "values": list(values)})

    def _last(self) -> int:
        with translated(), self._store.engine.begin() as connection:
            self._store.writing.settle(connection)
            return connection.scalar(self._newest) or 0

    @cached_property
    def _newest(self) -> Select[Any]:
        return select(func.max(self._store.table.c.seq))

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's rows; offsets are `seq`.

        Raises:
            Misconfigured: there is no such table or column.
            Unavailable: the database is not to be had now.
        """
        columns = len(self._store.spec.columns)
        for rows in self._rows(item, block):
            yield Block(item, [self._body(row[1:], columns) for row in rows], [row[0] for row in rows], [])

    def _rows(self, item: WorkItem, block: int) -> Iterator[Sequence[Any]]:
        """The item's rows, a block at a time; those of a short range of places at once, without a cursor."""
        if "column" not in item.extra and item.length <= block:
            with translated(), glancing(self._store.engine) as connection:
                rows: Sequence[Any] = connection.execute(self._range, _bounds(item)).all()
            if rows:
                yield rows
            return
        for part, given in self._parts(item):
            with (
                translated(),
                self._store.engine.connect().execution_options(yield_per=block) as connection,
                connection.execute(part, given) as found,  # closed also where the reader stops midway
            ):
                yield from found.partitions(block)

    def _parts(self, item: WorkItem) -> Iterator[tuple[Select[Any], dict[str, int]]]:
        if "column" not in item.extra:
            yield self._range, _bounds(item)
            return
        own = self._store.table.c
        name = item.extra["column"]
        if name != "record_key" and name not in self._store.spec.columns:
            message = f"没有这一列 / there is no column {name!r}"
            raise Misconfigured(message, "请检查工作项 / check the work item")
        values = list(dict.fromkeys(item.extra["values"]))
        for at in range(0, len(values), ASKED):
            yield self._select(own[name].in_(values[at : at + ASKED]), own.current.is_(True)), {}

    @property
    def _range(self) -> Select[Any]:
        """The rows of the places from `begin` up to before `end`; made anew when the table gets columns."""
        missing = self._store.lacking()
        if self._ranged is None or self._ranged[0] != missing:
            own = self._store.table.c
            places = own.seq >= bindparam("begin"), own.seq < bindparam("end")
            self._ranged = missing, self._select(*places, own.late.is_(False))
        return self._ranged[1]

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


def _bounds(item: WorkItem) -> dict[str, int]:
    return {"begin": item.offset, "end": item.offset + item.length}
