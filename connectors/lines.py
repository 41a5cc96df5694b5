r"""Lines of a byte range, in bulk: the fastest way that Python has, with a bound on what one line may hold.

A range owns the lines that *begin* in it: its reader skips to the first line start at or after its offset and reads
on past its end to finish its last line. So each line of a file that was cut into ranges at any offsets belongs to
exactly one range. A line ends with `\n`; a `\r` before it stays in the body, for bytes are kept as they arrived.
Lines of white space alone are no envelopes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

Read = Callable[[int], bytes]
"""Gives at most that many bytes, and none only at the end."""

CHUNK = 1 << 20
KEPT = 1 << 16
"""Bytes that a problem carries of a payload too long to hold; its file, offset and length name the rest."""


class Measured:
    """A payload that is too long to hold: its first bytes are kept, the rest is counted and hashed as it passes."""

    def __init__(self, before: bytes = b"") -> None:
        self._whole, self._first, self.length = sha256(before), bytearray(), 0

    def add(self, data: bytes) -> None:
        """Let bytes pass."""
        self._first += data[: KEPT - len(self._first)]
        self._whole.update(data)
        self.length += len(data)

    @property
    def first(self) -> bytes:
        """Its first bytes."""
        return bytes(self._first)

    @property
    def text(self) -> str:
        """How long it is, and its SHA-256, for the text of a problem (`measure` reads it)."""
        return f"{self.length} bytes{_SHA}{self._whole.hexdigest()}"

    def copy(self) -> Measured:
        """The same as far as it went."""
        other = Measured()
        other._whole, other._first, other.length = self._whole.copy(), bytearray(self._first), self.length
        return other


class Measure(NamedTuple):
    """What a problem's text tells of a payload that was too long to hold."""

    length: int
    sha256: str
    """Of the whole payload, with the header of a table before it."""
    head: tuple[int, int] | None
    """Offset and length of that header."""


_SHA = ", SHA-256 "
_TOLD = re.compile(r"([0-9a-f]{64})(?:, header (\d+)\+(\d+))?")
_LENGTH = re.compile(r"(\d+) bytes$")


def measure(text: str) -> tuple[str, Measure | None]:
    """A problem's text for people, and what `Measured.text` at its end says; None where it ends otherwise."""
    words, _, told = text.rpartition(_SHA)
    length, found = _LENGTH.search(words), _TOLD.fullmatch(told)
    if length is None or found is None:
        return text, None
    return words, Measure(int(length[1]), found[1], (int(found[2]), int(found[3])) if found[2] else None)


class Run(NamedTuple):
    """Consecutive lines: their bytes, their offsets, and lines that are too long, each with its offset."""

    bodies: list[bytes]
    offsets: list[int]
    too_long: list[tuple[int, Measured]]


def lines(read: Read, start: int, end: int, longest: int, *, midway: bool = False) -> Iterator[Run]:
    """Runs of lines of about a megabyte, from a reader that stands at `start`.

    Args:
        read: the reader.
        start: offset where the reader stands.
        end: lines that begin at or after this offset are not given; -1 for no end.
        longest: bytes that a line may have; a longer one is never held in memory.
        midway: `start` may be inside a line: go to the first line start after it. To take the line that begins
            exactly at a range's offset, stand one byte before it.
    """
    skipped = _Skipper(read, start) if midway else None
    at, chunk = skipped.to_line_start(end) if skipped else (start, read(CHUNK))
    pieces: list[bytes] = []
    held = 0
    while chunk and (end < 0 or at < end):
        parts = chunk.split(b"\n")
        if len(parts) == 1:
            pieces.append(chunk)
            held += len(chunk)
            if held > longest:
                whole, after = _long(pieces, read)
                yield Run([], [], [(at, whole)])
                at, chunk, pieces, held = at + whole.length + 1, after, [], 0
                if chunk:
                    continue
            chunk = read(CHUNK)
            continue
        if pieces:
            parts[0] = b"".join([*pieces, parts[0]])
        tail = parts.pop()
        *offsets, following = accumulate([len(one) + 1 for one in parts], initial=at)
        yield _run(parts, offsets, end, longest)
        at, pieces, held = following, [tail] if tail else [], len(tail)
        chunk = read(CHUNK)
    if held and (end < 0 or at < end):
        yield _run([b"".join(pieces)], [at], end, longest)


def _run(bodies: list[bytes], offsets: list[int], end: int, longest: int) -> Run:
    if 0 <= end <= offsets[-1]:
        bodies = [body for body, offset in zip(bodies, offsets, strict=True) if offset < end]
        offsets = offsets[: len(bodies)]
    too_long: list[tuple[int, Measured]] = []
    if not all(bodies) or any(map(bytes.isspace, bodies)) or len(max(bodies, key=len)) > longest:
        pairs = list(zip(bodies, offsets, strict=True))
        too_long = [(offset, measured(body)) for body, offset in pairs if len(body) > longest]
        pairs = [pair for pair in pairs if len(pair[0]) <= longest and pair[0] and not pair[0].isspace()]
        bodies, offsets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Run(bodies, offsets, too_long)


class _Skipper:
    """Goes from the middle of a line to the next line start."""

    def __init__(self, read: Read, at: int) -> None:
        self.read, self.at = read, at

    def to_line_start(self, end: int) -> tuple[int, bytes]:
        """Offset of the line start, and the bytes already read from there on."""
        while chunk := self.read(CHUNK):
            found = chunk.find(b"\n")
            if found >= 0:
                rest = chunk[found + 1 :]
                return self.at + found + 1, rest or self.read(CHUNK)
            self.at += len(chunk)
            if 0 <= end <= self.at:
                break
        return self.at, b""


def measured(body: bytes, before: bytes = b"") -> Measured:
    """A payload that is there, measured."""
    whole = Measured(before)
    whole.add(body)
    return whole


def _long(pieces: list[bytes], read: Read) -> tuple[Measured, bytes]:
    """A line that is longer than allowed, read to its end, and the bytes already read from there on."""
    whole, after = Measured(), b""
    for piece in pieces:
        whole.add(piece)
    while chunk := read(CHUNK):
        found = chunk.find(b"\n")
        whole.add(chunk if found < 0 else chunk[:found])
        if found >= 0:
            after = chunk[found + 1 :] or read(CHUNK)
            break
    return whole, after
