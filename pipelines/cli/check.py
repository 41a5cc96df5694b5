"""`vingate check`: settings, connectors, and a dry run that shows what would go where."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.registry import names
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.cli.rolecheck import check as check_role
from pipelines.cli.rolecheck import is_role
from pipelines.dryrun import Preview, look
from pipelines.settings import load
from pipelines.state import State


def check(
    settings: Annotated[Path, typer.Argument(help="交换的设置文件 / the exchange's settings file (.toml)")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="覆盖设置 a.b=值，可多次 / override a setting; repeatable")
    ] = None,
    first: Annotated[int, typer.Option(min=0, help="试运行的报文数 / payloads of the dry run")] = 1_000,
    state: Annotated[Path | None, typer.Option(help="从此状态读取车籍 / read vehicle registrations there")] = None,
    declare: Annotated[
        bool, typer.Option("--declare", help="角色：建立队列、表与空名录，可重复 / of a role: make what is missing")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """检查设置与连接器，并对前 N 条试运行：什么会去哪里 / check settings and connectors, then a dry run.

    除 --declare 外不写入任何内容 / nothing is written but by --declare.

    角色文件（vingate serve 所用）：逐一检查其交换、来源与去向；--declare 建立队列、表与状态目录中的空经销商名录。
    Of a role's file (for vingate serve) every exchange, feed and sink is asked; --declare makes queues and tables, and
    the register of dealers in the state's folder, empty, where it is missing.

    重复、版本与历史规则需要状态，试运行不判断。
    Duplicates, versions and history rules need a state: the dry run leaves them out.

    [bold]示例 / example:[/bold]  vingate check deploy/exchanges/bulk-files.toml --set source.path=incoming
    """
    if is_role(settings):
        folder = state or Path("var/state")
        raise typer.Exit(check_role(settings, overrides or (), folder, declare=declare, as_json=as_json))
    if declare:
        wrong_use("--declare 用于角色文件 / --declare is for the file of a role")
    exchange = load(settings, overrides or ())
    if state is not None:
        exchange = exchange.placed(state)
    with tempfile.TemporaryDirectory(prefix="vingate-") as scratch:
        registrations = ""
        if state is not None:
            from pipelines.registering import snapshot

            with State(state, own=False) as opened:
                registrations = snapshot(opened, Path(scratch) / "registrations.ndjson")
        preview = look(exchange, first, registrations)
    if as_json:
        emit(as_object(preview))
    else:
        _show(preview)
    raise typer.Exit(1 if preview.problems else 0)


def as_object(preview: Preview) -> dict[str, Any]:
    """The stable form of `vingate check --json` (docs/json.md)."""
    return {
        "exchange": preview.exchange,
        "source": preview.source,
        "sinks": preview.sinks,
        "problems": preview.problems,
        "warnings": preview.warnings,
        "connectors": {"source": names("source"), "sink": names("sink")},
        "dry_run": {
            "received": preview.received,
            "dead": preview.dead,
            "filtered": preview.filtered,
            "waiting": preview.waiting,
            "fragments": preview.fragments,
            "destinations": dict(sorted(preview.destinations.items())),
            "findings": dict(preview.findings.most_common()),
            "reasons": dict(preview.reasons.most_common()),
        },
    }


def _show(preview: Preview) -> None:
    from rich.table import Table

    screen = console()
    screen.print(f"[bold]{preview.exchange}[/bold]  设置有效 / the settings are valid")
    installed = f"source: {', '.join(names('source'))}; sink: {', '.join(names('sink'))}"
    screen.print(f"已安装的连接器 / installed connectors: {installed}", markup=False)
    for line in (*preview.source, *preview.sinks):
        screen.print(f"  ✓ {line}", markup=False)
    for line in preview.problems:
        screen.print(f"  ✗ {line}", markup=False, style="red")
    for line in preview.warnings:
        screen.print(f"  ! {line}", markup=False, style="yellow")
    if preview.problems and not preview.received:
        return
    screen.print(f"\n前 {preview.received} 条的去向 / where the first {preview.received} payloads would go:")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("去向 destination")
    table.add_column("条数 payloads", justify="right")
    for name, number in sorted(preview.destinations.items()):
        table.add_row(name, f"{number:,}")
    rows = (
        ("死信 dead", preview.dead),
        ("过滤 filtered", preview.filtered),
        ("等待 waiting", preview.waiting),
        ("步骤 fragments", preview.fragments),
    )
    for name, number in rows:
        if number:
            table.add_row(name, f"{number:,}", style="yellow")
    screen.print(table)
    if preview.findings or preview.reasons:
        screen.print("\n发现的问题 / findings, by code:")
        for code, number in preview.findings.most_common():
            screen.print(f"  {number:>8,}  {code}")
        for why, number in preview.reasons.most_common():
            screen.print(f"  {number:>8,}  {why}", markup=False)
