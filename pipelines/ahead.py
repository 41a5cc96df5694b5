"""The work stage of the batch after the present one, done by worker processes while this one decides.

What is staged ahead belongs to a batch that the ledger does not know yet: a crash leaves files that nobody names,
which the next start sweeps. The batch is opened in its turn, and takes what was staged for it if it is the very same.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipelines.settings import Exchange
from pipelines.work import Job, Receipt, Task

Steps = Callable[[Exchange, Job, Sequence[Task]], list[Receipt]]
"""Does the work stage of a batch: `flow.run`, or that of a kept pipeline."""


class _Begun(NamedTuple):
    job: Job
    tasks: list[Task]
    staged: Future[list[Receipt]]


class Ahead:
    """Does work stages, and begins one before its turn where it is told to."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._begun: _Begun | None = None

    def begin(self, exchange: Exchange, job: Job, tasks: list[Task]) -> None:
        """Begin the work stage of a batch that is not opened yet."""
        self.drop()
        Path(job.staging).mkdir(parents=True, exist_ok=True)
        self._begun = begun = _Begun(job, tasks, Future())
        # A daemon, for nobody waits for it where the process is interrupted: workers end with the process.
        threading.Thread(name="ahead", target=self._work, args=(exchange, begun), daemon=True).start()

    def received_at(self, batch: str) -> str:
        """The moment that was given to a batch when its work stage began; empty where it was not begun."""
        return self._begun.job.received_at if self._begun is not None and self._begun.job.batch == batch else ""

    def steps(self, exchange: Exchange, job: Job, tasks: Sequence[Task]) -> list[Receipt]:
        """The work stage of a batch in its turn: what was begun for it is waited for. Raises what the steps raise."""
        begun = self._begun
        if begun is not None and begun.job.batch == job.batch:
            if begun.job == job and begun.tasks == list(tasks):
                self._begun = None
                return begun.staged.result()
            self.drop()
            Path(job.staging).mkdir(parents=True, exist_ok=True)
        return self._steps(exchange, job, tasks)

    def drop(self, *, wait: bool = True) -> None:
        """Forget what was begun: wait for it, and remove what it staged.

        `wait=False`: the process is being ended, and its workers with it; the next start removes what they staged.
        """
        begun, self._begun = self._begun, None
        if begun is not None and wait:
            with suppress(Exception):  # nobody asked for it yet; who does begins anew and hears of it
                begun.staged.result()
            shutil.rmtree(begun.job.staging, ignore_errors=True)

    def _work(self, exchange: Exchange, begun: _Begun) -> None:
        try:
            begun.staged.set_result(self._steps(exchange, begun.job, begun.tasks))
        except BaseException as error:  # noqa: BLE001 - raised again in its turn
            begun.staged.set_exception(error)
