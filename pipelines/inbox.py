"""The inbox: envelopes whose source cannot be read again (HTTP, AMQP), durable from the commit that put them here.

An envelope that is in it counts as received: the door may answer, the queue may be acknowledged. Batches take waiting
envelopes in the order of their ids; a batch that was forgotten gives them back, one that is decided removes them. Where
none waits, envelopes may be given to a batch as they are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects import sqlite

from connectors.contracts import Arrival
from connectors.copying import copy_rows
from dlq.letter import storable
from dlq.sealing import Sealer
from pipelines import tables
from pipelines.partitions import partition_of, vin_in
from pipelines.vinhash import vin_hashes

SEALED_FOR = b"inbox"
"""What envelopes are sealed for."""
_AT_ONCE = 500
_LONGEST_KEY = 500
"""Characters; more may be too long for an index."""
_LONGEST_NAME = 200
"""Characters of a company or system."""
_COLUMNS = [column for column in tables.inbox.c if column.name not in ("id", "batch")]
_IDS = (
    select(tables.inbox.c.id)
    .where(tables.inbox.c.exchange == bindparam("of"), tables.inbox.c.batch == bindparam("batch"))
    .order_by(tables.inbox.c.id)
)
_REMOVE = delete(tables.inbox).where(
    tables.inbox.c.exchange == bindparam("of"), tables.inbox.c.batch == bindparam("taken_by")
)
_TAKE_ALL = text(
    "INSERT INTO inbox_keys (exchange, source, key, inbox, received_at)"
    " SELECT :exchange, w.source, w.key, 0, :moment"
    " FROM unnest(CAST(:sources AS text[]), CAST(:keys AS text[])) AS w (source, key)"
    " ON CONFLICT DO NOTHING RETURNING source, key"
)
"""Takes many keys in one statement (PostgreSQL)."""
_WAITING = (
    select(tables.inbox.c.id, tables.inbox.c.size)
    .where(tables.inbox.c.exchange == bindparam("exchange"), tables.inbox.c.batch.is_(None))
    .order_by(tables.inbox.c.id)
    .limit(bindparam("most"))
)
_OLDEST = text(
    "SELECT o.id, o.size FROM unnest(CAST(:partitions AS integer[])) AS p (partition)"
    " CROSS JOIN LATERAL (SELECT i.id, i.size FROM inbox i WHERE i.exchange = :exchange AND i.partition = p.partition"
    " AND coalesce(i.batch, 0) = 0 ORDER BY i.id LIMIT :most) AS o ORDER BY o.id LIMIT :most"
)
"""The oldest of some partitions, however much waits in the others (PostgreSQL)."""

CHANNEL = "vingate_inbox"
"""Who listens on it (PostgreSQL) hears of each commit that put something into an inbox, and into whose."""
_TELL = text(f"SELECT pg_notify('{CHANNEL}', :exchange)")
_TAKE = text(
    "UPDATE inbox SET batch = :batch WHERE id = ANY(CAST(:ids AS bigint[]))"
    " RETURNING id, source, company, system, dialect, received_at, body"
)
"""Gives many envelopes to a batch in one statement, and tells them (PostgreSQL)."""


class Judged(NamedTuple):
    """An envelope on its way into the inbox, with what was found when it was answered."""

    arrival: Arrival
    dialect: str = ""
    """Dialect that it was recognised as; empty: the exchange finds out."""
    vin: int = 0
    """Hash of its VIN (`pipelines.vinhash`); 0: none could be read."""
    verdict: str = ""
    """JSON of what the sender was told; empty where nobody waits for an answer."""


class Kept(NamedTuple):
    """An envelope in the inbox."""

    id: int
    source: str
    company: str
    system: str
    dialect: str
    received_at: str
    body: bytes


class Inbox:
    """The inbox of one exchange, on connections that the caller commits."""

    def __init__(self, exchange: str, sealer: Sealer) -> None:
        self._exchange, self._sealer = exchange, sealer

    def put(self, connection: Connection, judged: Sequence[Judged], received_at: datetime) -> list[bool]:
        """Keep envelopes; for each whether it is new. One whose key is known at its source is not kept again.

        A sender names company and key by any text; one that no database takes must not come again and again, so it
        is written out, or stands by its digest.
        """
        chosen, fresh = self._new(connection, judged, received_at)
        if chosen:
            self._insert(connection, _COLUMNS, self._rows(chosen, received_at))
            if connection.dialect.name == "postgresql":
                connection.execute(_TELL, {"exchange": self._exchange})
        return fresh

    def put_for(
        self, connection: Connection, judged: Sequence[Judged], received_at: datetime, batch: int
    ) -> list[Kept]:
        """Keep envelopes and give them to a batch at once: those that are new, in order, as `take` would give them.

        For who has seen that none waits here that came before them. Nobody is told of them.
        """
        chosen, _ = self._new(connection, judged, received_at)
        if not chosen:
            return []
        rows = [(*row, batch) for row in self._rows(chosen, received_at)]
        self._insert(connection, [*_COLUMNS, tables.inbox.c.batch], rows)
        moment, ids = (
            received_at.isoformat(),
            connection.execute(_IDS, {"of": self._exchange, "batch": batch}).scalars(),
        )
        return [
            Kept(number, of.source, of.company, of.system, one.dialect, moment, of.body)
            for number, one, of in zip(ids, chosen, [one.arrival for one in chosen], strict=True)
        ]

    def _new(
        self, connection: Connection, judged: Sequence[Judged], received_at: datetime
    ) -> tuple[list[Judged], list[bool]]:
        """The envelopes that are to be kept, and for each that came whether it is one."""
        judged = [_fit(one) for one in judged]
        fresh = self._fresh(connection, judged, received_at)
        return [one for one, new in zip(judged, fresh, strict=True) if new], fresh

    def _rows(self, chosen: Sequence[Judged], received_at: datetime) -> list[tuple[Any, ...]]:
        moment = received_at.isoformat()
        hashes = vin_hashes(["" if one.vin else vin_in(one.arrival.body) for one in chosen]).tolist()
        return [self._row(one, moment, one.vin or found) for one, found in zip(chosen, hashes, strict=True)]

    def _insert(self, connection: Connection, columns: Sequence[Column[Any]], rows: Sequence[tuple[Any, ...]]) -> None:
        if connection.dialect.name == "postgresql":
            copy_rows(connection, tables.inbox, columns, rows)
            return
        names = [column.name for column in columns]
        connection.execute(insert(tables.inbox), [dict(zip(names, row, strict=True)) for row in rows])

    def _row(self, one: Judged, moment: str, vin: int) -> tuple[Any, ...]:
        arrival = one.arrival
        return (
            self._exchange,
            arrival.source,
            arrival.key,
            arrival.company,
            arrival.system,
            one.dialect,
            moment,
            one.vin,
            len(arrival.body),
            one.verdict,
            self._sealer.seal(arrival.body, SEALED_FOR),
            partition_of(vin, f"{arrival.system}|{arrival.company}", one.dialect),
        )

    def _fresh(self, connection: Connection, judged: Sequence[Judged], received_at: datetime) -> list[bool]:
        """Which envelopes are new, by key; their keys are taken at once, so that of two at a time one is new."""
        keyed = {
            (one.arrival.source, one.arrival.key): i for i, one in reversed(list(enumerate(judged))) if one.arrival.key
        }
        fresh = [not one.arrival.key or one.arrival.new for one in judged]
        for known in self._take_keys(connection, sorted(keyed), received_at.isoformat()):
            fresh[keyed[known]] = True
        return fresh

    def _take_keys(self, connection: Connection, keys: Sequence[tuple[str, str]], moment: str) -> list[tuple[str, str]]:
        """Those of the (source, key) that nobody had; in their order, so that two who come at a time do not lock."""
        if not keys:
            return []
        if connection.dialect.name == "postgresql":
            told = {"exchange": self._exchange, "moment": moment}
            lists = {"sources": [source for source, _ in keys], "keys": [key for _, key in keys]}
            return [(row.source, row.key) for row in connection.execute(_TAKE_ALL, told | lists)]
        k = tables.inbox_keys
        take = sqlite.insert(k).on_conflict_do_nothing().returning(k.c.key)
        row = {"exchange": self._exchange, "inbox": 0, "received_at": moment}
        taken = [connection.execute(take, {**row, "source": source, "key": key}).first() for source, key in keys]
        return [one for one, new in zip(keys, taken, strict=True) if new is not None]

    def take(
        self, connection: Connection, most: int, size: int, batch: int, partitions: Collection[int] | None = None
    ) -> list[Kept]:
        """Give a batch the oldest waiting envelopes: at most so many, and after the first no more than `size` bytes.

        `partitions`: of these alone; None: of all.
        """
        ids: list[int] = []
        total = 0
        for row in self._waiting(connection, most, partitions):
            if ids and total + row.size > size:
                break
            ids.append(row.id)
            total += row.size
        return [self._kept(row) for row in self._give(connection, batch, ids)]

    def _give(self, connection: Connection, batch: int, ids: Sequence[int]) -> list[Any]:
        """Give envelopes to a batch; their rows, in order: bodies are read of what is taken alone."""
        t = tables.inbox
        if connection.dialect.name == "postgresql":
            rows = [*connection.execute(_TAKE, {"batch": batch, "ids": ids})] if ids else []
        else:
            take = update(t).values(batch=batch).returning(t)
            rows = [
                row
                for at in range(0, len(ids), _AT_ONCE)
                for row in connection.execute(take.where(t.c.id.in_(ids[at : at + _AT_ONCE]))).all()
            ]
        return sorted(rows, key=lambda row: row.id)

    def leave(self, connection: Connection, batch: int, last: int) -> None:
        """Of the envelopes that a batch took, those behind the number `last` wait for the next one."""
        t = tables.inbox
        where = (t.c.exchange == self._exchange) & (t.c.batch == batch) & (t.c.id > last)
        connection.execute(update(t).where(where).values(batch=None))

    def any_waits(self, connection: Connection, partitions: Collection[int] | None = None) -> bool:
        """Whether any envelope waits, of these partitions."""
        return bool(self._waiting(connection, 1, partitions))

    def _waiting(self, connection: Connection, most: int, partitions: Collection[int] | None) -> Sequence[Any]:
        """Id and size of the oldest that wait."""
        told = {"exchange": self._exchange, "most": most}
        if partitions is None:
            return connection.execute(_WAITING, told).all()
        return connection.execute(_OLDEST, told | {"partitions": sorted(partitions)}).all()

    def of(self, connection: Connection, batch: int) -> Iterator[Kept]:
        """The envelopes that a batch took, in order."""
        t = tables.inbox
        rows = connection.execute(select(t).where(t.c.exchange == self._exchange, t.c.batch == batch).order_by(t.c.id))
        return (self._kept(row) for row in rows)

    def _kept(self, row: Any) -> Kept:
        body = self._sealer.unseal(row.body, SEALED_FOR)
        return Kept(row.id, row.source, row.company, row.system, row.dialect, row.received_at, body)

    def give_back(self, connection: Connection) -> int:
        """Envelopes of batches that were opened and forgotten wait again; how many do."""
        t, b = tables.inbox, tables.batches
        alive = select(b.c.number).where(b.c.exchange == self._exchange)
        where = (t.c.exchange == self._exchange) & t.c.batch.is_not(None) & t.c.batch.not_in(alive)
        return connection.execute(update(t).where(where).values(batch=None)).rowcount

    def remove(self, connection: Connection, batch: int) -> int:
        """Remove the envelopes of a decided batch: letters, stores and journals keep what is needed; how many went."""
        return connection.execute(_REMOVE, {"of": self._exchange, "taken_by": batch}).rowcount

    def waiting(self, connection: Connection) -> tuple[int, int]:
        """How many envelopes wait, and their bytes."""
        t = tables.inbox
        where = (t.c.exchange == self._exchange) & t.c.batch.is_(None)
        row = connection.execute(select(func.count(), func.coalesce(func.sum(t.c.size), 0)).where(where)).one()
        return int(row[0]), int(row[1])

    def forget_keys(self, connection: Connection, before: datetime) -> int:
        """Drop source keys older than a moment; how many went."""
        k = tables.inbox_keys
        where = (k.c.exchange == self._exchange) & (k.c.received_at < before.isoformat())
        return connection.execute(delete(k).where(where)).rowcount


def _fit(one: Judged) -> Judged:
    arrival = one.arrival
    key, company, system = (storable(text) for text in (arrival.key, arrival.company, arrival.system))
    company, system = company[:_LONGEST_NAME], system[:_LONGEST_NAME]
    if key != arrival.key or len(key) > _LONGEST_KEY:
        key = sha256(key.encode()).hexdigest()
    if (key, company, system) == (arrival.key, arrival.company, arrival.system):
        return one
    return one._replace(arrival=arrival._replace(key=key, company=company, system=system))
