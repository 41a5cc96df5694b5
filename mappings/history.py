"""History rules: findings that need earlier records. They ask a store through a narrow interface, a batch at a time.

Ground: domain rules 14 (mileage and identities that do not fit), 15 (prices sent as hours), 18 (company name) and
19 (lateness). Each can be switched by its code, for each exchange.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, Protocol

from mappings.dates import day_in_shanghai
from mappings.findings import Finding, Profile
from mappings.records import RepairRow

HISTORY_CODES = frozenset(
    {
        "MILEAGE_REGRESSION",
        "VIN_MANY_PLATES",
        "PLATE_MANY_VINS",
        "PRICE_AS_HOURS",
        "COMPANY_NAME_MISMATCH",
        "SETTLED_LATE",
    }
)
"""The codes that this module can give; an exchange passes the subset that it wants."""

_TEN = Decimal(10)


class Visit(NamedTuple):
    """What history keeps of one repair record: who, which vehicle, when, and how far it had come (km)."""

    companycode: str
    costlistcode: str
    vin: str
    plate: str
    repairdate: date
    settledate: date
    mileage: Decimal


class HoursShare(NamedTuple):
    """How many project rows of a company carry hours over 0, and how many of those are whole multiples of 10."""

    rows: int
    tens: int


class History(Protocol):
    """The questions that history rules ask. Every answer may leave out what is unknown; order does not matter."""

    def visits_of_vins(self, vins: Collection[str]) -> Iterable[Visit]:
        """Every known visit of these vehicles, at any shop."""

    def visits_of_plates(self, plates: Collection[str]) -> Iterable[Visit]:
        """Every known visit under these plates, at any shop."""

    def hours_of(self, companies: Collection[str]) -> Mapping[str, HoursShare]:
        """Company code -> its hours so far."""

    def names_of(self, companies: Collection[str]) -> Mapping[str, str]:
        """Company code -> the name that it is registered under."""


@dataclass
class MemoryHistory:
    """History in memory: for tests, and for what a batch adds to the store's answers."""

    by_vin: dict[str, dict[tuple[str, str], Visit]] = field(default_factory=dict)
    by_plate: dict[str, dict[tuple[str, str], Visit]] = field(default_factory=dict)
    hours: dict[str, HoursShare] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    _latest: dict[tuple[str, str], Visit] = field(default_factory=dict)
    _shared: tuple[RepairRow, HoursShare] | None = None

    def add(self, row: RepairRow) -> None:
        """Remember a record. A later version of the same record replaces the earlier visit."""
        self.remember(visit(row))
        rows, tens = self.hours.get(row.companycode, HoursShare(0, 0))
        own = self.share(row)
        self.hours[row.companycode] = HoursShare(rows + own.rows, tens + own.tens)

    def share(self, row: RepairRow) -> HoursShare:
        """The row's own hours; of the row that was asked for last they are known."""
        if self._shared is None or self._shared[0] is not row:
            self._shared = row, share_of(row)
        return self._shared[1]

    def remember(self, known: Visit) -> None:
        """Remember a visit alone, without hours; it replaces an earlier version of itself."""
        key = (known.companycode, known.costlistcode)
        before = self._latest.get(key)
        if before is not None:  # it may have been corrected to another vehicle or plate
            self.by_vin[before.vin].pop(key, None)
            self.by_plate[before.plate].pop(key, None)
        self._latest[key] = known
        self.by_vin.setdefault(known.vin, {})[key] = known
        self.by_plate.setdefault(known.plate, {})[key] = known

    def visits_of_vins(self, vins: Collection[str]) -> Iterable[Visit]:
        """Every known visit of these vehicles."""
        return [known for vin in vins for known in self.by_vin.get(vin, {}).values()]

    def visits_of_plates(self, plates: Collection[str]) -> Iterable[Visit]:
        """Every known visit under these plates."""
        return [known for plate in plates for known in self.by_plate.get(plate, {}).values()]

    def hours_of(self, companies: Collection[str]) -> Mapping[str, HoursShare]:
        """Company code -> its hours so far."""
        return {company: self.hours[company] for company in companies if company in self.hours}

    def names_of(self, companies: Collection[str]) -> Mapping[str, str]:
        """Company code -> the name that it is registered under."""
        return {company: self.names[company] for company in companies if company in self.names}


def visit(row: RepairRow) -> Visit:
    """What history keeps of a record."""
    return Visit(row.companycode, row.costlistcode, row.vin, row.plate, row.repairdate, row.settledate, row.mileage)


def batch_findings(
    rows: Sequence[RepairRow],
    history: History,
    received_at: datetime,
    profile: Profile,
    codes: Collection[str] = HISTORY_CODES,
) -> list[list[Finding]]:
    """The history findings of a batch, one list for each record, in order.

    The store is asked at most four questions for the whole batch. An earlier record of the batch counts as history
    for a later one.

    Args:
        rows: the judged records.
        history: the store; versions of the very record that is judged are left out of account.
        received_at: when the records came (aware).
        profile: severities and limits.
        codes: the rules that are switched on.
    """
    known = _ask(rows, history, frozenset(codes))
    day = day_in_shanghai(received_at)
    found = []
    for row in rows:
        found.append([finding for finding in _judge(row, known, day, profile) if finding.code in codes])
        known.add(row)
    return found


def _ask(rows: Sequence[RepairRow], history: History, codes: frozenset[str]) -> MemoryHistory:
    """What the store knows about the vehicles, plates and companies of a batch, for the rules switched on."""
    known = MemoryHistory()
    companies = {row.companycode for row in rows if row.companycode}
    if codes & {"MILEAGE_REGRESSION", "VIN_MANY_PLATES"}:
        for past in history.visits_of_vins({row.vin for row in rows}):
            known.remember(past)
    if "PLATE_MANY_VINS" in codes:
        for past in history.visits_of_plates({row.plate for row in rows}):
            known.remember(past)
    if "PRICE_AS_HOURS" in codes:
        known.hours.update(history.hours_of(companies))
    if "COMPANY_NAME_MISMATCH" in codes:
        known.names.update(history.names_of(companies))
    return known


def _judge(row: RepairRow, known: MemoryHistory, day: date, profile: Profile) -> Iterable[Finding]:
    """Every history rule in the order of domain table 9.1; those that need something known, where it is."""
    if known.by_vin.get(row.vin):
        yield from _mileage_regression(row, known, profile)
        yield from _vin_many_plates(row, known, profile)
    if known.by_plate.get(row.plate):
        yield from _plate_many_vins(row, known, profile)
    yield from _price_as_hours(row, known, profile)
    if row.companycode in known.names:
        yield from _company_name(row, known, profile)
    late = (day - row.settledate).days
    if late > profile.limits["late_days"]:
        yield _finding(
            profile, "SETTLED_LATE", "settledate", row.settledate.isoformat(), f"{profile.limits['late_days']} d"
        )


def _others(row: RepairRow, past: Mapping[tuple[str, str], Visit]) -> list[Visit]:
    """Visits other than earlier versions of the row itself, oldest first."""
    if not past:
        return []
    own = (row.companycode, row.costlistcode)
    return sorted((v for key, v in past.items() if key != own), key=lambda v: (v.repairdate, v.companycode, v[1]))


def _mileage_regression(row: RepairRow, known: MemoryHistory, profile: Profile) -> Iterable[Finding]:
    """Rule 14. A mileage of 0 is no reading (MILEAGE_ZERO says so) and is not compared."""
    earlier = [v for v in _others(row, known.by_vin.get(row.vin, {})) if v.repairdate < row.repairdate]
    highest = max((v.mileage for v in earlier), default=Decimal(0))
    if 0 < row.mileage < highest:
        yield _finding(profile, "MILEAGE_REGRESSION", "mileage", str(row.mileage), f">= {highest}")


def _vin_many_plates(row: RepairRow, known: MemoryHistory, profile: Profile) -> Iterable[Finding]:
    """Rule 14: the shop sent this VIN under another plate a short time before or after."""
    days = profile.limits["plate_change_days"]
    for past in _others(row, known.by_vin.get(row.vin, {})):
        near = abs((past.settledate - row.settledate).days) <= days
        if past.companycode == row.companycode and past.plate != row.plate and near:
            yield _finding(profile, "VIN_MANY_PLATES", "plate", row.plate, past.plate)
            return


def _plate_many_vins(row: RepairRow, known: MemoryHistory, profile: Profile) -> Iterable[Finding]:
    """Rule 14: the plate stands with another VIN."""
    for past in _others(row, known.by_plate.get(row.plate, {})):
        if past.vin != row.vin:
            yield _finding(profile, "PLATE_MANY_VINS", "vin", row.vin, past.vin)
            return


def share_of(row: RepairRow) -> HoursShare:
    """The row's own hours: zeros and texts do not count."""
    tens = [_whole_tens(worked) for _, worked in row.projects]
    return HoursShare(len(tens) - tens.count(None), tens.count(True))


@lru_cache(maxsize=4_096)
def _whole_tens(worked: Decimal | None) -> bool | None:
    """Whether hours are a multiple of 10; None: they do not count."""
    return worked % _TEN == 0 if worked is not None and worked > 0 else None


def _price_as_hours(row: RepairRow, known: MemoryHistory, profile: Profile) -> Iterable[Finding]:
    """Rule 15: nearly all hours of the company are whole multiples of 10, and this record has such hours."""
    own = known.share(row)
    past = known.hours.get(row.companycode, HoursShare(0, 0))
    rows, tens = own.rows + past.rows, own.tens + past.tens
    share = profile.limits["price_share_percent"]
    if row.companycode and own.tens and rows >= profile.limits["price_sample"] and tens * 100 >= share * rows:
        yield _finding(profile, "PRICE_AS_HOURS", "projects", f"{tens}/{rows} x 10", f"< {share} %")


def _company_name(row: RepairRow, known: MemoryHistory, profile: Profile) -> Iterable[Finding]:
    """Rule 18. Width of characters, case and spaces make no difference between two names."""
    registered = known.names.get(row.companycode)
    if registered is not None and _folded(registered) != _folded(row.companyname):
        yield _finding(profile, "COMPANY_NAME_MISMATCH", "companyname", row.companyname, registered)


def _folded(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).split()).casefold()


def _finding(profile: Profile, code: str, field_: str, value: str, expected: str) -> Finding:
    return Finding(code, profile.severities[code], field_, value[:100], expected[:100])
