"""Compressed input read as a stream, with bounds: an archive bomb is found before it fills memory or disk.

gzip, bzip2 and xz files (several members one after the other too) and the members of zip files, by the standard
library. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from copy import copy
from typing import IO, Any, BinaryIO, NamedTuple

import orjson

from connectors.contracts import Unreadable

PACKED = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}
HARMLESS = 16 << 20
"""Unpacked bytes below which no ratio is asked: small files of one repeated line are no bombs."""
_XZ_MEMORY = 128 << 20
_STEP = 1 << 16


def packing(name: str) -> str:
    """`gz`, `bz2`, `xz` or `zip` by a file's ending, else nothing."""
    return next((packed for ending, packed in PACKED.items() if name.lower().endswith(ending)), "")


def inner_name(name: str) -> str:
    """The name without the ending of its compression."""
    return name.rpartition(".")[0] if packing(name) in ("gz", "bz2", "xz") else name


class Limit:
    """How far input may expand: unpacked bytes as a multiple of packed ones, and in all."""

    def __init__(self, ratio: float, total: int) -> None:
        self.ratio, self.total = ratio, total

    def hold(self, packed: int, unpacked: int) -> None:
        """Let it pass.

        Raises:
            Unreadable: it expands further than allowed.
        """
        if unpacked > self.total or (unpacked > HARMLESS and unpacked > self.ratio * max(packed, 1)):
            message = f"ARCHIVE_BOMB: 压缩包膨胀超限 / archive expands beyond the limit: {packed} -> {unpacked} bytes"
            remedy = "确认来源可信后调高 max_expansion 或 max_unpacked_bytes / raise the limits if you trust its sender"
            raise Unreadable(message, remedy)


_ANY = Limit(float("inf"), 1 << 62)
"""For what was let through once and is read again no further than was wanted then."""


class Inside(NamedTuple):
    """Where in a file a payload is found that is no plain range of its bytes; as text, one JSON object."""

    packed: str = ""
    """How the file is packed: offsets count unpacked bytes then."""
    member: int = -1
    """Index in a zip file."""
    name: str = ""
    """Name of that member, for people."""
    head: tuple[int, int] | None = None
    """Offset and length of the header of a table, which comes before the payload's own bytes."""

    @property
    def text(self) -> str:
        """As it is kept; empty for a plain range."""
        told = {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}
        return orjson.dumps(told).decode() if told else ""

    @classmethod
    def of(cls, text: str) -> Inside:
        """What `text` gave.

        Raises:
            Unreadable: it is no such text.
        """
        try:
            return cls(**orjson.loads(text)) if text else cls()
        except (ValueError, TypeError) as error:
            message = f"引用无法识别 / a reference that cannot be read: {text[:80]}"
            raise Unreadable(message) from error

    def pieces(self, file: BinaryIO, offset: int, length: int) -> Iterator[bytes]:
        """The payload's bytes, its header first; fewer where the file ends before.

        Raises:
            Unreadable: damaged, or no such member.
        """
        read: Callable[[int], bytes] = file.read
        if self.packed == "zip":
            read = Zip(file).member(file, self.member, _ANY)
        elif self.packed:
            read = Unpacked(file, self.packed, _ANY, 1 << 62).read
        at = 0
        for start, wanted in (*([self.head] if self.head else ()), (offset, length)):
            if not self.packed:
                file.seek(start)
                at = start
            while at < start and (data := read(min(start - at, _STEP))):
                at += len(data)
            end = start + wanted
            while at < end and (data := read(min(end - at, _STEP))):
                at += len(data)
                yield data


class Unpacked:
    """A reader of the unpacked bytes of one gzip, bzip2 or xz stream, or of several in a row."""

    def __init__(self, file: BinaryIO, packed: str, limit: Limit, size: int) -> None:
        self._file, self._packed, self._limit, self._left = file, packed, limit, size
        self._taken = self._given = 0
        self._input = b""
        self._stream: Any = self._fresh()

    def _fresh(self) -> Any:  # noqa: ANN401 - three unrelated classes of the standard library
        if self._packed == "gz":
            return zlib.decompressobj(31)
        return bz2.BZ2Decompressor() if self._packed == "bz2" else lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end.

        Raises:
            Unreadable: damaged, cut short, or expanding beyond the limits.
        """
        try:
            while True:
                data = self._step(count)
                if data is None:
                    return b""
                if data:
                    self._given += len(data)
                    self._limit.hold(self._taken, self._given)
                    return data
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            message = f"压缩数据损坏或不完整 / compressed data is damaged or cut short: {error}"
            raise Unreadable(message, "请重新上传 / send it again") from error

    def _step(self, count: int) -> bytes | None:
        if self._stream.eof:
            rest = self._stream.unused_data.lstrip(b"\0")  # a member may be followed by any number of NULs
            while not rest and (chunk := self._more()):
                rest = chunk.lstrip(b"\0")
            if not rest:
                return None
            self._stream, self._input = self._fresh(), rest
        elif not self._input and (self._packed == "gz" or self._stream.needs_input):
            self._input = self._more()
            if not self._input:
                message = "没有结束标记 / no end-of-stream marker"
                raise EOFError(message)
        data: bytes = self._stream.decompress(self._input, count)
        self._input = self._stream.unconsumed_tail if self._packed == "gz" else b""
        return data

    def _more(self) -> bytes:
        chunk = self._file.read(min(_STEP, self._left)) if self._left else b""
        self._left -= len(chunk)
        self._taken += len(chunk)
        return chunk


class Zip:
    """A zip file, whose directory is read once for all its members.

    Raises:
        Unreadable: (when built) not a zip file.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise _bad_zip(error) from error

    def members(self, most: int) -> list[tuple[int, str]]:
        """Index and name of each file in it.

        Raises:
            Unreadable: more than `most`.
        """
        found = [(index, info.filename) for index, info in enumerate(self._archive.infolist()) if not info.is_dir()]
        if len(found) > most:
            message = f"zip 内文件过多 / too many files in the zip: {len(found)} > {most}"
            raise Unreadable(message, "请分成多个压缩包 / split it into several archives")
        return found

    def member(self, file: BinaryIO, index: int, limit: Limit) -> Callable[[int], bytes]:
        """A reader of one member: at most so many bytes, none at the end; itself raises Unreadable as `_Member.read`.

        Args:
            file: the same zip file, opened for this reader.
            index: which member.
            limit: how far it may expand.

        Raises:
            Unreadable: no such member, damaged, encrypted, or packed in an unknown way.
        """
        archive = copy(self._archive)
        archive.fp = file
        try:
            info = archive.infolist()[index]
            return _Member(archive.open(info), info.compress_size, limit).read
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, IndexError, ValueError) as error:
            raise _bad_zip(error) from error


class _Member:
    def __init__(self, stream: IO[bytes], packed: int, limit: Limit) -> None:
        self._stream, self._packed, self._limit, self._given = stream, packed, limit, 0

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end.

        Raises:
            Unreadable: damaged, cut short, or expanding beyond the limits.
        """
        try:
            data = self._stream.read(count)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
            raise _bad_zip(error) from error
        self._given += len(data)
        self._limit.hold(self._packed, self._given)
        return data


def _bad_zip(error: Exception) -> Unreadable:
    message = f"zip 无法读取 / zip cannot be read: {error}"
    return Unreadable(message, "请重新上传，勿加密 / send it again, without a password")
