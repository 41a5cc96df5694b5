"""Who repairs which vehicle when: visits of all shops, day by day, so that mileages rise from visit to visit."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from itertools import accumulate

from pipelines.sample.chance import Random, between, odds
from pipelines.sample.content import Visit
from pipelines.sample.fleet import Fleet
from pipelines.sample.places import PROVINCES
from pipelines.sample.shops import OEMS, Shop

AWAY = 0.105
"""Share of visits by vehicles that live in another province."""
OWN_MAKE = 0.85
"""Share of a dealer's visits by vehicles of its own make."""
VISITS_AT_SCALE_1 = 44_500

_CUMULATIVE = list(accumulate(province.weight for province in PROVINCES))


def schedule(
    rng: Random, shops: list[Shop], scale: float, days: int, progress: Callable[[int, int], None]
) -> tuple[dict[str, list[Visit]], Fleet]:
    """Visits by company code, in the order of days, and the fleet that came.

    Args:
        rng: chance.
        shops: all shops.
        scale: 1.0 is the default nation.
        days: days of the sample.
        progress: called with the day done and all days.
    """
    fleet = Fleet(rng)
    weights = sum(shop.size for shop in shops)
    calls: list[list[Shop]] = [[] for _ in range(days)]
    for shop in shops:
        for _ in range(max(2, round(VISITS_AT_SCALE_1 * scale * shop.size / weights))):
            calls[int(rng.random() * days)].append(shop)
    visits: dict[str, list[Visit]] = {shop.code: [] for shop in shops}
    for day, called in enumerate(calls):
        for shop in called:
            visits[shop.code].append(_visit(rng, fleet, shop, day))
        progress(day + 1, days)
    return visits, fleet


def _visit(rng: Random, fleet: Fleet, shop: Shop, day: int) -> Visit:
    province = _elsewhere(rng, shop.system) if odds(rng, AWAY) else shop.system
    wmis = OEMS[shop.oem][1] if shop.oem and odds(rng, OWN_MAKE) else ()
    vehicle = fleet.take(province, day, wmis)
    known = vehicle.visits > 0
    vehicle.visits += 1
    return Visit(vehicle, shop, day, vehicle.mileage, known)


def _elsewhere(rng: Random, system: str) -> str:
    """Another province, by its weight."""
    while True:
        key = PROVINCES[bisect(_CUMULATIVE, between(rng, 0, _CUMULATIVE[-1] - 1))].key
        if key != system:
            return key
