"""The page of a state: everything that its exchanges did so far, written beside it (`pipelines.page`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from connectors.contracts import ConnectorError
from dlq.letters import LetterStore
from dlq.reasons import codes, reason
from mappings.dates import SHANGHAI
from pipelines import tables
from pipelines.closurebalance import balance, emission_exchanges
from pipelines.closurepage import Closures, section
from pipelines.counting import count
from pipelines.page import Row, page
from pipelines.partners.catalogue import PARTNERS
from pipelines.state import State
from pipelines.version import BUILD
from routing.errors import TableError

CALLED: Mapping[str, str] = {
    "ministry": "部级系统",
    "receipts": "企业回执",
    "registrations": "车籍登记册",
    "operators": "业户登记册",
    "documents": "单证库",
    "cases": "案件库",
    **{name: one.zh for name, one in PARTNERS.items()},
}
"""Destination -> what it is called in Chinese."""
NAME = "report.html"
"""File of the page, in the folder of the state."""


def _said(code: str) -> str:
    """A reason's code with its Chinese text before it."""
    return f"{reason(code).zh} {code}" if code in codes() else code


def write_page(state: State, problems: list[str], place: Path | None = None) -> Path:
    """Write the page of a state; where it lies. `problems`: what its ledger could not prove."""
    with state.reading() as connection:
        runs = connection.execute(select(tables.runs.c.id).order_by(tables.runs.c.id)).scalars().all()
        counted = list(count(connection, runs))
        reasons: Counter[str] = Counter()
        for one in LetterStore(connection, state.sealer()).counts():
            reasons[_said(one.reason)] += one.letters
    rows: list[Row] = []
    for exchange in counted:
        rows.append(Row(exchange.exchange, exchange.totals, exchange=True))
        rows += [
            Row(name, counts, called=CALLED.get(name, "")) for name, counts in sorted(exchange.destinations.items())
        ]
    moment = datetime.now(UTC).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
    made = f"vingate {BUILD} · {moment}"
    text = page("vingate 数据交换 / data exchange", rows, reasons, problems, made, section(_closures(state)))
    place = place or state.path / NAME
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, "utf-8")
    return place


def _closures(state: State) -> list[Closures]:
    """Closures received against those due, of each exchange that sends them; or why nobody can say."""
    found = []
    for exchange in emission_exchanges(state, state.sealer()):
        try:
            found.append(Closures(exchange.name, balance(state, exchange)))
        except (ConnectorError, TableError) as error:
            found.append(Closures(exchange.name, str(error)))
    return found
