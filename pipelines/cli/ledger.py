"""`vingate ledger`: prove that nothing was lost or doubled, against the destinations themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.cli.out import AsJson, emit
from pipelines.errors import SettingsError
from pipelines.ledger import ExchangeLedger, Proof, prove
from pipelines.state import State

_COLUMNS = {
    "received": "收到 received",
    "delivered": "送达 delivered",
    "duplicate": "重复 duplicate",
    "merged": "合并 merged",
    "filtered": "过滤 filtered",
    "dead": "死信 dead",
    "waiting": "等待 waiting",
    "in_flight": "在途 in flight",
    "fragments": "分步 fragments",
    "records": "核对 records",
}
_SHOWN = 50


def ledger(
    state: Annotated[Path, typer.Option(help="状态目录 / state folder")] = Path("var/state"),
    exchange: Annotated[
        list[str] | None, typer.Option(help="只核对此交换，可多次 / only this exchange; may be given again")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="是否向目的地与死信库核对 / ask destinations and letters too")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """对账：逐批核对等式、日志，并向目的地与死信库核对 / prove the ledger: equations, journals, destinations, letters.

    可与运行中的网关同时使用。退出码 0 平衡，1 不平衡 / works beside a running gateway; exit 0 balanced, 1 not.

    示例 / example: vingate ledger --state var/nation --json
    """
    with State(state, own=False) as opened:
        proof = prove(opened, _known(opened, exchange), verify=verify)
    if as_json:
        emit(as_object(proof))
    else:
        _show(proof)
    raise typer.Exit(0 if proof.balanced else 1)


def _known(state: State, asked: list[str] | None) -> list[str] | None:
    """The exchanges that are asked for.

    Raises:
        SettingsError: the state knows no exchange of a name.
    """
    from sqlalchemy import select

    from pipelines import tables

    with state.reading() as connection:
        known = set(connection.execute(select(tables.runs.c.exchange).distinct()).scalars())
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        message = (
            f"此状态中没有交换 {', '.join(unknown)}；有 {', '.join(sorted(known)) or '无'}"
            f" / this state has no exchange {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}"
        )
        raise SettingsError(message)
    return asked or None


def as_object(proof: Proof) -> dict[str, Any]:
    """The stable form of `--json`; members are only ever added."""
    return {
        "balanced": proof.balanced,
        "totals": proof.totals,
        "destinations": proof.destinations,
        "problems": [problem.as_dict() for problem in proof.problems],
        "exchanges": {
            name: {
                "balanced": not one.problems,
                "totals": dict(one.totals),
                "destinations": {destination: dict(counts) for destination, counts in one.destinations.items()},
            }
            for name, one in proof.exchanges.items()
        },
        "verified": proof.verified,
        "batches": proof.batches,
        "unfinished": list(proof.unfinished),
    }


def _show(proof: Proof) -> None:
    console = Console()
    for name, one in proof.exchanges.items():
        console.print(_table(name, one, proof.verified))
    for problem in proof.problems[:_SHOWN]:
        place = " · ".join(part for part in (problem.batch, problem.destination, problem.record) if part)
        console.print(Text(f"{place}: {problem.text}", style="red"), soft_wrap=True)
        console.print(Text(f"   应为 expected {problem.expected}, 实为 found {problem.found}"), soft_wrap=True)
        console.print(Text(f"   {problem.remedy}", style="green"), soft_wrap=True)
    if len(proof.problems) > _SHOWN:
        left = len(proof.problems) - _SHOWN
        console.print(f"… 另有 {left} 处，见 --json / {left} more: see --json")
    if proof.unfinished:
        console.print(
            f"{len(proof.unfinished)} 个批次尚未关闭，只核对等式 / batches are not closed: equations only",
            style="yellow",
        )
    how = "" if proof.verified else "（未向目的地核对 / destinations were not asked）"
    if proof.balanced:
        console.print(
            Text(f"平衡：{proof.batches} 个批次 / balanced: {proof.batches} batches{how}", style="bold green")
        )
    else:
        count = len(proof.problems)
        console.print(Text(f"不平衡：{count} 处问题 / not balanced: {count} problems{how}", style="bold red"))


def _table(name: str, one: ExchangeLedger, verified: bool) -> Table:
    columns = [c for c in _COLUMNS if c not in ("in_flight", "fragments", "records")]
    columns += [c for c in ("in_flight",) if any(counts[c] for counts in one.destinations.values())]
    columns += ["fragments"] if one.totals["fragments"] else []
    columns += ["records"] if verified else []
    verdict = "[red]不平衡 / not balanced[/]" if one.problems else "[green]平衡 / balanced[/]"
    table = Table(title=f"[bold]{name}[/] · {verdict}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("目的地\ndestination", no_wrap=True)
    for column in columns:
        zh, en = _COLUMNS[column].split(" ", 1)
        table.add_column(f"{zh}\n{en}", justify="right")
    for destination, counts in one.destinations.items():
        table.add_row(destination, *(f"{counts[c]:,}" if c in counts else "" for c in columns))
    table.add_row("合计 total", *(f"{one.totals[c]:,}" if c in one.totals else "" for c in columns))
    return table
