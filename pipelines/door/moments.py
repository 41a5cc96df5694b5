"""Moments as the door's tables keep them: UTC, ISO 8601, always of one length, so that text compares as time does."""

from __future__ import annotations

from datetime import UTC, datetime


def written(moment: datetime) -> str:
    """A moment (with its zone) as text, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
