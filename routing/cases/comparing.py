"""What a shop did against what an insurer approved, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from mappings.documents.claims import Assessment, ComparedLine
from mappings.folding import compact
from mappings.placeholders import is_placeholder
from mappings.records import RepairRow

PART, WORK = "part", "work"


class Line(NamedTuple):
    """One line of either side: an amount (count or hours) under a code, a name or both."""

    code: str
    name: str
    amount: Decimal | None


def parts_done(row: RepairRow) -> list[Line]:
    """Parts of a repair record."""
    return [Line(_code(part.code), part.name, part.quantity) for part in row.parts]


def work_done(row: RepairRow) -> list[Line]:
    """Work of a repair record; it has names alone."""
    return [Line("", project.name, project.hours) for project in row.projects]


def parts_approved(assessments: Iterable[Assessment]) -> list[Line]:
    """Parts of all assessments of a claim."""
    return [Line(_code(one.partid), one.partname or "", one.auditcount) for own in assessments for one in own.fits]


def work_approved(assessments: Iterable[Assessment]) -> list[Line]:
    """Work of all assessments of a claim; its id stands for the name where that is not said."""
    return [
        Line(_code(one.repairid), one.repairname or one.repairid, one.apprhour)
        for own in assessments
        for one in own.repairs
    ]


def compared(what: str, done: Sequence[Line], approved: Sequence[Line]) -> list[ComparedLine]:
    """Both sides held together: lines that share a code, of the others those that share a name, then what is left.

    Lines of one side that share the key are added up, so splitting a line changes nothing.
    """
    found: list[ComparedLine] = []
    by_code, done, approved = _matched(what, done, approved, lambda line: line.code)
    by_name, done, approved = _matched(what, done, approved, lambda line: compact(line.name))
    found += by_code + by_name
    for mine, lines in ((True, done), (False, approved)):
        found += [_alone(what, group, mine=mine) for group in _groups(lines, _key).values()]
    return sorted(found, key=lambda line: (line.remark == "equal", line.code or "", line.name or "", line.remark))


def total(lines: Iterable[Line]) -> Decimal | None:
    """The amounts in all; None where one could not be read."""
    amounts = [line.amount for line in lines]
    return None if None in amounts else sum((one for one in amounts if one is not None), Decimal(0))


_Matched = tuple[list[ComparedLine], list[Line], list[Line]]


def _matched(what: str, done: Sequence[Line], approved: Sequence[Line], key: Callable[[Line], str]) -> _Matched:
    """What the sides share by a key, and what is left of each."""
    mine, theirs = _groups(done, key), _groups(approved, key)
    shared = dict.fromkeys(one for one in mine if one and one in theirs)
    lines = [_line(what, mine[one], theirs[one]) for one in shared]
    left, over = ([line for line in side if key(line) not in shared] for side in (done, approved))
    return lines, left, over


def _groups(lines: Iterable[Line], key: Callable[[Line], str]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return groups


def _key(line: Line) -> str:
    return f"{line.code}|{compact(line.name)}"


def _line(what: str, done: Sequence[Line], approved: Sequence[Line]) -> ComparedLine:
    repaired, allowed = total(done), total(approved)
    if repaired is None or allowed is None:
        remark = "unread"
    else:
        remark = "equal" if repaired == allowed else "more" if repaired > allowed else "less"
    code, name = _said([*done, *approved])
    return ComparedLine(what=what, code=code, name=name, repaired=repaired, approved=allowed, remark=remark)


def _alone(what: str, lines: Sequence[Line], *, mine: bool) -> ComparedLine:
    code, name = _said(lines)
    amount = total(lines)
    sides = {"repaired": amount} if mine else {"approved": amount}
    return ComparedLine(what=what, code=code, name=name, remark="only-repaired" if mine else "only-approved", **sides)


def _said(lines: Sequence[Line]) -> tuple[str | None, str | None]:
    """The code and the name that lines of one key are shown with."""
    codes, names = {line.code for line in lines if line.code}, {line.name for line in lines if line.name}
    return min(codes, default=None), min(names, default=None)


def _code(text: str) -> str:
    return "" if is_placeholder(text) else compact(text)
