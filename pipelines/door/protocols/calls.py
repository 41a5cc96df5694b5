"""What the protocols have in common: calls, outcomes, and replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from mappings.findings import Finding
from mappings.trees import Limits

REGISTER, TOKEN, RECORD, PIECE, QUERY = "register", "token", "record", "piece", "query"
"""Kinds of calls: a shop registers, asks for a token, sends a record or a piece of one, asks what went wrong."""

TOKEN_MISSING, TOKEN_WRONG, PASSWORD_WRONG = "TOKEN_MISSING", "TOKEN_WRONG", "PASSWORD_WRONG"
PENDING, CLOSED, APP_UNKNOWN, REGISTERED_BEFORE = "PENDING", "CLOSED", "APP_UNKNOWN", "REGISTERED_BEFORE"
NOT_A_SHOP = "NOT_A_SHOP"
PASSWORD_UNFIT = "PASSWORD_UNFIT"  # noqa: S105 - the name of a refusal
TOO_LARGE, TOO_MANY, BUSY, NOT_DURABLE = "TOO_LARGE", "TOO_MANY", "BUSY", "NOT_DURABLE"
NOT_FOUND, TROUBLE = "NOT_FOUND", "TROUBLE"

REFUSALS: Mapping[str, str] = {
    TOKEN_MISSING: "缺少 access_token，请先获取令牌",
    TOKEN_WRONG: "access_token 无效或已过期，请重新获取令牌",
    PASSWORD_WRONG: "企业编码或密码错误；多次错误后账号会暂时锁定，请半小时后再试",
    PENDING: "企业注册尚未审核通过",
    CLOSED: "企业账号已停用",
    NOT_A_SHOP: "该账号不是维修企业的账号，不能上传维修记录",
    APP_UNKNOWN: "应用不存在或已停用",
    REGISTERED_BEFORE: "该企业已注册，如忘记密码请联系管理部门重置",
    PASSWORD_UNFIT: "密码不符合要求：6 至 256 个可见字符",
    TOO_LARGE: "报文过大",
    TOO_MANY: "请求过于频繁，请稍后再试",
    BUSY: "系统繁忙，数据未接收，请稍后重新上传",
    NOT_DURABLE: "系统暂时无法保存数据，数据未接收，请稍后重新上传",
    NOT_FOUND: "没有这个接口",
    TROUBLE: "系统内部错误，数据未接收，请稍后重新上传",
}
"""What the door itself refuses, in Chinese; everything else is refused by findings."""

STATUSES: Mapping[str, int] = {TOO_LARGE: 413, TOO_MANY: 429, BUSY: 503, NOT_DURABLE: 503, TROUBLE: 500}
"""HTTP statuses of refusals that say nothing of the payload's content."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signed call says of itself: texts as sent, empty where they are missing."""

    app: str
    nonce: str
    timestamp: str
    sign: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood as far as the protocol goes; `payload` are its bytes exactly as they arrived."""

    kind: str
    dialect: str
    payload: bytes = field(repr=False)
    token: str = field(default="", repr=False)
    company: str = ""
    """Whom a request for a token is for."""
    password: str = field(default="", repr=False)
    step: str = ""
    """Of a piece: which one it is, known from the address that was called."""
    order: str = ""
    signed: Signed | None = None
    problems: tuple[Finding, ...] = ()
    """What was wrong with the request itself, so that nothing more can be asked of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call, in no dialect yet."""

    refusal: str = ""
    """One of `REFUSALS`; empty: accepted, or refused by `findings`."""
    findings: tuple[Finding, ...] = ()
    """What the payload is refused for, all at once."""
    token: str = field(default="", repr=False)
    company: str = ""
    """The company code that was issued."""
    pending: bool = False
    """Registered, and to be approved before it can be used."""
    rows: tuple[Mapping[str, Any], ...] = ()
    """What was asked for."""
    retry_after: int = 0

    @property
    def accepted(self) -> bool:
        """Whether the caller got what it asked for."""
        return not self.refusal and not self.findings

    @property
    def status(self) -> int:
        """The HTTP status where a dialect has use for one."""
        return STATUSES.get(self.refusal, 200)


class Reply(NamedTuple):
    """An answer: its bytes, its media type, and the HTTP status that goes with it."""

    body: bytes
    status: int = 200
    media: bytes = b"application/json;charset=UTF-8"


class Dialect(Protocol):
    """What each module of this package offers."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a module's constant
        """Name of the dialect, as in `door:NAME`."""

    def read(self, kind: str, payload: bytes, limits: Limits, step: str = "") -> Call:
        """Understand a request of this kind. Never raises for bad input: its faults are the call's problems."""

    def write(self, kind: str, outcome: Outcome) -> Reply:
        """Say an outcome in the dialect."""
