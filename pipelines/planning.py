"""What a run takes in: a source's items in batches, without what earlier batches did, and marks of what is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select

from connectors.contracts import Source, WorkItem
from pipelines import tables
from pipelines.knownitems import envelopes_of, identity, unpacked_items
from pipelines.settings import Exchange
from pipelines.sources import in_rows
from pipelines.state import State

_UNKNOWN_SIZE = 1 << 20
_FOR_PROCESSES = 2
"""With worker processes batches are so many times larger: each has about as much to do as a single one would."""
_ROW_SIZE = 800
_LOOKED_AT = 50
"""Batches read at a time of what killed runs did."""
_MARKS = select(tables.positions.c.path, tables.positions.c.mark).where(tables.positions.c.exchange == bindparam("of"))
_UNMARK = delete(tables.positions).where(
    tables.positions.c.exchange == bindparam("of"), tables.positions.c.path == bindparam("at")
)
_MARK = insert(tables.positions)


class Chunk(NamedTuple):
    """Items that become one batch, and the paths that are read to their end with it."""

    items: list[WorkItem]
    complete: list[tuple[str, str]]
    """(path, mark as it was planned)."""
    repeated: list[WorkItem]
    """Items whose bytes are known from an earlier batch, or stand in this one too: duplicates before they are read."""


class Planner:
    """Plans one run of an exchange."""

    def __init__(self, state: State, exchange: Exchange, killed: Sequence[int] = ()) -> None:
        """`killed`: runs that were, this one among them where it goes on: what they did may not be marked yet."""
        self._state, self._exchange, self._killed = state, exchange, killed

    def chunks(self, source: Source) -> Iterator[Chunk]:
        """Planned items in batches. The same bytes of a sender are worked on once, however often they lie there."""
        bounds = self._exchange.batch
        most = bounds.bytes * (_FOR_PROCESSES if bounds.workers > 1 else 1)
        chunk, size, planned = Chunk([], [], []), 0, set()
        done = self._done()
        last: tuple[str, str] | None = None
        for named in source.plan(self._positions()):
            item = self._named(named)
            here = (item.source, mark_of(item))
            if last is not None and here[0] != last[0]:
                chunk.complete.append(last)
            last = here
            if (*here, *identity(item)) in done:
                continue
            if identity(item) in planned or self._is_known(item):
                chunk.repeated.append(item)
                continue
            planned.add(identity(item))
            chunk.items.append(item)
            size += self._size(item)
            if size >= most or len(chunk.items) >= bounds.items:
                yield chunk
                chunk, size = Chunk([], [], []), 0
        if last is not None:
            chunk.complete.append(last)
        yield chunk

    def finish(self, source: Source, complete: Iterable[tuple[str, str]]) -> int:
        """Let the source archive or mark paths that are read to their end, then remember them; how many they were.

        In this order: a crash between finds them archived, or in the plan again with every item of them accounted for.
        """
        marks = dict(complete)
        if not marks:
            return 0
        source.finish(marks)
        with self._state.unit_of_work() as connection:
            remember(connection, self._exchange.name, marks)
        return len(marks)

    def _done(self) -> set[tuple[Any, ...]]:
        """What killed runs did of paths that were not read to their end: paths, marks and identities of items.

        One path is read after the other: what was worked on before a path that is read to its end is so too.
        """
        done: set[tuple[Any, ...]] = set()
        if not self._killed:
            return done
        finished = self._positions()
        for items in self._worked():
            done.update((item.source, mark_of(item), *identity(item)) for item in items)
            if any(finished.get(item.source) == mark_of(item) for item in items):
                break
        return done

    def _worked(self) -> Iterator[list[WorkItem]]:
        """The items of each batch that killed runs made of their source, the newest first."""
        b = tables.batches
        mine = select(b.c.number, b.c["items"]).where(b.c.run.in_(self._killed), b.c.kind.in_(("source", "known")))
        newest_first = mine.order_by(b.c.number.desc()).limit(_LOOKED_AT)
        rows: Sequence[Any] = ()
        while True:
            with self._state.reading() as connection:
                before = [b.c.number < rows[-1].number] if rows else []
                rows = connection.execute(newest_first.where(*before)).all()
            if not rows:
                return
            yield from (unpacked_items(row._mapping["items"]) for row in rows)

    def _named(self, item: WorkItem) -> WorkItem:
        """The item with the collecting system that the settings make of the one in its layout (`oem-{system}`)."""
        pattern = self._exchange.versions.system
        return replace(item, system=pattern.replace("{system}", item.system)) if "{system}" in pattern else item

    def _size(self, item: WorkItem) -> int:
        if in_rows(self._exchange.source, item):
            return max(item.length, 1) * _ROW_SIZE
        return item.length if item.length >= 0 else _UNKNOWN_SIZE

    def _positions(self) -> dict[str, str]:
        """Marks of finished paths; none for a single file, which is read (as duplicates) whenever it is named."""
        path = self._exchange.source.options.get("path")
        if path is not None and Path(str(path)).is_file():
            return {}
        with self._state.glancing() as connection:
            rows = connection.execute(_MARKS, {"of": self._exchange.name})
            return {row.path: row.mark for row in rows}

    def _is_known(self, item: WorkItem) -> bool:
        """Whether this very item was taken before."""
        with self._state.glancing() as connection:
            return envelopes_of(connection, self._exchange.name, item) is not None


def remember(connection: Connection, exchange: str, marks: Mapping[str, str]) -> None:
    """Keep up to where paths are read."""
    for path, mark in marks.items():
        connection.execute(_UNMARK, {"of": exchange, "at": path})
        connection.execute(_MARK, {"exchange": exchange, "path": path, "mark": mark})


def mark_of(item: WorkItem) -> str:
    """The mark of an item's path as it was planned."""
    return str(item.extra.get("mark", ""))


def marks_of(item: WorkItem) -> Iterator[tuple[str, str]]:
    """What is remembered once an item is decided, of a source whose marks are kept in that commit."""
    yield item.source, mark_of(item)
    yield from item.extra.get("beside", {}).items()


def with_next(chunks: Iterator[Chunk], *, ahead: bool) -> Iterator[tuple[Chunk, Sequence[WorkItem]]]:
    """Chunks, each with the items of the one that follows: planned early only where that is wanted."""
    if not ahead:
        yield from zip(chunks, repeat(()))
        return
    for chunk, following in pairwise(chain(chunks, (None,))):
        if chunk is not None:
            yield chunk, following.items if following is not None else ()
