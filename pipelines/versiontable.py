"""The version index on PostgreSQL: a table, which its server keeps in memory and several processes share.

The same look-up and addition as `pipelines.versions.VersionIndex`, which keeps runs of files beside SQLite. Keys are of
the type `uuid`, though they are digests: 16 bytes without a length in front, of which a page of the index holds a third
more than of `bytea`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Connection,
    Executable,
    FromClause,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.schema import CreateTable

from connectors.copying import copy_rows
from pipelines import tables
from pipelines.versionruns import ENTRY, Entries, newest

SMALL = 500
"""Additions up to this size go by arrays; greater ones are copied into a temporary table first."""
_ASKED = 20_000
_STANDING = (
    "SELECT w.place - 1, v.content, v.intake, v.version, v.held"
    " FROM unnest(CAST(:keys AS uuid[])) WITH ORDINALITY AS w (key, place)"
    " JOIN versions v ON v.key = w.key"
)
_FIND, _LOCKED = text(_STANDING), text(f"{_STANDING} ORDER BY v.key FOR UPDATE OF v")
_UNSIGNED = (1 << 64) - 1
_NAMES = ("key", "content", "intake", "version", "held")
_GIVEN = ("keys", "contents", "intakes", "versions", "helds")
_ARRAYS = (
    func.unnest(
        cast(bindparam("keys", type_=String), ARRAY(Uuid)),
        bindparam("contents", type_=ARRAY(BigInteger)),
        bindparam("intakes", type_=ARRAY(BigInteger)),
        bindparam("versions", type_=ARRAY(Integer)),
        bindparam("helds", type_=ARRAY(Integer)),
    )
    .table_valued(*_NAMES, name="w")
    .render_derived()
)
_COPIED = Table(
    "added_versions",
    MetaData(),
    *(Column(c.name, String if c.primary_key else c.type) for c in tables.versions.c),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
_MAKE = CreateTable(_COPIED, if_not_exists=True)


class Raced(Exception):
    """What was decided rests on versions that another gateway has changed since: it is to be decided again."""


def _insert(source: FromClause) -> Insert:
    key = cast(source.c.key, Uuid)
    return insert(tables.versions).from_select(
        _NAMES, select(key, *(source.c[name] for name in _NAMES[1:])).order_by(key)
    )


def _merge(source: FromClause) -> Insert:
    statement = _insert(source)
    changed = {name: statement.excluded[name] for name in _NAMES[1:]}
    return statement.on_conflict_do_update(index_elements=["key"], set_=changed)


_MERGE_ARRAYS, _MERGE_COPIED = _merge(_ARRAYS), _merge(_COPIED)
_INSERT_NEW: Executable = _insert(_ARRAYS).on_conflict_do_nothing().returning(literal_column("1"))


class VersionTable:
    """Look-up and addition of entries on a connection that the caller commits."""

    def find(
        self, connection: Connection, hi: NDArray[np.uint64], lo: NDArray[np.uint64]
    ) -> tuple[NDArray[np.intp], Entries]:
        """Positions of the given keys that are known, and their entries, in the order of the positions."""
        order = np.lexsort((lo, hi))  # look-ups that follow each other go through the same upper pages of the index
        places = order.tolist()
        keys = _keys(hi[order], lo[order])
        rows = sorted(
            (places[start + place], content, intake, version, held)
            for start in range(0, len(keys), _ASKED)
            for place, content, intake, version, held in connection.execute(
                _FIND, {"keys": _array(keys[start : start + _ASKED])}
            )
        )
        positions = np.array([row[0] for row in rows], np.intp)
        entries = np.zeros(len(rows), ENTRY)
        entries["hi"], entries["lo"] = hi[positions], lo[positions]
        entries["content"] = np.array([row[1] for row in rows], np.int64).view(np.uint64)
        for at, name in enumerate(("intake", "version", "held"), 2):
            entries[name] = [row[at] for row in rows]
        return positions, entries

    def add(self, connection: Connection, entries: Entries) -> None:
        """Add entries, in intake order; of equal keys the last one counts."""
        if not len(entries):
            return
        entries = newest(entries)
        if len(entries) <= SMALL:
            connection.execute(_MERGE_ARRAYS, _given(entries))
            return
        connection.execute(_MAKE)
        keys = _keys(entries["hi"], entries["lo"])
        copy_rows(connection, _COPIED, list(_COPIED.columns), zip(keys, *_columns(entries), strict=True))
        connection.execute(_MERGE_COPIED)
        connection.execute(text("TRUNCATE added_versions"))

    def add_exactly(self, connection: Connection, entries: Entries, known: Entries) -> None:
        """Add entries that were decided by what `find` gave (`known`), unless that is not what stands there any more.

        Raises:
            Raced: another gateway decided one of these keys meanwhile; nothing may be committed.
        """
        if not len(entries):
            return
        entries = newest(entries)
        seen = dict(zip(_keys(known["hi"], known["lo"]), known[list(_NAMES[1:])].tolist(), strict=True))
        fresh = np.array([key not in seen for key in _keys(entries["hi"], entries["lo"])], bool)
        before, after = entries[~fresh], entries[fresh]
        if len(before):
            keys = _keys(before["hi"], before["lo"])
            stands = {
                keys[at + place]: (content & _UNSIGNED, intake, version, held)
                for at in range(0, len(keys), _ASKED)
                for place, content, intake, version, held in connection.execute(
                    _LOCKED, {"keys": _array(keys[at : at + _ASKED])}
                )
            }
            if any(stands.get(key) != seen[key] for key in keys):
                raise Raced
            self.add(connection, before)
        if len(after) and len(connection.execute(_INSERT_NEW, _given(after)).all()) < len(after):
            raise Raced

    def mergeable(self, _connection: Connection) -> list[tuple[str, int]]:
        """Nothing: a table has no runs."""
        return []

    def merge(self, _connection: Connection, _runs: Sequence[tuple[str, int]]) -> list[str]:
        """Nothing to do."""
        return []

    def drop(self, names: Iterable[str]) -> None:
        """Nothing to do."""

    def sweep(self, _connection: Connection) -> int:
        """Nothing to do: a transaction that was not committed leaves nothing."""
        return 0

    def size(self, connection: Connection) -> int:
        """Entries held."""
        return int(connection.execute(select(func.count()).select_from(tables.versions)).scalar_one())


def _given(entries: Entries) -> dict[str, object]:
    return dict(zip(_GIVEN, [_array(_keys(entries["hi"], entries["lo"])), *_columns(entries)], strict=True))


def _columns(entries: Entries) -> list[list[int]]:
    """The columns beside the key, as the database's numbers."""
    contents = np.ascontiguousarray(entries["content"]).view(np.int64).tolist()
    return [contents, *(entries[name].tolist() for name in ("intake", "version", "held"))]


def _keys(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> list[str]:
    """Keys as 32 hexadecimal digits each, which order as the database orders their UUIDs."""
    whole = np.empty((len(hi), 2), ">u8")
    whole[:, 0], whole[:, 1] = hi, lo
    digits = whole.tobytes().hex()
    return [digits[at : at + 32] for at in range(0, len(digits), 32)]


def _array(keys: Sequence[str]) -> str:
    """Keys as an array in the database's own notation: a list would be written key by key."""
    return f"{{{','.join(keys)}}}"
