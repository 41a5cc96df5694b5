"""Compressed input read as a stream, with bounds: an archive bomb is found before it fills memory or disk.

gzip, bzip2 and xz files (several members one after the other too) and the members of zip files, by the standard
library. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from typing import Any, BinaryIO

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
            rest = self._stream.unused_data or self._more()
            if not rest.strip(b"\0"):
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


class Member:
    """A reader of one member of a zip file."""

    def __init__(self, file: BinaryIO, index: int, limit: Limit) -> None:
        self._limit, self._given = limit, 0
        try:
            archive = zipfile.ZipFile(file)
            self._info = archive.infolist()[index]
            self._stream = archive.open(self._info)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, IndexError, ValueError) as error:
            raise _bad_zip(error) from error

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
        self._limit.hold(self._info.compress_size, self._given)
        return data


def members(file: BinaryIO, most: int) -> list[tuple[int, str]]:
    """Index and name of each file in a zip file.

    Raises:
        Unreadable: not a zip file, or more than `most` members.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = [(index, info.filename) for index, info in enumerate(archive.infolist()) if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _bad_zip(error) from error
    if len(found) > most:
        message = f"zip 内文件过多 / too many files in the zip: {len(found)} > {most}"
        raise Unreadable(message, "请分成多个压缩包 / split it into several archives")
    return found


def _bad_zip(error: Exception) -> Unreadable:
    message = f"zip 无法读取 / zip cannot be read: {error}"
    return Unreadable(message, "请重新上传，勿加密 / send it again, without a password")
