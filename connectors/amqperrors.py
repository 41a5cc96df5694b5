"""What a broker's errors mean: what heals by itself, and what only a person can mend. The only such place.

connection cut, forced, timed out, node down          Unavailable
user or password refused, vhost absent or forbidden   Misconfigured
certificate not trusted, not given, not theirs        Misconfigured
no such queue or exchange                             Absent (a Misconfigured)
may not read, write or declare; other arguments       Misconfigured
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosed,
    ConnectionClosed,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from connectors.amqpsettings import Address
from connectors.confidential import masked
from connectors.contracts import ConnectorError, Misconfigured, Unavailable

RETRIED = "稍后自动重试 / tried again by itself"
"""The remedy for what heals by itself."""


class Absent(Misconfigured):
    """No such queue or exchange."""


def meaning(error: BaseException, address: Address) -> ConnectorError:
    """The connector's error for one of pika's (or of the network's); texts hold no credential."""
    nested = list(_nested(error))
    for one in nested:
        if isinstance(one, ConnectorError):
            return one
        found = _for_a_person(one, address)
        if found is not None:
            return found
    why = masked(_said(nested), address.secrets)
    message = f"消息服务器不可用 / the broker is unavailable: {address.place}: {why}"
    return Unavailable(message, RETRIED)


def _nested(error: BaseException, depth: int = 6) -> Iterator[BaseException]:
    """The error and those that it carries, outermost first."""
    yield error
    inner = [getattr(error, "exception", None), *getattr(error, "exceptions", ()), *error.args]
    for one in inner:
        if isinstance(one, BaseException) and depth:
            yield from _nested(one, depth - 1)


def _said(nested: list[BaseException]) -> str:
    for one in reversed(nested):
        if isinstance(one, ConnectionClosed | ChannelClosed):
            return f"{one.reply_code} {one.reply_text}"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    if any("Timeout" in f"{type(one).__name__} {one.args}" for one in nested):
        return "超时 / no answer in time"
    last = nested[-1]
    return repr(last) if isinstance(last, AMQPError) else type(last).__name__


def _for_a_person(error: BaseException, address: Address) -> Misconfigured | None:
    if isinstance(error, ChannelClosed):
        return _of_channel(error, address)
    refused = isinstance(error, ConnectionClosed) and error.reply_code == 403
    # pika guesses from the moment of the cut; only what the broker said is sure.
    if refused or isinstance(error, AuthenticationError) or _told(error, ProbableAuthenticationError, "(403)"):
        message = f"用户名或密码被拒绝 / user or password refused: {address.place}"
        return Misconfigured(message, "请检查 user 与 password / check user and password (url, env: or file:)")
    if _told(error, ConnectionClosed, "530") or _told(error, ProbableAccessDeniedError, "(530)"):
        message = f"虚拟主机不存在或无权进入 / no such vhost, or no access to it: {address.place}"
        return Misconfigured(message, "请检查地址中的虚拟主机与权限 / check the vhost in the address, and permissions")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        why = getattr(error, "verify_message", "") or error.reason or type(error).__name__
        message = f"TLS 连接被拒绝 / TLS is refused: {address.place}: {why}"
        return Misconfigured(message, "请检查 ca、cert、key 与端口 / check ca, cert, key and the port")
    return None


def _told(error: BaseException, kind: type[BaseException], sign: str) -> bool:
    return isinstance(error, kind) and sign in str(error.args)


def _of_channel(error: ChannelClosed, address: Address) -> Misconfigured | None:
    code, text = error.reply_code, masked(error.reply_text, address.secrets)
    if code == 404 and (" no queue " in text or " no exchange " in text):
        message = f"没有该队列或交换器 / no such queue or exchange: {address.place}: {text}"
        return Absent(message, "请核对名称；可用 vingate check --declare 创建 / check the name, or let it be declared")
    if code == 403:
        message = f"无此权限 / not permitted: {address.place}: {text}"
        return Misconfigured(message, "请在消息服务器上授权 / grant the permission at the broker")
    if code == 406 and "inequivalent arg" in text:
        message = f"已存在但参数不同 / it exists with other arguments: {address.place}: {text}"
        remedy = (
            "请改设置使之一致；或取空并删除后重新声明 / make the settings agree, or drain, delete and declare again"
        )
        return Misconfigured(message, remedy)
    return None
