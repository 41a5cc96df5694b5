"""Segments: the letters of one work item as a file that a worker stages and the coordinator reads.

Format (integers big endian): magic `VGLETTR1`, then a frame a letter - length of the head (4 bytes), length of the
sealed body (4, 0xFFFFFFFF for none), head (a JSON list of two: what is fixed, what may change), body - then an end
frame of head length 0, the count (8) and the SHA-256 of all before it (32). Nothing in it is plain that is not plain in
the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import IO, NamedTuple

import orjson

from connectors.contracts import Tally
from dlq.errors import SegmentDamaged
from dlq.letter import INLINE_BYTES, BodyRef, Letter, fixed_text, hash_text
from dlq.reasons import pack, unpack
from dlq.sealing import OVERHEAD

MAGIC = b"VGLETTR1"
HEAD_BYTES = 4 * 1024 * 1024
"""Most bytes of a letter without its body: ten thousand reasons fit."""
_FRAME, _COUNT = Struct(">II"), Struct(">Q")
_NONE = 0xFFFF_FFFF
_FLUSH = 1024 * 1024
_REASONS, _REF = Letter._fields.index("reasons"), Letter._fields.index("ref")
_SINCE = _REF + 2


class Segment(NamedTuple):
    """What the receipt of a work item says about its letters."""

    path: str
    sha256: str
    """Of the whole file."""
    tally: Tally


def write_segment(path: Path | str, letters: Iterable[Letter]) -> Segment:
    """Write a segment so that it is there wholly and durably, or not at all; an existing file is replaced."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as out:
            segment = _write(out, str(path), letters)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return segment


def read_segment(path: Path | str) -> Iterator[Letter]:
    """The letters of a segment, one after the other.

    The last check comes with the last letter: take them inside one transaction.

    Raises:
        SegmentDamaged: cut, changed, longer than it should be, or another format.
    """
    name = Path(path).name
    try:
        with Path(path).open("rb", buffering=_FLUSH) as source:
            yield from _letters(source, name)
    except (ValueError, TypeError, IndexError) as error:
        raise _damaged(name, "内容", "content") from error
    except FileNotFoundError as error:
        raise _damaged(name, "不存在", "missing") from error


def _write(out: IO[bytes], path: str, letters: Iterable[Letter]) -> Segment:
    whole = sha256()
    buffer = bytearray(MAGIC)
    count = digest = 0
    for letter in letters:
        fixed = fixed_text(letter)
        last = pack(letter.last_reasons) if letter.last_reasons else ""
        head = b"[%b,%b]" % (fixed, orjson.dumps((*letter[_SINCE:-1], last)))
        body = letter.sealed
        buffer += _FRAME.pack(len(head), _NONE if body is None else len(body))
        buffer += head
        if body is not None:
            buffer += body
        count, digest = count + 1, digest + hash_text(fixed)
        if len(buffer) >= _FLUSH:
            whole.update(buffer)
            out.write(buffer)
            buffer = bytearray()
    buffer += _FRAME.pack(0, 0) + _COUNT.pack(count)
    whole.update(buffer)
    end = whole.digest()
    whole.update(end)
    out.write(buffer + end)
    return Segment(path, whole.hexdigest(), Tally(count, digest & 0xFFFF_FFFF_FFFF_FFFF))


def _letters(source: IO[bytes], name: str) -> Iterator[Letter]:
    whole = sha256()

    def take(size: int) -> bytes:
        data = source.read(size)
        if len(data) != size:
            raise _damaged(name, "截断", "cut")
        whole.update(data)
        return data

    if take(len(MAGIC)) != MAGIC:
        raise _damaged(name, "格式未知", "unknown format")
    count = 0
    while True:
        size, length = _FRAME.unpack(take(_FRAME.size))
        if not size:
            break
        if size > HEAD_BYTES or (length > INLINE_BYTES + OVERHEAD and length != _NONE):
            raise _damaged(name, "长度", "length")
        data = take(size if length == _NONE else size + length)
        yield _letter(data[:size], None if length == _NONE else data[size:])
        count += 1
    if _COUNT.unpack(take(_COUNT.size)) != (count,):
        raise _damaged(name, "数量", "count")
    digest = whole.digest()
    if take(len(digest)) != digest or source.read(1):
        raise _damaged(name, "哈希", "hash")


def _letter(head: bytes, sealed: bytes | None) -> Letter:
    fixed, since = orjson.loads(head)
    fixed[_REASONS] = unpack(fixed[_REASONS])
    ref = BodyRef(*fixed[_REF:]) if len(fixed) > _REF else None
    since[-1] = unpack(since[-1]) if since[-1] else ()
    return Letter._make((*fixed[:_REF], ref, sealed, *since))


def _damaged(name: str, zh: str, en: str) -> SegmentDamaged:
    return SegmentDamaged(f"死信段文件 {name} 损坏（{zh}） / the letter segment {name} is damaged ({en})")
