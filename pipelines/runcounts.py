"""What one run came to: its batches added up as the ledger does, and whether both equations hold for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from pipelines import ledger, tables
from pipelines.accounts import ENDS
from pipelines.state import State


@dataclass(frozen=True)
class RunCounts:
    """The numbers of one run."""

    run: int
    totals: Mapping[str, int]
    """By the names of `pipelines.ledger.TOTALS`. Where each record has one destination, received = delivered + dead +
    duplicate + merged + filtered + waiting + fragments."""
    destinations: Mapping[str, Mapping[str, int]]
    flagged: int
    """Payloads that are accepted with a remark."""
    problems: tuple[str, ...]
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
    """Add up the batches of a run, without asking its sinks (`vingate ledger` does)."""
    b = tables.batches
    with state.reading() as connection:
        flagged = connection.execute(select(func.coalesce(func.sum(b.c.flagged), 0)).where(b.c.run == run))
        return RunCounts(
            run,
            ledger.totals(connection, run=run),
            ledger.destinations(connection, run=run),
            int(flagged.scalar_one()),
            (*_batches(connection, run), *_destinations(connection, run)),
        )


def open_letters(state: State, exchange: str) -> int:
    """How many letters of an exchange a person should look at now."""
    t = tables.letters.letters
    where = (t.c.exchange == exchange) & (t.c.state == "open")
    with state.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(t).where(where)).scalar_one())


def _batches(connection: Connection, run: int) -> Iterator[str]:
    b = tables.batches
    for row in connection.execute(select(b).where(b.c.run == run).order_by(b.c.number)):
        intake = row.decoded + row.dead_intake + row.duplicate_intake + row.fragments
        records = row.addressed + row.dead_records + row.duplicate_records + row.filtered + row.unplaced
        if row.received != intake:
            yield f"{row.id}: received {row.received}, accounted {intake}"
        if row.decoded != records:
            yield f"{row.id}: decoded {row.decoded}, accounted {records}"
        if row.state != "closed":
            yield f"{row.id}: {row.state}"


def _destinations(connection: Connection, run: int) -> Iterator[str]:
    b, d = tables.batches, tables.batch_destinations
    query = select(d).join(b, b.c.id == d.c.batch).where(b.c.run == run).order_by(d.c.destination, b.c.number)
    for row in connection.execute(query).mappings():
        if row["addressed"] != sum(row[end] for end in ENDS) or row["in_flight"]:
            ends = ", ".join(f"{end} {row[end]}" for end in ENDS)
            yield f"{row['batch']} -> {row['destination']}: addressed {row['addressed']}, {ends}"
