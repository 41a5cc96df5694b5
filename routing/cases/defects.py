"""Defect leads: equal faults of one model in one province and month, told only where many share them (82号 (8)).

A cluster is the symptom (`mappings.symptoms`) together with a part that was used, or with no part where a visit names
none; so no lead is another one plus a few vehicles more. It is told where it has at least `threshold` vehicles and
comes from at least `k` vehicles *and* `k` shops. Who compares two versions of a lead sees that it grew, not by whom.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, StringConstraints

from mappings import divisions, vin
from mappings.documents.market import DefectLead
from mappings.folding import compact
from mappings.symptoms import part_code, part_name, symptom
from routing.cases import REPAIR, Fact, Subject
from routing.cases.newest import Repair, repairs

MODEL_LENGTH = 8
_TELLING = 4
"""Fewest characters of a name or number that count as telling of somebody when they stand in a text."""


_ROUTINE = (
    "首次 常规 定期 例行 车主自行 自行 小 大 做 更换 机油 机滤 三滤 保养 维护 二级维护 小修 维修 检测 检查 年检 年审 "
    "洗车 美容 贴膜 事故 事故车 钣金 喷漆 四轮定位 轮胎"
)


class Settings(BaseModel, frozen=True, extra="forbid"):
    """What makes a cluster a lead."""

    issuer: str = "vingate"
    """Who tells: the code of the system that holds the archive."""
    k: Annotated[int, Field(ge=2)] = 5
    """Fewest vehicles and fewest shops of a lead (k-anonymity)."""
    threshold: Annotated[int, Field(ge=2)] = 10
    """Fewest vehicles of a lead, where that is more than `k`."""
    band: Annotated[int, Field(ge=1_000)] = 10_000
    """Width of a mileage band, km."""
    wmis: frozenset[Annotated[str, StringConstraints(pattern=r"^[A-HJ-NPR-Z0-9]{3}$")]] = frozenset()
    """The first 3 of the VINs of one maker, who learns of its own models only; empty: every maker's."""
    routine: tuple[str, ...] = tuple(_ROUTINE.split())
    """Words of visits without a fault: a text that has nothing else tells of none."""


class _Case(NamedTuple):
    repair: Repair
    code: str
    """Code of the part."""


class _Cluster(NamedTuple):
    region: str
    month: str
    fault: str
    part: str


class Defects:
    """Leads by model (the first 8 of the VIN)."""

    name = "defects"
    by: Subject = "model"
    takes = frozenset({REPAIR})
    needs = frozenset[str]()
    words: tuple[str, ...] = ()
    gives = frozenset({DefectLead.KIND})
    skims = False
    daily = False

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._routine = sorted(map(symptom, self.settings.routine), key=len, reverse=True)
        self._least = max(self.settings.k, self.settings.threshold)
        """So many vehicles make a lead at least."""
        self._is_fault = lru_cache(maxsize=16_384)(self._says_more)

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[DefectLead]:
        """The leads on one model, by their clusters."""
        del today
        if len(subject) != MODEL_LENGTH or not vin.is_alphabet(subject):
            return []
        if self.settings.wmis and subject[:3] not in self.settings.wmis:
            return []
        clusters = self._clusters(subject, repairs(facts))
        many = sorted(cluster for cluster, cases in clusters.items() if len(cases) >= self._least)
        found = (self._lead(subject, cluster, clusters[cluster]) for cluster in many)
        return [lead for lead in found if lead is not None]

    def _clusters(self, model: str, known: list[Repair]) -> dict[_Cluster, list[_Case]]:
        alike: dict[tuple[str, str, str], list[Repair]] = defaultdict(list)
        for one in known:
            row = one.row
            fault, region = symptom(row.faultdescription), _region(one)
            if not region or not row.companycode or row.vin[:MODEL_LENGTH] != model or not self._is_fault(fault):
                continue
            alike[region, row.repairdate.isoformat()[:7], fault].append(one)
        clusters: dict[_Cluster, list[_Case]] = defaultdict(list)
        for (region, month, fault), some in alike.items():
            for one in some if len(some) >= self._least else ():
                parts = {(name, part_code(part.code)) for part in one.row.parts if (name := part_name(part.name))}
                for name, code in sorted(parts) or [("", "")]:
                    clusters[_Cluster(region, month, fault, name)].append(_Case(one, code))
        return clusters

    def _says_more(self, text: str) -> bool:
        """Whether a symptom says more than what every visit says."""
        for word in self._routine:
            text = text.replace(word, "") if word else text
        return len(text.replace(" ", "")) > 1

    def _lead(self, model: str, cluster: _Cluster, cases: list[_Case]) -> DefectLead | None:
        """The lead of a cluster, or None where too few share it or where its texts tell of somebody."""
        settings = self.settings
        if _vehicles(cases) < self._least or _shops(cases) < settings.k:
            return None
        code = self._common_code(cases)
        if _tells(cases, cluster.fault, cluster.part, code or ""):
            return None
        makers = {vin.maker(case.repair.row.vin) for case in cases}
        band = _median_mileage(cases) // settings.band * settings.band
        return DefectLead(
            issuer=settings.issuer,
            number=sha256("\x1f".join((model, *cluster)).encode()).hexdigest()[:24],
            model=model,
            maker=makers.pop() if len(makers) == 1 else None,
            region=cluster.region,
            month=cluster.month,
            mileagefrom=band,
            mileageto=band + settings.band,
            fault=cluster.fault,
            part=cluster.part or None,
            partcode=code,
            count=_vehicles(cases),
            evidence=_evidence(cases),
        )

    def _common_code(self, cases: list[_Case]) -> str | None:
        """The part's code that most vehicles have, where enough vehicles and shops have it."""
        by_code: dict[str, list[_Case]] = defaultdict(list)
        for case in cases:
            by_code[case.code].append(case)
        k = self.settings.k
        enough = [
            (-_vehicles(having), code)
            for code, having in by_code.items()
            if code and _vehicles(having) >= k and _shops(having) >= k
        ]
        return min(enough)[1] if enough else None


def _region(repair: Repair) -> str:
    """The province of the shop by its code, else of the province that collected the record; empty where unknown."""
    known = divisions.of_company(repair.row.companycode)
    return known or (repair.fact.system if repair.fact.system in divisions.PROVINCES else "")


def _vehicles(cases: list[_Case]) -> int:
    return len({case.repair.row.vin for case in cases})


def _shops(cases: list[_Case]) -> int:
    return len({case.repair.row.companycode for case in cases})


def _median_mileage(cases: list[_Case]) -> int:
    """Lower median over the vehicles, of each its highest reading in the cluster (km); a zero is no reading."""
    highest: dict[str, int] = {}
    for case in cases:
        row = case.repair.row
        highest[row.vin] = max(highest.get(row.vin, 0), int(row.mileage))
    read = sorted(mileage for mileage in highest.values() if mileage > 0)
    return read[(len(read) - 1) // 2] if read else 0


def _tells(cases: list[_Case], *texts: str) -> bool:
    """Whether a text holds the name or number of a shop, vehicle or settlement of these cases, letter for letter."""
    told = "\n".join(map(compact, texts))
    names: set[str] = set()
    for row in (case.repair.row for case in cases):
        names.update((row.companyname, row.companycode, row.plate, row.plate[1:], row.vin, row.costlistcode))
    return any(len(name) >= _TELLING and name in told for name in map(compact, names))


def _evidence(cases: list[_Case]) -> str:
    facts = {f"{case.repair.fact.key}@{case.repair.fact.version}" for case in cases}
    return sha256("\n".join(sorted(facts)).encode()).hexdigest()
