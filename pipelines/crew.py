"""Worker processes of this machine: forked, for each batch, from one process that has everything loaded.

Beam would start an interpreter for each worker of each batch, and loading Beam again and again is what a small batch
then costs. The process they are forked from (`pipelines.crewhost`) has one thread, so that forking it is safe, and is
started while this one still loads what it needs itself.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

_LOST = -1


class Crew:
    """A process that forks workers on request and tells how each ended. It ends with this one, and they with it."""

    def __init__(self) -> None:
        heard, self._told = os.pipe()
        self._answers, answered = os.pipe()
        self._scratch = tempfile.mkdtemp(prefix="vingate-workers-")
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "pipelines.crewhost", self._scratch],
            stdin=heard,
            stdout=answered,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends it
        )
        os.close(heard)
        os.close(answered)
        self._lock = threading.Lock()
        self._ended: dict[str, Callable[[int], None]] = {}
        threading.Thread(name="crew", target=self._listen, daemon=True).start()
        atexit.register(self.close)

    def start(self, worker: str, address: str, ended: Callable[[int], None]) -> None:
        """Fork a worker that does what it is told at an address; `ended` is called with its status, once.

        A status is as `subprocess` has it: 0 is well, -9 killed; also -1 where the forking process itself is gone.
        """
        with self._lock:
            self._ended[f"{worker} {address}"] = ended
            try:
                os.write(self._told, f"{worker} {address}\n".encode())
            except OSError:
                del self._ended[f"{worker} {address}"]
                ended(_LOST)

    def close(self) -> None:
        """End it, and with it the workers that still run."""
        atexit.unregister(self.close)
        os.close(self._told)
        self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)  # where it was killed

    @property
    def lost(self) -> bool:
        """Whether the forking process is gone."""
        return self._process.poll() is not None

    def _listen(self) -> None:
        with os.fdopen(self._answers, "r") as answers:
            for line in answers:
                worker, _, status = line.rpartition(" ")
                with self._lock:
                    ended = self._ended.pop(worker)
                ended(int(status))
        with self._lock:
            left, self._ended = list(self._ended.values()), {}
        for ended in left:
            ended(_LOST)


_kept: list[Crew] = []
_asking = threading.Lock()
"""The thread that works ahead asks too."""


def crew() -> Crew:
    """The crew of this process; started when first asked for, and again where it was lost."""
    with _asking:
        if _kept and _kept[-1].lost:
            _kept.pop().close()
        if not _kept:
            _kept.append(Crew())
        return _kept[-1]
