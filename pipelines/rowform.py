"""Canonical JSON back to compact rows, for what the coordinator looks at: our own encoding, read without judging."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from mappings.numbers import number
from mappings.records import Part, Project, RepairRow

_number = lru_cache(maxsize=4_096)(number)


def row_of(record: Mapping[str, Any]) -> RepairRow:
    """The row of a canonical record (members of `mappings.encoding_interchange`)."""
    return RepairRow(
        record["companycode"],
        record["companyname"],
        record["plate"],
        record["vin"],
        date.fromisoformat(record["repairdate"]),
        date.fromisoformat(record["settledate"]),
        Decimal(record["mileage"]),
        record["faultdescription"],
        record["costlistcode"],
        tuple(Part(p["name"], _number(p["quantity"]), p["code"]) for p in record["parts"]),
        tuple(Project(p["name"], _number(p["hours"])) for p in record["projects"]),
    )
