"""Canonical JSON back to compact rows, for what the coordinator looks at: our own encoding, read without judging."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson

from mappings.documents.kinds import kind
from mappings.encoding import content_bytes
from mappings.numbers import number
from mappings.records import Part, Project, RepairRow
from pipelines.storeform import is_document
from routing.router import Router
from routing.steps import Routing

_number = lru_cache(maxsize=4_096)(number)
_day = lru_cache(maxsize=4_096)(date.fromisoformat)


def content_of_record(record: Mapping[str, Any]) -> bytes:
    """The content of a canonical record, as its digest is made of it."""
    return orjson.dumps(record["members"]) if is_document(record) else content_bytes(row_of(record)[1:])


def routing_of(router: Router, record: Mapping[str, Any]) -> Routing:
    """Where a canonical record goes now."""
    if is_document(record):
        return router.route_document(kind(record["kind"]).of_members(record["members"]), record["system"])
    row = row_of(record)
    told = (record["system"], record["repaircomefrom"])
    return router.route_row(row.plate, row.vin, row.companycode, row.settledate, *told)


def row_of(record: Mapping[str, Any], *, parts: bool = True) -> RepairRow:
    """The row of a canonical record (members of `mappings.encoding_interchange`); without parts where none asks."""
    return RepairRow(
        record["companycode"],
        record["companyname"],
        record["plate"],
        record["vin"],
        _day(record["repairdate"]),
        _day(record["settledate"]),
        Decimal(record["mileage"]),
        record["faultdescription"],
        record["costlistcode"],
        tuple([Part(p["name"], _number(p["quantity"]), p["code"]) for p in record["parts"]]) if parts else (),
        tuple([Project(p["name"], _number(p["hours"])) for p in record["projects"]]),
    )
