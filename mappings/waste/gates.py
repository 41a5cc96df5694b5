"""The gates that a manifest passes before it is approved (domain section 4.2), asked of what is known that day.

Each gate is a finding code. A gate about which nothing is known is not asked: no list of producers, of licences or of
plans. Pure: whoever approves manifests (a solid-waste system, a stand-in of one) holds its own lock while it asks,
since sums of plan and licence count what was issued before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from mappings import divisions
from mappings.documents.waste import WasteLicence, WasteManifest, WastePlan
from mappings.waste.codes import KG
from mappings.waste.manifests import ISSUED

ACTIVE, APPROVED = "ACTIVE", "APPROVED"


class Failed(NamedTuple):
    """A gate that a manifest does not pass."""

    code: str
    """Finding code."""
    value: str
    expected: str


@dataclass(frozen=True)
class Standing:
    """What is known when a manifest is asked for."""

    producers: dict[str, str] | None = None
    """Company code -> standing; None: not known here."""
    licences: Sequence[WasteLicence] | None = None
    plans: Sequence[WastePlan] | None = None
    closed: frozenset[str] = frozenset()
    """Categories that are not open for transfer."""
    kept: frozenset[str] = frozenset()
    """Categories and codes that may not leave their province."""
    issued: Sequence[WasteManifest] = field(default=())
    """Manifests asked for before this one; those approved, under way or received count."""


def failed_gates(manifest: WasteManifest, standing: Standing) -> list[Failed]:
    """Every gate that a manifest does not pass, in a fixed order; empty where it may be approved.

    Licence and plan are asked of hazardous waste only.
    """
    gates = _GATES if manifest.category.startswith("HW") else _GENERAL
    return [failed for gate in gates for failed in gate(manifest, standing)]


def licence_of(
    licences: Iterable[WasteLicence], receiver: str | None, name: str | None, number: str | None
) -> list[WasteLicence]:
    """The licences of a receiver: by the licence's number where one is given, else by its code or name."""
    known = list(licences)
    if number:
        return [one for one in known if one.number == number]
    named = {text for text in (receiver, name) if text}
    return [one for one in known if one.holder in named or (one.holdername or "") in named]


def _weight(manifest: WasteManifest, _: Standing) -> Iterator[Failed]:
    if manifest.quantity <= 0:
        yield Failed("WEIGHT_NOT_POSITIVE", str(manifest.quantity), "> 0")


def _producer(manifest: WasteManifest, standing: Standing) -> Iterator[Failed]:
    if standing.producers is not None:
        found = standing.producers.get(manifest.issuer, "")
        if found != ACTIVE:
            yield Failed("PRODUCER_NOT_ACTIVE", found, ACTIVE)


def _open(manifest: WasteManifest, standing: Standing) -> Iterator[Failed]:
    if manifest.category in standing.closed:
        yield Failed("WASTE_CATEGORY_CLOSED", manifest.category, "")


def _receiver(manifest: WasteManifest, standing: Standing) -> Iterator[Failed]:
    if standing.licences is None:
        return
    theirs = _licences(manifest, standing)
    covering = [one for one in theirs if one.valid(manifest.hauled) and one.scope(manifest.code, manifest.category)]
    if theirs and not any(one.standing == ACTIVE for one in theirs):
        yield Failed("RECEIVER_NOT_ACTIVE", theirs[0].standing, ACTIVE)
    elif not any(one.standing == ACTIVE for one in covering):
        value = manifest.licence or manifest.receiver or manifest.receivername or ""
        yield Failed("RECEIVER_NOT_LICENSED", value, f"{manifest.category} {manifest.code} {manifest.hauled}")


def _plan(manifest: WasteManifest, standing: Standing) -> Iterator[Failed]:
    if standing.plans is None:
        return
    year = manifest.hauled.year
    of_year = [one for one in standing.plans if one.issuer == manifest.issuer and one.year == year]
    approved = [one for one in of_year if one.category == manifest.category and one.state == APPROVED]
    if not approved:
        yield Failed("PLAN_NOT_APPROVED", manifest.plan or "", f"{manifest.category} {year}")
        return
    allowed = sum((one.quantity for one in approved), Decimal())
    before = _issued(manifest, standing, lambda one: one.issuer == manifest.issuer)
    if manifest.unit == KG and before + manifest.quantity > allowed:
        yield Failed("PLAN_EXCEEDED", str(before + manifest.quantity), f"<= {allowed}")


def _province(manifest: WasteManifest, standing: Standing) -> Iterator[Failed]:
    if not standing.kept & {manifest.category, manifest.code} or not (manifest.origin and manifest.destination):
        return
    origin, destination = (divisions.of_division(one) for one in (manifest.origin, manifest.destination))
    if origin != destination:
        yield Failed("CROSS_PROVINCE_RESTRICTED", manifest.destination, manifest.origin[:2])


def _remaining(manifest: WasteManifest, standing: Standing) -> Iterator[Failed]:
    """The year's quantity of the licence that covers it, less what was issued to that receiver."""
    day = manifest.hauled
    for licence in _licences(manifest, standing):
        scope = licence.scope(manifest.code, manifest.category) if licence.valid(day) else None
        if scope is None or scope.quantity is None or manifest.unit != KG:
            continue
        before = _issued(manifest, standing, partial(_received_under, licence))
        if before + manifest.quantity > scope.quantity:
            yield Failed("LICENCE_EXCEEDED", str(before + manifest.quantity), f"<= {scope.quantity}")
        return


def _received_under(licence: WasteLicence, manifest: WasteManifest) -> bool:
    return licence in licence_of((licence,), manifest.receiver, manifest.receivername, manifest.licence)


def _trip(manifest: WasteManifest, standing: Standing) -> Iterator[Failed]:
    """One manifest a vehicle's trip and class of waste: what is asked again is the one that there is."""
    if manifest.vehicle is None:
        return
    for one in standing.issued:
        same = (one.issuer, one.vehicle, one.hauled, one.code) == (
            manifest.issuer,
            manifest.vehicle,
            manifest.hauled,
            manifest.code,
        )
        if same and one.number != manifest.number and one.state != "REJECTED":
            yield Failed("TRIP_HAS_MANIFEST", manifest.vehicle, one.number)
            return


def _licences(manifest: WasteManifest, standing: Standing) -> list[WasteLicence]:
    return licence_of(standing.licences or (), manifest.receiver, manifest.receivername, manifest.licence)


def _issued(manifest: WasteManifest, standing: Standing, of: Callable[[WasteManifest], bool]) -> Decimal:
    """What the other manifests of this category and year weigh that count, of those that `of` is true for."""
    counting = (
        one
        for one in standing.issued
        if (one.issuer, one.number) != (manifest.issuer, manifest.number)
        and one.state in ISSUED
        and one.unit == KG
        and one.category == manifest.category
        and one.hauled.year == manifest.hauled.year
    )
    return sum((one.quantity if one.received is None else one.received for one in counting if of(one)), Decimal())


_Gate = Callable[[WasteManifest, Standing], Iterator[Failed]]
_GATES: tuple[_Gate, ...] = (
    _weight,
    _producer,
    _open,
    _receiver,
    _plan,
    _province,
    _remaining,
    _trip,
)
_GENERAL: tuple[_Gate, ...] = (_weight, _producer, _open, _province, _trip)
