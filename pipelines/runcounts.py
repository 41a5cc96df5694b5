"""What one run came to: its batches added up as the ledger does, and whether both equations hold for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from pipelines import ledger, tables
from pipelines.equations import check_batches, portions
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
    """What does not add up, by the state alone; empty when the run balances."""

    @property
    def balanced(self) -> bool:
        """Whether every envelope is accounted for."""
        return not self.problems

    @property
    def already_done(self) -> bool:
        """Whether nothing was new: there was no envelope, or all had been there before."""
        told = any(self.totals[end] for end in ("delivered", "dead", "merged", "waiting"))  # to another destination
        return self.totals["received"] == self.totals["duplicate"] and not told


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
            tuple(_problems(connection, run)),
        )


class Waits(NamedTuple):
    """Deliveries that wait for a destination."""

    deliveries: int
    tried_from: str
    """When the first of them may be tried again, ISO 8601 in UTC."""


def waiting_for(state: State, exchange: str) -> dict[str, Waits]:
    """Destination -> what waits for it now in an exchange; the home that is not known yet is none."""
    w = tables.waiting
    wanted = select(w.c.destination, func.count(), func.min(w.c.next_attempt))
    mine = (w.c.exchange == exchange) & (w.c.destination != "")
    with state.reading() as connection:
        rows = connection.execute(wanted.where(mine).group_by(w.c.destination).order_by(w.c.destination)).all()
    return {destination: Waits(int(count), moment) for destination, count, moment in rows}


def open_letters(state: State, exchange: str) -> int:
    """How many letters of an exchange a person should look at now."""
    t = tables.letters.letters
    where = (t.c.exchange == exchange) & (t.c.state == "open")
    with state.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(t).where(where)).scalar_one())


def _problems(connection: Connection, run: int) -> Iterator[str]:
    b = tables.batches
    rows = connection.execute(select(b.c.id, b.c.received).where(b.c.run == run).order_by(b.c.number)).all()
    for portion in portions(rows):
        for problems in check_batches(connection, [row.id for row in portion]).values():
            yield from map(str, problems)
