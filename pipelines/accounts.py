"""The ledger's rows: counts of batches and destinations, changed only with what they count, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, insert, select, update

from pipelines import tables
from pipelines.journal import Journal

MASK = (1 << 64) - 1

ENDS = ("delivered", "duplicate", "merged", "filtered", "dead", "waiting", "in_flight")
"""Where an addressed record can be: their sum is `addressed`, at every commit."""


INTAKE = (
    "received", "dead_intake", "duplicate_intake", "fragments", "decoded", "addressed", "dead_records",
    "duplicate_records", "filtered", "unplaced", "flagged",
)  # fmt: skip
"""What `intake` counts: columns of a batch."""


@dataclass
class Account:
    """What happens to one batch at one destination."""

    sink: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    stands: int = 0
    digest: int = 0


def intake(journals: Mapping[int, Journal]) -> dict[str, int]:
    """The intake counts of a batch, from its journals."""
    total: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    flagged = 0
    for journal in journals.values():
        total.update(journal.counts())
        lines = journal.lines
        dead = lines["findings"][lines["fate"] == _DEAD]
        for index in dead.tolist():
            stages[journal.findings[index][0]] += 1
        alive = lines["findings"][lines["fate"] != _DEAD]
        flagged += int((alive != 0).sum())
    dead_intake = stages["receive"] + stages["decode"]
    received = sum(total.values())
    fragments, known = total["fragment"], total["known"]
    return {
        "received": received,
        "dead_intake": dead_intake,
        "duplicate_intake": known,
        "fragments": fragments,
        "decoded": received - dead_intake - known - fragments,
        "addressed": total["addressed"],
        "dead_records": total["dead"] - dead_intake,
        "duplicate_records": total["duplicate"],
        "filtered": total["filtered"] + total["superseded"],
        "unplaced": total["unplaced"],
        "flagged": flagged,
    }


_DEAD = 2


def open_accounts(connection: Connection, batch: str, accounts: Mapping[str, Account]) -> None:
    """Write what is in flight when a batch is decided."""
    rows = [
        {"batch": batch, "destination": destination, "sink": account.sink, **_row(account)}
        for destination, account in sorted(accounts.items())
    ]
    if rows:
        connection.execute(_OPEN, rows)


def hold(connection: Connection, batches: Iterable[str]) -> None:
    """Keep others from changing what is accounted of batches until the end of the transaction (PostgreSQL)."""
    t = tables.batches
    for batch in sorted(set(batches)):
        connection.execute(select(t.c.id).where(t.c.id == batch).with_for_update())


def change(
    connection: Connection, batch: str, destination: str, account: Account, before: Account | None = None
) -> None:
    """Add an account's changes (which may be negative) to a destination's row, which is made when it is missing.

    `before`: what stands in the row, where that is known.
    """
    if before is None:
        t = tables.batch_destinations
        where = (t.c.batch == batch) & (t.c.destination == destination)
        row = connection.execute(select(t).where(where)).mappings().first()
        if row is None:
            open_accounts(connection, batch, {destination: account})
            return
        counts = Counter({name: int(row[name]) for name in _COUNTED})
        before = Account(row["sink"], counts, row["stands"], int(row["stands_digest"]))
    counts = Counter({name: before.counts[name] + account.counts[name] for name in _COUNTED})
    after = Account(before.sink, counts, before.stands + account.stands, before.digest + account.digest)
    connection.execute(_CHANGE, {"of": batch, "to": destination, **_row(after)})


def _row(account: Account) -> dict[str, int | str]:
    counts = {name: account.counts[name] for name in _COUNTED}
    return {**counts, "stands": account.stands, "stands_digest": str(account.digest & MASK)}


_COUNTED = ("addressed", *ENDS)
_OPEN = insert(tables.batch_destinations)
_CHANGE = (
    update(tables.batch_destinations)
    .where(
        tables.batch_destinations.c.batch == bindparam("of"), tables.batch_destinations.c.destination == bindparam("to")
    )
    .values({name: bindparam(name) for name in (*_COUNTED, "stands", "stands_digest")})
)
