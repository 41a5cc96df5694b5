"""Used cars: who orders a vehicle's history, the desensitised report, and the certificate for an exported car.

82号 (10): used-car trade may ask under conditions, after desensitisation; for exports the archive proves the repairs.
What public APIs of the market answer is in domain 8.2: summary flags and no raw records. Their requests differ from one
another and are signed per vendor, so the order has a schema of our own: `orderno` (text, numbered by who orders),
`requester` (its credit code or another code), `requestername` (optional), `purpose` (table `history-purposes`: `trade`,
`export`), `approval` (number of the approval that the order rests on), `exportproof` (number of the export's proof;
mandatory for exports), `vin`, `orderdate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from mappings.documents import Document, Identity
from mappings.documents.kinds import Form, Judged
from mappings.documents.market import Month
from mappings.documents.members import (
    NAME_LENGTH,
    built,
    leave_out,
    optional_text,
    rename,
    required_code,
    required_text,
)
from mappings.rules import fields
from mappings.rules.case import Case

TRADE, EXPORT = "trade", "export"
CERTIFICATE_SCHEMA = "vingate.export-certificate/1"

FLAGS_FOUND = 10000
"""Success of the answers that give flags only (domain 8.2)."""
RECORDS_FOUND, RECORDS_NONE = 200, 404
"""Found, and nothing found, of the answers that give records (domain 8.2)."""

_Flag = Literal[0, 1]
_Count = Annotated[int, Field(ge=0)]


class HistoryOrder(Document):
    """An order of one vehicle's history: by whom, for what, under which approval."""

    KIND: ClassVar[str] = "history-order"

    requester: str
    number: str
    """The order's number with the requester."""
    requestername: str | None = None
    """Name of the organisation; it stands on an export certificate."""
    purpose: Literal["trade", "export"]
    approval: str
    exportproof: str | None = None
    vin: str
    day: date

    @property
    def identity(self) -> Identity:
        """The requester numbers it."""
        return Identity(self.requester, self.number, self.day, self.vin)


class _Piece(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Visit(_Piece):
    """One visit as a report tells it: neither shop nor plate, day, text or exact mileage."""

    month: Month
    """Of the settlement."""
    category: Literal["maintenance", "repair"]
    """`maintenance` where nothing else was done."""
    groups: tuple[str, ...]
    """Which groups of important parts were repaired (`routing/data/history.toml`), sorted."""
    mileagefrom: _Count
    """Begin of the band of the mileage, km."""


class History(_Piece):
    """What a report and a certificate say of a vehicle: flags, bands and months (names of domain 8.2, lower case)."""

    carcomponentrecordsflag: _Flag
    """1 where an important component (engine, gearbox, battery, ...) was repaired or replaced."""
    carconstructrecordsflag: _Flag
    """1 where the body's structure was repaired."""
    odometerflag: _Flag
    """1 where a later visit had a lower mileage. Not in domain 8.2."""
    lastmaintaintime: Month | None = None
    lastrepairtime: Month | None = None
    maintaintimes: _Count
    """Visits with maintenance, whether or not something was repaired too."""
    mileageestimate: str | None = None
    """Band of the mileage on the day of the order, km: `60000-70000`."""
    visits: tuple[Visit, ...]
    """Oldest month first."""


class HistoryReport(Document):
    """The desensitised history of one vehicle as of the order's day."""

    KIND: ClassVar[str] = "history-report"

    issuer: str
    requester: str
    order: str
    purpose: Literal["trade", "export"]
    approval: str
    vin: str
    day: date
    history: History

    @property
    def identity(self) -> Identity:
        """One report an order."""
        return Identity(self.issuer, f"{self.requester}:{self.order}", self.day, self.vin)


class ExportCertificate(Document):
    """What the repairs of a car to be exported were, for who buys it abroad; `pipelines.certificates` signs it."""

    KIND: ClassVar[str] = "export-certificate"

    issuer: str
    requester: str
    requestername: str | None = None
    order: str
    approval: str
    exportproof: str
    vin: str
    maker: str | None = None
    day: date
    history: History

    @property
    def identity(self) -> Identity:
        """One certificate an order."""
        return Identity(self.issuer, f"{self.requester}:{self.order}", self.day, self.vin)


_ORDER_NAMES = {"orderno": "number", "orderdate": "day"}
_ORDER_MEMBERS = frozenset(HistoryOrder.model_fields)


def _is_order(members: Mapping[str, Any]) -> bool:
    return members.keys() >= {"orderno", "requester", "purpose", "approval"}


def _judge_order(case: Case) -> Judged:
    rename(case, _ORDER_NAMES)
    leave_out(case, _ORDER_MEMBERS)
    values: dict[str, Any] = {
        "requester": required_text(case, "requester"),
        "number": required_text(case, "number"),
        "requestername": optional_text(case, "requestername", NAME_LENGTH),
        "purpose": required_code(case, "purpose", "history-purposes"),
        "approval": required_text(case, "approval"),
        "exportproof": optional_text(case, "exportproof"),
        "vin": fields.vehicle_number(case),
        "day": fields.required_day(case, "day"),
    }
    purpose = values["purpose"] = _purpose(values["purpose"])
    if purpose == EXPORT and values["exportproof"] is None:
        case.add("MANDATORY_MISSING", "exportproof", case.members.get("exportproof"), "出口须有证明 / of an export")
    return built(HistoryOrder, values)


def _purpose(code: str | None) -> str | None:
    """The purpose of a code; None of one outside the table, which was remarked."""
    lower = code.lower() if code else None
    return lower if lower in {TRADE, EXPORT} else None


HISTORY_ORDER = Form("history-order", _is_order, _judge_order)


def encode_history_flags(report: HistoryReport) -> bytes:
    """The answer that gives flags only: `code` 10000 and the six members of domain 8.2 in its spelling.

    `{"code":10000,"msg","orderNo","data":{"vin","carComponentRecordsFlag","carConstructRecordsFlag","lastMainTainTime",
    "lastRepairTime","mainTainTimes","mileageEstimate"}}`. Times are months; what is not known is null. Types are
    ours: the public samples name the members only.
    """
    return orjson.dumps(
        {
            "code": FLAGS_FOUND,
            "msg": "成功",
            "orderNo": report.order,
            "data": {"vin": report.vin, **_flags(report.history)},
        }
    )


def encode_history_records(report: HistoryReport) -> bytes:
    """The answer that lists visits: `code` 200, or 404 and no data where the archive has none (domain 8.2).

    `data` holds `vin`, the flags of `encode_history_flags`, `odometerFlag`, and `records`, each `month`, `category`
    (`maintenance`, `repair`), `groups` and `mileageFrom`.
    """
    found = bool(report.history.visits)
    data = {"vin": report.vin, **_flags(report.history), **_records(report.history)} if found else None
    return orjson.dumps(
        {
            "code": RECORDS_FOUND if found else RECORDS_NONE,
            "msg": "成功" if found else "无维修记录",
            "orderNo": report.order,
            "data": data,
        }
    )


def encode_export_certificate(certificate: ExportCertificate) -> bytes:
    """What is signed of a certificate: `vingate.export-certificate/1`, members sorted, so that its bytes are one's own.

    `issuer`, `requester`, `requesterName`, `orderNo`, `approval`, `exportProof`, `vin`, `maker`, `day` (ISO), and
    `history`: the members of `encode_history_records`, without the VIN.
    """
    return orjson.dumps(
        {
            "schema": CERTIFICATE_SCHEMA,
            "issuer": certificate.issuer,
            "requester": certificate.requester,
            "requesterName": certificate.requestername,
            "orderNo": certificate.order,
            "approval": certificate.approval,
            "exportProof": certificate.exportproof,
            "vin": certificate.vin,
            "maker": certificate.maker,
            "day": certificate.day.isoformat(),
            "history": {**_flags(certificate.history), **_records(certificate.history)},
        },
        option=orjson.OPT_SORT_KEYS,
    )


def _flags(history: History) -> dict[str, object]:
    return {
        "carComponentRecordsFlag": history.carcomponentrecordsflag,
        "carConstructRecordsFlag": history.carconstructrecordsflag,
        "lastMainTainTime": history.lastmaintaintime,
        "lastRepairTime": history.lastrepairtime,
        "mainTainTimes": history.maintaintimes,
        "mileageEstimate": history.mileageestimate,
    }


def _records(history: History) -> dict[str, object]:
    return {
        "odometerFlag": history.odometerflag,
        "records": [
            {"month": one.month, "category": one.category, "groups": one.groups, "mileageFrom": one.mileagefrom}
            for one in history.visits
        ],
    }
