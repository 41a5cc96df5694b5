"""Our own exchange form of documents: `vingate.document/1`, one JSON object a document version.

| member | type | meaning |
|---|---|---|
| schema | text | `vingate.document/1` |
| kind | text | kind of the document (`mappings.documents.kinds`) |
| system | text | the system that numbers its versions |
| companycode | text | issuer: who numbers it (`Identity.issuer`) |
| costlistcode | text | kind and number, `closure:4501...` (`Document.listed`) |
| vin | text | vehicle; empty where it tells of none |
| day | text | ISO date that it tells of |
| members | object | the members of the kind (`Document.members`) |
| version | number | assigned once, in intake order |
| dialect | text | the form it came in |
| received_at | text | ISO moment with offset |
| findings | list | codes of the flags that travel with it |

The members of the key are named as a repair record's are, since keys, journals and letters make no difference. A
withdrawn version has `withdrawn` (text, why) in place of `vin`, `day` and `members`. Who gives a document that this
system is to number leaves out what is the system's own: `system`, `version`, `dialect`, `received_at`, `findings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from mappings.documents import DIALECT, Document
from mappings.documents.kinds import KINDS, Form, Judged, kind
from mappings.records import Withdrawal
from mappings.rules import fields
from mappings.rules.case import Case

SCHEMA = "vingate.document/1"


PROVENANCE = ("system", "version", "dialect", "received_at", "findings")
"""What a document carries beside its content, where another system numbered it."""


def encode_document(document: Document, provenance: Mapping[str, Any]) -> bytes:
    """Encode one document; reading and judging the bytes gives the same document again.

    `provenance` has the members of `mappings.records.Provenance`; without them, in an empty mapping, none is written.
    """
    issuer, _, day, vin = document.identity
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "kind": document.KIND,
            "companycode": issuer,
            "costlistcode": document.listed,
            "vin": vin,
            "day": day,
            "members": orjson.Fragment(document.content()),
            **_told(provenance),
        }
    )


def encode_withdrawn(withdrawal: Withdrawal, provenance: Mapping[str, Any]) -> bytes:
    """Encode the withdrawal of a document; reading and judging the bytes gives the same withdrawal again."""
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "kind": withdrawal.costlistcode.partition(":")[0],
            "companycode": withdrawal.companycode,
            "costlistcode": withdrawal.costlistcode,
            **_told(provenance),
            "withdrawn": withdrawal.reason,
        }
    )


def _told(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {name: provenance[name] for name in PROVENANCE if name in provenance}


def _recognises(members: Mapping[str, Any]) -> bool:
    return members.get("schema") == SCHEMA


def _judge(case: Case) -> Judged:
    sent = case.members
    name = sent.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        case.add("CODE_NOT_IN_TABLE", "kind", name, ", ".join(KINDS))
        return None, {}
    if sent.get("withdrawn") is not None:
        return _withdrawal(case, name)
    content = sent.get("members")
    if not isinstance(content, dict):
        case.wrong_kind("members", content, "对象 / an object")
        return None, {}
    try:
        document = kind(name).of_members(content)
        shown = document.members()
        issuer, _, day, vin = document.identity
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            case.add("STRUCTURE_WRONG", ".".join(map(str, ("members", *one["loc"]))), None, one["msg"])
        return None, {}
    except (TypeError, ValueError):
        case.add("STRUCTURE_WRONG", "members")
        return None, {}
    told = {"companycode": issuer, "costlistcode": document.listed, "day": day.isoformat(), "vin": vin}
    for member, value in told.items():
        if member in sent and sent[member] != value:
            case.add("STRUCTURE_WRONG", member, sent[member], value)
    return document, {**told, **shown}


def _withdrawal(case: Case, name: str) -> Judged:
    company, code, why = (fields.required_text(case, member) for member in ("companycode", "costlistcode", "withdrawn"))
    shown = {"companycode": company, "costlistcode": code, "withdrawn": why}
    if code is not None and not code.startswith(f"{name}:"):
        case.add("STRUCTURE_WRONG", "costlistcode", code, f"{name}:...")
    if company is None or code is None or why is None:
        return None, shown
    return Withdrawal(company, code, why), shown


DOCUMENT = Form(DIALECT, _recognises, _judge)
