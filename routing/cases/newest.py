"""What every derivation begins with: of each record its newest version, in one order."""

from __future__ import annotations

from collections.abc import Iterable

from routing.cases import Fact


def newest(facts: Iterable[Fact]) -> list[Fact]:
    """The newest version under each key, sorted by key: the same list for the same set of facts."""
    held: dict[str, Fact] = {}
    for fact in facts:
        before = held.setdefault(fact.key, fact)
        if fact.version > before.version:
            held[fact.key] = fact
    return [held[key] for key in sorted(held)]
