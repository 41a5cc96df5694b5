"""Whether anything follows that a batch of new envelopes would not bring: asked often, so in one statement."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from sqlalchemy import Connection, Executable, bindparam, exists, func, select

from pipelines import tables


class Following(NamedTuple):
    """What there is to look after in one exchange."""

    anything: bool
    """Pieces of orders, deliveries or records that wait, orders of commands, or files that are not in their place."""
    registrations: int
    """Number of the registration that came last, in any exchange; 0 before the first."""


def following(connection: Connection, exchange: str) -> Following:
    """What there is to look after, whoever has to do it."""
    row = connection.execute(_question(), {"of": exchange}).one()
    return Following(any(row[:-1]), int(row[-1]))


@cache
def _question() -> Executable:
    f, w, p, b = tables.fragments, tables.waiting, tables.parts, tables.batches
    orders = [
        exists().where(t.c.exchange == bindparam("of"), t.c.answered_at == "")
        for t in (tables.replay_orders, tables.backfill_orders)
    ]
    return select(
        exists().where(f.c.exchange == bindparam("of"), f.c.assembled == 0),
        exists().where(w.c.exchange == bindparam("of")),
        exists().where(p.c.promoted.is_(False), p.c.batch == b.c.id, b.c.exchange == bindparam("of")),
        *orders,
        select(func.coalesce(func.max(tables.registrations.c.sequence), 0)).scalar_subquery(),
    )
