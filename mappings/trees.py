"""Untrusted bytes -> a tree of JSON values, within limits and without ever picking silently.

Encodings: UTF-8 (with or without BOM), UTF-16 with BOM, else GB18030 (of which GBK and GB 2312 are parts), which shop
software on Chinese Windows still writes. Numbers stay exact (`int`, `Decimal`); one outside 40 digits stays text,
so that `1e400` neither overflows nor grows. Member names are folded (NFKC, trimmed, lower case: domain table 9,
rule 2); `Tree.spelled` remembers how the partner wrote them.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any, NamedTuple

from mappings.forms import FormError, unwrap_form


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on untrusted input."""

    payload_bytes: int = 64 * 1024 * 1024
    depth: int = 64
    rows: int = 10_000
    """Most parts or projects in one record."""
    members: int = 2_000
    """Most members of one object."""
    values: int = 2_000_000
    """Most values in one payload, counted by its commas: keeps a payload of empty lists from filling the memory."""


DEFAULT_LIMITS = Limits()
NOT_JSON, STRUCTURE_WRONG = "NOT_JSON", "STRUCTURE_WRONG"

Json = Any
"""A JSON value: dict, list, str, int, Decimal, bool or None."""

_NUMBER_DIGITS = 40
_NUMBER_TEXT = 100
_ODD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)


class TreeError(Exception):
    """The bytes are no tree within the limits.

    `code` is the finding's code (NOT_JSON, STRUCTURE_WRONG), `value` says where or how much (never the content, which
    may hold a password), `expected` what would have been right.
    """

    def __init__(self, code: str, value: str, expected: str) -> None:
        super().__init__(f"{code}: {value}; {expected}")
        self.code, self.value, self.expected = code, value, expected

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.value, self.expected)


class Problem(NamedTuple):
    """One place in a tree that is readable and still wrong: a member that stands twice, a text that is no text."""

    path: tuple[str | int, ...]
    value: str
    expected: str


class Repeated(dict[str, Any]):
    """An object in which a member's name stands more than once; the first value is kept, `names` tells which."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed payload: its root, how folded names were written, and what is wrong in it."""

    root: Json
    spelled: dict[str, str]
    problems: list[Problem]


def decode_text(body: bytes) -> str:
    """Bytes -> text, by BOM, as UTF-8, else as GB18030.

    Raises:
        TreeError: NOT_JSON, none of the encodings fits.
    """
    try:
        if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return body.decode("utf-16")
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = body.decode("gb18030")
        text.encode("utf-8")
    except UnicodeError:
        expected = "UTF-8、UTF-16(BOM) 或 GB18030 编码 / encoded as UTF-8, UTF-16 (BOM) or GB18030"
        raise TreeError(NOT_JSON, f"{len(body)} bytes", expected) from None
    return text


def fold(name: str) -> str:
    """A member's name as it is compared: NFKC, trimmed, lower case, and always encodable."""
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name.encode("utf-8", "replace").decode("utf-8"))
    return name.strip(" \t\r\n\ufeff\u200b").replace("\0", "\ufffd").lower()


def check_depth(text: str, depth: int) -> None:
    """Refuse text that is nested deeper than `depth`, before any parser recurses into it.

    Raises:
        TreeError: STRUCTURE_WRONG.
    """
    if text.count("[") + text.count("{") <= depth:
        return
    level = 0
    for token in _TEXT_OR_BRACKET.finditer(text):
        first = text[token.start()]
        if first in "[{":
            level += 1
            if level > depth:
                expected = f"嵌套不超过 {depth} 层 / nested at most {depth} deep"
                raise TreeError(STRUCTURE_WRONG, f"character {token.start()}", expected)
        elif first in "]}":
            level -= 1


def parse(body: bytes, limits: Limits = DEFAULT_LIMITS) -> Tree:
    """Parse one payload; URL-encoded JSON (`repairdata=%7B...`) is unwrapped first.

    Raises:
        TreeError: not readable, or beyond the limits. Nothing else is ever raised.
    """
    if len(body) > limits.payload_bytes:
        expected = f"不超过 {limits.payload_bytes} 字节 / at most {limits.payload_bytes} bytes"
        raise TreeError(STRUCTURE_WRONG, f"{len(body)} bytes", expected)
    try:
        text = decode_text(unwrap_form(body))
    except FormError as error:
        raise TreeError(STRUCTURE_WRONG, f"{error.length} bytes", error.expected) from None
    tree = Tree(None, {}, [])
    return Tree(parse_text(text, limits, tree), tree.spelled, tree.problems)


def parse_text(text: str, limits: Limits, tree: Tree, at: tuple[str | int, ...] = ()) -> Json:
    """Parse JSON text into values; spellings and problems are added to `tree`, paths beginning with `at`.

    Raises:
        TreeError: not JSON, or beyond the limits.
    """
    check_depth(text, limits.depth)
    if text.count(",") > limits.values:
        expected = f"不超过 {limits.values} 个值 / at most {limits.values} values"
        raise TreeError(STRUCTURE_WRONG, f"{text.count(',')} commas", expected)
    names = _Names()
    repeated = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = {names[name]: value for name, value in pairs}
        if len(pairs) > limits.members:
            expected = f"一个对象不超过 {limits.members} 个成员 / at most {limits.members} members in one object"
            raise TreeError(STRUCTURE_WRONG, f"{len(pairs)} members", expected)
        if len(found) == len(pairs):
            return found
        repeated = True
        return _repeated(pairs, names)

    decoder = json.JSONDecoder(
        object_pairs_hook=members, parse_float=_number, parse_int=_whole, parse_constant=_constant
    )
    root = _decode(decoder, text)
    for written, folded in names.items():
        if written != folded:
            tree.spelled.setdefault(folded, written.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd"))
    odd = _ODD_ESCAPE.search(text) is not None
    return _inspect(root, tree.problems, at, odd=odd) if odd or repeated else root


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        folded = self[name] = fold(name)
        return folded


def _decode(decoder: json.JSONDecoder, text: str) -> Json:
    expected = "一个完整的 JSON 值 / one complete JSON value"
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except RecursionError:
        raise TreeError(STRUCTURE_WRONG, "too deep", "较浅的嵌套 / less nesting") from None
    raise TreeError(NOT_JSON, where if text.strip() else "empty", expected)


def _whole(text: str) -> int | str:
    return int(text) if len(text) <= _NUMBER_DIGITS else text[:_NUMBER_TEXT]


def _number(text: str) -> Decimal | str:
    if len(text) > _NUMBER_TEXT:
        return text[:_NUMBER_TEXT]
    try:
        number = Decimal(text)
    except DecimalException:
        return text
    exponent = number.as_tuple().exponent
    within = isinstance(exponent, int) and exponent >= -_NUMBER_DIGITS and number.adjusted() <= _NUMBER_DIGITS
    return number if within else text


def _constant(text: str) -> Json:
    raise TreeError(NOT_JSON, text, "JSON 数值（没有 NaN、Infinity） / a JSON number (there is no NaN or Infinity)")


def _repeated(pairs: list[tuple[str, Any]], names: _Names) -> Repeated:
    found = Repeated()
    twice: dict[str, None] = {}
    for name, value in pairs:
        if names[name] in found:
            twice[names[name]] = None
        else:
            found[names[name]] = value
    found.names = tuple(twice)
    return found


def _inspect(root: Json, problems: list[Problem], at: tuple[str | int, ...], *, odd: bool) -> Json:
    """Walk the whole tree: report repeated members and, where there may be any, mend texts that cannot be encoded."""
    holder = {"": root}
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(holder, ())]
    while waiting:
        node, path = waiting.pop()
        for name in node.names if isinstance(node, Repeated) else ():
            expected = "每个成员只出现一次 / each member only once"
            problems.append(Problem((*at, *path[1:], name), "repeated", expected))
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(child, dict | list):
                waiting.append((child, (*path, key)))
            elif odd and isinstance(child, str) and (mended := _mended(child)) != child:
                node[key] = mended
                expected = "没有 NUL 和孤立代理码位的文本 / text without NUL and lone surrogates"
                problems.append(Problem((*at, *path[1:], key) if path else at, "no text", expected))
    return holder[""]


def _mended(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
