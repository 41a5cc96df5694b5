"""A folder on an SFTP server as a source: finished files are mirrored into a local spool, and read from there.

    source = SftpSource(SftpSource.Settings(url="sftp://gateway@host/out", fingerprint="SHA256:...", key="file:id",
                                            path="/var/lib/vingate/spool", finished="archive"))

What a file of the server is, when it is complete and what becomes of it afterwards goes as for local folders
(`connectors.folders`): its mark is `size:mtime_ns:digest` (the protocol gives times in whole seconds), marking and
archiving are done on the server, and only to a file that has not changed since. Reading is that of `FilesSource`, so
any number of processes of this host read one file; where the spool lacks it, it is fetched again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from connectors.contracts import Block, Unreadable, WorkItem
from connectors.files import FilesSource
from connectors.folders import DONE, READ, from_name, to_name
from connectors.sftpline import SftpSettings, session
from connectors.sftpremote import Entry, Remote
from connectors.sftpspool import Spool, state
from connectors.storages import UNFINISHED

_DEEPEST = 16
_BACK = "请放回原文件后重新运行 / put the original file back and run again"
_INNER = ("include", "layout", "format", "item_bytes", "max_payload_bytes", "max_expansion", "max_unpacked_bytes",
          "max_members", "group_by", "encoding", "delimiter")  # fmt: skip


class SftpSourceSettings(SftpSettings, FilesSource.Settings):
    """Settings of an SFTP source: the server's, and those of a file source about what lies there."""

    path: Path
    """Local folder of the spool; it is created, and belongs to this source alone."""
    complete: Literal["rename", "marker", "stable"] = "rename"
    """rename: unfinished files bear another name; marker: `x.done` lies beside x; stable: unchanged in two looks."""
    stable_seconds: float = Field(default=5.0, ge=0)
    """For `complete = "stable"`: how far apart the two looks are at least, by our clock."""
    finished: Literal["keep", "mark", "archive"] = "keep"
    """What happens on the server to a file that was read: nothing, an `x.read` beside it, or a move to the archive."""
    archive: Path | None = None
    """Folder on the server; default `.archive` inside the watched one."""
    spool_bytes: int = Field(default=8 << 30, ge=1)
    """Most that lies in the spool; what is beyond is fetched by a later plan. One file is fetched whatever its size."""

    @model_validator(mode="after")
    def _archive_elsewhere(self) -> SftpSourceSettings:
        if self.archive is not None and str(self.archive) in (self.root, "."):
            message = "archive 不能是被监视的目录本身 / archive cannot be the watched folder itself"
            raise ValueError(message)
        return self


class SftpSource:
    """Files on an SFTP server; see the module."""

    Settings = SftpSourceSettings

    def __init__(self, settings: SftpSourceSettings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._clock = clock
        self._spool = Spool(settings.path)
        given = {name: getattr(settings, name) for name in _INNER}
        self._files = FilesSource(FilesSource.Settings(path=settings.path, **given))
        self._problems: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Items of the files that wait, fetched into the spool first.

        Raises:
            Unavailable: the server cannot be reached, or the spool has no room.
            Misconfigured: host key, credentials, path or rights.
        """
        self._spool.make()
        with session(self.settings) as remote:
            found = list(self._waiting(remote, done))
            self._spool.fetch_all(remote, [one for one in found if isinstance(one, Entry)], self.settings.spool_bytes)
        for one in found:
            if not isinstance(one, Entry) and done.get(one[0]) != _problem_mark(one[1]):
                self._problems[one[0]] = _problem_mark(one[1])
                yield _problem_item(*one)
        yield from self._files.plan(done)

    # -- what lies there -----------------------------------------------------------------------------------------------

    def _waiting(self, remote: Remote, done: Mapping[str, str]) -> Iterator[Entry | tuple[str, str]]:
        """Complete files that `done` does not know as they are; or (name, why) for what cannot be read."""
        before, seen = self._spool.seen(), dict[str, list[float]]()
        for folder, entry, here in self._files_of(remote):
            relative = folder + entry.name
            name = to_name(relative)
            target = remote.look(remote.path(relative)) if entry.is_link else entry
            if target is None:
                yield name, "文件不存在或链接已断 / no such file, or a broken link"
            elif target.is_folder:
                continue
            elif not target.is_file:
                yield name, "不是普通文件 / not a regular file"
            elif not done.get(name, "").startswith(state(target)) and self._complete(
                remote, target._replace(name=relative), here, before, seen
            ):
                yield target._replace(name=relative)
        if self.settings.complete == "stable":
            self._spool.keep_seen(seen)

    def _files_of(self, remote: Remote) -> Iterator[tuple[str, Entry, set[str]]]:
        """(folder below the root, entry, the folder's names) of all that is neither hidden nor beside a file."""
        archive = str(self.settings.archive or "")
        folders = [("", 0)]
        while folders:
            folder, depth = folders.pop(0)
            entries = remote.listing(remote.path(folder.rstrip("/")) if folder else remote.root)
            here = {one.name for one in entries}
            inner = []
            for entry in entries:
                below = remote.path(folder + entry.name)
                if entry.name.startswith("."):
                    continue
                if entry.is_folder:
                    if below != archive and depth < _DEEPEST:
                        inner.append((f"{folder}{entry.name}/", depth + 1))
                elif not _beside(entry.name, here) and self.settings.included(folder + entry.name):
                    yield folder, entry, here
            folders = inner + folders

    def _complete(
        self,
        remote: Remote,
        found: Entry,
        here: set[str],
        before: Mapping[str, list[float]],
        seen: dict[str, list[float]],
    ) -> bool:
        settings, file = self.settings, found.name.rpartition("/")[2]
        if settings.finished == "mark" and file + READ in here:
            kept = remote.read_small(remote.path(found.name + READ), 200).decode("ascii", "replace")
            if kept.startswith(state(found)):
                return False
        if settings.complete == "marker":
            return file + DONE in here
        if settings.complete == "stable":
            # By two looks of our own: the server's clock may be any.
            name, now = to_name(found.name), self._clock()
            size, mtime, first = before.get(name, [-1, -1, now])
            first = first if (size, mtime) == (found.size, found.mtime) else now
            seen[name] = [found.size, found.mtime, first]
            return now - first >= settings.stable_seconds
        return True

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's envelopes, from the spool; a file that is missing there is fetched again.

        Raises:
            Unreadable: it is gone, or is not what was planned any more.
            Unavailable: it had to be fetched, and the server cannot be reached.
        """
        mark = str(item.extra["mark"])
        if not item.extra.get("problem") and not self._spool.place(from_name(item.source)).exists():
            self._again(item.source, mark)
        return self._files.read(item, block)

    def _again(self, name: str, mark: str) -> None:
        self._spool.make()
        with session(self.settings) as remote:
            found = remote.look(remote.path(from_name(name)))
            found = found._replace(name=from_name(name)) if found else None
            if found is None or not mark.startswith(state(found)) or not self._spool.fetch(remote, found):
                message = f"{name}: 服务器上的文件已变或已不在 / the file on the server is gone or changed"
                raise Unreadable(message, _BACK)

    def mark(self, path: str) -> str:
        """`size:mtime_ns:digest` of the file as it was planned or lies in the spool; empty if it is not there."""
        return self._problems.get(path) or self._files.mark(path)

    def finish(self, paths: Iterable[str]) -> None:
        """Mark or archive the files on the server, as `finished` says, and clear them from the spool. Idempotent.

        A file that changed since it was read stays. A mapping of paths to kept marks is taken too.

        Raises:
            Unavailable: the server cannot be reached.
        """
        kept: Mapping[str, str] = paths if isinstance(paths, Mapping) else {}
        marks = {name: kept.get(name) or self.mark(name) for name in paths if name not in self._problems}
        if self.settings.finished != "keep" and marks:
            with session(self.settings) as remote:
                for name, mark in marks.items():
                    self._finish(remote, from_name(name), mark)
        for name, mark in marks.items():
            self._spool.drop(from_name(name), mark)

    def _finish(self, remote: Remote, relative: str, mark: str) -> None:
        place = remote.path(relative)
        found = remote.look(place)
        if found is None or not mark.startswith(state(found)):
            return
        if self.settings.finished == "mark":
            remote.write_small(place + READ, mark.encode())
            return
        archive = str(self.settings.archive) if self.settings.archive else remote.path(".archive")
        target = f"{archive}/{relative}"
        if remote.look(target) is not None:
            target = f"{target}.{mark.rpartition(':')[2][:12]}"
            remote.remove(target)  # the same bytes, archived before
        remote.make_folder(target.rpartition("/")[0])
        remote.name(place, target)
        remote.remove(place + DONE)

    def check(self) -> list[str]:
        """What lies on the server and in the spool.

        Raises:
            ConnectorError: the server cannot be reached, refuses us, or the folder cannot be listed.
        """
        self._spool.make()
        with session(self.settings) as remote:
            found = [entry for _, entry, _ in self._files_of(remote)]
        total = sum(one.size for one in found)
        line = f"{self.settings.place}: {len(found)} 个文件, {total} 字节 / {len(found)} files, {total} bytes"
        return [line, *self._files.check()]


def _beside(file: str, here: set[str]) -> bool:
    """Whether a name is that of an unfinished file, or of a marker beside another file."""
    return file.endswith(UNFINISHED) or (file.endswith((DONE, READ)) and file[: -len(DONE)] in here)


def _problem_mark(problem: str) -> str:
    return "!" + blake2b(problem.encode(), digest_size=8).hexdigest()


def _problem_item(name: str, problem: str) -> WorkItem:
    digest = blake2b(f"{name}\0{problem}".encode(), digest_size=32).hexdigest()
    return WorkItem(name, digest, 0, -1, extra={"mark": _problem_mark(problem), "packed": "", "problem": problem})
