"""`vingate partner`: a stand-in for a system outside, to develop and test an adapter against."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.partners.catalogue import PARTNERS
from pipelines.partners.hosting import hosted
from pipelines.partners.server import Mood

ALL = "all"


def partner(
    names: Annotated[
        list[str], typer.Argument(help=f"{', '.join(PARTNERS)}，或 all / one of these, or all of them: all")
    ],
    folder: Annotated[Path, typer.Option(help="收到的内容存放处 / where what it takes is kept")] = Path("var/partners"),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="端口，0 为任一空闲端口 / port; 0: any free one")] = 0,
    slow: Annotated[float, typer.Option(min=0, help="每次应答前等待的秒数 / seconds before each answer")] = 0,
    down: Annotated[bool, typer.Option("--down", help="一律答 503 / answer 503 to everything")] = False,
    picky: Annotated[int, typer.Option(min=0, help="每第几条拒收 / refuse every so-manieth record")] = 0,
    wrong: Annotated[bool, typer.Option("--wrong", help="答非所问 / answer what is no answer")] = False,
    as_json: AsJson = False,
) -> None:
    """外部系统替身：按自己的规则校验并应答，收到的内容存入 SQLite / a stand-in for a system outside.

    就绪后输出一行；GET /NAME/counts 看收到多少，PUT /NAME/mood 改变其表现；Ctrl-C 结束。
    One line when it can be called; GET /NAME/counts says what it took, PUT /NAME/mood changes how it behaves.

    示例 / example: vingate partner environment --port 8090 --picky 10
    """
    chosen = list(PARTNERS) if ALL in names else names
    if unknown := [name for name in chosen if name not in PARTNERS]:
        wrong_use(
            f"没有替身 {', '.join(unknown)}；可用：{', '.join(PARTNERS)}"
            f" / there is no stand-in {', '.join(unknown)}: there are {', '.join(PARTNERS)}"
        )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    mood = Mood(slow_seconds=slow, down=down, picky=picky, wrong=wrong)
    with hosted(chosen, folder, port=port, mood=mood) as running:
        if as_json:
            emit({"ready": True, "partners": running.urls})
        else:
            out = console()
            for name, url in running.urls.items():
                out.print(f"{PARTNERS[name].zh} / {PARTNERS[name].en}: {url}", markup=False)
            out.print("Ctrl-C 结束 / ends it")
        while not stop.wait(1):
            pass  # and not one wait for ever: a signal that comes just before it does not wake it
