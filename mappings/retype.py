"""What a mapping may do to a scalar on its way: translate codes, scale, read a date form. Never fails.

A value that does not fit is handed on as sent, so that judging says what is wrong with what the partner wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from mappings.dates import day_in_shanghai
from mappings.folding import compact, digits, half_width
from mappings.layout import OTHER, Rule
from mappings.numbers import spelled
from mappings.placeholders import clean, is_placeholder
from mappings.tables import table
from mappings.trees import Json

SECRET = "***"  # noqa: S105 - what stands in place of a secret
"""What a draft holds instead of a credential that was sent."""

_WHOLE = re.compile("[+-]?[0-9]{1,20}")

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
    folded = {compact(key): code for key, code in codes.items() if key != OTHER}
    other = codes.get(OTHER)

    def convert(value: Json) -> Json:
        text = clean(value)
        if (found := folded.get(compact(text))) is not None:
            return found
        return value if other is None or is_placeholder(value) else other.replace("{}", text)

    return convert


def _by_table(name: str) -> Convert:
    def convert(value: Json) -> Json:
        code = table(name).code_for(clean(value))
        return value if code is None else code

    return convert


def _by_scale(factor: Decimal) -> Convert:
    def convert(value: Json) -> Json:
        number = None if isinstance(value, bool) else spelled(clean(value))
        return number * factor if number is not None and number.adjusted() <= 40 else value

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
        text = digits(clean(value))
        if not _WHOLE.fullmatch(text):
            return value
        try:
            return day_in_shanghai(datetime.fromtimestamp(int(text) / units, UTC)).isoformat()
        except (ValueError, OverflowError, OSError):
            return value

    return convert
