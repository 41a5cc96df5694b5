"""What a mapping may do to a scalar on its way: translate codes, scale, read a date form. Never fails.

A value that does not fit is handed on as sent, so that judging says what is wrong with what the partner wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, DecimalException

from mappings.folding import compact, half_width
from mappings.layout import Rule
from mappings.placeholders import clean, is_placeholder
from mappings.tables import table
from mappings.trees import Json

CHINA = timezone(timedelta(hours=8))
"""Asia/Shanghai as it has been since 1991."""

SECRET = "***"  # noqa: S105 - what stands in place of a secret
"""What a draft holds instead of a credential that was sent."""

Convert = Callable[[Json], Json]


def converter(rule: Rule) -> Convert | None:
    """The function that a rule asks for, or None where the value is taken as sent."""
    if rule.secret:
        return mask
    if rule.codes:
        return _by_codes(rule.codes)
    if rule.table:
        return _by_table(rule.table)
    if rule.scale:
        return _by_scale(Decimal(rule.scale))
    if rule.format:
        return _by_format(rule.format)
    return _by_epoch(1000 if rule.epoch == "ms" else 1) if rule.epoch else None


def mask(value: Json) -> Json:
    """A credential -> `***`; a placeholder stays, so that its absence can be judged."""
    return value if is_placeholder(value) else SECRET


def _by_codes(codes: Mapping[str, str]) -> Convert:
    folded = {compact(key): code for key, code in codes.items()}

    def convert(value: Json) -> Json:
        return folded.get(compact(clean(value)), value)

    return convert


def _by_table(name: str) -> Convert:
    def convert(value: Json) -> Json:
        code = table(name).code_for(clean(value))
        return value if code is None else code

    return convert


def _by_scale(factor: Decimal) -> Convert:
    def convert(value: Json) -> Json:
        if isinstance(value, bool):
            return value
        try:
            number = Decimal(half_width(clean(value)))
            return number * factor if number.is_finite() and number.adjusted() <= 40 else value
        except DecimalException:
            return value

    return convert


def _by_format(form: str) -> Convert:
    def convert(value: Json) -> Json:
        try:
            return datetime.strptime(half_width(clean(value)), form).date().isoformat()  # noqa: DTZ007 - a day, no moment
        except ValueError:
            return value

    return convert


def _by_epoch(units: int) -> Convert:
    def convert(value: Json) -> Json:
        try:
            return datetime.fromtimestamp(int(clean(value)) / units, UTC).astimezone(CHINA).date().isoformat()
        except (ValueError, OverflowError, OSError):
            return value

    return convert
