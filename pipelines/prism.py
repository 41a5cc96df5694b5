"""Prism, Beam's runner in one binary: started for one job, and ended with it, whatever becomes of who started it.

Beam has a class for this, which downloads what it does not find and leaves a process behind when it is killed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from pipelines.errors import RunnerFailed

PATIENCE = 60.0
"""Seconds that prism may take until it serves, on a machine that is busy."""
_ALONE = "1m"
"""After so long without a job prism ends itself: where the kernel does not end it with us, this does."""
_GRACE = 5.0
_SERVES = re.compile(rb'Serving JobManagement.*?endpoint"?[=:] ?"?(?:localhost|127\.0\.0\.1):(\d+)')
_PANIC = re.compile(rb"^panic: .*", re.MULTILINE)
_TOLD = 600

# Run by an interpreter of its own: code between fork and exec is no place to be in a process that has threads.
_START = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: SIGKILL
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Serving:
    """A prism that serves: where, and what became of it."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._process, self._log = process, log
        self.endpoint = ""

    def wait(self, patience: float) -> None:
        """Wait until it serves.

        Raises:
            RunnerFailed: it ended, or did not serve in time.
        """
        end = time.monotonic() + patience
        while not self.endpoint:
            ended = self._process.poll() is not None  # asked first: what it wrote before it ended is read below
            found = _SERVES.search(self._written())
            if found:
                self.endpoint = f"localhost:{int(found[1])}"
            elif ended or time.monotonic() > end:
                raise RunnerFailed(self.said())
            else:
                time.sleep(0.01)

    def said(self) -> str:
        """In words: whether it still runs, and the end of its log. Asked when it is lost, so its end is awaited."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1 if self.endpoint else 0)
        code = self._process.poll()
        state = "prism 出错 / prism failed" if self.endpoint else "没有就绪 / prism did not get ready"
        if code is not None:
            state = f"prism 意外结束（{code}）/ prism ended unexpectedly ({code})"
        lines = [line for line in self._written().splitlines() if b'"level":"INFO"' not in line]
        text = b"\n".join(lines)
        panic = _PANIC.search(text)
        last = (panic[0][:_TOLD] if panic else text[-_TOLD:]).decode("utf-8", "replace").strip()
        return f"{state}: {last}" if last else state

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it, gently at first."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        self._process.kill()
        self._process.wait()

    def _written(self) -> bytes:
        size = os.fstat(self._log.fileno()).st_size
        # By position, for the process writes at the place that both descriptors share.
        return os.pread(self._log.fileno(), min(size, 1 << 16), max(0, size - (1 << 16)))


@contextmanager
def serving(program: str, patience: float = PATIENCE) -> Iterator[Serving]:
    """A prism that serves jobs on a port of its own choice, until the end of the block.

    It is in a session of its own, so that Ctrl-C reaches this process alone, which then ends it.

    Raises:
        RunnerFailed: it does not start; with what it said.
    """
    arguments = ["--job_port=0", "--serve_http=false", "--log_kind=json", f"--idle_shutdown_timeout={_ALONE}"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - the program that the settings name
            [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        served = Serving(process, log)
        try:
            served.wait(patience)
            yield served
        finally:
            served.stop()
