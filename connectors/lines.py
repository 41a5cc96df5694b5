r"""Lines of a byte range, in bulk: the fastest way that Python has, with a bound on what one line may hold.

A range owns the lines that *begin* in it: its reader skips to the first line start at or after its offset and reads
on past its end to finish its last line. So each line of a file that was cut into ranges at any offsets belongs to
exactly one range. A line ends with `\n`; a `\r` before it stays in the body, for bytes are kept as they arrived.
Lines of white space alone are no envelopes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple

Read = Callable[[int], bytes]
"""Gives at most that many bytes, and none only at the end."""

CHUNK = 1 << 20
KEPT = 1 << 16
"""Bytes that a problem carries of a payload too long to hold; its file, offset and length name the rest."""


class Run(NamedTuple):
    """Consecutive lines: their bytes, their offsets, and a line that is too long as (offset, first bytes, length)."""

    bodies: list[bytes]
    offsets: list[int]
    too_long: list[tuple[int, bytes, int]]


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
                yield Run([], [], [(at, *(rest := _Long(pieces, held)).finish(read))])
                at, chunk, pieces, held = at + rest.length + 1, rest.after, [], 0
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
    too_long: list[tuple[int, bytes, int]] = []
    if not all(bodies) or any(map(bytes.isspace, bodies)) or len(max(bodies, key=len)) > longest:
        pairs = list(zip(bodies, offsets, strict=True))
        too_long = [(offset, body[:KEPT], len(body)) for body, offset in pairs if len(body) > longest]
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


class _Long:
    """A line that is longer than allowed: its first bytes are kept, the rest is counted."""

    def __init__(self, pieces: list[bytes], held: int) -> None:
        self._first = bytearray()
        self.length, self.after = held, b""
        for piece in pieces:
            self._keep(piece)

    def _keep(self, piece: bytes) -> None:
        self._first += piece[: KEPT - len(self._first)]

    def finish(self, read: Read) -> tuple[bytes, int]:
        """Read to the line's end; gives the first bytes and the whole length."""
        while chunk := read(CHUNK):
            found = chunk.find(b"\n")
            self._keep(chunk if found < 0 else chunk[:found])
            self.length += len(chunk) if found < 0 else found
            if found >= 0:
                self.after = chunk[found + 1 :] or read(CHUNK)
                break
        return bytes(self._first), self.length
