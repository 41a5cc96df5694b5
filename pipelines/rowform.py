"""Canonical JSON back to compact rows, for what the coordinator looks at: our own encoding, read without judging."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from mappings.numbers import number
from mappings.records import Part, Project, RepairRow


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
        tuple(Part(p["name"], number(p["quantity"]), p["code"]) for p in record["parts"]),
        tuple(Project(p["name"], number(p["hours"])) for p in record["projects"]),
    )
