"""Vehicles: VINs of real makers with their check digits, plates of every form of GA 36, and a mileage that rises.

Vehicles are made when a shop first meets them and come back later, so that a VIN has several visits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from mappings.vin import check_digit
from pipelines.sample.chance import Random, between, odds
from pipelines.sample.places import BY_KEY

_SERIAL_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ELECTRIC = "DDDDABCE"
_HYBRID = "FFFGHJK"
REST_DAYS = 4
"""A vehicle does not come back to any shop sooner: two visits are then never one visit told twice."""


class Make(NamedTuple):
    """A maker by WMI (domain table 6.4), with the VDS of a model, and how the market shares out."""

    wmi: str
    vds: str
    weight: int
    electric: float = 0.0
    """Share of vehicles with a new-energy plate."""
    bound: bool = True
    """Whether position 9 is a check digit; elsewhere it is a filler that proves nothing."""


MAKES: tuple[Make, ...] = (
    Make("LSV", "AL41Z", 90),
    Make("LFV", "2A21K", 95),
    Make("LSG", "HD52K", 70),
    Make("LGX", "C16DF", 90, 0.8),
    Make("LVG", "BM51K", 50),
    Make("LFM", "AP22C", 45),
    Make("LHG", "RC182", 45),
    Make("LVH", "FA162", 40),
    Make("LGB", "H52E0", 55),
    Make("LBV", "3M310", 30),
    Make("LE4", "HG4HB", 30),
    Make("LRW", "3E7FS", 45, 1.0),
    Make("LSJ", "W54U9", 25, 0.2),
    Make("LVS", "HCAMB", 30),
    Make("LVV", "DB21B", 30),
    Make("LGW", "EF4A5", 35),
    Make("LZW", "ADAGA", 45, 0.2),
    Make("LH1", "7CKJF", 10),
    Make("LMG", "AC1G8", 20, 0.2),
    Make("LTV", "BG864", 15),
    Make("L6T", "7722Z", 30, 0.2),
    Make("LBE", "EFAKB", 25),
    Make("LYV", "FD40A", 8),
    Make("LGJ", "E5EE0", 8),
    Make("LZG", "CL2R4", 8),
    Make("1C4", "RJFAG", 3),
    Make("5YJ", "3E1EA", 3, 1.0),
    Make("WAU", "ZZZ8K", 9, 0.0, bound=False),
    Make("WBA", "3X310", 9, 0.0, bound=False),
    Make("WVW", "ZZZ1K", 5, 0.0, bound=False),
    Make("WDD", "HF5EB", 5, 0.0, bound=False),
    Make("VF1", "KG1PB", 2, 0.0, bound=False),
    Make("XTA", "GFK33", 1, 0.0, bound=False),
    Make("W0L", "PC6DB", 1, 0.0, bound=False),
)
_YEARS = {2010 + i: c for i, c in enumerate("ABCDEFGHJKLMNPRSTVWXY")} | {2000 + d: str(d) for d in range(1, 10)}
_BY_WMI = {make.wmi: make for make in MAKES}
_WEIGHTS = [make.weight for make in MAKES]


@dataclass(slots=True)
class Vehicle:
    """A vehicle as it really is; payloads may say otherwise."""

    vin: str
    plate: str
    kind: str
    """Form of the plate: `normal`, `nev-small`, `embassy`, ..."""
    province: str
    """Province key of its plate, `bt` where it lives in 兵团 (plate 新), also for special plates: where it lives."""
    mileage: int
    last_day: int
    bound: bool
    visits: int = 0
    registrations: list[tuple[str, int, int | None]] = field(default_factory=list)
    """(home, first day, last day) as offsets from the sample's first day; told to the run before it."""

    @property
    def homeless(self) -> bool:
        """Whether the plate names no home province (domain table 7.3)."""
        return self.kind in HOMELESS


HOMELESS = frozenset({"embassy", "military", "armed-police", "temporary"})
_RARE_FORMS = (
    ("trainer", 6),
    ("trailer", 3),
    ("police", 3),
    ("temporary", 5),
    ("military", 3),
    ("nev-large", 3),
    ("armed-police", 1),
    ("consulate", 1),
    ("trial", 1),
    ("rescue", 1),
)
_LOCAL_FORMS = {"11": "embassy", "44": "hk-macau"}
_RARE = [name for name, weight in _RARE_FORMS for _ in range(weight)]


class Fleet:
    """All vehicles by where they live (and, for dealers' customers, by maker).

    `serial` numbers run on, so that no VIN and no plate occurs twice by chance.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._pools: dict[tuple[str, str], list[Vehicle]] = {}
        self._plates: set[str] = set()
        self._serial = 100_003

    def take(self, province: str, day: int, wmis: tuple[str, ...] = ()) -> Vehicle:
        """A vehicle that lives in `province` and comes on `day`: one that was here before, or a new one."""
        rng = self._rng
        pool = self._pools.setdefault((province, wmis[0] if wmis else ""), [])
        if pool and odds(rng, 0.42):
            for _ in range(4):
                vehicle = pool[between(rng, 0, len(pool) - 1)]
                gap = day - vehicle.last_day
                if gap >= REST_DAYS:
                    vehicle.mileage += gap * between(rng, 15, 120) + 1
                    vehicle.last_day = day
                    return vehicle
        vehicle = self._new(province, day, wmis)
        pool.append(vehicle)
        return vehicle

    def all(self) -> list[Vehicle]:
        """Every vehicle, in the order of pools and of first visits."""
        return [vehicle for pool in self._pools.values() for vehicle in pool]

    def _new(self, province: str, day: int, wmis: tuple[str, ...]) -> Vehicle:
        rng = self._rng
        make = _BY_WMI[wmis[between(rng, 0, len(wmis) - 1)]] if wmis else rng.choices(MAKES, _WEIGHTS)[0]
        year = 2026 - int(18 * rng.random() ** 1.7)
        electric = odds(rng, make.electric)
        if electric:
            year = max(year, 2018)
        self._serial += 1 + int(rng.random() * 9)
        kind = "nev-small" if electric else "normal"
        if odds(rng, 0.03):
            kind = _RARE[between(rng, 0, len(_RARE) - 1)]
        elif province in _LOCAL_FORMS and odds(rng, 0.008):
            kind = _LOCAL_FORMS[province]
        plate = self._plate(province, kind)
        mileage = int((2026.7 - year) * between(rng, 6_000, 19_000)) + between(rng, 5, 900)
        return Vehicle(self._vin(make, year), plate, kind, province, mileage, day, make.bound)

    def _vin(self, make: Make, year: int) -> str:
        tail = _YEARS[year] + _SERIAL_LETTERS[self._serial % 11] + f"{self._serial % 1_000_000:06d}"
        if not make.bound:
            return f"{make.wmi}{make.vds}Z{tail}"
        head = make.wmi + make.vds
        return head + check_digit(f"{head}0{tail}") + tail

    def _plate(self, province: str, kind: str) -> str:
        while True:
            plate = _plate(self._rng, province, kind)
            if plate not in self._plates:
                self._plates.add(plate)
                return plate


def _digits(rng: Random, count: int) -> str:
    return f"{int(rng.random() * 10**count):0{count}d}"


def _letter(rng: Random, letters: str = _SERIAL_LETTERS) -> str:
    return letters[int(rng.random() * len(letters))]


def _serial(rng: Random) -> str:
    """Five characters with at most two letters."""
    shape = rng.random()
    if shape < 0.45:
        return _digits(rng, 5)
    if shape < 0.7:
        return _letter(rng) + _digits(rng, 4)
    if shape < 0.85:
        return _digits(rng, 4) + _letter(rng)
    return _letter(rng) + _letter(rng) + _digits(rng, 3)


def _plate(rng: Random, key: str, kind: str) -> str:
    province = BY_KEY[key]
    head = province.character + _letter(rng, province.letters)
    match kind:
        case "nev-small":
            return head + _letter(rng, _ELECTRIC if odds(rng, 0.7) else _HYBRID) + _digits(rng, 5)
        case "nev-large":
            return head + _digits(rng, 5) + _letter(rng, "DF")
        case "police":
            return head + _digits(rng, 4) + "警"
        case "trainer":
            return head + _digits(rng, 4) + "学"
        case "trial":
            return head + _digits(rng, 4) + "试"
        case "trailer":
            return head + _digits(rng, 4) + "挂"
        case "consulate":
            return head + _digits(rng, 4) + "领"
        case "rescue":
            return head + _digits(rng, 4) + "应急"
        case "hk-macau":
            return "粤Z" + _digits(rng, 4) + ("港" if odds(rng, 0.8) else "澳")
        case "embassy":
            return _digits(rng, 6) + "使"
        case "military":
            return _letter(rng, "VKHBSLJNGCE") + _letter(rng) + _digits(rng, 5)
        case "armed-police":
            return "WJ" + province.character + _digits(rng, 5)
        case "temporary":
            return head + "临" + _digits(rng, 5)
        case _:
            return head + _serial(rng)


def is_bound(vin: str) -> bool:
    """Whether position 9 of this well-formed VIN is meant to be a check digit."""
    return vin[0] in "LH12345"


def wrong_digit(rng: Random, vin: str) -> str:
    """The VIN with another character at position 9 than the one that belongs there."""
    others = "0123456789X".replace(vin[8], "")
    return vin[:8] + _letter(rng, others) + vin[9:]
