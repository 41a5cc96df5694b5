"""`vingate trace`: where the records of a vehicle went."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlq.sealing import Sealer
from pipelines.cli.out import AsJson, emit
from pipelines.errors import SettingsError
from pipelines.state import State
from pipelines.trace import trace as trace_vin

AUDIT = "audit.ndjson"
"""In the state's folder: who looked at which vehicle, and what for."""


def trace(
    vin: Annotated[str, typer.Option(help="车辆识别代号 / the VIN")],
    state: Annotated[Path, typer.Option(help="状态目录 / state folder")] = Path("var/state"),
    by: Annotated[str, typer.Option("--by", help="查询人，记入审计 / who is asking, for the audit log")] = "",
    purpose: Annotated[str, typer.Option("--for", help="查询目的，记入审计 / what for, for the audit log")] = "",
    as_json: AsJson = False,
) -> None:
    """追踪：一辆车的每个版本、重复与死信去了哪里 / where each version, duplicate and letter of a vehicle went.

    示例 / example: vingate trace --vin LSVAA218XK2000001 --state var/nation --json
    """
    if not vin.strip():
        message = "--vin 不能为空 / --vin must not be empty"
        raise SettingsError(message)
    with State(state, own=False) as opened:
        sealer = opened.sealer()
        if by or purpose:
            log(opened.path, sealer, vin, by, purpose)
        found = trace_vin(opened, sealer, vin)
    if as_json:
        emit(found)
    else:
        _show(found)


def log(folder: Path, sealer: Sealer, vin: str, by: str, purpose: str) -> None:
    """Write down, before anything is shown, who looks. The VIN stands there masked and as its keyed hash."""
    plain = vin.strip().upper()
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "trace",
        "by": by,
        "for": purpose,
        "vin": f"{plain[:3]}***{plain[-4:]}",
        "vin_hash": sealer.pseudonym(plain),
    }
    handle = os.open(folder / AUDIT, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


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
        if one["findings"] or one["note"]:
            where.append(f"{' '.join(one['findings'])} {one['note']}\n", style="dim")
        where.rstrip()
        version = f"{one['version'] or '-'}{' 已撤回 withdrawn' if one['withdrawn'] else ''}"
        table.add_row(one["batch"], one["companycode"], one["costlistcode"], version, where)
    console.print(table)
