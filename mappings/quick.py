"""The quick path: repair records about which there is nothing to remark, recognised by generated code.

`compile_reader` turns a mapping's paths into straight-line code that takes a payload apart; `mappings.quickjudge`
checks the raw values and builds the row. Both answer None for everything that is not plainly clean, and the careful
path (`mappings.reading`) then says what is wrong: so the quick path may be narrow but must never be kinder. A property
test holds both together: whenever the quick path gives a row, the careful path gives the same row and no finding.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec

from mappings.judging import REPAIR, Draft
from mappings.records import RepairRow
from mappings.trees import DEFAULT_LIMITS, Limits

Raw = tuple[Any, ...]
"""A payload taken apart: the members of `RepairRow` in order, as sent, all of them text; companycode may be None; parts
(name, quantity, code) and projects (name, hours) are lists of objects with these attributes."""

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
    part = row_type("Part", shape.part)
    project = row_type("Project", shape.project)
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
    return compiled(source, "unwrap", {"whole": whole, "partial": partial, "ERRORS": errors, **marks})


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


def row_type(name: str, members: Mapping[str, str]) -> type[msgspec.Struct]:
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


def compiled(source: str, name: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    """The function of this name in generated source, whose lines tracebacks can show."""
    filename = f"<quick {name} {len(linecache.cache)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - made here; names of the mapping are attributes
    function: Callable[..., Any] = namespace[name]
    return function


def draft_maker(shape: Shape, dialect: str) -> Callable[[Raw], Draft]:
    """A function that makes the draft of raw values that a reader took apart: what `mappings.reading.read` gives."""
    wire = wire_names(shape)

    def draft(raw: Raw) -> Draft:
        members: dict[str, Any] = {name: value for name, value in zip(_MEMBERS, raw, strict=True) if value is not None}
        members["parts"] = [{"name": p.name, "quantity": p.quantity, "code": p.code} for p in raw[9]]
        members["projects"] = [{"name": p.name, "hours": p.hours} for p in raw[10]]
        return Draft(REPAIR, dialect, members, wire)

    return draft


def wire_names(shape: Shape) -> dict[str, str]:
    """Canonical members -> the paths that they come from, as drafts tell them."""
    wire = {name: ".".join(path) for name, path in shape.members.items()}
    for rows, path, columns in (("parts", shape.parts, shape.part), ("projects", shape.projects, shape.project)):
        wire[rows] = ".".join(path)
        wire |= {f"{rows}[].{name}": f"{'.'.join(path)}[].{member}" for name, member in columns.items()}
    return wire
