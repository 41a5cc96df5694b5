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
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy import select

from connectors.contracts import Block, WorkItem
from connectors.engines import translated
from connectors.sqlbase import Store, StoreSettings
from mappings import dates
from mappings.documents.credit import Transmission
from mappings.documents.interchange import encode_document
from pipelines import tables
from pipelines.state import State
from pipelines.storeform import REPAIRS

_PATH = "transmissions"


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


class TransmissionSource:
    """Counts of uploads, by shop and month."""

    marks_in_commit = True
    """The last month that was told, kept in the commit that decides it."""

    def __init__(self, settings: TransmissionSettings) -> None:
        self.settings = settings
        self._store = Store(StoreSettings(url=settings.url, password=settings.password, table=REPAIRS))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """A month each, oldest first, from the first one that something was received in, behind the mark."""
        today = self.settings.today or dates.day_in_shanghai(datetime.now(UTC))
        told = done.get(_PATH, "")
        for month in sorted({*self._accepted(), *self._dead()}):
            if told < month < f"{today:%Y-%m}":
                digest = sha256(f"{self.settings.exchange}|{month}".encode()).hexdigest()
                yield WorkItem(_PATH, digest, extra={"month": month, "mark": month})

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """A transmission for each shop that was heard of in the month."""
        month = item.extra["month"]
        accepted, dead = self._accepted().get(month, {}), self._dead().get(month, Counter())
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
            bodies.append(encode_document(document, {}))
        for at in range(0, len(bodies), block):
            yield Block(item, bodies[at : at + block], list(range(at, min(at + block, len(bodies)))), [])

    def _accepted(self) -> dict[str, dict[str, _Uploads]]:
        """Month -> company -> what was accepted; what came down from above is no upload."""
        own = self._store.table.c
        wanted = select(own.companycode, own.version, own.settledate, own.received_at, own.findings).where(
            own.repaircomefrom == 1, own.withdrawn.is_(None)
        )
        found: dict[str, dict[str, _Uploads]] = {}
        with translated(), self._store.engine.connect().execution_options(yield_per=2_000) as connection:
            for company, version, settled, received, findings in connection.execute(wanted):
                day = dates.day_in_shanghai(datetime.fromisoformat(received))
                one = found.setdefault(f"{day:%Y-%m}", {}).setdefault(company, _Uploads())
                one.days.add(day)
                one.counts["accepted"] += 1
                one.counts["corrected"] += version > 1
                one.counts["flagged"] += bool(orjson.loads(findings or "[]"))
                one.counts["late"] += (day - date.fromisoformat(settled)).days > self.settings.late_days
        return found

    def _dead(self) -> dict[str, Counter[str]]:
        """Month -> company -> letters of its payloads; those of deliveries are the gateway's own matter."""
        t = tables.letters.letters
        wanted = select(t.c.company, t.c.received_at).where(
            t.c.exchange == self.settings.exchange, t.c.destination == "", t.c.company != ""
        )
        if self.settings.system:
            wanted = wanted.where(t.c.system == self.settings.system)
        found: dict[str, Counter[str]] = {}
        with State(self.settings.state, own=False) as state, state.reading() as connection:
            for company, received in connection.execute(wanted):
                day = dates.day_in_shanghai(datetime.fromisoformat(received))
                found.setdefault(f"{day:%Y-%m}", Counter())[company] += 1
        return found

    def mark(self, path: str) -> str:
        """Nothing: months are marked when they are planned."""
        del path
        return ""

    def finish(self, paths: Iterable[str]) -> None:
        """Nothing to do: the mark tells which months were told."""

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


class _Uploads:
    """What one shop uploaded in one month."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.days: set[date] = set()
