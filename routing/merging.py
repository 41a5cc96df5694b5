"""One visit that arrives by both ways, from the shop and from the OEM's headquarters (domain table 7.3, own rule).

Merging is one to one and never makes a new version: the store keeps both contents, its readers see one record.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from routing.dealers import SYSTEM_PREFIX

DAYS_APART = 1
"""Most days between the settle dates of one visit."""


class Visit(NamedTuple):
    """What merging looks at of one record."""

    key: str
    """Record key: collecting system, company code, list code."""
    vin: str
    company: str
    settledate: date
    mileage: Decimal
    costlistcode: str
    system: str
    """Collecting system; `oem-...` is the headquarters' way, any other the shop's."""
    dealer_of: str
    """OEM id that the company is a dealer of on the settle date, or ''."""
    partner: str = ""
    """Key of the record that it is merged with already; empty when it stands for itself."""

    @property
    def from_headquarters(self) -> bool:
        """Whether it came by the OEM's headquarters."""
        return self.system.startswith(SYSTEM_PREFIX)


def same_visit(a: Visit, b: Visit) -> bool:
    """Whether two records tell of one visit; symmetric.

    Same VIN and company, which is a dealer of the same OEM on both days; one by the shop, one by that OEM's
    headquarters; settled at most one day apart; equal list code or equal mileage (0 stands for an unknown mileage and
    proves nothing).
    """
    if a.vin != b.vin or a.company != b.company or not a.dealer_of or a.dealer_of != b.dealer_of:
        return False
    if a.from_headquarters == b.from_headquarters:
        return False
    if (a if a.from_headquarters else b).system != SYSTEM_PREFIX + a.dealer_of:
        return False
    if abs((a.settledate - b.settledate).days) > DAYS_APART:
        return False
    return _same_list_code(a, b) or _same_mileage(a, b)


def match_one(candidate: Visit, visits: Iterable[Visit]) -> Visit | None:
    """The one visit to merge the candidate with, or None; the same whatever the order of `visits`.

    A pair that was made once stays: a candidate (or visit) with a partner matches that partner only. Otherwise the
    nearest wins: equal list code and mileage, then equal list code, then fewer days apart, then the smaller key.
    """
    found = [
        visit
        for visit in visits
        if _free_for(candidate, visit) and (candidate.partner == visit.key or same_visit(candidate, visit))
    ]
    return min(found, key=lambda visit: _distance(candidate, visit), default=None)


def _free_for(candidate: Visit, visit: Visit) -> bool:
    if candidate.key == visit.key:
        return False
    return candidate.partner in ("", visit.key) and visit.partner in ("", candidate.key)


def _same_list_code(a: Visit, b: Visit) -> bool:
    return bool(a.costlistcode) and a.costlistcode == b.costlistcode


def _same_mileage(a: Visit, b: Visit) -> bool:
    return a.mileage > 0 and a.mileage == b.mileage


def _distance(candidate: Visit, visit: Visit) -> tuple[bool, bool, bool, int, str]:
    settled = candidate.partner == visit.key or visit.partner == candidate.key
    apart = abs((candidate.settledate - visit.settledate).days)
    return not settled, not _same_list_code(candidate, visit), not _same_mileage(candidate, visit), apart, visit.key
