"""Content: what a shop's clerk typed about one visit, before any client puts it on the wire."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from pipelines.sample.chance import Random, between, odds
from pipelines.sample.fleet import Vehicle
from pipelines.sample.shops import Shop
from pipelines.sample.words import JOBS

Day = tuple[int, int, int]
"""Year, month, day: also days that do not exist."""


@dataclass(slots=True)
class Visit:
    """A settled repair of one vehicle at one shop; days are offsets from the sample's first day."""

    vehicle: Vehicle
    shop: Shop
    day: int
    mileage: int
    returning: bool


@dataclass(slots=True)
class Content:
    """One record as typed: texts only, so that a fault is a changed text."""

    plate: str
    companyname: str
    vin: str
    repair: Day
    settle: Day
    mileage: str
    fault: str
    listcode: str
    parts: list[tuple[str, str, str]]
    """(name, quantity, code)"""
    projects: list[tuple[str, str]]
    """(name, hours)"""
    header: Day
    """The message's own day, for clients that send one."""
    clock: int
    """Seconds of the day at which it was sent."""
    codes: tuple[str, ...] = ()
    """Finding codes that this payload brings, as far as the sample knows: flags and rejects, and some infos."""
    quirks: tuple[str, ...] = ()
    """Names of what is odd about it (see `faults`)."""
    plate_kind: str = "normal"
    """Form of the plate as typed; `unknown` when it names no province and no special kind."""
    plate_home: str = ""
    """Province key that the plate as typed names."""
    returning: bool = False
    """Whether the vehicle was repaired before, so that its mileage can go back."""

    def twin(self) -> Content:
        """A copy that can be changed without changing this one."""
        other = copy(self)
        other.parts = list(self.parts)
        other.projects = list(self.projects)
        return other


def content_of(rng: Random, visit: Visit, first_day: date) -> Content:
    """The faultless content of a visit."""
    shop, vehicle = visit.shop, visit.vehicle
    settle = calendar(first_day, visit.day)
    stay = 0 if odds(rng, 0.6) else between(rng, 1, 3)
    number = 1 if odds(rng, 0.65) else 2
    jobs = [JOBS[between(rng, 0, len(JOBS) - 1)]]
    if number == 2:
        other = JOBS[between(rng, 0, len(JOBS) - 1)]
        if other is not jobs[0]:
            jobs.append(other)
    parts = [
        (spare.name, spare.quantities[int(rng.random() * len(spare.quantities))], spare.code)
        for job in jobs
        for spare in job.spares
    ]
    projects = [(job.project, job.hours[int(rng.random() * len(job.hours))]) for job in jobs]
    return Content(
        plate=vehicle.plate,
        companyname=shop.name,
        vin=vehicle.vin,
        repair=calendar(first_day, visit.day - stay),
        settle=settle,
        mileage=str(visit.mileage),
        fault="，".join(job.complaint for job in jobs),
        listcode=shop.next_listcode("{:04d}{:02d}{:02d}".format(*settle)),
        parts=parts,
        projects=projects,
        header=settle,
        clock=between(rng, 8 * 3600, 19 * 3600),
        codes=() if vehicle.bound else ("VIN_CHECK_DIGIT_NOT_APPLICABLE",),
        plate_kind=vehicle.kind,
        returning=visit.returning,
        plate_home="" if vehicle.homeless else ("65" if vehicle.province == "bt" else vehicle.province),
    )


@lru_cache(maxsize=512)
def calendar(first_day: date, offset: int) -> Day:
    """The day `offset` days after the first."""
    day = first_day + timedelta(days=offset)
    return day.year, day.month, day.day
