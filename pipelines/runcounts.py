"""What one run came to: its batches added up, and whether both equations of the ledger hold for each of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from pipelines import tables
from pipelines.accounts import ENDS
from pipelines.state import State

COUNTED = ("received", "delivered", "dead", "duplicate", "merged", "filtered", "waiting", "fragments", "flagged")
"""Names of the totals. Where each record has one destination, received = delivered + dead + duplicate + merged +
filtered + waiting + fragments."""
_AT_DESTINATIONS = ("delivered", "dead", "duplicate", "merged", "filtered", "waiting")


@dataclass
class RunCounts:
    """The numbers of one run."""

    run: int
    totals: Counter[str] = field(default_factory=Counter)
    destinations: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Batches and destinations whose equations do not hold; empty when the run balances."""

    @property
    def balanced(self) -> bool:
        """Whether every envelope is accounted for."""
        return not self.problems

    @property
    def already_done(self) -> bool:
        """Whether nothing was new: there was no envelope, or all had been there before."""
        return self.totals["received"] == self.totals["duplicate"]


def counts_of(state: State, run: int) -> RunCounts:
    """Add up the batches of a run. Receipts that go back to senders are no records: they stay out of the totals."""
    found = RunCounts(run)
    with state.reading() as connection:
        _intake(connection, found)
        _destinations(connection, found)
    return found


def open_letters(state: State, exchange: str) -> int:
    """How many letters of an exchange a person should look at now."""
    t = tables.letters.letters
    where = (t.c.exchange == exchange) & (t.c.state == "open")
    with state.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(t).where(where)).scalar_one())


def _intake(connection: Connection, found: RunCounts) -> None:
    b = tables.batches
    for row in connection.execute(select(b).where(b.c.run == found.run).order_by(b.c.number)):
        found.totals.update(
            received=row.received,
            dead=row.dead_intake + row.dead_records,
            duplicate=row.duplicate_intake + row.duplicate_records,
            filtered=row.filtered,
            waiting=row.unplaced,
            fragments=row.fragments,
            flagged=row.flagged,
        )
        intake = row.decoded + row.dead_intake + row.duplicate_intake + row.fragments
        records = row.addressed + row.dead_records + row.duplicate_records + row.filtered + row.unplaced
        if row.received != intake:
            found.problems.append(f"{row.id}: received {row.received}, accounted {intake}")
        if row.decoded != records:
            found.problems.append(f"{row.id}: decoded {row.decoded}, accounted {records}")
        if row.state != "closed":
            found.problems.append(f"{row.id}: {row.state}")


def _destinations(connection: Connection, found: RunCounts) -> None:
    b, d, r = tables.batches, tables.batch_destinations, tables.runs
    receipts = connection.execute(select(r.c.receipts).where(r.c.id == found.run)).scalar() or ""
    query = select(d).join(b, b.c.id == d.c.batch).where(b.c.run == found.run).order_by(d.c.destination, b.c.number)
    for row in connection.execute(query).mappings():
        counts = found.destinations.setdefault(row["destination"], Counter(dict.fromkeys(("received", *_AT_DESTINATIONS), 0)))
        counts["received"] += row["addressed"]
        counts.update({name: row[name] for name in _AT_DESTINATIONS})
        if row["destination"] != receipts:
            found.totals.update({name: row[name] for name in _AT_DESTINATIONS})
        if row["addressed"] != sum(row[end] for end in ENDS) or row["in_flight"]:
            ends = ", ".join(f"{end} {row[end]}" for end in ENDS)
            found.problems.append(f"{row['batch']} -> {row['destination']}: addressed {row['addressed']}, {ends}")
