"""Whether a folder can be written and has room."""

from __future__ import annotations

import os
import time
from pathlib import Path


class DiskRoom:
    """What hinders writing a folder; asked again after some seconds.

    Args:
        folder: the folder.
        least_bytes: free bytes that its disk must have.
        seconds: how long an answer is remembered.
    """

    def __init__(self, folder: Path, least_bytes: int, seconds: float = 2.0) -> None:
        self._folder, self._least, self._seconds = folder, least_bytes, seconds
        self._asked_at, self._found = float("-inf"), ""

    def __call__(self) -> str:
        """What hinders; empty: nothing."""
        now = time.monotonic()
        if now - self._asked_at >= self._seconds:
            self._asked_at, self._found = now, self._ask()
        return self._found

    def _ask(self) -> str:
        if not os.access(self._folder, os.W_OK | os.X_OK):
            return f"状态目录不可写 / the state's folder cannot be written: {self._folder}"
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._least:
            return f"磁盘只剩 {free >> 20} MB / only {free >> 20} MB are left on the disk: {self._folder}"
        return ""
