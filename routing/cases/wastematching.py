"""Expected waste against declared: each declared amount meets what was expected in a window before it.

A ledger is written per container when it is filled or moved (HJ 1259), so waste of several repairs stands in one entry
some weeks later. What an entry names by its settlement list is met first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from routing.cases.wastebooks import Entry

_HARDLY = Decimal("1.25")


class Expectation(NamedTuple):
    """What one repair lets expect of one code, and how much of it no entry has met."""

    key: str
    """Record key of the repair."""
    costlistcode: str
    day: date
    quantity: Decimal
    unmet: Decimal

    @property
    def month(self) -> str:
        """`2024-05`."""
        return self.day.isoformat()[:7]


class Matched(NamedTuple):
    """The outcome for one code."""

    expectations: Sequence[Expectation]
    unexplained: Mapping[str, Decimal]
    """Record key of an entry -> how much of it no expectation explains."""

    @property
    def unmet(self) -> Decimal:
        """All that no entry has met."""
        return sum((one.unmet for one in self.expectations), Decimal())


def match(expected: Sequence[Expectation], declared: Sequence[Entry], before: int, after: int) -> Matched:
    """Meet expectations by declared entries.

    Meeting the oldest expectation in an entry's window first leaves the least unmet, but where one month's entries are
    missing, those of the next one are spent on it and the gap seems to be there. Meeting the nearest first leaves the
    gap where it is. So the nearest come first wherever that leaves hardly more unmet (a quarter more).

    Args:
        expected: Of one code, all in its unit of account, unmet in full.
        declared: What was generated of that code, in the same unit.
        before: Days that an entry may come after the repair.
        after: Days that an entry may come before the repair is settled.
    """
    oldest = _match(expected, declared, before, after, nearest=False)
    nearest = _match(expected, declared, before, after, nearest=True)
    return nearest if nearest.unmet <= oldest.unmet * _HARDLY else oldest


def _match(
    expected: Sequence[Expectation], declared: Sequence[Entry], before: int, after: int, *, nearest: bool
) -> Matched:
    waiting = sorted(expected, key=lambda one: (one.day, one.key))
    entries = sorted(declared, key=lambda one: (one.day, one.key))
    unmet = [one.unmet for one in waiting]
    rest = {entry.key: entry.quantity for entry in entries}
    by_list: dict[str, list[int]] = {}
    for place, one in enumerate(waiting):
        by_list.setdefault(one.costlistcode, []).append(place)
    for entry in entries:
        if entry.costlistcode:
            rest[entry.key] = _meet(unmet, by_list.get(entry.costlistcode, ()), rest[entry.key])
    days = [one.day for one in waiting]
    for entry in entries:
        first = bisect_left(days, entry.day - timedelta(before))
        last = bisect_right(days, entry.day + timedelta(after))
        window = range(first, last)
        rest[entry.key] = _meet(unmet, reversed(window) if nearest else window, rest[entry.key])
    left = [one._replace(unmet=amount) for one, amount in zip(waiting, unmet, strict=True)]
    return Matched(left, rest)


def _meet(unmet: list[Decimal], places: Iterable[int], amount: Decimal) -> Decimal:
    """Take an amount off what is unmet at these places, in their order; what is left of it."""
    for place in places:
        if amount <= 0:
            break
        met = min(unmet[place], amount)
        unmet[place] -= met
        amount -= met
    return amount
