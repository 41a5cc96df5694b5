"""Folders that partners drop files into: which files wait, when one is complete, and what becomes of it afterwards.

Shared by the file and Avro sources. A path *inside the source* is the path below the folder, with `/`; a name that is
not UTF-8 (GBK names are common) is written `//` + percent-encoding, which no other relative path can look like.

A file's **mark** is `size:mtime_ns:digest`. Planning compares size and time with the mark kept by the gateway, which
costs one `stat`; only a file that is new or whose time changed is read for its digest (BLAKE2b, 256 bits). So a file
that was merely touched is not planned again, and one that changed is. The mark is that of the moment of planning: what
is appended later is planned next time.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b, file_digest
from io import FileIO
from pathlib import Path
from typing import Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field

from connectors.contracts import Misconfigured
from connectors.storages import UNFINISHED, Changed, Found, WhichFiles

DONE, READ = ".done", ".read"


class FolderSettings(WhichFiles):
    """Where the files are and how they are handled."""

    path: Path
    """A folder (watched with everything below it) or a single file (read in place, never moved or marked)."""
    complete: Literal["rename", "marker", "stable"] = "rename"
    """rename: unfinished files bear another name; marker: `x.done` lies beside x; stable: unchanged for a while."""
    stable_seconds: float = Field(default=5.0, ge=0)
    """For `complete = "stable"`: seconds since the file's content, name or rights last changed."""
    finished: Literal["keep", "mark", "archive"] = "keep"
    """What happens to a file that was read: nothing, an `x.read` beside it, or a move to the archive folder."""
    archive: Path | None = None
    """Archive folder, on the same file system; default `.archive` inside the watched folder."""


def to_name(relative: str) -> str:
    """Path inside the source as text that any JSON can hold."""
    try:
        relative.encode()
    except UnicodeEncodeError:
        return "//" + quote_from_bytes(os.fsencode(relative))
    return relative


def from_name(name: str) -> str:
    """The path below the folder that `to_name` made a name of."""
    return os.fsdecode(unquote_to_bytes(name[2:])) if name.startswith("//") else name


def _why(error: OSError) -> str:
    known = {
        "FileNotFoundError": "文件不存在或链接已断 / no such file, or a broken link",
        "PermissionError": "没有读取权限 / no permission to read it",
    }
    return known.get(type(error).__name__, f"无法读取 / cannot be read: {error.strerror}")


class Folder:
    """The files of one folder setting; holds nothing but the settings and the states that it planned.

    Raises:
        Misconfigured: (when built) the archive is the watched folder itself.
    """

    def __init__(self, settings: FolderSettings) -> None:
        self.settings = settings
        self.root = settings.path
        if settings.archive is not None and settings.archive.resolve() == self.root.resolve():
            message = f"archive 不能是被监视的目录本身 / archive cannot be the watched folder itself: {self.root}"
            raise Misconfigured(message, "请为 archive 另设目录 / give archive a folder of its own")
        self._planned: dict[str, str] = {}

    @property
    def single(self) -> bool:
        """Whether the setting names one file."""
        return not self.root.is_dir()

    def place(self, name: str) -> Path:
        """Where the file of a name lies.

        Raises:
            Misconfigured: the name leads out of the folder.
        """
        relative = from_name(name)
        if self.single:
            return self.root
        if relative.startswith("/") or ".." in relative.split("/"):
            message = f"路径超出目录 / path leads out of the folder: {name}"
            raise Misconfigured(message, "请检查工作项 / check the work item")
        return self.root / relative

    def plan(self, done: Mapping[str, str]) -> Iterator[Found]:
        """Files that wait, with their digest; those that `done` knows are left out.

        The order is stable: a folder's files by name, then its folders by name. Links to folders are not followed.
        """
        for found in self.scan():
            before = done.get(found.name, "")
            if found.problem:
                planned = found
            elif before.startswith(f"{found.size}:{found.mtime}:"):
                continue
            else:
                planned = self._hashed(found)
                if before and not planned.problem and before.rpartition(":")[2] == planned.digest:
                    continue
            if before != planned.mark:
                self._planned[planned.name] = planned.mark
                yield planned

    def mark(self, name: str) -> str:
        """The state that was planned by this object, else the file's present one; empty if it is gone."""
        if name in self._planned:
            return self._planned[name]
        place = self.place(name)
        if not os.path.lexists(place):
            return ""
        found = self._look(name, str(place))
        return (found if found.problem else self._hashed(found)).mark

    def scan(self) -> Iterator[Found]:
        """Complete files, in order, without their hashes.

        Raises:
            Misconfigured: the path does not exist or cannot be listed.
        """
        if not os.path.lexists(self.root):
            message = f"路径不存在 / no such path: {self.root}"
            raise Misconfigured(message, "请建立目录或改正 path / create it or correct the setting path")
        if self.single:
            yield self._look(to_name(self.root.name), str(self.root))
            return
        for name, place in self._listing():
            found = self._look(name, place)
            if found.problem or self._complete(found, place):
                yield found

    def _listing(self) -> Iterator[tuple[str, str]]:
        top, archive = str(self.root), ""
        if self.settings.archive:  # as the walk would come to it, however the two paths are written
            archive = f"{top}/{os.path.relpath(self.settings.archive.resolve(), self.root.resolve())}"
        for folder, folders, files in os.walk(top, onerror=self._unlisted):
            folders[:] = sorted(one for one in folders if not one.startswith(".") and f"{folder}/{one}" != archive)
            here = set(files)
            for file in sorted(files):
                place = f"{folder}/{file}"
                relative = os.path.relpath(place, top)
                if not self._side_file(file, here) and self.settings.included(relative):
                    yield to_name(relative), place

    def _unlisted(self, error: OSError) -> None:
        message = f"目录无法读取 / folder cannot be listed: {error.filename}: {error.strerror}"
        raise Misconfigured(message, "请给予读取与进入权限 / grant the right to read and enter it")

    @staticmethod
    def _side_file(file: str, here: set[str]) -> bool:
        if file.startswith(".") or file.endswith(UNFINISHED):
            return True
        return file.endswith((DONE, READ)) and file[: -len(DONE)] in here

    def _look(self, name: str, place: str) -> Found:
        sender = ("", "") if self.single else self.settings.sender(from_name(name))
        if sender is None:
            return Found(name, problem=self.settings.misplaced)
        company, system = map(to_name, sender)
        try:
            status = Path(place).stat()
        except OSError as error:
            return Found(name, company=company, system=system, problem=_why(error))
        if not stat.S_ISREG(status.st_mode):
            problem = "不是普通文件 / not a regular file"
            return Found(name, company=company, system=system, problem=problem)
        return Found(name, status.st_size, status.st_mtime_ns, company, system)

    def _complete(self, found: Found, place: str) -> bool:
        settings = self.settings
        if settings.finished == "mark":
            try:
                kept = Path(place + READ).read_text(encoding="ascii", errors="replace")
            except OSError:
                kept = ""
            if kept.startswith(f"{found.size}:{found.mtime}:"):
                return False
        if settings.complete == "marker":
            return Path(place + DONE).exists()
        if settings.complete == "stable":
            # ctime too: a copy that sets an old mtime while it still writes would look stable otherwise.
            changed = Path(place).stat().st_ctime
            return time.time() - max(changed, found.mtime / 1e9) >= settings.stable_seconds
        return True

    def _hashed(self, found: Found) -> Found:
        place = self.place(found.name)
        try:
            with place.open("rb", buffering=0) as file:
                digest = _prefix_digest(file, found.size)
        except OSError as error:
            problem = _why(error)
            return Found(found.name, company=found.company, system=found.system, problem=problem)
        return Found(found.name, found.size, found.mtime, found.company, found.system, digest=digest)

    def open(self, name: str, mark: str) -> FileIO:
        """Open a planned file for reading and make sure that it still begins with what was planned.

        Raises:
            Changed: it is gone, shrank, or its planned part changed.
        """
        size, mtime, digest = (*mark.split(":"), "", "")[:3]
        place, remedy = self.place(name), "请放回原文件后重新运行 / put the original file back and run again"
        try:
            file = place.open("rb", buffering=0)
        except OSError as error:
            raise Changed(f"{name}: {_why(error)}", remedy) from error  # noqa: EM102 - both parts are variable
        status = os.fstat(file.fileno())
        if status.st_size < int(size):
            file.close()
            message = f"{name}: 计划后文件变短 / it shrank after it was planned: {size} -> {status.st_size}"
            raise Changed(message, remedy)
        if status.st_mtime_ns != int(mtime) and _prefix_digest(file, int(size)) != digest:
            file.close()
            message = f"{name}: 计划后内容被改 / its content changed after it was planned"
            raise Changed(message, remedy)
        file.seek(0)
        return file

    def finish(self, names: Iterable[str]) -> None:
        """Mark or archive files that were read to their end; one that changed meanwhile stays. Idempotent.

        `names` may be a mapping of names to the marks that the gateway kept: after a restart they, and not this
        object, know in which state a file was read.
        """
        if self.single or self.settings.finished == "keep":
            return
        kept: Mapping[str, str] = names if isinstance(names, Mapping) else {}
        for name in names:
            place = self.place(name)
            if not place.is_file():
                continue
            mark, status = kept.get(name) or self.mark(name), place.stat()
            if not mark.startswith(f"{status.st_size}:{status.st_mtime_ns}:"):
                continue
            if self.settings.finished == "mark":
                Path(str(place) + READ).write_text(mark, encoding="ascii")
            else:
                self._archive(place, from_name(name), mark)

    def _archive(self, place: Path, relative: str, mark: str) -> None:
        target = (self.settings.archive or self.root / ".archive") / relative
        if target.exists():
            target = target.with_name(f"{target.name}.{mark.rpartition(':')[2][:12]}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            place.replace(target)
            Path(str(place) + DONE).unlink(missing_ok=True)
        except OSError as error:
            message = f"无法归档 / cannot be archived: {target}: {error.strerror}"
            remedy = "归档目录须可写且在同一文件系统 / the archive must be writable and on the same file system"
            raise Misconfigured(message, remedy) from error

    def check(self) -> list[str]:
        """How many files wait and how much they hold, and what cannot be read.

        Raises:
            Misconfigured: the path cannot be used.
        """
        found = list(self.scan())
        good = [one for one in found if not one.problem]
        if self.single and len(good) == 0:
            message = f"{self.root}: {found[0].problem}"
            raise Misconfigured(message, "请改正 path 或权限 / correct path or its rights")
        total = sum(one.size for one in good)
        lines = [f"{self.root}: {len(good)} 个文件, {total} 字节 / {len(good)} files, {total} bytes"]
        return lines + [f"{one.name}: {one.problem}" for one in found if one.problem]


def _prefix_digest(file: FileIO, size: int) -> str:
    """BLAKE2b, 256 bits, of the first `size` bytes: of all of it when nothing was appended.

    Every byte that is taken in goes through it. It is as strong as SHA-256, and quick without help from the processor.
    """
    if os.fstat(file.fileno()).st_size == size:
        whole: str = file_digest(file, _whole).hexdigest()
        return whole
    digest = _whole()
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        digest.update(chunk)
        size -= len(chunk)
    found: str = digest.hexdigest()
    return found


def _whole() -> blake2b:
    return blake2b(digest_size=32)
