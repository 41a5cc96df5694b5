"""VINs by the hundred: their characters as one array, their check digits computed together (GB 16735)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mappings import vin

_VIN_VALUES = np.full(256, 255, np.uint8)
_VIN_DIGITS = np.full(256, 254, np.int64)
for _character, _value in vin.VALUES.items():
    _VIN_VALUES[ord(_character)] = _value
for _value, _character in enumerate("0123456789X"):
    _VIN_DIGITS[ord(_character)] = _value
_VIN_WEIGHTS = np.array(vin.WEIGHTS, np.int64)
_BLANK = "I" * vin.LENGTH
_FEW_VINS = 4
"""Up to so many VINs are checked one by one: whole columns pay only for more."""


def vin_matrix(vins: Sequence[str]) -> NDArray[np.uint8]:
    """The characters of VINs, 17 a row; what is not 17 ASCII characters is a row of I, which no VIN may hold."""
    try:
        text = "".join(vins)
    except TypeError:
        text = ""
    if len(text) != vin.LENGTH * len(vins) or not text.isascii() or any(len(v) != vin.LENGTH for v in vins):
        fit = (isinstance(v, str) and len(v) == vin.LENGTH and v.isascii() for v in vins)
        text = "".join([v if good else _BLANK for v, good in zip(vins, fit, strict=True)])
    return np.frombuffer(text.encode(), np.uint8).reshape(len(vins), vin.LENGTH)


def check_vins(vins: Sequence[str]) -> list[bool]:
    """For each: 17 legal characters with the right check digit (GB 16735), all at once."""
    if len(vins) <= _FEW_VINS:
        return [_checked(one) for one in vins]
    checked: list[bool] = right_digits(vin_matrix(vins)).tolist()
    return checked


def right_digits(characters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """For each row of 17 characters: whether all are legal and the check digit is right."""
    values = _VIN_VALUES[characters]
    right = (values.astype(np.int64) @ _VIN_WEIGHTS) % 11 == _VIN_DIGITS[characters[:, 8]]
    checked: NDArray[np.bool_] = right & (values != 255).all(axis=1)
    return checked


def _checked(one: str) -> bool:
    if type(one) is not str or len(one) != vin.LENGTH or not vin.is_alphabet(one):
        return False
    return vin.check_digit(one) == one[8]
