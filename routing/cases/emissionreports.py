"""Reports on the emission loop: pure functions over cases and closures, for any day and any set of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, NamedTuple

from mappings.documents.closures import Closure
from mappings.documents.imcases import FINDINGS, ImCase
from mappings.reportnumbers import area_of

UNKNOWN_AREA = ""
"""Division of a closure that names none."""


class Overdue(NamedTuple):
    """A case whose next step is late."""

    case: ImCase
    days: int


class PassRate(NamedTuple):
    """How vehicles that a station repaired (or tested again) fared at the next test."""

    station: str
    repairs: int
    tested: int
    """Repairs after which there was a test."""
    passed: int
    rate: Decimal | None
    """Per cent of the tested that passed, two places, half up; None where none was tested."""


class Received(NamedTuple):
    """Closures due and received of one day and division; they balance where the three lists are empty."""

    day: date
    area: str
    due: int
    received: int
    missing: tuple[str, ...] = ()
    """Due, and not there: M station and number."""
    differing: tuple[str, ...] = ()
    """There with another content."""
    unexpected: tuple[str, ...] = ()
    """There, and not due."""

    @property
    def balanced(self) -> bool:
        """Whether what was received is what was due."""
        return not (self.missing or self.differing or self.unexpected)


def overdue(cases: Iterable[ImCase], day: date) -> list[Overdue]:
    """Cases whose due day is before `day`, the latest first."""
    late = (Overdue(case, (day - case.due).days) for case in cases if case.due is not None and case.due < day)
    return sorted(late, key=lambda one: (-one.days, one.case.identity))


def to_match(cases: Iterable[ImCase]) -> list[ImCase]:
    """The queue of repairs that a person has to match, the oldest first."""
    return sorted((case for case in cases if case.state == "to-match"), key=lambda one: (one.opened, one.identity))


def remarked(cases: Iterable[ImCase], finding: str) -> list[ImCase]:
    """Cases with a remark, the oldest first: repairs without a failed test, passes without a repair, ...

    Raises:
        KeyError: no such remark (`mappings.documents.imcases.FINDINGS`).
    """
    if finding not in FINDINGS:
        message = f"没有这种提示，现有 / no remark {finding}, there are: {', '.join(FINDINGS)}"
        raise KeyError(message)
    return sorted((case for case in cases if finding in case.findings), key=lambda one: (one.opened, one.identity))


def not_m_stations(cases: Iterable[ImCase]) -> dict[str, tuple[str, ...]]:
    """Shops that are no M station -> the record keys of their emission repairs; most repairs first."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for case in cases:
        for event in case.events:
            if event.what == "repaired" and not event.counts:
                found[event.by].add(event.ref)
    return {shop: tuple(sorted(found[shop])) for shop in sorted(found, key=lambda one: (-len(found[one]), one))}


def pass_rates(cases: Iterable[ImCase], by: Literal["repairer", "tester"] = "repairer") -> list[PassRate]:
    """Re-inspection pass rate per M station, or per I station that tested again, over vehicles that were repaired.

    Of each repair the next test of its case counts; a repair by a shop that is no M station does not.
    """
    tests: defaultdict[str, list[bool | None]] = defaultdict(list)
    for case in cases:
        for at, event in enumerate(case.events):
            if event.what != "repaired" or not event.counts or case.state in ("to-match", "no-test"):
                continue
            after = next((one for one in case.events[at + 1 :] if one.what != "repaired"), None)
            station = event.by if by == "repairer" else after.by if after else None
            if station is not None:
                tests[station].append(None if after is None else after.what == "passed")
    return [_rate(station, outcomes) for station, outcomes in sorted(tests.items())]


def _rate(station: str, outcomes: list[bool | None]) -> PassRate:
    """The rate over repairs: passed at the next test, failed there, or None where there was none."""
    tested, passed = len(outcomes) - outcomes.count(None), outcomes.count(True)
    rate = (Decimal(100 * passed) / tested).quantize(Decimal("0.01"), ROUND_HALF_UP) if tested else None
    return PassRate(station, len(outcomes), tested, passed, rate)


def received(
    due: Iterable[Closure], there: Iterable[Closure], told: Callable[[Closure], object] = lambda closure: closure
) -> list[Received]:
    """Closures received against closures due, by day of settlement and division of the M station.

    Args:
        due: The closures that follow now.
        there: What the environment department says it holds, in the newest version.
        told: What of a closure the department may know: where that is equal, nothing differs.
    """
    wanted, held = ({one.identity[:2]: one for one in given} for given in (due, there))
    places: defaultdict[tuple[date, str], list[tuple[str, str]]] = defaultdict(list)
    for key in sorted(wanted.keys() | held.keys()):
        one = wanted.get(key) or held[key]
        places[one.settledate, one.area or area_of(one.companyuniquecode) or UNKNOWN_AREA].append(key)
    differing = {key for key in wanted.keys() & held.keys() if wanted[key] != held[key]}
    differing = {key for key in differing if told(wanted[key]) != told(held[key])}
    return [_received(place, keys, wanted, held, differing) for place, keys in sorted(places.items())]


_Key = tuple[str, str]
_Held = dict[_Key, Closure]


def _received(
    place: tuple[date, str], keys: list[_Key], wanted: _Held, held: _Held, differing: Collection[_Key]
) -> Received:
    names = {key: " ".join(key) for key in keys}
    return Received(
        *place,
        due=sum(key in wanted for key in keys),
        received=sum(key in held for key in keys),
        missing=tuple(names[key] for key in keys if key not in held),
        differing=tuple(names[key] for key in keys if key in differing),
        unexpected=tuple(names[key] for key in keys if key not in wanted),
    )
