"""Folders below a state for records that are read again: each is held by its process, and swept once that is gone.

They hold VINs and plates as they are. Any process may read again, also one that does not own the state, so none of them
may be swept just because it is not the owner's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "reread-"


@contextmanager
def scratch(state: Path) -> Iterator[Path]:
    """A folder of one's own below the state's; it is gone afterwards."""
    with _making(state):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=state))
        held = _open(folder)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def sweep(state: Path) -> None:
    """Remove the folders of processes that are gone."""
    with _making(state):
        for folder in state.glob(f"{_PREFIX}*"):
            if _abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _making(state: Path) -> Iterator[None]:
    """While nobody else makes or sweeps: a folder that was made is held before anyone looks at it."""
    lock = _open(state)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _abandoned(folder: Path) -> bool:
    try:
        held = _open(folder)
    except FileNotFoundError:  # its process has just removed it
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(held)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
