"""What the judges of forms share: members by our names, what is left out, bounded texts, days in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from mappings.dates import day_in_shanghai
from mappings.documents import Document
from mappings.documents.kinds import Judged
from mappings.numbers import number
from mappings.opening import UNKNOWN_NOTES
from mappings.placeholders import is_placeholder
from mappings.rules import fields
from mappings.rules.case import SCALARS, Case

NUMBER_LENGTH = "costlistcode"
"""The profile's length that bounds numbers of documents."""
NAME_LENGTH = "parts.name"
"""The profile's length that bounds names."""

MOST_ROWS = 10_000
"""Most rows of one list."""

_LEFT_OUT = "不属于该报文的成员，已剔除 / not of this form, left out"


def rename(case: Case, names: Mapping[str, str]) -> None:
    """Put the partner's members under our names; findings name the partner's path beside ours.

    A member that stands there under our name as well keeps its value.
    """
    spelled = dict(case.wire)
    sent = case.members
    case.members = {names[name]: value for name, value in sent.items() if name in names} | {
        name: value for name, value in sent.items() if name not in names
    }
    case.wire = {ours: theirs for theirs, ours in names.items() if ours not in sent} | {
        names.get(name, name): spelled.get(name, name) for name in sent
    }


def leave_out(case: Case, known: Collection[str]) -> None:
    """UNKNOWN_MEMBER for each member that is none of the known ones: by its name, never with its value."""
    strange = [name for name in case.members if name not in known]
    for name in strange[:UNKNOWN_NOTES]:
        case.add("UNKNOWN_MEMBER", case.wire.get(name, name), name, _LEFT_OUT)
    if (more := len(strange) - UNKNOWN_NOTES) > 0:
        case.add("UNKNOWN_MEMBER", "", f"+{more}", _LEFT_OUT)


def required_text(case: Case, field: str, length: str = NUMBER_LENGTH) -> str | None:
    """A mandatory text, bounded by a length of the profile."""
    value = fields.required(case, field)
    return None if value is None else fields.text_of(case, field, length, value)


def optional_text(case: Case, field: str, length: str = NUMBER_LENGTH) -> str | None:
    """An optional text, bounded by a length of the profile; a placeholder counts as not given."""
    value = case.members.get(field)
    return None if is_placeholder(value) else fields.text_of(case, field, length, value)


def required_code(case: Case, field: str, table: str) -> str | None:
    """A mandatory code of a table."""
    value = fields.required(case, field)
    return None if value is None else fields.coded(case, field, table, value)


def past_day(case: Case, field: str) -> date | None:
    """A mandatory date; DAY_IN_FUTURE where it lies more than the profile's `days_ahead` after the day of receipt."""
    found = fields.required_day(case, field)
    if found is not None:
        latest = day_in_shanghai(case.context.received_at) + timedelta(days=case.profile.limits["days_ahead"])
        if found > latest:
            case.add("DAY_IN_FUTURE", field, found, f"<= {latest.isoformat()}")
    return found


def in_order(case: Case, earlier: str, first: date | None, last: date | None) -> None:
    """DATE_ORDER where the earlier of two days comes after the later one."""
    if first is not None and last is not None and first > last:
        case.add("DATE_ORDER", earlier, first, f"<= {last.isoformat()}")


def rows(case: Case, field: str, known: Collection[str] = ()) -> list[tuple[str, Mapping[str, Any]]]:
    """The objects of an optional list, each with its path; anything else is STRUCTURE_WRONG.

    More than `MOST_ROWS` are STRUCTURE_WRONG too, and none is read. Where the members of a row are known, others are
    left out, each name once.
    """
    given = case.members.get(field)
    if is_placeholder(given):
        return []
    if not isinstance(given, list | tuple):
        case.wrong_kind(field, given, "数组 / an array")
        return []
    if len(given) > MOST_ROWS:
        case.add("STRUCTURE_WRONG", field, len(given), f"<= {MOST_ROWS}")
        return []
    found = []
    for index, row in enumerate(given):
        place = f"{field}[{index}]"
        if isinstance(row, Mapping):
            found.append((place, row))
        else:
            case.wrong_kind(place, row, "对象 / an object")
    strange = dict.fromkeys(name for _, row in found for name in row if known and name not in known)
    for name in list(strange)[:UNKNOWN_NOTES]:
        case.add("UNKNOWN_MEMBER", f"{field}[].{name}", name, _LEFT_OUT)
    return found


def decimal(case: Case, field: str, value: object, unread: str, negative: str, *, shows: bool = True) -> Decimal | None:
    """A number that is not negative; None with the finding `unread` or, of what is no scalar, STRUCTURE_WRONG.

    A negative one is `negative`, and kept. `shows` is whether the findings may show the value.
    """
    seen = value if shows else None
    found = number(value)
    if found is None:
        if value is None or (isinstance(value, SCALARS) and not isinstance(value, bool)):
            case.add(unread, field, seen, "数字 / a number")
        else:
            case.wrong_kind(field, value, "数字 / a number")
    elif found < 0:
        case.add(negative, field, seen, ">= 0")
    return found


def built(kind: type[Document], values: Mapping[str, Any]) -> Judged:
    """The document of these values, None where a member that it needs could not be read; members for display."""
    needed = (name for name, info in kind.model_fields.items() if info.is_required())
    if all(values.get(name) is not None for name in needed):
        document = kind(**values)
        return document, document.members()
    simple = {name: value for name, value in values.items() if isinstance(value, str | int | Decimal | date)}
    return None, simple
