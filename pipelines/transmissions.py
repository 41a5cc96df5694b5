"""The source `transmissions`: what a province's ledger says of each shop's uploads, a document a shop and month.

    [source]
    connector = "transmissions"
    url = "sqlite:///{state}/stores/province-44.db"
    state = "{state}"
    exchange = "collect"

Accepted records are counted in the store, dead ones in the letters of the exchange; both by the day of receipt.
A month is told once it is over: nothing is received in it any more, so it gives the same envelopes whenever it is read.
"""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy import ColumnElement, select

from connectors.contracts import Block, WorkItem
from connectors.engines import translated
from connectors.sqlbase import Store, StoreSettings
from mappings import dates
from mappings.documents.credit import Transmission
from mappings.documents.quickinterchange import write_document
from pipelines import tables
from pipelines.marking import MarksInCommit
from pipelines.state import State
from pipelines.storeform import REPAIRS

_PATH = "transmissions"
_LAST = "9998-12"


class TransmissionSettings(BaseModel):
    """Settings of the source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr
    """The province's store of repairs."""
    password: SecretStr = SecretStr("")
    state: Path
    """Folder of the state that collects."""
    exchange: str = "collect"
    """The exchange that shops upload to."""
    system: str = ""
    """Collecting system of the province, where the exchange serves several; empty: all of them."""
    late_days: int = Field(default=1, ge=0)
    """Days between settlement and receipt from which on a record is late (rule 19)."""
    today: date | None = None
    """The day that it is; by itself that of Shanghai. For tests and backfills."""


class TransmissionSource(MarksInCommit):
    """Counts of uploads, by shop and month."""

    def __init__(self, settings: TransmissionSettings) -> None:
        self.settings = settings
        self._store = Store(StoreSettings(url=settings.url, password=settings.password, table=REPAIRS))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """A month each, oldest first, from the first one that something was received in, behind the mark."""
        today = self.settings.today or dates.day_in_shanghai(datetime.now(UTC))
        told, over = done.get(_PATH, ""), f"{today.replace(day=1) - timedelta(days=1):%Y-%m}"
        if told >= over:
            return  # asked at every scan, and new once a month
        for month in sorted(self._months(told)):
            if told < month <= over:
                digest = sha256(f"{self.settings.exchange}|{month}".encode()).hexdigest()
                yield WorkItem(_PATH, digest, extra={"month": month, "mark": month})

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """A transmission for each shop that was heard of in the month."""
        month = item.extra["month"]
        accepted = self._accepted(month, month).get(month, {})
        dead = self._dead(month, month).get(month, Counter())
        year, number = map(int, month.split("-"))
        days = monthrange(year, number)[1]
        bodies = []
        for company in sorted({*accepted, *dead}):
            one = accepted.get(company) or _Uploads()
            document = Transmission(
                companycode=company,
                period=month,
                received=one.counts["accepted"] + dead[company],
                accepted=one.counts["accepted"],
                late=one.counts["late"],
                dead=dead[company],
                flagged=one.counts["flagged"],
                corrected=one.counts["corrected"],
                silentdays=days - len(one.days),
            )
            bodies.append(write_document(document))
        for at in range(0, len(bodies), block):
            yield Block(item, bodies[at : at + block], list(range(at, min(at + block, len(bodies)))), [])

    def _months(self, first: str) -> set[str]:
        """The months, from one on, in which something was received."""
        own, t = self._store.table.c, tables.letters.letters
        accepted = select(own.received_at).where(*self._uploaded(first, _LAST)).distinct()
        dead = select(t.c.received_at).where(*self._died(first, _LAST)).distinct()
        with translated(), self._store.engine.connect() as connection:
            moments = set(connection.scalars(accepted))
        with State(self.settings.state, own=False) as state, state.reading() as connection:
            moments.update(connection.scalars(dead))
        return {f"{_day(moment):%Y-%m}" for moment in moments}

    def _uploaded(self, first: str, last: str) -> tuple[ColumnElement[bool], ...]:
        """Of rows of the store: uploads of some months; what came down from above is none."""
        own = self._store.table.c
        return own.repaircomefrom == 1, own.withdrawn.is_(None), *_about(own.received_at, first, last)

    def _died(self, first: str, last: str) -> tuple[ColumnElement[bool], ...]:
        """Of letters: those of shops' payloads of some months; those of deliveries are the gateway's own matter."""
        t = tables.letters.letters
        ours = (t.c.system == self.settings.system,) if self.settings.system else ()
        shops = (t.c.exchange == self.settings.exchange, t.c.destination == "", t.c.company != "", *ours)
        return *shops, *_about(t.c.received_at, first, last)

    def _accepted(self, first: str, last: str) -> dict[str, dict[str, _Uploads]]:
        """Month -> company -> what was accepted from one month to another."""
        own = self._store.table.c
        wanted = select(own.companycode, own.version, own.settledate, own.received_at, own.findings).where(
            *self._uploaded(first, last)
        )
        found: dict[str, dict[str, _Uploads]] = {}
        with translated(), self._store.engine.connect().execution_options(yield_per=2_000) as connection:
            for company, version, settled, received, findings in connection.execute(wanted):
                day = _day(received)
                one = found.setdefault(f"{day:%Y-%m}", {}).setdefault(company, _Uploads())
                one.days.add(day)
                one.counts["accepted"] += 1
                one.counts["corrected"] += version > 1
                one.counts["flagged"] += (findings or "[]") != "[]"
                one.counts["late"] += (day - date.fromisoformat(settled)).days > self.settings.late_days
        return found

    def _dead(self, first: str, last: str) -> dict[str, Counter[str]]:
        """Month -> company -> letters of its payloads."""
        t = tables.letters.letters
        wanted = select(t.c.company, t.c.received_at).where(*self._died(first, last))
        found: dict[str, Counter[str]] = {}
        with State(self.settings.state, own=False) as state, state.reading() as connection:
            for company, received in connection.execute(wanted):
                day = _day(received)
                found.setdefault(f"{day:%Y-%m}", Counter())[company] += 1
        return found

    def check(self) -> list[str]:
        """How much the store holds.

        Raises:
            Misconfigured: there is no such store.
            Unavailable: it is not to be had now.
        """
        return self._store.check()

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._store.engine.dispose()


@lru_cache(maxsize=4_096)
def _day(moment: str) -> date:
    """The day in Shanghai of a moment: one batch has one, so few are read again and again."""
    return dates.day_in_shanghai(datetime.fromisoformat(moment))


def _about(moment: ColumnElement[str], first: str, last: str) -> tuple[ColumnElement[bool], ...]:
    """Moments (ISO text, whatever its offset) of some months, and a little more: the month is told by the moment."""
    low = f"{date.fromisoformat(f'{first}-01') - timedelta(days=2)}" if first else ""
    high = f"{date.fromisoformat(f'{last}-28') + timedelta(days=6)}"
    return moment >= low, moment < high


class _Uploads:
    """What one shop uploaded in one month."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.days: set[date] = set()
