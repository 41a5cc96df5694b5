"""Claims: names that are taken once, with a mark of the content that they were taken for, in the caller's transaction.

They are keys of the inbox: kept as long as those, and known to every door on the same state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from pipelines import tables


class Claims:
    """Claims of one kind.

    Args:
        exchange: name of the exchange that they belong to.
        source: name of the kind.
    """

    def __init__(self, exchange: str, source: str) -> None:
        self._exchange, self._source = exchange, source

    def claim(self, connection: Connection, name: Sequence[str], content: str, now: datetime) -> bool:
        """Take a name for a content; False where it is taken for another one, True also where it is for this one."""
        if self._take(connection, _key(name), now):
            self._take(connection, _key((*name, content)), now)
            return True
        return self._known(connection, _key((*name, content)))

    def taken(self, connection: Connection, name: Sequence[str]) -> bool:
        """Whether a name is taken."""
        return self._known(connection, _key(name))

    def _known(self, connection: Connection, key: str) -> bool:
        k = tables.inbox_keys
        where = (k.c.exchange == self._exchange) & (k.c.source == self._source) & (k.c.key == key)
        return connection.execute(select(k.c.inbox).where(where)).first() is not None

    def _take(self, connection: Connection, key: str, now: datetime) -> bool:
        row = {
            "exchange": self._exchange,
            "source": self._source,
            "key": key,
            "inbox": 0,
            "received_at": now.isoformat(),
        }
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        k = tables.inbox_keys
        made = dialect.insert(k).values(row).on_conflict_do_nothing().returning(k.c.key)
        return connection.execute(made).first() is not None


def _key(parts: Sequence[str]) -> str:
    return sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
