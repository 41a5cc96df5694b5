r"""Places in JSON, written as in a settings file: `respInfo.code`, `result[0].message`; an empty path is the whole.

>>> at({"result": [{"code": "1"}]}, "result[0].code")
'1'
>>> at({"result": []}, "result[0].code") is None
True
>>> raw_at(b'{"data": {"rows": [1.10, 2]}}', "data.rows")
b'[1.10, 2]'

`raw_at` and `raw_elements` go by brackets, commas and quotes alone where a text on the way is not proper JSON: one
record with a bad escape must not hide all others.

>>> raw_elements(rb'[{"a": "\ud800"}, nonsense]')
[b'{"a": "\\ud800"}', b'nonsense']
"""

from __future__ import annotations

import re
from functools import lru_cache
from io import BytesIO
from typing import Any

import msgspec
import orjson

from connectors.slicing import SlicingError, array_elements

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_NAME = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*', re.DOTALL)
_NO_JSON = "不是 JSON / no JSON"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


class _OtherwiseError(ValueError):
    """It is JSON, but no list or no object."""


@lru_cache(maxsize=1024)
def steps(path: str) -> tuple[str | int, ...]:
    """The steps of a path: member names and places in lists.

    Raises:
        ValueError: it is no path.
    """
    found: list[str | int] = []
    at_ = 0
    while at_ < len(path):
        match = _STEP.match(path, at_)
        if match is None:
            message = f"不是 JSON 路径 / no path into JSON: {path!r}"
            raise ValueError(message)
        found.append(match[1] if match[2] is None else int(match[2]))
        at_ = match.end()
    return tuple(found)


def at(value: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """What stands at a path of opened JSON; None where nothing does."""
    for step in steps(path):
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def raw_at(data: bytes, path: str) -> bytes | None:
    """The bytes that stand at a path, exactly as they arrived; None where nothing does.

    Raises:
        ValueError: it is no JSON as far as it had to be read.
    """
    value = bytes(data)
    for step in steps(path):
        try:
            if isinstance(step, str):
                found = _members_of(value).get(step)
            else:
                listed = raw_elements(value)
                found = listed[step] if step < len(listed) else None
        except _OtherwiseError:
            return None
        if found is None:
            return None
        value = found
    return value


def text_at(data: bytes, path: str) -> str | None:
    """What stands at a path, as text: a string's content, a number as it is written; empty where nothing does.

    None: it cannot be read.
    """
    try:
        found = raw_at(data, path)
        if found is None or found == b"null":
            return ""
        return text_of(orjson.loads(found)) if found.startswith(b'"') else found.decode()
    except ValueError:
        return None


def raw_elements(data: bytes) -> list[bytes]:
    """The elements of a JSON list, each exactly as it arrived.

    Raises:
        ValueError: it is no JSON list.
    """
    try:
        return [bytes(one) for one in _elements.decode(data)]
    except msgspec.ValidationError as error:
        raise _OtherwiseError(str(error)) from None
    except (msgspec.DecodeError, RecursionError):
        return _cut(data)


def _members_of(data: bytes) -> dict[str, bytes]:
    try:
        return {name: bytes(value) for name, value in _members.decode(data).items()}
    except msgspec.ValidationError as error:
        raise _OtherwiseError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = data.strip()
        if not (body.startswith(b"{") and body.endswith(b"}")):
            raise ValueError(_NO_JSON) from None
        return dict(map(_member, _cut(b"[" + body[1:-1] + b"]")))


def _member(text: bytes) -> tuple[str, bytes]:
    name = _NAME.match(text)
    if name is None:
        raise ValueError(_NO_JSON)
    try:
        return str(orjson.loads(name[1])), text[name.end() :]
    except orjson.JSONDecodeError:  # no path names it
        return name[1].decode("utf-8", "replace"), text[name.end() :]


def _cut(data: bytes) -> list[bytes]:
    try:
        return [one.body for one in array_elements(BytesIO(data).read, len(data))]
    except SlicingError:
        raise ValueError(_NO_JSON) from None


def text_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A code or id as text: peers write 1, 1.0 and "1"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
