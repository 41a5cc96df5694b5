"""What the steps share: who sent an envelope, how it is read, and the dead of a load."""

from __future__ import annotations

from itertools import compress
from typing import Any, TypeVar

from connectors.contracts import WorkItem
from dlq import reasons
from mappings.documents import Document
from mappings.findings import FLAG
from mappings.judging import Judgement
from mappings.records import Withdrawal
from pipelines.settings import Exchange
from pipelines.work import About, Dead, Load, Why
from pipelines.workbench import Workbench

R = TypeVar("R")

Died = dict[int, tuple[tuple[Why, ...], Judgement | None]]
"""Position in the load -> all reasons, and the judgement where there was one."""
UNKNOWN = About()


def company_of(load: Load, i: int) -> str:
    """The company that an envelope was authenticated for; empty where only the payload says."""
    return load.companies[i] if load.companies else load.task.item.company


def dialect_of(bench: Workbench, item: WorkItem) -> str:
    """The dialect that an item is read in."""
    return dialect_of_item(bench.exchange, item)


def dialect_of_item(exchange: Exchange, item: WorkItem) -> str:
    """The same, of the exchange's settings."""
    return str(item.extra.get("dialect") or exchange.mapping.dialect)


def withdrawals(load: Load) -> dict[int, Withdrawal]:
    """The withdrawals of a judged load, by position. Of the coordinator alone they learn who holds the record."""
    return _of_kind(load, Withdrawal)


def documents(load: Load) -> dict[int, Document]:
    """The documents of a judged load, by position."""
    return _of_kind(load, Document)  # type: ignore[type-abstract]  # asked for, never made


def _of_kind(load: Load, kind: type[R]) -> dict[int, R]:
    """The records of one class, by position; loads without any, most of them, are not gone through."""
    chosen = {o: one.record for o, one in load.judgements.items() if isinstance(one.record, kind)}
    if not chosen:
        return {}
    return {i: chosen[ordinal] for i, ordinal in enumerate(load.ordinals) if ordinal in chosen}


def reason(code: str, field: str = "", value: str = "", expected: str = "") -> Why:
    """A reason to die, as letters have it."""
    return code, field, value, expected


def said(words: str) -> Why:
    """The reason that a connector gave in words."""
    found = reasons.from_text(words)
    return found.code, found.field, found.value, found.expected


def split(
    bench: Workbench, load: Load, stage: str, values: Any, judgements: dict[int, Judgement], died: Died
) -> tuple[Load, Dead | None]:
    """The load without those that died, and the dead; `died` goes by position."""
    gone_ordinals = {load.ordinals[i] for i in died}
    judgements = {o: j for o, j in judgements.items() if o not in gone_ordinals}
    flags: dict[int, tuple[str, ...]] = {}
    for ordinal, judgement in judgements.items():
        found = tuple(dict.fromkeys([f.code for f in judgement.findings if f.severity == FLAG]))
        if found:
            flags[ordinal] = found
    if not died:
        return load._replace(values=values, judgements=judgements, flags=flags), None
    alive = [True] * len(load.ordinals)
    gone = list(died)
    for i in gone:
        alive[i] = False
    kept = load._replace(
        ordinals=list(compress(load.ordinals, alive)),
        offsets=list(compress(load.offsets, alive)),
        bodies=list(compress(load.bodies, alive)),
        values=list(compress(values, alive)) if isinstance(values, list) else values.taken(alive),
        companies=list(compress(load.companies, alive)),
        judgements=judgements,
        flags=flags,
    )
    dead = Dead(
        load.task,
        stage,
        [load.ordinals[i] for i in gone],
        [load.offsets[i] for i in gone],
        [load.bodies[i] for i in gone],
        [died[i][0] for i in gone],
        [_about(bench, died[i][1]) for i in gone],
        [load.companies[i] for i in gone] if load.companies else [],
    )
    return kept, dead


def _about(bench: Workbench, judgement: Judgement | None) -> About:
    if judgement is None:
        return UNKNOWN
    members, record = judgement.members, judgement.record
    company, code, vin = (str(members.get(name) or "") for name in ("companycode", "costlistcode", "vin"))
    if isinstance(record, Document):
        company, code, vin = record.identity.issuer, record.listed, record.identity.vin
    found = tuple(map(tuple, judgement.findings)) if bench.exchange.rules.receipts else ()
    return About(judgement.dialect, company, code, vin, found)
