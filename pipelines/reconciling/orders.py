"""Backfills that are ordered from whoever runs the exchange: durable, done once, and answered.

A command that may not own the state writes a row for each delivery; the gateway, or the next run of the exchange, takes
them up. An order that was done already changes nothing: the ledger says no longer that its delivery was delivered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select, update

from pipelines import tables
from pipelines.reconciling.report import Place
from pipelines.state import State

ORDERED = "ordered"
"""Not answered yet."""
MOST = 500
_LOOK_SECONDS = 0.2


def order(state: State, exchange: str, places: Iterable[Place]) -> None:
    """Order deliveries to be sent again; one that is ordered already is ordered anew."""
    t, moment = tables.backfill_orders, datetime.now(UTC).isoformat()
    rows = [
        {"id": one.name, "exchange": exchange, "asked_at": moment, "answered_at": "", "outcome": ""}
        for one in sorted(set(places))
    ]
    with state.unit_of_work() as connection:
        for at in range(0, len(rows), MOST):
            some = rows[at : at + MOST]
            connection.execute(delete(t).where(t.c.id.in_([row["id"] for row in some])))
            connection.execute(insert(t), some)


def awaited(state: State, places: Sequence[Place], seconds: float) -> dict[Place, str]:
    """What came of orders; those without an answer in so many seconds are *ordered*."""
    t, until = tables.backfill_orders, time.monotonic() + seconds
    while True:
        found: dict[str, str] = {}
        for at in range(0, len(places), MOST):
            names = [one.name for one in places[at : at + MOST]]
            with state.reading() as connection:
                answered = select(t.c.id, t.c.outcome).where(t.c.id.in_(names), t.c.answered_at != "")
                found |= {row.id: row.outcome for row in connection.execute(answered)}
        if len(found) == len(places) or time.monotonic() >= until:
            return {one: found.get(one.name, ORDERED) for one in places}
        time.sleep(_LOOK_SECONDS)


def serve(state: State, exchange: str, queue: Callable[[Iterable[Place]], Mapping[Place, str]]) -> None:
    """Do what is ordered of an exchange, and answer.

    Args:
        state: the state, owned.
        exchange: its name.
        queue: has deliveries sent again, and says what became of each.
    """
    t = tables.backfill_orders
    while True:
        with state.reading() as connection:
            waiting = select(t.c.id).where(t.c.exchange == exchange, t.c.answered_at == "")
            names = connection.execute(waiting.order_by(t.c.id).limit(MOST)).scalars().all()
        if not names:
            return
        told = queue(map(_place, names))
        moment = datetime.now(UTC).isoformat()
        with state.unit_of_work() as connection:
            for place, outcome in told.items():
                answer = update(t).where(t.c.id == place.name).values(answered_at=moment, outcome=outcome)
                connection.execute(answer)


def _place(name: str) -> Place:
    batch, item, ordinal, destination = name.split("/", 3)
    return Place(batch, int(item), int(ordinal), destination)
