"""Orders that come in steps: their pieces assembled when they are whole, and given up when they are too old."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, and_, bindparam, case, func, or_, select

from connectors.contracts import WorkItem
from dlq.sealing import Sealer
from mappings.assembly import MAINTENANCE, NEEDED, family
from mappings.assembly import assemble as assemble_order
from pipelines import tables
from pipelines.sealedrows import open_piece
from pipelines.segments import RECORD, RowWriter, StagedRow
from pipelines.settings import Exchange
from pipelines.state import State
from pipelines.steps import TOO_OLD

_PIECES = 5_000
"""Pieces after which a batch is full."""
_SENDERS = 4_000
"""Senders of a batch: each is an item of it."""
_ASKED = 500


def assemble(state: State, exchange: Exchange, sealer: Sealer) -> Iterator[tuple[list[WorkItem], list[str]]]:
    """Batches of orders that became whole, or whose whole was corrected: (items, ids of the pieces they took).

    All pieces of an order count, also those that grew too old and became letters before the last one came.
    The steps never name the shop, so an order waits until its shop stands in the register of operators, or has an
    account at the door.
    """
    t = tables.fragments
    while True:
        with state.reading() as connection:
            orders = _whole(connection, exchange)
            names = _names(connection, {company for _, company, _ in orders})
            whole: dict[tuple[str, str], list[bytes]] = defaultdict(list)
            taken: list[str] = []
            for system, company, order in orders:
                name = names.get(company, "")
                if not name:
                    continue
                rows = connection.execute(
                    select(t)
                    .where(
                        t.c.exchange == exchange.name,
                        t.c.system == system,
                        t.c.company == company,
                        t.c.order == order,
                    )
                    .order_by(t.c.intake)
                ).all()
                for mine in _families(rows):
                    pieces = [(r.step, open_piece(sealer, r)) for r in mine]
                    document = assemble_order(pieces, company, name)
                    if document is not None:
                        whole[system, company].append(document)
                        taken += [r.id for r in mine if r.assembled == 0]
                if len(taken) >= _PIECES or len(whole) >= _SENDERS:
                    break
        if not taken:
            return
        yield _items(state, sealer, whole, "orders", {"dialect": "shanghai-order"}), taken


def _whole(connection: Connection, exchange: Exchange) -> Sequence[Any]:
    """System, company and code of the orders that are whole, at one interface at least, and have a new piece there.

    The one whose new piece came first is the first.
    """
    t = tables.fragments
    order = (t.c.system, t.c.company, t.c.order)
    mine = t.c.exchange == exchange.name
    due = select(*order).where(mine, t.c.assembled == 0).distinct().subquery()
    maintenance = t.c.step.in_(MAINTENANCE)

    def ready(steps: Sequence[str], of_interface: ColumnElement[bool]) -> ColumnElement[bool]:
        there = func.count(func.distinct(case((t.c.step.in_(steps), t.c.step))))
        return and_(there == len(steps), func.min(case((of_interface, t.c.assembled))) == 0)

    found: Sequence[Any] = connection.execute(
        select(*order)
        .join(due, and_(*(mine == theirs for mine, theirs in zip(order, due.c, strict=True))))
        .where(mine)
        .group_by(*order)
        .having(or_(ready(NEEDED, ~maintenance), ready(MAINTENANCE, maintenance)))
        .order_by(func.min(case((t.c.assembled == 0, t.c.intake))))
    ).all()
    return found


def _families(rows: Sequence[Any]) -> list[list[Any]]:
    """The pieces of one order code apart by interface, those of interfaces with nothing new left out."""
    apart: dict[tuple[str, ...], list[Any]] = {}
    for row in rows:
        apart.setdefault(family(row.step), []).append(row)
    return [mine for mine in apart.values() if any(row.assembled == 0 for row in mine)]


def _names(connection: Connection, companies: set[str]) -> dict[str, str]:
    """Company code -> the name in the register of operators, else the name of its account at the door."""
    o, a = tables.operators, tables.accounts
    codes: BindParameter[str] = bindparam("codes", expanding=True)
    held = select(a.c.company, a.c.companyname).where(a.c.company.in_(codes))
    registered = select(o.c.companycode, o.c.companyname).where(o.c.current.is_(True), o.c.companycode.in_(codes))
    ordered = sorted(companies)
    return {
        code: name
        for statement in (held, registered)
        for at in range(0, len(ordered), _ASKED)
        for code, name in connection.execute(statement, {"codes": ordered[at : at + _ASKED]})
    }


def expire(
    state: State, exchange: Exchange, sealer: Sealer, received_at: str
) -> Iterator[tuple[list[WorkItem], list[str]]]:
    """Batches of the pieces that are older than the exchange allows; they become letters."""
    t = tables.fragments
    oldest = datetime.fromisoformat(received_at) - timedelta(days=exchange.fragments.max_age_days)
    waiting = select(t).where(t.c.exchange == exchange.name, t.c.assembled == 0, t.c.received_at < oldest.isoformat())
    last = -1
    while True:
        pieces: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        taken: list[str] = []
        with state.reading() as connection:
            rows = connection.execute(waiting.where(t.c.intake > last).order_by(t.c.intake).limit(_PIECES)).all()
        if not rows:
            return
        for row in rows:
            if len(pieces) == _SENDERS and (row.system, row.company) not in pieces:
                break
            last = row.intake
            if datetime.fromisoformat(row.received_at) < oldest:
                pieces[row.system, row.company].append(open_piece(sealer, row))
                taken.append(row.id)
        if taken:
            yield _items(state, sealer, pieces, "pieces", {TOO_OLD: True}), taken


def _items(
    state: State, sealer: Sealer, bodies: dict[tuple[str, str], list[bytes]], name: str, extra: dict[str, Any]
) -> list[WorkItem]:
    """Items whose envelopes lie in sealed segments."""
    folder = state.path / "staging" / "assembled"
    folder.mkdir(parents=True, exist_ok=True)
    items: list[WorkItem] = []
    for (system, company), chosen in sorted(bodies.items()):
        path = folder / f"{name}-{len(items)}.rows"
        path.unlink(missing_ok=True)
        writer = RowWriter(path, sealer)
        writer.add([StagedRow(i, RECORD, body) for i, body in enumerate(chosen)])
        digest = f"{name}:{_fingerprint(chosen)}"
        items.append(WorkItem(name, digest, 0, -1, company, system, {**extra, "sealed": writer.close()}))
    return items


def _fingerprint(bodies: list[bytes]) -> str:
    from hashlib import sha256

    whole = sha256()
    for body in bodies:
        whole.update(sha256(body).digest())
    return whole.hexdigest()
