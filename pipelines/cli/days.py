"""Days and moments as options of commands."""

from __future__ import annotations

from datetime import date, datetime

from mappings.dates import FIRST_YEAR, LAST_YEAR, SHANGHAI
from pipelines.cli.out import wrong_use

_YEARS = f"{FIRST_YEAR}-{LAST_YEAR}"


def chosen_days(first: str, last: str) -> tuple[date, date] | None:
    """The days of `--from` and `--to`; None where neither is given.

    Raises:
        WrongUse: no day, or the last one before the first.
    """
    if not first and not last:
        return None
    if not first:
        wrong_use("--to 需要 --from / --to needs --from")
    begin = day(first, "--from")
    end = day(last, "--to") if last else begin
    if end < begin:
        wrong_use("--to 早于 --from / --to is before --from")
    return begin, end


def day(text: str, option: str) -> date:
    """A day in ISO 8601.

    Raises:
        WrongUse: no day, or in a year that records cannot have.
    """
    try:
        found = date.fromisoformat(text)
        _within(found.year)
    except ValueError:
        wrong_use(
            f"{option} {text}: 应为 {_YEARS} 年间的日期，如 2026-09-01"
            f" / must be a day of the years {_YEARS}, such as 2026-09-01"
        )
    return found


def moment(text: str, option: str, *, also: str = "") -> datetime:
    """A moment in ISO 8601, in China's time where no zone is named.

    Args:
        text: what was given.
        option: the option that it was given for.
        also: what else that option takes, in both languages.

    Raises:
        WrongUse: no moment, or in a year that records cannot have.
    """
    try:
        found = datetime.fromisoformat(text)
        _within(found.year)
    except ValueError:
        wrong_use(
            f"{option} {text}: 应为 {_YEARS} 年间的 ISO 8601 时间，如 2026-09-30T20:00:00{also}"
            f" / must be a moment of the years {_YEARS} in ISO 8601, e.g. 2026-09-30T20:00:00{also}"
        )
    return found if found.tzinfo else found.replace(tzinfo=SHANGHAI)


def _within(year: int) -> None:
    """Raises ValueError beyond the years of records, where reckoning with days and zones could leave the calendar."""
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError
