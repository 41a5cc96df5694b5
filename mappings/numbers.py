"""Numbers as partners send them: text, integer or double, kept exactly as a decimal (rule 5 of domain table 9)."""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation

from mappings.folding import digits

INTEGER_DIGITS = 12
"""Most digits before the point."""
DECIMALS = 4
"""Most digits after the point, once trailing zeros are dropped."""
_TEXT_LENGTH = 64
_GRAMMAR = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_STEP = Decimal(1).scaleb(-DECIMALS)
_FITS = Context(prec=INTEGER_DIGITS + DECIMALS, traps=[Inexact, InvalidOperation])


def number(value: object) -> Decimal | None:
    """The exact decimal that a scalar as sent stands for, or None where it is no number of ours.

    Grammar: an optional sign, at most 12 digits before the point and at most 4 after it (trailing zeros do not count);
    exponent forms only where the result fits. Full-width digits are read, blanks around are ignored. Booleans, NaN,
    Infinity and empty texts are no numbers. Doubles go through their shortest text, so no binary fraction shows. The
    result has no exponent and no trailing zeros: `1.00` -> `Decimal('1')`, `50.0` -> `Decimal('50')`.
    """
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if abs(value) < 10**INTEGER_DIGITS else None
    if isinstance(value, float):
        return _of_text(repr(value))
    return _plain(value) if isinstance(value, Decimal) else None


def spelled(text: str) -> Decimal | None:
    """The decimal that a text spells by the grammar of `number`, of whatever size; None where it spells none."""
    if len(text) > _TEXT_LENGTH:
        return None
    text = digits(text)
    return Decimal(text) if _GRAMMAR.fullmatch(text) else None


def _of_text(text: str) -> Decimal | None:
    if len(text) <= INTEGER_DIGITS and text.isascii() and text.isdigit():
        return Decimal(int(text))
    found = spelled(text)
    return None if found is None else _plain(found)


def _plain(value: Decimal) -> Decimal | None:
    if not value.is_finite():
        return None
    if not value:
        return Decimal(0)
    try:
        value = _FITS.quantize(value, _STEP)  # refuses what does not fit before it expands anything
    except (Inexact, InvalidOperation):
        return None
    whole = int(value)
    return Decimal(whole) if value == whole else value.normalize()
