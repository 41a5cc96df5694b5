"""`vingate bench`: the reference job beside the hand-written loop, or the way in real time. It needs a checkout."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.out import AsJson, emit, wrong_use

_FOLDER = Path(__file__).resolve().parents[2] / "bench"
_WRONG_USE = 2
"""How a script ends that was called wrongly: it has said what it takes."""
_SCRIPTS = {"core": "run.py", "realtime": "realtime.py"}


def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="core：批量核心；realtime：实时链路（自带数据库与消息队列，客户端需 Go）"
            " / core: the reference job; realtime: door, broker and stores (needs Go for its client)"
        ),
    ] = "core",
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="只测这些 / measure these only: reference, growth, workers, store; realtime: door, way, queue",
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="每个命令计数的次数 / core: counted runs of each command")
    ] = 5,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="每次加载的秒数 / realtime: length of a run")] = 10,
    soak: Annotated[
        float | None,
        typer.Option(
            "--soak",
            min=0.1,
            metavar="MINUTES",
            help="长时间运行：内存、句柄是否平稳 / realtime: the long run, minutes: memory and handles flat?",
        ),
    ] = None,
    rate: Annotated[float, typer.Option("--rate", min=1, help="长时间运行的每秒记录数 / soak: records a second")] = 500,
    profile: Annotated[bool, typer.Option("--profile", help="用 py-spy 记录 / realtime: record with py-spy")] = False,
    as_json: AsJson = False,
) -> None:
    """基准测试 / measure the reference job, as ratios of CPU seconds to the loop that a user would write instead.

    全部测完约半小时，写入 bench/RESULTS.md；请在空闲的机器上运行。
    All of it takes about half an hour and writes bench/RESULTS.md; run it on an idle machine.

    realtime 约五分钟：企业接口、省平台 → 部级 → 车籍地省平台、队列入库。
    realtime takes about five minutes: the door, the whole way from province to home province, queue to store.
    --soak 30：整条链路持续运行三十分钟 / the whole way for thirty minutes, sampled every ten seconds.

    [bold]示例 / examples:[/bold]  vingate bench --only reference --runs 3    vingate bench realtime --only door
    """
    if soak is not None and what != "realtime":
        wrong_use("--soak 只用于 realtime / --soak belongs to realtime: vingate bench realtime --soak 30")
    if what not in _SCRIPTS:
        wrong_use(f"未知的测量 {what!r} / there is no such bench; known: {', '.join(_SCRIPTS)}")
    script = _FOLDER / _SCRIPTS[what]
    if not script.is_file():
        wrong_use("基准测试需要源码目录，请在仓库中运行 make bench / bench needs a checkout: run `make bench` in one")
    with tempfile.NamedTemporaryFile("r", suffix=".json", encoding="utf-8") as figures:
        command = [sys.executable, str(script), "--figures", figures.name]
        command += ["--runs", str(runs)] if what == "core" else ["--seconds", str(seconds)]
        command += ["--soak", str(soak), "--rate", str(rate)] if soak is not None else []
        command += ["--profile"] if profile and what == "realtime" else []
        command += ["--only", *only] if only else []
        done = subprocess.run(command, check=False, stdout=sys.stderr if as_json else None)  # noqa: S603 - our own script
        if done.returncode:
            raise typer.Exit(2 if done.returncode == _WRONG_USE else 3)
        if as_json:
            import orjson

            emit(orjson.loads(Path(figures.name).read_bytes()))
