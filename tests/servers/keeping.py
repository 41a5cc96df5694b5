"""Servers that live as long as a test run: started once for all its workers, gone when its main process is gone.

A **keeper** is a small process that starts one server and waits. It ends when the run's main process ends, however that
happens, and takes the server with it; should the keeper itself be killed, the kernel kills the server. Workers find the
server by a file in the folder that they share.

    about = shared("rabbitmq", tmp_path_factory, lambda folder: [sys.executable, "...rabbitmq.py", folder])
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.local.processes import PATIENCE


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold a file lock; a process that dies gives it back.

    Who wants it alone is not starved by those who share it: everybody queues at a second lock.
    """
    with path.open("a") as lock:
        with path.with_suffix(".turn").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def run_folder(basetemp: Path) -> tuple[Path, int]:
    """The folder that all workers of a test run share, and the run's main process."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return basetemp.parent, os.getppid()
    return basetemp, os.getpid()


def shared(name: str, basetemp: Path, command: Callable[[Path], Sequence[str | Path]]) -> dict[str, Any]:
    """What a keeper says about its server; the first worker of the run that asks starts the keeper.

    The keeper is called with its folder and writes `ready.json` there. Its folder is removed when it ends.
    """
    together, main = run_folder(basetemp)
    said = together / f"{name}.json"
    with locked(together / f"{name}.lock"):
        if not said.exists():
            folder = Path(tempfile.mkdtemp(prefix=f"vingate-{name}-"))
            with (folder / "keeper.log").open("ab") as log:
                keeper = subprocess.Popen(
                    [*command(folder)],
                    env={**os.environ, "KEEPER_MAIN": str(main)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            about = _ready(folder, keeper)
            staged = said.with_suffix(".new")
            staged.write_text(json.dumps({**about, "folder": str(folder)}))
            staged.rename(said)
    found: dict[str, Any] = json.loads(said.read_text())
    return found


def _ready(folder: Path, keeper: subprocess.Popen[bytes]) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (folder / "ready.json").exists():
            keeper.returncode = 0  # it outlives this object on purpose
            about: dict[str, Any] = json.loads((folder / "ready.json").read_text())
            return about
        if keeper.poll() is not None:
            break
        time.sleep(0.05)
    logs = "\n".join(one.read_text(errors="replace")[-3000:] for one in sorted(folder.glob("*.log")))
    keeper.kill()
    keeper.wait()
    shutil.rmtree(folder, ignore_errors=True)
    message = f"the server did not start:\n{logs}"
    raise RuntimeError(message)


def say_ready(folder: Path, about: Mapping[str, Any]) -> None:
    """From a keeper: the server can be used."""
    staged = folder / "ready.new"
    staged.write_text(json.dumps(about))
    staged.rename(folder / "ready.json")


def keep(folder: Path, step: Callable[[], None], stop: Callable[[], None], every: float = 0.1) -> None:
    """Call `step` again and again until the run's main process has ended, then `stop`, and remove the folder."""
    try:
        waiting = os.pidfd_open(int(os.environ["KEEPER_MAIN"]))
    except ProcessLookupError:
        waiting = -1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        while waiting >= 0 and not select.select([waiting], [], [], every)[0]:
            step()
    finally:
        stop()
        shutil.rmtree(folder, ignore_errors=True)
