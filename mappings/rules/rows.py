"""Rules on the two lists of a repair record: parts (vehiclepartslist) and projects (repairprojectlist).

Findings come column by column and, within a column, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from mappings.findings import Profile
from mappings.numbers import number
from mappings.placeholders import clean, is_placeholder
from mappings.records import Part, Project
from mappings.rules.case import SCALARS, Case
from mappings.rules.fields import text_of

_ABSENT = object()
Row = Mapping[str, Any]


def parts(case: Case) -> tuple[Part, ...]:
    """The part rows. A quantity that is no number is None beside its finding, which holds the text."""
    plain = _plain_parts(case.members.get("parts"), case.profile.lengths)
    if plain is not None:
        return plain
    rows = _rows(case, "parts")
    if not rows:
        return ()
    names = [_name(case, f"parts[{i}].name", "parts.name", row) for i, row in rows]
    quantities = [_amount(case, f"parts[{i}].quantity", "QUANTITY", row.get("quantity", _ABSENT)) for i, row in rows]
    codes = [_part_code(case, i, row) for i, row in rows]
    return tuple(map(Part, names, quantities, codes))


def _plain_parts(rows: object, lengths: Mapping[str, int]) -> tuple[Part, ...] | None:
    """Part rows that are plain texts about which no rule has a remark: most are, and the rest costs ten times this."""
    if not isinstance(rows, list):
        return None
    found: list[Part] = []
    name_length, code_length = lengths.get("parts.name", 0), lengths.get("parts.code", 0)
    for row in rows:
        if type(row) is not dict:
            return None
        name, quantity, code = row.get("name"), row.get("quantity"), row.get("code")
        if type(name) is not str or type(quantity) is not str or type(code) is not str:
            return None
        amount = _plain_amount(quantity) if _plain_text(name) and len(name) <= name_length else None
        if amount is None or not (code.isalnum() and code.isascii() and len(code) <= code_length):
            return None
        if len(code) <= _LONGEST_WORD and is_placeholder(code):
            return None
        found.append(Part(name, amount, code))
    return tuple(found)


_LONGEST_WORD = 16


@lru_cache(maxsize=8_192)
def _plain_text(text: str) -> bool:
    """Whether a text is what it seems: printable, trimmed, no placeholder."""
    return text.isprintable() and text == text.strip() and not is_placeholder(text)


@lru_cache(maxsize=8_192)
def _plain_amount(text: str) -> Decimal | None:
    """A positive number, or None."""
    amount = number(text)
    return amount if amount is not None and amount > 0 else None


def projects(case: Case) -> tuple[Project, ...]:
    """The project rows, and rule 15 on each of them."""
    plain = _plain_projects(case.members.get("projects"), case.profile)
    if plain is not None:
        return plain
    rows = _rows(case, "projects")
    if not rows:
        return ()
    names = [_name(case, f"projects[{i}].name", "projects.name", row) for i, row in rows]
    hours = [_amount(case, f"projects[{i}].hours", "HOURS", row.get("hours", _ABSENT)) for i, row in rows]
    most = case.profile.limits["hours_per_project"]
    for (i, _), worked in zip(rows, hours, strict=True):
        if worked is not None and worked > most:
            case.add("HOURS_OUTLIER", f"projects[{i}].hours", worked, f"<= {most}")
    return tuple(map(Project, names, hours))


def _plain_projects(rows: object, profile: Profile) -> tuple[Project, ...] | None:
    """Project rows that are plain texts about which no rule has a remark."""
    if not isinstance(rows, list):
        return None
    found: list[Project] = []
    longest, most = profile.lengths.get("projects.name", 0), profile.limits["hours_per_project"]
    for row in rows:
        if type(row) is not dict:
            return None
        name, hours = row.get("name"), row.get("hours")
        if type(name) is not str or type(hours) is not str or len(name) > longest or not _plain_text(name):
            return None
        worked = _plain_amount(hours)
        if worked is None or worked > most:
            return None
        found.append(Project(name, worked))
    return tuple(found)


def hours_of_record(case: Case, found: Sequence[Project]) -> None:
    """Rule 15 on the whole record."""
    most = case.profile.limits["hours_per_record"]
    total = sum((p.hours for p in found if p.hours is not None and p.hours > 0), Decimal(0))
    if total > most:
        case.add("HOURS_OUTLIER", "projects", total, f"<= {most}")


def empty_content(case: Case) -> None:
    """Rule 16. A row of whatever content is a row; lists of the wrong kind have their own finding."""
    if case.broken & {"parts", "projects"}:
        return
    lists = [case.members.get("parts"), case.members.get("projects")]
    if all(is_placeholder(rows) or (isinstance(rows, (list, tuple)) and not rows) for rows in lists):
        case.add("EMPTY_CONTENT", "parts", None, "配件或维修项目至少一行 / at least one part or project")


def _rows(case: Case, field: str) -> list[tuple[int, Row]]:
    """The rows that are objects, with their index; a placeholder in the list's place is an empty list."""
    given = case.members.get(field)
    if isinstance(given, (list, tuple)):
        found: list[tuple[int, Row]] = []
        for i, row in enumerate(given):
            if isinstance(row, Mapping):
                found.append((i, row))
            else:
                case.wrong_kind(f"{field}[{i}]", row, "对象 / an object")
        return found
    if not is_placeholder(given):
        case.wrong_kind(field, given, "数组 / an array")
    return []


def _missing(case: Case, field: str) -> None:
    if field not in case.broken:
        case.add("MANDATORY_MISSING", field, None, "必填 / mandatory")


def _name(case: Case, field: str, length: str, row: Row) -> str:
    """The row's name; a placeholder that is there still makes a row (rule 16) and is flagged."""
    value = row.get("name", _ABSENT)
    if value is _ABSENT:
        _missing(case, field)
        return ""
    if is_placeholder(value):
        case.add("PLACEHOLDER_NAME", field, value, "名称 / a name")
        return clean(value)
    return text_of(case, field, length, value) or ""


def _part_code(case: Case, i: int, row: Row) -> str:
    """The part's code: never mandatory (rule 8)."""
    value = row.get("code")
    field = f"parts[{i}].code"
    if is_placeholder(value):
        if field not in case.broken:
            case.add("PLACEHOLDER_PARTSCODE", field, value, "配件编码 / a part code")
        return clean(value)
    return text_of(case, field, "parts.code", value) or ""


def _amount(case: Case, field: str, stem: str, value: object) -> Decimal | None:
    """A quantity or hours: `stem` names the findings (`QUANTITY` or `HOURS`)."""
    if value is _ABSENT:
        _missing(case, field)
        return None
    found = number(value)
    if found is None:
        if value is None or isinstance(value, SCALARS):
            case.add(f"{stem}_NOT_NUMERIC", field, value, "数字 / a number")
        else:
            case.wrong_kind(field, value, "数字 / a number")
    elif found < 0:
        case.add(f"{stem}_NEGATIVE", field, value, ">= 0")
    elif not found:
        case.add(f"{stem}_ZERO", field, value, "> 0")
    return found
