"""Generated lives of vehicles in the emission loop: the events in order, and what must follow of them.

Each story is made of days that lie apart, so that what it means is beyond doubt. Some events were told wrongly first
(another result, vehicle or report) and corrected, some repairs were withdrawn.
"""

from __future__ import annotations

import random
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from mappings import vin
from mappings.dates import SHANGHAI
from mappings.documents import Document
from mappings.documents.imcases import Match
from mappings.documents.inspections import Inspection
from mappings.documents.mstations import MStation
from mappings.records import Part, Project, RepairRow
from routing.cases import Fact

M_SHOPS = ("330100000000001", "330200000000002", "330300000000003")
OTHER_SHOPS = ("330100000000008", "330200000000009")
TEST_STATIONS = ("3301020001", "3302030002", "3307020003")
REGISTER = [
    MStation(companyuniquecode=f"M{code[:6]}", companycode=code, area=f"{code[:4]}01", valid_from=date(2020, 1, 1))
    for code in M_SHOPS
]


class Event(NamedTuple):
    """One version of one record as it is told; no record where it was withdrawn."""

    key: str
    version: int
    record: RepairRow | Document | None


class Wanted(NamedTuple):
    """What must stand for a vehicle in the end: states and remarks of its cases, and the reports of its closures."""

    cases: list[tuple[str, tuple[str, ...]]]
    closures: list[str]


class Story(NamedTuple):
    """A vehicle, what was told of it in order, and what must follow."""

    vin: str
    events: list[Event]
    wanted: Wanted


def number_of(serial: int) -> str:
    """A VIN of that serial whose check digit is right."""
    text = f"LSVAL41Z0J{serial:07d}"
    return text[:8] + vin.check_digit(text) + text[9:]


def result(number: str, day: date, report: str, station: str, *, passed: bool, hour: int = 10) -> Inspection:
    """A result of a test."""
    return Inspection(
        stationcode=station,
        inspectionid=f"R{report[-12:]}",
        resultid=report[-8:],
        reportno=report,
        vin=number,
        fuel="A",
        method="didle",
        endtime=datetime.combine(day, time(hour), SHANGHAI),
        passed=passed,
        area=station[:6],
    )


def repair(
    number: str, begun: date, shop: str, code: str, fault: str = "车辆抖动", project: str = "更换火花塞"
) -> RepairRow:
    """A repair, settled on the next day."""
    return RepairRow(
        companycode=shop,
        companyname="某某汽车维修有限公司",
        plate="浙A12345",
        vin=number,
        repairdate=begun,
        settledate=begun + timedelta(days=1),
        mileage=Decimal(52000),
        faultdescription=fault,
        costlistcode=code,
        parts=(Part("火花塞", Decimal(4), "1205"),),
        projects=(Project(project, Decimal(2)),),
    )


def fact(key: str, record: RepairRow | Document, version: int = 1, received: datetime | None = None) -> Fact:
    """A fact as the pipeline gives it."""
    kind = record.KIND if isinstance(record, Document) else "repair"
    return Fact(kind, key, version, "33", received or datetime(2024, 6, 1, tzinfo=SHANGHAI), record)


class _Teller:
    """Tells one story."""

    def __init__(self, serial: int, rnd: random.Random) -> None:
        self.rnd, self.serial, self.vin = rnd, serial, number_of(serial)
        self.day = date(2023, 1, 1) + timedelta(days=rnd.randrange(300))
        self.events: list[Event] = []
        self.cases: list[tuple[str, tuple[str, ...]]] = []
        self.closures: list[str] = []
        self.count = 0

    def later(self) -> date:
        self.day += timedelta(days=self.rnd.randint(3, 12))
        return self.day

    def name(self) -> str:
        self.count += 1
        return f"3301001{self.serial:08d}{self.count:04d}{self.rnd.randrange(10**5):05d}"

    def tell(self, key: str, record: RepairRow | Document) -> None:
        """Sometimes wrongly first."""
        version = 1
        if self.rnd.random() < 0.3:
            self.events.append(Event(key, 1, self.mistaken(record)))
            version = 2
        self.events.append(Event(key, version, record))

    def mistaken(self, record: RepairRow | Document) -> RepairRow | Document:
        stranger = number_of(self.rnd.randrange(1000))
        if isinstance(record, Inspection):
            changes = [{"passed": not record.passed}, {"vin": stranger}, {"reportno": "330100999999999999999999"}]
            return record.model_copy(update=self.rnd.choice(changes))
        if isinstance(record, RepairRow):
            slips = [
                {"vin": stranger},
                {"faultdescription": "报告编码{330100888888888888888888}"},
                {"mileage": Decimal(5)},
            ]
            return record._replace(**self.rnd.choice(slips))
        return record.model_copy(update={"reason": "笔误"})

    def tested(self, *, passed: bool) -> str:
        report = self.name()
        station = self.rnd.choice(TEST_STATIONS)
        self.tell(f"33|{station}|inspection:{report}", result(self.vin, self.later(), report, station, passed=passed))
        return report

    def repaired(self, shop: str, fault: str) -> tuple[str, RepairRow]:
        code = f"WX{self.serial}-{self.count}-{self.rnd.randrange(10**6)}"
        record = repair(self.vin, self.later(), shop, code, fault)
        self.day += timedelta(days=1)
        key = f"33|{shop}|{code}"
        self.tell(key, record)
        return key, record

    def noise(self) -> None:
        """What must change nothing: a withdrawn repair, an ordinary one at an ordinary shop."""
        if self.rnd.random() < 0.2:
            key, record = f"33|{M_SHOPS[0]}|W{self.serial}-{self.count}", None
            told = repair(self.vin, self.day, M_SHOPS[0], key.rpartition("|")[2], "尾气超标")
            self.events += [Event(key, 1, told), Event(key, 2, record)]
        if self.rnd.random() < 0.3:
            self.repaired(self.rnd.choice(OTHER_SHOPS), "车辆抖动")

    def course(self) -> None:
        """From a failed test to a pass, or to where it stopped."""
        failures = self.rnd.choice([1, 1, 1, 2, 2, 3])
        remarks, how = set(), "none"
        for _ in range(failures):
            report = self.tested(passed=False)
            self.noise()
            how = self.rnd.choice(["named", "named", "timely", "elsewhere", "none"])
            if how == "named":
                self.repaired(self.rnd.choice(M_SHOPS), f"尾气超标，报告编码{{{report}}}")
            elif how == "timely":
                self.repaired(self.rnd.choice(M_SHOPS), "车辆抖动")
            elif how == "elsewhere":
                self.repaired(self.rnd.choice(OTHER_SHOPS), f"报告编码：{report}")
                remarks.add("NOT_AN_M_STATION")
            if how in ("named", "timely"):
                self.closures.append(report)
        if self.rnd.random() < 0.6:
            self.tested(passed=True)
            state = "closed"
            if how == "none":
                remarks.add("PASSED_WITHOUT_REPAIR")
        else:
            state = "repaired" if how in ("named", "timely") else "failed" if failures == 1 else "failed-again"
        self.cases.append((state, tuple(sorted(remarks))))

    def untested(self) -> None:
        """A pass at once, and an emission repair that nobody asked for."""
        report = self.tested(passed=True)
        if self.rnd.random() < 0.5:
            self.repaired(M_SHOPS[1], f"报告编码{{{report}}}")
            self.cases.append(("no-test", ("REPAIR_WITHOUT_FAILED_TEST",)))

    def mismatched(self) -> None:
        """A repair that names a report which is none of this vehicle; a person may decide what it answers."""
        report = self.tested(passed=False)
        key, record = self.repaired(M_SHOPS[2], "报告编码{330200777777777777777777}")
        decision = self.rnd.choice(["open", "this", "none"])
        if decision == "open":
            self.cases += [("failed", ()), ("to-match", ("TESTNO_VIN_MISMATCH",))]
            return
        this = decision == "this"
        match = Match(
            office="330100",
            repair=key,
            vin=self.vin,
            repairvin=self.vin,
            reportvin=self.vin if this else None,
            reportno=report if this else None,
            companyuniquecode="M330300",
            repairdate=record.repairdate,
            settledate=record.settledate,
            decidedby="HZ-0417",
            decidedat=datetime.combine(self.later(), time(9), SHANGHAI),
            reason="报告编号录入错误",
        )
        self.tell(f"33|330100|im-match:{key}", match)
        self.cases.append(("repaired" if this else "failed", ()))
        self.closures += [report] if this else []


def story(serial: int, rnd: random.Random) -> Story:
    """One vehicle's story."""
    teller = _Teller(serial, rnd)
    kind = rnd.random()
    if kind < 0.7:
        teller.course()
        if teller.cases[-1][0] == "closed" and rnd.random() < 0.3:
            teller.later()
            teller.day += timedelta(days=200)
            teller.course()
    elif kind < 0.85:
        teller.untested()
    else:
        teller.mismatched()
    return Story(teller.vin, teller.events, Wanted(sorted(teller.cases), sorted(teller.closures)))


def stories(count: int, seed: int) -> list[Story]:
    """That many vehicles."""
    rnd = random.Random(seed)  # noqa: S311 - the same lives in every run
    return [story(serial, rnd) for serial in range(count)]
