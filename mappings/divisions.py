"""Divisions: GB/T 2260 codes, the MOT authority codes that look like them and are not, and who belongs where.

A province key is the level-1 code's first two digits (`44`), or `bt` for 新疆生产建设兵团, which has no level-1 code:
its cities are 6590xx, its MOT code is 33. 台湾, 香港 and 澳门 (71, 81, 82) take no part in the system.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mappings.tables import table

BINGTUAN = "bt"
"""Province key of 新疆生产建设兵团."""
_BINGTUAN_DIVISION = "6590"
OUTSIDE = frozenset({"71", "81", "82"})
"""Level-1 codes that take no part in the system; a vehicle may be registered there all the same."""


class Province(NamedTuple):
    """One of the 32 provincial systems: key, names, plate character and MOT authority code.

    兵团 shares the plate character 新 with 新疆: a plate alone cannot tell them apart and reads as 新疆.
    """

    key: str
    name_zh: str
    name_en: str
    character: str
    mot: str


def _load() -> dict[str, Province]:
    characters = {row["province"]: code for code, row in table("plate-characters").details.items()}
    mot = {row["province"]: code for code, row in table("mot").details.items() if row["province"]}
    found: dict[str, Province] = {}
    for code, row in table("gb2260").details.items():
        key = code[:2]
        if code.endswith("0000") and key not in OUTSIDE:
            found[key] = Province(key, row["name"], row["en"], characters[key], mot[key])
    found[BINGTUAN] = Province(BINGTUAN, "新疆生产建设兵团", "Xinjiang Bingtuan", characters["65"], mot[BINGTUAN])
    return found


PROVINCES: Mapping[str, Province] = MappingProxyType(_load())
"""The 31 provinces and 兵团 by key."""

BY_CHARACTER: Mapping[str, str] = MappingProxyType(
    {p.character: p.key for p in PROVINCES.values() if p.key != BINGTUAN}
)
"""Plate character -> province key (新 -> 65)."""

_BY_MOT: Mapping[str, str] = MappingProxyType({p.mot: p.key for p in PROVINCES.values()})


def by_character(character: str) -> str | None:
    """The province key of a plate character; 新 is 新疆, never 兵团."""
    return BY_CHARACTER.get(character)


def of_division(code: str) -> str | None:
    """The province key of a GB/T 2260 code (6 digits; 2 or 4 leading ones will do), or None.

    6590xx is 兵团. 66xxxx, which some systems use for 兵团, is not in the standard: None.
    """
    if not (code.isascii() and code.isdigit()):
        return None
    if code.startswith(_BINGTUAN_DIVISION):
        return BINGTUAN
    return code[:2] if code[:2] in PROVINCES else None


def of_company(companycode: str) -> str | None:
    """The province key of a company code by its leading division (15 digits; Shanghai 12), or None (test accounts)."""
    return of_division(companycode[:6])


def of_mot(code: str) -> str | None:
    """The province key of an MOT authority code: 33 is 兵团 and 31 is 宁夏, where GB/T 2260 has 浙江 and 上海."""
    return _BY_MOT.get(code)


def name_of(code: str) -> str | None:
    """The name of a 6-digit division as far as the table goes (see its index entry), or None."""
    return table("gb2260").name_of(code)
