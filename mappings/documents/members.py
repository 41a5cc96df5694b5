"""What the judges of forms share: members by our names, what is left out, bounded texts, days in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from mappings.documents import Document
from mappings.documents.kinds import Judged
from mappings.opening import UNKNOWN_NOTES
from mappings.placeholders import is_placeholder
from mappings.rules import fields
from mappings.rules.case import Case

NUMBER_LENGTH = "costlistcode"
"""The profile's length that bounds numbers of documents."""
NAME_LENGTH = "parts.name"
"""The profile's length that bounds names."""

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
    case.wire = {names.get(name, name): spelled.get(name, name) for name in sent}


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


def in_order(case: Case, earlier: str, first: date | None, last: date | None) -> None:
    """DATE_ORDER where the earlier of two days comes after the later one."""
    if first is not None and last is not None and first > last:
        case.add("DATE_ORDER", earlier, first, f"<= {last.isoformat()}")


def built(kind: type[Document], values: Mapping[str, Any]) -> Judged:
    """The document of these values, None where a member that it needs could not be read; members for display."""
    needed = (name for name, info in kind.model_fields.items() if info.is_required())
    if all(values.get(name) is not None for name in needed):
        document = kind(**values)
        return document, document.members()
    simple = {name: value for name, value in values.items() if isinstance(value, str | int | Decimal | date)}
    return None, simple
