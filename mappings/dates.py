"""Dates in every form of rule 6 (domain table 9), and the calendar day in China."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import lru_cache

from mappings.folding import digits

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
"""Asia/Shanghai as a fixed offset: it holds for all dates of the system (no summer time since 1991) and needs no time
zone database, which slim machines lack."""

LONG_TERM = date(9999, 9, 9)
"""Licence end date on the wire that means *unlimited* (domain table 1.3). `day` does not give it: it is no day."""

FIRST_YEAR, LAST_YEAR = 1950, 2200

_DASHED = r"(?P<y1>\d{4})-(?P<m1>\d{2})-(?P<d1>\d{2})"
_SLASHED = r"(?P<y2>\d{4})/(?P<m2>\d{1,2})/(?P<d2>\d{1,2})"
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d{1,9})?)?"
_ZONE = r"(?P<zone>[Zz]|[+-]\d{2}:?\d{2})?"
_COMPACT = 14
_LONGEST = 64
_FORM = re.compile(rf"(?:{_DASHED}|{_SLASHED})(?:(?:[Tt]|[ ]+){_TIME}{_ZONE})?", re.ASCII)


def day(value: object) -> date | None:
    """The day that a scalar as sent names; None where no form fits, no such day exists, or outside 1950-2200.

    Forms: `yyyyMMdd` (text or number), `yyyy-MM-dd`, `yyyy/MM/dd` (also `yyyy/M/d`), each of the last two also with a
    time of day after a blank or `T`. A time that names its zone (`Z`, `+08:00`) is read as that moment's day in China.
    """
    found = _written(value)
    return found if found is not None and FIRST_YEAR <= found.year <= LAST_YEAR else None


def moment(value: object) -> datetime | None:
    """The moment that a scalar as sent names, in China's time; None where no form fits or no such moment exists.

    Forms: `yyyyMMddHHmmss` (text or number), and those of `day` with a time of day. A zone that it names (`Z`,
    `+08:00`) is respected; else it is China's time. Fractions of seconds are dropped.
    """
    if isinstance(value, datetime):
        return value.astimezone(SHANGHAI) if value.tzinfo else value.replace(tzinfo=SHANGHAI)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = digits(value) if isinstance(value, str) and len(value) <= _LONGEST else ""
    if isinstance(value, int) and 0 <= value < 10**_COMPACT:
        text = str(value)
    try:
        found = _compact_moment(text) if text.isascii() and text.isdigit() else _dashed_moment(text)
    except (ValueError, OverflowError):
        return None
    return found if found is not None and FIRST_YEAR <= found.year <= LAST_YEAR else None


def _compact_moment(text: str) -> datetime | None:
    if len(text) != _COMPACT:
        return None
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=SHANGHAI)


def _dashed_moment(text: str) -> datetime | None:
    found = _FORM.fullmatch(text)
    if not found or found["hour"] is None:
        return None
    year, month, number = (int(found[f"{name}1"] or found[f"{name}2"]) for name in "ymd")
    clock = time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
    zone = SHANGHAI if found["zone"] is None else _zone(found["zone"])
    return datetime.combine(date(year, month, number), clock, zone).astimezone(SHANGHAI)


def is_long_term(value: object) -> bool:
    """Whether a scalar as sent names `LONG_TERM`, in any form of `day`."""
    return _written(value) == LONG_TERM


def _written(value: object) -> date | None:
    """The day that a scalar names, in whatever year."""
    if isinstance(value, str):
        return _of_text(value) if len(value) <= _LONGEST else None
    if isinstance(value, datetime):
        return day_in_shanghai(value) if value.tzinfo else value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal):
        whole = value.is_finite() and 0 <= value < 10**8 and value == int(value)
        return _of_text(str(int(value))) if whole else None
    return _of_text(str(value)) if isinstance(value, int) and 0 <= value < 10**8 else None


def day_in_shanghai(moment: datetime) -> date:
    """The calendar day in China at an aware moment.

    Raises:
        ValueError: the moment names no zone.
    """
    if moment.tzinfo is None:
        msg = "时刻缺少时区 / the moment names no time zone"
        raise ValueError(msg)
    return moment.astimezone(SHANGHAI).date()


@lru_cache(maxsize=4096)
def _of_text(text: str) -> date | None:
    text = digits(text)
    try:
        if len(text) == 8 and text.isascii() and text.isdigit():
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        found = _FORM.fullmatch(text)
        return _of_parts(found) if found else None
    except (ValueError, OverflowError):
        return None


def _of_parts(found: re.Match[str]) -> date:
    year, month, number = (found[f"{name}1"] or found[f"{name}2"] for name in "ymd")
    result = date(int(year), int(month), int(number))
    if found["hour"] is None:
        return result
    clock = time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
    if found["zone"] is None:
        return result
    return day_in_shanghai(datetime.combine(result, clock, _zone(found["zone"])))


def _zone(text: str) -> timezone:
    if text in "Zz":
        return UTC
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))
