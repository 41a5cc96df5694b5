"""Used cars: of each order of a vehicle's history the desensitised report, and of one for export the certificate.

A report tells of visits that were settled on or before the order's day. What comes or is corrected later about these
days makes a new version of it; later visits do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field

from mappings import vin
from mappings.documents import Document
from mappings.documents.usedcars import EXPORT, ExportCertificate, History, HistoryOrder, HistoryReport, Visit
from mappings.records import RepairRow
from routing.cases import REPAIR, Fact, Subject
from routing.cases.newest import documents, repairs
from routing.vehiclehistory import COMPONENT, CONSTRUCT, Words, shipped_words


class Settings(BaseModel, frozen=True, extra="forbid"):
    """How much a report tells."""

    issuer: str = "vingate"
    """Who reports: the code of the system that holds the archive."""
    band: Annotated[int, Field(ge=1_000)] = 10_000
    """Width of a mileage band, km."""
    span_days: Annotated[int, Field(ge=1)] = 180
    """Fewest days between first and last reading, before a yearly mileage is made out of them."""
    ahead_days: Annotated[int, Field(ge=0)] = 730
    """Most days for which the mileage is projected beyond the last reading."""
    daily_km: Annotated[int, Field(ge=1)] = 300
    """Most km a day that are projected."""
    words: Words = Field(default_factory=shipped_words)
    """What tells important parts and maintenance (`routing/data/history.toml`)."""


class UsedCars:
    """Reports and certificates by vehicle."""

    name = "used-cars"
    by: Subject = "vin"
    takes = frozenset({REPAIR, HistoryOrder.KIND})
    needs = frozenset({HistoryOrder.KIND})
    words: tuple[str, ...] = ()
    gives = frozenset({HistoryReport.KIND, ExportCertificate.KIND})
    skims = False
    daily = False

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[Document]:
        """A report for each order of this vehicle, and a certificate for each one for export."""
        del today
        orders = [order for order in documents(facts, HistoryOrder) if order.vin == subject]
        if not orders:
            return []
        rows = [one.row for one in repairs(facts) if one.row.vin == subject]
        return [document for order in orders for document in self._answers(order, rows)]

    def _answers(self, order: HistoryOrder, rows: list[RepairRow]) -> Iterator[Document]:
        issuer = self.settings.issuer
        history = self._history([row for row in rows if row.settledate <= order.day], order.day)
        yield HistoryReport(
            issuer=issuer,
            requester=order.requester,
            order=order.number,
            purpose=order.purpose,
            approval=order.approval,
            vin=order.vin,
            day=order.day,
            history=history,
        )
        if order.purpose == EXPORT and order.exportproof:
            yield ExportCertificate(
                issuer=issuer,
                requester=order.requester,
                requestername=order.requestername,
                order=order.number,
                approval=order.approval,
                exportproof=order.exportproof,
                vin=order.vin,
                maker=vin.maker(order.vin),
                day=order.day,
                history=history,
            )

    def _history(self, rows: list[RepairRow], day: date) -> History:
        words = self.settings.words
        flags = words.flags_of(group for row in rows for group in words.groups_of(row))
        maintained = [row.settledate for row in rows if words.maintained(row)[0]]
        repaired = [row.settledate for row in rows if words.maintained(row)[1]]
        readings = sorted((row.repairdate, row.mileage) for row in rows if row.mileage > 0)
        return History(
            carcomponentrecordsflag=1 if COMPONENT in flags else 0,
            carconstructrecordsflag=1 if CONSTRUCT in flags else 0,
            odometerflag=1 if _fell(readings) else 0,
            lastmaintaintime=_month(max(maintained)) if maintained else None,
            lastrepairtime=_month(max(repaired)) if repaired else None,
            maintaintimes=len(maintained),
            mileageestimate=self._estimate(readings, day),
            visits=self._visits(rows),
        )

    def _visits(self, rows: list[RepairRow]) -> tuple[Visit, ...]:
        """By month and then by what they say, so that their order within a month tells nothing."""
        visits = [
            Visit(
                month=_month(row.settledate),
                category="repair" if self.settings.words.maintained(row)[1] else "maintenance",
                groups=tuple(sorted(self.settings.words.groups_of(row))),
                mileagefrom=self._begin(row.mileage),
            )
            for row in rows
        ]
        return tuple(sorted(visits, key=lambda one: (one.month, one.mileagefrom, one.category, one.groups)))

    def _estimate(self, readings: list[tuple[date, Decimal]], day: date) -> str | None:
        """The band of the highest reading, carried on to `day` at the vehicle's own pace where that is known."""
        if not readings:
            return None
        settings, (first_day, first) = self.settings, readings[0]
        last, last_day = max((mileage, read) for read, mileage in readings)
        days = (last_day - first_day).days
        if days >= settings.span_days and last > first:
            ahead = min(max((day - last_day).days, 0), settings.ahead_days)
            last += min((last - first) / days, Decimal(settings.daily_km)) * ahead
        begin = self._begin(last)
        return f"{begin}-{begin + settings.band}"

    def _begin(self, mileage: Decimal) -> int:
        return max(int(mileage), 0) // self.settings.band * self.settings.band


def _fell(readings: list[tuple[date, Decimal]]) -> bool:
    """Whether a reading is lower than one of an earlier day."""
    highest: dict[date, Decimal] = {}
    for day, mileage in readings:
        if any(mileage < before for earlier, before in highest.items() if earlier < day):
            return True
        highest[day] = max(mileage, highest.get(day, mileage))
    return False


def _month(day: date) -> str:
    return f"{day:%Y-%m}"
