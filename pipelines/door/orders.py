"""Which orders of the three-step interface were begun: by this door, or by pieces that a batch already took."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from pipelines import tables

_SOURCE = "door:orders"
EXISTS = "ORDER_EXISTS"


class Orders:
    """Claims to orders, in the transaction that keeps their first piece.

    A claim is a key of the inbox; one more bears what the insert said, so that the same insert again is success again.

    Args:
        exchange: name of the exchange that the pieces go to.
        system: collecting system that it writes.
    """

    def __init__(self, exchange: str, system: str = "") -> None:
        self._exchange, self._system = exchange, system

    def begin(self, connection: Connection, company: str, order: str, content: str, now: datetime) -> str:
        """Claim an order; ORDER_EXISTS where it was begun with other content, empty where the claim holds."""
        name, said = _key(company, order), _key(company, order, content)
        if self.begun(connection, company, order):
            return "" if self._known(connection, said) else EXISTS
        if not self._taken(connection, name, now):
            return "" if self._known(connection, said) else EXISTS  # another door was quicker
        self._taken(connection, said, now)
        return ""

    def begun(self, connection: Connection, company: str, order: str) -> bool:
        """Whether an order was begun."""
        f = tables.fragments
        return self._known(connection, _key(company, order)) or (
            connection.execute(
                select(f.c.id)
                .where(
                    f.c.exchange == self._exchange,
                    f.c.system == self._system,
                    f.c.company == company,
                    f.c.order == order,
                    f.c.step == "insert",
                )
                .limit(1)
            ).first()
            is not None
        )

    def _known(self, connection: Connection, key: str) -> bool:
        k = tables.inbox_keys
        where = (k.c.exchange == self._exchange) & (k.c.source == _SOURCE) & (k.c.key == key)
        return connection.execute(select(k.c.inbox).where(where)).first() is not None

    def _taken(self, connection: Connection, key: str, now: datetime) -> bool:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        row = {
            "exchange": self._exchange,
            "source": _SOURCE,
            "key": key,
            "inbox": 0,
            "received_at": now.isoformat(),
        }
        taken = connection.execute(dialect.insert(tables.inbox_keys).values(row).on_conflict_do_nothing())
        return taken.rowcount == 1


def _key(*parts: str) -> str:
    return sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
