"""The ledger's rows: counts of batches and destinations, changed only with what they count, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, select, update

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
        {
            "batch": batch,
            "destination": destination,
            "sink": account.sink,
            "addressed": account.counts["addressed"],
            **{end: account.counts[end] for end in ENDS},
            "stands": account.stands,
            "stands_digest": str(account.digest & MASK),
        }
        for destination, account in sorted(accounts.items())
    ]
    if rows:
        connection.execute(insert(tables.batch_destinations), rows)


def change(connection: Connection, batch: str, destination: str, account: Account) -> None:
    """Add an account's changes (which may be negative) to a destination's row, which is made when it is missing."""
    t = tables.batch_destinations
    where = (t.c.batch == batch) & (t.c.destination == destination)
    row = connection.execute(select(t).where(where)).mappings().first()
    if row is None:
        open_accounts(connection, batch, {destination: account})
        return
    values = {name: row[name] + account.counts[name] for name in ("addressed", *ENDS)}
    values["stands"] = row["stands"] + account.stands
    values["stands_digest"] = str((int(row["stands_digest"]) + account.digest) & MASK)
    connection.execute(update(t).where(where).values(**values))
