"""Places in JSON, written as in a settings file: `respInfo.code`, `result[0].message`; an empty path is the whole.

>>> at({"result": [{"code": "1"}]}, "result[0].code")
'1'
>>> at({"result": []}, "result[0].code") is None
True
>>> raw_at(b'{"data": {"rows": [1.10, 2]}}', "data.rows")
b'[1.10, 2]'
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


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
                found = _members.decode(value).get(step)
            else:
                listed = _elements.decode(value)
                found = listed[step] if step < len(listed) else None
        except msgspec.ValidationError:
            return None
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None
        if found is None:
            return None
        value = bytes(found)
    return value


def raw_elements(data: bytes) -> list[bytes]:
    """The elements of a JSON list, each exactly as it arrived.

    Raises:
        ValueError: it is no JSON list.
    """
    try:
        return [bytes(one) for one in _elements.decode(data)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def text_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A code or id as text: peers write 1, 1.0 and "1"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
