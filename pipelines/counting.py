"""What exchanges did, in numbers: by exchange and destination, over the batches of some runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from pipelines import ledger, tables
from pipelines.accounts import ENDS
from pipelines.journal import ADDRESSED, Journal

COLUMNS = ("received", "delivered", "merged", "duplicate", "flagged", "dead", "filtered", "waiting", "fragments")
"""What is counted (`pipelines.ledger`). *received*: at a destination the records addressed to it, of an exchange the
payloads taken in; *fragments*: steps that went into an order."""


@dataclass(frozen=True)
class Counted:
    """What one exchange did: in all, and at each destination."""

    exchange: str
    totals: Counter[str]
    destinations: dict[str, Counter[str]]


def count(connection: Connection, runs: Sequence[int]) -> Iterator[Counted]:
    """What the batches of some runs came to, by exchange in the order in which they first ran."""
    b, d = tables.batches, tables.batch_destinations
    found: dict[str, Counted] = {}
    for run_id in runs:
        for exchange in _exchanges(connection, run_id):
            one = found.setdefault(exchange, Counted(exchange, Counter(), {}))
            one.totals.update(ledger.totals(connection, run=run_id, exchange=exchange))
    for batch in connection.execute(select(b.c.id, b.c.exchange, b.c.flagged).where(b.c.run.in_(runs))):
        one = found[batch.exchange]
        one.totals["flagged"] += batch.flagged
        flagged = _flagged(connection, batch.id)
        for row in connection.execute(select(d).where(d.c.batch == batch.id)).mappings():
            counts = one.destinations.setdefault(row["destination"], Counter())
            counts.update({"received": row["addressed"], "flagged": flagged[row["destination"]]})
            counts.update({end: row[end] for end in ENDS if end in COLUMNS})
    yield from found.values()


def _exchanges(connection: Connection, run_id: int) -> Sequence[str]:
    b = tables.batches
    return connection.execute(select(b.c.exchange).where(b.c.run == run_id).distinct()).scalars().all()


def _flagged(connection: Connection, batch: str) -> Counter[str]:
    """Destination -> records addressed to it that bear a flag."""
    t = tables.journals
    counts: Counter[str] = Counter()
    for packed in connection.execute(select(t.c.lines).where(t.c.batch == batch)).scalars():
        book = Journal.unpack(packed)
        lines = book.lines[(book.lines["fate"] == ADDRESSED) & (book.lines["findings"] != 0)]
        for routes, number in Counter(lines["routes"].tolist()).items():
            for destination in book.routes[routes]:
                counts[destination] += number
    return counts
