"""When a source is scanned: every so often, or at the moments of a cron expression in China's time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from croniter import croniter

from mappings.dates import SHANGHAI

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PERIOD = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)")


class Schedule(NamedTuple):
    """Either a period or a cron expression; neither: never.

    >>> from datetime import datetime
    >>> Schedule(cron="0 2 * * *").after(datetime.fromisoformat("2026-01-01T12:00:00+08:00")).isoformat()
    '2026-01-02T02:00:00+08:00'
    """

    every: float = 0
    """Seconds between the end of a scan and the beginning of the next; 0: no period."""
    cron: str = ""
    """Minute, hour, day of month, month, day of week, in Asia/Shanghai; empty: none."""

    @property
    def at_start(self) -> bool:
        """Whether a scan is due as soon as the service runs: with a period yes, with cron only at its moments."""
        return self.every > 0

    def before(self, moment: datetime) -> datetime | None:
        """When a cron expression was due last, seen from an aware moment; None: it is none."""
        if not self.cron:
            return None
        found: datetime = croniter(self.cron, moment.astimezone(SHANGHAI)).get_prev(datetime)
        return found

    def after(self, moment: datetime) -> datetime | None:
        """When the next scan is due, seen from an aware moment; None: never."""
        if self.every > 0:
            return moment + timedelta(seconds=self.every)
        if not self.cron:
            return None
        found: datetime = croniter(self.cron, moment.astimezone(SHANGHAI)).get_next(datetime)
        return found


def seconds(text: str) -> float:
    """A period such as `500ms`, `5s`, `10m`, `1h`, `1d` in seconds.

    Raises:
        ValueError: it is none, or is shorter than 100 ms.
    """
    found = _PERIOD.fullmatch(text.strip().lower())
    value = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if value < 0.1:
        message = f"{text!r} 不是时间间隔，如 5s、10m、1h（至少 100ms） / is no period such as 5s, 10m, 1h"
        raise ValueError(message)
    return value


def schedule(every: str, cron: str) -> Schedule:
    """The schedule that settings say.

    Raises:
        ValueError: both are given, or one is wrong.
    """
    if every and cron:
        message = "every 与 cron 只能用一个 / every and cron exclude each other"
        raise ValueError(message)
    if cron and (len(cron.split()) != 5 or not croniter.is_valid(cron)):
        message = f"cron {cron!r} 应为五段，如 0 2 * * * / must have five fields such as 0 2 * * *"
        raise ValueError(message)
    return Schedule(seconds(every) if every else 0, cron)
