"""When a waiting delivery is tried again: exponential, capped, with jitter. Pure: clock and chance are handed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

FIRST = timedelta(seconds=5)
"""Wait after the first failed attempt."""
CAP = timedelta(minutes=30)
"""Longest wait."""
SPREAD = 0.5
"""Share of a wait that chance takes away, so that what failed together does not come back together."""


def next_attempt(
    attempts: int,
    now: datetime,
    rnd: Callable[[], float],
    first: timedelta = FIRST,
    cap: timedelta = CAP,
) -> datetime:
    """When to try again after `attempts` failed attempts (1 or more).

    The wait doubles from `first` up to `cap`; chance takes away up to half of it. It is never shorter than half of
    `first`.

    Args:
        attempts: how many attempts failed so far.
        now: when the last one failed (aware).
        rnd: gives numbers from 0 (inclusive) to 1, such as `random.random`.
        first: the first wait.
        cap: the longest wait.
    """
    if now.tzinfo is None:
        msg = "a moment without its zone"
        raise ValueError(msg)
    doublings = min(max(attempts, 1) - 1, 62)  # beyond, any cap is reached; the power stays small
    wait = min(first.total_seconds() * 2.0**doublings, cap.total_seconds())
    return now + timedelta(seconds=wait * (1 - SPREAD * rnd()))


def seeded(delivery_id: str, attempts: int) -> Callable[[], float]:
    """Chance that is fixed by delivery and attempt: a disturbed run then waits exactly as an undisturbed one."""
    return Random(f"{delivery_id}:{attempts}").random  # noqa: S311 - jitter, no secret
