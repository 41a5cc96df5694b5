"""Credit: what is known of a shop's conduct -> one entry a period (信用交通, 82号 (13)).

An entry of a period is due as soon as the ledger tells of the period's last day (`transmission`): so no clock is asked,
and a period that nobody tells of has no entry. Whatever comes later for it makes a new version of the entry.

- An evaluation counts if the shop has a repair record of that list code and VIN, begun no later than the evaluation;
  of several for one visit the earliest counts, by its day, and of one day by numbers; those that came without one stand
  behind, in the order of receipt. The others stand in the entry as uncounted, with the reason.
- A transmission of a month stands for its days.
- An accepted appeal corrects an item or strikes it. The entry shows both, and the score with and without appeals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mappings.documents import Document
from mappings.documents.credit import (
    ACCEPTED,
    CORRECTABLE,
    Appeal,
    Complaint,
    Correctable,
    Corrected,
    CreditEntry,
    CreditGap,
    CreditLine,
    CreditSubject,
    Evaluation,
    Measure,
    SpotCheck,
    Transmission,
    Uncounted,
    put_right,
    span,
)
from routing.cases import REPAIR, Fact, Subject
from routing.cases.creditfigures import Items, measures
from routing.cases.newest import newest
from routing.cases.scoring import Scoring, shipped
from routing.dated import Dated
from routing.registers import read

UNKNOWN_VISIT, SECOND, TOO_EARLY = "unknown-visit", "second", "before-visit"
TOLD_TWICE, NO_ITEM, UNUSABLE, NOT_COUNTED = "told-twice", "no-such-item", "unusable", "item-uncounted"

REASONS: Mapping[str, str] = {
    UNKNOWN_VISIT: "没有对应的维修记录 / there is no repair record of this list code and VIN",
    SECOND: "同一次维修已有评价 / the visit has an earlier evaluation",
    TOO_EARLY: "评价早于送修 / evaluated before the repair began",
    TOLD_TWICE: "同一编号由两个系统报送 / another system tells of this number too",
    NO_ITEM: "申诉的事项不存在 / there is no item that the appeal is about",
    UNUSABLE: "更正内容不适用 / the correction does not fit the item",
    NOT_COUNTED: "申诉的事项本未计入 / the item that the appeal is about does not count anyway",
}
"""Why something does not count."""

USCC_UNKNOWN = "uscc-unknown"


class RegisteredOperator(Dated):
    """One line of the operator register: which USCC a company code stands for, from a day (to a day)."""

    companycode: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    uscc: Annotated[str, StringConstraints(pattern=r"^[0-9A-HJ-NPQRTUWXY]{18}$")]


def load_operators(text: str, form: str = "csv", source: str = "operators") -> list[RegisteredOperator]:
    """Read an operator register (companycode, uscc, from, to) from CSV, NDJSON or TOML (`[[operator]]`).

    Raises:
        TableError: with the line and the remedy.
    """
    return read(RegisteredOperator, text, form, "operator", source)


class Settings(BaseModel):
    """What the derivation needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scoring: Scoring = Field(default_factory=shipped)
    """Measures, weights, bands, levels and the period (`routing/data/credit.toml`)."""
    operators: tuple[RegisteredOperator, ...] = ()
    """Operator register, for company codes that no `credit-subject` tells of."""


class Appealed:
    """The items of one shop that count: as found, as counted, and what appeals changed."""

    def __init__(self, items: Sequence[Correctable]) -> None:
        self.found = {(item.KIND, item.identity.number): item for item in items}
        self.counted: dict[tuple[str, str], Correctable | None] = dict(self.found)
        self.corrections: list[tuple[date, Corrected]] = []

    def apply(self, appeal: Appeal) -> str:
        """Take an accepted appeal; says why it has no effect, or ''."""
        place = (appeal.about, appeal.aboutno)
        before = self.counted.get(place)
        if before is None:  # struck already, or never there
            return "" if place in self.found else NO_ITEM
        after = put_right(before, appeal.corrections) if appeal.corrections else None
        if appeal.corrections and after is None:
            return UNUSABLE
        self.counted[place] = after
        day = before.identity.day
        self.corrections += [(day, one) for one in _changes(appeal, before, after)]
        return ""


def _changes(appeal: Appeal, before: Correctable, after: Correctable | None) -> Iterator[Corrected]:
    said = {"appealno": appeal.appealno, "about": appeal.about, "aboutno": appeal.aboutno}
    if after is None:
        yield Corrected(**said, member="*")
        return
    old, new = before.members(), after.members()
    for member in CORRECTABLE[before.KIND]:
        if old.get(member) != new.get(member):
            texts = [None if value is None else str(value) for value in (old.get(member), new.get(member))]
            yield Corrected(**said, member=member, found=texts[0], counted=texts[1])


class Credit:
    """The derivation of credit entries, by company."""

    name = "credit"
    by: Subject = "issuer"
    takes = frozenset(
        {REPAIR, *(one.KIND for one in (Evaluation, SpotCheck, Complaint, Appeal, Transmission, CreditSubject))}
    )
    needs = frozenset[str]()
    words: tuple[str, ...] = ()
    gives = frozenset({CreditEntry.KIND, CreditGap.KIND})
    skims = True
    daily = False

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._operators: dict[str, list[RegisteredOperator]] = {}
        for one in self._settings.operators:
            self._operators.setdefault(one.companycode, []).append(one)

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[Document]:
        """The entries of one company whose periods are over, or the gap where its USCC is not known."""
        known = newest(facts)
        uncounted: list[tuple[date, Uncounted]] = []
        items: list[Correctable] = [
            *_evaluations(known, uncounted),
            *_once(known, SpotCheck, uncounted),
            *_once(known, Complaint, uncounted),
            *_once(known, Transmission, uncounted),
        ]
        appealed = Appealed(items)
        _hear(_once(known, Appeal, uncounted), appealed, known, uncounted)
        periods = self._due(items)
        unplaced = []
        for period in periods:
            uscc = self._operator(subject, known, span(period)[1])
            if uscc:
                yield self._entry(subject, uscc, period, appealed, uncounted)
            else:
                unplaced.append(period)
        if unplaced:
            since = span(unplaced[0])[1]
            yield CreditGap(companycode=subject, reason=USCC_UNKNOWN, periods=tuple(unplaced), since=since)

    def _due(self, items: Iterable[Correctable]) -> list[str]:
        """Periods whose last day some transmission tells of."""
        last_days = [item.span[1] for item in items if isinstance(item, Transmission)]
        named = {self._period(day): day for day in sorted(last_days)}
        return sorted(period for period, day in named.items() if span(period)[1] == day)

    def _period(self, day: date) -> str:
        if self._settings.scoring.period == "year":
            return f"{day.year:04d}"
        if self._settings.scoring.period == "quarter":
            return f"{day.year:04d}-Q{(day.month + 2) // 3}"
        return f"{day.year:04d}-{day.month:02d}"

    def _operator(self, company: str, known: Iterable[Fact], day: date) -> str:
        """The USCC of a company on a day: the latest told by then, else the first told later, else the register's."""
        told = sorted((one.since, one.uscc) for one in _of(known, CreditSubject))
        by_then = [uscc for since, uscc in told if since <= day]
        if told:
            return by_then[-1] if by_then else told[0][1]
        listed = [one for one in self._operators.get(company, ()) if one.valid(day)]
        return max(listed, key=lambda one: (one.valid_from, one.uscc)).uscc if listed else ""

    def _entry(
        self, company: str, uscc: str, period: str, appealed: Appealed, uncounted: Iterable[tuple[date, Uncounted]]
    ) -> CreditEntry:
        scoring, (first, last) = self._settings.scoring, span(period)
        found = measures(Items.within(appealed.found.values(), first, last), first, last)
        counted = measures(Items.within(filter(None, appealed.counted.values()), first, last), first, last)
        weighed, without = scoring.weigh(counted), scoring.weigh(found)
        score, foundscore = (sum((one.points for one in lines), Decimal(0)) for lines in (weighed, without))
        return CreditEntry(
            companycode=company,
            uscc=uscc,
            period=period,
            first=first,
            last=last,
            scoring=scoring.edition,
            score=score,
            full=scoring.full,
            level=scoring.level_of(score),
            foundscore=foundscore,
            foundlevel=scoring.level_of(foundscore),
            measures=tuple(Measure(name=name, found=found[name], counted=counted[name]) for name in found),
            lines=tuple(
                CreditLine(
                    rule=one.rule.name,
                    zh=one.rule.zh,
                    en=one.rule.en,
                    measure=one.rule.measure,
                    bound=one.bound,
                    weight=one.rule.weight,
                    percent=one.percent,
                    points=one.points,
                    found=before.points,
                )
                for one, before in zip(weighed, without, strict=True)
            ),
            corrections=tuple(one for day, one in appealed.corrections if first <= day <= last),
            uncounted=tuple(sorted((one for day, one in uncounted if first <= day <= last), key=_place)),
        )


def _place(one: Uncounted) -> tuple[str, str, str]:
    return one.kind, one.number, one.reason


D = TypeVar("D", bound=Document)


def _of(known: Iterable[Fact], kind: type[D]) -> list[D]:
    return [fact.record for fact in known if isinstance(fact.record, kind)]


def _once(known: Iterable[Fact], kind: type[D], uncounted: list[tuple[date, Uncounted]]) -> list[D]:
    """Documents of a kind, each number once: what a second system tells under it is uncounted."""
    held: dict[str, D] = {}
    for document in _of(known, kind):
        number, day = document.identity.number, document.identity.day
        if number not in held:
            held[number] = document
        else:
            uncounted.append((day, Uncounted(kind=kind.KIND, number=number, reason=TOLD_TWICE)))
    return list(held.values())


def _evaluations(known: Iterable[Fact], uncounted: list[tuple[date, Uncounted]]) -> list[Evaluation]:
    """The evaluations that count: of a known visit, not before it began, and the first of it."""
    begun: dict[tuple[str, str], date] = {}
    for fact in known:
        if (row := fact.repair) is not None:
            visit = (row.costlistcode, row.vin)
            begun[visit] = min(row.repairdate, begun.get(visit, row.repairdate))
    counted: dict[tuple[str, str], Evaluation] = {}
    received: dict[str, datetime] = {}
    for fact in known:
        if isinstance(fact.record, Evaluation):
            received.setdefault(fact.record.evaluationno, fact.received_at)

    def place(one: Evaluation) -> tuple[Any, ...]:
        if one.numbered:
            return one.evaluatedon, 0, one.evaluationno
        return one.evaluatedon, 1, received[one.evaluationno], one.evaluationno

    for one in sorted(_once(known, Evaluation, uncounted), key=place):
        visit = (one.costlistcode, one.vin)
        if visit not in begun:
            reason = UNKNOWN_VISIT
        elif one.evaluatedon < begun[visit]:
            reason = TOO_EARLY
        elif visit in counted:
            reason = SECOND
        else:
            counted[visit] = one
            continue
        uncounted.append((one.evaluatedon, Uncounted(kind=one.KIND, number=one.evaluationno, reason=reason)))
    return list(counted.values())


def _hear(
    appeals: Iterable[Appeal], appealed: Appealed, known: Iterable[Fact], uncounted: list[tuple[date, Uncounted]]
) -> None:
    """Let accepted appeals take effect in the order of their decisions; the others change nothing."""
    told = (fact.record for fact in known if isinstance(fact.record, Document))
    days = {(one.KIND, one.identity.number): one.identity.day for one in told}
    accepted = (one for one in appeals if one.decision == ACCEPTED)
    for appeal in sorted(accepted, key=lambda one: (one.decidedon or one.filedon, one.appealno)):
        reason = appealed.apply(appeal)
        place = (appeal.about, appeal.aboutno)
        if reason == NO_ITEM and place in days:
            reason = NOT_COUNTED
        if reason:
            day = days.get(place, appeal.filedon)
            uncounted.append((day, Uncounted(kind=appeal.KIND, number=appeal.appealno, reason=reason)))
