"""Shops: where they are, what software they run, whose dealers they are, and how often they upload."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.sample.chance import Random, between, odds, stream
from pipelines.sample.places import PROVINCES, Place, Province
from pipelines.sample.words import CHAIN, KINDS, STEMS

FEWEST_SHOPS = 44
SHOPS_AT_SCALE_1 = 240

SOFTWARE = (
    "webform",
    "xklc",
    "tuhu",
    "vbnet",
    "comhs",
    "liquanchun",
    "chengdu",
    "chengdu-tuhu",
    "foshan",
    "shanghai",
    "csv-gbk",
    "csv-utf8",
)
"""Shop softwares as the sample knows them: clients of domain table 1.4, each speaking one dialect."""

_EVERYWHERE = {
    "webform": 46,
    "comhs": 14,
    "csv-gbk": 10,
    "csv-utf8": 9,
    "vbnet": 8,
    "xklc": 6,
    "tuhu": 3,
    "liquanchun": 2,
}
_SOME_PROVINCES: dict[str, dict[str, int]] = {
    "31": {"shanghai": 55, "xklc": 20, "webform": 15, "tuhu": 10},
    "44": {"foshan": 40, "webform": 25, "comhs": 15, "csv-gbk": 10, "csv-utf8": 10},
    "51": {"chengdu": 45, "chengdu-tuhu": 8, "webform": 25, "csv-utf8": 12, "csv-gbk": 10},
}
_FIRST = {
    ("31", 0): "shanghai",
    ("31", 1): "xklc",
    ("31", 2): "shanghai",
    ("44", 0): "foshan",
    ("51", 0): "chengdu",
    ("51", 1): "chengdu-tuhu",
    ("32", 0): "tuhu",
    ("33", 0): "vbnet",
    ("37", 0): "csv-gbk",
    ("41", 0): "csv-utf8",
    ("42", 0): "comhs",
    ("13", 0): "liquanchun",
    ("11", 0): "webform",
}
"""Province key and how manieth shop there -> software: so that even the smallest sample speaks every dialect."""

OEMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "SVW": (("上汽大众", "SAIC Volkswagen"), ("LSV",)),
    "FAWVW": (("一汽-大众", "FAW-Volkswagen"), ("LFV",)),
    "TESLA-SH": (("特斯拉(上海)", "Tesla Shanghai"), ("LRW",)),
}
"""OEM id -> names and WMIs of the ministry's list."""


@dataclass(slots=True)
class Shop:
    """A repair shop."""

    code: str
    """Company code: 6-digit division and 9-digit serial; in Shanghai 12 digits."""
    name: str
    place: Place
    system: str
    """Key of the province (or `bt`) that collects from it."""
    software: str
    size: float
    span: int
    """Days that one upload file holds."""
    oem: str = ""
    """OEM that it is a dealer of, or empty."""
    dealer_until: int | None = None
    """Last day as a dealer, as an offset; None while it is one."""
    uploads: bool = True
    """False for a dealer whose visits only headquarters tells."""
    token: str = ""
    """Invented access token that its client sends along."""
    serial: int = field(default=0)

    def next_listcode(self, day: str) -> str:
        """The next 结算清单编号: natural key of a record within the company."""
        self.serial += 1
        if self.software in ("tuhu", "chengdu-tuhu"):
            return f"2{int(self.code[-4:]):04d}{self.serial:05d}"
        return f"JS{day}{self.serial:05d}"


def build_shops(seed: int, scale: float) -> list[Shop]:
    """All shops of the nation: at least `FEWEST_SHOPS`, at least one in each of the 32 systems."""
    rng = stream(seed, "shops")
    total = max(FEWEST_SHOPS, round(SHOPS_AT_SCALE_1 * scale))
    shops: list[Shop] = []
    for province, count in zip(PROVINCES, _counts(total), strict=True):
        shops.extend(_shop(rng, province, index) for index in range(count))
    _make_dealers(shops)
    return shops


def _counts(total: int) -> list[int]:
    """Shops per province: one each (three in Shanghai, two in 四川), the rest by weight."""
    least = {"31": 3, "51": 2, "44": 2}
    counts = [least.get(province.key, 1) for province in PROVINCES]
    weights = sum(province.weight for province in PROVINCES)
    spare = total - sum(counts)
    counts = [count + spare * province.weight // weights for count, province in zip(counts, PROVINCES, strict=True)]
    order = sorted(range(len(PROVINCES)), key=lambda index: -PROVINCES[index].weight)
    for step in range(total - sum(counts)):
        counts[order[step % len(order)]] += 1
    return counts


def _shop(rng: Random, province: Province, index: int) -> Shop:
    place = province.places[index % len(province.places)]
    software = _FIRST.get((province.key, index)) or _software(rng, province.key)
    code = f"31000001{index + 1:04d}" if province.key == "31" else f"{place.division}{index + 1:09d}"
    if software in ("tuhu", "chengdu-tuhu"):
        name = f"{CHAIN}({place.city}{STEMS[index % len(STEMS)]}路店)"
    else:
        name = place.city + STEMS[between(rng, 0, len(STEMS) - 1)] + KINDS[between(rng, 0, len(KINDS) - 1)]
    size = rng.lognormvariate(0.0, 0.35) * (0.7 if software in ("liquanchun", "shanghai", "tuhu") else 1.0)
    span = 1 if odds(rng, 0.12) else (7 if odds(rng, 0.7) else 14)
    token = f"{rng.getrandbits(256):064X}"
    return Shop(code, name, place, province.key, software, size, span, token=token)


def _software(rng: Random, province: str) -> str:
    shares = _SOME_PROVINCES.get(province, _EVERYWHERE)
    return rng.choices(list(shares), list(shares.values()))[0]


def _make_dealers(shops: list[Shop]) -> None:
    """About every sixth shop becomes a dealer, of those with a steady client; every sixth of them does not upload."""
    able = [shop for shop in shops if shop.software in ("webform", "comhs", "csv-utf8", "vbnet", "chengdu")]
    chosen = able[:: max(1, round(len(able) / max(6, len(shops) // 6)))]
    ids = list(OEMS)
    for index, shop in enumerate(chosen):
        shop.oem = ids[index % len(ids)]
        shop.name = f"{shop.place.city}{OEMS[shop.oem][0][0]}{STEMS[index % len(STEMS)]}销售服务有限公司"
        shop.size *= 1.3
        if index == len(ids):
            shop.dealer_until = 12
        shop.uploads = index % 6 != 5 or _only_one(shops, shop)


def _only_one(shops: list[Shop], shop: Shop) -> bool:
    return sum(other.system == shop.system and other.uploads for other in shops) < 2
