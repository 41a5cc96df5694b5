"""Vehicle registrations at work: the snapshot that batches are routed by, and held records read again for vehicles that moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
from sqlalchemy import func, select

from connectors.contracts import WorkItem
from pipelines import tables
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


def reread(state: State, exchange: Exchange) -> Iterator[tuple[list[WorkItem], int]]:
    """Items that read held records again of vehicles whose registration came since this exchange last looked.

    Yields (items, mark); the mark is remembered with the batch that served it, so a crash between asks again.
    """
    if not exchange.routing.registrations or exchange.source.connector != "sql":
        return
    t, meta = tables.registrations, tables.meta
    name = f"registrations-served:{exchange.name}"
    with state.reading() as connection:
        served = int(connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar() or 0)
        latest = int(connection.execute(select(func.max(t.c.sequence))).scalar() or 0)
        if latest <= served:
            return
        vins = list(
            connection.execute(select(t.c.vin).where(t.c.sequence > served).distinct().order_by(t.c.vin)).scalars()
        )
    items = [
        WorkItem(
            "registrations",
            f"registrations:{served}:{latest}:{at}",
            0,
            -1,
            extra={"column": "vin", "values": vins[at : at + _VINS_AT_ONCE]},
        )
        for at in range(0, len(vins), _VINS_AT_ONCE)
    ]
    yield items, latest
