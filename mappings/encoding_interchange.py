"""What provincial stores and the ministry exchange: `vingate.repair/1`, one JSON object a record.

JT/T 1132.4 is not public, so this is our own schema; an adapter to the standard's messages would stand here. Members,
in this order, none left out:

| member | type | meaning |
|---|---|---|
| schema | text | `vingate.repair/1` |
| kind | text | `report` (province to ministry) or `push` (ministry to home province) |
| system | text | collecting system: GB/T 2260 level 1, `bt`, or `oem-MAKER` |
| companycode, companyname, plate, vin | text | as in the national record |
| repairdate, settledate | text | ISO dates |
| mileage | text | kilometres, plain decimal |
| faultdescription, costlistcode | text | as in the national record |
| parts | list | objects {name, quantity, code}; quantity plain decimal text, `N/A` if it was none |
| projects | list | objects {name, hours}; hours plain decimal text, `N/A` if it was none |
| version | number | assigned once by the collecting system |
| repaircomefrom | number | 1 collected by the sender itself, 2 came down from above |
| dialect | text | in which the shop or maker wrote it |
| received_at | text | ISO moment with offset, when the collecting system received it |
| findings | list | codes of the flags that travel with the record |

A withdrawn version (撤回) has `schema`, `kind`, `system`, `companycode`, `costlistcode`, the members from `version` on,
and `withdrawn`: text, why. It repeats nothing of the record that it withdraws.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import orjson

from mappings.records import RepairRow, Withdrawal

SCHEMA = "vingate.repair/1"
MEMBERS = (
    "schema",
    "kind",
    "system",
    *RepairRow._fields,
    "version",
    "repaircomefrom",
    "dialect",
    "received_at",
    "findings",
)
"""The members in their order."""


def encode_interchange(row: RepairRow, provenance: Mapping[str, Any], kind: Literal["report", "push"]) -> bytes:
    """Encode one record; reading and judging the bytes gives the same row again.

    `provenance` has the members of `mappings.records.Provenance` (`received_at` an aware datetime or ISO text).

    Raises:
        KeyError: `provenance` lacks system, dialect or received_at.
    """
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "kind": kind,
            "system": provenance["system"],
            "companycode": row.companycode,
            "companyname": row.companyname,
            "plate": row.plate,
            "vin": row.vin,
            "repairdate": row.repairdate,
            "settledate": row.settledate,
            "mileage": _plain(row.mileage),
            "faultdescription": row.faultdescription,
            "costlistcode": row.costlistcode,
            "parts": [{"name": name, "quantity": _plain(quantity), "code": code} for name, quantity, code in row.parts],
            "projects": [{"name": name, "hours": _plain(hours)} for name, hours in row.projects],
            **_closing(provenance),
        }
    )


def encode_withdrawal(withdrawal: Withdrawal, provenance: Mapping[str, Any], kind: Literal["report", "push"]) -> bytes:
    """Encode one withdrawn version; reading and judging the bytes gives the same withdrawal again.

    Raises:
        KeyError: `provenance` lacks system, dialect or received_at.
    """
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "kind": kind,
            "system": provenance["system"],
            "companycode": withdrawal.companycode,
            "costlistcode": withdrawal.costlistcode,
            **_closing(provenance),
            "withdrawn": withdrawal.reason,
        }
    )


def _closing(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The members that say where a version came from."""
    return {
        "version": provenance.get("version", 1),
        "repaircomefrom": provenance.get("repaircomefrom", 1),
        "dialect": provenance["dialect"],
        "received_at": provenance["received_at"],
        "findings": list(provenance.get("findings", ())),
    }


def _plain(number: Decimal | None) -> str:
    if number is None:
        return "N/A"
    text = str(number)
    return format(number, "f") if "E" in text else text
