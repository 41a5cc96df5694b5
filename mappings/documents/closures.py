"""Closures: the repair of a vehicle that failed an emission test, as the environment department takes it.

A closure holds what the tables RepairInfo_M, VehiclePartslist_M and RepairProjectList_M hold (domain section 3.2): the
13 elements of JT/T 1132.2, the number of the report (`test_no`) and the M station's code. It is judged like a repair.

Three ways out, of which the last two read back as the same closure (form `repairinfo-m`):

* `sql_rows`: rows by table;
* `encode_message`: the envelope of the I stations' interface, `{jkid, jksqm, data: [{body: [{...}]}]}`, with a jkid of
  our own, `uploadRepairClosureM`: no public document names one for repairs;
* `encode_line`: one JSON object, the row of RepairInfo_M with its two lists.

Where the public facts end:

* The list tables are public without their key. Here each has `RepairVeID`, the key of RepairInfo_M: 32 hexadecimal
  digits of SHA-256 over M station, list code and VIN, the same for every version, so that a corrected closure replaces
  its rows; `rowno` is the place in the list.
* Where the VIN itself is corrected, the old closure is withdrawn and another one comes. By SQL the rows of its
  RepairVeID are deleted; else it is a message of the jkid `withdrawRepairClosureM`, or a line, with RepairVeID and
  `withdrawn` (why).
* `RecallResult` is the department's answer and is not written; `uploader` is the system that sends, never a person.
* JSON has `area` beside, the M station's division, which the table lacks. Its lists bear the national interface's
  names, in lower case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import orjson
from pydantic import BaseModel, ConfigDict

from mappings.dates import SHANGHAI
from mappings.documents import Document, Identity
from mappings.documents.kinds import Form, Judged
from mappings.records import Part, Project, RepairRow, Withdrawal
from mappings.reportnumbers import area_of, folded, linked
from mappings.rules import fields, repair
from mappings.rules.case import Case
from mappings.rules.inspection import report_area
from mappings.rules.messages import Body, Message, Names

JKID, JKID_WITHDRAWN = "uploadRepairClosureM", "withdrawRepairClosureM"
"""Our own interface names, for closures and their withdrawal, in the envelope of the I stations' interface."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ClosurePart(_Row):
    """A row of VehiclePartslist_M; a quantity that was no number and only flagged is absent."""

    name: str
    quantity: Decimal | None = None
    code: str


class ClosureProject(_Row):
    """A row of RepairProjectList_M."""

    name: str
    hours: Decimal | None = None


class Closure(Document):
    """One emission repair."""

    KIND: ClassVar[str] = "closure"

    companyuniquecode: str
    """Code of the M station in the environment department's system."""
    companyname: str
    costlistcode: str
    test_no: str | None = None
    """Number of the report of the failed test that the repair answers."""
    plate: str
    vin: str
    mileage: Decimal
    repairdate: date
    settledate: date
    faultdescription: str
    parts: tuple[ClosurePart, ...] = ()
    projects: tuple[ClosureProject, ...] = ()
    area: str | None = None
    """Division (GB/T 2260) of the M station."""

    @property
    def identity(self) -> Identity:
        """Issued by the M station under its settlement list's code, for one vehicle.

        A key stays with one vehicle, so that taking back what was said of a wrong one cannot touch the right one.
        """
        return Identity(self.companyuniquecode, f"{self.costlistcode}/{self.vin}", self.settledate, self.vin)


def closure_of(
    row: RepairRow, test_no: str | None, *, vin: str = "", unique: str = "", area: str | None = None
) -> Closure:
    """The closure that a repair is.

    Args:
        row: The repair.
        test_no: The report that it answers.
        vin: The vehicle, where a person decided that the repair names a wrong one.
        unique: The M station's code with the environment department, where it is not its company code.
        area: The M station's division; else that of its code.
    """
    code = unique or row.companycode
    return Closure(
        companyuniquecode=code,
        companyname=row.companyname,
        costlistcode=row.costlistcode,
        test_no=test_no,
        plate=row.plate,
        vin=vin or row.vin,
        mileage=row.mileage,
        repairdate=row.repairdate,
        settledate=row.settledate,
        faultdescription=row.faultdescription,
        parts=tuple(ClosurePart(name=one.name, quantity=one.quantity, code=one.code) for one in row.parts),
        projects=tuple(ClosureProject(name=one.name, hours=one.hours) for one in row.projects),
        area=area or area_of(code),
    )


def row_of(closure: Closure) -> RepairRow:
    """The repair that a closure tells of; its company is the M station's code."""
    return RepairRow(
        companycode=closure.companyuniquecode,
        companyname=closure.companyname,
        plate=closure.plate,
        vin=closure.vin,
        repairdate=closure.repairdate,
        settledate=closure.settledate,
        mileage=closure.mileage,
        faultdescription=closure.faultdescription,
        costlistcode=closure.costlistcode,
        parts=tuple(Part(one.name, one.quantity, one.code) for one in closure.parts),
        projects=tuple(Project(one.name, one.hours) for one in closure.projects),
    )


def row_id(issuer: str, listed: str) -> str:
    """RepairVeID of a closure, or of its withdrawal, by issuer and `Document.listed`: the same for every version."""
    return hashlib.sha256(orjson.dumps([issuer, listed])).hexdigest()[:32]


def sql_rows(closure: Closure, uploader: str, uploaded: datetime) -> dict[str, list[dict[str, Any]]]:
    """The rows of a closure by table; whoever writes them replaces all rows of this RepairVeID.

    Args:
        closure: What to write.
        uploader: The system that sends it.
        uploaded: When (aware); the same moment gives the same rows.
    """
    key = {"RepairVeID": row_id(closure.identity.issuer, closure.listed)}
    return {
        "RepairInfo_M": [
            {
                **key,
                "Costlistcode": closure.costlistcode,
                "test_no": closure.test_no,
                "Vehicleplatenumber": closure.plate,
                "Vin": closure.vin,
                "repairmileage": closure.mileage,
                "repairdate": closure.repairdate,
                "settledate": closure.settledate,
                "companyname": closure.companyname,
                "companyuniquecode": closure.companyuniquecode,
                "Faultdescription": closure.faultdescription,
                "uploader": uploader,
                "uploadTime": uploaded,
            }
        ],
        "VehiclePartslist_M": [
            {**key, "rowno": number, "partsname": one.name, "partsquantity": one.quantity, "partscode": one.code}
            for number, one in enumerate(closure.parts, 1)
        ],
        "RepairProjectList_M": [
            {**key, "rowno": number, "repairproject": one.name, "workinghours": one.hours}
            for number, one in enumerate(closure.projects, 1)
        ],
    }


def body(closure: Closure, uploader: str, uploaded: datetime) -> dict[str, Any]:
    """The row of RepairInfo_M with its two lists, as JSON has it.

    Days are yyyyMMdd, uploadTime yyyyMMddHHmmss in China's time, numbers plain text; absent members are left out.
    """
    tables = sql_rows(closure, uploader, uploaded)
    (info,) = tables["RepairInfo_M"]
    lists = {
        "vehiclepartslist": tables["VehiclePartslist_M"],
        "repairprojectlist": tables["RepairProjectList_M"],
    }
    rows = {
        name: [{member: _text(value) for member, value in row.items() if member not in _KEYS} for row in given]
        for name, given in lists.items()
    }
    info["area"] = closure.area
    return {name: _text(value) for name, value in info.items() if value is not None} | rows


def encode_line(closure: Closure, uploader: str, uploaded: datetime) -> bytes:
    """One line of a file of closures (NDJSON), without its end."""
    return orjson.dumps(body(closure, uploader, uploaded))


def encode_message(closure: Closure, uploader: str, uploaded: datetime, jksqm: str = "") -> bytes:
    """A message with the envelope of the I stations' interface; `jksqm` is the receiver's credential."""
    return _message(JKID, jksqm, body(closure, uploader, uploaded))


def withdrawn_body(withdrawal: Withdrawal) -> dict[str, str]:
    """What says that a closure counts no longer."""
    return {"RepairVeID": row_id(withdrawal.companycode, withdrawal.costlistcode), "withdrawn": withdrawal.reason}


def encode_withdrawn_line(withdrawal: Withdrawal) -> bytes:
    """One line of a file of closures (NDJSON) that takes one back."""
    return orjson.dumps(withdrawn_body(withdrawal))


def encode_withdrawn_message(withdrawal: Withdrawal, jksqm: str = "") -> bytes:
    """A message that takes a closure back."""
    return _message(JKID_WITHDRAWN, jksqm, withdrawn_body(withdrawal))


def _message(jkid: str, jksqm: str, inner: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"jkid": jkid, "jksqm": jksqm, "data": [{"body": [inner]}]})


_KEYS = frozenset({"RepairVeID", "rowno"})
_NAMES: Names = {
    "companycode": ("companyuniquecode",),
    "companyname": ("companyname",),
    "costlistcode": ("costlistcode",),
    "test_no": ("test_no",),
    "plate": ("vehicleplatenumber",),
    "vin": ("vin",),
    "mileage": ("repairmileage",),
    "repairdate": ("repairdate",),
    "settledate": ("settledate",),
    "faultdescription": ("faultdescription",),
    "area": ("area",),
    "parts": ("vehiclepartslist", "vehiclepartslist_m"),
    "projects": ("repairprojectlist", "repairprojectlist_m"),
}
_IGNORED = frozenset({"repairveid", "uploader", "uploadtime", "recallresult"})
_PARTS: Names = {"name": ("partsname",), "quantity": ("partsquantity",), "code": ("partscode",)}
_PROJECTS: Names = {"name": ("repairproject",), "hours": ("workinghours",)}


def _recognises(members: Mapping[str, Any]) -> bool:
    jkid = members.get("jkid")
    if isinstance(jkid, str):
        return jkid.strip() == JKID
    return "companyuniquecode" in members and ("costlistcode" in members or "test_no" in members)


def _judge(case: Case) -> Judged:
    message = Message(case)
    found: Body | None = message.jkid_body() if "jkid" in case.members else Body(case.members)
    if found is None:
        return None, {}
    message.rename(found, _NAMES, _IGNORED)
    message.rename_rows("parts", _PARTS)
    message.rename_rows("projects", _PROJECTS)
    fields.required_text(case, "companycode")
    row, shown = repair.repair(case)
    number, area = _report(case), fields.optional_text(case, "area")
    if row is None:
        return None, shown
    closure = closure_of(row, number, area=area)
    return closure, closure.members()


def _report(case: Case) -> str | None:
    """The report's number: `test_no`, else what the fault description names."""
    text = fields.optional_text(case, "test_no")
    if text is None:
        described = case.members.get("faultdescription")
        text = linked(described) if isinstance(described, str) else None
    if text is None:
        case.add("REPORT_NUMBER_MISSING", "test_no", case.members.get("test_no"), "检验报告编号 / a report number")
        return None
    number = folded(text)
    report_area(case, "test_no", number)
    return number


def _text(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(SHANGHAI).strftime("%Y%m%d%H%M%S")
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    return format(value, "f") if isinstance(value, Decimal) else value


REPAIRINFO_M = Form("repairinfo-m", _recognises, _judge)
