"""A child's line to its supervisor: orders come in on stdin, reports go out on a pipe, and neither outlives the other.

Both directions are JSON, one object a line. A child whose supervisor dies, however it dies, ends at once with all that
it started: the kernel is asked for it, and the end of stdin says it too.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

STOP, RELOAD = "stop", "reload"
"""Orders: finish and end; take these settings."""
READY, BEAT, FAILED = "ready", "beat", "failed"
"""Reports: can be used; is alive, with its measures; ends because of this."""

_SET_PARENT_DEATH_SIGNAL = 1
_MOST_OPEN = 4_096


class Link:
    """The child's end. `task` is what the supervisor gave it to do, in the first line of stdin."""

    def __init__(self, orders: int, reports: int) -> None:
        self._reports = reports
        lines = _lines(orders)
        self._sending = threading.Lock()
        self._orders: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self.stopping = threading.Event()
        """Set from the moment when the child is told to stop."""
        self.task: Mapping[str, Any] = json.loads(next(lines, b"{}"))
        threading.Thread(target=self._listen, args=(lines,), daemon=True, name="orders").start()

    def report(self, kind: str, **values: Any) -> None:
        """Tell the supervisor something. Never raises: whoever nobody listens to is about to end."""
        line = json.dumps({"report": kind, **values}, ensure_ascii=False, default=str).encode() + b"\n"
        with self._sending, suppress(OSError):
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._reports, rest) :]

    def order(self) -> Mapping[str, Any] | None:
        """The next order that came, apart from the one to stop; None: there is none."""
        try:
            return self._orders.get_nowait()
        except queue.Empty:
            return None

    def _listen(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            order = json.loads(line)
            if order.get("order") == STOP:
                self.stopping.set()
            else:
                self._orders.put(order)
        perish()


def _lines(number: int) -> Iterator[bytes]:
    """The lines that a pipe brings; read without a buffer whose lock would hinder the interpreter's end."""
    rest = b""
    while data := os.read(number, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def connected() -> Link:
    """The link of this process, which a supervisor started: it dies with that one, and its stdout says nothing.

    The arguments: the pipe for reports, the supervisor's process id, the pipe that is at its end when that one is dead.
    """
    reports, parent, life = (int(one) for one in sys.argv[1:4])
    _guard(life)
    die_with(parent)
    os.set_inheritable(reports, False)
    for number in (signal.SIGINT, signal.SIGHUP):  # the supervisor's, which tells its children in order
        signal.signal(number, signal.SIG_IGN)
    made = Link(sys.stdin.fileno(), reports)
    signal.signal(signal.SIGTERM, lambda *_: made.stopping.set())
    return made


def _guard(life: int) -> None:
    """Leave a small process beside this one, which ends our whole group when the supervisor is dead.

    The kernel kills this process then, but not what it started.
    """
    if os.fork():
        os.close(life)
        return
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(life, 0)
        os.closerange(3, _MOST_OPEN)
        os.read(0, 1)
    finally:
        perish()


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent is gone (Linux; elsewhere the end of stdin tells)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        perish()


def perish() -> None:
    """End this process and all that it started, now: the next start takes up what was not committed."""
    if os.getpgid(0) != os.getsid(0):  # the supervisor gave us a group of our own
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
