"""Claims that name no vehicle: the public packet of an assessment has no VIN. Which vehicle is meant, pure.

A claim is the vehicle's under whose VIN the same insurer sent something of the same report number, where its plate does
not say otherwise. Where nothing else came under its number, it is the vehicle's that bore its plate in the shop at the
time. It is nobody's where two vehicles may be meant: then a person has to say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mappings import plates
from mappings.documents.claims import Assessment, Estimate
from mappings.folding import compact
from mappings.records import RepairRow
from routing.cases import Fact

Near = Callable[[RepairRow, Assessment], bool]
"""Whether a repair of a claim's plate is one that it can be about: shop, insurer, days."""


def links(record: object) -> frozenset[str]:
    """What may show that two records are of one vehicle: plate and report number."""
    if isinstance(record, RepairRow):
        return frozenset({f"plate:{plates.normalise(record.plate)}"})
    if not isinstance(record, Estimate | Assessment):
        return frozenset()
    found = {f"report:{report}"} if (report := _report(record)) else set()
    if record.plate:
        found.add(f"plate:{plates.normalise(record.plate)}")
    return frozenset(found)


def named(subject: str, known: Sequence[Fact], near: Near) -> list[Fact]:
    """The facts of one vehicle, with its VIN in the claims that named none and are found to be its own.

    Args:
        subject: VIN.
        known: facts of the vehicle, claims without a VIN that it shares a link with, and facts of other vehicles that
            share one with those.
        near: see `Near`.
    """
    own = [fact for fact in known if _vin(fact) == subject]
    for fact in known:
        claim = fact.record
        if isinstance(claim, Assessment) and not claim.vin and _meant(claim, known, near) == {subject}:
            own.append(fact._replace(record=claim.model_copy(update={"vin": subject})))
    return own


def _meant(claim: Assessment, known: Sequence[Fact], near: Near) -> set[str]:
    """VINs of the vehicles that may be meant."""
    plate = plates.normalise(claim.plate) if claim.plate else ""
    same = {
        other.vin
        for fact in known
        if isinstance(other := fact.record, Estimate | Assessment)
        and other.vin
        and _report(claim)
        and (other.insurer, _report(other)) == (claim.insurer, _report(claim))
    }
    if same:
        borne = {vin: _plates(vin, known) for vin in same}
        return {vin for vin in same if not plate or not borne[vin] or plate in borne[vin]}
    repairs = [row for fact in known if (row := fact.repair) is not None and plate]
    return {row.vin for row in repairs if plates.normalise(row.plate) == plate and near(row, claim)}


def _plates(vin: str, known: Sequence[Fact]) -> set[str]:
    told = (fact.record for fact in known if _vin(fact) == vin)
    return {
        plates.normalise(one.plate) for one in told if isinstance(one, RepairRow | Estimate | Assessment) and one.plate
    }


def _report(claim: Estimate | Assessment) -> str:
    return compact(claim.report_no if isinstance(claim, Estimate) else claim.reportcode)


def _vin(fact: Fact) -> str:
    return fact.record.vin if isinstance(fact.record, RepairRow) else fact.record.identity.vin
