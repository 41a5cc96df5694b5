"""An entry in words, line by line, and an entry held against what follows from the facts again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from mappings.documents.credit import CreditEntry, CreditLine
from routing.cases import Fact
from routing.cases.credit import REASONS, Credit
from routing.cases.scoring import MEASURES


def explain(entry: CreditEntry) -> list[str]:
    """Why an entry says what it says: every rule with its figure and points, appeals, and what did not count."""
    return list(_lines(entry))


def _lines(entry: CreditEntry) -> Iterator[str]:
    yield f"{entry.uscc} {entry.companycode} {entry.period} ({entry.first} - {entry.last}) {entry.scoring}"
    figures = {one.name: one for one in entry.measures}
    for line in entry.lines:
        yield _line(line, figures[line.measure].counted)
    yield f"得分 / score: {_plain(entry.score)} / {_plain(entry.full)} = {entry.level}"
    if entry.corrections:
        yield f"申诉前 / without appeals: {_plain(entry.foundscore)} = {entry.foundlevel}"
    for one in entry.corrections:
        change = "撤销 / struck" if one.member == "*" else f"{one.member} {one.found or '-'} -> {one.counted or '-'}"
        yield f"申诉 / appeal {one.appealno}: {one.about} {one.aboutno}: {change}"
    for none in entry.uncounted:
        yield f"未计入 / not counted: {none.kind} {none.number}: {REASONS.get(none.reason, none.reason)}"


def _line(line: CreditLine, figure: Decimal | None) -> str:
    shown = "-" if figure is None else _plain(figure)
    before = "" if line.found == line.points else f" (申诉前 / without appeals: {_plain(line.found)})"
    return (
        f"{line.zh} / {line.en}: {MEASURES.get(line.measure, line.measure)} = {shown}, {line.bound}"
        f" -> {_plain(line.percent)} % x {_plain(line.weight)} = {_plain(line.points)}{before}"
    )


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")


class Difference(NamedTuple):
    """One member in which an entry and the same entry derived again differ."""

    member: str
    sent: Any
    again: Any


def recheck(derivation: Credit, entry: CreditEntry, facts: Sequence[Fact]) -> list[Difference]:
    """Derive an entry again from the facts of its company: empty where it is the same.

    Where no entry of its period follows any more, the one difference is of the whole (`*`).
    """
    derived = derivation.derive(entry.companycode, facts, entry.last)
    again = next((one for one in derived if isinstance(one, CreditEntry) and one.period == entry.period), None)
    if again is None:
        return [Difference("*", entry.period, None)]
    old, new = entry.members(), again.members()
    return [Difference(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
