"""The quick path's judge: generated code that tells plainly clean repair records from all others.

It answers None for everything that is not plainly clean, and the careful path (`mappings.judge`) then says what is
wrong; see `mappings.quick`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from itertools import repeat
from typing import Any

from mappings import plainly
from mappings.findings import Profile
from mappings.quick import Raw, compiled
from mappings.records import RepairRow
from mappings.vinarrays import check_vins

_MEMO_LIMIT = 65_536
_ORDINARY = f"(?!(?:[0-9]*[A-Z]){{3}}){plainly.SERIAL}{{5}}"
"""An ordinary plate's five characters: two letters at most."""


class _Doubtful(KeyError):
    """The careful path must look."""


class _Clean(dict[Any, Any]):
    """Memo of a check: raw value -> typed value; raises `_Doubtful` for what is not plainly clean."""

    def __init__(self, check: Callable[[str], Any]) -> None:
        super().__init__()
        self._check = check

    def __missing__(self, raw: object) -> object:
        value = self._check(raw) if type(raw) is str else None
        if value is None:
            raise _Doubtful
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        if len(raw) <= 256:  # type: ignore[arg-type] # a text, since it has a value
            self[raw] = value
        return value


_JUDGE = """
def judge(raws, companies, latest):
    rows = []
    add = rows.append
    years = YEARS(latest)
    plain = PLAIN(raws)
    companies = REPEAT(companies) if type(companies) is str else companies
    for raw, checked, company in zip(raws, CHECKED([raw[3] for raw in raws]), companies):
        if not checked:
            add(None)
            continue
        companycode, companyname, plate, v, repaired, settled, km, fault, listcode, parts, projects = raw
        try:
            first = DAYS[repaired]
            last = DAYS[settled]
            rows_of_parts = [(PARTS[p.name], QUANTITIES[p.quantity], p.code) for p in parts]
            projects = [(PROJECTS[p.name], HOURS[p.hours]) for p in projects]
            if (
                not first <= last <= latest
                or years[v[9]] > first.year + 1
                or not PLATE(plate)
                or not (km.isdecimal() and km.isascii() and km[0] != "0" and len(km) <= KM_DIGITS)
            ):
                add(None)
            elif not (
                plain and listcode.isalnum() and listcode.isascii() and len(listcode) <= SHORT
                and "n" not in listcode and "N" not in listcode
            ) and not (LIST_CODE(listcode) and listcode.lower() not in WORDS and all([
                CODE(p.code) and p.code.lower() not in WORDS for p in parts
            ])):
                add(None)
            elif not (parts or projects) or len(projects) > FEW and sum([p[1] for p in projects]) > MOST_HOURS:
                add(None)
            else:
                add(NEW(ROW, (
                    CODES[companycode] if companycode is not None else CODES[company], COMPANIES[companyname], plate, v,
                    first, last, Decimal(km), FAULTS[fault], listcode, tuple(rows_of_parts), tuple(projects),
                )))
        except (KeyError, IndexError, TypeError, AttributeError):
            add(None)
    return rows
"""


def _code(characters: str, longest: int) -> Callable[[str], Any]:
    return re.compile(f"{plainly.FIRST}{characters}{{0,{longest - 1}}}").fullmatch


def _plain_codes(longest: int) -> Callable[[Sequence[Raw]], bool]:
    """A check of all part codes of a block at once: ASCII letters and digits, and no word that means nothing."""

    def plain(raws: Sequence[Raw]) -> bool:
        try:
            codes = [part.code for raw in raws for part in raw[9]]
            joined = "".join(codes)
        except TypeError:
            return False
        if not codes:
            return True
        lengths = set(map(len, codes))
        fit = joined.isalnum() and joined.isascii() and "n" not in joined and "N" not in joined
        return fit and min(lengths) > 0 and max(lengths) <= longest

    return plain


def compile_judge(
    profile: Profile, *, remarks: bool = True, day: Callable[[str], date | None] = plainly.day
) -> Callable[[Sequence[Raw], str | Sequence[str], date], list[Any]]:
    """A function (raw values, company of the envelopes, latest settle date allowed) -> for each a clean row, or None.

    The company is one for all, or one for each. `remarks`: see `mappings.plainly.bounds`. `day` reads plain dates.
    """
    lengths, most = profile.lengths, plainly.bounds(profile, remarks=remarks)
    short = min(most.longest_code, most.longest_list_code)
    namespace: dict[str, Any] = {
        "CHECKED": check_vins,
        "YEARS": plainly.model_years,
        "KM_DIGITS": most.mileage_digits,
        "DAYS": _Clean(day),
        "PLATE": re.compile(most.plates(_ORDINARY)).fullmatch,
        "LIST_CODE": _code(plainly.LIST_CODE, most.longest_list_code),
        "SHORT": short,
        "CODE": _code(plainly.CODE, most.longest_code),
        "WORDS": plainly.WORDS,
        "PARTS": _Clean(plainly.text(lengths["parts.name"])),
        "PROJECTS": _Clean(plainly.text(lengths["projects.name"])),
        "QUANTITIES": _Clean(plainly.amount(Decimal(10**6))),
        "HOURS": _Clean(plainly.amount(most.hours_per_project)),
        "FEW": most.few,
        "MOST_HOURS": most.hours_per_record,
        "CODES": _Clean(plainly.text(lengths["companycode"])),
        "COMPANIES": _Clean(plainly.text(lengths["companyname"])),
        "FAULTS": _Clean(plainly.text(lengths["faultdescription"])),
        "Decimal": Decimal,
        "REPEAT": repeat,
        "NEW": tuple.__new__,
        "ROW": RepairRow,
        "PLAIN": _plain_codes(short),
    }
    return compiled(_JUDGE, "judge", namespace)
