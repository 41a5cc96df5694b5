"""Waste events, manifests, licences and plans under our own member names: what every form of theirs ends in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from mappings import divisions
from mappings.documents import Document
from mappings.documents.kinds import Judged
from mappings.documents.waste import (
    LicenceScope,
    ManifestStep,
    WasteEvent,
    WasteLicence,
    WasteManifest,
    WastePlan,
)
from mappings.documents.wasterules import (
    CODE,
    Inner,
    amount,
    batch_code,
    built,
    coded,
    differs,
    display,
    happened,
    listed,
    needed,
    of_waste,
    text,
    unit,
)
from mappings.numbers import number
from mappings.rules import fields
from mappings.rules.case import Case
from mappings.waste.codes import KG, Unit, read_category
from mappings.waste.manifests import FOLLOWS, first_wrong, usual_number

_KG = Unit(KG, Decimal(1))
_ROWS_MOST = 200
_YEARS = range(2000, 2201)


def event(case: Case) -> Judged:
    """A ledger entry: `companycode`, `number` (else its batch code), `event`, `day`, the waste, quantity and unit."""
    kind = coded(case, "event", "waste-events")
    measure = unit(case)
    batch = batch_code(case, "batch", kind)
    values: dict[str, Any] = {
        "issuer": fields.company_code(case),
        "number": text(case, "number", CODE) or batch or needed(case, "number"),
        "day": happened(case, "day"),
        **of_waste(case),
        "event": kind,
        "unit": measure.base if measure else None,
        "reverses": text(case, "reverses", CODE),
        "batch": batch,
        "ofbatches": listed(case, "ofbatches"),
        **{name: text(case, name, CODE) for name in ("manifest", "costlistcode", "counterpart", "licence")},
        **{name: text(case, name) for name in ("counterpartname", "method", "destination", "facility")},
        **{name: text(case, name) for name in ("containercode", "containertype")},
        "containers": amount(case, "containers", None, mandatory=False, zero=True),
    }
    values["quantity"] = _signed(case, values, measure)
    document = built(case, WasteEvent, values)
    return document, document.members() if document else display(values)


def _signed(case: Case, values: Mapping[str, Any], measure: Unit | None) -> Decimal | None:
    """The quantity; of a red entry (冲销), which names what it corrects, below zero however its sign was written."""
    written = number(case.members.get("quantity"))
    reverses = values["reverses"]
    if reverses is None:
        if written is not None and written < 0:
            expected = "被冲销记录的编号 / the number of the entry that it corrects"
            case.add("RED_WITHOUT_ORIGINAL", "reverses", None, expected)
            return None
        return amount(case, "quantity", measure, zero=values["event"] == "counted")
    if reverses == values["number"]:
        case.add("RED_WITHOUT_ORIGINAL", "reverses", reverses, "另一条记录 / another entry")
    found = amount(case, "quantity", measure, unsigned=True)
    return None if found is None else -found


def manifest(case: Case) -> Judged:
    """A manifest: `companycode` of the producer, `number`, the waste, quantity, unit, and its state or its steps."""
    measure = unit(case)
    submitted = happened(case, "day", mandatory=False)
    shipped = fields.optional_day(case, "shipped")
    values: dict[str, Any] = {
        "issuer": fields.company_code(case),
        "number": needed(case, "number"),
        **of_waste(case),
        "quantity": amount(case, "quantity", measure),
        "received": amount(case, "received", measure, mandatory=False, zero=True),
        "unit": measure.base if measure else None,
        "shipped": shipped,
        "origin": _division(case, "origin"),
        "destination": _division(case, "destination"),
        **{name: text(case, name, CODE) for name in ("plan", "vehicle", "transporterlicence", "receiver", "licence")},
        **{name: text(case, name) for name in ("producername", "transporter", "receivername", "form", "features")},
        **{name: text(case, name) for name in ("ingredient", "package", "method")},
        "packages": amount(case, "packages", None, mandatory=False, zero=True),
    }
    values["steps"] = steps = _steps(case, submitted or shipped)
    values["state"] = steps[-1].state if steps else None
    values["day"] = submitted or (steps[0].day if steps else None) or shipped
    if values["day"] is None:
        fields.required_day(case, "day")
    if values["number"] is not None and not usual_number(values["number"]):
        case.add("MANIFEST_NUMBER_FORMAT", "number", values["number"], "14 位数字 / 14 digits")
    if values["unit"] == KG:
        differs(case, "received", values["quantity"], values["received"])
    document = built(case, WasteManifest, values)
    return document, document.members() if document else display(values)


def _steps(case: Case, known: date | None) -> tuple[ManifestStep, ...]:
    """The states that a manifest came through; where only the last one was sent, it alone on the day that is known."""
    sent = case.members.get("steps")
    state = coded(case, "state", "waste-manifest-states", mandatory=sent is None)
    if sent is None:
        found = built(case, ManifestStep, {"state": state, "day": known}) if state and known else None
        return (found,) if found else ()
    if not isinstance(sent, list) or not 0 < len(sent) <= _ROWS_MOST:
        case.wrong_kind("steps", sent, f"1-{_ROWS_MOST} 个对象 / objects")
        return ()
    steps = [step for place, row in enumerate(sent) if (step := _step(case, f"steps[{place}]", row))]
    if len(steps) < len(sent):
        return ()
    wrong = first_wrong([step.state for step in steps])
    if wrong is not None:
        case.add("MANIFEST_STATE", f"steps[{wrong}].state", steps[wrong].state, _allowed(steps, wrong))
    for place in range(1, len(steps)):
        if steps[place].day < steps[place - 1].day:
            case.add("DATE_ORDER", f"steps[{place}].day", steps[place].day, f">= {steps[place - 1].day.isoformat()}")
    if state is not None and state != steps[-1].state:
        case.add("MANIFEST_STATE", "state", state, steps[-1].state)
    return tuple(steps)


def _allowed(steps: list[ManifestStep], place: int) -> str:
    return ", ".join(FOLLOWS[steps[place - 1].state if place else ""]) or "-"


def _step(case: Case, at: str, row: object) -> ManifestStep | None:
    if not isinstance(row, Mapping):
        case.wrong_kind(at, row, "对象 / an object")
        return None
    inner = Inner(case, row, at)
    state, reached = coded(inner, "state", "waste-manifest-states"), happened(inner, "day")
    return built(inner, ManifestStep, {"state": state, "day": reached, "reason": text(inner, "reason")})


def licence(case: Case) -> Judged:
    """A licence: `companycode` of who files it, `number`, `holder`, standing, days of validity and its scopes."""
    values: dict[str, Any] = {
        "issuer": fields.company_code(case),
        "number": needed(case, "number"),
        "holder": needed(case, "holder"),
        "holdername": text(case, "holdername"),
        "standing": coded(case, "standing", "waste-standings"),
        "validfrom": fields.required_day(case, "validfrom"),
        "validto": fields.required_day(case, "validto"),
        "scopes": _scopes(case),
        "division": _division(case, "division"),
    }
    values["day"] = values["validfrom"]
    first, last = values["validfrom"], values["validto"]
    if first is not None and last is not None and first > last:
        case.add("DATE_ORDER", "validfrom", first, f"<= {last.isoformat()}")
    document = built(case, WasteLicence, values)
    return document, document.members() if document else display(values)


def _scopes(case: Case) -> tuple[LicenceScope, ...] | None:
    sent = case.members.get("scopes")
    if not isinstance(sent, list) or not 0 < len(sent) <= _ROWS_MOST:
        case.add("MANDATORY_MISSING", "scopes", None, f"1-{_ROWS_MOST} 个对象 / objects")
        return None
    found = [_scope(case, f"scopes[{place}]", row) for place, row in enumerate(sent)]
    scopes = tuple(scope for scope in found if scope is not None)
    return scopes if len(scopes) == len(sent) else None


def _scope(case: Case, at: str, row: object) -> LicenceScope | None:
    if not isinstance(row, Mapping):
        case.wrong_kind(at, row, "对象 / an object")
        return None
    inner = Inner(case, row, at)
    quantity = amount(inner, "quantity", _KG, mandatory=False, zero=True)
    codes = listed(inner, "codes")
    return built(inner, LicenceScope, {"category": _category(inner), "codes": codes, "quantity": quantity})


def plan(case: Case) -> Judged:
    """An annual plan: `companycode`, `number`, `year`, category, quantity with unit, and its state."""
    year = number(case.members.get("year"))
    if year is None or int(year) != year or int(year) not in _YEARS:
        case.add("DATE_FORMAT", "year", case.members.get("year"), "yyyy")
        year = None
    measure = unit(case)
    values: dict[str, Any] = {
        "issuer": fields.company_code(case),
        "number": needed(case, "number"),
        "year": None if year is None else int(year),
        "day": None if year is None else date(int(year), 1, 1),
        "category": _category(case),
        "quantity": amount(case, "quantity", measure),
        "unit": measure.base if measure else None,
        "state": coded(case, "state", "waste-plan-states"),
    }
    if measure is not None and measure.base != KG:
        case.add("CODE_NOT_IN_TABLE", "unit", measure.base, "kg, 吨 / t")
        values["unit"] = None
    document = built(case, WastePlan, values)
    return document, document.members() if document else display(values)


JUDGES: Mapping[type[Document], Callable[[Case], Judged]] = {
    WasteEvent: event,
    WasteManifest: manifest,
    WasteLicence: licence,
    WastePlan: plan,
}
"""Kind -> how it is judged under our own names."""


def _category(case: Case) -> str | None:
    written = needed(case, "category")
    found = None if written is None else read_category(written)
    if written is not None and found is None:
        case.add("CODE_NOT_IN_TABLE", "category", written, "HW01-HW50, SW..")
    return found


def _division(case: Case, field: str) -> str | None:
    """A division whose province there is; which county does not matter here."""
    written = text(case, field, CODE)
    if written is not None and divisions.of_division(written) is None:
        case.add("CODE_NOT_IN_TABLE", field, written, "GB/T 2260")
    return written
