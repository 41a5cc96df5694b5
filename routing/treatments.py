"""What an agreement does to one value: pass, mask, generalise or withhold.

| treatment | the value goes out |
|---|---|
| `pass` | as it is |
| `mask` | with what is personal in it hidden: by the member's name (VIN, plate, phone, person), in free text by shape |
| `month` | of a date or moment its month: `2026-03` |
| `band:N` | of a number the band that it lies in, `[k*N, (k+1)*N)`: `40000-50000` |
| `province` | of a plate, a division or a company code its province (GB/T 2260 level 1, `44`; `bt`) |
| `withhold` | not at all |

What cannot be generalised as said (no date, no number, no province) is withheld.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from functools import cache, lru_cache

from mappings import divisions, plates
from mappings.shapes import HIDDEN, kind_of, mask_shapes, narrow

PASS, MASK, MONTH, PROVINCE, WITHHOLD = "pass", "mask", "month", "province", "withhold"
BAND = re.compile(r"band:([1-9][0-9]{0,11})")

Treat = Callable[[object], object | None]
"""A value that is neither object nor list -> what goes out, None for nothing. Never raises."""

MASKLESS = frozenset({
    "system", "companycode", "companyname", "costlistcode", "issuer", "number", "code", "day", "repairdate",
    "settledate", "mileage", "quantity", "hours", "received_at", "repaircomefrom", "dialect", "findings",
})  # fmt: skip
"""Members that have no masked form: their names hide nothing, and their values have no shape."""

_MONTH = re.compile(r"([12][0-9]{3}-(?:0[1-9]|1[0-2]))-[0-3][0-9](?:T.*)?")
_LONGEST = 40
"""Characters of a number that is worth a band."""
_REPEATED = 64
"""Characters of texts that are remembered with what masking makes of them: names of parts and jobs come again."""
_AMOUNT = re.compile(
    r"(?i)(?:[¥￥$]|\b(?:rmb|cny))\s{0,3}[0-9][0-9,.]{0,20}(?:\s{0,3}万)?"
    r"|(?!3\s?元催)[0-9][0-9,.]{0,20}\s{0,3}[百千万]?\s{0,3}(?:元|圆|块钱|rmb\b|cny\b)"
    r"|(?!三元(?!整|钱|零|[一二两三四五六七八九]角))[零一二两三四五六七八九十百千万]{1,12}(?:元|圆|块钱)"
    r"|(?:金额|价格|费用|单价|总价|收费|报价|合计)\s{0,3}[:：为]?\s{0,3}[0-9][0-9,.]{0,20}"
)


def known(treatment: str) -> bool:
    """Whether there is such a treatment."""
    return treatment in (PASS, MASK, MONTH, PROVINCE, WITHHOLD) or BAND.fullmatch(treatment) is not None


def free_text(name: str) -> bool:
    """Whether masking a member of this name masks by shape alone: there may be more in it that is to be hidden."""
    return name not in MASKLESS and kind_of(name) is None


@cache
def treat(treatment: str, name: str) -> Treat:
    """What a treatment does to values of a member of this name."""
    if treatment == PASS:
        return _same
    if treatment == MASK and name not in MASKLESS:
        return _masked(name)
    if treatment == MONTH:
        return _month
    if treatment == PROVINCE:
        return _province
    band = BAND.fullmatch(treatment)
    return _band(Decimal(band[1])) if band else _nothing


def mask_free(text: str, *, amounts: bool) -> str:
    """Free text with what is personal in it hidden; without `amounts` also amounts of money: `换机油 380元`.

    三元 by itself is no amount: that is the catalyst (三元催化器), or a kind of battery or rubber.
    """
    return (_masked_short if len(text) <= _REPEATED else _masked_text)(text, amounts)


def _masked_text(text: str, amounts: bool) -> str:
    return mask_shapes(text if amounts else _AMOUNT.sub(HIDDEN, narrow(text)))


_masked_short = lru_cache(maxsize=16_384)(_masked_text)


def _same(value: object) -> object | None:
    return value


def _nothing(_: object) -> None:
    return None


def _masked(name: str) -> Treat:
    by_name = kind_of(name)

    def mask(value: object) -> object | None:
        text = str(value)
        return mask_shapes(by_name(text) if by_name is not None else text)

    return mask


def _month(value: object) -> str | None:
    found = _MONTH.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def _province(value: object) -> str | None:
    text = str(value)
    return divisions.of_division(text[:6]) or plates.province_key(plates.normalise(text)) or None


def _band(width: Decimal) -> Treat:
    def band(value: object) -> str | None:
        text = str(value)
        try:
            number = Decimal(text) if len(text) <= _LONGEST and not isinstance(value, bool) else None
        except InvalidOperation:
            return None
        if number is None or not number.is_finite() or number.adjusted() > _LONGEST:
            return None
        low = (number / width).to_integral_value(ROUND_FLOOR) * width
        return f"{low:f}-{low + width:f}"

    return band
