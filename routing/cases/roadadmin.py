"""Shops that road administration should look after: never uploaded, silent, or overdue (82号 (2), (3); 规定 art. 53).

A shop is what filings, rectifications and repairs name as their issuer. Days are compared once a day, since silence
makes no record; what is told changes only when a notice begins or ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import Annotated

from pydantic import BaseModel, Field

from mappings.dates import day_in_shanghai
from mappings.documents.roadadmin import OperatorFiling, OperatorNotice, Rectification
from routing.cases import REPAIR, Fact, Subject
from routing.cases.newest import Repair, documents, repairs


class Settings(BaseModel, frozen=True, extra="forbid"):
    """When a shop is told of; local rules differ, so all is set."""

    issuer: str = "vingate"
    """Who tells: the code of the system that holds the archive."""
    grace_days: Annotated[int, Field(ge=0)] = 30
    """Days from its filing until a shop should have uploaded once."""
    silent_days: Annotated[int, Field(ge=1)] = 30
    """Days without an upload that are no silence yet."""
    open_states: frozenset[str] = frozenset({"1", "3", "9"})
    """Codes of the table `operating-states` of shops that should upload: 营业, 整改, 其他."""
    gone_states: frozenset[str] = frozenset({"6"})
    """Codes of shops of which nothing is overdue any more: 注销."""


class RoadAdministration:
    """Notices by shop."""

    name = "road-administration"
    by: Subject = "issuer"
    takes = frozenset({REPAIR, OperatorFiling.KIND, Rectification.KIND})
    needs = frozenset[str]()
    words: tuple[str, ...] = ()
    gives = frozenset({OperatorNotice.KIND})
    skims = True
    daily = True

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[OperatorNotice]:
        """What is due of one shop today."""
        own = [one for one in documents(facts, OperatorFiling) if one.companycode == subject]
        filing = max(own, key=lambda one: (one.filed, one.number), default=None)
        known = [one for one in repairs(facts) if one.row.companycode == subject]
        ordered = [one for one in documents(facts, Rectification) if one.companycode == subject]
        if not subject:
            return []
        return [*self._uploads(subject, filing, known, today), *self._overdue(subject, filing, known, ordered, today)]

    def _uploads(
        self, shop: str, filing: OperatorFiling | None, known: list[Repair], today: date
    ) -> Iterator[OperatorNotice]:
        settings = self.settings
        state = filing.companyoperationstate if filing else None
        if state is not None and state not in settings.open_states:
            return
        if known:
            last = max(day_in_shanghai(one.fact.received_at) for one in known)
            due = last + timedelta(days=settings.silent_days + 1)
            if today >= due:
                yield self._notice(shop, filing, known, notice="silent", since=last, day=due)
        elif filing is not None:
            due = filing.filed + timedelta(days=settings.grace_days + 1)
            if today >= due:
                yield self._notice(shop, filing, known, notice="never-uploaded", since=filing.filed, day=due)

    def _overdue(
        self,
        shop: str,
        filing: OperatorFiling | None,
        known: list[Repair],
        ordered: list[Rectification],
        today: date,
    ) -> Iterator[OperatorNotice]:
        if filing is not None and filing.companyoperationstate in self.settings.gone_states:
            return
        for one in ordered:
            if one.completed is None and today > one.deadline:
                yield self._notice(
                    shop,
                    filing,
                    known,
                    notice="rectification-overdue",
                    since=one.deadline,
                    day=one.deadline + timedelta(days=1),
                    authority=one.authority,
                    rectification=one.number,
                    matter=one.matter,
                )

    def _notice(
        self, shop: str, filing: OperatorFiling | None, known: list[Repair], **members: str | date
    ) -> OperatorNotice:
        """The notice with the shop's names as filed, or the name of its newest record where it was never filed."""
        latest = max(known, key=lambda one: (one.row.settledate, one.fact.key), default=None)
        return OperatorNotice.model_validate(
            {
                "issuer": self.settings.issuer,
                "companycode": shop,
                "companyname": filing.companyname if filing else latest.row.companyname if latest else None,
                "companyunifiedsocialcreditidentifier": filing.companyunifiedsocialcreditidentifier if filing else None,
                "companyadministrativedivisioncode": filing.companyadministrativedivisioncode if filing else None,
                **members,
            }
        )
