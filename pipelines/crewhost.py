"""The process that workers are forked from, `python -m pipelines.crewhost FOLDER`: `pipelines.crew` tells what to fork.

A line of standard input, `WORKER ADDRESS`, forks one worker, which serves the runner at that address until it is told
to end; a line of standard output, `WORKER ADDRESS STATUS`, says how a worker ended. At the end of its input this
process ends, and the kernel ends its workers. What is temporary of a worker lies below the folder.
"""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pipelines.cli import uncollected, without
from pipelines.local.processes import die_with_parent

Serve = Callable[[str, str], None]
"""Serves the runner at an address (second) as the worker of a name (first), until it is told to end."""


class Host:
    """Forks workers and tells of their ends."""

    def __init__(self, told: int, answers: int, serve: Serve, scratch: Path) -> None:
        self._told, self._answers, self._serve, self._scratch = told, answers, serve, scratch
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(told, selectors.EVENT_READ, None)
        self._unread = b""

    def run(self) -> None:
        """Until the input ends."""
        while True:
            for key, _ in self._waiting.select():
                if key.data is not None:
                    self._bury(key.fd, *key.data)
                elif not self._hear():
                    return

    def _hear(self) -> bool:
        """Fork what the input asks for; False at its end."""
        read = os.read(self._told, 1 << 16)
        *lines, self._unread = (self._unread + read).split(b"\n")
        for line in lines:
            worker, address = line.decode().split()
            host = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._become(worker, address, host)
            self._waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (f"{worker} {address}", pid))
        return bool(read)

    def _bury(self, handle: int, told: str, pid: int) -> None:
        self._waiting.unregister(handle)
        os.close(handle)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        shutil.rmtree(self._scratch / str(pid), ignore_errors=True)
        os.write(self._answers, f"{told} {status}\n".encode())

    def _become(self, worker: str, address: str, host: int) -> NoReturn:
        """In the fork: serve, and end without what this process would do at its end."""
        status = 1
        try:
            die_with_parent()
            if os.getppid() == host:
                self._waiting.close()
                os.close(self._told)
                os.close(self._answers)
                self._have_scratch()
                self._serve(worker, address)
                status = 0
        except Exception:  # noqa: BLE001 - whatever it is, this fork ends by it
            traceback.print_exc()
        finally:
            os._exit(status)

    def _have_scratch(self) -> None:
        """In the fork: what is temporary lies where it is removed after this process, however it ends."""
        made = self._scratch / str(os.getpid())
        made.mkdir()
        tempfile.tempdir = str(made)


def main() -> None:
    """Load what the steps need, then fork until the input ends."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would not be there after a fork
    told, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what libraries print
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what is to be said of a step goes to the runner
    with uncollected(), without("pymongo", "requests"):
        from pipelines.builds import build
        from pipelines.crewenv import serve  # it takes Beam along

        build()  # of the files that were loaded, whatever becomes of them while this serves
    scratch = Path(sys.argv[1])
    Host(told, answers, serve, scratch).run()
    shutil.rmtree(scratch, ignore_errors=True)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
