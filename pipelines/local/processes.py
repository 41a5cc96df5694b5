"""Processes that end with who started them, free ports of loopback, and waiting for what they do."""

from __future__ import annotations

import ctypes
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import PipelineError


class NotStarted(PipelineError):
    """A server or a role is not installed, or did not start."""


PATIENCE = 120.0
"""Seconds that a server may take to start on a machine that is busy."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel kills this process when the thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    command: Sequence[str | Path], env: Mapping[str, str], log: Path, out: Path | None = None, **more: Any
) -> subprocess.Popen[bytes]:
    """Start a process that dies with this one; its output goes to the ends of files, stdout to `out` if given."""
    with log.open("ab") as file, (out or log).open("ab") as said:
        return subprocess.Popen(  # noqa: S603 - programs that we name ourselves
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=file,
            preexec_fn=die_with_parent,
            **more,
        )


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below those that outgoing connections use."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something is so.

    Raises:
        NotStarted: it is not, after so many seconds; `what` says in words what was waited for.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            message = f"没有等到 / waited in vain: {what}"
            raise NotStarted(message)
        time.sleep(0.02)
