"""Waste codes, categories and units as partners write them -> as the catalogue has them (domain sections 4.1, 4.4).

A hazardous code has eight digits: trade (GB/T 4754), serial, category, so its last two say its category:
`900-214-08` is of HW08. A general one ends in its class: `900-006-S17` is of SW17.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from mappings.folding import compact, digits
from mappings.tables import table

KG, PIECE = "kg", "piece"

_DASHES = str.maketrans("", "", "-‐‑‒–—―−－_·.:：/()（）[]【】")
_CODE = re.compile(r"(?P<prefix>(?:HW|SW)\d{2})?(?P<trade>\d{3})(?P<serial>\d{3})(?P<general>S?)(?P<suffix>\d{2})")
_CATEGORY = re.compile(r"(?P<kind>HW|SW|S)?(?P<number>\d{1,2})(?!\d)")


class WasteCode(NamedTuple):
    """A waste code, read."""

    text: str
    """As the catalogue writes it: `900-214-08`, `900-006-S17`. A code of an earlier edition is already mapped."""
    category: str
    """What its last two digits say: `HW08`, `SW17`."""
    prefix: str
    """The category that was written before it; empty where there was none."""
    old: str
    """The code of an earlier edition that was written; empty where it is one of today."""
    old_category: str
    """The category of that one."""
    name: str
    """Its name in our tables; empty where they do not hold it."""

    @property
    def hazardous(self) -> bool:
        """Whether it is hazardous waste, which needs a manifest and a licensed receiver."""
        return self.category.startswith("HW")

    def fits(self, category: str) -> bool:
        """Whether a category may stand beside this code: its own, or beside an old code that one's."""
        return category in (self.category, self.old_category)


@lru_cache(maxsize=4096)
def read_code(text: str) -> WasteCode | None:
    """The code that a text writes, or None: `HW08-900-249-08`, `HW08 900-249-08`, `hw49-900-041-49`, `90021408`.

    Blanks, dashes and case do not matter; full-width characters are read.
    """
    if len(text) > 64:
        return None
    found = _CODE.fullmatch(compact(digits(text)).translate(_DASHES))
    if found is None or not found[0].isascii():
        return None
    written = f"{found['trade']}-{found['serial']}-{found['general']}{found['suffix']}"
    own = category_of(written)
    old = table("waste-old-codes").details.get(written)
    code = old["now"] if old else written
    return WasteCode(
        text=code,
        category=category_of(code),
        prefix=found["prefix"] or "",
        old=written if old else "",
        old_category=own if old else "",
        name=name_of(code),
    )


def category_of(code: str) -> str:
    """The category that a code in the catalogue's form names by its end."""
    end = code.rpartition("-")[2]
    return f"SW{end[1:]}" if end.startswith("S") else f"HW{end}"


def name_of(code: str) -> str:
    """What our tables call a code; empty where they do not hold it."""
    return table("waste-hazardous").name_of(code) or table("waste-general").name_of(code) or ""


@lru_cache(maxsize=1024)
def read_category(text: str) -> str | None:
    """The category that a text writes, or None: `HW08`, `hw8`, `08`, with its name behind it, or a name alone."""
    folded = compact(digits(text[:64])).translate(_DASHES)
    found = _CATEGORY.match(folded)
    if found and found[0].isascii():
        return f"{'SW' if (found['kind'] or '').startswith('S') else 'HW'}{int(found['number']):02d}"
    return table("waste-categories").code_for(folded) or table("waste-categories").code_for(text[:64])


class Unit(NamedTuple):
    """A unit of measure: its unit of account (`kg` or `piece`), and how many of that it is."""

    base: str
    factor: Decimal


@lru_cache(maxsize=256)
def read_unit(text: str) -> Unit | None:
    """The unit that a text names: kg, 吨, 件 and how else they are written; None for any other, litres too."""
    units = table("waste-units")
    code = text.strip() if text.strip() in units else units.code_for(text[:64])
    if code is None:
        return None
    row = units.details[code]
    return Unit(row["base"], Decimal(row["factor"]))
