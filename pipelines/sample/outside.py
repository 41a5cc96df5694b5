"""What systems outside send about a province's repairs: inspections, claims, waste events, evaluations, orders.

Made from the repairs that the province holds, so that it fits them; the same store gives the same files. Faults at
realistic shares: vehicles that fail again, waste that nobody declared, insurers that approved less, evaluations that
fit no visit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import orjson

from mappings.documents.claimforms import encode_assessment, encode_estimate
from mappings.documents.claims import ApprovedWork, Assessment, Estimate, FittedPart
from mappings.placeholders import is_placeholder
from mappings.reportnumbers import linked
from pipelines.sample.outsidefeeds import UNSEEN, write_feeds

FOLDER, REGISTERS = "outside", "outside-registers"
"""Below the partners' folder: what is sent, and the registers that settings name."""

_REPAIRS = """
SELECT companycode, companyname, plate, vin, repairdate, settledate, mileage, faultdescription, costlistcode,
    parts, projects
FROM repairs WHERE current = 1 AND withdrawn IS NULL AND repaircomefrom = 1 ORDER BY record_key
"""
_OIL, _BATTERY, _CATALYST = ("900-214-08", "HW08"), ("900-052-31", "HW31"), ("900-049-50", "HW50")
_INSURER, _STATION = "PICC-44", "4401000001"


class _Repair(NamedTuple):
    companycode: str
    companyname: str
    plate: str
    vin: str
    repairdate: date
    settledate: date
    mileage: str
    fault: str
    costlistcode: str
    parts: list[dict[str, Any]]
    projects: list[dict[str, Any]]

    def chance(self, of: int, what: str = "") -> bool:
        """Whether it is one of so many: the same for the same repair."""
        told = f"{what}|{self.companycode}|{self.costlistcode}".encode()
        return int.from_bytes(blake2b(told, digest_size=4).digest(), "big") % of == 0


def write_outside(store: Path, partners: Path, until: date) -> dict[str, int]:
    """Write the files below `partners`, in place of any that are there; how many of each sort.

    `until` is the last day on which anything can have been sent.
    """
    repairs = list(_repairs(store))
    folder, registers = partners / FOLDER, partners / REGISTERS
    for place in (folder, registers):
        rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    shops = sorted({one.companycode for one in repairs})
    sorts: dict[str, list[bytes]] = {
        "estimates": [encode_estimate(_estimate(one)) for one in _claimed(repairs)],
        "old-parts": [_json(row) for one in _claimed(repairs) for row in _old_parts(one)],
        "filings": [_json(row) for row in _filings(shops, partners)],
        **{
            name: [_json(row) for one in repairs for day, row in rows(one) if day <= until]
            for name, rows in _OF_REPAIRS.items()
        },
    }
    for name, lines in sorts.items():
        if not lines:
            continue
        (folder / f"{name}.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    assessments = folder / "assessments"
    assessments.mkdir()
    packets = [encode_assessment(_assessment(one)) for one in repairs if _assessed(one)]
    for number, packet in enumerate(packets):
        (assessments / f"{number:05d}.xml").write_bytes(packet)
    _write_registers(registers, repairs, shops, partners)
    feeds = write_feeds(partners, [row for row in _register(partners) if row["companycode"] in set(shops)])
    return {**{name: len(lines) for name, lines in sorts.items()}, "assessments": len(packets), **feeds}


def _repairs(store: Path) -> Iterator[_Repair]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        for row in connection.execute(_REPAIRS):
            head, days, tail = row[:4], map(date.fromisoformat, row[4:6]), row[6:9]
            yield _Repair(*head, *days, *tail, *map(orjson.loads, row[9:]))


def _emission(one: _Repair) -> bool:
    return bool(linked(one.fault)) or "尾气" in one.fault or "排放" in one.fault


_Rows = Iterator[tuple[date, dict[str, Any]]]
"""Messages, each with the day on which it comes at the earliest."""


def _inspections(one: _Repair) -> _Rows:
    """The failed test before an emission repair, and the one after it; every eighth fails again."""
    if not _emission(one):
        return
    report = linked(one.fault) or _report(one.repairdate - timedelta(days=1), one)
    failed = one.repairdate - timedelta(days=1)
    yield failed, _inspection(one, report, failed, "01", passed=False)
    if not one.chance(6, "never came back"):
        after = one.settledate + timedelta(days=2)
        yield after, _inspection(one, _report(after, one), after, "02", passed=not one.chance(8, "failed again"))


def _report(day: date, one: _Repair) -> str:
    serial = int.from_bytes(blake2b(one.costlistcode.encode(), digest_size=4).digest(), "big")
    hour, minute, second = serial % 24, serial // 24 % 60, serial // 1440 % 60
    return f"44010011{day:%y%m%d}{hour:02d}{minute:02d}{second:02d}{serial % 10000:04d}"


def _inspection(one: _Repair, report: str, day: date, nature: str, *, passed: bool) -> dict[str, Any]:
    return {
        "InspectionDataID": report,
        "InspectionReportNo": report,
        "VLPN": one.plate,
        "VLPNColor": "5" if len(one.plate) == 8 else "1",
        "VIN": one.vin,
        "InspectionNature": nature,
        "InspectionKind": "1",
        "InspectionTimes": 1 if nature == "01" else 2,
        "DetectStartTime": f"{day:%Y-%m-%d} 09:10:00",
        "DetectEndTime": f"{day:%Y-%m-%d} 09:25:00",
        "StationCode": _STATION,
        "FuelType": "A",
        "IUTYPE": "A",
        "VDCT": "1" if passed else "0",
    }


def _claimed(repairs: Sequence[_Repair]) -> list[_Repair]:
    return [one for one in repairs if one.parts and one.projects and one.chance(40, "claim")]


def _assessed(one: _Repair) -> bool:
    return bool(_claimed([one])) and not one.chance(4, "unassessed")


def _fit_back(one: _Repair) -> bool:
    """Whether the insurer takes the old parts."""
    return one.chance(2, "fit back")


def _old_parts(one: _Repair) -> Iterator[dict[str, Any]]:
    """The shop's word on the old parts of every third claim: it kept them, whatever the insurer says."""
    if one.chance(3, "old parts told"):
        yield {
            "companycode": one.companycode,
            "vin": one.vin,
            "settlementSeq": one.costlistcode,
            "settlementDate": one.settledate.isoformat(),
            "oldPartDisposal": "1" if one.chance(4, "taken by the owner") else "2",
        }


def _claim(one: _Repair) -> str:
    return f"RP44{one.costlistcode[-16:]}"


def _estimate(one: _Repair) -> Estimate:
    return Estimate(
        insurer=_INSURER,
        estimate_request_uuid=blake2b(f"{one.companycode}|{one.costlistcode}".encode(), digest_size=16).hexdigest(),
        report_no=_claim(one),
        estimate_no=f"ES{one.costlistcode[-16:]}",
        vin=one.vin,
        plate=one.plate or None,
        requestedon=one.repairdate,
    )


def _assessment(one: _Repair) -> Assessment:
    """The insurer's word on a repair; of every third it approves one piece less of the first part."""
    less = Decimal(1) if one.chance(3, "approved less") else Decimal(0)
    zero = Decimal(0)
    return Assessment(
        insurer=_INSURER,
        lossno=f"LS{one.costlistcode[-16:]}",
        dmgvhclid=one.vin,
        reportcode=_claim(one),
        vin=one.vin,
        plate=one.plate or None,
        assessedon=one.repairdate,
        auditsalvagefee=zero,
        auditremnantfee=zero,
        auditmatesum=zero,
        totalmanagesum=zero,
        selfpaysum=zero,
        outersum=zero,
        derogationsum=zero,
        auditpartsum=Decimal(800),
        totalsum=Decimal(1000),
        auditrepairsum=Decimal(200),
        fits=tuple(
            FittedPart(
                partid=part["name"] if is_placeholder(part["code"]) else part["code"],
                partname=part["name"],
                auditcount=max(zero, _number(part["quantity"]) - (less if at == 0 else zero)),
                auditmaterialfee=Decimal(100),
                fitbackflag=_fit_back(one),
            )
            for at, part in enumerate(one.parts)
        ),
        repairs=tuple(
            ApprovedWork(repairid=f"W{at}", repairname=work["name"], apprhour=_number(work["hours"]))
            for at, work in enumerate(one.projects)
        ),
    )


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        return Decimal(1)


def _waste(one: _Repair) -> _Rows:
    """What the shop declares of a repair; every ninth forgets, and every second hands over what it stored.

    A part that went back to the insurer is none of its waste; every third of them is declared all the same.
    """
    if one.chance(9, "undeclared"):
        return
    words = " ".join(row["name"] for row in (*one.parts, *one.projects))
    found: list[tuple[tuple[str, str], str, str]] = []
    if "机油" in words:
        found.append((_OIL, "4", "kg"))
    stays = not (_assessed(one) and _fit_back(one)) or one.chance(3, "declared anyway")
    if stays and ("蓄电池" in words or "电瓶" in words):
        found.append((_BATTERY, "1", "piece"))
    if stays and "催化" in words:
        found.append((_CATALYST, "1", "piece"))
    for (code, category), quantity, unit in found:
        told = {
            "code": code,
            "category": category,
            "quantity": quantity,
            "unit": unit,
            "costlistcode": one.costlistcode,
        }
        yield one.settledate, _event(one, "generated", one.settledate, told)
        if one.chance(2, "handed over"):
            given = {**told, "licence": "GD440100000001", "counterpart": "91440101MA59999999"}
            after = one.settledate + timedelta(days=5)
            yield after, _event(one, "handed-over", after, given)


def _event(one: _Repair, event: str, day: date, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": "vingate.waste/1",
        "kind": "waste-event",
        "companycode": one.companycode,
        "number": f"{one.costlistcode}-{told['code']}-{event}",
        "event": event,
        "day": day.isoformat(),
        **told,
    }


def _evaluations(one: _Repair) -> _Rows:
    """An owner's stars for every twelfth visit, by the names of the one edition or the other; some of no visit."""
    if not one.chance(12, "evaluation"):
        return
    day = one.settledate + timedelta(days=3)
    stars = 5 - (len(one.vin + one.costlistcode) + one.settledate.day) % 3
    told = {
        "companycode": one.companycode,
        "costlistcode": one.costlistcode if not one.chance(25, "no visit") else f"{one.costlistcode}-0",
        "vin": one.vin,
        "evaluationdate": day.isoformat(),
    }
    names = ("维修质量", "维修效率", "维修收费", "服务态度", "服务环境")
    if one.chance(2, "edition"):
        names = ("服务态度", "维修质量", "维修效率", "价格透明度", "店面环境")
    yield day, told | dict.fromkeys(names, stars)


def _complaints(one: _Repair) -> _Rows:
    if one.chance(300, "complaint"):
        closed = one.settledate + timedelta(days=6)
        yield (
            closed,
            {
                "companycode": one.companycode,
                "complaintno": f"TS{one.costlistcode[-12:]}",
                "receiveddate": (one.settledate + timedelta(days=4)).isoformat(),
                "subject": "1",
                "outcome": "1" if one.chance(2, "proven") else "3",
                "closeddate": closed.isoformat(),
                "costlistcode": one.costlistcode,
                "vin": one.vin,
            },
        )


def _orders(one: _Repair) -> _Rows:
    if one.chance(60, "order"):
        export, day = one.chance(5, "export"), one.settledate + timedelta(days=6)
        yield (
            day,
            {
                "requester": "USEDCAR-44",
                "orderno": f"OD{one.costlistcode[-14:]}",
                "requestername": "某某二手车市场",
                "purpose": "EXPORT" if export else "TRADE",
                "approval": "粤交数2026-017",
                "vin": one.vin,
                "orderdate": day.isoformat(),
                **({"exportproof": f"CK{one.costlistcode[-10:]}"} if export else {}),
            },
        )


_OF_REPAIRS: dict[str, Callable[[_Repair], _Rows]] = {
    "inspections": _inspections,
    "waste": _waste,
    "evaluations": _evaluations,
    "complaints": _complaints,
    "orders": _orders,
}
"""Sort -> what is sent about a repair."""


def _filings(shops: Sequence[str], partners: Path) -> Iterator[dict[str, Any]]:
    """Every shop that uploads is filed; so are two that never did."""
    names = _operators(partners)
    for company in (*shops, *UNSEEN):
        name, uscc = names.get(company, (f"备案企业{company[-4:]}", None))
        yield {
            "filingno": f"BA{company}",
            "operatorcode": company,
            "operatorname": name,
            "fileddate": "2026-01-05",
            **({"uscc": uscc} if uscc else {}),
        }


def _operators(partners: Path) -> dict[str, tuple[str, str]]:
    """Company code -> name and USCC, of the register of operators."""
    uscc = "companyunifiedsocialcreditidentifier"
    return {str(row["companycode"]): (str(row["companyname"]), str(row[uscc])) for row in _register(partners)}


def _register(partners: Path) -> list[dict[str, Any]]:
    path = partners / "reference" / "operators.ndjson"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def _write_registers(folder: Path, repairs: Sequence[_Repair], shops: Sequence[str], partners: Path) -> None:
    stations = sorted({one.companycode for one in repairs if _emission(one) and not one.chance(10, "no M station")})
    lines = ["companyuniquecode,companycode,name,area,from"]
    lines += [f"M{code},{code},性能维护站{code[-4:]},{code[:6]},2024-01-01" for code in stations]
    (folder / "m-stations.csv").write_text("\n".join([*lines, ""]), "utf-8")
    direct = ["companycode,from", *(f"{code},2024-01-01" for code in shops), ""]
    (folder / "direct-shops.csv").write_text("\n".join(direct), "utf-8")
    names = _operators(partners)
    known = ["companycode,uscc,from", *(f"{code},{names[code][1]},2024-01-01" for code in shops if code in names), ""]
    (folder / "operators.csv").write_text("\n".join(known), "utf-8")


def _json(value: object) -> bytes:
    return orjson.dumps(value)
