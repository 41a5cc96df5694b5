"""INSERT with a clause for what is there already, in the dialect of the connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, select


def upsert(connection: Connection, table: Table) -> Any:
    """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as shared  # late: it costs every start else

        return shared(table)
    from sqlalchemy.dialects.sqlite import insert as lite

    return lite(table)


def many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """An INSERT of many rows that has those clauses, and what it is to be executed with.

    On PostgreSQL the rows go as arrays in one statement, whose parsing would cost more than a row; none may name a key
    twice there. All rows have the members of the first one, which are columns.
    """
    if connection.dialect.name != "postgresql":
        return upsert(connection, table), list(rows)
    from sqlalchemy.dialects.postgresql import ARRAY

    names = list(rows[0])
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in names]
    given = func.unnest(*arrays).table_valued(*names, name="w").render_derived()
    made = upsert(connection, table).from_select(names, select(*(given.c[name] for name in names)))
    return made, {name: [row[name] for row in rows] for name in names}
