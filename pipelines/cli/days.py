"""Ranges of days as options of commands."""

from __future__ import annotations

from datetime import date

from pipelines.cli.out import wrong_use


def chosen_days(first: str, last: str) -> tuple[date, date] | None:
    """The days of `--from` and `--to`; None where neither is given.

    Raises:
        WrongUse: no day, or the last one before the first.
    """
    if not first and not last:
        return None
    if not first:
        wrong_use("--to 需要 --from / --to needs --from")
    begin = _day(first, "--from")
    end = _day(last, "--to") if last else begin
    if end < begin:
        wrong_use("--to 早于 --from / --to is before --from")
    return begin, end


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        wrong_use(f"{option} {text}: 应为日期，如 2026-09-01 / must be a day such as 2026-09-01")
