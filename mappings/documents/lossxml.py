"""The XML of 核损返回 (RequestType 006): untrusted bytes -> members, and members -> bytes in GBK.

Public are the names of the elements (domain section 8.1), not how they are nested. So a packet is read by its names:
rows (`FitInfo`, `RepairInfo`, `RepairSumInfo`, `OutRepair`, `AssistInfo`) wherever they stand, every other text
as a member of the packet. What we write nests as `PACKET / HEAD`, `BODY / LossInfo` with the rows inside.

A packet with a document type is refused whatever it says, so there are neither entities nor anything from outside.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from mappings.trees import TreeError, decode_text, fold

ROWS = ("fitinfo", "repairinfo", "repairsuminfo", "outrepair", "assistinfo")
"""Elements that are rows, by their folded names."""

UNREADABLE, MISDECLARED = "?unreadable", "?misdeclared"
"""Members that stand for what is wrong with the bytes themselves; no element can be named so."""

MOST_BYTES = 8 * 1024 * 1024
MOST_DEPTH = 32
MOST_ELEMENTS = 200_000
MOST_TEXT = 4_000
"""Most characters of one element's text."""

_MARKS = (b"lossinfo", b"requesttype", b"lossno")
_LOOKED_AT = 64 * 1024
_DECLARED = re.compile(r"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_FAMILY = {"gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030", "gb-2312": "gb18030", "gb_2312-80": "gb18030"}
_UTF = frozenset({"utf-8", "utf8", "utf-16", "utf16", "ascii", "us-ascii"})
_WIDE = "\u0800"
"""From here on a character takes three bytes in UTF-8: GBK hardly ever reads as such by chance, as it does below."""


class _Beyond(Exception):
    """A limit was passed, or there is a document type."""


def tree(body: bytes, marks: Sequence[bytes] = _MARKS) -> Mapping[str, Any] | None:
    """The members of a packet, names folded and rows as lists; None where the bytes are no packet of this kind.

    Bytes that look like a packet and cannot be read give `UNREADABLE` with the reason, so that they are told from other
    things; a packet in another encoding than it declares is read, with `MISDECLARED`. Never raises. `marks`: names, in
    lower case, of which a packet of the kind has one.
    """
    head = body[:_LOOKED_AT].replace(b"\0", b"").lower()
    if not head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<") or not any(mark in head for mark in marks):
        return None
    if len(body) > MOST_BYTES:
        return {UNREADABLE: f"{len(body)} bytes > {MOST_BYTES}"}
    try:
        text, declared = _text(body)
    except TreeError as error:
        return {UNREADABLE: error.value}
    reader = _Reader()
    try:
        reader.read(text)
    except _Beyond as error:
        return {UNREADABLE: str(error)}
    except expat.ExpatError as error:
        return {UNREADABLE: f"line {error.lineno}, column {error.offset}: {expat.ErrorString(error.code)}"}
    return {**reader.members, MISDECLARED: declared} if declared else reader.members


def _text(body: bytes) -> tuple[str, str]:
    """The text, and the encoding that it declares where it is written in another one.

    What is declared as GBK is read so, but for bytes that are UTF-8 with characters that GBK hardly gives by chance.

    Raises:
        TreeError: in no encoding that fits.
    """
    sniffed = decode_text(body)
    found = _DECLARED.search(sniffed[:200])
    declared = found[1] if found else ""
    family = _FAMILY.get(declared.lower(), declared.lower().replace("_", "-"))
    if family != "gb18030":
        honest = not declared or (family in _UTF and _is_utf(body))
        return sniffed, "" if honest else declared
    if body.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return sniffed, declared
    if _is_utf(body) and any(character >= _WIDE for character in sniffed):
        return sniffed, declared
    try:
        return body.decode("gb18030"), ""
    except UnicodeDecodeError:
        return sniffed, declared


def _is_utf(body: bytes) -> bool:
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Reader:
    """Collects the members of one packet from the parser's events."""

    def __init__(self) -> None:
        self.members: dict[str, Any] = {}
        self._open: list[str] = []
        self._row: dict[str, Any] | None = None
        self._row_depth = 0
        self._texts: list[str] = []
        self._length = self._elements = 0
        self._leaf = False

    def read(self, text: str) -> None:
        parser = expat.ParserCreate("utf-8", None)
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._character
        parser.Parse(text.removeprefix("\ufeff").encode("utf-8", "replace"), True)

    def _refuse(self, *_: object) -> int:
        message = "不允许 DOCTYPE 与实体 / no DOCTYPE or entities"
        raise _Beyond(message)

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MOST_ELEMENTS or len(self._open) >= MOST_DEPTH:
            message = f"> {MOST_ELEMENTS} elements or {MOST_DEPTH} levels"
            raise _Beyond(message)
        folded = fold(name)
        self._open.append(folded)
        self._begin_text()
        self._leaf = True
        if self._row is None and folded in ROWS:
            self._row, self._row_depth = {}, len(self._open)
            self.members.setdefault(folded, []).append(self._row)

    def _end(self, _: str) -> None:
        name = self._open.pop()
        if self._row is not None and len(self._open) < self._row_depth:
            self._row = None
        elif self._leaf:
            into = self.members if self._row is None else self._row
            if name not in ROWS:
                into.setdefault(name, "".join(self._texts).strip())
        self._leaf = False
        self._begin_text()

    def _character(self, text: str) -> None:
        self._length += len(text)
        if self._length > MOST_TEXT and not text.isspace():
            message = f"> {MOST_TEXT} characters"
            raise _Beyond(message)
        self._texts.append(text)

    def _begin_text(self) -> None:
        self._texts, self._length = [], 0


def written(head: Mapping[str, str], body: str = "") -> bytes:
    """A packet in GBK: head elements, and a body that is XML already. What GBK lacks is a character reference."""
    text = f'<?xml version="1.0" encoding="GBK"?>\n<PACKET><HEAD>{elements(head)}</HEAD>{body}</PACKET>\n'
    return text.encode("gbk", "xmlcharrefreplace")


def elements(members: Mapping[str, str]) -> str:
    """Elements with texts, in order."""
    return "".join(f"<{name}>{escape(_legal(value))}</{name}>" for name, value in members.items())


def answer(messages: Iterable[str] = (), *, failed: bool = False) -> bytes:
    """The answer to a packet: 000 taken, 402 with every message where it was refused, 499 where we failed ourselves."""
    said = "；".join(messages)
    code = "499" if failed else "402" if said else "000"
    return written({"RequestType": "006", "ResponseCode": code, "ErrorMessage": said})


_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
