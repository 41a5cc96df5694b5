"""A source of frames: files `*.frames`, each a row of payloads with four bytes of length before each.

source = FramesSource(FramesSource.Settings(path="incoming"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import Field

from connectors.contracts import Block, Misconfigured, Unreadable, WorkItem
from connectors.settings import ConnectorSettings

_CUT = "帧长超出文件 / a frame is longer than the rest of the file"
_KEPT = 1 << 16
"""Bytes that a problem keeps of what cannot be a payload."""


def _state(path: Path) -> str:
    """What tells without reading it whether a file is still the same."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:"


class FramesSource:
    """The frames of a folder's files. A file arrives whole: it is written under another name and renamed."""

    class Settings(ConnectorSettings):
        """Settings of a frames source."""

        path: Path
        """The folder that holds the files."""
        item_bytes: int = Field(default=4 << 20, ge=1)
        """About how many bytes of a file make one work item."""
        max_payload_bytes: int = Field(default=64 << 20, ge=1)
        """A longer payload becomes a problem."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Items of about `item_bytes`, cut between frames, of each file that is not done; by name.

        Raises:
            Misconfigured: there is no such folder.
        """
        for path in self._files():
            mark = self.mark(path.name)
            if done.get(path.name) == mark:
                continue
            size, _, digest = mark.split(":")
            for start, end in self._cuts(path, int(size)):
                yield WorkItem(path.name, digest, start, end - start, extra={"mark": mark})

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's payloads; an offset is the place of the frame in its file.

        Raises:
            Unreadable: the file is gone, or another than was planned.
        """
        path = self.settings.path / item.source
        if not path.is_file() or not item.extra["mark"].startswith(_state(path)):
            message = f"文件已变 / the file changed after it was planned: {item.source}"
            raise Unreadable(message, "请把完整的文件重新放入 / put the whole file there again")
        bodies: list[bytes] = []
        offsets: list[int] = []
        problems: list[tuple[int, bytes, str]] = []
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(item.offset)
            while (at := file.tell()) < item.offset + item.length:
                body, problem = self._frame(file, size)
                if problem:
                    problems.append((at, body, problem))
                else:
                    bodies.append(body)
                    offsets.append(at)
                if len(bodies) + len(problems) >= block:
                    yield Block(item, bodies, offsets, problems)
                    bodies, offsets, problems = [], [], []
        if bodies or problems:
            yield Block(item, bodies, offsets, problems)

    def mark(self, path: str) -> str:
        """Size, time and hash of the file, so that one that changes is read again; "" if it is gone."""
        place = self.settings.path / path
        if not place.is_file():
            return ""
        with place.open("rb") as file:
            return _state(place) + file_digest(file, "sha256").hexdigest()

    def finish(self, paths: Iterable[str]) -> None:
        """Leave the files where they are: the gateway keeps their marks."""

    def check(self) -> list[str]:
        """How many files there are.

        Raises:
            Misconfigured: there is no such folder.
        """
        return [f"{self.settings.path}: {len(self._files())} 个文件 / files"]

    def _files(self) -> list[Path]:
        if not self.settings.path.is_dir():
            message = f"没有这个目录 / no such folder: {self.settings.path}"
            raise Misconfigured(message, "请建立目录或更正 path / make the folder or mend `path`")
        return sorted(self.settings.path.glob("*.frames"))

    def _cuts(self, path: Path, size: int) -> Iterator[tuple[int, int]]:
        start = at = 0
        with path.open("rb") as file:
            while at < size:
                file.seek(at)
                at = min(at + 4 + int.from_bytes(file.read(4)), size)
                if at - start >= self.settings.item_bytes or at == size:
                    yield start, at
                    start = at

    def _frame(self, file: BinaryIO, size: int) -> tuple[bytes, str]:
        """One payload, or what is there of it and why it is none."""
        length = int.from_bytes(head := file.read(4))
        if len(head) < 4 or file.tell() + length > size:
            rest = head + file.read(_KEPT)  # where the next frame begins cannot be known
            file.seek(0, 2)
            return rest, _CUT
        if length > self.settings.max_payload_bytes:
            body = file.read(min(length, _KEPT))
            file.seek(length - len(body), 1)
            return body, "单条超长 / payload too long"
        return file.read(length), ""
