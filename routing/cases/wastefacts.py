"""The facts of one shop, sorted out: of each record its newest version, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from mappings.dates import FIRST_YEAR, LAST_YEAR
from mappings.documents import Document
from mappings.documents.claims import OldPartReturn
from mappings.documents.oldparts import OldPartDisposal
from mappings.documents.waste import (
    WasteEvent,
    WasteLicence,
    WasteManifest,
    WasteOrder,
    WastePlan,
    WasteSignature,
)
from mappings.records import RepairRow
from mappings.waste.manifests import order_status
from routing.cases import Fact
from routing.cases.wasteoldparts import OldParts
from routing.cases.wastetransfers import Transfers


@dataclass(frozen=True)
class Known:
    """What is known of one shop; keys are record keys."""

    repairs: Sequence[tuple[str, RepairRow]]
    events: Sequence[tuple[str, WasteEvent]]
    transfers: Transfers
    old_parts: Mapping[str, OldParts]
    """Settlement list -> where its old parts went."""


def sorted_out(facts: Iterable[Fact]) -> Known:
    """Facts by kind in a fixed order: of a record the newest version, of one settlement list one repair."""
    newest: dict[str, Fact] = {}
    for fact in facts:
        held = newest.get(fact.key)
        if held is None or fact.version > held.version:
            newest[fact.key] = fact
    ordered = sorted(newest.values(), key=lambda fact: fact.key)
    repairs: dict[str, tuple[str, RepairRow]] = {}
    for fact in ordered:
        if isinstance(fact.record, RepairRow) and _dated(fact.record.settledate):
            repairs.setdefault(fact.record.costlistcode, (fact.key, fact.record))
    documents = {fact.key: fact.record for fact in ordered if isinstance(fact.record, Document)}
    signed: dict[str, set[str]] = {}
    for one in documents.values():
        if isinstance(one, WasteSignature):
            signed.setdefault(one.order, set()).add(one.party)
    orders = {
        key: _signed(one, signed.get(one.number, set()))
        for key, one in documents.items()
        if isinstance(one, WasteOrder) and _dated(one.day)
    }
    manifests = {
        key: one
        for key, one in documents.items()
        if isinstance(one, WasteManifest) and one.steps and _dated(one.day, one.hauled, *(s.day for s in one.steps))
    }
    return Known(
        repairs=list(repairs.values()),
        events=[(key, one) for key, one in documents.items() if isinstance(one, WasteEvent) and _dated(one.day)],
        transfers=Transfers(
            manifests=manifests,
            orders=orders,
            licences={
                key: one for key, one in documents.items() if isinstance(one, WasteLicence) and _dated(one.validfrom)
            },
            plans=[one for one in documents.values() if isinstance(one, WastePlan)],
        ),
        old_parts=_old_parts(documents),
    )


def _old_parts(documents: Mapping[str, Document]) -> dict[str, OldParts]:
    found: dict[str, OldParts] = {}
    for key, one in documents.items():
        if isinstance(one, OldPartReturn | OldPartDisposal) and _dated(one.settledate):
            held = found.get(one.costlistcode, OldParts())
            told = {"returned": (key, one)} if isinstance(one, OldPartReturn) else {"disposal": (key, one)}
            found[one.costlistcode] = replace(held, **told)
    return found


def _signed(order: WasteOrder, signed: set[str]) -> WasteOrder:
    """The order with the further of both states: its own, and what its signatures give it."""
    status = max(order.status, order_status(frozenset(signed)))
    return order.model_copy(update={"status": status})


def _dated(*days: date) -> bool:
    return all(FIRST_YEAR <= day.year <= LAST_YEAR for day in days)
