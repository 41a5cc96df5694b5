"""Files whose payloads are not lines: JSON arrays, CSV and XML, cut into the exact bytes of each payload.

Nothing is parsed further than needed to find where a payload ends; what a payload means is for others to say.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from connectors.lines import CHUNK, KEPT, Measured, Read, measured


class Piece(NamedTuple):
    """One payload at an offset; with a `reason` it could not be read as one, and `body` is what there is of it."""

    offset: int
    body: bytes
    reason: str = ""


class SlicingError(Exception):
    """The input is no JSON array from end to end; `offset` is where that shows, `held` what was read from there on."""

    def __init__(self, offset: int, held: bytes | Measured = b"") -> None:
        super().__init__(offset)
        self.offset = offset
        self.held = held if isinstance(held, Measured) else measured(held)


_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]|[\]}]|,|"', re.DOTALL)
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


def array_elements(read: Read, longest: int) -> Iterator[Piece]:
    """The elements of a top-level JSON array, streamed; one that is too long is only measured.

    Args:
        read: a reader at the beginning.
        longest: bytes that an element may have.

    Raises:
        SlicingError: no array, cut short, or something stands before or behind it; elements before it were given.
    """
    buffer = read(CHUNK)
    lead = len(buffer) - len(buffer.removeprefix(_BOM).lstrip(_SPACE))
    if not buffer.startswith(b"[", lead):
        raise SlicingError(lead, buffer[lead:])
    base, begin, at, depth, first, in_string = 0, lead + 1, lead + 1, 1, True, False
    long: _LongElement | None = None
    while True:
        if in_string and (rest := _STRING_REST.match(buffer, at)):
            at, in_string = rest.end(), not rest[1]
        for token in () if in_string else _TOKEN.finditer(buffer, at):
            at, sign = token.end(), buffer[token.start()]
            if sign in b'"':
                in_string = at - token.start() == 1
                if in_string:
                    break
                continue
            depth += (sign in b"[{") - (sign in b"]}")
            if depth == 0 or (depth == 1 and sign in b","):
                body = buffer[begin : token.start()].strip(_SPACE)
                if long is not None:
                    yield long.end(buffer[begin : token.start()])
                elif not body and not (depth == 0 and first):
                    raise SlicingError(base + begin, buffer[begin:])
                elif body:
                    yield _element(buffer, base, begin, body, longest)
                begin, first, long = at, False, None
                if depth == 0:
                    _nothing_follows(buffer[begin:], read, base + begin)
                    return
        if in_string and (rest := _STRING_REST.match(buffer, at)):
            at = rest.end()
        elif not in_string:
            at = len(buffer)
        if long is None and len(buffer) - begin > longest:
            begin = at - len(buffer[begin:at].lstrip(_SPACE))
            long = _LongElement(base + begin) if begin < at else None
        if long is not None:  # what was looked at is let go
            long.add(buffer[begin:at])
            begin = at
        # Ask for as much again as is held: an element of many chunks is then copied a few times, not once a chunk.
        chunk = read(max(CHUNK, len(buffer) - begin))
        if not chunk and long is not None:
            long.add(buffer[begin:])
            raise SlicingError(long.offset, long.whole)
        if not chunk:
            raise SlicingError(base + begin, buffer[begin:])
        buffer, base, at, begin = buffer[begin:] + chunk, base + begin, at - begin, 0


class _LongElement:
    """An element that is too long to hold, as far as it was read; white space counts where more follows it."""

    def __init__(self, offset: int) -> None:
        self.offset, self.whole = offset, Measured()
        self._ended = self.whole

    def add(self, data: bytes) -> None:
        """Let bytes pass."""
        body = data.rstrip(_SPACE)
        if body:
            self.whole.add(body)
            self._ended = self.whole.copy()
        self.whole.add(data[len(body) :])

    def end(self, data: bytes) -> Piece:
        """The element, whose last bytes these are."""
        self.add(data)
        return Piece(self.offset, self._ended.first, _TOO_LONG.format(self._ended.text))


_TOO_LONG = "PAYLOAD_TOO_LARGE: 单条超长 / payload too long: {}"


def _element(buffer: bytes, base: int, begin: int, body: bytes, longest: int) -> Piece:
    offset = base + buffer.index(body[:1], begin)
    if len(body) > longest:
        return Piece(offset, body[:KEPT], _TOO_LONG.format(measured(body).text))
    return Piece(offset, body)


def _nothing_follows(rest: bytes, read: Read, offset: int) -> None:
    while True:
        if rest.strip(_SPACE):
            raise SlicingError(offset, rest)
        offset += len(rest)
        rest = read(CHUNK)
        if not rest:
            return


def whole_payloads(read: Read, longest: int) -> Iterator[Piece]:
    """One payload; a top-level array gives one for each element; what is neither stays whole."""
    parts: deque[bytes] = deque()
    held = 0
    while held <= longest and (chunk := read(CHUNK)):
        parts.append(chunk)
        held += len(chunk)
    if held <= longest:
        try:
            yield from list(array_elements(_Replay(deque(parts), None).read, longest))
        except SlicingError:
            yield Piece(0, b"".join(parts))
        return
    again = _Replay(parts, read)
    try:
        yield from array_elements(again.read, longest)
    except SlicingError as stop:
        while chunk := again.read(CHUNK):
            stop.held.add(chunk)
        reason = f"PAYLOAD_TOO_LARGE: 超长且无法逐条切分 / too long, and no array from here on: {stop.held.text}"
        yield Piece(stop.offset, stop.held.first, reason)


class _Replay:
    """Gives again what was read already, letting go of it, then goes on."""

    def __init__(self, parts: deque[bytes], more: Read | None) -> None:
        self._parts, self._more = parts, more

    def read(self, count: int) -> bytes:
        if self._parts:
            return self._parts.popleft()
        return self._more(count) if self._more else b""


class Rows(NamedTuple):
    """How to cut CSV: column to group by ("" for none), encoding, delimiter ("auto" to see), and the limits."""

    group_by: str
    encoding: str
    delimiter: str
    longest: int
    most_lines: int = 200
    """Lines that one quoted field may span; beyond that its opening quote is taken as the fault."""


def csv_payloads(read: Read, rows: Rows) -> Iterator[Piece]:
    r"""Envelopes of a CSV file: the header line followed by the row, both as they are (CRLF and BOM too).

    With `group_by`, consecutive rows that have the same value in that column are one envelope. A row ends at a line
    break outside quotes; a quote opens a field only where the field begins. Bytes are looked at, not characters:
    in UTF-8 and in GBK no byte of a character can be taken for a quote, comma, semicolon, tab or line break. Lines end
    with LF; where the first megabyte holds none, with CR.
    """
    above = _Header()
    physical = _physical_lines(read, rows.longest, above)
    top = next(physical, None)
    if top is None:
        return
    delimiter = _delimiter(top.body) if rows.delimiter == "auto" else rows.delimiter
    raw = _raw_rows(chain([top], physical), delimiter.encode(), rows)
    header = next(raw, None)
    if header is None:
        return
    if header.reason:
        yield header
        return
    head = header.body if header.body.endswith((b"\n", b"\r")) else header.body + b"\n"
    above.offset, above.body = header.offset, head
    column = -1
    if rows.group_by:
        titles = [title.strip() for title in _fields(head.removeprefix(_BOM), rows.encoding, delimiter)]
        if rows.group_by not in titles:
            reason = f"表头没有列 {rows.group_by!r} / the header has no column {rows.group_by!r}"
            yield Piece(header.offset, head, reason)
            return
        column = titles.index(rows.group_by)
    yield from _grouped(head, raw, column, delimiter, rows)


def _grouped(head: bytes, raw: Iterator[Piece], column: int, delimiter: str, rows: Rows) -> Iterator[Piece]:
    group: list[bytes] = []
    offset, value, size = 0, "", 0
    for row in raw:
        if row.reason:
            yield row
            continue
        fields = _fields(row.body, rows.encoding, delimiter) if column >= 0 else []
        its = fields[column] if 0 <= column < len(fields) else ""
        if group and (column < 0 or its != value or not its or size + len(row.body) > rows.longest):
            yield Piece(offset, head + b"".join(group))
            group, size = [], 0
        if not group:
            offset, value = row.offset, its
        group.append(row.body)
        size += len(row.body)
    if group:
        yield Piece(offset, head + b"".join(group))


def _delimiter(head: bytes) -> str:
    return max(",;\t|", key=lambda sign: head.count(sign.encode()))


def _fields(row: bytes, encoding: str, delimiter: str) -> list[str]:
    try:
        text = row.decode("gb18030" if encoding == "gbk" else "utf-8")
    except UnicodeDecodeError:
        text = row.decode("gb18030" if encoding == "auto" else "utf-8", errors="replace")
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return []


class _Header:
    """The header line, once it was read: each payload begins with it."""

    offset, body = 0, b""

    def problem(self, at: int, line: Measured) -> Piece:
        """A line that is too long, which was measured after the header."""
        told = f"{line.text}, header {self.offset}+{len(self.body)}" if self.body else line.text
        return Piece(at, line.first, f"PAYLOAD_TOO_LARGE: 单行超长 / line too long: {told}")


def _physical_lines(read: Read, longest: int, above: _Header) -> Iterator[Piece]:
    first, end = _line_end(read)
    chunks = chain([first], iter(lambda: read(CHUNK), b""))
    at, rest = 0, b""
    for chunk in chunks:
        parts = (rest + chunk).split(end)
        rest = parts.pop()
        for part in parts:
            yield _line(at, part + end, longest, above)
            at += len(part) + 1
        if len(rest) > longest:
            line = measured(rest, above.body)
            while (more := next(chunks, b"")) and end not in more:
                line.add(more)
            cut = more.find(end) + 1
            line.add(more[:cut])
            yield above.problem(at, line)
            at, rest = at + line.length, more[cut:]
    if rest:
        yield _line(at, rest, longest, above)


def _line_end(read: Read) -> tuple[bytes, bytes]:
    """The first bytes, and what lines end with."""
    first = b""
    while b"\n" not in first and len(first) < CHUNK and (chunk := read(CHUNK)):
        first += chunk
    return first, b"\r" if b"\r" in first and b"\n" not in first else b"\n"


def _line(at: int, body: bytes, longest: int, above: _Header) -> Piece:
    return above.problem(at, measured(body, above.body)) if len(body) > longest else Piece(at, body)


def _raw_rows(physical: Iterator[Piece], sign: bytes, rows: Rows) -> Iterator[Piece]:
    """Rows of one or more lines; `waiting` holds lines only while a quote is open."""
    again: deque[Piece] = deque()
    waiting: list[Piece] = []
    size = 0
    while True:
        line = again.popleft() if again else next(physical, None)
        hopeless = line is None or line.reason or len(waiting) >= rows.most_lines or size > rows.longest
        if waiting and hopeless:
            first, *rest = waiting
            yield Piece(first.offset, first.body, "引号没有闭合 / a quote is not closed")
            again.extendleft(reversed(rest if line is None else [*rest, line]))
            waiting = []
        elif line is None:
            return
        elif line.reason:
            yield line
        else:
            open_quote = _ends_quoted(line.body, sign, bool(waiting))
            waiting.append(line)
            size = len(line.body) + (size if len(waiting) > 1 else 0)
            if not open_quote:
                body = b"".join(one.body for one in waiting)
                if body.strip():
                    yield Piece(waiting[0].offset, body)
                waiting = []


def _ends_quoted(line: bytes, sign: bytes, inside: bool) -> bool:
    if b'"' not in line:
        return inside
    at = 0
    if not inside:
        line = line.removeprefix(_BOM)
        inside, at = line.startswith(b'"'), 1
    while True:
        if not inside:
            at = line.find(sign + b'"', at - 1) + 2
            if at == 1:
                return False
            inside = True
        at = line.find(b'"', at) + 1
        if at == 0:
            return True
        if line[at : at + 1] == b'"':
            at += 1
        else:
            inside, at = False, at + 1
