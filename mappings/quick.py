"""The quick path: repair records about which there is nothing to remark, recognised by generated code.

`compile_reader` turns a mapping's paths into straight-line code that takes a payload apart; `compile_judge` checks the
raw values and builds the row. Both answer None for everything that is not plainly clean, and the careful path
(`mappings.reading`) then says what is wrong: so the quick path may be narrow but must never be kinder. A property
test holds both together: whenever the quick path gives a row, the careful path gives the same row and no finding.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mappings import dates, plates, vin
from mappings.divisions import BY_CHARACTER
from mappings.findings import INFO, Profile
from mappings.judging import REPAIR, Draft
from mappings.numbers import number
from mappings.placeholders import is_placeholder
from mappings.records import Part, Project, RepairRow, SentRow
from mappings.trees import DEFAULT_LIMITS, Limits

Raw = tuple[Any, ...]
"""A payload taken apart: the members of `RepairRow` in order, as sent, all of them text; companycode may be None; parts
(name, quantity, code) and projects (name, hours) are lists of objects with these attributes."""

_MEMO_LIMIT = 65_536
_MEMBERS = RepairRow._fields


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a mapping finds a repair record's members: paths of wire names, exact case.

    `ignored` are top-level members that may be there and carry nothing (access_token).
    """

    members: Mapping[str, tuple[str, ...]]
    parts: tuple[str, ...]
    part: Mapping[str, str]
    projects: tuple[str, ...]
    project: Mapping[str, str]
    ignored: frozenset[str] = frozenset()


NATIONAL = Shape(
    members={
        "companycode": ("basicInfo", "companycode"),
        "companyname": ("basicInfo", "companyname"),
        "plate": ("basicInfo", "vehicleplatenumber"),
        "vin": ("basicInfo", "vin"),
        "repairdate": ("basicInfo", "repairdate"),
        "settledate": ("basicInfo", "settledate"),
        "mileage": ("basicInfo", "repairmileage"),
        "faultdescription": ("basicInfo", "faultdescription"),
        "costlistcode": ("basicInfo", "costlistcode"),
    },
    parts=("vehiclepartslist",),
    part={"name": "partsname", "quantity": "partsquantity", "code": "partscode"},
    projects=("repairprojectlist",),
    project={"name": "repairproject", "hours": "workinghours"},
    ignored=frozenset({"access_token"}),
)
"""The national interface (domain 1.2), with or without companycode in basicInfo."""


def compile_block_reader(
    shape: Shape, limits: Limits = DEFAULT_LIMITS
) -> Callable[[Sequence[bytes]], list[Raw | None]]:
    """A function that takes JSON payloads of this shape apart; None for each that it leaves to the careful path.

    The shape becomes nested `msgspec` types: a member beyond it or one that is not text is refused as it is parsed; one
    that is missing is None. A member that occurs twice is seen by counting: every member has a colon. Where texts hold
    colons too, what is counted are the colons right after a quote, and none may stand behind a blank. An escaped NUL
    and what comes near the limits are refused.
    """
    part = _struct("Part", shape.part)
    project = _struct("Project", shape.project)
    leaves: dict[tuple[str, ...], Any] = {path: str for path in shape.members.values()}
    leaves[shape.parts], leaves[shape.projects] = list[part], list[project]  # type: ignore[valid-type]
    holders = {path[:-1] for path in leaves}
    whole, partial = (msgspec.json.Decoder(_nested((), leaves, shape, lenient)).decode for lenient in (False, True))
    places = {**shape.members, "parts": shape.parts, "projects": shape.projects}
    prefixes = sorted({h[:i] for h in holders for i in range(1, len(h) + 1)})
    locals_ = {(): "d"} | {prefix: f"d{i}" for i, prefix in enumerate(prefixes)}
    hoisted = [f"{locals_[x]} = {locals_[x[:-1]]}.{_attribute(x[-1])}" for x in prefixes]
    reads = ", ".join(f"{locals_[places[n][:-1]]}.{_attribute(places[n][-1])}" for n in _MEMBERS)
    fixed = len(prefixes) + len(places) - 1
    most = fixed + min(len(shape.part), len(shape.project)) * limits.rows
    optional = "".join(f" + (d.{_attribute(name)} is not None)" for name in sorted(shape.ignored))
    source = _READER.format(
        hoisted="\n            ".join(hoisted),
        hoisted_once="\n    ".join(hoisted),
        reads=reads,
        members=f"{fixed} + (raw[0] is not None){optional}"
        f" + {len(shape.part)} * len(raw[9]) + {len(shape.project)} * len(raw[10])",
        most=most,
        longest=limits.payload_bytes,
        surely=min(limits.payload_bytes, most * _SHORTEST_MEMBER),
    )
    errors = (msgspec.MsgspecError, ValueError)
    marks = {"MARK": b'":', "ESCAPE": b"\\", "NUL": b"\\u0000", "GAP": _GAP}
    return _compiled(source, "unwrap", {"whole": whole, "partial": partial, "ERRORS": errors, **marks})


_READER = """
def unwrap(bodies):
    raws = []
    add = raws.append
    colons = 0
    odd = []
    for body in bodies:
        try:
            d = whole(body)
        except ERRORS:
            odd.append(body)
            add(doubtful(body))
        else:
            {hoisted}
            raw = ({reads})
            colons += {members}
            add(raw)
    joined = b"".join(bodies)
    if (
        joined.count(b":") != colons + sum([body.count(b":") for body in odd])
        or ESCAPE in joined
        or len(max(bodies, key=len, default=b"")) > {surely}
    ):
        return [doubtful(body) for body in bodies]
    return raws

def doubtful(body):
    lacking = False
    try:
        d = whole(body)
    except ERRORS:
        lacking = True
        try:
            d = partial(body)
        except ERRORS:
            return None
    {hoisted_once}
    raw = ({reads})
    members = {members}
    if body.count(b":") != members or lacking or ESCAPE in body:
        members -= raw[1:].count(None)
        if body.count(b":") != members and (body.count(MARK) != members or GAP(body)) or NUL in body:
            return None
    return raw if members <= {most} and len(body) <= {longest} else None
"""
"""Source of a block reader. A member has a colon at least, so the colons of a block are as many as its members only if
they are in each payload; else its payloads are looked at one by one."""
_SHORTEST_MEMBER = 5
"""Bytes of `"":""`."""
_GAP = re.compile(rb'"[ \t\r\n]+:').search


def compile_reader(shape: Shape, limits: Limits = DEFAULT_LIMITS) -> Callable[[bytes], Raw | None]:
    """The block reader for one payload."""
    many = compile_block_reader(shape, limits)
    return lambda body: many((body,))[0]


def _attribute(member: str) -> str:
    return f"m_{member}" if member.isidentifier() else f"m_{member.encode().hex()}"


class _Row(msgspec.Struct):
    """Base of a generated row type. Such types have no name in a module, so a row travels as its attributes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (msgspec.structs.asdict(self),)


def _revived(members: dict[str, str]) -> SimpleNamespace:
    return SimpleNamespace(**members)


def _struct(name: str, members: Mapping[str, str]) -> type[msgspec.Struct]:
    """A type whose attributes are canonical names and whose members are wire names, all text."""
    return msgspec.defstruct(
        name,
        [(field, str) for field in members],
        bases=(_Row,),
        rename=dict(members),
        forbid_unknown_fields=True,
        gc=False,
    )


def _nested(
    prefix: tuple[str, ...], leaves: Mapping[tuple[str, ...], Any], shape: Shape, lenient: bool
) -> type[msgspec.Struct]:
    """The type of the object at a path, with its members and nested objects; lenient: any member may be missing."""
    steps = dict.fromkeys(path[len(prefix)] for path in leaves if path[: len(prefix)] == prefix)
    fields: list[Any] = []
    for step in steps:
        path = (*prefix, step)
        inner = leaves[path] if path in leaves else _nested(path, leaves, shape, lenient)
        optional = path == shape.members["companycode"] or (lenient and path in shape.members.values())
        fields.append((_attribute(step), inner | None, None) if optional else (_attribute(step), inner))
    if not prefix:
        fields += [(_attribute(name), str | None, None) for name in shape.ignored]
    fields.sort(key=len)
    names = {_attribute(step): step for step in (*steps, *(shape.ignored if not prefix else ()))}
    return msgspec.defstruct("Object", fields, rename=names, forbid_unknown_fields=True, gc=False)


def _compiled(source: str, name: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    filename = f"<quick {name} {len(linecache.cache)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - made here; names of the mapping are attributes
    function: Callable[..., Any] = namespace[name]
    return function


def draft_maker(shape: Shape, dialect: str) -> Callable[[Raw], Draft]:
    """A function that makes the draft of raw values that a reader took apart: what `mappings.reading.read` gives."""
    wire = {name: ".".join(path) for name, path in shape.members.items()}
    for rows, path, columns in (("parts", shape.parts, shape.part), ("projects", shape.projects, shape.project)):
        wire[rows] = ".".join(path)
        wire |= {f"{rows}[].{name}": f"{'.'.join(path)}[].{member}" for name, member in columns.items()}

    def draft(raw: Raw) -> Draft:
        members: dict[str, Any] = {name: value for name, value in zip(_MEMBERS, raw, strict=True) if value is not None}
        members["parts"] = [{"name": p.name, "quantity": p.quantity, "code": p.code} for p in raw[9]]
        members["projects"] = [{"name": p.name, "hours": p.hours} for p in raw[10]]
        return Draft(REPAIR, dialect, members, wire)

    return draft


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


_VIN_VALUES = np.full(128, 255, np.uint8)
_VIN_DIGITS = np.full(128, 254, np.int64)
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
    characters = vin_matrix(vins)
    values = _VIN_VALUES[characters]
    right = (values.astype(np.int64) @ _VIN_WEIGHTS) % 11 == _VIN_DIGITS[characters[:, 8]]
    checked: list[bool] = (right & (values != 255).all(axis=1)).tolist()
    return checked


def _checked(one: str) -> bool:
    if type(one) is not str or len(one) != vin.LENGTH or not vin.is_alphabet(one):
        return False
    return vin.check_digit(one) == one[8]


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
    return _compiled(_JUDGE.format(**(_AS_SENT if as_sent else _TYPED)), "judge", namespace)


def typed(row: RepairRow | SentRow) -> RepairRow:
    """A row with its amounts as decimals."""
    if not isinstance(row, SentRow):
        return row
    parts = tuple([Part(p.name, number(p.quantity), p.code) for p in row.parts])
    projects = tuple([Project(p.name, number(p.hours)) for p in row.projects])
    return RepairRow(*row[:6], Decimal(row.mileage), *row[7:9], parts, projects)


__all__ = [
    "NATIONAL",
    "Raw",
    "Shape",
    "compile_block_reader",
    "compile_judge",
    "compile_reader",
    "draft_maker",
    "typed",
]
