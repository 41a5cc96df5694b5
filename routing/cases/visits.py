"""Visits: what belongs to one appearance of a vehicle at an I station, from the results that were told of it.

One test may be told twice (the station's message and the environment system's row), and the check of the on-board
diagnosis is a result of its own. A visit passed when every result of it did.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import date, datetime
from typing import NamedTuple

from mappings.documents.inspections import Inspection
from mappings.reportnumbers import folded
from mappings.rules.measures import OBD


class Visit(NamedTuple):
    """One appearance at an I station."""

    end: datetime
    station: str
    ref: str
    """Its report's number; of one without a report the number of a result."""
    numbers: frozenset[str]
    """Every number that it is known by."""
    passed: bool
    area: str | None

    @property
    def day(self) -> date:
        """The day in China."""
        return self.end.date()


def visits(results: Iterable[Inspection]) -> list[Visit]:
    """The visits of one vehicle, in order of time.

    A check of the on-board diagnosis alone is a visit only where it failed: it cannot say that the vehicle passed.
    """
    given = sorted(results, key=_order)
    tests = _together((one for one in given if one.method != OBD), _test_keys)
    alone: list[Inspection] = []
    for check in (one for one in given if one.method == OBD):
        near = [group for group in tests if _registered(check) & set(map(_registration, group))]
        later = [group for group in near if group[0].endtime >= check.endtime]
        (later[0] if later else near[-1] if near else alone).append(check)
    checks = [group for group in _together(alone, _registered) if not all(one.passed for one in group)]
    return sorted(map(_visit, (*tests, *checks)), key=lambda one: (one.end, one.station, one.ref))


def _together(
    results: Iterable[Inspection], keys_of: Callable[[Inspection], Iterable[Hashable]]
) -> list[list[Inspection]]:
    """Results that share a key, directly or over others, as groups; order kept within and among them."""
    group_of: dict[Hashable, list[Inspection]] = {}
    groups: list[list[Inspection]] = []
    for one in results:
        keys = list(keys_of(one))
        touched = [group for group in groups if any(group_of.get(key) is group for key in keys)]
        joined = [*(member for group in touched for member in group), one]
        groups = [group for group in groups if group not in touched] + [joined]
        group_of |= {key: joined for member in joined for key in keys_of(member)}
    return sorted((sorted(group, key=_order) for group in groups), key=lambda group: _order(group[0]))


def _test_keys(one: Inspection) -> Iterator[Hashable]:
    yield one.stationcode, one.endtime
    if one.reportno:
        yield one.reportno


def _registration(one: Inspection) -> Hashable:
    return one.stationcode, one.inspectionid


def _registered(one: Inspection) -> set[Hashable]:
    return {_registration(one) if one.inspectionid else one.identity}


def _visit(group: list[Inspection]) -> Visit:
    reports = sorted({one.reportno for one in group if one.reportno})
    numbers = {number for one in group for number in (one.reportno, one.inspectionid, one.resultid) if number}
    return Visit(
        end=max(one.endtime for one in group),
        station=group[0].stationcode,
        ref=reports[0] if reports else group[0].identity.number,
        numbers=frozenset(map(folded, numbers)),
        passed=all(one.passed for one in group),
        area=min((one.area for one in group if one.area), default=None),
    )


def _order(one: Inspection) -> tuple[datetime, str, str]:
    return one.endtime, one.stationcode, one.identity.number
