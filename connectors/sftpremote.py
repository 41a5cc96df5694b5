"""Files on an SFTP server: listing, reading and writing with many requests under way, naming without overwriting.

Names are bytes to the server; here they are text as Python makes it of file names, so that a GBK name comes through
unharmed. Paths are those of the server, with `/`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple

from paramiko import sftp as wire
from paramiko.sftp_attr import SFTPAttributes

_PIECE = 32_768
_UNDER_WAY = 64
_FSYNC = b"fsync@openssh.com"


class Entry(NamedTuple):
    """What stands in a folder."""

    name: str
    size: int
    mtime: int
    """Whole seconds: the protocol knows no more."""
    mode: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)


class Shorter(OSError):
    """A file ended before the size that it had."""


class _Answers:
    """Collects the answers to requests that are under way, in whatever order they come."""

    def __init__(self, sftp: Any) -> None:  # noqa: ANN401 - paramiko's own type
        self._sftp = sftp
        self._found: dict[int, tuple[int, Any]] = {}

    def ask(self, kind: int, *arguments: object) -> int:
        """Send a request; its number."""
        number: int = self._sftp._async_request(self, kind, *arguments)
        return number

    def _async_response(self, kind: int, message: Any, number: int) -> None:  # noqa: ANN401 - called by paramiko
        self._found[number] = (kind, message)

    def answer(self, number: int) -> tuple[int, Any]:
        """The answer to a request. Raises OSError where it is a refusal, Shorter for the end of a file."""
        while number not in self._found:
            self._sftp._read_response()
        kind, message = self._found.pop(number)
        if kind == wire.CMD_STATUS:
            try:
                self._sftp._convert_status(message)
            except EOFError:  # the server's word; that of a lost connection comes from sending and waiting
                message = "文件变短 / the file became shorter"
                raise Shorter(message) from None
        return kind, message


class Remote:
    """The server's files, in an open session. Errors are those of paramiko; `sftpline.translated` makes them ours."""

    def __init__(self, sftp: Any, root: str) -> None:  # noqa: ANN401 - paramiko's own type
        self._sftp, self.root = sftp, root

    def path(self, *parts: str) -> str:
        """A path below the root; where that is the user's own folder, as the user would name it."""
        return "/".join(parts if self.root == "." else (self.root.rstrip("/"), *parts))

    def listing(self, folder: str) -> list[Entry]:
        """What stands in a folder, by name; links are not followed. Raises FileNotFoundError."""
        _, message = self._sftp._request(wire.CMD_OPENDIR, os.fsencode(folder))
        handle = message.get_binary()
        found: list[Entry] = []
        try:
            while True:
                try:
                    _, message = self._sftp._request(wire.CMD_READDIR, handle)
                except EOFError:
                    break
                found += self._entries(message)
        finally:
            self._sftp._request(wire.CMD_CLOSE, handle)
        return sorted(found)

    @staticmethod
    def _entries(message: Any) -> Iterator[Entry]:  # noqa: ANN401 - paramiko's own type
        for _ in range(message.get_int()):
            name = os.fsdecode(message.get_binary())
            message.get_binary()  # the line of `ls -l`
            about = _entry(name, SFTPAttributes._from_msg(message))
            if name not in (".", "..") and "/" not in name and "\0" not in name:
                yield about

    def look(self, path: str) -> Entry | None:
        """What stands at a path, links followed; None when nothing does."""
        try:
            return _entry(path.rpartition("/")[2], self._sftp.stat(os.fsencode(path)))
        except FileNotFoundError:
            return None

    def read(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, in pieces, as long as it is when this begins.

        Raises:
            Shorter: it shrank meanwhile.
        """
        with self._sftp.open(os.fsencode(path), "rb") as file:
            size, answers = file.stat().st_size, _Answers(self._sftp)
            ask = _reader(answers, file.handle)
            waiting: deque[tuple[int, int, int]] = deque()
            asked = 0
            while waiting or asked < size:
                while asked < size and len(waiting) < _UNDER_WAY:
                    length = min(_PIECE, size - asked)
                    waiting.append((ask(asked, length), asked, length))
                    asked += length
                number, at, length = waiting.popleft()
                while True:
                    data = answers.answer(number)[1].get_binary()
                    yield data
                    at, length = at + len(data), length - len(data)
                    if length <= 0:
                        break
                    number = ask(at, length)  # a server may give less than was asked for

    def fetch(self, path: str, out: BinaryIO) -> int:
        """Copy a file to here; its size."""
        size = 0
        for piece in self.read(path):
            out.write(piece)
            size += len(piece)
        return size

    def digest(self, path: str) -> str:
        """The SHA-256 of a file, read back."""
        whole = sha256()
        for piece in self.read(path):
            whole.update(piece)
        return whole.hexdigest()

    def send(self, source: BinaryIO, path: str, seen: Callable[[bytes], None]) -> int:
        """Write a new file and sync it where the server can; its size.

        Args:
            source: what it shall hold.
            path: where; nothing may stand there.
            seen: told every piece.
        """
        size = 0
        with self._sftp.open(os.fsencode(path), "wxb") as file:
            answers, waiting = _Answers(self._sftp), deque[int]()
            while data := source.read(_PIECE):
                seen(data)
                waiting.append(answers.ask(wire.CMD_WRITE, file.handle, wire.int64(size), data))
                size += len(data)
                while len(waiting) > _UNDER_WAY:
                    answers.answer(waiting.popleft())
            for number in waiting:
                answers.answer(number)
            self._sync(file.handle)
        return size

    def _sync(self, handle: bytes) -> None:
        """Have the server sync an open file; one that does not know how is not asked again in this session."""
        try:
            self._sftp._request(wire.CMD_EXTENDED, _FSYNC, handle)
        except OSError as error:
            if error.errno is not None or "unsupported" not in str(error).lower():
                raise

    def name(self, old: str, new: str) -> None:
        """Rename, never in place of another file.

        Plain SFTP renaming refuses a name that is taken (OpenSSH links and unlinks, which nobody can come between);
        `posix-rename` would overwrite, so it is used only where the plain one is not to be had and the name is free.

        Raises:
            FileExistsError: the name is taken.
        """
        try:
            self._sftp.rename(os.fsencode(old), os.fsencode(new))
        except (PermissionError, FileNotFoundError):
            raise
        except OSError:
            if self.look(new) is not None:
                raise FileExistsError(errno.EEXIST, "taken", new) from None
            self._sftp.posix_rename(os.fsencode(old), os.fsencode(new))

    def remove(self, path: str) -> bool:
        """Remove a file; whether it was there."""
        try:
            self._sftp.remove(os.fsencode(path))
        except FileNotFoundError:
            return False
        return True

    def write_small(self, path: str, data: bytes) -> None:
        """Write a small file in one go."""
        with self._sftp.open(os.fsencode(path), "wb") as file:
            file.write(data)

    def read_small(self, path: str, most: int) -> bytes:
        """The beginning of a file; nothing when it is not there."""
        try:
            with self._sftp.open(os.fsencode(path), "rb") as file:
                data: bytes = file.read(most)
        except FileNotFoundError:
            return b""
        return data

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, where they are missing."""
        missing = []
        while path not in ("", "/", ".") and self.look(path) is None:
            missing.append(path)
            path = path.rpartition("/")[0]
        for one in reversed(missing):
            self._sftp.mkdir(os.fsencode(one), 0o750)


def _reader(answers: _Answers, handle: bytes) -> Callable[[int, int], int]:
    return lambda at, length: answers.ask(wire.CMD_READ, handle, wire.int64(at), int(length))


def _entry(name: str, about: Any) -> Entry:  # noqa: ANN401 - paramiko's own type
    return Entry(name, about.st_size or 0, about.st_mtime or 0, about.st_mode or 0)
