"""Rules on the members of waste documents in whatever form: a form renames them to ours, and these read them.

Each reader gives the typed value or None and remarks what is wrong; none raises for what a partner sent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mappings.dates import day, day_in_shanghai
from mappings.findings import REJECT
from mappings.numbers import number
from mappings.placeholders import is_placeholder
from mappings.rules import fields
from mappings.rules.case import SCALARS, Case
from mappings.tables import table
from mappings.waste.codes import KG, Unit, WasteCode, name_of, read_category, read_code, read_unit

TEXT, CODE = "waste.text", "waste.code"
"""Lengths of a profile: of names and remarks, of numbers and codes."""

M = TypeVar("M", bound=BaseModel)
_BATCH = re.compile(r"HW(?P<kind>CS|RK|CK)(?P<day>\d{8})\d{1,12}", re.ASCII)
_BATCH_KINDS = {"generated": "CS", "stored": "RK", "taken-out": "CK"}
_SEPARATORS = re.compile(r"[,;，；、|\s]+")
_LISTED_MOST = 200
_UNITS = "kg, 吨 / t, 件 / piece"


def rename(case: Case, names: Mapping[str, Sequence[str]], dropped: Collection[str] = ()) -> None:
    """Give the case's members our names; of several written ones the first that says something counts.

    Args:
        case: Its members are those sent, names folded.
        names: Our name -> the folded names that stand for it.
        dropped: Folded names that are known and never kept (persons, phones). Any other is UNKNOWN_MEMBER.
    """
    sent, spelled = case.members, case.wire
    known = {written for several in names.values() for written in several}
    members: dict[str, Any] = {}
    wire: dict[str, str] = {}
    for name, several in names.items():
        there = [written for written in several if written in sent]
        told = next((written for written in there if not is_placeholder(sent[written])), there[0] if there else None)
        if told is not None:
            members[name] = sent[told]
            wire[name] = spelled.get(told, told)
    case.members, case.wire = members, wire
    for written in sent:
        if written not in known and written not in dropped:
            case.add("UNKNOWN_MEMBER", spelled.get(written, written))


def text(case: Case, field: str, length: str = TEXT) -> str | None:
    """An optional text; a placeholder counts as not given."""
    value = case.members.get(field)
    return None if is_placeholder(value) else fields.text_of(case, field, length, value)


def needed(case: Case, field: str, length: str = CODE) -> str | None:
    """A mandatory text."""
    value = fields.required(case, field)
    return None if value is None else fields.text_of(case, field, length, value)


def listed(case: Case, field: str) -> tuple[str, ...]:
    """Codes in a list, or in one text with any of the usual separators; each once, in order."""
    value = case.members.get(field)
    if isinstance(value, list):
        if len(value) > _LISTED_MOST or not all(isinstance(one, str) for one in value):
            case.wrong_kind(field, value, f"最多 {_LISTED_MOST} 个文本 / at most {_LISTED_MOST} texts")
            return ()
        found = [one.strip() for one in value]
    else:
        whole = text(case, field)
        found = _SEPARATORS.split(whole) if whole else []
    return tuple(dict.fromkeys(one for one in found if not is_placeholder(one)))


def waste(case: Case) -> WasteCode | None:
    """The waste by `code` and `category`: the code decides, and its last two digits are the category (rule 25)."""
    written = needed(case, "code")
    found = None if written is None else read_code(written)
    if written is not None and found is None:
        case.add("WASTE_CODE_FORMAT", "code", written, "900-214-08, HW08-900-214-08, 900-006-S17")
    sent = text(case, "category")
    category = None if sent is None else read_category(sent)
    if sent is not None and category is None:
        case.add("CODE_NOT_IN_TABLE", "category", sent, "HW01-HW50, SW.." if found is None else found.category)
    if found is None:
        return None
    if found.old:
        case.add("WASTE_CODE_OLD", "code", written, found.text)
    elif not found.name:
        case.add("WASTE_CODE_UNKNOWN", "code", written)
    if category is not None and not found.fits(category):
        case.add("WASTE_CATEGORY_MISMATCH", "category", sent, found.old_category or found.category)
    if found.prefix and not found.fits(found.prefix):
        case.add("WASTE_CATEGORY_MISMATCH", "code", written, found.old_category or found.category)
    return found


def of_waste(case: Case) -> dict[str, Any]:
    """The members that name the waste: category, code, oldcode and name; its name in our tables where none was sent."""
    found = waste(case)
    name = text(case, "name")
    if found is None:
        return {"category": None, "code": None, "name": name}
    return {
        "category": found.category,
        "code": found.text,
        "oldcode": found.old or None,
        "name": name or name_of(found.text) or None,
    }


def unit(case: Case) -> Unit | None:
    """The unit of measure; none given is UNIT_MISSING, and read as kg."""
    written = text(case, "unit")
    if written is None:
        case.add("UNIT_MISSING", "unit", None, _UNITS)
        return Unit(KG, Decimal(1))
    found = read_unit(written)
    if found is None:
        case.add("CODE_NOT_IN_TABLE", "unit", written, _UNITS)
    return found


def amount(
    case: Case,
    field: str,
    measure: Unit | None,
    *,
    mandatory: bool = True,
    zero: bool = False,
    unsigned: bool = False,
) -> Decimal | None:
    """An amount in its unit of account: above zero, with `zero` not below it; with `unsigned` its sign is dropped."""
    value = fields.required(case, field) if mandatory else case.members.get(field)
    if value is None or is_placeholder(value):
        return None
    found = number(value)
    whole = None if found is None else number((abs(found) if unsigned else found) * (measure.factor if measure else 1))
    if whole is None:
        if isinstance(value, SCALARS):
            case.add("WEIGHT_NOT_NUMERIC", field, value, "0.1, 12.5")
        else:
            case.wrong_kind(field, value, "文本或数字 / a text or number")
    elif whole < 0 or (not whole and not zero):
        case.add("WEIGHT_NOT_POSITIVE", field, value, ">= 0" if zero else "> 0")
        return None
    return whole


def happened(case: Case, field: str, *, mandatory: bool = True) -> date | None:
    """A day that is over or has begun: not later than the receipt by more than the profile's `days_ahead`."""
    found = fields.required_day(case, field) if mandatory else fields.optional_day(case, field)
    last = day_in_shanghai(case.context.received_at) + timedelta(days=case.profile.limits["days_ahead"])
    if found is not None and found > last:
        case.add("DAY_IN_FUTURE", field, found, f"<= {last.isoformat()}")
    return found


def coded(case: Case, field: str, name: str, *, mandatory: bool = True) -> str | None:
    """A code of a table, or one of its texts: waste forms are written by people, so both are plain here."""
    written = needed(case, field) if mandatory else text(case, field)
    if written is None:
        return None
    codes = table(name)
    found = written if written in codes else codes.code_for(written)
    if found is None:
        case.add("CODE_NOT_IN_TABLE", field, written, ", ".join(codes.entries))
    return found


def batch_code(case: Case, field: str, event: str | None) -> str | None:
    """A batch code; another form than HWCS, HWRK or HWCK with day and serial is a flag (from memory, unverified)."""
    written = text(case, field, CODE)
    if written is None:
        return None
    found = _BATCH.fullmatch(written)
    kind = _BATCH_KINDS.get(event or "")
    if found is None or day(found["day"]) is None or (kind is not None and found["kind"] != kind):
        case.add("BATCH_CODE_FORMAT", field, written, f"HW{kind or 'CS|HWRK|HWCK'} + yyyyMMdd + 序号 / serial")
    return written


def differs(case: Case, field: str, sent: Decimal | None, weighed: Decimal | None) -> None:
    """WEIGHT_DIFFERENCE: sent and weighed differ by more than both the share and the weight of the profile."""
    if sent is None or weighed is None:
        return
    limits = case.profile.limits
    if weights_differ(sent, weighed, limits["weight_difference_percent"], limits["weight_difference_kg"]):
        expected = f"{sent} ± {limits['weight_difference_percent']} % 或 / or {limits['weight_difference_kg']} kg"
        case.add("WEIGHT_DIFFERENCE", field, weighed, expected)


def weights_differ(sent: Decimal, weighed: Decimal, percent: int, kilograms: int) -> bool:
    """Whether two weights differ by more than a share of the one sent and by more than so many kg."""
    difference = abs(sent - weighed)
    return difference > kilograms and difference * 100 > sent * percent


class Inner(Case):
    """An object inside a payload: its members are judged alone, its findings go to the payload under its path."""

    __slots__ = ("_at", "_outer")

    def __init__(self, outer: Case, row: Mapping[str, Any], at: str) -> None:
        self._outer, self._at = outer, at
        self.members, self.wire, self.broken = row, {}, frozenset()
        self.context, self.profile, self.header_date = outer.context, outer.profile, outer.header_date
        self.findings = outer.findings

    def add(self, code: str, field: str, value: object = None, expected: str = "") -> None:
        """Remark it on the payload."""
        self._outer.add(code, f"{self._at}.{field}", value, expected)


def built(case: Case, cls: type[M], values: Mapping[str, Any]) -> M | None:
    """The document or row of these values, or None where one that it needs could not be read: there is a finding."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return cls(**given)
    except ValidationError as error:
        if not any(finding.severity == REJECT for finding in case.findings):
            for one in error.errors(include_input=False, include_url=False):
                case.add("STRUCTURE_WRONG", ".".join(map(str, one["loc"])), None, one["msg"])
        return None


def display(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that could be read and are scalars, for a payload of which no document could be made."""
    return {name: value for name, value in values.items() if isinstance(value, SCALARS)}
