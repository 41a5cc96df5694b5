"""`vingate reconcile`: sent and accepted, compared with what the other side holds; what is missing is sent again."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mappings.dates import SHANGHAI
from pipelines.cli.days import chosen_days
from pipelines.cli.out import AsJson, console, emit
from pipelines.errors import StateBusy
from pipelines.state import State

if TYPE_CHECKING:
    from pipelines.reconciling.report import Report

_SHOWN = 50
_COLUMNS = {
    "sent": "发送\nsent",
    "accepted": "接受\naccepted",
    "held": "对方有\nheld",
    "missing": "缺少\nmissing",
    "differs": "不同\ndiffers",
    "unknown": "多出\nunknown",
    "waiting": "等待\nwaiting",
    "refused": "拒绝\nrefused",
}
_HOW = {
    "listed": "逐条 record by record",
    "verified": "逐批 batch by batch",
    "receipts": "以回执为准 by its answers",
    "unasked": "无法查询 could not be asked",
}


def reconcile(
    state: Annotated[Path, typer.Option("--state", help="状态目录 / the state's folder")],
    exchange: Annotated[
        list[str] | None, typer.Option(help="只核对此交换，可多次 / only this exchange; may be given again")
    ] = None,
    destination: Annotated[
        list[str] | None, typer.Option(help="只核对此目的地，可多次 / only this destination; may be given again")
    ] = None,
    first: Annotated[
        str, typer.Option("--from", help="首日，如 2026-09-01，默认昨天 / first day; default: yesterday")
    ] = "",
    last: Annotated[str, typer.Option("--to", help="末日，默认同首日 / last day; default: the first")] = "",
    again: Annotated[
        bool, typer.Option("--backfill", help="重新发送对方缺少的记录 / send again what the other side does not hold")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--wait", min=0, help="服务运行时等待其处理的秒数 / seconds to wait for a running service")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """按日对账：已发送、已接受的记录与对方实际持有的逐条比对 / compare what was sent with what is held.

    日期为北京时间的收到日。可与运行中的服务同时使用；--backfill 由其补发。退出码 0 一致，1 不一致。
    Days are days of receipt in China's time. Works beside a running service, which then does the backfill. Exit 0: both
    sides agree, 1: they do not.

    [bold]示例 / examples:[/bold]

    vingate reconcile --state /var/lib/vingate/headquarters

    vingate reconcile --state var/hq --from 2026-09-01 --to 2026-09-30 --backfill --json
    """
    from pipelines.reconciling import commanding

    yesterday = datetime.now(SHANGHAI).date() - timedelta(days=1)
    since, until = commanding.day_range(*(chosen_days(first, last) or (yesterday, yesterday)))
    with State(state, own=False) as opened:
        chosen = commanding.exchanges(opened, exchange or ())
        reports = [commanding.reconcile(opened, one, since, until, destination or ()) for one in chosen]
    if again and any(report.missing() for report in reports):
        _send_again(state, reports, seconds)
    if as_json:
        emit({"agreed": all(one.agreed for one in reports), "exchanges": [one.as_dict() for one in reports]})
    else:
        _show(reports)
    raise typer.Exit(0 if all(one.agreed for one in reports) else 1)


def _send_again(folder: Path, reports: list[Report], seconds: float) -> None:
    from pipelines.reconciling import commanding

    try:
        with State(folder, own=True) as state:
            for report in reports:
                commanding.backfill(state, commanding.exchanges(state, [report.exchange])[0], report)
    except StateBusy:  # a service runs: it does what is ordered
        with State(folder, own=False) as state:
            for report in reports:
                chosen = commanding.exchanges(state, [report.exchange])[0]
                commanding.order_backfill(state, chosen, report, seconds)


def _show(reports: list[Report]) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    for report in reports:
        told = report.as_dict()
        verdict = "[green]一致 / both sides agree[/]" if report.agreed else "[red]不一致 / they do not agree[/]"
        title = f"[bold]{report.exchange}[/] · {report.since:%Y-%m-%d} – {report.until:%Y-%m-%d} · {verdict}"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("目的地\ndestination", no_wrap=True)
        for head in _COLUMNS.values():
            table.add_column(head, justify="right")
        table.add_column("如何核对\nhow")
        for name, side in told["destinations"].items():
            table.add_row(name, *(f"{side[column]:,}" for column in _COLUMNS), _HOW[side["how"]])
        screen.print(table)
        for name, side in told["destinations"].items():
            if side["why"]:
                screen.print(Text(f"{name}: {side['why']}", style="yellow"), soft_wrap=True)
        for one in told["differences"][:_SHOWN]:
            where = " · ".join(filter(None, (one["destination"], one["record"], one["source"], one["batch"])))
            screen.print(Text(f"{one['problem']}: {where}", style="red"), soft_wrap=True)
        if len(told["differences"]) > _SHOWN:
            left = len(told["differences"]) - _SHOWN
            screen.print(f"… 另有 {left} 处，见 --json / {left} more: see --json")
        if report.backfill:
            screen.print(f"补发 / sent again: {', '.join(f'{name} {n}' for name, n in report.backfill.items())}")
        elif report.missing():
            screen.print("补发 / to send again what is missing: --backfill", style="dim")
