"""A repair shop's months: repairs, and a waste ledger with manifests that fits them; imbalances are seeded into it."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from mappings.documents import waste as w
from mappings.records import Part, Project, RepairRow
from mappings.waste.codes import category_of
from routing.cases import Fact

SHOP = "330106000000001"
RECEIVER = "330109000000009"
LICENCE = "浙危废经第1号"
OIL, FILTER, BATTERY, TYRE, CARBON = "900-214-08", "900-041-49", "900-052-31", "900-006-S17", "900-039-49"
UNITS = {OIL: "kg", FILTER: "kg", BATTERY: "piece", TYRE: "piece", CARBON: "kg"}
JOBS = {
    "oil": (("壳牌机油 5W-30", 4), ("机油滤清器", 1)),
    "battery": (("瓦尔塔蓄电池", 1),),
    "tyre": (("米其林轮胎 225/45R17", 2),),
    "other": (("前刹车片", 1),),
}
EXPECTS = {
    "oil": {OIL: Decimal("3.5"), FILTER: Decimal("0.4")},
    "battery": {BATTERY: 1},
    "tyre": {TYRE: 2},
    "other": {},
}
CODES = (OIL, FILTER, BATTERY, TYRE)


def fact(record, number, version=1):
    kind = "repair" if isinstance(record, RepairRow) else record.KIND
    listed = number if kind == "repair" else f"{kind}:{number}"
    return Fact(kind, f"33|{SHOP}|{listed}", version, "33", datetime(2024, 1, 1, tzinfo=UTC), record)


def repair(number, day, job):
    parts = tuple(Part(name, Decimal(count), "P") for name, count in JOBS[job])
    projects = (Project("更换", Decimal(1)),)
    return RepairRow(SHOP, "店", "浙A12345", "V" * 17, day, day, Decimal(1), "保养", number, parts, projects)


def event(number, day, kind, code, quantity, **members):
    members.setdefault("unit", UNITS.get(code, "kg"))
    category = members.pop("category", category_of(code))
    given = {"issuer": SHOP, "number": number, "day": day, "event": kind, "code": code, "category": category}
    return w.WasteEvent(**given, quantity=Decimal(quantity), **members)


def manifest(number, day, code, quantity, state="RECEIVED", **members):
    way = {
        "RECEIVED": ("SUBMITTED", "APPROVED", "IN_TRANSIT", "RECEIVED"),
        "IN_TRANSIT": ("SUBMITTED", "APPROVED", "IN_TRANSIT"),
    }
    steps = tuple(w.ManifestStep(state=one, day=day) for one in way.get(state, ("SUBMITTED", state)))
    given = {
        "issuer": SHOP,
        "number": number,
        "day": day,
        "shipped": day,
        "code": code,
        "category": category_of(code),
        "unit": UNITS.get(code, "kg"),
        "quantity": Decimal(quantity),
        "received": Decimal(quantity),
        "receiver": RECEIVER,
        "licence": LICENCE,
        "vehicle": f"浙A{number[-5:]}",
        "state": state,
        "steps": steps,
    }
    return w.WasteManifest(**{**given, **members})


def licence(number=LICENCE, **members):
    given = {
        "issuer": SHOP,
        "number": number,
        "day": date(2020, 1, 1),
        "holder": RECEIVER,
        "standing": "ACTIVE",
        "validfrom": date(2020, 1, 1),
        "validto": date(2030, 1, 1),
        "scopes": tuple(w.LicenceScope(category=one) for one in ("HW08", "HW49", "HW31")),
    }
    return w.WasteLicence(**{**given, **members})


def plan(category, year=2024, quantity=10**6, state="APPROVED"):
    given = {"number": f"P-{year}-{category}", "year": year, "day": date(year, 1, 1), "unit": "kg", "state": state}
    return w.WastePlan(issuer=SHOP, category=category, quantity=Decimal(quantity), **given)


class World:
    """Months of one shop, clean until something is seeded.

    Waste is declared per repair with its list code, per repair without, or a week's repairs together; at each month's
    end nearly all that lies there is handed over under a manifest, and then it is counted. Mistaken entries with the
    red entry that takes them back lie between.
    """

    def __init__(self, seed, months=4, omit=(), surplus=None, counts=True):
        self.random = random.Random(seed)  # noqa: S311 - a generated example, no secret
        self.facts = {}
        self.stock = dict.fromkeys(CODES, Decimal())
        self.omit, self.surplus, self.counts = omit, surplus, counts
        self.serial = 0
        self.month_ends = []
        self.put(licence(), LICENCE)
        for category in ("HW08", "HW49", "HW31"):
            self.put(plan(category), f"P-{category}")
        for month in range(1, months + 1):
            self._month(month)
        self.today = self.month_ends[-1] + timedelta(40)

    def put(self, record, number):
        self.facts[number if isinstance(record, RepairRow) else (record.KIND, number)] = fact(record, number)
        return record

    def number(self, prefix):
        self.serial += 1
        return f"{prefix}{self.serial:05d}"

    def add(self, day, kind, code, quantity, **members):
        number = self.number("E")
        return self.put(event(number, day, kind, code, quantity, **members), number)

    def declared(self, day, code, quantity, **members):
        jitter = Decimal(self.random.randint(95, 105)) / 100 if UNITS[code] == "kg" else 1
        quantity = (quantity * jitter).quantize(Decimal("0.1")) if UNITS[code] == "kg" else quantity
        self.stock[code] += quantity
        self.add(day, "generated", code, quantity, **members)

    def _month(self, month):
        last = date(2024, month, 28)
        way = self.random.choice(["linked", "single", "weekly"])
        week = {}
        for _ in range(self.random.randint(8, 16)):
            day = date(2024, month, self.random.randint(1, 20))
            job = self.random.choice(["oil", "oil", "oil", "battery", "tyre", "other"])
            self._visit(day, job, month, way, week)
        for job in ("oil", "battery", "tyre"):
            self._visit(date(2024, month, 12), job, month, way, week)
        for (end, code), quantity in week.items():
            self.declared(end, code, quantity)
        if self.surplus and self.surplus[1] == month:
            self.stock[self.surplus[0]] += self.surplus[2]
            self.add(date(2024, month, 15), "generated", self.surplus[0], self.surplus[2])
        self._mistake(date(2024, month, self.random.randint(1, 28)))
        for code in CODES:
            self._month_end(code, last)
        self.month_ends.append(last)

    def _visit(self, day, job, month, way, week):
        number = self.number("R")
        self.put(repair(number, day, job), number)
        for code, quantity in EXPECTS[job].items():
            if (code, month) in self.omit:
                continue
            if way == "weekly":
                end = date(2024, month, min(27, (day.day // 7 + 1) * 7))
                week[end, code] = week.get((end, code), 0) + quantity
            else:
                later = day + timedelta(self.random.randint(0, 6))
                self.declared(later, code, quantity, **({"costlistcode": number} if way == "linked" else {}))

    def _mistake(self, day):
        code = self.random.choice(CODES)
        wrong = self.add(day, "generated", code, 500)
        self.add(day + timedelta(self.random.randint(0, 40)), "generated", code, -500, reverses=wrong.number)

    def _month_end(self, code, last):
        quantity = self.stock[code] - (1 if UNITS[code] == "piece" and self.stock[code] > 1 else 0)
        if quantity > 0:
            self.hand_over(last, code, quantity)
        if self.counts:
            self.add(last, "counted", code, self.stock[code])

    def hand_over(self, day, code, quantity):
        self.stock[code] -= quantity
        number = ""
        if code != TYRE:
            number = self.number("20243301")
            self.put(manifest(number, day, code, quantity), number)
        members = {"manifest": number, "licence": LICENCE} if number else {}
        return self.add(day, "handed-over", code, quantity, **members)

    def shuffled(self, rounds=1):
        """The facts in another order, some twice, some with an older version beside them."""
        facts = list(self.facts.values())
        entries = [one for one in facts if one.kind == "waste-event"]
        wrong = {"quantity": Decimal(7777), "reverses": None}
        old = [
            one._replace(version=0, record=one.record.model_copy(update=wrong))
            for one in self.random.sample(entries, min(5, len(entries)))
        ]
        found = [*facts, *self.random.sample(facts, min(10, len(facts))), *old] * rounds
        self.random.shuffle(found)
        return found
