"""The spool of an SFTP source: copies of the server's files in a local folder, under their names and with their times.

A copy is written beside its place, synced, compared with what the server says now, and only then named; so what has
its name is whole. Its time is set to the server's, so that size and time say whether it is still the server's file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import orjson

from connectors.parts import disk_error
from connectors.sftpremote import Entry, Remote, Shorter

_SEEN = ".seen.json"


def state(found: Entry) -> str:
    """The beginning of the mark of a file as the server shows it: `size:mtime_ns:`."""
    return f"{found.size}:{found.mtime * 10**9}:"


class Spool:
    """Copies of files; paths are relative to the watched folder, here as there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def _here(self) -> Iterator[None]:
        """Errors of our own disk, told apart from the server's."""
        try:
            yield
        except OSError as error:
            raise disk_error(error, str(self.folder)) from error

    def make(self) -> None:
        """Create the folder.

        Raises:
            Misconfigured: it cannot be created.
        """
        with self._here():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def place(self, relative: str) -> Path:
        """Where a copy lies."""
        return self.folder / relative

    def has(self, found: Entry) -> bool:
        """Whether the copy of a file is as the server shows it."""
        with suppress(OSError):
            status = self.place(found.name).stat()
            return f"{status.st_size}:{status.st_mtime_ns}:" == state(found)
        return False

    def fetch_all(self, remote: Remote, waiting: Iterable[Entry], most: int) -> None:
        """Copy files until `most` bytes lie here; the first one whatever its size.

        Raises:
            Unavailable: no room.
        """
        with self._here():
            held = sum(one.stat().st_size for one in self.folder.rglob("*") if one.is_file() and one.name != _SEEN)
        for found in waiting:
            if self.has(found):
                continue
            if held and held + found.size > most:
                return
            if self.fetch(remote, found):
                held += found.size

    def fetch(self, remote: Remote, found: Entry) -> bool:
        """Copy a file; False where it is gone, or changed while it was copied: a later plan sees it again.

        Raises:
            Unavailable: no room.
            Misconfigured: the folder cannot be written.
        """
        target = self.place(found.name)
        staged = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with self._here():
                target.parent.mkdir(parents=True, exist_ok=True)
                out = staged.open("xb")
            with out:
                size = self._copied(remote, found, out)
            after = remote.look(remote.path(found.name)) if size == found.size else None
            if after is None or state(after) != state(found):
                return False
            with self._here():
                os.utime(staged, ns=(found.mtime * 10**9,) * 2)
                staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
        return True

    def _copied(self, remote: Remote, found: Entry, out: BinaryIO) -> int:
        size = 0
        try:
            for piece in remote.read(remote.path(found.name)):
                with self._here():
                    out.write(piece)
                size += len(piece)
        except (FileNotFoundError, Shorter):
            return -1  # gone or shorter meanwhile
        with self._here():
            out.flush()
            os.fsync(out.fileno())
        return size

    def drop(self, relative: str, mark: str) -> None:
        """Remove a copy that still has this mark's state."""
        with suppress(OSError):
            status = self.place(relative).stat()
            if mark.startswith(f"{status.st_size}:{status.st_mtime_ns}:"):
                self.place(relative).unlink()

    def seen(self) -> dict[str, list[float]]:
        """What was seen of files whose completeness is judged by two looks: size, time, and since when."""
        with suppress(OSError, ValueError):
            kept: dict[str, list[float]] = orjson.loads((self.folder / _SEEN).read_bytes())
            return kept
        return {}

    def keep_seen(self, seen: Mapping[str, list[float]]) -> None:
        """Keep that for the next look.

        Raises:
            Unavailable: no room.
        """
        staged = self.folder / f"{_SEEN}.{os.getpid()}.tmp"
        with self._here():
            staged.write_bytes(orjson.dumps(seen))
            staged.replace(self.folder / _SEEN)
