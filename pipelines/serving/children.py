"""One child process of the supervisor: how it is started, what it said last, when it may be started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

FIRST_DELAY, MOST_DELAY = 0.5, 30.0
"""Seconds before a crashed child is started again: the first time, and at most (they double)."""
STEADY_SECONDS = 10.0
"""A child that was ready for so long begins with the first delay again."""
EARLY_CRASHES, EARLY_SECONDS = 5, 60.0
"""So many crashes before it was ready, within so many seconds: it is given up."""
_MOST_LINE = 8 << 20


@dataclass
class Child:
    """A child process by name. `command` starts it; the pipe for reports and our process id are added to it."""

    name: str
    command: Sequence[str]
    task: Mapping[str, Any]
    """What it is told in its first line; the settings in it never stand in its arguments, which others can see."""
    sockets: Sequence[int] = ()
    """File descriptors that it inherits."""
    after: str = ""
    """Name of the child that must be ready before this one is started."""
    environment: Mapping[str, str] = field(default_factory=dict)

    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    reports: int = -1
    life: int = -1
    """Our end of a pipe that nothing is written to: it closes when we die, however we do."""
    ready: Mapping[str, Any] | None = None
    """What it said when it could be used; None until then."""
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Its last beat."""
    said_at: float = 0.0
    failure: Mapping[str, Any] = field(default_factory=dict)
    """Why it said that it ends; empty where it said nothing. One that `waits` for a server is tried for ever."""
    starts: int = 0
    was_ready: bool = False
    """Whether it ever was ready, in any of its lives."""
    leave_by: float = float("inf")
    """Until when it must end (monotonic), where it was told to: its end is then no crash."""
    killed: bool = False
    """Whether it was killed because it did not end in time."""
    deaf: bool = False
    """Whether its pipe is at its end: nothing more will be heard of it."""
    due: float = 0.0
    """When it may be started (monotonic)."""
    _delay: float = FIRST_DELAY
    _ready_at: float = 0.0
    _early: deque[float] = field(default_factory=deque, repr=False)
    _rest: bytes = b""

    @property
    def running(self) -> bool:
        """Whether its process was started and its end not yet taken note of."""
        return self.process is not None

    def start(self) -> None:
        """Start its process in a group of its own, and hand it its task."""
        read, write = os.pipe()
        alive, self.life = os.pipe()
        os.set_blocking(read, False)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*self.command, str(write), str(os.getpid()), str(alive)],
                stdin=subprocess.PIPE,
                stdout=sys.stderr.fileno(),
                pass_fds=[write, alive, *self.sockets],
                pipesize=1 << 20,
                process_group=0,
                env={**os.environ, **self.environment},
            )
        except BaseException:
            os.close(read)
            os.close(self.life)
            raise
        finally:
            os.close(write)
            os.close(alive)
        self.reports, self.ready, self.failure, self._rest = read, None, {}, b""
        self.deaf = self.killed = False
        self.said, self.said_at = {}, time.monotonic()
        self.starts += 1
        self.tell(self.task)

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order; one that is ending does not hear it."""
        if self.process is None or self.process.stdin is None:
            return
        with suppress(OSError, ValueError):
            self.process.stdin.write(json.dumps(order, ensure_ascii=False, default=str).encode() + b"\n")
            self.process.stdin.flush()

    def hear(self) -> list[Mapping[str, Any]]:
        """The reports that came since."""
        found: list[Mapping[str, Any]] = []
        while True:
            try:
                data = os.read(self.reports, 1 << 16)
            except BlockingIOError:
                return found
            if not data:
                self.deaf = True
                return found
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _MOST_LINE:
                self._rest = b""
            for line in lines:
                with suppress(ValueError):
                    found.append(json.loads(line))

    @property
    def gone(self) -> bool:
        """Whether its process has ended; it is still to be taken note of (`ended`)."""
        if self.process is None:
            return False
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def became_ready(self, report: Mapping[str, Any]) -> None:
        """Take note that it can be used."""
        self.ready, self._ready_at, self.was_ready = report, time.monotonic(), True

    def ended(self) -> int:
        """Take note of its end, and of what it left in its group; the status that it ended with."""
        process = self.process
        if process is None:
            return 0
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self._kill_group(process.pid)  # before its number is given back
        code = process.wait()
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        os.close(self.reports)
        os.close(self.life)
        now = time.monotonic()
        if self.ready is None and not self.failure.get("waits"):
            self._early.append(now)
        elif now - self._ready_at >= STEADY_SECONDS:
            self._delay = FIRST_DELAY
        self.due, self._delay = now + self._delay, min(self._delay * 2, MOST_DELAY)
        self.process, self.reports, self.ready, self.leave_by = None, -1, None, float("inf")
        return code

    @property
    def hopeless(self) -> bool:
        """Whether it crashed too often before it could be used."""
        while self._early and self._early[0] < time.monotonic() - EARLY_SECONDS:
            self._early.popleft()
        return len(self._early) >= EARLY_CRASHES

    def kill(self) -> None:
        """End its process and all that it started, at once."""
        if self.process is not None:
            self._kill_group(self.process.pid)

    @staticmethod
    def _kill_group(group: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
