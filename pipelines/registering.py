"""Vehicle registrations at work: the snapshot that routes batches, and held records read again for moved vehicles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
from sqlalchemy import Connection, delete, func, insert, select

from connectors.contracts import WorkItem
from pipelines import sources, tables
from pipelines.settings import Exchange
from pipelines.state import State

_VINS_AT_ONCE = 1_000


def snapshot(state: State, path: Path) -> str:
    """Write the registrations that stand to a file that workers read; empty text when there are none."""
    t = tables.registrations
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with state.reading() as connection, path.open("wb") as file:
        for row in connection.execute(select(t).where(t.c.current.is_(True)).order_by(t.c.vin, t.c.valid_from)):
            file.write(
                orjson.dumps(
                    {
                        "vin": row.vin,
                        "plate": row.plate,
                        "home": row.home,
                        "valid_from": row.valid_from,
                        "valid_to": row.valid_to,
                    }
                )
                + b"\n"
            )
            count += 1
    return str(path) if count else ""


def newest(connection: Connection) -> int:
    """Number of the registration that came last; 0 before the first."""
    return int(connection.execute(select(func.max(tables.registrations.c.sequence))).scalar() or 0)


def begin(state: State, exchange: Exchange) -> None:
    """Before an exchange's first batch: the registrations that are there route it, so none of them is news to it."""
    if not exchange.routing.registrations:
        return
    meta, b = tables.meta, tables.batches
    name = _served(exchange)
    with state.unit_of_work() as connection:
        worked = connection.execute(select(b.c.id).where(b.c.exchange == exchange.name, b.c.state != "open").limit(1))
        if worked.first() is None:
            connection.execute(delete(meta).where(meta.c.name == name))
            connection.execute(insert(meta), {"name": name, "value": str(newest(connection))})


def _served(exchange: Exchange) -> str:
    return f"registrations-served:{exchange.name}"


def reread(state: State, exchange: Exchange) -> Iterator[tuple[list[WorkItem], int]]:
    """Items that read held records again of vehicles whose registration came since this exchange last looked.

    Yields (items, mark); the mark is remembered with the batch that served it, so a crash between asks again.
    """
    stores = sources.stores(exchange.source)
    if not exchange.routing.registrations or not stores:
        return
    t, meta = tables.registrations, tables.meta
    name = _served(exchange)
    with state.reading() as connection:
        served = int(connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar() or 0)
        latest = newest(connection)
        if latest <= served:
            return
        vins = list(
            connection.execute(select(t.c.vin).where(t.c.sequence > served).distinct().order_by(t.c.vin)).scalars()
        )
    items = [
        WorkItem(
            f"{store}/registrations" if store else "registrations",
            f"registrations:{store}:{served}:{latest}:{at}",
            extra={
                "column": "vin",
                "values": vins[at : at + _VINS_AT_ONCE],
                **({sources.PART: store} if store else {}),
            },
        )
        for store in stores
        for at in range(0, len(vins), _VINS_AT_ONCE)
    ]
    yield items, latest
