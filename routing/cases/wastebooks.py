"""A shop's waste books: entries with their red corrections applied, what lies there, and what is in each month.

Everything is a function of the set of entries. A red entry takes effect where what it corrects stands, so a mistake
that was corrected leaves no imbalance behind, in its own month or in the month of its correction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from mappings.documents.waste import EventKind, Unit, WasteEvent
from routing.wasterules import WasteRules, plain

INTO = frozenset({"generated", "received"})
OUT = frozenset({"handed-over", "used", "disposed"})


@dataclass(frozen=True)
class Entry:
    """One entry of the books, in the unit in which its code is accounted."""

    key: str
    number: str
    day: date
    event: EventKind
    code: str
    category: str
    unit: Unit
    quantity: Decimal
    """What is left of it after red corrections."""
    batch: str = ""
    ofbatches: tuple[str, ...] = ()
    manifest: str = ""
    costlistcode: str = ""
    counterpart: str = ""
    counterpartname: str = ""
    licence: str = ""

    @property
    def month(self) -> str:
        """`2024-05`."""
        return self.day.isoformat()[:7]

    @property
    def hazardous(self) -> bool:
        """Whether it is hazardous waste."""
        return self.category.startswith("HW")


class Account(NamedTuple):
    """What is accounted together."""

    code: str
    category: str
    unit: Unit


class Unfounded(NamedTuple):
    """A red entry that corrects nothing, another waste, or more than there was."""

    entry: Entry
    excess: Decimal


def entered(events: Iterable[tuple[str, WasteEvent]], rules: WasteRules) -> tuple[list[Entry], list[Unfounded]]:
    """Entries in the order of their days, red corrections applied; and the red ones without ground.

    Args:
        events: Record key and event; each key once.
        rules: For the units of account.
    """
    plain_ones: dict[str, Entry] = {}
    red: list[tuple[Entry, str]] = []
    for key, event in sorted(events, key=lambda one: one[0]):
        entry = _entry(key, event, rules)
        if event.reverses is None:
            plain_ones.setdefault(event.number, entry)
        else:
            red.append((entry, event.reverses))
    by_batch = {entry.batch: number for number, entry in sorted(plain_ones.items()) if entry.batch}
    unfounded = []
    for entry, reverses in sorted(red, key=lambda one: (one[0].day, one[0].key)):
        number = reverses if reverses in plain_ones else by_batch.get(reverses, "")
        original = plain_ones.get(number)
        if original is None or (original.code, original.unit) != (entry.code, entry.unit):
            unfounded.append(Unfounded(entry, -entry.quantity))
            continue
        excess = max(-entry.quantity - original.quantity, Decimal())
        plain_ones[number] = replace(original, quantity=original.quantity + entry.quantity + excess)
        if excess:
            unfounded.append(Unfounded(entry, excess))
    return sorted(plain_ones.values(), key=lambda entry: (entry.day, entry.key)), unfounded


def _entry(key: str, event: WasteEvent, rules: WasteRules) -> Entry:
    unit, quantity = rules.account(event.code, event.unit, event.quantity)
    return Entry(
        key=key,
        number=event.number,
        day=event.day,
        event=event.event,
        code=event.code,
        category=event.category,
        unit=unit,
        quantity=quantity,
        batch=event.batch or "",
        ofbatches=event.ofbatches,
        manifest=event.manifest or "",
        costlistcode=event.costlistcode or "",
        counterpart=event.counterpart or "",
        counterpartname=event.counterpartname or "",
        licence=event.licence or "",
    )


def accounts(entries: Iterable[Entry]) -> dict[Account, list[Entry]]:
    """Entries by what is accounted together, in the order in which they stand."""
    found: dict[Account, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[Account(entry.code, entry.category, entry.unit)].append(entry)
    return dict(sorted(found.items()))


def residues(entries: Sequence[Entry]) -> dict[str, Decimal]:
    """Of what was taken out of store (出库): how much of it no later entry says the way of, by record key.

    A later entry names the batch that it was taken from; taken out and unnamed is out of the shop.
    """
    left = {entry.key: entry.quantity for entry in entries if entry.event == "taken-out"}
    named = {name: entry.key for entry in entries if entry.event == "taken-out" for name in (entry.number, entry.batch)}
    for entry in entries:
        rest = entry.quantity if entry.event in OUT else Decimal()
        for batch in entry.ofbatches:
            key = named.get(batch, "") if batch else ""
            taken = min(rest, left.get(key, Decimal()))
            if taken > 0:
                left[key] -= taken
                rest -= taken
    return left


def moved(entry: Entry, left: Mapping[str, Decimal]) -> Decimal:
    """What an entry changes of the stock, given the `residues` of its account."""
    if entry.event in INTO:
        return entry.quantity
    if entry.event in OUT:
        return -entry.quantity
    return -left.get(entry.key, Decimal())


def stock_at(entries: Iterable[Entry], left: Mapping[str, Decimal], day: date) -> Decimal:
    """Book stock at a day's end."""
    return sum((moved(entry, left) for entry in entries if entry.day <= day), Decimal())


class Lot(NamedTuple):
    """What is still there of an entry that brought something in."""

    entry: Entry
    quantity: Decimal


def lots(entries: Sequence[Entry], left: Mapping[str, Decimal]) -> list[Lot]:
    """What lies there, oldest first: what went out came of the batches that it names, else of the oldest (FIFO)."""
    brought = {entry.key: entry for entry in entries if entry.event in INTO}
    rest = {key: entry.quantity for key, entry in brought.items()}
    origins = _Origins(entries)
    owed: list[Decimal] = []
    for entry in entries:
        out = -min(moved(entry, left), Decimal())
        for key in origins(entry):
            out -= _take(rest, key, out)
        owed.append(out)
    total = sum(owed, Decimal())
    for key in brought:
        total -= _take(rest, key, total)
    return [Lot(entry, plain(rest[key])) for key, entry in brought.items() if rest[key] > 0]


def _take(rest: dict[str, Decimal], key: str, most: Decimal) -> Decimal:
    taken = min(rest.get(key, Decimal()), most)
    if taken > 0:
        rest[key] -= taken
        return taken
    return Decimal()


class _Origins:
    """Which entries that brought something in an entry's batches lead back to."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._named = {name: entry for entry in reversed(entries) for name in (entry.number, entry.batch) if name}

    def __call__(self, entry: Entry) -> list[str]:
        found: dict[str, None] = {}
        seen: set[str] = set()
        waiting = list(reversed(entry.ofbatches))
        while waiting:
            name = waiting.pop()
            source = self._named.get(name)
            if source is None or name in seen:
                continue
            seen.add(name)
            if source.event in INTO:
                found[source.key] = None
            waiting.extend(reversed(source.ofbatches))
        return list(found)


@dataclass
class Month:
    """Sums of one account in one month."""

    opening: Decimal = Decimal()
    sums: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """Event -> sum; taken-out counts what no later entry says the way of."""
    closing: Decimal = Decimal()
    entries: list[Entry] = field(default_factory=list)


def months(entries: Sequence[Entry], left: Mapping[str, Decimal]) -> dict[str, Month]:
    """The months in which an account has entries, in order."""
    found: dict[str, Month] = {}
    stock = Decimal()
    for entry in entries:
        month = found.setdefault(entry.month, Month(opening=stock))
        stock += moved(entry, left)
        month.closing = stock
        month.sums[entry.event] += left.get(entry.key, Decimal()) if entry.event == "taken-out" else entry.quantity
        month.entries.append(entry)
    return found
