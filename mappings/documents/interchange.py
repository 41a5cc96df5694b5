"""Our own exchange form of documents: `vingate.document/1`, one JSON object a document version.

| member | type | meaning |
|---|---|---|
| schema | text | `vingate.document/1` |
| kind | text | kind of the document (`mappings.documents.kinds`) |
| system | text | the system that numbers its versions |
| issuer, number | text | who issued it, and its number there |
| vin | text | vehicle; empty where it tells of none |
| day | text | ISO date that it tells of |
| members | object | the members of the kind (`Document.members`) |
| version | number | assigned once, in intake order |
| dialect | text | the form it came in |
| received_at | text | ISO moment with offset |
| findings | list | codes of the flags that travel with it |

A withdrawn version has `withdrawn` (text, why) in place of `members`, and neither `vin` nor `day`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from mappings.documents import Document
from mappings.documents.kinds import KINDS, Form, Judged, kind
from mappings.rules.case import Case

SCHEMA = "vingate.document/1"


def encode_document(document: Document, provenance: Mapping[str, Any]) -> bytes:
    """Encode one document; reading and judging the bytes gives the same document again.

    Raises:
        KeyError: `provenance` lacks system, dialect or received_at.
    """
    issuer, number, day, vin = document.identity
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "kind": document.KIND,
            "system": provenance["system"],
            "issuer": issuer,
            "number": number,
            "vin": vin,
            "day": day,
            "members": document.members(),
            "version": provenance.get("version", 1),
            "dialect": provenance["dialect"],
            "received_at": provenance["received_at"],
            "findings": list(provenance.get("findings", ())),
        }
    )


def _recognises(members: Mapping[str, Any]) -> bool:
    return members.get("schema") == SCHEMA


def _judge(case: Case) -> Judged:
    sent = case.members
    name, content = sent.get("kind"), sent.get("members")
    if not isinstance(name, str) or name not in KINDS:
        case.add("CODE_NOT_IN_TABLE", "kind", name, ", ".join(KINDS))
        return None, {}
    if not isinstance(content, dict):
        case.wrong_kind("members", content, "对象 / an object")
        return None, {}
    try:
        document = kind(name).of_members(content)
    except (ValidationError, TypeError) as error:
        places = error.errors(include_input=False, include_url=False) if isinstance(error, ValidationError) else []
        for one in places:
            case.add("STRUCTURE_WRONG", ".".join(map(str, ("members", *one["loc"]))), None, one["msg"])
        if not places:
            case.add("STRUCTURE_WRONG", "members")
        return None, {}
    told = dict(zip(("issuer", "number", "day", "vin"), document.identity, strict=True))
    for member, value in told.items():
        if member in sent and str(sent[member]) != str(value):
            case.add("STRUCTURE_WRONG", member, sent[member], str(value))
    return document, document.members()


DOCUMENT = Form("document", _recognises, _judge)
