"""Places in the inbox by intake numbers: what came first, where several gateways number batches of one inbox."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from pipelines import tables
from pipelines.journal import Journal
from pipelines.places import Places


class Arrivals:
    """Looks places up: in the journals of the batch that is being decided, else in those that were kept.

    Only corrections ask, so a journal is read once in a while.
    """

    def __init__(self, connection: Connection, exchange: str, batch: int, own: Mapping[int, Journal]) -> None:
        self._connection, self._exchange, self._batch, self._own = connection, exchange, batch, own
        self._places = Places(connection, batch, own)
        self._read: dict[tuple[int, int], Journal | None] = {}

    def __call__(self, intake: int) -> int:
        """The place in the inbox; 0 where it came in another way."""
        batch, item, ordinal = self._places(intake)
        journal = self._own.get(item) if batch == self._batch else self._kept(batch, item)
        return int(journal.lines["offset"][ordinal]) if journal is not None and ordinal < len(journal.lines) else 0

    def _kept(self, batch: int, item: int) -> Journal | None:
        if (batch, item) not in self._read:
            j, b = tables.journals, tables.batches
            packed = self._connection.execute(
                select(j.c.lines)
                .join(b, b.c.id == j.c.batch)
                .where(b.c.number == batch, b.c.exchange == self._exchange, b.c.kind == "inbox", j.c.item == item)
            ).scalar()
            self._read[batch, item] = None if packed is None else Journal.unpack(packed)
        return self._read[batch, item]
