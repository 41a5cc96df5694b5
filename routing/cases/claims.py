"""Insurers: accident repairs of direct-settlement shops, matched with claims -> what the insurer gets.

A claim is all that a vehicle's insurer sent under one report number: estimates and assessments. It belongs to the
repair of a shop on the register whose VIN is the same, whose plate is (where the claim names one), and whose days are
nearest within a window. A claim that names no VIN is led to its vehicle by report number, plate and days
(`routing.cases.unnamed`). One repair belongs to one claim, and one claim to one repair. Repairs without a claim are
ordinary repairs, and claims without a repair were settled elsewhere: nothing follows from either.

Three documents follow from a match: the repair with the claim's numbers, the comparison of parts and hours with all
assessments of the claim (several of one claim add up), and the old parts with the waste that they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mappings import plates
from mappings.documents import Document
from mappings.documents.claims import (
    AccidentRepair,
    Assessment,
    ClaimComparison,
    Estimate,
    FittedPart,
    OldPart,
    OldPartReturn,
    RepairedPart,
    RepairedWork,
    holder,
)
from mappings.documents.oldparts import OldPartDisposal
from mappings.folding import compact
from mappings.records import RepairRow
from routing.cases import REPAIR, Fact, Subject, comparing, unnamed
from routing.cases.newest import newest
from routing.dated import Dated
from routing.registers import read
from routing.wasterules import PartWaste


class DirectShop(Dated):
    """One line of the register of direct-settlement shops (直赔定点): a company, for one insurer or for all."""

    companycode: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    insurer: str = ""
    """Empty: every insurer."""


def load_shops(text: str, form: str = "csv", source: str = "direct-shops") -> list[DirectShop]:
    """Read a register of direct-settlement shops (companycode, insurer, from, to): CSV, NDJSON or TOML (`[[shop]]`).

    Raises:
        TableError: with the line and the remedy.
    """
    return read(DirectShop, text, form, "shop", source)


class Settings(BaseModel):
    """What the derivation needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shops: tuple[DirectShop, ...] = ()
    """The register. A repair of any other shop is nobody's claim."""
    days_before: Annotated[int, Field(ge=0, le=366)] = 30
    """Most days that a claim's first document may come before the repair began."""
    days_after: Annotated[int, Field(ge=0, le=366)] = 30
    """Most days that it may come after the settlement."""


class Claim(NamedTuple):
    """What came under one report number."""

    report_no: str
    insurer: str
    first: date
    plates: frozenset[str]
    estimates: tuple[Estimate, ...]
    assessments: tuple[Assessment, ...]


def _no_waste(_: str) -> PartWaste | None:
    return None


class Claims:
    """The derivation of what insurers get, by vehicle.

    Args:
        settings: Register and window.
        waste: Name of a part -> the waste that it becomes, None where it becomes none.
    """

    name = "claims"
    by: Subject = "vin"
    takes = frozenset({REPAIR, Estimate.KIND, Assessment.KIND, OldPartDisposal.KIND})
    needs = frozenset({Estimate.KIND, Assessment.KIND})
    words: tuple[str, ...] = ()
    gives = frozenset({AccidentRepair.KIND, ClaimComparison.KIND, OldPartReturn.KIND})
    skims = False
    daily = False

    def __init__(self, settings: Settings | None = None, waste: Callable[[str], PartWaste | None] = _no_waste) -> None:
        self._settings = settings or Settings()
        self._waste = waste
        self._shops: dict[str, list[DirectShop]] = {}
        for shop in self._settings.shops:
            self._shops.setdefault(shop.companycode, []).append(shop)

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[Document]:
        """What follows from the repairs and claims of one vehicle."""
        if all(fact.kind == REPAIR for fact in facts):  # nearly every vehicle
            return
        known = unnamed.named(subject, newest(facts), self._near)
        disposals = _disposals(known)
        for row, claim in self._matches(_repairs(known), _claims(known)):
            yield _accident(row, claim)
            if claim.assessments:
                yield _comparison(row, claim)
            if returned := tuple(self._old_parts(row, claim, disposals.get(_visit(row)))):
                yield OldPartReturn(**_of(row, claim), parts=returned)

    def links(self, record: RepairRow | Document) -> frozenset[str]:
        """Plate and report number: what leads to claims that name no vehicle."""
        return unnamed.links(record)

    def _near(self, row: RepairRow, claim: Assessment) -> bool:
        return self._distance(row, _claim(compact(claim.reportcode), (), (claim,))) is not None

    def _matches(self, repairs: Iterable[RepairRow], claims: Sequence[Claim]) -> Iterator[tuple[RepairRow, Claim]]:
        """Repairs and claims one to one, nearest first."""
        pairs = [
            (distance, row.settledate, row.companycode, row.costlistcode, claim.report_no, row, claim)
            for row in repairs
            for claim in claims
            if (distance := self._distance(row, claim)) is not None
        ]
        repaired: set[tuple[str, str]] = set()
        claimed: set[str] = set()
        for *_, row, claim in sorted(pairs, key=lambda pair: pair[:5]):
            visit = _visit(row)
            if visit not in repaired and claim.report_no not in claimed:
                repaired.add(visit)
                claimed.add(claim.report_no)
                yield row, claim

    def _distance(self, row: RepairRow, claim: Claim) -> int | None:
        """Days between a claim and the repair's time in the shop; None where they do not belong together."""
        if claim.plates and plates.normalise(row.plate) not in claim.plates:
            return None
        listed = (shop for shop in self._shops.get(row.companycode, ()) if shop.valid(row.settledate))
        if not any(shop.insurer in ("", claim.insurer) for shop in listed):
            return None
        before, after = (row.repairdate - claim.first).days, (claim.first - row.settledate).days
        if before > self._settings.days_before or after > self._settings.days_after:
            return None
        return max(before, after, 0)

    def _old_parts(self, row: RepairRow, claim: Claim, disposal: str | None) -> Iterator[OldPart]:
        names = {compact(part.code): part.name for part in row.parts if part.code}
        said = {
            compact(key): one.old_recycle
            for estimate in claim.estimates
            for one in estimate.damages
            for key in (one.parts_id, one.parts_name)
            if key and one.old_recycle is not None
        }
        for part in _fitted(claim):
            name = part.partname or names.get(compact(part.partid))
            back = part.fitbackflag
            if back is None:
                back = said.get(compact(part.partid), said.get(compact(name or "")))
            keeps, agrees = holder(back, disposal)
            waste = self._waste(name) if name else None
            yield OldPart(
                partid=part.partid,
                name=name,
                count=part.auditcount,
                holder=keeps,
                agrees=agrees,
                wastecode=waste.code if waste else None,
                inledger=waste is not None and (keeps == "shop" or not waste.leaves),
            )


def _fitted(claim: Claim) -> list[FittedPart]:
    """The parts of all assessments, in an order of their own."""
    fits = [part for one in claim.assessments for part in one.fits]
    return sorted(fits, key=lambda part: (part.partid, part.partname or "", part.auditcount or Decimal(0)))


def _repairs(known: Iterable[Fact]) -> list[RepairRow]:
    """Each visit once, though two systems may hold its record."""
    held: dict[tuple[str, str], RepairRow] = {}
    for fact in known:
        if (row := fact.repair) is not None:
            held.setdefault(_visit(row), row)
    return list(held.values())


def _visit(row: RepairRow) -> tuple[str, str]:
    return row.companycode, row.costlistcode


def _disposals(known: Iterable[Fact]) -> dict[tuple[str, str], str]:
    """What shops say of old parts, by visit."""
    told = (fact.record for fact in known if isinstance(fact.record, OldPartDisposal))
    return {(one.companycode, one.costlistcode): one.disposal for one in told}


def _claims(known: Iterable[Fact]) -> list[Claim]:
    """Estimates and assessments by their report number."""
    estimates, assessments = _once(known, Estimate), _once(known, Assessment)
    numbers = {compact(one.report_no) for one in estimates} | {compact(one.reportcode) for one in assessments}
    return [
        _claim(
            number,
            tuple(one for one in estimates if compact(one.report_no) == number),
            tuple(one for one in assessments if compact(one.reportcode) == number),
        )
        for number in sorted(filter(None, numbers))
    ]


def _claim(number: str, estimates: tuple[Estimate, ...], assessments: tuple[Assessment, ...]) -> Claim:
    own: list[Estimate | Assessment] = [*estimates, *assessments]
    return Claim(
        report_no=number,
        insurer=max(one.insurer for one in own),
        first=min(one.identity.day for one in own),
        plates=frozenset(plates.normalise(one.plate) for one in own if one.plate),
        estimates=estimates,
        assessments=assessments,
    )


D = TypeVar("D", Estimate, Assessment)


def _once(known: Iterable[Fact], kind: type[D]) -> list[D]:
    held: dict[tuple[str, str], D] = {}
    for fact in known:
        if isinstance(fact.record, kind):
            held.setdefault((fact.record.identity.issuer, fact.record.identity.number), fact.record)
    return [held[key] for key in sorted(held)]


def _of(row: RepairRow, claim: Claim) -> dict[str, Any]:
    return {
        "companycode": row.companycode,
        "costlistcode": row.costlistcode,
        "insurer": claim.insurer,
        "report_no": claim.report_no,
        "vin": row.vin,
        "settledate": row.settledate,
    }


def _losses(claim: Claim) -> tuple[str, ...]:
    return tuple(sorted({one.lossno for one in claim.assessments}))


def _accident(row: RepairRow, claim: Claim) -> AccidentRepair:
    return AccidentRepair(
        **_of(row, claim),
        companyname=row.companyname,
        plate=row.plate,
        repairdate=row.repairdate,
        mileage=row.mileage,
        faultdescription=row.faultdescription,
        parts=tuple(RepairedPart(name=name, quantity=quantity, code=code) for name, quantity, code in row.parts),
        projects=tuple(RepairedWork(name=name, hours=hours) for name, hours in row.projects),
        estimate_nos=tuple(sorted({one.estimate_no for one in claim.estimates if one.estimate_no})),
        loss_nos=_losses(claim),
    )


def _comparison(row: RepairRow, claim: Claim) -> ClaimComparison:
    work, hours = comparing.work_done(row), comparing.work_approved(claim.assessments)
    lines = (
        *comparing.compared(comparing.PART, comparing.parts_done(row), comparing.parts_approved(claim.assessments)),
        *comparing.compared(comparing.WORK, work, hours),
    )
    return ClaimComparison(
        **_of(row, claim),
        loss_nos=_losses(claim),
        differing=sum(line.remark != "equal" for line in lines),
        repairedhours=comparing.total(work),
        approvedhours=comparing.total(hours),
        lines=lines,
    )
