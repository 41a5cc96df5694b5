"""The source `old-parts`: what 二级维护 orders say of their old parts (旧件处理), beside the records they become.

    [source]
    connector = "old-parts"
    state = "{state}"
    exchange = "collect"

The pieces of an order stay in the state once it is assembled. Those that some batches of the exchange assembled are a
*window*: of each order what it said before the window is compared with what it says at its end, so a corrected order
gives a next version, and one that takes its word back a withdrawal. A window gives the same envelopes whenever it is
read, since pieces never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, func, select

from connectors.contracts import Block, WorkItem
from mappings.assembly import MAINTENANCE, old_parts
from mappings.documents.interchange import encode_withdrawn
from mappings.documents.oldparts import OldPartDisposal
from mappings.records import Withdrawal
from pipelines import tables
from pipelines.marking import MarksInCommit
from pipelines.sealedrows import open_piece
from pipelines.state import State

_PATH = "old-parts"
_WINDOW = 20_000
"""Pieces after which a window is full."""
_GONE = "维修单不再说明旧件去向 / the order says nothing of its old parts any more"

_Order = tuple[str, str, str]
"""System, company, and code of an order."""


class OldPartSettings(BaseModel):
    """Settings of the source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Path
    """Folder of the state that collects."""
    exchange: str = "collect"
    """The exchange that shops upload to."""
    system: str = ""
    """Collecting system of the province, where the exchange serves several; empty: all of them."""


class OldPartSource(MarksInCommit):
    """What orders say of their old parts, in the form `old-part-disposal`."""

    def __init__(self, settings: OldPartSettings) -> None:
        self.settings = settings

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Windows of batches behind the mark, oldest first; the mark is the number of the last batch."""
        begin = int(done.get(_PATH) or 0)
        f = tables.fragments
        with State(self.settings.state, own=False) as state, state.reading() as connection:
            where = *self._mine(), f.c.assembled > begin, f.c.assembled <= self._last(connection)
            counted = select(f.c.assembled, func.count()).where(*where).group_by(f.c.assembled).order_by(f.c.assembled)
            batches = [(int(number), int(pieces)) for number, pieces in connection.execute(counted)]
        size = 0
        for at, (number, pieces) in enumerate(batches, 1):
            size += pieces
            if size >= _WINDOW or at == len(batches):
                told = {"from": begin, "to": number}
                digest = sha256(orjson.dumps([self.settings.exchange, self.settings.system, told])).hexdigest()
                yield WorkItem(_PATH, digest, extra={**told, "mark": str(number)})
                begin, size = number, 0

    def _mine(self) -> Sequence[Any]:
        f = tables.fragments
        own = [f.c.exchange == self.settings.exchange, f.c.step.in_(MAINTENANCE)]
        return [*own, f.c.system == self.settings.system] if self.settings.system else own

    def _last(self, connection: Connection) -> int:
        """The last batch behind which none is open any more: gateways side by side may be behind each other."""
        b = tables.batches
        mine = b.c.exchange == self.settings.exchange
        opened = connection.scalar(select(func.min(b.c.number)).where(mine, b.c.state == "open"))
        return int(connection.scalar(select(func.max(b.c.number)).where(mine)) or 0) if opened is None else opened - 1

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """What the orders of the window say otherwise at its end than before it; offsets count it."""
        begin, end = item.extra["from"], item.extra["to"]
        f = tables.fragments
        order = f.c.system, f.c.company, f.c.order
        came = select(*order).where(*self._mine(), f.c.assembled > begin, f.c.assembled <= end).distinct()
        bodies: list[bytes] = []
        at = 0
        with State(self.settings.state, own=False) as state, state.reading() as connection:
            sealer = state.sealer()
            for one in connection.execute(came.order_by(*order)).all():
                same = [column == value for column, value in zip(order, one, strict=True)]
                held = f.c.assembled.between(1, end)
                rows = connection.execute(select(f).where(*self._mine(), *same, held).order_by(f.c.intake)).all()
                pieces = [(row.assembled, (row.step, open_piece(sealer, row))) for row in rows]
                before = old_parts([piece for number, piece in pieces if number <= begin], one[1])
                bodies += _told(before, old_parts([piece for _, piece in pieces], one[1]))
                while len(bodies) >= block:
                    yield Block(item, bodies[:block], list(range(at, at + block)), [])
                    bodies, at = bodies[block:], at + block
        if bodies:
            yield Block(item, bodies, list(range(at, at + len(bodies))), [])

    def check(self) -> list[str]:
        """How many pieces of orders the state holds.

        Raises:
            StateMissing: there is no such state.
        """
        with State(self.settings.state, own=False) as state, state.reading() as connection:
            count = connection.scalar(select(func.count()).select_from(tables.fragments).where(*self._mine())) or 0
        return [f"{self.settings.exchange}: {count} 个维修单分步 / {count} pieces of orders"]


def _told(before: bytes | None, after: bytes | None) -> Iterator[bytes]:
    """What there is to tell where an order said one thing before and another one after."""
    if before is not None and (after is None or _name(before) != _name(after)):
        yield encode_withdrawn(_name(before), {})
    if after is not None and after != before:
        yield after


def _name(message: bytes) -> Withdrawal:
    told = orjson.loads(message)
    return Withdrawal(str(told["companycode"]), f"{OldPartDisposal.KIND}:{told['settlementSeq']}", _GONE)
