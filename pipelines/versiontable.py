"""The version index on PostgreSQL: a table, which its server keeps in memory and several processes share.

The same look-up and addition as `pipelines.versions.VersionIndex`, which keeps runs of files beside SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Connection,
    FromClause,
    Integer,
    LargeBinary,
    bindparam,
    column,
    func,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from connectors.copying import copy_rows
from pipelines import tables
from pipelines.versionruns import ENTRY, Entries, newest

SMALL = 500
"""Additions up to this size go by arrays; greater ones are copied into a temporary table first."""
_ASKED = 20_000
_FIND = text(
    "SELECT w.place - 1, v.content, v.intake, v.version, v.held"
    " FROM unnest(CAST(:keys AS bytea[])) WITH ORDINALITY AS w (key, place)"
    " JOIN versions v ON v.key = w.key ORDER BY w.place"
)
_NAMES = ("key", "content", "intake", "version", "held")
_ARRAYS = (
    func.unnest(
        bindparam("keys", type_=ARRAY(LargeBinary)),
        bindparam("contents", type_=ARRAY(BigInteger)),
        bindparam("intakes", type_=ARRAY(BigInteger)),
        bindparam("versions", type_=ARRAY(Integer)),
        bindparam("helds", type_=ARRAY(Integer)),
    )
    .table_valued(*_NAMES, name="w")
    .render_derived()
)
_COPIED = table("added_versions", *(column(name) for name in _NAMES))


def _merge(source: FromClause) -> Insert:
    statement = insert(tables.versions).from_select(_NAMES, select(*(source.c[n] for n in _NAMES)).order_by("key"))
    changed = {name: statement.excluded[name] for name in _NAMES[1:]}
    return statement.on_conflict_do_update(index_elements=["key"], set_=changed)


class VersionTable:
    """Look-up and addition of entries on a connection that the caller commits."""

    def find(
        self, connection: Connection, hi: NDArray[np.uint64], lo: NDArray[np.uint64]
    ) -> tuple[NDArray[np.intp], Entries]:
        """Positions of the given keys that are known, and their entries, in the order of the positions."""
        keys = _keys(hi, lo)
        rows = [
            (start + place, content, intake, version, held)
            for start in range(0, len(keys), _ASKED)
            for place, content, intake, version, held in connection.execute(
                _FIND, {"keys": keys[start : start + _ASKED]}
            )
        ]
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
        columns = [
            _keys(entries["hi"], entries["lo"]),
            np.ascontiguousarray(entries["content"]).view(np.int64).tolist(),
            *(entries[name].tolist() for name in ("intake", "version", "held")),
        ]
        if len(entries) <= SMALL:
            names = ("keys", "contents", "intakes", "versions", "helds")
            connection.execute(_merge(_ARRAYS), dict(zip(names, columns, strict=True)))
            return
        connection.execute(
            text("CREATE TEMPORARY TABLE IF NOT EXISTS added_versions (LIKE versions) ON COMMIT DELETE ROWS")
        )
        t = tables.versions
        copy_rows(connection, t, list(t.columns), zip(*columns, strict=True), into="added_versions")
        connection.execute(_merge(_COPIED))
        connection.execute(text("TRUNCATE added_versions"))

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


def _keys(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> list[bytes]:
    """Keys as 16 bytes each, as `versions.key_bytes` writes them."""
    whole = np.empty((len(hi), 2), ">u8")
    whole[:, 0], whole[:, 1] = hi, lo
    data = whole.tobytes()
    return [data[at : at + 16] for at in range(0, len(data), 16)]
