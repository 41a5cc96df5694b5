"""`vingate nation`: a small nation on one machine, from partners' files to home provinces, and one table of it all."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mappings import divisions
from pipelines.cli.out import AsJson, console, emit
from pipelines.cli.watching import line
from pipelines.counting import COLUMNS, Counted
from pipelines.nation import PARTNERS, RECEIPTS, STORES, Outcome
from pipelines.nation import run as run_nation
from pipelines.progress import Event

_EXCHANGES = {
    "registrations": "车籍登记 registrations",
    "operators": "业户名册 operators",
    "collect": "采集 collect",
    "headquarters": "总部对总部 headquarters",
    "report": "上报 report",
    "push": "下发 push",
    "road-register": "运政名册 road register",
    "parts-traceability": "配件追溯 parts",
    "outside-in": "外部单证 outside-in",
    "environment": "排放闭环 emissions",
    "solid-waste": "废物追踪 waste",
    "transmissions": "上传统计 uploads",
    "credit": "信用记录 credit",
    "insurers": "直赔核对 claims",
    "market-regulation": "缺陷线索 defects",
    "used-cars": "车史报告 used cars",
    "road-administration": "运政名单 road admin",
}
_HEADS = ("收到\nre-\nceived", "送达\ndeliv-\nered", "合并\nmerged", "重复\ndupli-\ncate", "存疑\nflagged",
          "死信\ndead", "过滤\nfil-\ntered", "等待\nwait-\ning", "分步\nsteps")  # fmt: skip
_NAMES = {
    "ministry": "部级系统 ministry",
    RECEIPTS: "企业回执 receipts",
    "registrations": "车籍登记册 vehicles",
    "operators": "业户登记册 shops",
}
_NARROWEST = 92
"""Columns that the table needs; a narrower screen wraps lines rather than hide numbers."""
_PROVINCE = "province-"


def nation(
    state: Annotated[Path, typer.Option(help="状态目录 / folder of the state")] = Path("var/nation"),
    seed: Annotated[int | None, typer.Option(help="样本的随机种子，默认 7 / seed of the sample, 7")] = None,
    scale: Annotated[
        float | None, typer.Option(min=0.001, max=100.0, help="规模，默认 1，54,440 条 / size; 1 is 54,440 payloads")
    ] = None,
    brief: Annotated[bool, typer.Option("--brief", help="各省合为一行 / provinces in one line")] = False,
    as_json: AsJson = False,
) -> None:
    """运行全国样例：采集、总部对总部、上报、下发 / run the sample nation: collect, headquarters, report, push.

    再次运行不会重复写入 / run it again, and nothing doubles.
    示例 / example: vingate nation --state var/nation
    """
    with _watching() as watch:
        outcome = run_nation(state, seed, scale, watch, watch.sampling)
    if as_json:
        emit(_plain(outcome))
    else:
        _show(outcome, brief=brief)
    if not outcome.balanced:
        raise typer.Exit(1)


@contextmanager
def _watching() -> Iterator[_Bars | _Lines]:
    """Progress on stderr: bars where somebody watches, lines where it goes to a file."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=out) as bars:
        yield _Bars(bars)


class _Lines:
    """A line for each part of the sample and for each batch."""

    def sampling(self, stage: str, done: int, of: int) -> None:
        """Say that a part of the sample is done."""
        if done == of:
            sys.stderr.write(f"样本 / sample: {stage} {of:,}\n")

    def __call__(self, event: Event) -> None:
        """Say what an exchange did."""
        line(event)


class _Bars:
    """One bar for the sample and one for each run of an exchange."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._exchange = ""

    def sampling(self, stage: str, done: int, of: int) -> None:
        """Show how far the generator is."""
        if self._exchange != "sample":
            self._begin("sample", "生成样本 / sample")
        self._update(done, of, stage)

    def __call__(self, event: Event) -> None:
        """Show what an exchange does."""
        if event.name == "run":
            self._begin(event.exchange, _EXCHANGES.get(event.exchange, event.exchange))
        elif event.name == "item":
            self._update(event.done, event.total, event.batch)
        elif event.name in ("staged", "decided", "effect", "closed"):
            self._update(None, None, f"{event.batch} {event.name}")
        elif event.name == "ended":
            self._update(1, 1, "✓")

    def _begin(self, exchange: str, description: str) -> None:
        self._exchange = exchange
        self._task = self._bars.add_task(f"{description:<24}", total=None, note="")

    def _update(self, done: int | None, of: int | None, note: str) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=of, note=note)


def _show(outcome: Outcome, *, brief: bool) -> None:
    """The table, the verdict, where things lie, what to do next."""
    out = console()
    out.width = max(out.width, _NARROWEST)
    out.print(_table(outcome.counted, brief=brief))
    out.print()
    for sentence in _sentences(outcome):
        out.print(sentence)
    out.print()
    for place, what in _places(outcome):
        out.print(f"{what}: {place}", soft_wrap=True)
    out.print()
    out.print("接下来 / try next:")
    for command in commands(outcome):
        out.print(f"  {command}", soft_wrap=True)


def _table(counted: list[Counted], *, brief: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("\n交换 → 目的地\nexchange → destination", no_wrap=True)
    for head in _HEADS:
        table.add_column(head, justify="right", no_wrap=True)
    for one in counted:
        table.add_row(_EXCHANGES.get(one.exchange, one.exchange), *_cells(one.totals), style="bold")
        for name, counts in _lines(one.destinations, brief=brief):
            table.add_row(f"  → {name}", *_cells(counts))
    return table


def _lines(destinations: dict[str, Counter[str]], *, brief: bool) -> Iterator[tuple[str, Counter[str]]]:
    """Destinations with their names; provinces last, by their key, or in one line."""
    provinces = {name: counts for name, counts in sorted(destinations.items()) if name.startswith(_PROVINCE)}
    for name, counts in destinations.items():
        if name not in provinces:
            yield _NAMES.get(name, name), counts
    if brief and provinces:
        together: Counter[str] = Counter()
        for counts in provinces.values():
            together.update(counts)
        yield f"{len(provinces)} 个省 provinces", together
        return
    for name, counts in provinces.items():
        key = name.removeprefix(_PROVINCE)
        yield f"{key} {divisions.PROVINCES[key].name_zh if key in divisions.PROVINCES else ''}", counts


def _cells(counts: Counter[str]) -> list[str]:
    return [f"{counts[column]:,}" if counts[column] else "·" for column in COLUMNS]


def _sentences(outcome: Outcome) -> Iterator[str]:
    total = sum(one.totals["received"] for one in outcome.counted)
    yield f"收到 {total:,} 条，用时 {outcome.seconds:.0f} 秒 / {total:,} received in {outcome.seconds:.0f} s"
    if outcome.balanced:
        yield "[green]账目平衡[/green]：每条记录都有去向 / [green]balanced[/green]: every record is accounted for"
    else:
        yield "[red]账目不平[/red] / [red]not balanced[/red]:"
        yield from outcome.problems[:10]
    if outcome.again:
        yield (
            f"再次运行：没有任何重复写入，各库仍为 {outcome.versions:,} 个版本"
            f" / run again: nothing doubled, the stores still hold {outcome.versions:,} versions"
        )


def _places(outcome: Outcome) -> Iterator[tuple[str, str]]:
    state = outcome.state
    yield f"{state / STORES}{os.sep}*.db", f"各库 {outcome.versions:,} 个版本 / stores, {outcome.versions:,} versions"
    yield str(state / "vingate.db"), f"死信 {outcome.letters:,} 封，已加密 / dead letters, sealed"
    yield str(state / RECEIPTS), "企业回执 / shops' receipts"
    yield str(state / PARTNERS), "各方上传的样本 / what partners sent"
    yield outcome.page.resolve().as_uri(), "图表页，用浏览器打开 / the page of it all, for a browser"


def commands(outcome: Outcome) -> list[str]:
    """Three commands to try next; they work as they stand, in the folder where this one was called."""
    program, where = _program(), f"--state {shlex.quote(str(outcome.state))}"
    found = [f"{program} letters list {where}", f"{program} ledger {where}"]
    if outcome.example:
        return [f"{program} trace --vin {outcome.example} {where}", *found]
    return [*found, f"{program} letters stats {where}"]


def _program() -> str:
    """How this program is called: by its name where that is on the path, else as it was called."""
    called = sys.argv[0]
    return called if Path(called).name == "vingate" and not which("vingate") else "vingate"


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "state": str(outcome.state),
        "seconds": round(outcome.seconds, 1),
        "balanced": outcome.balanced,
        "problems": outcome.problems,
        "again": outcome.again,
        "versions": outcome.versions,
        "versions_before": outcome.versions_before,
        "letters": outcome.letters,
        "exchanges": {
            one.exchange: {
                "totals": _counts(one.totals),
                "destinations": {name: _counts(counts) for name, counts in sorted(one.destinations.items())},
            }
            for one in outcome.counted
        },
        "places": {
            "stores": str(outcome.state / STORES),
            "letters": str(outcome.state / "vingate.db"),
            "receipts": str(outcome.state / RECEIPTS),
            "partners": str(outcome.state / PARTNERS),
            "page": str(outcome.page),
        },
        "next": commands(outcome),
    }


def _counts(counts: Counter[str]) -> dict[str, int]:
    return {column: counts[column] for column in COLUMNS}
