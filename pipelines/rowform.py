"""Canonical JSON back to compact rows, for what the coordinator looks at: our own encoding, read without judging."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        _parts(record["parts"]) if parts else (),
        _projects(record["projects"]),
    )


def row_of_columns(values: Sequence[str]) -> RepairRow:
    """The row of the texts in a store's columns of the names of `RepairRow`, in its order; lists are JSON."""
    company, name, plate, vin, repaired, settled, mileage, fault, code, parts, projects = values
    return RepairRow(
        company,
        name,
        plate,
        vin,
        _day(repaired),
        _day(settled),
        Decimal(mileage),
        fault,
        code,
        _parts(orjson.loads(parts)),
        _projects(orjson.loads(projects)),
    )


def _parts(rows: Iterable[Mapping[str, Any]]) -> tuple[Part, ...]:
    return tuple([Part(row["name"], _number(row["quantity"]), row["code"]) for row in rows])


def _projects(rows: Iterable[Mapping[str, Any]]) -> tuple[Project, ...]:
    return tuple([Project(row["name"], _number(row["hours"])) for row in rows])
