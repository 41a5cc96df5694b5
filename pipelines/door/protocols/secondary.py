"""Shanghai's 二级维护 interface (domain 1.7): two signed uploads, nested objects as texts; numeric codes as in 1.6.

Its document's list of codes is not public: 0 is ok, and 100 stands in every log for what could not be taken.
"""

from __future__ import annotations

import orjson

from mappings.trees import Limits, TreeError
from pipelines.door.protocols import shanghai
from pipelines.door.protocols.calls import PIECE, Call, Outcome, Reply, Signed
from pipelines.door.protocols.unwrapping import members, problem, text
from pipelines.door.protocols.wording import refused

NAME = "secondary"
PATHS = {"/repair/car/upload": (PIECE, "car"), "/repair/order/upload": (PIECE, "order")}
"""Path -> (kind of call, step); all of them POST."""
_SAID = frozenset({104, 105, 112, 113, 114})
"""Numbers of 1.6 that say something here too: signature, time, size, trouble, replay."""


def read(kind: str, payload: bytes, limits: Limits, step: str = "") -> Call:
    """Understand a request body."""
    try:
        own, _ = members(payload, (), limits)
    except TreeError as error:
        return Call(kind, NAME, payload, problems=(problem(error),))
    names = ("companyidentity", "nonce", "timestamp", "sign")
    order = text(own.get("incominginspectionid"))
    return Call(kind, NAME, payload, step=step, order=order, signed=Signed(*[text(own.get(name)) for name in names]))


def write(kind: str, outcome: Outcome) -> Reply:
    """`{"code": 0, "message": "成功", "data": null}`, or 100 (or a number of the signature) and every fault."""
    code = shanghai.number(outcome)
    code = code if not code or code in _SAID else 100
    message = refused(outcome) or shanghai.MESSAGES[0]
    return Reply(orjson.dumps({"code": code, "message": message, "data": None}), outcome.status)
