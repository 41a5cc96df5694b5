"""Which orders of the three-step interface were begun: by this door, or by pieces that a batch already took."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from pipelines import tables
from pipelines.door.claims import Claims

EXISTS = "ORDER_EXISTS"


class Orders:
    """Orders of one exchange. The same insert again is success again; another one of the same order is refused.

    Args:
        exchange: name of the exchange that the pieces go to.
        system: collecting system that it writes.
    """

    def __init__(self, exchange: str, system: str = "") -> None:
        self._exchange, self._system = exchange, system
        self._claims = Claims(exchange, "door:orders")

    def begin(self, connection: Connection, company: str, order: str, content: str, now: datetime) -> str:
        """Begin an order; ORDER_EXISTS where it was begun with other content, else empty."""
        name = (company, order)
        if not self._claims.taken(connection, name) and self._held(connection, company, order):
            return EXISTS
        return "" if self._claims.claim(connection, name, content, now) else EXISTS

    def begun(self, connection: Connection, company: str, order: str) -> bool:
        """Whether an order was begun."""
        return self._claims.taken(connection, (company, order)) or self._held(connection, company, order)

    def _held(self, connection: Connection, company: str, order: str) -> bool:
        """Whether a batch took an insert of the order."""
        f = tables.fragments
        mine = (f.c.exchange == self._exchange) & (f.c.system == self._system) & (f.c.company == company)
        found = select(f.c.id).where(mine, f.c.order == order, f.c.step == "insert").limit(1)
        return connection.execute(found).first() is not None
