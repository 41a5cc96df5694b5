"""The national interface (domain 1.2, 1.3): registration, token, repair record; `{"code", "status"}`."""

from __future__ import annotations

import orjson

from mappings.trees import Limits
from pipelines.door.protocols import wrapped
from pipelines.door.protocols.calls import RECORD, REGISTER, TOKEN, Call, Outcome, Reply
from pipelines.door.protocols.wording import ADDED

NAME = "national"
_BASE = "/restservices/lcipprodatarest"
PATHS = {
    f"{_BASE}/lcipprocarfixrecordadd/query": RECORD,
    f"{_BASE}/lcipprogetaccesstoken/query": TOKEN,
    f"{_BASE}/lcipproaccountcompany/query": REGISTER,
}
"""Path -> kind of call; all of them POST."""
_ADDED = Reply(orjson.dumps({"code": wrapped.OK, "status": ADDED}))


def read(kind: str, payload: bytes, limits: Limits, step: str = "") -> Call:
    """Understand a request body."""
    return wrapped.read(NAME, (), kind, payload, limits)


def write(kind: str, outcome: Outcome) -> Reply:
    """`{"code": "1", "status": "新增成功"}`, or code "0" and every fault."""
    if kind == RECORD and outcome.accepted:
        return _ADDED
    return Reply(orjson.dumps(wrapped.said(kind, outcome)), outcome.status)
