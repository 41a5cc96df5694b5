"""The ledger as people and machines read it: totals, destinations, and the proof that both are true.

    with State(Path("var/state"), own=False) as state:
        proof = prove(state)
    proof.balanced, proof.totals, proof.problems

Totals count every envelope and every delivery once, where it is now:

    received = delivered + dead + duplicate + merged + filtered + waiting + fragments

*received* leaves out the orders that were assembled from pieces, and *fragments* are the pieces that went into orders,
less those orders, which have their own ends. With several destinations a record the ends are counted once a delivery,
so the sum is larger than what was received, and the proof rests on the equations of each batch alone. Receipts are no
records: they stand among the destinations, and not in the totals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from pipelines import tables
from pipelines.accounts import ENDS
from pipelines.equations import check_batches, check_kept, portions
from pipelines.itemproof import stray_items
from pipelines.problems import LETTERS, Problem
from pipelines.state import State
from pipelines.verifying import Verifier
from pipelines.versionruns import ENTRY

TOTALS = ("received", "delivered", "dead", "duplicate", "merged", "filtered", "waiting", "fragments")
OPEN = "open"


@dataclass(frozen=True)
class ExchangeLedger:
    """Totals and destinations of one exchange, and how many problems it has."""

    totals: Mapping[str, int]
    destinations: Mapping[str, Mapping[str, int]]
    problems: int = 0


@dataclass(frozen=True)
class Proof:
    """What proving found."""

    exchanges: Mapping[str, ExchangeLedger]
    problems: Sequence[Problem]
    verified: bool
    """Whether destinations and letters were asked, and not only the state."""
    batches: int
    """Batches that were proved."""
    unfinished: Sequence[str]
    """Batches that are not closed: their equations were proved, but destinations are not asked for them."""

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing, altered or too much."""
        return not self.problems

    @property
    def totals(self) -> dict[str, int]:
        """Totals over all exchanges."""
        return _added((ledger.totals for ledger in self.exchanges.values()), TOTALS)

    @property
    def destinations(self) -> dict[str, dict[str, int]]:
        """Destinations over all exchanges."""
        found: dict[str, list[Mapping[str, int]]] = {}
        for ledger in self.exchanges.values():
            for name, counts in ledger.destinations.items():
                found.setdefault(name, []).append(counts)
        return {name: _added(counts, tuple(counts[0])) for name, counts in sorted(found.items())}


def _added(counts: Iterable[Mapping[str, int]], names: Sequence[str]) -> dict[str, int]:
    total = dict.fromkeys(names, 0)
    for one in counts:
        for name in names:
            total[name] += one.get(name, 0)
    return total


def _scope(run: int | None, exchange: str | None) -> ColumnElement[bool]:
    b = tables.batches
    asked = [b.c.state != OPEN]
    if run is not None:
        asked.append(b.c.run == run)
    if exchange is not None:
        asked.append(b.c.exchange == exchange)
    return and_(*asked)


def totals(connection: Connection, *, run: int | None = None, exchange: str | None = None) -> dict[str, int]:
    """Where everything is that was received, by the names of `TOTALS`.

    *dead*: in intake, as records, as deliveries. *duplicate*: known envelopes, records, deliveries. *filtered*: records
    without a destination, deliveries of superseded versions. *waiting*: records without a known home, deliveries that
    wait or are under way, pieces of orders that are not whole. Batches that are only open do not count yet.
    """
    b, d, r = tables.batches, tables.batch_destinations, tables.runs
    chosen = _scope(run, exchange)
    fresh = case((b.c.kind == "fragments", 0), else_=b.c.received)
    of_batches = (
        ("received", fresh),
        ("orders", b.c.received - fresh),
        ("dead", b.c.dead_intake + b.c.dead_records),
        ("duplicate", b.c.duplicate_intake + b.c.duplicate_records),
        ("filtered", b.c.filtered),
        ("waiting", b.c.unplaced),
        ("fragments", b.c.fragments),
    )
    found = _sums(connection, of_batches, select().select_from(b).where(chosen))
    records = d.c.destination != r.c.receipts
    joined = select().select_from(d.join(b, b.c.id == d.c.batch).join(r, r.c.id == b.c.run)).where(chosen, records)
    for name, number in _sums(connection, [(end, d.c[end]) for end in ENDS], joined).items():
        key = "waiting" if name == "in_flight" else name
        found[key] = found.get(key, 0) + number
    f = tables.fragments
    pieces = select(func.count()).select_from(f.join(b, b.c.id == f.c.batch)).where(chosen, f.c.assembled == 0)
    waiting = int(connection.execute(pieces).scalar_one())
    found["waiting"] += waiting
    found["fragments"] -= waiting + found.pop("orders")
    return {name: found.get(name, 0) for name in TOTALS}


def _sums(
    connection: Connection, columns: Sequence[tuple[str, ColumnElement[int]]], statement: Select[Any]
) -> dict[str, int]:
    asked = statement.add_columns(*(func.coalesce(func.sum(column), 0).label(name) for name, column in columns))
    row = connection.execute(asked).one()
    return {name: int(getattr(row, name)) for name, _ in columns}


def destinations(
    connection: Connection, *, run: int | None = None, exchange: str | None = None
) -> dict[str, dict[str, int]]:
    """Destination -> {received (addressed), delivered, duplicate, merged, filtered, dead, waiting, in_flight}."""
    b, d = tables.batches, tables.batch_destinations
    columns = [func.sum(d.c.addressed).label("received"), *(func.sum(d.c[end]).label(end) for end in ENDS)]
    statement = (
        select(d.c.destination, *columns)
        .join(b, b.c.id == d.c.batch)
        .where(_scope(run, exchange))
        .group_by(d.c.destination)
        .order_by(d.c.destination)
    )
    return {
        row.destination: {name: int(value) for name, value in row._mapping.items() if name != "destination"}
        for row in connection.execute(statement)
    }


def prove(state: State, exchanges: Sequence[str] | None = None, *, verify: bool = True) -> Proof:
    """Prove the ledger of a state: equations, journals, and what stands at the destinations.

    Works beside a running gateway: each batch is read as it is at one moment, and a batch that changes while its
    destinations are asked is asked again.

    Args:
        state: the state; need not be owned.
        exchanges: names of exchanges; None for all.
        verify: whether destinations and letters are asked too.

    Raises:
        SealError: the sealing key is lost or is another one; nothing that is kept can be verified without it.
    """
    b = tables.batches
    with state.reading() as connection:
        statement = select(b.c.id, b.c.exchange, b.c.received).where(b.c.state != OPEN).order_by(b.c.number)
        chosen = [row for row in connection.execute(statement) if exchanges is None or row.exchange in exchanges]
    verifier = Verifier(state, state.sealer()) if verify and chosen else None
    problems: list[Problem] = []
    unfinished: list[str] = []
    by_exchange: Counter[str] = Counter(dict.fromkeys((row.exchange for row in chosen), 0))
    try:
        for portion in portions(chosen):
            found, closed = _prove_some(state, [row.id for row in portion], verifier)
            for batch, exchange, _ in portion:
                problems += found[batch]
                by_exchange[exchange] += len(found[batch])
            unfinished += [row.id for row in portion if row.id not in closed]
        strays = _strays(state, exchanges, verify=verify)
    finally:
        if verifier is not None:
            verifier.close()
    problems += _lost_versions(state)
    for exchange, stray in strays:
        problems.append(stray)
        by_exchange[exchange] += 1
    ledgers = {}
    with state.reading() as connection:
        for name, count in by_exchange.items():
            records = verifier.records.get(name, Counter()) if verifier is not None else None
            listed = {
                destination: counts if records is None else {**counts, "records": records[destination]}
                for destination, counts in destinations(connection, exchange=name).items()
            }
            ledgers[name] = ExchangeLedger(totals(connection, exchange=name), listed, count)
    return Proof(ledgers, problems, verifier is not None, len(chosen), unfinished)


def _prove_some(
    state: State, batches: Sequence[str], verifier: Verifier | None
) -> tuple[dict[str, list[Problem]], set[str]]:
    """Batch -> what is wrong with it, and those that are closed."""
    b = tables.batches
    with state.reading() as connection:
        found = check_batches(connection, batches)
        states = select(b.c.id).where(b.c.id.in_(batches), b.c.state == "closed")
        closed = set(connection.execute(states).scalars())
        if verifier is not None:
            for problem in check_kept(connection, verifier.sealer, batches):
                found[problem.batch].append(problem)
    if verifier is not None:
        for batch, problems in verifier.batches([one for one in batches if one in closed]).items():
            found[batch] += problems
    return found, closed


def _lost_versions(state: State) -> list[Problem]:
    """Files of the version index that the catalogue names and that are not there whole."""

    def lost() -> dict[str, tuple[int, int]]:
        t = tables.version_runs
        with state.reading() as connection:
            rows = connection.execute(select(t.c.name, t.c.rows)).all()
        sizes = {r.name: (r.rows * ENTRY.itemsize, _size(state.path / "versions" / r.name)) for r in rows}
        return {name: size for name, size in sizes.items() if size[0] != size[1]}

    first = lost()
    # A gateway that runs beside this may just have merged a file away: only what is still missing is lost.
    again = lost() if first else {}
    return [Problem("lost-versions", "", "versions", wanted, found, name) for name, (wanted, found) in again.items()]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _strays(state: State, exchanges: Sequence[str] | None, *, verify: bool) -> list[tuple[str, Problem]]:
    """Items, and letters where those are asked, of batches that are not."""
    t = tables.letters.letters
    with state.reading() as connection:
        found = list(stray_items(connection, exchanges))
        asked = select(t.c.id, t.c.exchange, t.c.batch).where(t.c.batch.not_in(select(tables.batches.c.id)))
        rows = connection.execute(asked).all() if verify else []
    return found + [
        (row.exchange, Problem("extra-letter", row.batch, LETTERS, "-", row.id, row.id))
        for row in rows
        if exchanges is None or row.exchange in exchanges
    ]
