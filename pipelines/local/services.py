"""`vingate serve` as a process of one's own: started, waited for, killed, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.local.processes import NotStarted, spawn, wait_for

STOP_SECONDS = 45.0
"""A service that has not ended so long after SIGTERM is killed; it has 28 seconds itself."""


class Service:
    """A role that runs on a state. It ends with the process that started it.

    Args:
        role: its settings file.
        state: the folder of its state.
        overrides: `a.b=value`. They stand in its arguments, which others can see: secrets go by `file:PATH`.
        folder: where its log (`log`) and the line that it says when it is ready (`ready`) lie.
    """

    def __init__(self, role: Path, state: Path, overrides: Sequence[str], folder: Path) -> None:
        self.role, self.state, self.overrides = role, state, tuple(overrides)
        self.log, self._said = folder / "log", folder / "ready"
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        """The supervisor's process; 0 where none was started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the supervisor is there."""
        return self._process is not None and self._process.poll() is None

    def children(self) -> dict[str, int]:
        """Process of each child by its kind (`gateway`, `door`, `door-2` and so on), as far as they run now.

        The door's are those that share a socket with the supervisor, numbered as they were started.
        """
        found: dict[str, int] = {}
        doors = 0
        with suppress(OSError):
            shared = _sockets(self.pid)
            for pid in map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()):
                with suppress(OSError):
                    if _sockets(pid) & shared:
                        doors += 1
                        found["door" if doors == 1 else f"door-{doors}"] = pid
                    else:
                        found["gateway"] = pid
        return found

    def start(self) -> None:
        """Start it; `wait` says when it can be used."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._said.write_bytes(b"")
        command = [sys.executable, "-m", "pipelines", "serve", str(self.role), "--state", str(self.state)]
        settings = [part for one in self.overrides for part in ("--set", one)]
        self._process = spawn(
            [*command, *settings], os.environ, self.log, out=self._said, cwd=_ROOT, start_new_session=True
        )
        self.starts += 1

    def wait(self) -> dict[str, Any]:
        """Wait until it can be used; where it listens: `door`, `foshan`, `health`.

        Raises:
            NotStarted: it ended instead, or takes too long.
        """
        wait_for(self._ready, str(self.role))
        return self.told()

    def told(self) -> dict[str, Any]:
        """What it said when it could be used; empty: it has not said it yet."""
        line = self._said.read_bytes()
        found: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        return found

    def _ready(self) -> bool:
        if self.told():
            return True
        if not self.running:
            message = f"{self.role.name} 未能启动，见 / did not start, see {self.log}"
            raise NotStarted(message)
        return False

    def kill(self) -> None:
        """Kill the supervisor; its children end with it."""
        self._end(signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """Have it finish what it does; `stop` waits for that."""
        if self._process is not None and self.running:
            self._process.terminate()

    def stop(self) -> int:
        """Stop it; its exit code: 0 where it finished what it did."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self.running:
            self._process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(STOP_SECONDS)
            self._process.kill()
        return self._process.wait()


_ROOT = Path(__file__).resolve().parents[2]


def _sockets(pid: int) -> set[str]:
    """The sockets that a process has open, by the names that the kernel gives them."""
    links = (str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir())
    return {one for one in links if one.startswith("socket:")}
