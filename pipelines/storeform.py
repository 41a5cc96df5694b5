"""How records stand in a row store, and how a delivery's body is encoded from a canonical record.

The store's columns are the members of the interchange message (`mappings.encoding_interchange`); version, content
digest, batch and the record it was merged into are the store's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from connectors.contracts import Delivery
from connectors.tables import TableSpec
from mappings.documents.interchange import SCHEMA
from mappings.documents.kinds import KINDS
from mappings.encoding import delivery_id, record_key

REPAIRS = TableSpec(
    name="repairs",
    columns={
        "schema": "text",
        "kind": "text",
        "system": "text",
        "companycode": "text",
        "companyname": "text",
        "plate": "text",
        "vin": "text",
        "repairdate": "text",
        "settledate": "text",
        "mileage": "text",
        "faultdescription": "text",
        "costlistcode": "text",
        "parts": "json",
        "projects": "json",
        "repaircomefrom": "int",
        "dialect": "text",
        "received_at": "text",
        "findings": "json",
        "withdrawn": "text",
    },
    indexes=("vin", "plate"),  # by plate claims without a VIN find their repair
    added=("withdrawn",),
    month="settledate",
)
"""The table of a provincial or the ministry's store.

A withdrawn version has the members that name it and `withdrawn`, why; all others are null. So whoever asks for the
current rows of a vehicle does not meet it.
"""


DOCUMENTS = TableSpec(
    name="documents",
    columns={
        "schema": "text",
        "kind": "text",
        "system": "text",
        "companycode": "text",
        "costlistcode": "text",
        "vin": "text",
        "day": "text",
        "members": "json",
        "dialect": "text",
        "received_at": "text",
        "findings": "json",
        "withdrawn": "text",
    },
    indexes=("vin", "companycode"),
)
"""The table of a store of documents (`mappings.documents`), of whatever kinds."""


def table_of(kinds: Collection[str]) -> TableSpec:
    """The table of a store that takes these kinds."""
    return DOCUMENTS if takes_documents(kinds) else REPAIRS


def takes_documents(kinds: Collection[str]) -> bool:
    """Whether these are kinds of documents; an exchange takes documents, or repairs and registers, never both."""
    return any(kind in KINDS for kind in kinds)


def is_document(record: Mapping[str, Any]) -> bool:
    """Whether a canonical record is a document."""
    return bool(record.get("schema") == SCHEMA)


def deliver(
    record: Mapping[str, Any],
    destination: str,
    *,
    version: int,
    content: int,
    findings: Sequence[str],
    repaircomefrom: int,
    batch: str,
    merged_into: str,
    as_row: bool,
) -> Delivery:
    """The delivery of a canonical record (the JSON members of its interchange form) to one destination."""
    members = {**record, "findings": list(findings)}
    if repaircomefrom and not is_document(record):
        members["repaircomefrom"] = repaircomefrom
        members["kind"] = "push" if repaircomefrom == 2 else members.get("kind", "report")
    if as_row:
        members.pop("version", None)
        body = (DOCUMENTS if is_document(record) else REPAIRS).body(members)
    else:
        members["version"] = version
        body = orjson.dumps(members)
    key = record_key(str(record["system"]), str(record["companycode"]), str(record["costlistcode"]))
    digest = f"{content:016x}"
    return Delivery(
        id=delivery_id(key, version, digest, destination),
        destination=destination,
        key=key,
        version=version,
        content=digest,
        body=body,
        batch=batch,
        merged_into=merged_into,
    )
