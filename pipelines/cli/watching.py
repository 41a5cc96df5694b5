"""Progress of a run on stderr: bars where somebody watches, a line a batch where it goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipelines.progress import Event, Observer

_WORDS = {
    "opened": "读取与校验 reading",
    "item": "读取与校验 reading",
    "staged": "入账 deciding",
    "decided": "投递 delivering",
    "effect": "投递 delivering",
    "closed": "已入账 closed",
}


@contextmanager
def watching() -> Iterator[Observer]:
    """An observer that shows a run's events on stderr while the block runs."""
    screen = Console(stderr=True, highlight=False)
    if not screen.is_terminal:
        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[what]}"), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        yield _Bars(progress)


def line(event: Event, /) -> None:
    """One line on stderr a batch, and one where a killed run goes on."""
    with suppress(OSError):
        if event.name == "run" and event.note == "resumed":
            sys.stderr.write(f"{event.exchange}: 继续被中断的运行 / a run that was interrupted goes on\n")
        elif event.name == "closed":
            sys.stderr.write(f"{event.batch}: {event.total:,} 条已入账 / payloads accounted\n")


class _Bars:
    """One bar a batch: how many of its items are staged, then what is done with them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event, /) -> None:
        """Move the bar of the event's batch."""
        if not event.batch:
            return
        if event.batch not in self._tasks:
            self._tasks[event.batch] = self._progress.add_task(event.batch, total=event.total or None, what="")
        task, word = self._tasks[event.batch], _WORDS.get(event.name, "")
        if event.name == "item":
            self._progress.update(task, completed=event.done, what=word)
        elif event.name == "closed":
            self._progress.update(task, completed=1, total=1, what=f"{word} {event.total:,}")
        else:
            self._progress.update(task, what=word)
