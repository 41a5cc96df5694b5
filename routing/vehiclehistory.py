"""Which repairs matter in a vehicle's history: words of important parts and of maintenance, as data."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from mappings.folding import compact
from mappings.records import RepairRow
from routing.registers import whole

COMPONENT, CONSTRUCT = "component", "construct"

_Word = Annotated[str, StringConstraints(min_length=1)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Group(_Data):
    """One group of important parts."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,31}$")]
    zh: _Word
    en: _Word
    """What it is called on a certificate."""
    flag: Literal["component", "construct"]
    """An important component, or the body's structure."""
    words: tuple[_Word, ...]
    but: tuple[_Word, ...] = ()
    """What holds such a word and means something else."""


class Words(_Data):
    """The whole table."""

    edition: str
    source: str
    maintenance: tuple[_Word, ...]
    group: tuple[Group, ...]

    def groups_of(self, row: RepairRow) -> frozenset[str]:
        """The groups that a visit's projects or parts name."""
        names = [compact(name) for name in (*_projects(row), *_parts(row))]
        return frozenset(one.id for one in self.group if _named(names, one))

    def flags_of(self, groups: Iterable[str]) -> frozenset[str]:
        """The flags that groups of this table raise."""
        raised = set(groups)
        return frozenset(one.flag for one in self.group if one.id in raised)

    def maintained(self, row: RepairRow) -> tuple[bool, bool]:
        """Whether something was maintained at a visit, and whether something was repaired.

        Its projects tell; its parts where it has none. What is no word of maintenance is a repair.
        """
        names = [compact(name) for name in _projects(row) or _parts(row)]
        tell = [any(compact(word) in name for word in self.maintenance) for name in names]
        return any(tell), not all(tell) or bool(self.groups_of(row))


def _projects(row: RepairRow) -> list[str]:
    return [project.name for project in row.projects]


def _parts(row: RepairRow) -> list[str]:
    return [part.name for part in row.parts]


def _named(names: list[str], group: Group) -> bool:
    for name in names:
        for word in sorted(group.but, key=len, reverse=True):
            name = name.replace(compact(word), "\n")
        if any(compact(word) in name for word in group.words):
            return True
    return False


def load_words(text: str, source: str = "history") -> Words:
    """Read such a table from TOML.

    Raises:
        TableError: with what is wrong and the remedy.
    """
    return whole(Words, text, source)


@cache
def shipped_words() -> Words:
    """The table that ships."""
    name = "data/history.toml"
    return load_words(files("routing").joinpath(name).read_text("utf-8"), name)
