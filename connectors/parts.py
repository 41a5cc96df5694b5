"""Sinks whose deliveries are whole files: staged by workers, promoted by the coordinator, counted again by `verify`.

A part is written to `<path>/.staging/`, under a name that no other attempt has, and synced (file and folder)
before its receipt is given. `promote` names it `<path>/<destination>--<batch>--<item><suffix>`. Both lie in one folder
tree and hence on one file system, so it has its final name wholly or not at all, and never in place of another file.

In these names a `-` at a part's end or beside another, `/`, `%`, a leading dot and control characters are
percent-encoded, so that a name can be taken apart again; an item too long for a file name is replaced by its hash.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field

from connectors.contracts import ConnectorError, Misconfigured, StagedPart, Tally, Unavailable
from connectors.settings import ConnectorSettings

_HOLD = 1 << 18
_UNSAFE = re.compile(r"[%/\x00-\x1f\x7f]|^\.|-(?=-)|^-|-$")
_OWNED = re.compile(r"([0-9a-z-]{0,40})@")
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENFILE, errno.EMFILE, errno.ESTALE}


class PartSettings(ConnectorSettings):
    """Where the files go."""

    path: Path
    """Folder of the finished files; it is created."""
    owner: str = Field(default="", pattern=r"^[0-9a-z-]{0,40}$")
    """Who stages here: the staged files of an owner begin with its name, and nobody sweeps another's."""


@dataclass(frozen=True, slots=True)
class PartNames:
    """What one part is called, before and after."""

    destination: str
    temporary: str
    final: str


def place_of(final: str, sink: object) -> Path | None:
    """Where a part lies on this machine; None: its sink keeps it on another one.

    Args:
        final: its final name, as it was noted; older ones may be relative to the folder where their run was called.
        sink: the sink of parts that wrote it, with an absolute path; None where it is not known any more.
    """
    path = Path(final)
    if isinstance(sink, PartFolder):
        return path if path.is_absolute() else Path(str(sink.settings.path)) / path.name
    return path if sink is None else None


def safe(text: str) -> str:
    """Text as a part of a file name, reversible."""
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)


def disk_error(error: OSError, place: str) -> ConnectorError:
    """What an error of the file system means: no room and the like may heal, rights and paths need a person."""
    what = f"{place}: {error.strerror}"
    if error.errno in _NO_ROOM:
        message = f"暂时无法写入 / cannot be written now: {what}"
        return Unavailable(message, "请腾出磁盘空间后重试 / free some disk space; it is tried again")
    message = f"无法写入 / cannot be written: {what}"
    return Misconfigured(message, "请检查路径与权限 / check the path and its rights")


class StagedFile:
    """A staged file being written: hashes as it goes, syncs at the end. Subclasses say what a record looks like.

    Small parts are held in memory until `close`, so that an empty or aborted one never touches the disk.
    """

    def __init__(self, names: PartNames) -> None:
        self._names = names
        self._handle = -1
        self._held: list[bytes] = []
        self._size = 0
        self._hash = sha256()
        self.count = 0

    def put(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            Unavailable: no room; the staged file is gone then.
            Misconfigured: not allowed to write here.
        """
        self._held.append(data)
        self._size += len(data)
        if self._size >= _HOLD:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(b"".join(self._held))
        self._held, self._size = [], 0
        self._hash.update(data)
        try:
            if self._handle < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._handle = _opened(self._names.temporary, flags)
            while data:
                data = data[os.write(self._handle, data) :]
        except OSError as error:
            self.abort()
            raise disk_error(error, self._names.temporary) from error

    def close(self) -> StagedPart:
        """Finish, sync and hash the staged file.

        Raises:
            Unavailable: no room; the staged file is gone then.
        """
        self._flush()
        temporary = self._names.temporary
        try:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = -1
            sync_folder(str(Path(temporary).parent))
        except OSError as error:
            self.abort()
            raise disk_error(error, temporary) from error
        names = self._names
        return StagedPart(names.destination, temporary, names.final, self._hash.hexdigest(), self.count)

    def abort(self) -> None:
        """Remove the staged file; one that cannot be removed now is left to `sweep`. Idempotent."""
        self._held, self._size = [], 0
        with suppress(OSError):
            if self._handle >= 0:
                os.close(self._handle)
        self._handle = -1
        with suppress(OSError):
            Path(self._names.temporary).unlink()


def _opened(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o640)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o640)


def _named(part: StagedPart) -> None:
    """Give a staged file its final name, unless something has it: raises FileExistsError then."""
    try:
        os.link(part.temporary, part.final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(part.final):
            raise FileExistsError(part.final) from error
        Path(part.temporary).rename(part.final)
        return
    Path(part.temporary).unlink()


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class PartFolder:
    """The half of a part sink that file kinds share: names, promotion, sweeping, counting again.

    Subclasses give `suffix`, `open` and `count`.
    """

    suffix = ""

    def __init__(self, settings: PartSettings) -> None:
        self.settings = settings
        self._path = str(settings.path.absolute())  # names are kept, and read from other folders than this one
        self._staging = f"{self._path}/.staging"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    @staticmethod
    def count(data: memoryview) -> int:
        """Records in a finished file; of a damaged one as many as can be seen."""
        raise NotImplementedError

    def names(self, destination: str, batch: str, item: str) -> PartNames:
        """What a part is called.

        Raises:
            Misconfigured: destination and batch are too long for a file name.
        """
        head, tail = f"{safe(destination)}--{safe(batch)}--", safe(item)
        if len(os.fsencode(head + tail)) > 200:
            tail = sha256(item.encode()).hexdigest()[:32]
        if not destination or not batch or len(os.fsencode(head)) > 160:
            message = f"名称过长或为空 / name is empty or too long for a file: {head[:60]}"
            raise Misconfigured(message, "请缩短去向名称 / shorten the destination's name")
        staged = f"{self._staging}/{self.settings.owner}@{head}{tail}.{os.getpid()}-{secrets.token_hex(6)}.part"
        return PartNames(destination, staged, f"{self._path}/{head}{tail}{self.suffix}")

    def promote(self, parts: Sequence[StagedPart]) -> None:
        """Give the staged parts their final names and sync their folder; one that has its final name already is left.

        A file that stands under a final name with other content is never replaced.

        Raises:
            Misconfigured: a part has neither name, or another content under the final one.
            Unavailable: the file system refuses for now.
        """
        for part in parts:
            try:
                _named(part)
            except (FileExistsError, FileNotFoundError):
                self._already(part)
                Path(part.temporary).unlink(missing_ok=True)
            except OSError as error:
                raise disk_error(error, part.final) from error
        for folder in sorted({str(Path(part.final).parent) for part in parts}):  # settings may name another by now
            try:
                sync_folder(folder)
            except OSError as error:
                raise disk_error(error, folder) from error

    def _already(self, part: StagedPart) -> None:
        try:
            _, digest = self.counted(Path(part.final))
        except OSError:
            message = f"分片文件已丢失 / a part is lost: {part.final} ({part.temporary})"
            raise Misconfigured(message, "请从备份恢复该文件 / restore the file from a backup") from None
        if digest != part.sha256:
            message = f"同名文件已存在且内容不同，不会覆盖 / a file of this name holds something else: {part.final}"
            remedy = (
                "请移走该文件后重新运行；每个状态目录应有自己的输出目录"
                " / move that file away and run again; give each state folder an output folder of its own"
            )
            raise Misconfigured(message, remedy)

    def sweep(self, keep: Sequence[str]) -> int:
        """Remove this owner's staged files that are not in `keep`; how many went. Only when no worker is writing."""
        kept = {Path(one).name for one in keep}
        gone = 0
        with suppress(FileNotFoundError):
            for one in os.scandir(self._staging):
                owner = _OWNED.match(one.name)
                mine = (owner[1] if owner else "") == self.settings.owner
                if mine and one.name not in kept and one.is_file(follow_symlinks=False):
                    Path(one.path).unlink(missing_ok=True)
                    gone += 1
        return gone

    def verify(self, batch: str) -> Tally:
        """Records, and the sum of the hashes' first 8 bytes, of the batch's files as they are on disk now."""
        return self.verify_many([batch])[batch]

    def verify_many(self, batches: Sequence[str]) -> dict[str, Tally]:
        """The same for each of some batches; the folder is listed once."""
        found: dict[str, tuple[int, int]] = dict.fromkeys(batches, (0, 0))
        for batch, path in self._finals(batches):
            try:
                records, hashed = self.counted(Path(path))
            except OSError:
                continue  # gone or unreadable: it counts as missing
            count, digest = found[batch]
            found[batch] = count + records, digest + int(hashed[:16], 16)
        return {batch: Tally(count, digest % 2**64) for batch, (count, digest) in found.items()}

    def _finals(self, batches: Sequence[str]) -> Iterator[tuple[str, str]]:
        middles = {safe(batch): batch for batch in batches}
        with suppress(FileNotFoundError):
            for name in sorted(one.name for one in os.scandir(self._path)):
                parts = name.split("--", 2)
                if len(parts) == 3 and parts[1] in middles and name.endswith(self.suffix):
                    yield middles[parts[1]], f"{self._path}/{name}"

    def counted(self, path: Path) -> tuple[int, str]:
        """Records and SHA-256 of a finished file. Raises OSError."""
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return 0, sha256().hexdigest()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
                return self.count(view), sha256(view).hexdigest()

    def check(self) -> list[str]:
        """Whether files can be written, how many are there and how many are only staged.

        Raises:
            Misconfigured: the folder cannot be written.
            Unavailable: no room.
        """
        probe = Path(f"{self._staging}/.probe-{secrets.token_hex(6)}")
        try:
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\n")
            probe.unlink()
            finished = sum(one.name.endswith(self.suffix) for one in os.scandir(self._path))
            staged = sum(1 for _ in os.scandir(self._staging))
        except OSError as error:
            raise disk_error(error, self._path) from error
        return [f"{self._path}: {finished} 个文件, {staged} 个暂存 / {finished} files, {staged} staged"]
