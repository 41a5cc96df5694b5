"""Foshan (domain 1.4): GET with URL-encoded JSON in the query, password included; header and a flat body.

The payload is the decoded query value: of the URL itself nothing is kept or logged.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import orjson

from mappings.findings import REJECT, Finding
from mappings.trees import Limits
from pipelines.door.protocols import wrapped
from pipelines.door.protocols.calls import RECORD, TOKEN, Call, Outcome, Reply

NAME = "foshan"
PATHS = {"/api/upRepairInfo.ashx": RECORD, "/api/getAccessToken.ashx": TOKEN}
"""Path -> kind of call; all of them GET."""
_PARAMETERS = {RECORD: "repairdata", TOKEN: "companydata"}


def read(kind: str, payload: bytes, limits: Limits, step: str = "") -> Call:
    """Understand a query string."""
    name = _PARAMETERS[kind]
    value = _parameter(payload, name.encode())
    if not value:
        return Call(kind, NAME, b"", problems=(Finding("MANDATORY_MISSING", REJECT, name, "", ""),))
    return wrapped.read(NAME, ("body",), kind, value, limits)


def write(kind: str, outcome: Outcome) -> Reply:
    """`{"code": ..., "status": ...}` as at the national interface."""
    return Reply(orjson.dumps(wrapped.said(kind, outcome)), outcome.status)


def _parameter(query: bytes, name: bytes) -> bytes:
    """The decoded value of a parameter, its name in any case; empty if there is none."""
    for pair in query.split(b"&"):
        found, _, value = pair.partition(b"=")
        if found.lower() == name:
            return unquote_to_bytes(value.replace(b"+", b" "))
    return b""
