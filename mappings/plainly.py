"""What is plainly clean about a repair record: the narrow checks that both quick judges share.

Each accepts only what no rule of domain table 9.1 has anything to say about. What it does not accept may be clean all
the same; the careful path (`mappings.judge`) finds out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from mappings import dates, plates
from mappings.divisions import BY_CHARACTER
from mappings.findings import INFO, Profile
from mappings.placeholders import is_placeholder

WORDS = frozenset({"null", "undefined", "n/a"})
"""Codes, in lower case, that mean nothing."""
SERIAL = "[0-9A-HJ-NP-Z]"
CODE, LIST_CODE = "[0-9A-Za-z|_./#-]", "[0-9A-Za-z_-]"
"""Characters of part codes and of settlement list codes, after a first letter or digit."""
FIRST = "[0-9A-Za-z]"
_LETTERS = {c: 2010 + i for i, c in enumerate("ABCDEFGHJKLMNPRSTVWXY")}
_YEARS = _LETTERS | {str(d): 2000 + d for d in range(1, 10)}
_LATER_YEARS = _LETTERS | {str(d): 2030 + d for d in range(1, 10)}
_LATER = 2030
"""From this year of receipt on a digit may stand for a year of the next cycle (`mappings.vin.model_year`)."""


def model_years(latest: date) -> Mapping[str, int]:
    """The latest year that a VIN's tenth character may stand for; a character that stands for none is not there."""
    return _YEARS if latest.year < _LATER else _LATER_YEARS


def text(longest: int) -> Callable[[str], str | None]:
    """A check of texts: printable, without blanks around, no placeholder, no report number, at most so long."""

    def check(raw: str) -> str | None:
        plain = raw.isprintable() and raw == raw.strip() and len(raw) <= longest
        return raw if plain and not is_placeholder(raw) and "报告编码" not in raw else None

    return check


_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,2})?").fullmatch


def amount(most: Decimal) -> Callable[[str], Decimal | None]:
    """A check of amounts: plain decimals over 0, at most so many."""

    def check(raw: str) -> Decimal | None:
        if not _NUMBER(raw):
            return None
        number = Decimal(raw)
        if not 0 < number <= most:
            return None
        whole = number.to_integral_value()
        return whole if whole == number else number.normalize()

    return check


def day(raw: str) -> date | None:
    """A check of dates: yyyyMMdd."""
    return dates.day(raw) if len(raw) == 8 and raw.isascii() and raw.isdigit() else None


def _head(remarks: bool) -> str:
    if not remarks:
        return f"[{''.join(BY_CHARACTER)}][A-Z]"
    heads: dict[str, str] = {}
    for prefix in sorted(plates.known_prefixes()):
        heads[prefix[0]] = heads.get(prefix[0], "") + prefix[1]
    return "(?:" + "|".join(f"{province}[{letters}]" for province, letters in heads.items()) + ")"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a profile allows, as patterns and numbers."""

    remarks: bool
    """Whether even a remark of severity info makes a record doubtful."""
    plate_head: str
    """Pattern of province and issuing letter."""
    mileage_digits: int
    longest_code: int
    """Characters that a part code may have."""
    longest_list_code: int
    """Characters that a settlement list code may have."""
    hours_per_project: Decimal
    hours_per_record: Decimal
    few: int
    """So many projects cannot be too many hours together."""

    def plates(self, ordinary: str) -> str:
        """The pattern of ordinary and new-energy plates (GA 36), given that of an ordinary plate's five characters."""
        return f"{self.plate_head}(?:{ordinary}|[A-HJK]{SERIAL}[0-9]{{4}}|[0-9]{{5}}[A-HJK])"


def bounds(profile: Profile, *, remarks: bool) -> Bounds:
    """The bounds of a profile.

    With `remarks` a clean record is one without any finding; without, one that has none but PLATE_LETTER_UNKNOWN: where
    findings of severity info are not kept, they need not be made.
    """
    lengths, limits = profile.lengths, profile.limits
    remarks = remarks or profile.severities["PLATE_LETTER_UNKNOWN"] != INFO
    per_project, per_record = Decimal(limits["hours_per_project"]), Decimal(limits["hours_per_record"])
    return Bounds(
        remarks=remarks,
        plate_head=_head(remarks),
        mileage_digits=min(6, len(str(limits["mileage_outlier"] + 1)) - 1),
        longest_code=max(lengths["parts.code"], 1),
        longest_list_code=max(lengths["costlistcode"], 1),
        hours_per_project=per_project,
        hours_per_record=per_record,
        few=int(per_record // per_project) if per_project else 0,
    )
