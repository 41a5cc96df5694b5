"""What a shop handed over against manifests, orders and licences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from mappings.documents.waste import Evidence, WasteCase, WasteLicence, WasteManifest, WasteOrder, WastePlan
from mappings.documents.wasterules import weights_differ
from mappings.waste.codes import KG
from mappings.waste.gates import ACTIVE, Standing, failed_gates, licence_of
from mappings.waste.manifests import LEFT, UNSIGNED
from routing.cases.wastebooks import Entry
from routing.cases.wastesettings import Settings, case, evidence
from routing.wastereference import WasteReference
from routing.wasterules import WasteRules


class Transfers(NamedTuple):
    """What there is of a shop beside its ledger, by record key, in order."""

    manifests: Mapping[str, WasteManifest]
    orders: Mapping[str, WasteOrder]
    """With the status that their signatures give them."""
    licences: Mapping[str, WasteLicence]
    """Filed by the shop."""
    plans: Sequence[WastePlan]


def transfer_cases(
    shop: str,
    entries: Sequence[Entry],
    transfers: Transfers,
    reference: WasteReference,
    rules: WasteRules,
    settings: Settings,
    today: date,
) -> Iterator[WasteCase]:
    """Manifests against gates, weights and ledger; entries against manifests and licences; licences against the day."""
    licences = [*transfers.licences.values(), *reference.licences]
    handed = [entry for entry in entries if entry.event == "handed-over" and entry.quantity > 0]
    yield from _gates(shop, transfers, licences, reference, settings)
    for key, manifest in transfers.manifests.items():
        yield from _manifest(shop, key, manifest, settings, today)
        yield from _entered(shop, key, manifest, handed, rules, settings, today)
    for key, order in transfers.orders.items():
        yield from _carried(shop, key, order, handed, settings, today)
    for entry in handed:
        yield from _handed(shop, entry, licences, settings)
    yield from _running_out(shop, handed, transfers, licences, settings, today)


def _gates(
    shop: str,
    transfers: Transfers,
    licences: Sequence[WasteLicence],
    reference: WasteReference,
    settings: Settings,
) -> Iterator[WasteCase]:
    """Each manifest by what had been asked for before it, so that the one too many is named and not all of them."""
    asked: list[WasteManifest] = []
    for key, manifest in sorted(transfers.manifests.items(), key=lambda one: (one[1].day, one[1].number, one[0])):
        standing = Standing(
            producers=dict(reference.producers) or None,
            licences=licences or None,
            plans=transfers.plans or None,
            closed=settings.closed,
            kept=settings.kept,
            issued=tuple(asked),
        )
        asked.append(manifest)
        failed = failed_gates(manifest, standing) if manifest.state != "REJECTED" else []
        if failed:
            details = tuple(one.code for one in failed)
            shown = [_shown(key, manifest)]
            yield case(shop, "manifest-gates", manifest.number, manifest.day, shown, **_of(manifest), details=details)


def _manifest(shop: str, key: str, manifest: WasteManifest, settings: Settings, today: date) -> Iterator[WasteCase]:
    sent, weighed = manifest.quantity, manifest.received
    heavy = manifest.unit == KG and weighed is not None
    if heavy and weighed is not None and weights_differ(sent, weighed, settings.weight_percent, settings.weight_kg):
        amounts = {"expected": sent, "found": weighed, "tolerance": Decimal(settings.weight_kg)}
        shown = [_shown(key, manifest)]
        yield case(shop, "manifest-weight", manifest.number, manifest.hauled, shown, **_of(manifest), **amounts)
    due = manifest.hauled + timedelta(settings.receipt_days)
    if manifest.state == "IN_TRANSIT" and today > due:
        shown = [_shown(key, manifest)]
        late = {"severity": "warning", "due": due}
        yield case(shop, "manifest-late", manifest.number, due, shown, **_of(manifest), **late)


def _entered(
    shop: str,
    key: str,
    manifest: WasteManifest,
    handed: Sequence[Entry],
    rules: WasteRules,
    settings: Settings,
    today: date,
) -> Iterator[WasteCase]:
    """What left under a manifest stands in the ledger, with its weight."""
    if manifest.state not in LEFT:
        return
    named = [entry for entry in handed if entry.manifest == manifest.number]
    due = manifest.hauled + timedelta(settings.entry_days)
    unit, sent = rules.account(manifest.code, manifest.unit, manifest.quantity)
    if not named:
        if today > due:
            members = {"expected": sent, "unit": unit, "due": due}
            shown = [_shown(key, manifest)]
            yield case(shop, "manifest-without-entry", manifest.number, due, shown, **{**_of(manifest), **members})
        return
    same = [entry for entry in named if (entry.code, entry.unit) == (manifest.code, unit)]
    entered = sum((entry.quantity for entry in same), Decimal())
    tolerance = settings.imbalance(unit, sent)
    if abs(entered - sent) > tolerance:
        amounts = {"expected": sent, "found": entered, "tolerance": tolerance, "unit": unit}
        shown = [_shown(key, manifest), *map(evidence, named)]
        yield case(shop, "manifest-differs", manifest.number, manifest.hauled, shown, **{**_of(manifest), **amounts})


def _carried(
    shop: str, key: str, order: WasteOrder, handed: Sequence[Entry], settings: Settings, today: date
) -> Iterator[WasteCase]:
    """What a transporter signed for stands in the ledger: under the order's number, or handed over about that day."""
    due = order.day + timedelta(settings.entry_days)
    near = timedelta(settings.entry_days)
    met = any(
        entry.manifest == order.number or (entry.code == order.code and abs(entry.day - order.day) <= near)
        for entry in handed
    )
    if order.status != UNSIGNED and not met and today > due:
        shown = [Evidence(key=key, day=order.day, what="order", quantity=order.weight, unit=order.unit)]
        of = {"code": order.code, "category": order.category, "unit": order.unit}
        yield case(shop, "manifest-without-entry", order.number, due, shown, **of, expected=order.weight, due=due)


def _handed(shop: str, entry: Entry, licences: Sequence[WasteLicence], settings: Settings) -> Iterator[WasteCase]:
    """Hazardous waste leaves under a manifest, and to who may take it."""
    if not entry.hazardous:
        return
    of = {"code": entry.code, "category": entry.category, "unit": entry.unit}
    if not entry.manifest and entry.code not in settings.exempt:
        yield case(shop, "entry-without-manifest", entry.number, entry.day, [evidence(entry)], **of)
    if not licences or not (entry.licence or entry.counterpart or entry.counterpartname):
        return
    theirs = licence_of(licences, entry.counterpart, entry.counterpartname, entry.licence)
    if not any(
        one.standing == ACTIVE and one.valid(entry.day) and one.scope(entry.code, entry.category) for one in theirs
    ):
        details = tuple(one.number for one in theirs) or (entry.licence or entry.counterpart or entry.counterpartname,)
        yield case(shop, "receiver-unlicensed", entry.number, entry.day, [evidence(entry)], **of, details=details)


def _running_out(
    shop: str,
    handed: Sequence[Entry],
    transfers: Transfers,
    licences: Sequence[WasteLicence],
    settings: Settings,
    today: date,
) -> Iterator[WasteCase]:
    """Licences that the shop filed, or whose holders it used of late: expired or soon to be, and not renewed."""
    since = today - timedelta(settings.licence_use_days)
    used: list[tuple[str | None, str | None, str | None]] = [
        (one.counterpart, one.counterpartname, one.licence) for one in handed if one.day >= since
    ]
    used += [(m.receiver, m.receivername, m.licence) for m in transfers.manifests.values() if m.hauled >= since]
    concerned = {one.number: one for one in transfers.licences.values()}
    for receiver, name, number in used:
        concerned.update((one.number, one) for one in licence_of(licences, receiver, name, number))
    keys = {one.number: key for key, one in sorted(transfers.licences.items(), reverse=True)}
    for number, licence in sorted(concerned.items()):
        if any(one.holder == licence.holder and one.validto > licence.validto for one in licences):
            continue
        over = today > licence.validto
        if over or today >= licence.validto - timedelta(settings.licence_warning_days):
            key = keys.get(number, f"{licence.issuer}||{number}")
            yield case(
                shop,
                "licence-expired" if over else "licence-expiring",
                number,
                licence.validto,
                [Evidence(key=key, day=licence.validto, what="licence")],
                severity="breach" if over else "warning",
                due=licence.validto,
                details=(number,),
            )


def _of(manifest: WasteManifest) -> dict[str, str]:
    return {"code": manifest.code, "category": manifest.category, "unit": manifest.unit}


def _shown(key: str, manifest: WasteManifest) -> Evidence:
    return Evidence(key=key, day=manifest.hauled, what="manifest", quantity=manifest.quantity, unit=manifest.unit)
