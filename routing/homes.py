"""The home province (车籍) of a vehicle: by its registration at the settle date, else by its plate (domain 7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple, Protocol

from mappings import divisions, plates
from mappings.records import VehicleRegistration
from routing.facts import Facts

KNOWN, NONE, UNKNOWN = "known", "none", "unknown"

BINGTUAN, XINJIANG = divisions.BINGTUAN, "65"


class Registrations(Protocol):
    """Vehicle registrations by VIN, as far as they are known."""

    def at(self, vin: str, day: date) -> VehicleRegistration | None:
        """The registration in force on that day; of several the one with the latest `valid_from`."""

    def all_homes(self, vin: str) -> Sequence[VehicleRegistration]:
        """Every registration of the VIN, by `valid_from`, at most one for each; empty when none is known."""


class MemoryRegistrations:
    """Registrations held in a dictionary; of two with the same VIN and `valid_from` the later in the list counts."""

    def __init__(self, registrations: Iterable[VehicleRegistration] = ()) -> None:
        by_vin: dict[str, dict[date, VehicleRegistration]] = {}
        for entry in registrations:
            by_vin.setdefault(entry.vin, {})[entry.valid_from] = entry
        self._by_vin = {vin: tuple(entries[day] for day in sorted(entries)) for vin, entries in by_vin.items()}

    def __len__(self) -> int:
        return len(self._by_vin)

    def at(self, vin: str, day: date) -> VehicleRegistration | None:
        """The registration in force on that day; of several the one with the latest `valid_from`."""
        return in_force(self.all_homes(vin), day)

    def all_homes(self, vin: str) -> Sequence[VehicleRegistration]:
        """Every registration of the VIN, by `valid_from`."""
        return self._by_vin.get(vin, ())


NO_REGISTRATIONS = MemoryRegistrations()


def in_force(entries: Sequence[VehicleRegistration], day: date) -> VehicleRegistration | None:
    """Of registrations sorted by `valid_from`, the one in force on that day (both bounds inclusive)."""
    for entry in reversed(entries):
        if entry.valid_from <= day and (entry.valid_to is None or day <= entry.valid_to):
            return entry
    return None


class Home(NamedTuple):
    """One answer to the question where a vehicle is at home."""

    state: str
    """`known`, `none` (it has no home province: filtered) or `unknown` (waits for a registration)."""
    key: str
    """Province key when known, else ''."""
    reason: str
    """When none: `embassy`, `military`, `temporary`, `rescue` (that names no province), `no-system`; when unknown:
    `home-unknown`; else ''."""
    by: str
    """How it was found: `registration`, `later-registration`, `plate`, `plate-and-shop`, or `nothing`."""


class Homes(NamedTuple):
    """Every home that a record is meant for: at the settle date first, then each later one (转籍), without repeats."""

    state: str
    keys: tuple[str, ...]
    reason: str
    found: tuple[Home, ...]
    """How each was found, those without a province included."""

    @property
    def first(self) -> str:
        """What rules see as `home`: the first province key, else `none` or `unknown`."""
        return self.keys[0] if self.keys else self.state


UNKNOWN_HOME = Home(UNKNOWN, "", "home-unknown", "nothing")
_NO_SYSTEM = "no-system"
_SPECIALS = {reason: Home(NONE, "", reason, "plate") for reason in ("embassy", "military", "temporary", "rescue")}
_BY_PLATE = {key: Home(KNOWN, key, "", "plate") for key in divisions.PROVINCES}
_BY_SHOP = Home(KNOWN, BINGTUAN, "", "plate-and-shop")


def home_by_plate(plate: str, system: str) -> Home:
    """Home by the (normalised) plate alone.

    `system` is the collecting system: 兵团 is home of a 新 plate only where its own system collected the record.
    """
    if plate[1:].isascii() and (key := divisions.BY_CHARACTER.get(plate[:1])):
        return _of_key(key, system)
    return _home_by_form(plate, system)


def _of_key(key: str, system: str) -> Home:
    return _BY_SHOP if key == XINJIANG and system == BINGTUAN else _BY_PLATE[key]


@lru_cache(maxsize=4096)
def _home_by_form(plate: str, system: str) -> Home:
    if plates.special(plate):
        return _SPECIALS[_special_reason(plate)]
    key = plates.province_key(plate)
    return _of_key(key, system) if key else UNKNOWN_HOME


def _special_reason(plate: str) -> str:
    """Why a special plate has no home; a broken one is read by its mark."""
    for mark, reason in (("使", "embassy"), ("临", "temporary"), ("应急", "rescue")):
        if mark in plate:
            return reason
    return "military"


def _by_registration(entry: VehicleRegistration, by: str) -> Home:
    if entry.home in divisions.PROVINCES:
        return Home(KNOWN, entry.home, "", by)
    return Home(NONE, "", _NO_SYSTEM, by)


def homes_for(facts: Facts, registrations: Registrations | None = None) -> Homes:
    """The homes of a record's vehicle: at its settle date (registration, else plate), then every later one.

    A vehicle whose home at the settle date is unknown or none, but that was registered later, has that later home.
    """
    entries = registrations.all_homes(facts.vin) if registrations is not None else ()
    entry = in_force(entries, facts.settledate)
    first = _by_registration(entry, "registration") if entry else home_by_plate(facts.plate, facts.system)
    if not entries:
        return alone(first)
    later = (_by_registration(e, "later-registration") for e in entries if e.valid_from > facts.settledate)
    found = (first, *later)
    keys = tuple(dict.fromkeys(home.key for home in found if home.key))
    if keys:
        return Homes(KNOWN, keys, "", found)
    decisive = next((home for home in found if home.state == NONE), first)
    return Homes(decisive.state, (), decisive.reason, found)


@lru_cache(maxsize=256)
def alone(home: Home) -> Homes:
    """The homes of a vehicle of which only one is known of."""
    return Homes(home.state, (home.key,) if home.key else (), home.reason, (home,))
