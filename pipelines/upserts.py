"""INSERT with a clause for what is there already, in the dialect of the connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, bindparam, func, select


def inserting(dialect: str, table: Table, names: Sequence[str]) -> Any:
    """An INSERT of many rows that has `on_conflict_do_nothing` and `on_conflict_do_update`; to be made once.

    On PostgreSQL the rows go as arrays in one statement, whose parsing would cost more than a row; none may name a key
    twice there.

    Args:
        dialect: the database's.
        table: where they go.
        names: columns that every row gives.
    """
    if dialect != "postgresql":
        from sqlalchemy.dialects.sqlite import insert as lite

        return lite(table)
    from sqlalchemy.dialects.postgresql import ARRAY
    from sqlalchemy.dialects.postgresql import insert as shared

    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in names]
    rows = func.unnest(*arrays).table_valued(*names, name="w").render_derived()
    return shared(table).from_select(list(names), select(*(rows.c[name] for name in names)))


def given(dialect: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """What such a statement is executed with; all rows have the members of the first one."""
    if dialect != "postgresql":
        return list(rows)
    return {name: [row[name] for row in rows] for name in rows[0]}


def given_rows(dialect: str, names: Sequence[str], rows: Collection[Sequence[Any]]) -> Any:
    """The same for rows that are values in the order of these names; at least one."""
    if dialect != "postgresql":
        return [dict(zip(names, row, strict=True)) for row in rows]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


_INDEXED_BYTES = 2_400


def indexable(*texts: str) -> bool:
    """Whether an index of any database holds these texts together; PostgreSQL's entries end at 2,704 bytes."""
    return sum(map(len, texts)) <= _INDEXED_BYTES // 4 or sum(len(one.encode()) for one in texts) <= _INDEXED_BYTES
