"""`vingate state`: where a state is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.out import AsJson, console, emit
from pipelines.ledger import prove
from pipelines.state import State

app = typer.Typer(help="状态的保存位置与恢复 / where a state is kept, and set back", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """状态的保存位置 / where a state is kept."""


@app.command("copy")
def copy(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="空的 PostgreSQL 数据库地址，或 env:NAME、file:PATH"
            " / address of an empty database of PostgreSQL, or env:NAME, file:PATH",
        ),
    ],
    state: Annotated[Path, typer.Option("--state", help="状态目录 / the state's folder")] = Path("var/state"),
    as_json: AsJson = False,
) -> None:
    """把 SQLite 上的状态迁移到 PostgreSQL，并对账 / move a state from SQLite to PostgreSQL, then prove its ledger.

    请先停止所有使用该状态的进程；旧数据库文件改名为 vingate.db.moved。退出码 1：迁移完成但不平衡。
    Stop all processes that use the state first. The old file becomes vingate.db.moved. Exit 1: moved, and not balanced.

    [bold]示例 / example:[/bold]

    vingate state copy --state var/collect --to env:STATE_URL
    """
    from pipelines.statecopy import copy_state  # late: nothing else needs it

    rows = copy_state(state, to)
    with State(state, own=False) as opened:
        proof = prove(opened)
    told = {"state": str(state), "rows": rows, "balanced": proof.balanced, "problems": len(proof.problems)}
    if as_json:
        emit(told)
    else:
        verdict = "平衡 / balanced" if proof.balanced else "不平衡 / not balanced: vingate ledger"
        console().print(f"已迁移 / moved: {sum(rows.values()):,} 行 / rows; {verdict}", highlight=False, markup=False)
    raise typer.Exit(0 if proof.balanced else 1)


@app.command("relearn")
def relearn(
    state: Annotated[Path, typer.Option("--state", help="状态目录 / the state's folder")] = Path("var/state"),
    exchange: Annotated[
        list[str] | None, typer.Option(help="只处理此交换，可多次 / only this exchange; may be given again")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """状态恢复到较早时刻后，从各库补回其后的批次 / learn from the stores what was delivered since a state's backup.

    恢复后、启动服务前执行；可重复执行。随后对账，退出码 1：已补回但不平衡。
    After a state was set back, before anything runs on it; again it does nothing. Exit 1: learnt, and not balanced.

    [bold]示例 / example:[/bold]

    vingate state relearn --state /var/lib/vingate/province
    """
    from pipelines.reconciling.commanding import exchanges  # late: nothing else here needs them
    from pipelines.relearning import relearn as learn

    with State(state, own=True) as opened:
        found = {one.name: learn(opened, one) for one in exchanges(opened, exchange or ())}
        proof = prove(opened)
    counts = {name: {"batches": len(one), "records": sum(one.values())} for name, one in found.items()}
    if as_json:
        emit({"exchanges": counts, "balanced": proof.balanced, "problems": len(proof.problems)})
    else:
        for name, one in counts.items():
            told = f"{name}: {one['batches']:,} 批 / batches, {one['records']:,} 条 / records"
            console().print(told, highlight=False, markup=False)
        verdict = "平衡 / balanced" if proof.balanced else "不平衡 / not balanced: vingate ledger"
        console().print(verdict, highlight=False, markup=False)
    raise typer.Exit(0 if proof.balanced else 1)
