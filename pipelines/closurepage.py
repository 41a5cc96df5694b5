"""The part of the page that the environment department looks at: closures received against due, by district and day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from typing import NamedTuple

from pipelines.closurebalance import Balance
from routing.cases.emissionreports import Received

_DAYS = 31
"""The latest days of settlement that have a column of their own; the total counts all."""


class Closures(NamedTuple):
    """One exchange of closures."""

    exchange: str
    balance: Balance | str
    """Or why nobody can say, in Chinese and English."""


def section(exchanges: Iterable[Closures]) -> str:
    """The section, empty where no exchange sends closures. Counts alone stand in it."""
    parts = [_one(*one) for one in exchanges]
    head = "<h2>排放闭环：收到与应送，按区划与结算日 / closures received against due, by district and day</h2>"
    return head + "".join(parts) if parts else ""


def _one(exchange: str, balance: Balance | str) -> str:
    name = escape(exchange)
    if isinstance(balance, str):
        return f'<p class="bad">{name}: {escape(balance)}</p>'
    due, there = sum(row.due for row in balance.rows), sum(row.received for row in balance.rows)
    lists = [(row.missing, row.differing, row.unexpected) for row in balance.rows]
    missing, differing, surplus = (sum(len(one[at]) for one in lists) for at in range(3))
    verdict, mark = ("相等 / equal", "good") if balance.balanced else ("不相等 / not equal", "bad")
    return (
        f'<p>{name}: 应送 due {due:,}，收到 received {there:,}：<span class="{mark}">{verdict}</span>'
        f"；缺 missing {missing:,}，不同 differing {differing:,}，多 surplus {surplus + balance.unnamed:,}"
        f" — <code>vingate cases closures</code></p>{_table(balance.rows)}"
    )


def _table(rows: Sequence[Received]) -> str:
    days = sorted({row.day for row in rows})[-_DAYS:]
    heads = "".join(f"<th>{day:%m-%d}</th>" for day in days)
    cells = {(row.area, row.day): row for row in rows}
    areas = sorted({row.area for row in rows})
    lines = [_line(area, [cells.get((area, day)) for day in days], rows) for area in areas]
    return (
        '<div class="scroll"><table><thead><tr><th>区划 district</th>'
        f"{heads}<th>合计 total</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _line(area: str, shown: Sequence[Received | None], rows: Sequence[Received]) -> str:
    whole = [row for row in rows if row.area == area]
    missing = tuple(name for row in whole for name in (*row.missing, *row.differing, *row.unexpected))
    total = Received(date.min, area, sum(row.due for row in whole), sum(row.received for row in whole), missing)
    return f"<tr><td>{escape(area or '-')}</td>{''.join(map(_cell, [*shown, total]))}</tr>"


def _cell(row: Received | None) -> str:
    """How many were received; where that is not what is due, of how many."""
    if row is None:
        return "<td>·</td>"
    return f"<td>{row.received:,}</td>" if row.balanced else f'<td class="bad">{row.received:,}/{row.due:,}</td>'
