"""Maintenance windows of a peer: daily ranges, on given days, in the peer's time zone, in which nothing is sent.

    >>> from datetime import datetime
    >>> window = Window.parse("23:30-01:00 Sat,Sun Asia/Shanghai")
    >>> window.left(datetime.fromisoformat("2026-03-01T00:15:00+08:00"))  # Sunday, in Saturday's window
    2700.0

The form is `HH:MM-HH:MM [days] [zone]`: days as `Mon,Wed` or `Mon-Fri`, by default all; zone an IANA name, by default
Asia/Shanghai. A range whose end is not after its start ends on the next day; the days are those on which it starts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)(?:\s+([A-Za-z,-]+))??(?:\s+([A-Za-z_]+(?:/[A-Za-z_+-]+)*))?\s*")


@dataclass(frozen=True, slots=True)
class Window:
    """One daily range."""

    start: time
    end: time
    days: frozenset[int]
    """Week days on which it starts; Monday is 0."""
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read a window.

        Raises:
            ValueError: it has not the form that the module describes.
        """
        match = _FORM.fullmatch(text.strip().replace("-24:00", "-00:00"))
        if match is None:
            raise ValueError(_wrong(text))
        hour, minute, last_hour, last_minute, days, zone = match.groups()
        try:
            start, end = time(int(hour), int(minute)), time(int(last_hour), int(last_minute))
        except ValueError:
            raise ValueError(_wrong(text)) from None
        if days is None and zone is not None and _days_of(zone):
            days, zone = zone, None
        chosen = frozenset(range(7)) if days is None else _days_of(days)
        if not chosen:
            raise ValueError(_wrong(text))
        return cls(start, end, chosen, _zone(zone or "Asia/Shanghai"))

    def left(self, now: datetime) -> float:
        """Seconds until the window that `now` lies in ends; 0.0 outside of it.

        Args:
            now: an aware moment.
        """
        here = now.astimezone(self.zone)
        for back in (0, 1):
            day = here.date() - timedelta(days=back)
            if day.weekday() not in self.days:
                continue
            start = datetime.combine(day, self.start, self.zone)
            last = day if self.end > self.start else day + timedelta(days=1)
            end = datetime.combine(last, self.end, self.zone)
            # Aware moments of one zone compare by their wall clocks: in UTC they compare as moments.
            if start.astimezone(UTC) <= now.astimezone(UTC) < end.astimezone(UTC):
                return (end.astimezone(UTC) - now.astimezone(UTC)).total_seconds()
        return 0.0


def _days_of(text: str) -> frozenset[int]:
    """Week days named by a list of names and ranges; none where the text is something else."""
    chosen: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last and last not in _DAYS):
            return frozenset()
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        chosen.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(chosen)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        message = f"没有这个时区 / no such time zone: {name}"
        raise ValueError(message) from None


def _wrong(text: str) -> str:
    return f"维护时段有误 / not a window like '23:30-01:00 Sat,Sun Asia/Shanghai': {text!r}"


def closed_for(windows: Sequence[Window], now: datetime) -> float:
    """Seconds until no window is open any more, looking at each once; 0.0 when none is."""
    return max((one.left(now) for one in windows), default=0.0)


def _known(windows: tuple[str, ...]) -> tuple[str, ...]:
    for one in windows:
        Window.parse(one)
    return windows


Windows = Annotated[tuple[str, ...], AfterValidator(_known)]
"""Windows as settings hold them; one of another form is refused where the settings are read."""
