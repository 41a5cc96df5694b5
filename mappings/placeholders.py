"""Placeholders: what shop software writes where it has nothing to say (domain table 1.4, rule 7 of table 9)."""

from __future__ import annotations

from decimal import Decimal

from mappings.folding import half_width

PLACEHOLDERS: frozenset[str] = frozenset({"", "n/a", "无", "-", "undefined", "null"})
"""Folded texts (half width, trimmed, lower case) that mean *nothing here*. `0` is not one: it is a value, flagged."""

_LONGEST = max(map(len, PLACEHOLDERS))


def is_placeholder(value: object) -> bool:
    """Whether a scalar as sent stands for *missing*: absent (None) or one of `PLACEHOLDERS`.

    Texts are compared after NFKC and trimming, in any case. Numbers, booleans and containers are never placeholders.
    """
    if value is None:
        return True
    if not isinstance(value, str) or (len(value) > _LONGEST and value.isalnum()):
        return False
    text = value.strip()
    # NFKC never makes a longer text into one of these: what shrinks under it is not plain ASCII afterwards.
    return len(text) <= _LONGEST and half_width(text).lower() in PLACEHOLDERS


def clean(value: object) -> str:
    """A scalar as sent -> its text: strings trimmed and otherwise untouched, numbers as plain decimal text.

    None gives `""`, booleans `true` and `false`. A number outside 40 digits keeps its exponent form, so that a hostile
    `1e999999999` stays short. Anything that is no scalar gives `""`.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _plain(Decimal(value))
    if isinstance(value, float):
        return _plain(Decimal(repr(value)))
    if isinstance(value, Decimal):
        return _plain(value)
    return ""


def _plain(number: Decimal) -> str:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or number.adjusted() > 40 or exponent < -40:
        return str(number)
    return format(number, "f")
