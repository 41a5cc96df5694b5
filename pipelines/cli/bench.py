"""`vingate bench`: the reference job beside the hand-written loop. It needs a checkout: the package has no loop."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.out import AsJson, emit, wrong_use

_SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "run.py"


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="只测这些 / measure these only: reference, growth, workers, store"),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="每个命令计数的次数 / counted runs of each command")] = 5,
    as_json: AsJson = False,
) -> None:
    """基准测试 / measure the reference job, as ratios of CPU seconds to the loop that a user would write instead.

    全部测完约半小时，写入 bench/RESULTS.md；请在空闲的机器上运行。
    All of it takes about half an hour and writes bench/RESULTS.md; run it on an idle machine.

    [bold]示例 / example:[/bold]  vingate bench --only reference --runs 3
    """
    if not _SCRIPT.is_file():
        wrong_use("基准测试需要源码目录，请在仓库中运行 make bench / bench needs a checkout: run `make bench` in one")
    with tempfile.NamedTemporaryFile("r", suffix=".json", encoding="utf-8") as figures:
        command = [sys.executable, str(_SCRIPT), "--runs", str(runs), "--figures", figures.name]
        command += ["--only", *only] if only else []
        done = subprocess.run(command, check=False, stdout=sys.stderr if as_json else None)  # noqa: S603 - our own script
        if done.returncode:
            raise typer.Exit(3)
        if as_json:
            import orjson

            emit(orjson.loads(Path(figures.name).read_bytes()))
