"""Our own form of waste documents, `vingate.waste/1`: what the solid-waste lane sends by REST and takes in.

The solid-waste systems publish no interface of theirs for a shop's ledger, so this schema is our own; an adapter of a
province's system is another form beside it. One JSON object a document:

| member | meaning |
|---|---|
| schema | `vingate.waste/1` |
| kind | `waste-event`, `waste-manifest`, `waste-licence`, `waste-plan`, ... |
| companycode | the shop's code; may be left out where the sender is known by its token |
| all others | members of the kind (`mappings.documents.waste`) |

Days come as ISO text or in any form of rule 6, amounts as text or number, codes and units as people write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from mappings.documents import Document
from mappings.documents.kinds import Form, Judged
from mappings.documents.waste import (
    WasteBalance,
    WasteCase,
    WasteDocument,
    WasteEvent,
    WasteExpected,
    WasteLicence,
    WasteManifest,
    WasteOrder,
    WastePlan,
    WasteSignature,
)
from mappings.documents.wastejudge import JUDGES
from mappings.documents.wasterules import rename
from mappings.rules.case import Case

SCHEMA = "vingate.waste/1"

KINDS: Mapping[str, type[WasteDocument]] = {
    cls.KIND: cls
    for cls in (
        WasteEvent,
        WasteManifest,
        WasteLicence,
        WastePlan,
        WasteOrder,
        WasteSignature,
        WasteExpected,
        WasteBalance,
        WasteCase,
    )
}
"""Every kind that the form carries."""

_ENVELOPE = {"schema", "kind"}
_RENAMED = {"issuer": "companycode"}


def encode_message(document: WasteDocument) -> bytes:
    """Encode one document as a REST message; reading and judging the bytes gives the same document again."""
    members = {_RENAMED.get(name, name): value for name, value in document.members().items()}
    return orjson.dumps({"schema": SCHEMA, "kind": document.KIND, **members})


def _recognises(members: Mapping[str, Any]) -> bool:
    return members.get("schema") == SCHEMA


def _judge(case: Case) -> Judged:
    kind = case.members.get("kind")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        case.add("CODE_NOT_IN_TABLE", "kind", kind, ", ".join(KINDS))
        return None, {}
    judged = JUDGES.get(cls)
    if judged is None:
        return _derived(case, cls)
    rename(case, {name: (name,) for name in _names(cls)}, _ENVELOPE)
    return judged(case)


def _names(cls: type[Document]) -> list[str]:
    return [_RENAMED.get(name, name) for name in cls.model_fields]


def _derived(case: Case, cls: type[WasteDocument]) -> Judged:
    """A document that systems of ours make: it is what it should be, or it is none."""
    own = {ours: name for name, ours in _RENAMED.items()}
    members = {own.get(name, name): value for name, value in case.members.items() if name not in _ENVELOPE}
    try:
        document = cls.of_members(members)
    except (ValidationError, TypeError) as error:
        for one in error.errors(include_input=False, include_url=False) if isinstance(error, ValidationError) else ():
            case.add("STRUCTURE_WRONG", ".".join(map(str, one["loc"])), None, one["msg"])
        if not case.findings:
            case.add("STRUCTURE_WRONG", "")
        return None, {}
    return document, document.members()


OWN = Form("waste", _recognises, _judge)
