"""The frame of an Avro object container file (Avro 1.12, "Object Container Files"), without decoding its records.

Written here rather than taken from a library because parts must come out byte for byte the same in every run (derived
sync marker, fixed member order), because records arrive encoded already, and because reading must be bounded: a
block says itself how long it is and what it expands to.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from connectors.contracts import Unreadable
from connectors.unpacking import Limit

MAGIC = b"Obj\x01"
SYNC = 16
_CUT = "Avro 文件不完整 / the Avro file is cut short"
_REMEDY = "请发送方重新生成文件 / ask the sender to write the file again"


def zigzag(value: int) -> bytes:
    """A long as Avro writes it."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(metadata: Mapping[str, bytes], sync: bytes) -> bytes:
    """The file header: magic, metadata in the given order, sync marker."""
    parts = [MAGIC, zigzag(len(metadata))]
    for key, value in metadata.items():
        name = key.encode()
        parts += [zigzag(len(name)), name, zigzag(len(value)), value]
    return b"".join([*parts, b"\0", sync])


def count_records(data: memoryview) -> int:
    """Records of a file by its block headers; of a damaged file, those of the blocks before the damage."""
    walk = _Cursor(data)
    total = 0
    try:
        sync = _skip_header(walk)
        while walk.at < len(data):
            records, size = walk.long(), walk.long()
            if size < 0 or records < 0:
                break
            walk.skip(size)
            if walk.take(SYNC) != sync:
                break
            total += records
    except EOFError:
        pass
    return total


def _skip_header(walk: _Cursor) -> bytes:
    if walk.take(4) != MAGIC:
        raise EOFError
    while entries := walk.long():
        if entries < 0:
            walk.long()
        for _ in range(2 * abs(entries)):
            walk.skip(walk.long())
    return walk.take(SYNC)


class _Cursor:
    """A place in bytes that are all there."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.skip(count)
        return bytes(self.data[self.at - count : self.at])

    def skip(self, count: int) -> None:
        self.at += count
        if count < 0 or self.at > len(self.data):
            raise EOFError

    def long(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
        raise EOFError


class RawBlock(NamedTuple):
    """A block of a file: records that it claims, their bytes unpacked, and what is wrong with it ("" if nothing).

    After one with `last` the rest of the file cannot be found.
    """

    records: int
    data: bytes
    problem: str = ""
    last: bool = False
    packed: bytes = b""
    """Its bytes as they are stored, where `data` is empty because they cannot be unpacked or trusted."""


class BlockReader:
    """Reads a container file block by block from a stream, with bounds on what a block may hold.

    Raises:
        Unreadable: (when built) no Avro file, or its header is damaged or larger than 16 MB.
    """

    def __init__(self, file: BinaryIO, most: int, limit: Limit) -> None:
        self._file, self._most, self._limit = file, most, limit
        self._stored = self._unpacked = 0
        try:
            if self._take(4) != MAGIC:
                message = "不是 Avro 文件 / not an Avro file"
                raise Unreadable(message, _REMEDY)
            self.metadata = self._metadata()
            self._sync = self._take(SYNC)
        except EOFError as error:
            message = "Avro 文件头不完整 / the Avro header is cut short"
            raise Unreadable(message, _REMEDY) from error
        self._codec = self.metadata.get("avro.codec", b"null").decode("ascii", "replace")

    def _take(self, count: int) -> bytes:
        found = self._upto(count)
        if len(found) != count:
            raise EOFError
        return found

    def _upto(self, count: int) -> bytes:
        """So many bytes; fewer at the end of the file."""
        parts, left = [], count
        while left > 0 and (part := self._file.read(min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _long(self, first: bytes = b"") -> int:
        value = shift = 0
        byte = (first or self._take(1))[0]
        while byte > 0x7F and shift < 63:
            value |= (byte & 0x7F) << shift
            shift += 7
            byte = self._take(1)[0]
        value |= byte << shift
        return (value >> 1) ^ -(value & 1)

    def _metadata(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        left = 16 << 20
        while entries := self._long():
            if entries < 0:
                self._long()
            for _ in range(abs(entries)):
                key = self._bounded(left)
                value = self._bounded(left - len(key))
                left -= len(key) + len(value)
                found[key.decode("utf-8", "replace")] = value
        return found

    def _bounded(self, left: int) -> bytes:
        size = self._long()
        if size > left:
            raise EOFError
        return self._take(size)

    def next(self) -> RawBlock | None:
        """The next block; None at a clean end.

        Raises:
            Unreadable: the file as a whole expands further than allowed.
        """
        first = self._file.read(1)
        if not first:
            return None
        try:
            records, size = self._long(first), self._long()
        except EOFError:
            return RawBlock(0, b"", _CUT, last=True)
        # A record takes a byte at least: a block cannot hold more of them than it may hold bytes.
        if not 0 <= records <= self._most or not 0 <= size <= self._most:
            return RawBlock(0, b"", f"Avro 块长度不可信 / block size cannot be right: {records}, {size}", last=True)
        packed, sync = self._upto(size), self._upto(SYNC)
        if len(sync) < SYNC:
            data, _ = self._unpack(packed)
            return RawBlock(records, data, _CUT, last=True, packed=b"" if data else packed)
        if sync != self._sync:
            return RawBlock(records, b"", "Avro 同步标记不符 / sync marker does not match", last=True, packed=packed)
        data, problem = self._unpack(packed)
        return RawBlock(records, data, problem, packed=packed if problem else b"")

    def _unpack(self, packed: bytes) -> tuple[bytes, str]:
        if self._codec == "null":
            return packed, ""
        try:
            stream = _stream(self._codec)
            data: bytes = stream.decompress(packed, self._most)
            left = getattr(stream, "unconsumed_tail", b"") if self._codec == "deflate" else not stream.eof
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            return b"", f"Avro 块损坏 / block is damaged: {error}"
        if left and len(data) >= self._most:
            return b"", f"Avro 块膨胀超限 / block expands beyond {self._most} bytes"
        self._stored, self._unpacked = self._stored + len(packed), self._unpacked + len(data)
        self._limit.hold(self._stored, self._unpacked)
        return data, ""


def _stream(codec: str) -> Any:  # noqa: ANN401 - three unrelated classes of the standard library
    made = {"bzip2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor}
    if codec == "deflate":
        return zlib.decompressobj(-15)
    if codec not in made:
        message = f"不支持的压缩 / codec is not supported: {codec}"
        raise Unreadable(message, "请用 deflate 或 null / use deflate or null")
    return made[codec]()
