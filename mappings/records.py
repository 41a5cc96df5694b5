"""Canonical records: frozen values that every dialect is mapped to and every destination is encoded from.

Names follow the members of JT/T 1132.2-2017 as the national interface spells them. Decimals are exact,
dates are dates, mileage is in kilometres.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict


class Part(NamedTuple):
    """One row of vehiclepartslist: name (配件名称), quantity (配件数量), code (配件编码)."""

    name: str
    quantity: Decimal | None
    code: str


class Project(NamedTuple):
    """One row of repairprojectlist: name (维修项目) and working hours (维修工时)."""

    name: str
    hours: Decimal | None


class RepairRow(NamedTuple):
    """The content of a repair record in its compact form: the 13 elements of JT/T 1132.2, in Avro field order.

    Steps carry this tuple instead of `RepairRecord`: equal in content, a tenth of the cost. `companycode` is
    part of the record's key; the other members are its content (they decide whether a version is new).
    """

    companycode: str
    companyname: str
    plate: str
    vin: str
    repairdate: date
    settledate: date
    mileage: Decimal
    faultdescription: str
    costlistcode: str
    parts: tuple[Part, ...]
    projects: tuple[Project, ...]


class Withdrawal(NamedTuple):
    """A withdrawal (撤回): the record of this key counts no longer. It names the record and repeats nothing of it."""

    companycode: str
    costlistcode: str
    reason: str
    """Why, in the words of the company that reported the record."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


class Provenance(_Frozen):
    """Where a record came from: everything about it that is not content, in Avro field order."""

    system: str
    """Collecting system: division of the province (`44`), `bt` for 兵团, or an OEM headquarters (`oem-SVW`)."""
    version: int = 1
    """Assigned once by the collecting system, in intake order; travels with the record."""
    repaircomefrom: int = 1
    """维修企业来源: 1 同步 (collected by the store's own system), 2 上级下发 (came down from the ministry)."""
    dialect: str
    received_at: datetime
    findings: tuple[str, ...] = ()
    """Codes of the flags that travel with the record."""


class RepairRecord(_Frozen):
    """One settled repair visit as it is delivered: the 13 elements of JT/T 1132.2 plus provenance.

    This is the type for who reads what vingate delivered; the steps of an exchange carry `RepairRow`.
    """

    companycode: str
    companyname: str
    plate: str
    vin: str
    repairdate: date
    settledate: date
    mileage: Decimal
    faultdescription: str
    costlistcode: str
    parts: tuple[Part, ...] = ()
    projects: tuple[Project, ...] = ()
    provenance: Provenance

    @classmethod
    def from_row(cls, row: RepairRow, provenance: Provenance) -> RepairRecord:
        """Build the record of a compact row."""
        return cls(**row._asdict(), provenance=provenance)

    @classmethod
    def from_delivered(cls, members: Mapping[str, Any]) -> RepairRecord:
        """Build the record that a reader of our Avro files gives: flat, its rows as mappings.

        Raises:
            ValueError: it is none of ours, or a withdrawn version, which has no content (`withdrawn` says why).
        """
        if members.get("withdrawn") is not None:
            message = f"已撤回，没有内容 / withdrawn, without content: {members['withdrawn']}"
            raise ValueError(message)
        content: dict[str, Any] = {name: members.get(name) for name in RepairRow._fields}
        content["parts"] = tuple(Part(**part) for part in members["parts"])
        content["projects"] = tuple(Project(**project) for project in members["projects"])
        provenance: dict[str, Any] = {name: members.get(name) for name in Provenance.model_fields}
        provenance["findings"] = tuple(members["findings"])
        return cls(**content, provenance=Provenance(**provenance))

    def row(self) -> RepairRow:
        """The record's content in its compact form."""
        return RepairRow(*(getattr(self, name) for name in RepairRow._fields))


class Operator(_Frozen):
    """A repair shop as registered (lcipproaccountcompany, domain table 1.3). Never holds the password."""

    companycode: str | None = None
    companyname: str
    companyroadtransportationlicense: str | None = None
    companyunifiedsocialcreditidentifier: str
    companyaddress: str
    companypostalcode: str
    companyeconomiccategory: str
    companycategory: str
    companylinkmanname: str
    companylinkmantel: str
    companysuperintendentname: str
    companysuperintendenttel: str
    companybusinessscope: str
    roadtransportationlicensestartdate: date | None = None
    roadtransportationlicenseenddate: date | None = None
    """None when unlimited (99990909 on the wire) or not given."""
    companyoperationstate: str
    companyadministrativedivisioncode: str
    companyemail: str


class VehicleRegistration(_Frozen):
    """A vehicle's registration (车籍): which plate it bears and which province is its home, and when."""

    vin: str
    plate: str | None = None
    home: str
    """Province key as in routing: GB/T 2260 level 1 (`44`) or `bt` for 兵团; `71`, `81`, `82` have no system."""
    valid_from: date
    valid_to: date | None = None
    """Last day of validity; None while it is in force."""


class ReceiptFinding(_Frozen):
    """A finding as a receipt tells it."""

    code: str
    severity: Literal["reject", "flag", "info"]
    field: str
    value: str
    expected: str


class Receipt(_Frozen):
    """The answer to one payload, a line of a receipts file: what became of it, and every finding.

    This is the type for who reads receipts (`Receipt.model_validate_json(line)`).
    """

    companycode: str
    costlistcode: str
    """Empty where the payload did not say it."""
    verdict: Literal["accept", "reject"]
    duplicate: bool
    piece: bool
    """Whether it is a step of an order, which waits for the others."""
    version: int | None
    """None of what was rejected, and of a piece."""
    status: str
    """What the shop is told, in Chinese: all faults in one text (rule 21)."""
    findings: tuple[ReceiptFinding, ...]
    source: str
    """The payload's place at its source: path and offset."""
