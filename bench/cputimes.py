"""Processor time of processes and of all below them, from one look at /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """One process, as /proc/PID/stat has it."""

    parent: int
    own: float
    """CPU seconds of its own."""
    ended: float
    """CPU seconds of children that ended."""
    started: int
    """When it began, in ticks since the machine did."""


def processes() -> dict[int, Process]:
    """All processes by number. (`/proc/PID/task/TID/children` leaves some out while others end.)"""
    found, ticks = {}, os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended
            fields = entry.read_text().rpartition(") ")[2].split()
            user, system, ended, ended_system = map(int, fields[11:15])
            found[int(entry.parent.name)] = Process(
                int(fields[1]), (user + system) / ticks, (ended + ended_system) / ticks, int(fields[19])
            )
    return found


def children(pid: int, seen: dict[int, Process]) -> list[int]:
    """Children of a process, the eldest first."""
    return sorted((one for one, process in seen.items() if process.parent == pid), key=lambda one: seen[one].started)


def cpu_below(pid: int, seen: dict[int, Process]) -> float:
    """CPU seconds of a process and of all below it that are or ended; 0 where it is gone."""
    if pid not in seen:
        return 0.0
    return seen[pid].own + seen[pid].ended + sum(cpu_below(one, seen) for one in children(pid, seen))
