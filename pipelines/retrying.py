"""Deliveries that wait: tried again when their time comes, and records without a home when a registration names one.

An attempt is two commits with the effect between: the rows are marked as being tried (in flight), written, and
settled. A crash between leaves marked rows, which the next start tries first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from sqlalchemy import Connection, delete, func, select, tuple_, update

from dlq import reasons
from dlq.sealing import Sealer
from pipelines import accounts, tables
from pipelines.accounts import Account
from pipelines.closing import Closer, add_letters, amend
from pipelines.journal import ADDRESSED, DUPLICATE, FILTERED, SUPERSEDED, Journal
from pipelines.outbox import Outcomes, Unusual, status_of
from pipelines.partitions import among
from pipelines.places import Places
from pipelines.queues import HELD
from pipelines.replaying import claimed_letters, settle_delivery
from pipelines.rowform import routing_of
from pipelines.sealedrows import open_waiting, seal_waiting
from pipelines.settings import Exchange
from pipelines.sinks import Sinks
from pipelines.state import State
from pipelines.versionruns import ENTRY
from pipelines.waits import next_try
from routing.router import Router
from routing.table import load_table

_AT_ONCE, _FEW = 2_000, 50
_ASKED = 500


def retry(state: State, exchange: Exchange, sinks: Sinks, sealer: Sealer, closer: Closer, registrations: str) -> None:
    """Place what can be placed now, then try every delivery that is due once."""
    if registrations:
        _place(state, exchange, sinks, sealer, registrations)
    t = tables.waiting
    with state.reading() as connection:
        due = connection.execute(
            select(t.c.destination, func.min(t.c.next_attempt))
            .where(t.c.exchange == exchange.name, t.c.destination != "", *_ours(state, exchange))
            .group_by(t.c.destination)
            .order_by(t.c.destination)
        ).all()
    moment = datetime.now(UTC).isoformat()
    for destination, earliest in due:
        if earliest <= moment and not closer.queues.away(destination):
            _drain(state, exchange, sinks, sealer, closer, destination)
    if due:
        closer.queues.changed()


def waits_for_a_home(connection: Connection, exchange: str) -> bool:
    """Whether any record of an exchange waits until its home is known."""
    t = tables.waiting
    asked = select(t.c.id).where(t.c.exchange == exchange, t.c.destination == "").limit(1)
    return connection.execute(asked).first() is not None


def _drain(state: State, exchange: Exchange, sinks: Sinks, sealer: Sealer, closer: Closer, destination: str) -> None:
    """Try everything that waits for a destination once, in order of intake, until it turns out to be away.

    A few first: where they find it away the rest need not be touched. One that still cannot go holds back what waits
    behind it for the same vehicle, and nothing else.
    """
    last: tuple[int, int, int] = (-1, -1, -1)
    held: set[int] = set()
    size, atomic = _FEW, bool(getattr(sinks.row_sink(destination)[1], "atomic", False))
    while not closer.queues.away(destination):
        with state.reading() as connection:
            rows = _oldest(connection, state, exchange, destination, last, size)
        if not rows:
            return
        last = rows[-1].number, rows[-1].item, rows[-1].ordinal
        later = list(rows)
        while later and not closer.queues.away(destination):
            chosen, later = _in_order(later, held, all_at_once=atomic)
            for tried in (True, False):  # apart: a duplicate means something else where no attempt went before
                mine = [row for row in chosen if bool(row.attempts) is tried]
                if mine and not closer.queues.away(destination):
                    with state.unit_of_work() as connection:
                        _mark(connection, mine)
                    held |= _attempt(state, exchange, sinks, sealer, closer, mine, tried_before=tried)
        size = _AT_ONCE


def _ours(state: State, exchange: Exchange) -> list[Any]:
    """The condition that what waits is of our partitions."""
    return among(tables.waiting.c.vin, state.partitions(exchange.name))


def _oldest(
    connection: Any, state: State, exchange: Exchange, destination: str, last: tuple[int, int, int], size: int
) -> Sequence[Any]:
    t, b = tables.waiting, tables.batches
    place = tuple_(b.c.number, t.c.item, t.c.ordinal)
    found: Sequence[Any] = connection.execute(
        select(t, b.c.number)
        .join(b, b.c.id == t.c.batch)
        .where(
            t.c.exchange == exchange.name,
            t.c.destination == destination,
            place > tuple_(*last),
            *_ours(state, exchange),
        )
        .order_by(b.c.number, t.c.item, t.c.ordinal)
        .limit(size)
    ).all()
    return found


def _in_order(rows: Sequence[Any], held: Container[int], *, all_at_once: bool) -> tuple[list[Any], list[Any]]:
    """Rows that may go now and those that go after them; what is held goes another time.

    Of one vehicle only the first may, unless the destination takes or leaves a call as a whole. Documents of no vehicle
    (hash 0) have none in common.
    """
    seen: set[int] = set()
    now: list[Any] = []
    later: list[Any] = []
    for row in rows:
        if not row.vin:
            now.append(row)
        elif row.vin not in held:
            (later if row.vin in seen and not all_at_once else now).append(row)
            seen.add(row.vin)
    return now, later


def resume(state: State, exchange: Exchange, sinks: Sinks, sealer: Sealer, closer: Closer) -> None:
    """Try again what was being tried when the process ended, in order of intake."""
    t, b = tables.waiting, tables.batches
    with state.reading() as connection:
        rows = connection.execute(
            select(t)
            .join(b, b.c.id == t.c.batch)
            .where(t.c.exchange == exchange.name, t.c.trying.is_(True), *_ours(state, exchange))
            .order_by(b.c.number, t.c.item, t.c.ordinal)
        ).all()
    for at in range(0, len(rows), _AT_ONCE):
        _attempt(state, exchange, sinks, sealer, closer, rows[at : at + _AT_ONCE], tried_before=True)


def _mark(connection: Any, rows: Sequence[Any]) -> None:
    """The rows are being tried: their batches have deliveries in flight again."""
    t, b = tables.waiting, tables.batches
    accounts.hold(connection, [row.batch for row in rows])
    ids = [row.id for row in rows]
    for at in range(0, len(ids), _ASKED):
        connection.execute(update(t).where(t.c.id.in_(ids[at : at + _ASKED])).values(trying=True))
    for (batch, destination), number in sorted(Counter((row.batch, row.destination) for row in rows).items()):
        account = Account()
        account.counts.update(waiting=-number, in_flight=number)
        accounts.change(connection, batch, destination, account)
    for batch in sorted({row.batch for row in rows}):
        connection.execute(update(b).where(b.c.id == batch).values(state="settling"))


def _attempt(
    state: State,
    exchange: Exchange,
    sinks: Sinks,
    sealer: Sealer,
    closer: Closer,
    rows: Sequence[Any],
    *,
    tried_before: bool,
) -> set[int]:
    """Try rows that were marked; the vehicles whose rows wait still. `tried_before`: each of them may be there."""
    outbox = closer.outbox("", tried_before=tried_before)
    by_sent: dict[tuple[str, int, int, str], Any] = {}
    superseded: list[Any] = []
    with state.reading() as connection:
        standing = _standing(state, connection, rows)
        books: dict[tuple[str, int], Journal] = {}
        for row in rows:
            record = orjson.loads(open_waiting(sealer, row))
            if _superseded(standing, row):
                superseded.append(row)
                continue
            book = books.get((row.batch, row.item))
            if book is None:
                t = tables.journals
                packed = connection.execute(
                    select(t.c.lines).where(t.c.batch == row.batch, t.c.item == row.item)
                ).scalar_one()
                book = books[row.batch, row.item] = Journal.unpack(packed)
            line = book.lines[row.ordinal]
            sent = closer.send(
                record,
                orjson.dumps(record),
                row.destination,
                number=row.item,
                ordinal=row.ordinal,
                version=row.version,
                content=int(line["content"]),
                findings=book.findings[int(line["findings"])],
                batch=row.batch,
                merged_into=row.merged_into,
            )
            by_sent[row.batch, row.item, row.ordinal, row.destination] = row
            outbox.put(sent)
    outcomes = outbox.flush()
    _settle(state, exchange, sealer, closer, by_sent, outcomes, superseded)
    left = {(u.sent.delivery.batch, u.sent.number, u.sent.ordinal) for u in outcomes.exceptions if _waits(u)}
    return {row.vin for row in rows if (row.batch, row.item, row.ordinal) in left}


def _waits(unusual: Unusual) -> bool:
    return status_of(unusual) == "waiting"


def _standing(state: State, connection: Any, rows: Sequence[Any]) -> dict[str, Any]:
    """What the index knows of each waiting record, by the row's id: an old version must not follow a newer one."""
    if state.versions is None or not rows:
        return {}
    t = tables.journals
    keys: list[tuple[int, int]] = []
    books: dict[tuple[str, int], Journal] = {}
    for row in rows:
        book = books.get((row.batch, row.item))
        if book is None:
            packed = connection.execute(
                select(t.c.lines).where(t.c.batch == row.batch, t.c.item == row.item)
            ).scalar_one()
            book = books[row.batch, row.item] = Journal.unpack(packed)
        line = book.lines[row.ordinal]
        keys.append((int(line["key_hi"]), int(line["key_lo"])))
    hi, lo = np.array([k[0] for k in keys], np.uint64), np.array([k[1] for k in keys], np.uint64)
    at, entries = state.versions.find(connection, hi, lo)
    return {rows[position].id: entry for position, entry in zip(at.tolist(), entries, strict=True)}


def _superseded(standing: Mapping[str, Any], row: Any) -> bool:
    """Whether a newer version of a waiting record stands."""
    return row.id in standing and int(standing[row.id]["version"]) > row.version


def _settle(
    state: State,
    exchange: Exchange,
    sealer: Sealer,
    closer: Closer,
    by_sent: dict[tuple[str, int, int, str], Any],
    outcomes: Outcomes,
    superseded: Sequence[Any],
) -> None:
    t, b = tables.waiting, tables.batches
    unusual = {
        (u.sent.delivery.batch, u.sent.number, u.sent.ordinal, u.sent.delivery.destination): u
        for u in outcomes.exceptions
    }
    totals: dict[tuple[str, str], Account] = {}
    ended: dict[tuple[str, int], list[tuple[Any, str]]] = {}
    with state.unit_of_work() as connection:
        accounts.hold(connection, [row.batch for row in (*by_sent.values(), *superseded)])
        replayed = claimed_letters(connection, sealer, [*by_sent.values(), *superseded])
        for place, row in by_sent.items():
            account = totals.setdefault((row.batch, row.destination), Account())
            account.counts["in_flight"] -= 1
            found = unusual.get(place)
            status = status_of(found) if found else "delivered"
            account.counts[status] += 1
            if status == "waiting" and found:
                tried = found.tried or row.trying  # trying: before a crash, without an answer
                reason = found.outcome.reason
                kept = {"trying": False, "attempts": row.attempts + tried, "reason": reason}
                if reason not in HELD:
                    kept["next_attempt"] = next_try(exchange, found.sent.delivery.id, row.attempts + 1)
                connection.execute(update(t).where(t.c.id == row.id).values(**kept))
                continue
            ended.setdefault((row.batch, row.item), []).append((row, status))
            if row.id in replayed:
                anew = (reasons.from_outcome(found.outcome, row.destination),) if status == "dead" and found else ()
                settle_delivery(connection, sealer, replayed[row.id], anew)
            elif status == "dead" and found:
                told = connection.execute(select(b.c.number, b.c.received_at).where(b.c.id == row.batch)).one()
                intake = Places(connection).number(told.number, row.item, row.ordinal)
                letter = closer.letter(found, row.batch, intake, told.received_at)
                add_letters(connection, sealer, row.batch, [letter])
        for row in superseded:
            account = totals.setdefault((row.batch, row.destination), Account())
            account.counts.update(in_flight=-1, filtered=1)
            ended.setdefault((row.batch, row.item), []).append((row, "filtered"))
            if row.id in replayed:
                settle_delivery(connection, sealer, replayed[row.id], ())
        for (batch, item), rows in ended.items():
            ids = [row.id for row, _ in rows]
            for at in range(0, len(ids), _ASKED):
                connection.execute(delete(t).where(t.c.id.in_(ids[at : at + _ASKED])))
            amend(connection, batch, item, _outcomes(rows))
        for (batch, destination), account in totals.items():
            _add_standing(outcomes, batch, destination, account)
            accounts.change(connection, batch, destination, account)
        closer.notes.deliveries(connection, "", outcomes)
        for batch in {batch for batch, _ in totals}:
            left = connection.execute(select(t.c.id).where(t.c.batch == batch, t.c.trying.is_(True)).limit(1)).first()
            if left is None:
                connection.execute(update(b).where(b.c.id == batch).values(state="closed"))


def _add_standing(outcomes: Outcomes, batch: str, destination: str, account: Account) -> None:
    count, digest = outcomes.standing.get((batch, destination), (0, 0))
    account.stands, account.digest = count, digest


def _outcomes(rows: Sequence[tuple[Any, str]]) -> Any:
    """A change of a journal: these deliveries have ended, each with its status."""

    def change(book: Journal) -> None:
        for row, status in rows:
            told = book.outcomes.setdefault(str(row.ordinal), {})
            if status == "delivered":
                told.pop(row.destination, None)
                if not told:
                    del book.outcomes[str(row.ordinal)]
            else:
                told[row.destination] = status

    return change


def _place(state: State, exchange: Exchange, sinks: Sinks, sealer: Sealer, registrations: str) -> None:
    """Route records whose home was unknown again; those that have one now become deliveries that are due."""
    from pathlib import Path

    from pipelines.workbench import dealers, read_registrations
    from routing.homes import MemoryRegistrations

    known = MemoryRegistrations(read_registrations(Path(registrations)))
    router = Router(load_table(exchange.routing.table), known, dealers(exchange))
    t = tables.waiting
    last = ""
    while True:
        with state.unit_of_work() as connection:
            rows = connection.execute(
                select(t)
                .where(t.c.exchange == exchange.name, t.c.destination == "", t.c.id > last)
                .order_by(t.c.id)
                .limit(_AT_ONCE)
            ).all()
            if not rows:
                return
            last = rows[-1].id
            standing = _standing(state, connection, rows)
            sets = state.destination_sets(connection)
            placed: list[tuple[Any, Sequence[str]]] = []
            for row in rows:
                if _superseded(standing, row):
                    _end_wait(connection, row, SUPERSEDED, "filtered")
                    continue
                held = sets[int(standing[row.id]["held"])] if row.id in standing else ()
                destinations = _place_one(sinks, sealer, router, connection, row, held)
                if destinations and row.id in standing:
                    placed.append((standing[row.id], destinations))
            _hold(state, connection, placed)


def _end_wait(connection: Any, row: Any, fate: int, count: str) -> None:
    """A record whose home was not known waits no longer: a newer version stands, or it was sent another way since."""
    t, b = tables.waiting, tables.batches
    connection.execute(delete(t).where(t.c.id == row.id))
    moved = {"unplaced": b.c.unplaced - 1, count: b.c[count] + 1}
    connection.execute(update(b).where(b.c.id == row.batch).values(**moved))

    def change(book: Journal) -> None:
        book.lines[row.ordinal]["fate"] = fate
        book.notes.pop(str(row.ordinal), None)

    amend(connection, row.batch, row.item, change)


def _place_one(
    sinks: Sinks, sealer: Sealer, router: Router, connection: Any, row: Any, held: Sequence[str]
) -> Sequence[str]:
    """Route one record again; the destinations that it waits for now. `held`: by whom it is held already."""
    body = open_waiting(sealer, row)
    record = orjson.loads(body)
    found = routing_of(router, record)
    if not found.routes and not found.filtered:
        return ()
    t, b = tables.waiting, tables.batches
    destinations = tuple(r.destination for r in found.routes if r.destination not in held)
    if found.routes and not destinations:
        _end_wait(connection, row, DUPLICATE, "duplicate_records")
        return ()
    if any(map(sinks.takes_files, destinations)):
        return ()  # whole files are written by batches only: it waits until it is sent again
    connection.execute(delete(t).where(t.c.id == row.id))
    counts = connection.execute(select(b).where(b.c.id == row.batch)).one()
    moved = {"unplaced": counts.unplaced - 1}
    moved["addressed" if destinations else "filtered"] = (counts.addressed if destinations else counts.filtered) + 1
    connection.execute(update(b).where(b.c.id == row.batch).values(**moved))

    def change(book: Journal) -> None:
        line = book.lines[row.ordinal]
        line["fate"] = ADDRESSED if destinations else FILTERED
        if destinations:
            if destinations not in book.routes:
                book.routes.append(destinations)
            line["routes"] = book.routes.index(destinations)
            book.outcomes[str(row.ordinal)] = dict.fromkeys(destinations, "waiting")
            book.notes.pop(str(row.ordinal), None)
        else:
            book.notes[str(row.ordinal)] = found.filtered

    amend(connection, row.batch, row.item, change)
    for destination in destinations:
        account = Account(sinks.name(destination))
        account.counts.update(addressed=1, waiting=1)
        accounts.change(connection, row.batch, destination, account)
        name = f"{row.batch}/{row.item}/{row.ordinal}/{destination}"
        placed = {
            **{c: getattr(row, c) for c in ("exchange", "batch", "item", "ordinal", "vin", "version", "merged_into")},
            "id": name,
            "destination": destination,
            "reason": "placed",
            "attempts": 0,
            "next_attempt": datetime.now(UTC).isoformat(),
        }
        connection.execute(t.insert(), seal_waiting(sealer, placed, body))
    return destinations


def _hold(state: State, connection: Any, placed: Sequence[tuple[Any, Sequence[str]]]) -> None:
    """The index learns who will hold some records: what it has of each, and the destinations that are new."""
    if state.versions is None or not placed:
        return
    sets = state.destination_sets(connection)
    held: dict[tuple[int, int], tuple[Any, set[str]]] = {}
    for entry, destinations in placed:
        key = int(entry["hi"]), int(entry["lo"])
        held.setdefault(key, (entry, set(sets[int(entry["held"])])))[1].update(destinations)
    for entry, names in held.values():
        entry["held"] = state.destination_set(connection, tuple(names))
    state.versions.add(connection, np.array([entry for entry, _ in held.values()], ENTRY))
