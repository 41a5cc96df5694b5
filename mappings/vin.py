"""VIN, the vehicle identification number: GB 16735 (structure, check digit, year) and GB 16737 (WMI of makers).

A VIN has 17 characters out of digits and Latin letters without I, O and Q: WMI (1-3), VDS (4-9, with the check digit
at 9) and VIS (10-17, with the model year at 10). `check_digit` costs about a microsecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from operator import mul
from types import MappingProxyType

from mappings.folding import compact
from mappings.tables import table

LENGTH = 17
ALPHABET = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
"""Characters of a VIN (GB 16735): I, O and Q are left out, since they look like 1 and 0."""
YEAR_CODES = "ABCDEFGHJKLMNPRSTVWXY123456789"
"""Position 10 in the order of the years of one 30-year cycle (GB 16735): A is 1980 or 2010, 9 is 2009 or 2039."""

VALUES: Mapping[str, int] = MappingProxyType(
    dict(
        zip(
            ALPHABET,
            (*range(10), 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9),
            strict=True,
        )
    )
)
"""Character -> value in the weighted sum (GB 16735, check digit)."""
WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
"""Weights of positions 1 to 17 (GB 16735, check digit); position 9 does not count."""

_LEGAL = ALPHABET.encode()
_TO_VALUES = bytes.maketrans(_LEGAL, bytes(VALUES.values()))
_DIGITS = "0123456789X"
_FIRST_CYCLE, _CYCLE = 1980, 30
_FIRST_YEAR_CHINA = 1996


def normalise(text: str) -> str:
    """Half-width, upper case, without blanks. Nothing is guessed: an O stays an O."""
    return compact(text)


def is_alphabet(vin: str) -> bool:
    """Whether every character is one of a VIN's (GB 16735); the length is not looked at."""
    return vin.isascii() and not vin.encode().translate(None, _LEGAL)


def check_digit(vin: str) -> str:
    """The character that belongs at position 9: weighted sum of the other 16 modulo 11, 10 written X (GB 16735).

    Raises:
        ValueError: not 17 characters of the alphabet.
    """
    if len(vin) != LENGTH or not is_alphabet(vin):
        msg = "不是 17 位合法的车辆识别代号字符 / not 17 characters of the VIN alphabet"
        raise ValueError(msg)
    return _DIGITS[sum(map(mul, vin.encode().translate(_TO_VALUES), WEIGHTS)) % 11]


def check_digit_binds(vin: str) -> bool:
    """Whether the maker is bound to a check digit: China (WMI starts with L, newly also H) and North America (1-5).

    Makers of other regions may use position 9 freely, so a digit that differs proves nothing there.
    """
    return vin[:1] in ("L", "H", "1", "2", "3", "4", "5")


def model_year(vin: str, latest: int) -> int | None:
    """The model year at position 10, or None where the character names no year (I, O, Q, U, Z, 0) or is missing.

    A character recurs every 30 years. Of 1980-2009 and 2010-2039 the newest year not above `latest` is taken, and the
    oldest where both are above. `latest` should come from the clock (year of receipt + 1) and not from the record
    under test. A Chinese maker (L, H) had no 17-character VIN before GB 16735 of 1996: there a year before 1996 is
    not offered, so a letter like R is 2024 even where `latest` is smaller.
    """
    index = YEAR_CODES.find(vin[9:10]) if len(vin) > 9 else -1
    if index < 0:
        return None
    older = _FIRST_CYCLE + index
    newer = older + _CYCLE
    if newer <= latest or (vin[:1] in ("L", "H") and older < _FIRST_YEAR_CHINA):
        return newer
    return older


def wmi(vin: str) -> str:
    """The maker's key: 3 characters, or 6 (1-3 and 12-14) for a small series, whose third character is 9 (GB 16737)."""
    return vin[:3] + vin[11:14] if vin[2:3] == "9" else vin[:3]


def maker(vin: str) -> str | None:
    """The maker's Chinese name by its WMI, or None where the table does not know it."""
    return _makers().get(wmi(vin))


def brand_words(vin: str) -> tuple[str, ...]:
    """The words that this maker's brands are written with (upper case), for plausibility only; empty where unknown."""
    row = table("wmi").details.get(wmi(vin))
    return tuple(filter(None, row["brands"].upper().split("|"))) if row else ()


@cache
def _makers() -> dict[str, str]:
    return dict(table("wmi").entries)
