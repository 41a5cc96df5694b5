"""Kinds of the credit file of repair shops (信用档案): what is known of a shop's conduct, and the entry made of it.

The four items are those of 交办运〔2021〕82号 (13): data transmission, owners' evaluations, spot checks of filings,
complaints; an appeal corrects one of them and leaves it standing beside. Element names of JT/T 1132.3-2017 and the item
table of 信用交通 are not public: the members are our own, and `mappings.documents.creditforms` is the adapter to them.

The issuer of every kind is the company code of the shop that it speaks of, so that what belongs to one shop is found
together. No kind holds free text: a comment, a complaint's story or a finding's wording may hold names and phones.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mappings.documents import Document, Identity

ITEMS = ("quality", "efficiency", "charge", "attitude", "environment")
"""The five items: 维修质量, 维修效率, 维修收费 (价格透明度), 服务态度, 服务环境 (店面环境)."""

EVALUATION, SPOT_CHECK, COMPLAINT, TRANSMISSION = "evaluation", "spot-check", "complaint", "transmission"

COUNTS = ("received", "accepted", "late", "dead", "flagged", "corrected", "silentdays")

CORRECTABLE: Mapping[str, tuple[str, ...]] = {
    EVALUATION: ITEMS,
    SPOT_CHECK: ("result", "rectifiedon"),
    COMPLAINT: ("outcome",),
    TRANSMISSION: COUNTS,
}
"""Kind that an appeal may be about -> the members that it may correct."""

ACCEPTED = "2"
"""Decision of an appeal that takes effect (table `appeal-decisions`)."""

Stars = Annotated[int, Field(ge=1, le=5)]
Count = Annotated[int, Field(ge=0, lt=10**9)]

_PERIOD = re.compile(r"(\d{4})-(?:(\d{2})(?:-(\d{2}))?|Q([1-4]))|(\d{4})", re.ASCII)


def span(period: str) -> tuple[date, date]:
    """First and last day of `2026-10-05`, `2026-10`, `2026-Q4` or `2026`.

    Raises:
        ValueError: none of these forms, or no such day.
    """
    found = _PERIOD.fullmatch(period)
    if found is None:
        message = "应为 yyyy-MM-dd、yyyy-MM、yyyy-Qn 或 yyyy / one of yyyy-MM-dd, yyyy-MM, yyyy-Qn, yyyy"
        raise ValueError(message)
    year, month, day, quarter, alone = found.groups()
    if alone:
        return date(int(alone), 1, 1), date(int(alone), 12, 31)
    if quarter:
        last = 3 * int(quarter)
        return date(int(year), last - 2, 1), _end(int(year), last)
    if day:
        return date(int(year), int(month), int(day)), date(int(year), int(month), int(day))
    return date(int(year), int(month), 1), _end(int(year), int(month))


def _end(year: int, month: int) -> date:
    return date(year, month, calendar.monthrange(year, month)[1])


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Evaluation(Document):
    """An owner's evaluation of one visit: whole stars 1-5 an item (JT/T 1132.3; 82号 (6)). The comment is not kept."""

    KIND: ClassVar[str] = EVALUATION

    companycode: str
    evaluationno: str
    """Its number with who collects evaluations; where that gives none, `number_of` what it says."""
    costlistcode: str
    vin: str
    evaluatedon: date
    edition: str
    """Which naming the owner saw: `82-2021`, `guide-2017`, `city` or `app`."""
    quality: Stars
    efficiency: Stars
    charge: Stars | None = None
    """None in `app`, which does not ask for it."""
    attitude: Stars | None = None
    """None in `city`, which does not ask for it."""
    environment: Stars
    overall: Stars | None = None
    """The owner's own sum, in `city` and `app`."""

    @property
    def identity(self) -> Identity:
        """Shop, number of the evaluation, its day, and the vehicle."""
        return Identity(self.companycode, self.evaluationno, self.evaluatedon, self.vin)

    @property
    def numbered(self) -> bool:
        """Whether its number is that of who collects evaluations: a later one of that number then corrects it."""
        return not self.evaluationno.startswith(f"{self.costlistcode}/{self.vin}/")


def number_of(costlistcode: str, vin: str, said: Sequence[object]) -> str:
    """The number of an evaluation that came without one: list code, VIN, and a digest of what it says.

    So the same again is a duplicate, and another one of the visit is an evaluation of its own, which does not count
    beside the first (domain 8.4: one a visit) and replaces nothing.
    """
    digest = blake2b("\n".join(map(str, said)).encode(), digest_size=6).hexdigest()
    return f"{costlistcode}/{vin}/{digest}"


class CheckedItem(_Part):
    """One filed matter that was looked at: codes of the tables `filing-items` and `check-results`."""

    item: str
    result: str


class SpotCheck(Document):
    """A spot check of what a shop filed (经营备案事项抽查), by codes alone."""

    KIND: ClassVar[str] = SPOT_CHECK

    companycode: str
    checkno: str
    checkedon: date
    result: str
    """Code of the table `check-results`."""
    items: tuple[CheckedItem, ...] = ()
    rectifyby: date | None = None
    """The last day for putting right, where the shop was told to."""
    rectifiedon: date | None = None

    @property
    def identity(self) -> Identity:
        """Shop, number of the check, its day."""
        return Identity(self.companycode, self.checkno, self.checkedon)


class Complaint(Document):
    """A complaint against a shop and what became of it (群众投诉处理), by codes alone."""

    KIND: ClassVar[str] = COMPLAINT

    companycode: str
    complaintno: str
    receivedon: date
    subject: str
    """Code of the table `complaint-subjects`."""
    outcome: str
    """Code of the table `complaint-outcomes`."""
    closedon: date | None = None
    costlistcode: str | None = None
    vin: str | None = None

    @property
    def identity(self) -> Identity:
        """Shop, number of the complaint, the day it came, and the vehicle where it names one."""
        return Identity(self.companycode, self.complaintno, self.receivedon, self.vin or "")


class Correction(_Part):
    """One member that an appeal puts right."""

    member: str
    value: str
    """As text; an integer, a code or an ISO date, as the member wants it."""


class Appeal(Document):
    """An appeal of a shop against one item of its credit file. What it corrects stays; the entry shows both."""

    KIND: ClassVar[str] = "appeal"

    companycode: str
    appealno: str
    filedon: date
    about: str
    """Kind of the item: a key of `CORRECTABLE`."""
    aboutno: str
    """The item's number; of a transmission its period."""
    decision: str
    """Code of the table `appeal-decisions`."""
    decidedon: date | None = None
    corrections: tuple[Correction, ...] = ()
    """What an accepted appeal puts right. None: the item is struck."""

    @property
    def identity(self) -> Identity:
        """Shop, number of the appeal, the day it was filed."""
        return Identity(self.companycode, self.appealno, self.filedon)


class Transmission(Document):
    """What the ledger counts of one company's uploads on one day or in one month, told by whoever reads the ledger."""

    KIND: ClassVar[str] = TRANSMISSION

    companycode: str
    period: str
    """`yyyy-MM-dd` or `yyyy-MM`, by the day of receipt in China."""
    received: Count
    """Payloads."""
    accepted: Count
    """Records, later versions among them."""
    late: Count = 0
    """Of the accepted: came more than one day after settlement (SETTLED_LATE)."""
    dead: Count = 0
    """Of the received: ended as dead letters."""
    flagged: Count = 0
    """Of the accepted: with a finding of severity flag."""
    corrected: Count = 0
    """Of the accepted: a later version of a record."""
    silentdays: Count = 0
    """Days of the period on which nothing came; of one day 0 or 1."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        first, last = span(self.period)
        days = (last - first).days + 1
        if days > 31:
            message = "应为一天或一个月 / a day or a month"
            raise ValueError(message)
        parts = max(self.late, self.flagged, self.corrected)
        if self.accepted + self.dead > self.received or parts > self.accepted or self.silentdays > days:
            message = "部分多于总数 / a part is more than the whole"
            raise ValueError(message)
        return self

    @property
    def span(self) -> tuple[date, date]:
        """Its first and its last day."""
        return span(self.period)

    @property
    def identity(self) -> Identity:
        """Shop, period, last day of it."""
        return Identity(self.companycode, self.period, self.span[1])


Correctable = Evaluation | SpotCheck | Complaint | Transmission
"""What an appeal may be about."""


def put_right(document: Correctable, corrections: tuple[Correction, ...]) -> Correctable | None:
    """The item as an appeal puts it right; None where the corrections do not fit it."""
    allowed, whole = CORRECTABLE[document.KIND], {*ITEMS, *COUNTS}
    if any(one.member not in allowed for one in corrections):
        return None
    try:
        changes = {one.member: int(one.value) if one.member in whole else one.value for one in corrections}
        return type(document).of_members({**document.members(), **changes})
    except (ValueError, TypeError):  # pydantic's and orjson's errors among them
        return None


class CreditSubject(Document):
    """Which operator (信用主体) a company code stands for, from a day on: what registrations tell."""

    KIND: ClassVar[str] = "credit-subject"

    companycode: str
    uscc: str
    since: date

    @property
    def identity(self) -> Identity:
        """Shop, USCC, the day from which it holds."""
        return Identity(self.companycode, self.uscc, self.since)


class Measure(_Part):
    """One figure of an entry: as the sources tell it, and as it counts after appeals; None where nothing tells it."""

    name: str
    found: Decimal | None = None
    counted: Decimal | None = None


class CreditLine(_Part):
    """One rule of the scoring and what it gave."""

    rule: str
    zh: str
    en: str
    measure: str
    bound: str
    """The band that the figure falls into, in words: `<= 0.02`, `> 0.2`, or `-` where there is no figure."""
    weight: Decimal
    percent: Decimal
    points: Decimal
    """weight * percent / 100."""
    found: Decimal
    """Points that the figure before appeals gives."""


class Uncounted(_Part):
    """Something that did not count, and why: a code of `routing.cases.credit.REASONS`."""

    kind: str
    number: str
    reason: str


class Corrected(_Part):
    """What one appeal changed in an entry; both values are kept. `counted` is None where the item was struck."""

    appealno: str
    about: str
    aboutno: str
    member: str
    found: str | None = None
    counted: str | None = None


class CreditEntry(Document):
    """The entry of one shop for one period, as credit-transport gets it; derived, so it can be derived again."""

    KIND: ClassVar[str] = "credit-entry"

    companycode: str
    uscc: str
    period: str
    first: date
    last: date
    scoring: str
    """Edition of the scoring that gave it."""
    score: Decimal
    full: Decimal
    """The most that the scoring gives."""
    level: str
    foundscore: Decimal
    """The score without appeals."""
    foundlevel: str
    measures: tuple[Measure, ...]
    lines: tuple[CreditLine, ...]
    corrections: tuple[Corrected, ...] = ()
    uncounted: tuple[Uncounted, ...] = ()

    @property
    def identity(self) -> Identity:
        """Shop, period, last day of the period. An operator with several company codes has an entry for each."""
        return Identity(self.companycode, self.period, self.last)


class CreditGap(Document):
    """A shop whose entries cannot be made, and why; it goes away when the cause does."""

    KIND: ClassVar[str] = "credit-gap"

    companycode: str
    reason: str
    """`uscc-unknown`: nothing tells which operator the company code stands for."""
    periods: tuple[str, ...]
    since: date

    @property
    def identity(self) -> Identity:
        """Shop, reason, last day of the first period that lacks its entry."""
        return Identity(self.companycode, self.reason, self.since)
