"""`vingate trace`: where the records of a vehicle went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.cli.out import AsJson, emit
from pipelines.errors import SettingsError
from pipelines.looks import note_look
from pipelines.state import State
from pipelines.trace import trace as trace_vin


def trace(
    vin: Annotated[str, typer.Option(help="车辆识别代号 / the VIN")],
    state: Annotated[Path, typer.Option(help="状态目录 / state folder")] = Path("var/state"),
    by: Annotated[str, typer.Option("--by", help="查询人，记入状态 / who is asking: it is logged")] = "",
    purpose: Annotated[str, typer.Option("--for", help="查询目的，记入状态 / what for: it is logged")] = "",
    as_json: AsJson = False,
) -> None:
    """追踪：一辆车的每个版本去了哪里，谁依据哪份批准得到了哪些字段 / where a vehicle's records went, who received what.

    每次查询都记入状态；角色设置 audit.demanded 要求写明 --by 与 --for。
    Every look is logged in the state; a role's audit.demanded makes --by and --for a must.

    示例 / example: vingate trace --vin LSVAA218XK2000001 --state var/nation --json
    """
    if not vin.strip():
        message = "--vin 不能为空 / --vin must not be empty"
        raise SettingsError(message)
    with State(state, own=False) as opened:
        sealer = opened.sealer()
        note_look(opened, sealer, vin.strip().upper(), by, purpose)
        found = trace_vin(opened, sealer, vin)
    if as_json:
        emit(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    console = Console()
    versions = found["versions"]
    if not versions:
        console.print(f"没有 {found['vin']} 的记录 / nothing is known of {found['vin']}", highlight=False)
        return
    table = Table(title=found["vin"], title_justify="left", box=None, padding=(0, 1, 0, 0))
    for title in ("批次\nbatch", "企业\ncompany", "结算清单\nlist code", "版本\nversion", "去向\ndestinations"):
        table.add_column(title, overflow="fold")
    for one in versions:
        where = Text()
        for destination in one["destinations"]:
            name, outcome = destination["name"] or "-", destination["outcome"]
            where.append(f"{name} {outcome}\n", style="" if outcome in ("delivered", "merged") else "yellow")
            for told in one.get("disclosed", ()):
                if told["destination"] == destination["name"] and not told["asked_by"]:
                    where.append(f"  {_disclosed(told)}\n", style="dim")
        for told in one.get("disclosed", ()):
            if told["asked_by"]:
                where.append(f"{told['destination']} ← 查询 asked by {told['asked_by']}\n")
                where.append(f"  {_disclosed(told)}\n", style="dim")
        if one["findings"] or one["note"]:
            where.append(f"{' '.join(one['findings'])} {one['note']}\n", style="dim")
        where.rstrip()
        version = f"{one['version'] or '-'}{' 已撤回 withdrawn' if one['withdrawn'] else ''}"
        table.add_row(one["batch"], one["companycode"], one["costlistcode"], version, where)
    console.print(table)


def _disclosed(told: dict[str, Any]) -> str:
    """One disclosure in a line: when, under which agreement and approval, which fields."""
    pairs = [(one["path"], one["treatment"]) for one in told["fields"]]
    fields = ", ".join(path if how == "pass" else f"{path}:{how}" for path, how in pairs)
    return f"{told['moment'][:19]} {told['agreement']} v{told['version']}（{told['approval']}） {fields}"
