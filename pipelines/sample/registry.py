"""Registrations (车籍): for about 15 % of the vehicles, some that contradict the plate, moves, and homes in 兵团."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.sample.chance import Random, between, odds
from pipelines.sample.content import Content
from pipelines.sample.fleet import Vehicle
from pipelines.sample.places import BINGTUAN, PROVINCES

SHARE = 0.15
_LONG_AGO = -2_000
_OTHERS = tuple(province.key for province in PROVINCES if province.key != BINGTUAN)


def register(rng: Random, vehicles: Iterable[Vehicle], days: int) -> dict[str, int]:
    """Give vehicles their registrations; answers how many of each kind there are."""
    kinds: dict[str, int] = {}
    for vehicle in vehicles:
        lives_in_bt = vehicle.province == BINGTUAN
        if vehicle.homeless or not odds(rng, 0.6 if lives_in_bt else SHARE):
            continue
        kind, vehicle.registrations = _entries(rng, vehicle, days)
        kinds[kind] = kinds.get(kind, 0) + 1
    return dict(sorted(kinds.items()))


def _entries(rng: Random, vehicle: Vehicle, days: int) -> tuple[str, list[tuple[str, int, int | None]]]:
    home = vehicle.province
    since = _LONG_AGO + between(rng, 0, 1_500)
    other = _OTHERS[between(rng, 0, len(_OTHERS) - 1)]
    chance = rng.random()
    if home == BINGTUAN:
        return "bingtuan", [(home, since, None)]
    if chance < 0.08:
        return "contradicts-plate", [(other, since, None)]
    if chance < 0.16 and other != home:
        day = between(rng, 1, max(1, days - 2))
        return "moved", [(home, since, day), (other, day + 1, None)]
    if chance < 0.20:
        return "expired", [(other, since, -between(rng, 1, 400))]
    if chance < 0.23:
        return "begins-later", [(other, between(rng, 1, max(1, days - 1)), None)]
    return "agrees", [(home, since, None)]


def homes(content: Content, vehicle: Vehicle, day: int, system: str) -> tuple[str, ...]:
    """The homes of a record by domain table 7.3: by the registration in force, else by the plate, then every later one.

    A record that bears another VIN than its vehicle finds no registration.
    """
    entries = vehicle.registrations if content.vin == vehicle.vin else []
    by_plate = BINGTUAN if content.plate_home == "65" and system == BINGTUAN else content.plate_home
    first = next((home for home, begin, end in entries if begin <= day and (end is None or day <= end)), by_plate)
    later = (home for home, begin, _ in entries if begin > day)
    return tuple(dict.fromkeys(home for home in (first, *later) if home))
