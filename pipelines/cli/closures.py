"""`vingate cases closures`: what the environment department has of the closures that are due, by day and district."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pipelines.cli.choosing import StateFolder
from pipelines.cli.days import day as day_of
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.closurebalance import Balance, balance, emission_exchanges
from pipelines.state import State

_SHOWN = 40
_LISTS = (("缺 missing", "missing"), ("不同 differs", "differing"), ("多 surplus", "unexpected"))
_VIN = 17


def closures(
    state: StateFolder = Path("var/nation"),
    day: Annotated[str, typer.Option(help="仅此结算日 / only this day of settlement")] = "",
    district: Annotated[str, typer.Option(help="仅此区划，代码前几位 / only this division, its first digits")] = "",
    exchange: Annotated[str, typer.Option(help="仅此交换 / only this exchange")] = "",
    as_json: AsJson = False,
) -> None:
    """环境部门收到的闭环与应送闭环，按日与区划 / closures received against those due, by day and district.

    应送由库中记录重新推导，收到以对方确认为准；不相等时退出码为 1。
    Due is derived anew from the stores, received is what the department acknowledged; exit code 1 where they differ.

    示例 / example: vingate cases closures --state var/nation --district 4401 --json
    """
    wanted = day_of(day, "--day") if day else None
    with State(state, own=False) as held:
        settings = [one for one in emission_exchanges(held, held.sealer()) if exchange in ("", one.name)]
        if not settings:
            wrong_use(f"{state} 没有运行过排放闭环交换 / no exchange of closures has run on {state}")
        found = [balance(held, one) for one in settings]
    told = [
        one._replace(
            rows=[row for row in one.rows if wanted in (None, row.day) and row.area.startswith(district)],
            unnamed=0 if wanted or district else one.unnamed,
        )
        for one in found
    ]
    if as_json:
        emit({"balanced": all(one.balanced for one in told), "exchanges": [_plain(one) for one in told]})
    else:
        for one in told:
            _show(one)
    if not all(one.balanced for one in told):
        raise typer.Exit(1)


def _plain(one: Balance) -> dict[str, Any]:
    return {
        "exchange": one.exchange,
        "balanced": one.balanced,
        "due": sum(row.due for row in one.rows),
        "received": sum(row.received for row in one.rows),
        "unnamed": one.unnamed,
        "days": [
            {"day": row.day, "district": row.area, "due": row.due, "received": row.received,
             "missing": _named(row.missing, one), "differing": _named(row.differing, one),
             "surplus": _named(row.unexpected, one)} for row in one.rows
        ],
    }  # fmt: skip


def _named(names: Iterable[str], one: Balance) -> list[dict[str, str]]:
    return [{"closure": name, "newest": one.why[name]} for name in names]


def _show(one: Balance) -> None:
    out = console()
    verdict = "相等 / equal" if one.balanced else "不相等 / not equal"
    due, there = sum(row.due for row in one.rows), sum(row.received for row in one.rows)
    out.print(f"{one.exchange}: 应送 due {due}，收到 received {there}：{verdict}", highlight=False, markup=False)
    if one.unnamed:
        out.print(f"  本方已无从查考 / received, and no store of ours names it: {one.unnamed}", highlight=False)
    rows = sorted(one.rows, key=lambda row: (row.balanced, row.day, row.area))
    table = Table(box=None)
    for head in ("结算日 day", "区划 district", "应送 due", "收到 received", *(head for head, _ in _LISTS)):
        table.add_column(head, justify="right")
    for row in rows[:_SHOWN]:
        lists = (str(len(getattr(row, name)) or "·") for _, name in _LISTS)
        table.add_row(row.day.isoformat(), row.area or "-", str(row.due), str(row.received), *lists)
    out.print(table)
    if len(rows) > _SHOWN:
        out.print(f"另有 {len(rows) - _SHOWN} 行，见 --json / {len(rows) - _SHOWN} more rows: --json", highlight=False)
    for head, name, row in [(*told, row) for told in _LISTS for row in rows if getattr(row, told[1])][:_SHOWN]:
        for closure in getattr(row, name):
            out.print(f"  {head}: {_shown(closure)}（{one.why[closure]}）", highlight=False, markup=False)


def _shown(closure: str) -> str:
    """A closure without its vehicle: a VIN is nobody's business who did not ask for it."""
    head, _, vin = closure.rpartition("/")
    return f"{head}/{vin[:3]}…{vin[-4:]}" if len(vin) == _VIN else closure
