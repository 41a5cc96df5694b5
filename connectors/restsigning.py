"""Signing requests by schemes that settings describe, and the moments that templates and signatures speak of.

Shanghai's three-step interface (MD5 over the sorted members as sent, the secret behind them):

    [signing]
    algorithm = "md5"
    secret = "env:SHANGHAI_SECRET"
    members = { appId = "{secrets.app_id}", nonce = "{nonce}", timestamp = "{millis}" }
    put = "sign"

二级维护 signs three members, the secret before them: `only = ["companyIdentity", "nonce", "timestamp"]`,
`placement = "{secret}{text}"`, `timestamp = "{seconds}"`. MD5 is what those interfaces prescribe; it proves nothing
about the transport, which TLS protects.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from connectors.contracts import Misconfigured
from connectors.restsettings import Signing
from connectors.resttemplates import Scope, dumped, filled, render

_HERE = ZoneInfo("Asia/Shanghai")


def moments(now: Callable[[], float] = time.time) -> dict[str, Any]:
    """The moment and the nonces of one request, for templates: `millis` and `seconds` are text, `nonce` a number."""
    stamp = now()
    here = datetime.fromtimestamp(stamp, _HERE)
    return {
        "millis": str(int(stamp * 1000)),
        "seconds": str(int(stamp)),
        "date": here.strftime("%Y%m%d"),
        "time": here.strftime("%H%M%S"),
        "nonce": secrets.randbelow(2**53),
        "nonce_hex": secrets.token_hex(16),
    }


class _Sent(str):
    """A JSON number as it was written."""

    __slots__ = ()


def members_text(body: bytes, leave_out: str, only: tuple[str, ...] = ()) -> str:
    """The text that is signed: `name=value` sorted by name and joined by `&`.

    Names and numbers as written; null is the empty text; an object is its own such text; the items of a list are
    joined by `&` (domain table 1.6).

    >>> members_text(b'{"b": [1.50, null, {"y": "2", "x": true}], "a": null, "sign": "0"}', "sign")
    'a=&b=1.50&&x=true&y=2'
    """
    members = json.loads(body, parse_int=_Sent, parse_float=_Sent)
    if not isinstance(members, dict):
        message = "签名要求请求体是对象 / a signature over members needs a body that is an object"
        raise Misconfigured(message, "请改正 body 或 signing.over / correct body or signing.over")
    return _object({name: one for name, one in members.items() if name != leave_out and (not only or name in only)})


def _object(members: Mapping[str, Any]) -> str:
    return "&".join(f"{name}={_value(members[name])}" for name in sorted(members))


def _value(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list):
        return "&".join(map(_value, value))
    return str(value)


def signature(signing: Signing, text: str, secret: str) -> str:
    """The signature of a text."""
    name = signing.algorithm.removeprefix("hmac-")
    if signing.algorithm.startswith("hmac-"):
        digest = hmac.new(secret.encode(), text.encode(), name).digest()
    else:
        before, _, after = signing.placement.partition("{text}")
        whole = before.replace("{secret}", secret) + text + after.replace("{secret}", secret)
        digest = hashlib.new(name, whole.encode(), usedforsecurity=False).digest()
    if signing.form == "base64":
        return base64.b64encode(digest).decode()
    return digest.hex().upper() if signing.form == "HEX" else digest.hex()


def with_members(signing: Signing, body: bytes, scope: Scope) -> bytes:
    """The body with the members that the scheme adds; what stands there already stays byte for byte."""
    if not signing.members:
        return body
    added = dumped(render(signing.members, scope))
    inner = body.strip()
    if not inner.startswith(b"{"):
        message = "signing.members 要求请求体是对象 / signing.members needs a body that is an object"
        raise Misconfigured(message, "请改正 body / correct body")
    rest = inner[1:].lstrip()
    return added[:-1] + (rest if rest.startswith(b"}") else b"," + rest)


def signed(
    signing: Signing, secret: str, method: str, path: str, query: str, body: bytes, scope: Scope
) -> tuple[bytes, dict[str, str]]:
    """The body and the further headers of a signed request."""
    body = with_members(signing, body, scope)
    member = "" if signing.put.endswith(":") else signing.put
    if signing.over == "members":
        text = members_text(body or b"{}", member, signing.only)
    elif signing.over == "body":
        text = body.decode("utf-8", "surrogateescape")
    else:
        parts = {"method": method, "path": path, "query": query, "body": body.decode("utf-8", "surrogateescape")}
        text = filled(signing.over, {**scope, **parts, "body_sha256": hashlib.sha256(body).hexdigest()})
    made = signature(signing, text, secret)
    if not member:
        return body, {signing.put.rstrip(":"): signing.prefix + made}
    rest = body.strip()[1:]
    head = orjson.dumps({member: signing.prefix + made})[:-1]
    return head + (rest if rest.lstrip().startswith(b"}") else b"," + rest), {}
