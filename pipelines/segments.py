"""Sealed segments of rows: what is staged between workers and coordinator; nothing personal lies in the clear."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from dlq.sealing import Sealer
from pipelines.errors import Incomplete

RECORD, PIECE, REMARKS, ENVELOPE, WITHDRAWAL = 0, 1, 2, 3, 4
"""Kinds of staged rows: a canonical record, a piece of one, what a receipt says of an envelope, an envelope that comes
in (`pack_envelope`), a withdrawal as it came (`StagedWithdrawal`), beside its canonical record."""

_FRAME = struct.Struct(">I")
_ROW = struct.Struct(">IBI")


class StagedRow(NamedTuple):
    """One row of a segment."""

    ordinal: int
    kind: int
    body: bytes


_ENVELOPE = struct.Struct(">QH")


def pack_envelope(place: int, company: str, body: bytes) -> bytes:
    """An envelope of the inbox as the body of a staged row: its number there, from whom, what it holds."""
    name = company.encode()
    return _ENVELOPE.pack(place, len(name)) + name + body


def unpack_envelope(packed: bytes) -> tuple[int, str, bytes]:
    """What `pack_envelope` was given."""
    place, length = _ENVELOPE.unpack_from(packed)
    end = _ENVELOPE.size + length
    return place, packed[_ENVELOPE.size : end].decode(), packed[end:]


class StagedWithdrawal(NamedTuple):
    """A withdrawal as it came, for its letter where the coordinator finds nothing to withdraw."""

    companycode: str
    costlistcode: str
    sender: str
    """Company that it was authenticated for."""
    dialect: str
    body: bytes

    def pack(self) -> bytes:
        """The body of its staged row."""
        head = orjson.dumps(self[:4])
        return len(head).to_bytes(4, "big") + head + self.body

    @classmethod
    def unpack(cls, packed: bytes) -> StagedWithdrawal:
        """What was packed."""
        end = 4 + int.from_bytes(packed[:4], "big")
        company, code, sender, dialect = orjson.loads(packed[4:end])
        return cls(company, code, sender, dialect, packed[end:])


class RowWriter:
    """A sealed segment of rows: one frame a load, so that nothing personal lies in the clear."""

    def __init__(self, path: Path, sealer: Sealer) -> None:
        self.path = path
        self._sealer = sealer
        self._file = path.open("xb")

    def add(self, rows: Sequence[StagedRow]) -> None:
        """Append rows as one frame."""
        if rows:
            plain = b"".join([_ROW.pack(o, k, len(body)) + body for o, k, body in rows])
            sealed = self._sealer.seal(plain, b"rows")
            self._file.write(_FRAME.pack(len(sealed)) + sealed)

    def close(self, *, sync: bool = True) -> str:
        """Close, synced where it must outlast a crash of the machine; the segment's path."""
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())
        self._file.close()
        return str(self.path)


def read_rows(path: str, sealer: Sealer) -> Iterator[StagedRow]:
    """The rows of a segment, in the order they were added.

    Raises:
        Incomplete: the file is shorter than its frames say.
    """
    with Path(path).open("rb") as file:
        yield from rows_in(file, sealer, Path(path).name)


def rows_in(file: BinaryIO, sealer: Sealer, name: str) -> Iterator[StagedRow]:
    """The rows of a segment that is open; `name` stands in the error that `read_rows` raises."""
    while head := file.read(_FRAME.size):
        size = int.from_bytes(head, "big")
        sealed = file.read(size)
        if len(head) != _FRAME.size or len(sealed) != size:
            message = f"行段文件不完整 / segment of rows is cut: {name}"
            raise Incomplete(message)
        plain = sealer.unseal(sealed, b"rows")
        at = 0
        while at < len(plain):
            ordinal, kind, length = _ROW.unpack_from(plain, at)
            at += _ROW.size
            yield StagedRow(ordinal, kind, plain[at : at + length])
            at += length
