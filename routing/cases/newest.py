"""The set behind a sequence of facts: each key once, with its newest version, in the order of keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from mappings.documents import Document
from mappings.records import RepairRow
from routing.cases import Fact

D = TypeVar("D", bound=Document)


class Repair(NamedTuple):
    """A repair with the fact that it comes from."""

    fact: Fact
    row: RepairRow


def newest(facts: Iterable[Fact]) -> list[Fact]:
    """The facts by key, each once."""
    found: dict[str, Fact] = {}
    for fact in facts:
        if fact.key not in found or fact.version > found[fact.key].version:
            found[fact.key] = fact
    return [found[key] for key in sorted(found)]


def repairs(facts: Sequence[Fact]) -> list[Repair]:
    """The repairs among facts, by key."""
    return [Repair(fact, row) for fact in newest(facts) if (row := fact.repair) is not None]


def documents(facts: Sequence[Fact], kind: type[D]) -> list[D]:
    """The documents of a kind among facts, by key."""
    return [fact.record for fact in newest(facts) if isinstance(fact.record, kind)]
