"""Where files lie, seen by who reads them: a folder of this machine or a bucket; and what its files are called.

A **name** is the path of a file below the storage's own place, with `/`. A file's **mark** begins with its size and
identifies one state of it; what the rest says is the storage's affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import BinaryIO, Protocol

from pydantic import field_validator

from connectors.contracts import Unreadable
from connectors.settings import ConnectorSettings

UNFINISHED = (".part", ".tmp", ".writing")


class Changed(Unreadable):
    """A file is not what was planned any more: the work stops, and what is there now is planned anew."""


class WhichFiles(ConnectorSettings):
    """Which files are read, and what their names say."""

    include: tuple[str, ...] = ("*",)
    """Patterns of which a file's name or its path inside the folder must match one."""
    layout: str = ""
    """What the path's parts mean, e.g. `{system}/{company}/*`; `*` is one part, `**` any number."""

    @field_validator("layout")
    @classmethod
    def _layout_compiles(cls, layout: str) -> str:
        layout_pattern(layout)
        return layout

    def included(self, name: str) -> bool:
        """Whether a file is among those that are read."""
        file = name.rpartition("/")[2]
        return any(fnmatch(file, one) or fnmatch(name, one) for one in self.include)

    def sender(self, name: str) -> tuple[str, str] | None:
        """Company and system that the layout sees in a name; None where it does not fit the layout."""
        if not self.layout:
            return "", ""
        match = layout_pattern(self.layout).fullmatch(name)
        return None if match is None else (match.groupdict().get("company", ""), match.groupdict().get("system", ""))

    @property
    def misplaced(self) -> str:
        """What is said of a file that does not fit the layout."""
        return f"路径不符合 layout / path does not fit the layout {self.layout!r}"


@dataclass(frozen=True, slots=True)
class Found:
    """A file that waits, as planning saw it; `problem` says why it cannot be read at all."""

    name: str
    size: int = 0
    mtime: int = 0
    company: str = ""
    system: str = ""
    problem: str = ""
    digest: str = ""

    @property
    def identity(self) -> str:
        """What makes its envelopes unique: its content, or for a file that cannot be read its name and why."""
        return self.digest or sha256(f"{self.name}\0{self.problem}".encode()).hexdigest()

    @property
    def mark(self) -> str:
        """What identifies this state of the file."""
        if self.problem:
            return "!" + blake2b(self.problem.encode(), digest_size=8).hexdigest()
        return f"{self.size}:{self.mtime}:{self.digest}"


class Storage(Protocol):
    """Files that wait somewhere."""

    def plan(self, done: Mapping[str, str]) -> Iterator[Found]:
        """Files that wait, in a stable order; those whose mark `done` has are left out."""

    def open(self, name: str, mark: str) -> BinaryIO:
        """A planned file, raw, to be read and sought in. Raises Changed, here or while it is read."""

    def mark(self, name: str) -> str:
        """The state that was planned by this object, else the file's present one; empty if it is gone."""

    def finish(self, names: Iterable[str]) -> None:
        """What is to become of files that were read to their end; names, or names to marks. Idempotent."""

    def check(self) -> list[str]:
        """What waits; raises ConnectorError with the remedy."""


@lru_cache(maxsize=64)
def layout_pattern(layout: str) -> re.Pattern[str]:
    """The regular expression of a layout.

    Raises:
        ValueError: a part in braces is neither `{system}` nor `{company}`, or stands twice.
    """
    text = ""
    for token in re.split(r"(\{\w*\}|\*\*|\*)", layout):
        if token in ("{system}", "{company}"):
            text += f"(?P<{token[1:-1]}>[^/]+)"
        elif token.startswith("{"):
            message = f"layout 中只有 {{system}} 与 {{company}} / layout knows {{system}} and {{company}}, not {token}"
            raise ValueError(message)
        else:
            text += {"**": ".+", "*": "[^/]+"}.get(token, re.escape(token))
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        message = f"layout 有误 / layout cannot be used: {error.msg}"
        raise ValueError(message) from None
