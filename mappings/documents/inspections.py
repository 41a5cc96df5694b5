"""Inspections: one result of one emission test at an I station (汽车排放检验机构), and the forms it comes in.

`istation` is the upload message of the stations, `{jkid, jksqm, data: [{body: [{...}]}]}` (domain section 3.3); `jksqm`
is a credential and is neither kept nor shown. `inspection-row` is a row of InspectionData of a provincial environment
system (domain section 3.2) as a JSON object. A message holds one result.

Names of operators and drivers must be there and are not kept: no rule needs them. Where the public facts end: a message
does not hold the number of the printed report, which the station asks for afterwards (`downInspTestingCheck`); who
collects the messages adds it as `testno`, and `inspectionnature` where it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict

from mappings.documents import Document, Identity
from mappings.documents.kinds import Form, Judged
from mappings.documents.moments import Moment
from mappings.rules import inspection as rules
from mappings.rules.case import Case
from mappings.rules.measures import DIDLE, ITEMS, LIGHTPROOF, LUGDOWN, OBD, VMAS
from mappings.rules.messages import Body, Message, Names

Method = Literal["didle", "lightproof", "asm", "vmas", "lugdown", "ringelmann", "obd"]

UPLOADS: Mapping[str, str] = {
    "uploadInspResultDIDLE": DIDLE,
    "uploadInspResultLIGHTPROOF": LIGHTPROOF,
    "uploadInspResultLUGDOWN": LUGDOWN,
    "uploadInspResultVMAS": VMAS,
    "uploadInspResultOBD": OBD,
}
"""jkid of the messages that hold a result -> method. Other jkid (registration, process data, devices) hold none."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Measure(_Row):
    """One item of a test: what was measured, its limits, and its single result."""

    item: str
    value: Decimal | None = None
    lower: Decimal | None = None
    """Least that passes."""
    upper: Decimal | None = None
    """Most that passes."""
    passed: bool | None = None


class ControlUnit(_Row):
    """A control unit that answered over the on-board diagnosis."""

    name: str | None = None
    calid: str | None = None
    cvn: str | None = None


class Diagnosis(_Row):
    """What the check of the on-board diagnosis found."""

    mileage: Decimal | None = None
    """Odometer in km."""
    units: tuple[ControlUnit, ...] = ()
    indicator: bool | None = None
    """Whether the malfunction indicator passed."""
    communication: bool | None = None
    reasons: tuple[str, ...] = ()
    """Why there was no communication (table obd-communication)."""
    faults: tuple[str, ...] = ()
    """Fault codes."""
    unready: tuple[str, ...] = ()
    """Monitors that were not ready (table obd-monitors)."""
    lampmileage: Decimal | None = None
    """Kilometres driven with the indicator on."""
    recheck: bool | None = None
    """Whether a second check was asked for."""
    rechecked: bool | None = None
    """Its result."""


class Inspection(Document):
    """One result: of an emission test, or of the check of the on-board diagnosis that belongs to one."""

    KIND: ClassVar[str] = "inspection"

    stationcode: str
    inspectionid: str | None = None
    """Number of the vehicle's registration for inspection (inspregid); results of one registration share it."""
    resultid: str | None = None
    """Number of the result at its station."""
    reportno: str | None = None
    """Number of the printed report (testno, InspectionReportNo)."""
    line: str | None = None
    plate: str | None = None
    platecolour: str | None = None
    """Table plate-colours."""
    platekind: str | None = None
    """Table plate-kinds."""
    vin: str
    fuel: str | None = None
    """Table fuel or fuel-jinhua."""
    method: Method
    nature: str | None = None
    """Table inspection-natures: 01 first, 02 re-inspection, 03 third."""
    inspectionkind: str | None = None
    """Table inspection-kinds."""
    times: int | None = None
    """How often the vehicle was inspected for this registration, as told."""
    use: str | None = None
    """Table use-of-vehicle."""
    emissionstandard: str | None = None
    """Table emission-standards."""
    starttime: Moment | None = None
    endtime: Moment
    passed: bool
    measures: tuple[Measure, ...] = ()
    diagnosis: Diagnosis | None = None
    area: str | None = None
    """Division (GB/T 2260) of the report number, else of the station's code."""

    @property
    def identity(self) -> Identity:
        """Issued by the station; a result of the on-board diagnosis has a number of its own."""
        number = "/".join(filter(None, (self.inspectionid, self.resultid))) or self.reportno or ""
        if self.method == OBD:
            number += "/obd"
        return Identity(self.stationcode, number, self.day, self.vin)

    @property
    def day(self) -> date:
        """The day on which the test ended, in China."""
        return self.endtime.date()


_COMMON: Names = {
    "resultid": ("id",),
    "inspectionid": ("inspregid",),
    "reportno": ("testno", "test_no"),
    "stationcode": ("tsno",),
    "vin": ("vin",),
    "engine": ("engineno",),
    "operator": ("operatorname",),
    "starttime": ("teststime",),
    "endtime": ("testetime",),
    "nature": ("inspectionnature",),
    "inspectionkind": ("inspectionkind",),
}
_RESULT: Names = {
    **_COMMON,
    "plate": ("license",),
    "platecolour": ("licensetype",),
    "platekind": ("licensecode",),
    "fuel": ("fueltype",),
    "line": ("testlineno",),
    "driver": ("drivername",),
    "testtype": ("testtype",),
    "passed": ("testjudge",),
}
_DIAGNOSIS: Names = {
    **_COMMON,
    "mileage": ("odo",),
    **{f"{member}{number}": (f"{member}{number}",) for number in (1, 2, 3) for member in ("ecu", "calid", "cvn")},
    "indicator": ("indicatorcheck",),
    "communication": ("communicationcheck",),
    "reasons": ("communicationfalseres",),
    "faults": ("faultcodes",),
    "unready": ("noreadystatepros",),
    "lampmileage": ("mileage",),
    "recheck": ("isrecheck",),
    "rechecked": ("rejudge",),
    "passed": ("judge",),
}
_ROW: Names = {
    "resultid": ("inspectiondataid",),
    "reportno": ("inspectionreportno",),
    "stationcode": ("stationcode",),
    "plate": ("vlpn",),
    "platecolour": ("vlpncolor",),
    "vin": ("vin",),
    "fuel": ("fueltype",),
    "nature": ("inspectionnature",),
    "inspectionkind": ("inspectionkind",),
    "times": ("inspectiontimes",),
    "starttime": ("detectstarttime",),
    "endtime": ("detectendtime",),
    "iutype": ("iutype",),
    "passed": ("vdct",),
    "emissionstandard": ("emissionstandard",),
    "use": ("useofauto",),
}
_ROW_IGNORED = frozenset({"inspectionnum", "inspectionway", "vehicleid", "ocha", "gavtype"})
"""Columns of InspectionData whose meaning is not public."""


def _is_upload(members: Mapping[str, Any]) -> bool:
    return "jkid" in members and "data" in members


def _upload(case: Case) -> Judged:
    jkid = case.members.get("jkid")
    method = UPLOADS.get(jkid.strip()) if isinstance(jkid, str) else None
    message = Message(case)
    body = message.jkid_body()
    if method is None:
        case.add("CODE_NOT_IN_TABLE", "jkid", jkid, ", ".join(UPLOADS))
        return None, {}
    if body is None:
        return None, {}
    items = {name: theirs for item in ITEMS.get(method, ()) for name, theirs in item.members.items()}
    message.rename(body, {**(_DIAGNOSIS if method == OBD else _RESULT), **items})
    values = rules.diagnosis(case) if method == OBD else rules.result(case, method)
    return _built(values)


def _is_row(members: Mapping[str, Any]) -> bool:
    return "vdct" in members and ("inspectionreportno" in members or "inspectiondataid" in members)


def _row(case: Case) -> Judged:
    Message(case).rename(Body(case.members), _ROW, _ROW_IGNORED)
    return _built(rules.row(case))


def _built(values: Mapping[str, Any]) -> Judged:
    """The inspection of these values, where those that it cannot be without are there."""
    needed = (name for name, info in Inspection.model_fields.items() if info.is_required())
    if any(values.get(name) is None for name in needed) or values["method"] not in get_args(Method):
        return None, {}
    measures = tuple(
        Measure(item=one.item, value=one.value, lower=one.lower, upper=one.upper, passed=one.passed)
        for one in values.get("measures", ())
    )
    given = {**values, "measures": measures}
    if "diagnosis" in values:
        units = tuple(ControlUnit(**unit) for unit in values["diagnosis"]["units"])
        given["diagnosis"] = Diagnosis(**{**values["diagnosis"], "units": units})
    found = Inspection(**given)
    return found, found.members()


ISTATION = Form("istation", _is_upload, _upload)
INSPECTION_ROW = Form("inspection-row", _is_row, _row)
