"""INSERT with a clause for what is there already, in the dialect of the connection."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table


def upsert(connection: Connection, table: Table) -> Any:
    """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as shared  # late: it costs every start else

        return shared(table)
    from sqlalchemy.dialects.sqlite import insert as lite

    return lite(table)
