"""What the national interface and its envelopes share: the same members, one or two levels deeper."""

from __future__ import annotations

from collections.abc import Sequence

from mappings.trees import Limits, TreeError
from pipelines.door.protocols.calls import RECORD, REGISTER, TOKEN, Call, Outcome
from pipelines.door.protocols.unwrapping import members, problem, quick_token, secret, text
from pipelines.door.protocols.wording import ADDED, refused

OK, FAILED = "1", "0"
"""Codes, always texts: clients compare with the text "1" (domain 1.2)."""


def read(dialect: str, path: Sequence[str], kind: str, payload: bytes, limits: Limits) -> Call:
    """A call of this dialect whose members stand at `path`."""
    if kind == RECORD and (token := quick_token(payload)):
        return Call(kind, dialect, payload, token)
    try:
        own, root = members(payload, path, limits)
    except TreeError as error:
        return Call(kind, dialect, payload, problems=(problem(error),))
    token = text(own.get("access_token")) or text(root.get("access_token"))
    company, password = text(own.get("companycode")), secret(own.get("companypassword"))
    return Call(kind, dialect, payload, token, company, password)


def said(kind: str, outcome: Outcome) -> dict[str, str]:
    """The members of an answer: code, status, and what was asked for."""
    if not outcome.accepted:
        return {"code": FAILED, "status": refused(outcome)}
    if kind == REGISTER:
        status = "注册成功，待审核" if outcome.pending else "注册成功"
        return {"code": OK, "status": status, "companycode": outcome.company}
    if kind == TOKEN:
        return {"code": OK, "status": "获取成功", "access_token": outcome.token}
    return {"code": OK, "status": ADDED}
