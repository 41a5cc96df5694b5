"""Moments and names as the door's tables keep them.

Moments are UTC, ISO 8601, always of one length, so that text compares as time does.
"""

from __future__ import annotations

from datetime import UTC, datetime


def written(moment: datetime) -> str:
    """A moment (with its zone) as text, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def storable(name: str, longest: int) -> bool:
    """Whether a name that was sent can be one in a table: not empty, not too long, no control or broken characters.

    What cannot stand there (NUL, lone surrogates) would be an error of the database, not an unknown name.
    """
    return 0 < len(name) <= longest and name.isprintable()
