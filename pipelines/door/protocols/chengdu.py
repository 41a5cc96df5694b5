"""Chengdu (domain 1.4): national members in `transaction.body.reqInfo`, declared text/html; answers in `respInfo`.

The answer is not wrapped in `transaction`: that is what the client reads.
"""

from __future__ import annotations

import orjson

from mappings.trees import Limits
from pipelines.door.protocols import wrapped
from pipelines.door.protocols.calls import RECORD, REGISTER, TOKEN, Call, Outcome, Reply

NAME = "chengdu"
PATHS = {"/carhealth/record": RECORD, "/carhealth/token": TOKEN, "/carhealth/register": REGISTER}
"""Path -> kind of call; all of them POST."""
TIME_PATH = "/time"
"""GET: milliseconds since 1970 as plain text, for the header of the envelope."""
_WAY = ("transaction", "body", "reqInfo")


def read(kind: str, payload: bytes, limits: Limits, step: str = "") -> Call:
    """Understand a request body, whatever its content type says."""
    return wrapped.read(NAME, _WAY, kind, payload, limits)


def write(kind: str, outcome: Outcome) -> Reply:
    """`{"respInfo": {"code": ...}}`."""
    return Reply(orjson.dumps({"respInfo": wrapped.said(kind, outcome)}), outcome.status)
