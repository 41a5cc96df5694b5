"""Rules on the result of an emission test (domain section 3; GB 18285, GB 3847, HJ 1238).

Each function judges a case whose members bear our names (`mappings.rules.messages`) and gives the typed values by the
names of `mappings.documents.inspections.Inspection`; what could not be read is None or absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mappings.dates import moment
from mappings.folding import half_width
from mappings.numbers import number
from mappings.placeholders import is_placeholder
from mappings.reportnumbers import area_of, folded
from mappings.rules import fields
from mappings.rules.case import SCALARS, Case
from mappings.rules.measures import COMPRESSION, OBD, SPARK, Measure, figure, judgement, measures
from mappings.rules.repair import latest_day
from mappings.tables import table

MOMENT_FORMS = "yyyyMMddHHmmss, yyyy-MM-dd HH:mm:ss, yyyy-MM-ddTHH:mm:ss+08:00"
_DIESEL, _SPARKED = "B", "AEFLM"
"""First letters of fuels (table fuel) whose engines ignite by compression, and by spark."""
_UNITS = (1, 2, 3)
_LISTED = 64
"""Most entries of a list that stands in one text (fault codes)."""


def result(case: Case, method: str) -> dict[str, Any]:
    """Judge the result of an emission test as a station uploads it."""
    values = {
        **_upload(case),
        "plate": _plate(case),
        "platecolour": _coded(case, "platecolour", "plate-colours"),
        "platekind": _coded(case, "platekind", "plate-kinds"),
        "fuel": _fuel(case, needed=True),
        "line": fields.required_text(case, "line"),
        "method": method,
    }
    _present(case, "driver")
    kind = _method(case, "testtype", "test-types")
    if kind is not None and kind != method:
        case.add("METHOD_MISMATCH", "testtype", case.members.get("testtype"), method)
    values["measures"] = found = measures(case, method)
    values["passed"] = judgement(case, "passed", needed=True)
    _consistent(case, values["passed"], _failed(found))
    _across(case, values)
    return values


def diagnosis(case: Case) -> dict[str, Any]:
    """Judge the result of a check of the on-board diagnosis.

    Where a second check was asked for and its result is there, that is the result.
    """
    values = {**_upload(case), "method": OBD}
    found: dict[str, Any] = {
        "mileage": figure(case, "mileage", needed=True),
        "units": tuple(_unit(case, n) for n in _UNITS if not _absent(case, f"ecu{n}", f"calid{n}", f"cvn{n}")),
        "indicator": judgement(case, "indicator", needed=True),
        "communication": judgement(case, "communication", needed=True),
        "reasons": _codes(case, "reasons", "obd-communication"),
        "faults": _listed(case, "faults"),
        "unready": _codes(case, "unready", "obd-monitors"),
        "lampmileage": figure(case, "lampmileage", needed=False),
        "recheck": judgement(case, "recheck", needed=False),
        "rechecked": judgement(case, "rechecked", needed=False),
    }
    passed = judgement(case, "passed", needed=True)
    again = found["rechecked"] if found["recheck"] else None
    if again is None:
        _consistent(case, passed, [name for name in ("indicator", "communication") if found[name] is False])
    values |= {"diagnosis": found, "passed": passed if again is None else again}
    _across(case, values)
    return values


def row(case: Case) -> dict[str, Any]:
    """Judge a row of InspectionData: its report number is mandatory, since the repairs are joined to it."""
    values: dict[str, Any] = {
        **_everywhere(case),
        "resultid": fields.optional_text(case, "resultid"),
        "reportno": _report(case, needed=True),
        "plate": _plate(case),
        "platecolour": _coded(case, "platecolour", "plate-colours"),
        "fuel": _fuel(case, needed=False),
        "times": _count(case, "times"),
        "emissionstandard": _coded(case, "emissionstandard", "emission-standards"),
        "use": _coded(case, "use", "use-of-vehicle"),
        "method": _method(case, "iutype", "iu-types"),
        "passed": judgement(case, "passed", needed=True),
    }
    _across(case, values)
    return values


def _everywhere(case: Case) -> dict[str, Any]:
    """What every form has."""
    return {
        "stationcode": fields.required_text(case, "stationcode"),
        "vin": fields.vehicle_number(case),
        "nature": _coded(case, "nature", "inspection-natures"),
        "inspectionkind": _coded(case, "inspectionkind", "inspection-kinds"),
        "starttime": moment_of(case, "starttime", needed=False),
        "endtime": moment_of(case, "endtime", needed=True),
    }


def _upload(case: Case) -> dict[str, Any]:
    """What every upload of a station has. Persons and engine numbers must be there, and are not kept."""
    fields.required(case, "starttime")
    for name in ("engine", "operator"):
        _present(case, name)
    return {
        **_everywhere(case),
        "inspectionid": fields.required_text(case, "inspectionid"),
        "resultid": fields.required_text(case, "resultid"),
        "reportno": _report(case, needed=False),
    }


def _across(case: Case, values: dict[str, Any]) -> None:
    """Rules on several fields, and the division that follows from them."""
    start, end, report = values["starttime"], values["endtime"], values["reportno"]
    fields.model_year(case, values["vin"], None if end is None else end.date())
    if start is not None and end is not None and start > end:
        case.add("DATE_ORDER", "starttime", start, f"<= {end.isoformat()}")
    if end is not None and end.date() > (latest := latest_day(case)):
        case.add("TIME_IN_FUTURE", "endtime", end, f"<= {latest.isoformat()}")
    fuel, method = values.get("fuel") or "", values["method"]
    if (fuel[:1] == _DIESEL and method in SPARK) or (fuel[:1] in tuple(_SPARKED) and method in COMPRESSION):
        case.add("METHOD_MISMATCH", "fuel", fuel, "GB 18285 / GB 3847")
    report_area(case, "reportno", report)
    values["area"] = area_of(report or "") or area_of(values["stationcode"] or "")


def report_area(case: Case, field: str, report: str | None) -> None:
    """REPORT_NUMBER_AREA: a report number should begin with the code of a division."""
    if report and area_of(report) is None:
        case.add("REPORT_NUMBER_AREA", field, report, "GB/T 2260, 6 位数字 / 6 digits")


def moment_of(case: Case, field: str, *, needed: bool) -> datetime | None:
    """A moment in China's time; DATE_FORMAT where no form fits."""
    value = fields.required(case, field) if needed else case.members.get(field)
    if is_placeholder(value):
        return None
    found = moment(value)
    if found is None and (not isinstance(value, SCALARS) or isinstance(value, bool)):
        case.wrong_kind(field, value, MOMENT_FORMS)
    elif found is None:
        case.add("DATE_FORMAT", field, value, MOMENT_FORMS)
    return found


def _consistent(case: Case, passed: bool | None, failed: list[str]) -> None:
    """JUDGE_INCONSISTENT: a pass with a failed single result. A failure without one may have grounds of its own."""
    if passed and failed:
        case.add("JUDGE_INCONSISTENT", "passed", "1", f"0: {', '.join(failed)}")


def _failed(found: tuple[Measure, ...]) -> list[str]:
    return [one.item for one in found if one.passed is False]


def _present(case: Case, field: str) -> None:
    """A member that must be there and is not looked at."""
    fields.required(case, field)


def _absent(case: Case, *names: str) -> bool:
    return all(is_placeholder(case.members.get(name)) for name in names)


def _plate(case: Case) -> str | None:
    return None if _absent(case, "plate") else fields.plate(case)


def _coded(case: Case, field: str, name: str) -> str | None:
    value = case.members.get(field)
    return None if is_placeholder(value) else fields.coded(case, field, name, value)


def _fuel(case: Case, *, needed: bool) -> str | None:
    """A fuel of the table, or one of the local codes that stations write beside it."""
    value = fields.required(case, "fuel") if needed else case.members.get("fuel")
    if is_placeholder(value):
        return None
    local = half_width(value).upper() if isinstance(value, str) else ""
    return local if local in table("fuel-jinhua") else fields.coded(case, "fuel", "fuel", value)


def _method(case: Case, field: str, name: str) -> str | None:
    """Our own name of a method, by the code of an interface."""
    value = fields.required(case, field)
    code = None if value is None else fields.coded(case, field, name, value)
    row: Mapping[str, str] = table(name).details.get(code or "", {})
    return row.get("method")


def _report(case: Case, *, needed: bool) -> str | None:
    text = fields.required_text(case, "reportno") if needed else fields.optional_text(case, "reportno")
    return folded(text) if text else None


def _count(case: Case, field: str) -> int | None:
    value = case.members.get(field)
    if is_placeholder(value):
        return None
    found = number(value)
    if found is None or found < 0 or found != int(found):
        case.add("MEASURE_NOT_NUMERIC", field, value, "非负整数 / a whole number")
        return None
    return int(found)


def _unit(case: Case, which: int) -> dict[str, str | None]:
    members = {"name": f"ecu{which}", "calid": f"calid{which}", "cvn": f"cvn{which}"}
    return {ours: fields.optional_text(case, name) for ours, name in members.items()}


def _listed(case: Case, field: str) -> tuple[str, ...]:
    """The entries of a text that separates them by commas."""
    text = fields.optional_text(case, field)
    entries = dict.fromkeys(filter(None, (one.strip() for one in half_width(text or "").split(","))))
    if len(entries) > _LISTED:
        case.add("TOO_LONG", field, text, f"<= {_LISTED} 项 / entries")
    return tuple(entries)[:_LISTED]


def _codes(case: Case, field: str, name: str) -> tuple[str, ...]:
    entries = _listed(case, field)
    codes = table(name)
    for entry in entries:
        if entry not in codes:
            case.add("CODE_NOT_IN_TABLE", field, entry, ", ".join(codes.entries))
    return tuple(entry for entry in entries if entry in codes)
