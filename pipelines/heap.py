"""Memory of a process that runs for long: how seldom the collector walks it, and when pages go back to the system."""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import Any

_RARELY, _ALL_DAY = 1_000_000, 20_000
_SETTLED: list[bool] = []


def settle(*, all_day: bool = False) -> None:
    """What is loaded by now lives as long as the process: the collector need not walk it for every record.

    Bulk work makes next to no cycles, so the collector is all but off; what runs all day must not gather them.
    """
    if _SETTLED:
        return
    _SETTLED.append(True)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALL_DAY if all_day else _RARELY, 50, 50)


def give_back() -> None:
    """Free what a large batch leaves: Beam's graphs are full of cycles, and pages lie between others that are in use.

    Without this a process holds some 10 MB more after each batch.
    """
    gc.collect()
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    """`malloc_trim` of the C library; None where it has none (it is glibc's)."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
