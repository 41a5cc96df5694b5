"""Refusals of `/v1` as problem+json (RFC 9457): Chinese and English, with every finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

from dlq.reasons import reason
from mappings.findings import Finding
from pipelines.door.protocols import calls
from pipelines.door.protocols.calls import REFUSALS, Outcome
from pipelines.door.v1.models import Problem, Remark

MEDIA = "application/problem+json"

REFUSED, WRONG_REQUEST, KEY_REUSED = "REFUSED", "WRONG_REQUEST", "KEY_REUSED"
UNSUPPORTED, NO_RECEIPT, WRONG_METHOD = "UNSUPPORTED", "NO_RECEIPT", "WRONG_METHOD"
NOT_AGREED = "NOT_AGREED"


class WrongRequest(Exception):
    """The request cannot be understood; says why, in Chinese and English."""


class _Text(NamedTuple):
    status: int
    zh: str
    en: str


_TEXTS: Mapping[str, _Text] = {
    REFUSED: _Text(422, "记录未通过校验", "the record is refused"),
    WRONG_REQUEST: _Text(400, "请求格式错误", "the request cannot be understood"),
    KEY_REUSED: _Text(422, "Idempotency-Key 已用于其他内容", "this Idempotency-Key was used for other content"),
    UNSUPPORTED: _Text(501, "系统不支持此操作", "this operation is not supported here"),
    NOT_AGREED: _Text(403, "协议不允许", "no agreement allows it"),
    NO_RECEIPT: _Text(404, "没有这个回执", "there is no such receipt"),
    WRONG_METHOD: _Text(405, "此地址不支持该方法", "this address does not take the method"),
    **{
        code: _Text(status, REFUSALS[code], en)
        for code, status, en in (
            (calls.TOKEN_MISSING, 401, "a token is needed: Authorization: Bearer"),
            (calls.TOKEN_WRONG, 401, "the token is wrong or over"),
            (calls.PASSWORD_WRONG, 401, "wrong company code or password, or locked for a while"),
            (calls.PENDING, 403, "the company is not approved yet"),
            (calls.CLOSED, 403, "the company's account is closed"),
            (calls.NOT_A_SHOP, 403, "this account is no shop's: it uploads no repair records"),
            (calls.TOO_LARGE, 413, "the request is too large"),
            (calls.TOO_MANY, 429, "too many requests"),
            (calls.BUSY, 503, "too much is waiting; nothing was taken"),
            (calls.NOT_DURABLE, 503, "it cannot be made durable now; nothing was taken"),
            (calls.TROUBLE, 500, "an error of ours; nothing was taken"),
            (calls.NOT_FOUND, 404, "there is no such address"),
        )
    },
}


def remarks(findings: Sequence[Finding]) -> list[Remark]:
    """Findings as they are told."""
    return [
        Remark.model_validate(
            {**finding._asdict(), "message": f"{reason(finding.code).zh} / {reason(finding.code).en}"}
        )
        for finding in findings
    ]


def told(code: str, findings: Sequence[Finding] = (), detail: str = "") -> dict[str, Any]:
    """The body of a refusal."""
    text = _TEXTS.get(code, _TEXTS[calls.TROUBLE])
    body = Problem(
        type=f"urn:vingate:problem:{code.lower().replace('_', '-')}",
        title=f"{text.zh} / {text.en}",
        status=text.status,
        detail=detail,
        findings=remarks(findings),
    )
    return body.model_dump()


def problem(code: str, findings: Sequence[Finding] = (), detail: str = "", retry_after: int = 0) -> Response:
    """The response to a refused request."""
    text = _TEXTS.get(code, _TEXTS[calls.TROUBLE])
    headers = {"retry-after": str(retry_after)} if retry_after else {}
    if text.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(orjson.dumps(told(code, findings, detail)), text.status, headers, MEDIA)


def refused(outcome: Outcome) -> Response:
    """The response to an outcome that is no success."""
    return problem(outcome.refusal or REFUSED, outcome.findings, retry_after=outcome.retry_after)
