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

from mappings import dates, plates
from mappings.divisions import BY_CHARACTER
from mappings.findings import INFO, Profile
from mappings.numbers import number
from mappings.placeholders import is_placeholder
from mappings.quick import Raw, compiled
from mappings.records import Part, Project, RepairRow, SentRow
from mappings.vinarrays import check_vins

_MEMO_LIMIT = 65_536


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


def _text(longest: int) -> Callable[[str], str | None]:
    def check(raw: str) -> str | None:
        plain = raw.isprintable() and raw == raw.strip() and len(raw) <= longest
        return raw if plain and not is_placeholder(raw) and "报告编码" not in raw else None

    return check


_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,2})?").fullmatch


def _positive(most: Decimal) -> Callable[[str], Decimal | None]:
    def check(raw: str) -> Decimal | None:
        if not _NUMBER(raw):
            return None
        number = Decimal(raw)
        if not 0 < number <= most:
            return None
        whole = number.to_integral_value()
        return whole if whole == number else number.normalize()

    return check


def _day(raw: str) -> date | None:
    return dates.day(raw) if len(raw) == 8 and raw.isascii() and raw.isdigit() else None


_WORDS = frozenset({"null", "undefined", "n/a"})
_LETTER_YEARS = {c: 2010 + i for i, c in enumerate("ABCDEFGHJKLMNPRSTVWXY")}
_YEARS = _LETTER_YEARS | {str(d): 2000 + d for d in range(1, 10)}
_LATER_YEARS = _LETTER_YEARS | {str(d): 2030 + d for d in range(1, 10)}
_LATER = 2030
"""From this year of receipt on a digit may stand for a year of the next cycle (`mappings.vin.model_year`)."""
_SERIAL = "[0-9A-HJ-NP-Z]"


def _plate_check(remarks: bool) -> Callable[[str], Any]:
    """A check for ordinary and new-energy plates (GA 36), with known issuing letters only or with any."""
    if remarks:
        heads: dict[str, str] = {}
        for prefix in sorted(plates.known_prefixes()):
            heads[prefix[0]] = heads.get(prefix[0], "") + prefix[1]
        head = "(?:" + "|".join(f"{province}[{letters}]" for province, letters in heads.items()) + ")"
    else:
        head = f"[{''.join(BY_CHARACTER)}][A-Z]"
    ordinary = f"(?!(?:[0-9]*[A-Z]){{3}}){_SERIAL}{{5}}"
    return re.compile(f"{head}(?:{ordinary}|[A-HJK]{_SERIAL}[0-9]{{4}}|[0-9]{{5}}[A-HJK])").fullmatch


_JUDGE = """
def judge(raws, companies, latest):
    rows = []
    add = rows.append
    years = YEARS if latest.year < LATER else LATER_YEARS
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
            {parts}
            {projects}
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
                CODE(p.code) and p.code.lower() not in WORDS for p in {coded}
            ])):
                add(None)
            elif not (parts or projects) or len(projects) > FEW and sum({hours}) > MOST_HOURS:
                add(None)
            else:
                add(NEW(ROW, (
                    CODES[companycode] if companycode is not None else CODES[company], COMPANIES[companyname], plate, v,
                    first, last, {km}, FAULTS[fault], listcode, {kept_parts}, {kept_projects},
                )))
        except (KeyError, IndexError, TypeError, AttributeError):
            add(None)
    return rows
"""
_TYPED = {
    "parts": "rows_of_parts = [(PARTS[p.name], QUANTITIES[p.quantity], p.code) for p in parts]",
    "projects": "projects = [(PROJECTS[p.name], HOURS[p.hours]) for p in projects]",
    "coded": "parts",
    "hours": "[p[1] for p in projects]",
    "km": "Decimal(km)",
    "kept_parts": "tuple(rows_of_parts)",
    "kept_projects": "tuple(projects)",
}
_AS_SENT = {
    "parts": "[PARTS[p.name] and QUANTITIES[p.quantity] for p in parts]",
    "projects": "worked = [PROJECTS[p.name] and HOURS[p.hours] for p in projects]",
    "coded": "parts",
    "hours": "worked",
    "km": "km",
    "kept_parts": "parts",
    "kept_projects": "projects",
}


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
    profile: Profile, *, remarks: bool = True, as_sent: bool = False
) -> Callable[[Sequence[Raw], str | Sequence[str], date], list[Any]]:
    """A function (raw values, company of the envelopes, latest settle date allowed) -> for each a clean row, or None.

    The company is one for all, or one for each.

    The rows are `RepairRow`, or `SentRow` with `as_sent`: where rows only go into files their amounts need no types.

    With `remarks` a clean record is one without any finding; without, one that has none but PLATE_LETTER_UNKNOWN: where
    findings of severity info are not kept, they need not be made.
    """
    lengths, limits = profile.lengths, profile.limits
    remarks = remarks or profile.severities["PLATE_LETTER_UNKNOWN"] != INFO
    per_project, most_hours = Decimal(limits["hours_per_project"]), Decimal(limits["hours_per_record"])
    code_rest, list_rest = max(lengths["parts.code"] - 1, 0), max(lengths["costlistcode"] - 1, 0)
    namespace: dict[str, Any] = {
        "CHECKED": check_vins,
        "YEARS": _YEARS,
        "LATER_YEARS": _LATER_YEARS,
        "LATER": _LATER,
        "KM_DIGITS": min(6, len(str(limits["mileage_outlier"] + 1)) - 1),
        "DAYS": _Clean(_day),
        "PLATE": _plate_check(remarks),
        "LIST_CODE": re.compile(f"[0-9A-Za-z][0-9A-Za-z_-]{{0,{list_rest}}}").fullmatch,
        "SHORT": min(lengths["parts.code"], lengths["costlistcode"]),
        "CODE": re.compile(f"[0-9A-Za-z][0-9A-Za-z|_./#-]{{0,{code_rest}}}").fullmatch,
        "WORDS": _WORDS,
        "PARTS": _Clean(_text(lengths["parts.name"])),
        "PROJECTS": _Clean(_text(lengths["projects.name"])),
        "QUANTITIES": _Clean(_positive(Decimal(10**6))),
        "HOURS": _Clean(_positive(per_project)),
        "FEW": int(most_hours // per_project) if per_project else 0,
        "MOST_HOURS": most_hours,
        "CODES": _Clean(_text(lengths["companycode"])),
        "COMPANIES": _Clean(_text(lengths["companyname"])),
        "FAULTS": _Clean(_text(lengths["faultdescription"])),
        "Decimal": Decimal,
        "REPEAT": repeat,
        "NEW": tuple.__new__,
        "ROW": SentRow if as_sent else RepairRow,
        "PLAIN": _plain_codes(min(lengths["parts.code"], lengths["costlistcode"])),
    }
    return compiled(_JUDGE.format(**(_AS_SENT if as_sent else _TYPED)), "judge", namespace)


def typed(row: RepairRow | SentRow) -> RepairRow:
    """A row with its amounts as decimals."""
    if not isinstance(row, SentRow):
        return row
    parts = tuple([Part(p.name, number(p.quantity), p.code) for p in row.parts])
    projects = tuple([Project(p.name, number(p.hours)) for p in row.projects])
    return RepairRow(*row[:6], Decimal(row.mileage), *row[7:9], parts, projects)
