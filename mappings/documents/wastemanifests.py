"""Rows of a public manifest table (`tmanifestid`, `transappcode`, ...: domain section 4.2): one manifest a row.

A row has the manifest's present state only; a manifest with all its steps comes in our own form
(`mappings.documents.wasteforms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mappings.documents.kinds import Form, Judged
from mappings.documents.wastejudge import manifest
from mappings.documents.wasterules import rename
from mappings.rules.case import Case

_NAMES: Mapping[str, tuple[str, ...]] = {
    "companycode": ("companycode", "generatorcode"),
    "number": ("tmanifestid",),
    "day": ("applydate", "createdate"),
    "plan": ("transappcode",),
    "producername": ("generatorname",),
    "transporter": ("transunitname",),
    "receivername": ("receivername",),
    "receiver": ("receivercode",),
    "licence": ("receiverlicence", "receiverlicense"),
    "name": ("wastename",),
    "category": ("wastetype",),
    "code": ("wastecode",),
    "quantity": ("wasteamount",),
    "received": ("receiveamount", "receivedamount"),
    "unit": ("wasteunit",),
    "shipped": ("initiatedate",),
    "vehicle": ("vehicleno", "vehiclenumber"),
    "state": ("businessstate",),
}
"""Our names -> the table's; code, licence, vehicle and the amount received are named alike."""


def _is_manifest(members: Mapping[str, Any]) -> bool:
    return "tmanifestid" in members


def _judge(case: Case) -> Judged:
    rename(case, _NAMES)
    return manifest(case)


TABLE = Form("waste-manifest", _is_manifest, _judge)
