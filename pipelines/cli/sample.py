"""`vingate sample`: write a small nation of shops and headquarters to try the gateway with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from pipelines.cli.out import AsJson, emit
from pipelines.sample import Summary, generate

_STAGES = {
    "visits": "车辆与到店 / vehicles and visits",
    "shops": "维修企业上传 / shops' uploads",
    "headquarters": "总部数据 / headquarters' feeds",
    "reference": "参考数据 / reference data",
}


def sample(
    out: Annotated[
        Path, typer.Argument(help="写到此目录，空目录或旧样本 / folder to write to: empty, or an earlier sample")
    ],
    seed: Annotated[int, typer.Option(help="随机种子，相同则字节相同 / the same seed writes the same bytes")] = 7,
    scale: Annotated[
        float, typer.Option(min=0.001, max=100.0, help="规模，1 为 54,440 条 / size; 1 is 54,440 payloads")
    ] = 1.0,
    days: Annotated[int, typer.Option(min=7, max=366, help="天数 / days of visits")] = 21,
    as_json: AsJson = False,
) -> None:
    """生成样本：各省企业与总部的上传、常见毛病，及应得结果 / write a sample nation, and what to expect of it.

    示例 / example: vingate sample var/sample --seed 7 --scale 0.1
    """
    with _progress() as bars:
        summary = generate(out, seed=seed, scale=scale, days=days, progress=_Bars(bars))
    if as_json:
        emit(summary.as_dict())
    else:
        _show(summary)


def _progress() -> Progress:
    """Bars on stderr, so that stdout stays for the result; none where nobody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class _Bars:
    """One bar a stage, made when the stage begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, of: int) -> None:
        """Move the stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_STAGES.get(stage, stage), total=of)
        self._progress.update(self._tasks[stage], completed=done, total=of)


def _show(summary: Summary) -> None:
    """Where things lie, and what to do with them."""
    out = Path(summary.out)
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = (
        (out / "shops", f"{summary.shops} 家企业 {summary.collect} 条 / shops, payloads"),
        (out / "headquarters", f"{summary.headquarters} 条总部数据 / payloads of 3 headquarters"),
        (out / "reference", "企业、车籍、经销商 / operators, registrations, dealers"),
        (out / "later", "之后到达的车籍 / registrations that arrive later"),
        (out / "expected.json", "应得结果 / what a run must arrive at"),
    )
    for place, what in rows:
        table.add_row(str(place), what)
    console = Console()
    console.print(table)
    console.print(f"{summary.systems} 个省级系统 / provincial systems, {summary.first_day} - {summary.last_day}")
    console.print(f"接收时间请用 / give as the moment of receipt: {summary.received_at}", highlight=False)
