"""Withdrawals (撤回) where they are decided: of which vehicle the record was, and the letter where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, select

from dlq import reasons
from dlq.letter import INLINE_BYTES, Letter, Origin, compose
from dlq.sealing import Sealer
from mappings.encoding import WITHDRAWN, record_key
from mappings.findings import REJECT, Finding
from pipelines import tables
from pipelines.bodies import by_reference
from pipelines.journal import DEAD, Journal
from pipelines.places import Place
from pipelines.segments import StagedWithdrawal
from pipelines.settings import Exchange
from pipelines.staging import envelope_key
from pipelines.steps import dialect_of_item
from pipelines.version import BUILD
from pipelines.work import Job, Task

if TYPE_CHECKING:
    from pipelines.deciding import Item

STAGE = "address"
"""Stage at which a withdrawal dies: nobody is known to whom it could go."""
UNKNOWN = "WITHDRAWAL_UNKNOWN"

Key = tuple[int, int]


def is_withdrawn(line: np.void) -> bool:
    """Whether a journal line tells of a withdrawn version."""
    return bool(line["content"] == WITHDRAWN and (line["key_hi"] or line["key_lo"]) and line["fate"] != DEAD)


def vin_of(connection: Connection, items: Sequence[Item], key: Key, place: Callable[[], Place]) -> int:
    """Hash of the VIN of a record that is withdrawn; 0 where no journal tells it any more.

    A withdrawal does not name the vehicle. The record's own journal line does, which the intake number leads to: in
    this batch, or an older one. A letter that was replayed keeps its number, so its line is in the replay's batch.
    """
    found = _told([item.journal for item in items], key)
    if found:
        return found
    j, b = tables.journals, tables.batches
    number, item, _ = place()
    of_key = select(j.c.lines).join(b, b.c.id == j.c.batch)
    for statement in (
        of_key.where(b.c.number == number, j.c.item == item),
        of_key.where(b.c.number > number, b.c.kind == "letters").order_by(b.c.number.desc()),
    ):
        with connection.execute(statement.execution_options(yield_per=8)) as rows:
            for (packed,) in rows:
                found = _told([Journal.unpack(packed)], key)
                if found:
                    return found
    return 0


def _told(books: Iterable[Journal], key: Key) -> int:
    """The VIN hash of the last line of a record in some journals; 0 where there is none."""
    for book in reversed(list(books)):
        lines = book.lines
        same = (lines["key_hi"] == np.uint64(key[0])) & (lines["key_lo"] == np.uint64(key[1])) & (lines["vin"] != 0)
        where = np.flatnonzero(same)
        if len(where):
            return int(lines["vin"][where[-1]])
    return 0


def refuse(book: Journal, ordinal: int) -> None:
    """Write into a journal at which stage a withdrawal died."""
    if (STAGE,) not in book.findings:
        book.findings.append((STAGE,))
    book.lines[ordinal]["findings"] = book.findings.index((STAGE,))


def finding(told: StagedWithdrawal) -> Finding:
    """What the receipt of a withdrawal says where there is nothing to withdraw."""
    return Finding(UNKNOWN, REJECT, "costlistcode", told.costlistcode, "")


def letter(
    exchange: Exchange, sealer: Sealer, job: Job, task: Task, ordinal: int, offset: int, packed: bytes
) -> Letter:
    """The letter of a withdrawal of what is not known; it keeps the bytes as they came."""
    told, item = StagedWithdrawal.unpack(packed), task.item
    system = item.system or exchange.versions.system
    origin = Origin(
        exchange=exchange.name,
        batch=job.batch,
        source=item.source,
        company=told.sender,
        system=system,
        profile=exchange.mapping.profile,
        build=BUILD,
        received_at=job.received_at,
    )
    return compose(
        origin,
        sealer,
        stage=STAGE,
        reasons=(reasons.reason(UNKNOWN, field="costlistcode", value=told.costlistcode),),
        body=told.body,
        source_key=envelope_key(task, offset, exchange.versions.system),
        offset=offset,
        dialect=told.dialect,
        mapping=dialect_of_item(exchange, item),
        record_key=record_key(system, told.companycode, told.costlistcode),
        intake=ordinal,  # as letters have it that are staged
        ref=by_reference(item, offset, len(told.body)) if len(told.body) > INLINE_BYTES else None,
    )
