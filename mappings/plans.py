"""Mapping files compiled: per shape one pydantic-core validator that takes all canonical members in one pass.

Field paths become alias paths of a typed dict, translations become functions within it. What does not fit (a list where
a text belongs) is left out by a second, forgiving validator and noted as STRUCTURE_WRONG.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic_core import SchemaValidator, ValidationError, core_schema

from mappings.layout import Layout, Recognise, Rule, Section, Shape
from mappings.paths import Path, parse_path
from mappings.retype import converter
from mappings.trees import Json

ROWS = {"parts": "\0parts", "projects": "\0projects"}
"""Where gathered rows stand in the tree for the validator: names that no payload can hold (NUL is replaced)."""

CSV_ROWS = "\0rows"
"""Where the lines of a CSV payload stand in its tree."""

_PROVENANCE = "\0provenance"


@dataclass(frozen=True)
class Condition:
    """A `recognise` table, its paths parsed."""

    all: tuple[Path, ...]
    any: tuple[Path, ...]
    at_least: int
    none: tuple[Path, ...]
    equals: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class SectionPlan:
    """Where the rows of one section are and which of them count."""

    name: str
    path: Path
    members: Mapping[Path, str]
    """Path of a member within its row -> our name."""
    where: str
    equals: frozenset[str]
    others: frozenset[str]
    """Values of `where` that belong to another section or are left out on purpose."""
    split: re.Pattern[str] | None
    merge_by: str
    distinct: bool


@dataclass(frozen=True)
class Plan:
    """One shape, ready to run."""

    dialect: str
    shape: Shape
    csv: bool
    condition: Condition
    containers: tuple[Path, ...]
    """Objects on the way to members, outermost first."""
    known: Mapping[Path, frozenset[str]]
    sections: tuple[SectionPlan, ...]
    order: Path
    demanded: tuple[tuple[Path, str], ...]
    """Paths whose absence is flagged, parsed and as the mapping spells them."""
    canonical: Mapping[Path, str]
    """Path of a member -> our name (`("vehiclepartslist", "[]", "partsname")` -> `parts[].name`)."""
    choices: tuple[tuple[str, tuple[Path, ...]], ...]
    """Members that may stand at several paths."""
    wire: Mapping[str, str]
    """Our name -> the partner's path, the envelope's included, as the mapping spells it; outside rows only where it
    differs."""
    prefix: str
    """The envelope's path with its dot."""
    strict: SchemaValidator
    forgiving: SchemaValidator

    def run(self, tree: dict[str, Json]) -> tuple[dict[str, Any], list[tuple[tuple[str | int, ...], Json]]]:
        """Extract from an opened tree: canonical members, and the places whose values are no scalars."""
        try:
            return self.strict.validate_python(tree), []
        except ValidationError as error:
            wrong = [(entry["loc"], entry["input"]) for entry in error.errors(include_url=False, include_context=False)]
            return self.forgiving.validate_python(tree), wrong


_COMPILED: dict[int, tuple[Layout, tuple[Plan, ...]]] = {}
_COMPILED_MOST = 128


def plans_of(layout: Layout) -> tuple[Plan, ...]:
    """The layout's shapes compiled, once for each layout object (layouts are frozen)."""
    held = _COMPILED.get(id(layout))
    if held is None:
        if len(_COMPILED) >= _COMPILED_MOST:
            _COMPILED.clear()
        # The layout is kept beside its plans, so that its id is not given to another one meanwhile.
        held = _COMPILED[id(layout)] = (layout, tuple(_plan(layout, shape) for shape in layout.shape))
    return held[1]


def condition_of(recognise: Recognise, *, whole: bool = False) -> Condition:
    """A `recognise` table with its paths parsed."""

    def parsed(paths: tuple[str, ...]) -> tuple[Path, ...]:
        return tuple(parse_path(path, whole=whole) for path in paths)

    equals = tuple((parse_path(path, whole=whole), value) for path, value in recognise.equals.items())
    return Condition(parsed(recognise.all), parsed(recognise.any), recognise.at_least, parsed(recognise.none), equals)


def _plan(layout: Layout, shape: Shape) -> Plan:
    whole = layout.format == "csv"
    prefix = f"{layout.envelope.path}." if layout.envelope else ""
    given = [(name, section) for name in ROWS if (section := getattr(shape, name)) is not None]
    sections = tuple(_section(name, section, given, whole=whole) for name, section in given)
    members = _paths(shape.members, whole=whole)
    extra = _paths(shape.provenance, whole=whole)
    canonical: dict[Path, str] = {path: name for name, paths in members.items() for path in paths}
    rows: dict[str, dict[str, tuple[Path, ...]]] = {}
    for (name, section), plan in zip(given, sections, strict=True):
        rows[name] = _paths(section.members, whole=whole)
        canonical[plan.path] = name
        for member, paths in rows[name].items():
            canonical |= {(*plan.path, "[]", *path): f"{name}[].{member}" for path in paths}
    order = parse_path(shape.order, whole=whole) if shape.order else ()
    demanded = tuple((parse_path(path, whole=whole), path) for path in shape.demanded)
    ignored = (*(parse_path(path, whole=whole) for path in shape.ignored), *(path for path, _ in demanded))
    scalars = [path for paths in (*members.values(), *extra.values()) for path in paths]
    everything = [*scalars, *canonical, *ignored, *([order] if order else [])]
    everything += [(*plan.path, "[]", plan.where) for plan in sections if plan.where]
    return Plan(
        dialect=layout.name,
        shape=shape,
        csv=whole,
        condition=condition_of(shape.recognise, whole=whole),
        containers=tuple(sorted({path[:end] for path in scalars for end in range(1, len(path))}, key=len)),
        known=_flat(_known(everything, ignored)) if whole else _known(everything, ignored),
        sections=sections,
        order=order,
        demanded=demanded,
        canonical=canonical,
        choices=tuple((name, paths) for name, paths in members.items() if len(paths) > 1),
        wire=_wire(shape, given, prefix),
        prefix=prefix,
        strict=_validator(shape, members, extra, rows, omit=False),
        forgiving=_validator(shape, members, extra, rows, omit=True),
    )


def _paths(members: Mapping[str, Rule], *, whole: bool) -> dict[str, tuple[Path, ...]]:
    return {name: tuple(parse_path(path, whole=whole) for path in rule.from_) for name, rule in members.items()}


def _section(name: str, section: Section, all_: list[tuple[str, Section]], *, whole: bool) -> SectionPlan:
    siblings = [other for _, other in all_ if other.from_ == section.from_]
    others = {value for other in siblings for value in (*other.equals, *other.skip)}
    return SectionPlan(
        name=name,
        path=(CSV_ROWS,) if whole else parse_path(section.from_),
        members={path: member for member, paths in _paths(section.members, whole=whole).items() for path in paths},
        where=parse_path(section.where, whole=True)[0] if section.where else "",
        equals=frozenset(value.lower() for value in section.equals),
        others=frozenset(value.lower() for value in others),
        split=re.compile(section.split) if section.split else None,
        merge_by=section.merge_by,
        distinct=section.distinct,
    )


def _known(paths: list[Path], ignored: tuple[Path, ...]) -> dict[Path, frozenset[str]]:
    """Container -> names that may stand in it; containers that are only ignored are not listed, and not entered."""
    known: dict[Path, set[str]] = {}
    used = [path for path in paths if path not in ignored]
    entered = {path[:end] for path in used for end in range(len(path))}
    for path in paths:
        for end, name in enumerate(path):
            if name != "[]" and path[:end] in entered:
                known.setdefault(path[:end], set()).add(name)
    return {path: frozenset(names) for path, names in known.items()}


def _flat(known: dict[Path, frozenset[str]]) -> dict[Path, frozenset[str]]:
    """A CSV payload has one kind of line: every known column may stand in it."""
    return {(): frozenset().union(*known.values())}


def _wire(shape: Shape, given: list[tuple[str, Section]], prefix: str) -> dict[str, str]:
    wire = {name: rule.from_[0] for name, rule in shape.members.items() if rule.from_}
    for name, section in given:
        wire[name] = section.from_
        wire |= {f"{name}[].{m}": f"{section.from_}[].{r.from_[0]}" for m, r in section.members.items() if r.from_}
    return {name: prefix + path for name, path in wire.items() if "[]" in name or name != prefix + path}


def _validator(
    shape: Shape,
    members: Mapping[str, tuple[Path, ...]],
    extra: Mapping[str, tuple[Path, ...]],
    rows: Mapping[str, Mapping[str, tuple[Path, ...]]],
    *,
    omit: bool,
) -> SchemaValidator:
    fields = {name: _field(shape.members[name], paths, omit=omit) for name, paths in members.items()}
    for name, paths_of in rows.items():
        rules: Section = getattr(shape, name)
        row = {member: _field(rules.members[member], paths, omit=omit) for member, paths in paths_of.items()}
        rows_schema = core_schema.list_schema(_forgive(core_schema.typed_dict_schema(row), omit=omit))
        fields[name] = core_schema.typed_dict_field(rows_schema, required=False, validation_alias=ROWS[name])
    # Provenance comes from the same tree but must not mix with the members: its names are marked.
    for name, paths in extra.items():
        fields[_PROVENANCE + name] = _field(shape.provenance[name], paths, omit=omit)
    return SchemaValidator(core_schema.typed_dict_schema(fields))


def split_provenance(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `Plan.run` found, apart: members and provenance."""
    extra = {name.removeprefix(_PROVENANCE): found.pop(name) for name in list(found) if name.startswith(_PROVENANCE)}
    return found, extra


def _field(rule: Rule, paths: tuple[Path, ...], *, omit: bool) -> core_schema.TypedDictField:
    schema: core_schema.CoreSchema = core_schema.list_schema(core_schema.str_schema()) if rule.list_ else _SCALAR
    convert = converter(rule)
    if convert is not None:
        schema = core_schema.no_info_after_validator_function(convert, schema)
    schema = _forgive(schema, omit=omit)
    if rule.constant is not None:
        schema = core_schema.with_default_schema(schema, default=rule.constant)
    alias: list[list[str | int]] = [[*path] for path in paths] or [["\0constant"]]
    return core_schema.typed_dict_field(schema, required=False, validation_alias=alias)


def _forgive(schema: core_schema.CoreSchema, *, omit: bool) -> core_schema.CoreSchema:
    return core_schema.with_default_schema(schema, on_error="omit") if omit else schema


_SCALAR = core_schema.union_schema(
    [
        core_schema.str_schema(strict=True),
        core_schema.bool_schema(strict=True),
        core_schema.int_schema(strict=True),
        core_schema.none_schema(),
        core_schema.is_instance_schema(Decimal),
    ],
    mode="left_to_right",
    custom_error_type="scalar",
    custom_error_message="a text or a number",
)
