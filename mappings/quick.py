"""The quick path: repair records about which there is nothing to remark, recognised by generated code.

`compile_reader` turns a mapping's paths into straight-line code that takes a payload apart; `compile_judge` checks the raw
values and builds the row. Both answer None for everything that is not plainly clean, and the careful path
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
from string import ascii_uppercase
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mappings import dates, plates, vin
from mappings.divisions import BY_CHARACTER
from mappings.findings import Profile
from mappings.placeholders import is_placeholder
from mappings.records import RepairRow

Raw = tuple[Any, ...]
"""companycode (or None), companyname, plate, vin, repairdate, settledate, mileage, faultdescription, costlistcode,
parts and projects as lists of objects, all as sent."""

_MEMO_LIMIT = 65_536


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
    optional: frozenset[str] = frozenset({"companycode"})
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


def compile_reader(shape: Shape) -> Callable[[bytes], Raw | None]:
    """Code that takes one JSON payload of this shape apart, or answers None.

    Members beyond the shape, and members that occur twice, are seen by counting: the number of `":` in the bytes must
    equal the number of members found.
    """
    objects: dict[tuple[str, ...], str] = {(): "d"}
    lines: list[str] = []
    for path in [p[:-1] for p in (*shape.members.values(), shape.parts, shape.projects)]:
        for depth in range(1, len(path) + 1):
            prefix = path[:depth]
            if prefix not in objects:
                objects[prefix] = f"d{len(objects)}"
                lines.append(f"{objects[prefix]} = {objects[prefix[:-1]]}[{prefix[-1]!r}]")
    values = []
    for name in RepairRow._fields[:9]:
        path = shape.members[name]
        holder = objects[path[:-1]]
        values.append(f"{holder}.get({path[-1]!r})" if name in shape.optional else f"{holder}[{path[-1]!r}]")
    members = " + ".join(f"len({name})" for name in objects.values())
    rows = f"{len(shape.part)} * len(parts) + {len(shape.project)} * len(projects)"
    nested = len(objects) - 1
    exact = 2 + nested + len(shape.members)
    slack = [f"({p[-1]!r} not in {objects[p[:-1]]})" for n, p in shape.members.items() if n in shape.optional]
    extra = [f"({name!r} in d)" for name in sorted(shape.ignored)]
    wanted = " ".join([str(exact), *(f"- {s}" for s in slack), *(f"+ {e}" for e in extra)])
    source = "\n".join(
        [
            "def unwrap(body):",
            "    try:",
            "        d = loads(body)",
            *(f"        {line}" for line in lines),
            f"        parts = {objects[shape.parts[:-1]]}[{shape.parts[-1]!r}]",
            f"        projects = {objects[shape.projects[:-1]]}[{shape.projects[-1]!r}]",
            f"        raw = ({', '.join(values)}, parts, projects)",
            f"        found = {members}",
            f"        if found != {wanted}:",
            "            return None",
            f"        found += {rows}",
            "        if body.count(b':') != found and body.count(MARK) != found:",
            "            return None",
            "    except (ValueError, KeyError, TypeError, AttributeError):",
            "        return None",
            "    return raw",
        ]
    )
    return _compiled(source, "unwrap", {"loads": orjson.loads, "MARK": b'":'})


def _compiled(source: str, name: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    filename = f"<quick {name} {len(linecache.cache)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - made here; names of the mapping stand quoted
    function: Callable[..., Any] = namespace[name]
    return function


class _Doubtful(KeyError):
    """The careful path must look."""


class _Clean(dict[Any, Any]):
    """Memo of a check: raw value -> typed value; raises `_Doubtful` for what is not plainly clean."""

    def __init__(self, check: Callable[[str], Any]) -> None:
        super().__init__()
        self._check = check

    def __missing__(self, raw: Any) -> Any:
        value = self._check(raw) if type(raw) is str else None
        if value is None:
            raise _Doubtful
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        if len(raw) <= 256:
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
    characters = vin_matrix(vins)
    values = _VIN_VALUES[characters]
    right = (values.astype(np.int64) @ _VIN_WEIGHTS) % 11 == _VIN_DIGITS[characters[:, 8]]
    checked: list[bool] = (right & (values != 255).all(axis=1)).tolist()
    return checked


_WORDS = frozenset({"null", "undefined", "n/a"})
_YEARS = {c: 2010 + i for i, c in enumerate("ABCDEFGHJKLMNPRSTVWXY")} | {str(d): 2000 + d for d in range(1, 10)}
_PLATE_REST = re.compile(r"(?!(?:[0-9]*[A-Z]){3})[0-9A-HJ-NP-Z]{5}").fullmatch
_NEV_SMALL = re.compile(r"[A-HJK][0-9A-HJ-NP-Z][0-9]{4}").fullmatch
_NEV_LARGE = re.compile(r"[0-9]{5}[A-HJK]").fullmatch


_JUDGE = """
def judge(raws, company, latest):
    rows = []
    add = rows.append
    for raw, checked in zip(raws, CHECKED([raw[3] for raw in raws])):
        if not checked:
            add(None)
            continue
        companycode, companyname, plate, v, repaired, settled, km, fault, listcode, parts, projects = raw
        try:
            first = DAYS[repaired]
            last = DAYS[settled]
            parts = [(PARTS[p[%(partname)r]], QUANTITIES[p[%(quantity)r]], p[%(partcode)r]) for p in parts]
            projects = [(PROJECTS[p[%(projectname)r]], HOURS[p[%(hours)r]]) for p in projects]
            codes = [p[2] for p in parts]
            joined = km + listcode + "".join(codes)
            if (
                not first <= last <= latest
                or YEARS[v[9]] > first.year + 1
                or plate[:2] not in PREFIXES
                or not (REST(plate[2:]) if len(plate) == 7 else SMALL(plate[2:]) or LARGE(plate[2:]))
                or not (km.isdecimal() and km.isascii() and km[0] != "0" and len(km) < 7)
            ):
                add(None)
            elif not (
                joined.isalnum() and joined.isascii() and len(joined) <= SHORT and listcode
                and "n" not in joined and "N" not in joined and "" not in codes
            ) and not (LIST_CODE(listcode) and listcode.lower() not in WORDS and all([
                CODE(code) and code.lower() not in WORDS for code in codes
            ])):
                add(None)
            elif not (parts or projects) or len(projects) > FEW and sum([p[1] for p in projects]) > MOST_HOURS:
                add(None)
            else:
                add(NEW(ROW, (
                    CODES[companycode] if companycode is not None else CODES[company], COMPANIES[companyname], plate, v,
                    first, last, Decimal(km), FAULTS[fault], listcode, tuple(parts), tuple(projects),
                )))
        except (KeyError, IndexError, TypeError, AttributeError):
            add(None)
    return rows
"""


def compile_judge(
    profile: Profile, shape: Shape = NATIONAL, *, remarks: bool = True
) -> Callable[[Sequence[Raw], str, date], list[RepairRow | None]]:
    """A function (raw values, company of the envelope, latest settle date allowed) -> for each a clean row, or None.

    With `remarks` a clean record is one without any finding; without, one that has none but PLATE_LETTER_UNKNOWN: where
    findings of severity info are not kept, they need not be made.
    """
    lengths, limits = profile.lengths, profile.limits
    per_project, most_hours = Decimal(limits["hours_per_project"]), Decimal(limits["hours_per_record"])
    code_rest = max(lengths["parts.code"] - 1, 0)
    namespace: dict[str, Any] = {
        "CHECKED": check_vins,
        "YEARS": _YEARS,
        "DAYS": _Clean(_day),
        "PREFIXES": plates.known_prefixes()
        if remarks
        else frozenset(p + c for p in BY_CHARACTER for c in ascii_uppercase),
        "REST": _PLATE_REST,
        "SMALL": _NEV_SMALL,
        "LARGE": _NEV_LARGE,
        "LIST_CODE": re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,%d}" % max(lengths["costlistcode"] - 1, 0)).fullmatch,
        "SHORT": min(lengths["parts.code"], lengths["costlistcode"]),
        "CODE": re.compile(r"[0-9A-Za-z][0-9A-Za-z|_./#-]{0,%d}" % code_rest).fullmatch,
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
        "NEW": tuple.__new__,
        "ROW": RepairRow,
    }
    source = _JUDGE % {
        "partname": shape.part["name"],
        "quantity": shape.part["quantity"],
        "partcode": shape.part["code"],
        "projectname": shape.project["name"],
        "hours": shape.project["hours"],
    }
    return _compiled(source, "judge", namespace)


def compile_raw_judge(shapes: Sequence[Shape], profile: Profile) -> Callable[[bytes, str, date], RepairRow | None]:
    """Reader and judge in one, trying several shapes in turn: for places that handle single payloads."""
    readers = [compile_reader(shape) for shape in shapes]
    judges = [compile_judge(profile, shape) for shape in shapes]

    def run(body: bytes, company: str, latest: date) -> RepairRow | None:
        for reader, judge in zip(readers, judges, strict=True):
            raw = reader(body)
            if raw is not None:
                return judge([raw], company, latest)[0]
        return None

    return run


__all__ = ["NATIONAL", "Raw", "Shape", "compile_judge", "compile_raw_judge", "compile_reader"]
