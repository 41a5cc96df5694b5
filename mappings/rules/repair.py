"""Rules on a repair record, whole or a single step of the Shanghai interface (domain 1.1, 1.2, 1.6 and 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from mappings.dates import day, day_in_shanghai
from mappings.records import RepairRow
from mappings.rules import fields, rows
from mappings.rules.case import Case

_READERS: Mapping[str, Callable[[Case], Any]] = {
    "companycode": fields.company_code,
    "companyname": lambda case: fields.required_text(case, "companyname"),
    "plate": fields.plate,
    "vin": fields.vehicle_number,
    "repairdate": lambda case: fields.required_day(case, "repairdate"),
    "settledate": lambda case: fields.required_day(case, "settledate"),
    "mileage": fields.mileage,
    "faultdescription": fields.fault,
    "costlistcode": lambda case: fields.required_text(case, "costlistcode"),
    "parts": rows.parts,
    "projects": rows.projects,
}
"""Member -> its reader, in the order of `RepairRow`."""

STEP_DEMANDS: Mapping[str, frozenset[str]] = {
    "insert": frozenset({"vin", "plate", "costlistcode", "repairdate", "mileage", "faultdescription"}),
    "items": frozenset({"costlistcode", "parts", "projects"}),
    "settle": frozenset({"costlistcode", "settledate"}),
    "correction": frozenset({"costlistcode"}),
    "car": frozenset({"vin", "plate"}),
    "order": frozenset({"costlistcode", "repairdate", "settledate", "mileage", "parts", "projects"}),
}
"""Step -> the members that it must bring (domain 1.6 and 1.7, M). The mileage, which 1.6 leaves unmarked and JT/T
1132.2 demands, has no other step to come in. A correction is judged by what it holds."""

_STEP_CODES: Mapping[str, str] = {"fuel": "fuel", "use": "nature-of-use", "disposal": "old-part-disposals"}
"""Coded members of the insert and the order step that stand in no record -> their tables."""


def repair(case: Case) -> tuple[RepairRow | None, Display]:
    """Judge a whole record.

    Returns:
        The row, or None where a member that it cannot be without was unreadable, and the members for display.
    """
    values = {name: read(case) for name, read in _READERS.items()}
    fields.report_number(case)
    _across(case, values)
    rows.empty_content(case)
    row = None if any(value is None for value in values.values()) else RepairRow(**values)
    return row, Display(values)


def step(case: Case, name: str) -> Display:
    """Judge one step by its own members: those that it holds, and those that it must hold.

    Returns:
        The step's members for display.
    """
    wanted = STEP_DEMANDS.get(name, frozenset({"costlistcode"}))
    values = {member: read(case) for member, read in _READERS.items() if member in wanted or member in case.members}
    for member, table in _STEP_CODES.items():
        given = fields.optional_text(case, member)
        if given is not None:
            fields.coded(case, member, table, given)
    _across(case, values)
    if name == "items":
        rows.empty_content(case)
    return Display({member: value for member, value in values.items() if member in case.members})


def _across(case: Case, values: Mapping[str, Any]) -> None:
    """Rules on several fields; each needs only those that could be read."""
    repaired, settled = values.get("repairdate"), values.get("settledate")
    fields.model_year(case, values.get("vin"), repaired)
    if repaired is not None and settled is not None and repaired > settled:
        case.add("DATE_ORDER", "repairdate", repaired, f"<= {settled.isoformat()}")
    if settled is not None and settled > (latest := latest_day(case)):
        case.add("SETTLEDATE_IN_FUTURE", "settledate", settled, f"<= {latest.isoformat()}")
    rows.hours_of_record(case, values.get("projects", ()))


def latest_day(case: Case) -> date:
    """Rule 13: the last settle date that is not in the future.

    One day (`days_ahead`) after the earlier of the receipt's day in China and the message's own date, where it has one.
    """
    reference = day_in_shanghai(case.context.received_at)
    own = day(case.header_date)
    if own is not None and own < reference:
        reference = own
    ahead = min(case.profile.limits["days_ahead"], (date.max - reference).days)
    return reference + timedelta(days=ahead)


class Display(Mapping[str, Any]):
    """Typed members for display: ISO dates, whole numbers as int, what could not be read left out.

    Made when they are looked at: of most payloads nobody looks at more than the key.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        value = self._values[name]
        if name == "parts":
            return [{"name": n, "quantity": _shown(q), "code": code} for n, q, code in value]
        if name == "projects":
            return [{"name": n, "hours": _shown(hours)} for n, hours in value]
        return _shown(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _shown(value: object) -> object:
    if isinstance(value, Decimal):
        whole = int(value)
        return whole if whole == value else value
    return value.isoformat() if isinstance(value, date) else value
