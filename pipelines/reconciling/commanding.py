"""Reconciliation as people order it: exchanges and days in, reports out, and backfill by whoever may do it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path

import orjson
from sqlalchemy import select

from dlq.masking import masked_text
from dlq.sealing import Sealer
from mappings.dates import SHANGHAI
from mappings.encoding import record_key
from pipelines import tables
from pipelines.errors import SettingsError
from pipelines.keptsettings import kept_exchange, newest_run
from pipelines.reconciling.comparing import compare
from pipelines.reconciling.report import MISSING, Place, Report
from pipelines.settings import Exchange
from pipelines.state import State

MOST_NAMED = 1_000
"""So many missing records are read again to be named; of the others the source is told."""


def day_range(first: date, last: date) -> tuple[datetime, datetime]:
    """The moments between which some days lie, in China's time."""
    begin = datetime.combine(first, time.min, SHANGHAI)
    return begin, datetime.combine(last + timedelta(days=1), time.min, SHANGHAI)


def days_before(moment: datetime, days: int) -> tuple[datetime, datetime]:
    """The last whole days before a moment, in China's time."""
    today = moment.astimezone(SHANGHAI).date()
    return day_range(today - timedelta(days=days), today - timedelta(days=1))


def exchanges(state: State, names: Collection[str]) -> list[Exchange]:
    """The settings that exchanges last ran with, placed on the state; those of all that have sinks where none is named.

    Raises:
        SettingsError: the state knows no exchange of a name, or none of its runs kept settings.
    """
    t, found = tables.runs, []
    with state.reading() as connection:
        known = list(connection.execute(select(t.c.exchange).distinct().order_by(t.c.exchange)).scalars())
        for name in names or known:
            run = newest_run(connection, name) if name in known else None
            kept = kept_exchange(connection, state.sealer(), run) if run is not None else None
            if kept is None:
                message = (
                    f"此状态中没有交换 {name}；有 {', '.join(known) or '无'}"
                    f" / this state has no exchange {name}; it has {', '.join(known) or 'none'}"
                )
                raise SettingsError(message)
            if kept.sinks or names:
                found.append(kept.placed(state.path))
    return found


def reconcile(state: State, exchange: Exchange, since: datetime, until: datetime, only: Collection[str] = ()) -> Report:
    """Compare one exchange, and name what is missing as far as its source can be read again."""
    sealer = state.sealer()
    report = compare(state, exchange, sealer, since, until, only)
    name_missing(state, exchange, sealer, report)
    return report


def name_missing(state: State, exchange: Exchange, sealer: Sealer, report: Report) -> None:
    """Put the record keys of missing records into a report."""
    from pipelines.reconciling.rereading import Reread  # imported late: it takes Beam along

    by_batch: dict[str, dict[int, set[int]]] = {}
    for one in report.missing()[:MOST_NAMED]:
        if one.place is not None:
            by_batch.setdefault(one.place.batch, {}).setdefault(one.place.item, set()).add(one.place.ordinal)
    keys: dict[tuple[str, int, int], str] = {}
    for batch, wanted in by_batch.items():
        for (item, ordinal), body in Reread(state, exchange, sealer).records(batch, wanted).items():
            record = orjson.loads(body)
            key = record_key(record["system"], record["companycode"], record["costlistcode"])
            keys[batch, item, ordinal] = masked_text(key)
    report.differences = [
        one._replace(key=keys.get((one.place.batch, one.place.item, one.place.ordinal), one.key))
        if one.kind == MISSING and one.place is not None
        else one
        for one in report.differences
    ]


def missing_places(report: Report) -> list[Place]:
    """Our deliveries that a backfill sends again."""
    return [one.place for one in report.missing() if one.place is not None]


def backfill(state: State, exchange: Exchange, report: Report) -> None:
    """Send again what is missing, on a state that this process owns; the report says what became of it."""
    from pipelines.coordinator import Coordinator  # imported late: it takes Beam along

    places = missing_places(report)
    if places:
        report.backfill = dict(Counter(Coordinator(state, exchange).resend(places).values()))


def order_backfill(state: State, exchange: Exchange, report: Report, seconds: float) -> None:
    """The same through whoever owns the state."""
    from pipelines.reconciling.orders import awaited, order

    places = missing_places(report)
    if places:
        order(state, exchange.name, places)
        report.backfill = dict(Counter(awaited(state, places, seconds).values()))


def report_path(folder: Path, exchange: str, since: datetime, until: datetime) -> Path:
    """Where the report of an exchange and a range lies in a state's folder."""
    last = until.astimezone(SHANGHAI) - timedelta(days=1)
    return folder / "reports" / f"reconcile-{exchange}-{since.astimezone(SHANGHAI):%Y%m%d}-{last:%Y%m%d}.json"


def keep_reports(folder: Path, reports: Sequence[Report]) -> list[Path]:
    """Write reports as JSON, one an exchange and range, in place of an earlier one of the same; where they lie."""
    written = []
    for report in reports:
        path = report_path(folder, report.exchange, report.since, report.until)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.touch(mode=0o600)
        temporary.write_bytes(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2))
        temporary.replace(path)
        written.append(path)
    return written
