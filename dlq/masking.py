"""Masking for people: by member name at any depth, and by shape in free text (what stays: `mappings.shapes`).

Text that is JSON, JSON inside a string, URL-encoded or a form is taken apart first; what cannot be parsed is masked by
shape. The result is text or JSON again, safe to print on a terminal. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_plus

import orjson
from pydantic import JsonValue

from mappings.shapes import HIDDEN, hide, kind_of, mask_shapes

DEPTH = 64
"""Levels below which nothing is shown."""
LONG = 4_096
"""Strings inside a payload that are longer than this and hold no space (photos in base64) show their size only."""

_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_FORM = re.compile(r"[\w.\[\]%-]{1,64}=[^&\s]*(?:&[\w.\[\]%-]{1,64}=[^&\s]*)*")
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def masked(value: object) -> JsonValue:
    """The value as people may see it: text and bytes give text, JSON values give JSON values."""
    if isinstance(value, bytes | bytearray | memoryview):
        value = readable(bytes(value))
    return masked_text(value) if isinstance(value, str) else _walk(value, None, 0)


def readable(body: bytes) -> str:
    """The bytes as text: by byte order mark, else UTF-8, else GB 18030; what is no text becomes U+FFFD."""
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        cut = error.start >= len(body) - 3  # only its last character is incomplete
        return body.decode("utf-8" if cut else "gb18030", "replace")


def masked_text(text: str, depth: int = 0) -> str:
    """Mask one text: as JSON if it is JSON, as a form if it is one, else by shape."""
    if depth > DEPTH:
        return HIDDEN
    if text.lstrip("\ufeff \t\r\n")[:1] in {"{", "[", '"'}:
        try:
            return orjson.dumps(_walk(orjson.loads(text.lstrip("\ufeff")), None, depth + 1)).decode()
        except ValueError:
            return mask_shapes(_unquoted(text))
    if depth and len(text) > LONG and " " not in text:
        return f"<{len(text)} 字符 / characters>"
    if "=" in text:
        front, question, form = text.rpartition("?")
        if _FORM.fullmatch(form):
            return mask_shapes(front) + question + "&".join(_pair(pair, depth) for pair in form.split("&"))
    plain = _unquoted(text)
    return mask_shapes(text) if plain == text else masked_text(plain, depth + 1)


def _unquoted(text: str) -> str:
    return _PERCENT.sub(lambda match: unquote_plus(match[0]), text) if "%" in text else text


def _pair(pair: str, depth: int) -> str:
    """One `name=value` of a form."""
    name, _, value = pair.partition("=")
    name, value = unquote_plus(name), unquote_plus(value)
    kind = kind_of(name)
    return f"{mask_shapes(name)}={masked_text(value, depth + 1) if kind is None else mask_shapes(kind(value))}"


def _walk(value: object, kind: Callable[[str], str] | None, depth: int) -> JsonValue:
    """Mask a JSON value; `kind` is how the member that it stands under is masked, and all below it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict | list | tuple):
        if depth > DEPTH or (value and kind is hide):
            return HIDDEN
        if isinstance(value, dict):
            return {mask_shapes(str(k)): _walk(item, kind_of(str(k)) or kind, depth + 1) for k, item in value.items()}
        return [_walk(item, kind, depth + 1) for item in value]
    if isinstance(value, bytes | bytearray):
        value = readable(bytes(value))
    text = str(value)
    if kind is not None:
        shown = mask_shapes(kind(text))
    else:
        shown = masked_text(text, depth + 1) if isinstance(value, str) else mask_shapes(text)
    return value if shown == text and isinstance(value, int | float) else shown
