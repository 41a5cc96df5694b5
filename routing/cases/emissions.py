"""The emission loop of one vehicle: failed at an I station -> repaired at an M station -> passed (环大气〔2020〕31号).

From the inspections, repairs and decisions (`im-match`) of a vehicle follow its closures, which the environment
department takes, and its cases, which say what is still due.

How a repair is linked to a failed test, the first that holds:

1. a person's decision;
2. the report's number: `test_no` of the row of RepairInfo_M that an M station sent of it, else what its fault
   description names (`报告编码{...}`);
3. VIN and time: it began between that test and the next one, at most `window_days` after it, and it was done at an M
   station or says that it is about emissions.

An M station's row is the same repair as a shop's record of its company and settlement list; one of which there is no
record is a repair by itself.

A repair whose report is none of this vehicle (not yet, or of another one) waits as a case `to-match`; nothing is sent
of it. A repair by a shop that is no M station is shown and moves nothing. A closure is sent of each repair at an M
station that is linked to a failed test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from mappings.documents import Document
from mappings.documents.closures import Closure, closure_of, row_of
from mappings.documents.imcases import Event, ImCase, Match, State
from mappings.documents.inspections import Inspection
from mappings.documents.mstations import MStation
from mappings.records import RepairRow
from mappings.reportnumbers import LINKING, folded, linked
from routing.cases import REPAIR, Fact, Subject
from routing.cases.visits import Visit, visits
from routing.mstations import MStations


class Deadline(BaseModel):
    """How long each step may take. The limits are local and not public: the defaults are our own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repair_days: int = Field(default=30, ge=0)
    """Days from a failed test to the repair."""
    test_days: int = Field(default=30, ge=0)
    """Days from the repair to the test after it."""


class Settings(BaseModel):
    """What the emission loop is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    stations: MStations | None = None
    """The register of M stations. Without one every shop counts as one, and time alone links no repair."""
    window_days: int = Field(default=90, ge=0)
    """Days after a failed test within which a repair that names no report is taken to answer it."""
    words: tuple[str, ...] = ("尾气", "排放")
    """A repair is about emissions when its fault description or a project has one of these."""
    deadline: Deadline = Deadline()
    deadlines: Mapping[str, Deadline] = Field(default_factory=dict)
    """Deadlines of single divisions by the first digits of their codes; the longest that fits the test's counts."""

    def deadline_of(self, area: str | None) -> Deadline:
        """The deadline in a division."""
        fitting = [code for code in self.deadlines if (area or "").startswith(code)]
        return self.deadlines[max(fitting, key=len)] if fitting else self.deadline


class Repair(NamedTuple):
    """One repair as the loop sees it."""

    key: str
    company: str
    """The shop's code, an M station's `companyuniquecode`."""
    begun: date
    settled: date
    counts: bool
    """Whether it was done at an M station."""
    timely: bool
    """Whether time alone may link it."""
    worded: bool
    """Whether it says that it is about emissions."""
    named: str | None
    """The report that it names, or that a person decided on."""
    row: RepairRow | None
    """None of a repair that stands in another vehicle's file."""
    station: MStation | None = None


class Emissions:
    """The derivation."""

    name = "emissions"
    by: Subject = "vin"
    takes = frozenset({REPAIR, Inspection.KIND, Match.KIND, Closure.KIND})
    needs = frozenset({Inspection.KIND, Match.KIND, Closure.KIND})
    gives = frozenset({Closure.KIND, ImCase.KIND})
    skims = False
    daily = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._words = re.compile("|".join(map(re.escape, settings.words)) or "(?!)")
        self.words = (LINKING, *settings.words)

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[Document]:
        """Closures and cases of one vehicle. `today` changes nothing: what is overdue, the reports ask for a day."""
        if all(fact.repair is not None and self._silent(fact.repair) for fact in facts):  # nearly every vehicle
            return []
        newest, told = self._joined(_newest(facts))
        decided = _decisions(newest)
        courses = _courses(visits(fact.record for fact in newest if isinstance(fact.record, Inspection)))
        found: dict[tuple[str, str], Document] = {}
        for repair in self._repairs(subject, newest, decided, told):
            for document in self._place(subject, repair, courses):
                found.setdefault((document.identity.issuer, document.listed), document)
        for fact in newest:
            for closure in self._given_away(subject, fact, decided):
                found.setdefault((closure.identity.issuer, closure.listed), closure)
        cases = (self._case(subject, course) for course in courses if course.visits[0].passed is False)
        return [*found.values(), *cases]

    def _silent(self, repair: RepairRow) -> bool:
        """Whether nothing follows of a repair by itself, in a file without inspections and decisions."""
        return linked(repair.faultdescription) is None and not self._worded(repair)

    def _worded(self, repair: RepairRow) -> bool:
        texts = (repair.faultdescription, *(project.name for project in repair.projects))
        return any(self._words.search(text) for text in texts)

    def _repairs(
        self, subject: str, facts: Sequence[Fact], decided: Mapping[str, Match], told: Mapping[str, str]
    ) -> Iterator[Repair]:
        """The repairs of this file: its own but for those that a person took out, and those that a person put in."""
        own = set()
        for fact in facts:
            if fact.repair is not None:
                own.add(fact.key)
                match = decided.get(fact.key)
                if match is None or (match.reportno is not None and match.reportvin == subject):
                    yield self._own(fact.key, fact.repair, match, told.get(fact.key))
        for match in sorted(decided.values(), key=lambda one: one.repair):
            if match.repair not in own and match.reportvin == subject != match.repairvin:
                yield self._foreign(match)

    def _joined(self, facts: Sequence[Fact]) -> tuple[list[Fact], dict[str, str]]:
        """Facts with M stations' rows as repairs where there is no record of them; record key -> their `test_no`."""
        records = {(one.repair.companycode, one.repair.costlistcode): one.key for one in facts if one.repair}
        joined, told = [], {}
        for fact in facts:
            sent = fact.record
            if not isinstance(sent, Closure):
                joined.append(fact)
                continue
            station = self._station(sent.companyuniquecode, sent.settledate)
            codes = (sent.companyuniquecode, station.companycode if station else "")
            key = next((records[code, sent.costlistcode] for code in codes if (code, sent.costlistcode) in records), "")
            if not key:
                joined.append(fact._replace(record=row_of(sent)))
            if sent.test_no:
                told[key or fact.key] = sent.test_no
        return joined, told

    def _own(self, key: str, row: RepairRow, match: Match | None, told: str | None = None) -> Repair:
        station = self._station(row.companycode, row.settledate)
        named = match.reportno if match is not None else told or linked(row.faultdescription)
        worded = self._worded(row)
        return Repair(
            key=key,
            company=station.companyuniquecode if station else row.companycode,
            begun=row.repairdate,
            settled=row.settledate,
            counts=station is not None or self._settings.stations is None,
            timely=station is not None or worded,
            worded=worded,
            named=folded(named) if named else None,
            row=row,
            station=station,
        )

    def _foreign(self, match: Match) -> Repair:
        station = self._station(match.companyuniquecode, match.settledate)
        return Repair(
            key=match.repair,
            company=station.companyuniquecode if station else match.companyuniquecode,
            begun=match.repairdate,
            settled=match.settledate,
            counts=station is not None or self._settings.stations is None,
            timely=False,
            worded=True,
            named=match.reportno,
            row=None,
        )

    def _station(self, company: str, day: date) -> MStation | None:
        return self._settings.stations.of(company, day) if self._settings.stations is not None else None

    def _place(self, subject: str, repair: Repair, courses: Sequence[Course]) -> Iterator[Document]:
        """Put a repair into the course that it answers; gives what follows of it alone."""
        if repair.named is not None:
            course, at = _by_number(repair, courses)
            if course is None:
                yield self._unmatched(subject, repair, courses, "to-match", "TESTNO_VIN_MISMATCH")
                return
        else:
            course, at = _by_time(repair, courses, self._settings.window_days)
        if course is not None and course.visits[at].passed is False:
            course.repairs.append((at, repair))
            if repair.row is not None and repair.counts:
                yield _closure(repair, repair.row, course.visits[at].ref)
        elif repair.named is not None or (repair.worded and repair.station is not None):
            yield self._unmatched(subject, repair, courses, "no-test", "REPAIR_WITHOUT_FAILED_TEST")

    def _given_away(self, subject: str, fact: Fact, decided: Mapping[str, Match]) -> Iterator[Closure]:
        """The closure of a repair of this file that a person decided to be another vehicle's."""
        match, row = decided.get(fact.key), fact.repair
        if match is None or row is None or match.reportno is None or match.reportvin in (None, subject):
            return
        repair = self._own(fact.key, row, match)
        if repair.counts:
            yield _closure(repair, row, match.reportno, match.reportvin or "")

    def _unmatched(self, subject: str, repair: Repair, courses: Sequence[Course], state: State, finding: str) -> ImCase:
        candidates = [visit.ref for course in courses for visit in course.failed if visit.day <= repair.settled]
        findings = {finding} if repair.counts else {finding, "NOT_AN_M_STATION"}
        return ImCase(
            vin=subject,
            state=state,
            issuer=repair.company,
            number=f"{repair.key}/{subject}",
            opened=repair.settled,
            area=repair.station.area if repair.station else None,
            named=repair.named,
            candidates=tuple(candidates),
            events=(_event(repair),),
            findings=tuple(sorted(findings)),
        )

    def _case(self, subject: str, course: Course) -> ImCase:
        first, last = course.visits[0], course.failed[-1]
        answers = [repair for at, repair in course.repairs if course.visits[at] is last]
        repaired = max((repair.settled for repair in answers if repair.counts), default=None)
        deadline = self._settings.deadline_of(first.area)
        state: State = "failed" if len(course.failed) == 1 else "failed-again"
        due: date | None = _plus(last.day, deadline.repair_days)
        if course.closed is not None:
            state, due = "closed", None
        elif repaired is not None:
            state, due = "repaired", _plus(repaired, deadline.test_days)
        findings = set()
        if course.closed is not None and not answers:
            findings.add("PASSED_WITHOUT_REPAIR")
        if any(not repair.counts for _, repair in course.repairs):
            findings.add("NOT_AN_M_STATION")
        return ImCase(
            vin=subject,
            state=state,
            issuer=first.station,
            number=f"{first.ref}/{subject}",
            opened=first.day,
            due=due,
            closed=course.closed.day if course.closed else None,
            area=first.area,
            events=tuple(course.events()),
            findings=tuple(sorted(findings)),
        )


class Course:
    """The visits of one case, from its first failed one to the pass that ends it; or passes that ended none."""

    def __init__(self, first: Visit) -> None:
        self.visits = [first]
        self.repairs: list[tuple[int, Repair]] = []
        """Repairs with the place of the visit that each of them answers."""

    @property
    def failed(self) -> list[Visit]:
        """Its failed visits."""
        return [visit for visit in self.visits if not visit.passed]

    @property
    def closed(self) -> Visit | None:
        """The pass that ended it."""
        return self.visits[-1] if self.visits[-1].passed else None

    def events(self) -> Iterator[Event]:
        """Its steps in order: each visit, then the repairs that answer it by settlement."""
        for at, visit in enumerate(self.visits):
            what = "passed" if visit.passed else "failed"
            yield Event.model_validate({"what": what, "day": visit.day, "ref": visit.ref, "by": visit.station})
            answers = [repair for place, repair in self.repairs if place == at]
            yield from map(_event, sorted(answers, key=lambda one: (one.settled, one.key)))


def _newest(facts: Iterable[Fact]) -> list[Fact]:
    """Each fact once, in its newest version, in the order of keys."""
    found: dict[str, Fact] = {}
    for fact in facts:
        if fact.key not in found or fact.version > found[fact.key].version:
            found[fact.key] = fact
    return [found[key] for key in sorted(found)]


def _decisions(facts: Iterable[Fact]) -> dict[str, Match]:
    """The last decision about each repair, by its key."""
    matches = [fact.record for fact in facts if isinstance(fact.record, Match)]
    return {match.repair: match for match in sorted(matches, key=lambda one: (one.decidedat, one.office))}


def _courses(given: Iterable[Visit]) -> list[Course]:
    courses: list[Course] = []
    for visit in given:
        running = courses[-1] if courses and courses[-1].closed is None else None
        if running is None:
            courses.append(Course(visit))
        else:
            running.visits.append(visit)
    return courses


def _by_number(repair: Repair, courses: Sequence[Course]) -> tuple[Course | None, int]:
    """The visit whose number a repair names; in its course a later failed visit that the repair follows by its days."""
    for course in courses:
        for at, visit in enumerate(course.visits):
            if repair.named in visit.numbers:
                later = [place for place in _between(repair, course) if place > at and not visit.passed]
                return course, later[-1] if later else at
    return None, 0


def _by_time(repair: Repair, courses: Sequence[Course], window: int) -> tuple[Course | None, int]:
    """The last failed visit that a repair follows before the next visit, within the window."""
    if repair.timely:
        for course in reversed(courses):
            fitting = [at for at in _between(repair, course) if (repair.begun - course.visits[at].day).days <= window]
            if fitting:
                return course, fitting[-1]
    return None, 0


def _between(repair: Repair, course: Course) -> list[int]:
    """Places of the failed visits of a course after which the repair began, and before the next visit, by days."""
    found = []
    for at, visit in enumerate(course.visits):
        following = course.visits[at + 1].day if at + 1 < len(course.visits) else date.max
        if not visit.passed and visit.day <= repair.begun <= following:
            found.append(at)
    return found


def _closure(repair: Repair, row: RepairRow, report: str, vin: str = "") -> Closure:
    station = repair.station
    return closure_of(
        row,
        report,
        vin=vin,
        unique=station.companyuniquecode if station else "",
        area=station.area if station else None,
    )


def _event(repair: Repair) -> Event:
    return Event(what="repaired", day=repair.settled, ref=repair.key, by=repair.company, counts=repair.counts)


def _plus(day: date, days: int) -> date:
    return day + timedelta(days=min(days, (date.max - day).days))
