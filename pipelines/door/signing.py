"""Signatures of the Shanghai interfaces (domain tables 1.6 and 1.7), and the window of their timestamps.

Three-step interface: MD5, 32 lower-case hex, over the members *as sent* (names in their own spelling, numbers as
written), without `sign`: `name=value` sorted by name and joined by `&`; null is the empty text; an object is its own
such text; the items of a list are joined by `&`. No source shows where the secret stands: that is a setting.

二级维护: MD5 over secret and `companyIdentity=..&nonce=..&timestamp=..`, timestamp in seconds.

MD5 is what these interfaces prescribe; it proves nothing about the transport, which TLS protects.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

from mappings.trees import NOT_JSON, STRUCTURE_WRONG, TreeError, check_depth, decode_text

APPENDED = "{text}{secret}"
"""Where the secret stands by default: right behind the sorted text. Others: `{secret}{text}`, `{text}&key={secret}`."""
WINDOW = timedelta(minutes=10)
"""How far a timestamp may be from the clock, either way."""
DEPTH = 16
"""Deepest nesting of a signed call."""
_VALUES = 100_000
_SIGN = "sign"


class Sent(str):
    """A JSON number as it was written."""

    __slots__ = ()


def members_as_sent(body: bytes) -> dict[str, Any]:
    """The members of a JSON object with names and numbers exactly as they were written; numbers are `Sent`.

    Raises:
        TreeError: no JSON object, a name that stands twice, or beyond the limits.
    """
    text = decode_text(body)
    check_depth(text, DEPTH)
    if text.count(",") > _VALUES:
        raise TreeError(
            STRUCTURE_WRONG, f"{text.count(',')} commas", f"不超过 {_VALUES} 个值 / at most {_VALUES} values"
        )
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_int=Sent, parse_float=Sent, parse_constant=Sent)
    try:
        root = decoder.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise TreeError(NOT_JSON, where, "一个完整的 JSON 值 / one complete JSON value") from None
    if not isinstance(root, dict):
        raise TreeError(STRUCTURE_WRONG, "", "对象 / an object")
    return root


def signed_text(members: Mapping[str, Any]) -> str:
    """The text that is signed, without the secret: members sorted by name, `sign` at the top left out.

    >>> signed_text({"b": [1, None, {"y": "2", "x": True}], "a": None, "sign": "0"})
    'a=&b=1&&x=true&y=2'
    """
    return _object({name: value for name, value in members.items() if name.casefold() != _SIGN})


def check_placement(placement: str) -> None:
    """Check the setting that says where the secret stands.

    Raises:
        ValueError: `{text}` must stand in it once, `{secret}` at least once, and no other braces.
    """
    rest = placement.replace("{text}", "").replace("{secret}", "")
    if placement.count("{text}") != 1 or "{secret}" not in placement or "{" in rest or "}" in rest:
        msg = (
            f"签名中密钥的位置 {placement!r} 须含一个 {{text}} 和至少一个 {{secret}} / the placement of the secret "
            f"{placement!r} must hold {{text}} once and {{secret}} at least once"
        )
        raise ValueError(msg)


def sign(members: Mapping[str, Any], secret: str, placement: str = APPENDED) -> str:
    """The signature of a call of the three-step interface: 32 lower-case hex digits."""
    text = signed_text(members)
    return _md5("".join(_placed(part, text, secret) for part in _split(placement)))


def maintenance_sign(identity: str, nonce: str, timestamp: str, secret: str) -> str:
    """The signature of a 二级维护 call: 32 lower-case hex digits."""
    return _md5(f"{secret}companyIdentity={identity}&nonce={nonce}&timestamp={timestamp}")


def same(given: object, expected: str) -> bool:
    """Whether a signature that was sent is the expected one, in constant time; upper-case hex digits are taken too."""
    text = given if isinstance(given, str) else ""
    return hmac.compare_digest(text.strip().lower().encode("utf-8", "replace"), expected.encode())


def within_window(timestamp: object, now: datetime, window: timedelta = WINDOW) -> bool:
    """Whether a timestamp lies within the window around now: seconds (10 digits) or milliseconds (13) since 1970."""
    text = str(timestamp).strip() if isinstance(timestamp, str | int) and not isinstance(timestamp, bool) else ""
    if len(text) not in (10, 13) or not (text.isascii() and text.isdigit()):
        return False
    seconds = int(text) / (1 if len(text) == 10 else 1000)
    return abs(datetime.fromtimestamp(seconds, UTC) - now) <= window


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TreeError(STRUCTURE_WRONG, "repeated", "每个成员只出现一次 / each member only once")
    return found


def _object(members: Mapping[str, Any]) -> str:
    return "&".join(f"{name}={_value(members[name])}" for name in sorted(members))


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list | tuple):
        return "&".join(_value(item) for item in value)
    return str(value)


def _split(placement: str) -> list[str]:
    return [part for piece in placement.split("{text}") for part in (piece, "{text}")][:-1]


def _placed(part: str, text: str, secret: str) -> str:
    return text if part == "{text}" else part.replace("{secret}", secret)


def _md5(text: str) -> str:
    return md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
