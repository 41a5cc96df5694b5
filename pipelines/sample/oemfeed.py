"""The visit that OEM headquarters send (`aftersales-visit/1`): an Avro record, or a line of NDJSON alike."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from pipelines.sample.content import Content

FEED = "aftersales-visit/1"


def _record(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields]}


_DATE = {"type": "int", "logicalType": "date"}
_AMOUNT = ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}]
_TEXT = ["null", "string"]
SCHEMA: dict[str, Any] = {
    "namespace": "oem.aftersales",
    **_record(
        "Visit",
        ("feed", "string"),
        ("maker", "string"),
        ("dealerCode", "string"),
        ("dealerName", "string"),
        ("companyCode", "string"),
        ("vehicle", _record("Vehicle", ("vin", "string"), ("licensePlate", "string"), ("odometerKm", "int"))),
        (
            "visit",
            _record(
                "Order", ("orderNo", "string"), ("arrivedOn", _DATE), ("settledOn", _DATE), ("complaint", "string")
            ),
        ),
        (
            "lines",
            {
                "type": "array",
                "items": _record(
                    "Line",
                    ("type", "string"),
                    ("number", _TEXT),
                    ("description", "string"),
                    ("quantity", _AMOUNT),
                    ("hours", _AMOUNT),
                ),
            },
        ),
    ),
}
"""Schema of the Avro feed."""


def as_avro(oem: str, companycode: str, content: Content) -> dict[str, Any]:
    """One visit with Avro's own types: days, exact decimals, null where a line has no such member."""
    visit = _head(oem, companycode, content)
    visit["lines"] = [
        *(
            {"type": "PART", "number": code, "description": name, "quantity": Decimal(amount), "hours": None}
            for name, amount, code in content.parts
        ),
        *(
            {"type": "LABOR", "number": None, "description": name, "quantity": None, "hours": Decimal(hours)}
            for name, hours in content.projects
        ),
    ]
    return visit


def as_json(oem: str, companycode: str, content: Content) -> dict[str, Any]:
    """One visit as JSON: ISO days, numbers as numbers, a fee line that no record keeps."""
    visit = _head(oem, companycode, content)
    for name in ("arrivedOn", "settledOn"):
        visit["visit"][name] = visit["visit"][name].isoformat()
    parts = [{"type": "PART", "number": c, "description": n, "quantity": float(q)} for n, q, c in content.parts]
    labour = [{"type": "LABOR", "operation": "", "description": n, "hours": float(h)} for n, h in content.projects]
    fees = [{"type": "FEE", "description": "洗车"}] if content.clock % 5 == 0 and labour else []
    return {**visit, "lines": [*parts, *labour, *fees]}


def _head(oem: str, companycode: str, content: Content) -> dict[str, Any]:
    return {
        "feed": FEED,
        "maker": oem,
        "dealerCode": f"D{companycode[2:6]}{companycode[-4:]}",
        "dealerName": content.companyname,
        "companyCode": companycode,
        "vehicle": {"vin": content.vin, "licensePlate": content.plate, "odometerKm": int(content.mileage)},
        "visit": {
            "orderNo": content.listcode,
            "arrivedOn": date(*content.repair),
            "settledOn": date(*content.settle),
            "complaint": content.fault,
        },
    }
