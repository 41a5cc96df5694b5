"""Mapping files: what a partner's format calls the canonical members, as TOML data.

A mapping that only renames, retypes and translates codes needs no code. A file names one dialect and its shapes; each
shape says by which members it is recognised and from which paths the canonical members come:

    name = "my-shop-software"
    [[shape]]
    kind = "repair"
    recognise = { all = ["order.no"] }
    [shape.members]
    plate = "car.plate"
    repairdate = { from = "order.in", format = "%d.%m.%Y" }
    [shape.parts]
    from = "order.materials"
    members = { name = "title", quantity = "count", code = "number" }

Paths are member names joined by dots, compared without case; `[]` after a name goes through a list. `mappings.plans`
compiles a file, `mappings.examples` runs the examples beside it.
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mappings.records import Operator, RepairRow, VehicleRegistration
from mappings.tables import NAMES as TABLES

SHIPPED = (
    "report",
    "push",
    "registration-feed",
    "shanghai-order",
    "shanghai",
    "secondary",
    "chengdu",
    "foshan",
    "oem",
    "record",
    "national",
    "root",
    "csv",
)
"""The shipped dialects, in the order in which a payload is tried against them."""

_REPAIR = frozenset(RepairRow._fields) - {"parts", "projects"}
CANONICAL: dict[str, frozenset[str]] = {
    "repair": _REPAIR | {"test_no"},
    "step": _REPAIR
    | {"fuel", "use", "companyunifiedsocialcreditidentifier", "inspection", "engine", "brand", "disposal"},
    "registration": frozenset(Operator.model_fields) | {"companypassword"},
    "token": frozenset({"companycode", "companypassword"}),
    "vehicle": frozenset(VehicleRegistration.model_fields),
    "withdrawal": frozenset({"companycode", "costlistcode", "withdrawn"}),
}
"""Kind of draft -> the canonical members that a mapping may fill. A step's fuel, use, engine, brand and USCC and a
record's test_no are judged and not kept; a step's disposal (旧件处理) stands in a message of its own."""

_SOME_DAY = datetime(2024, 3, 18, 9, 20, 5, tzinfo=UTC)
"""A day that no form of a date can give by leaving something out: it is no first day and no first month."""

OTHER = "*"
"""Among `codes`: whatever is not listed."""

PROVENANCE = frozenset(
    {"system", "dialect", "repaircomefrom", "received_at", "version", "findings", "maker", "dealercode", "kind"}
)
"""What a mapping may fill beside the content."""


class MappingError(Exception):
    """A mapping file that cannot be used, or a dialect that is not known; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "", line: int = 0) -> None:
        place = f" (line {line})" if line else ""
        super().__init__(f"{message}{place} - {remedy}" if remedy else f"{message}{place}")
        self.message, self.remedy, self.line = message, remedy, line

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.remedy, self.line)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _no_rows(paths: Iterable[str]) -> Iterable[str]:
    """Refuse a path through a list where one value is meant: it would find nothing."""
    if found := next((path for path in paths if "[]" in path), None):
        message = f"{found}: 此处不能有 [] / no [] here: a list's rows are mapped by parts and projects"
        raise ValueError(message)
    return paths


class Rule(_Part):
    """Where one canonical member comes from and what is done to it on the way."""

    from_: tuple[str, ...] = Field(default=(), alias="from")
    """Paths; the first that is there counts."""
    constant: str | int | None = None
    """Taken where no path is there."""
    codes: dict[str, str] = {}
    """The partner's code or text -> ours; what is not listed stays as sent, or becomes what `*` says, with `{}` as sent
    (where the partner's codes look like ours: `"*" = "MOT {}"`)."""
    table: str | None = None
    """Code table whose texts and short forms are translated to codes."""
    scale: str | None = None
    """Factor for a number, as exact decimal text (`10000` for 万公里)."""
    format: str | None = None
    """`strptime` form of a date that is none of the usual ones."""
    epoch: Literal["s", "ms"] | None = None
    """The member is seconds or milliseconds since 1970; becomes the day in China."""
    secret: bool = False
    """A credential: only whether it was sent is kept."""
    list_: bool = Field(default=False, alias="list")
    """A list of texts (provenance only)."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if isinstance(value, str | list):
            value = {"from": value}
        if isinstance(value, dict) and isinstance(value.get("from"), str):
            value = {**value, "from": [value["from"]]}
        return value

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        _no_rows(self.from_)
        asked = [name for name in ("secret", "codes", "table", "scale", "format", "epoch") if getattr(self, name)]
        if len(asked) > 1:
            message = f"{asked[0]} 与 {asked[1]} 只能取一 / only one of {asked[0]} and {asked[1]}"
            raise ValueError(message)
        return self

    @field_validator("scale")
    @classmethod
    def _number(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            message = 'scale must be a plain decimal number in quotes, such as "1000" or "0.001"'
            raise ValueError(message)
        return value

    @field_validator("format")
    @classmethod
    def _names_a_day(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forms without a year, which are refused below
                read = datetime.strptime(_SOME_DAY.strftime(value), value).date()  # noqa: DTZ007 - a day, no moment
        except (ValueError, re.error):
            read = None
        if read != _SOME_DAY.date():
            message = 'format 不能表示一天 / format names no day; strptime, 如 / such as "%d.%m.%Y %H:%M"'
            raise ValueError(message)
        return value

    @field_validator("table")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in TABLES:
            message = f"no such code table; there are: {', '.join(TABLES)}"
            raise ValueError(message)
        return value


class Section(_Part):
    """Where the rows of `parts` or `projects` come from."""

    from_: str = Field(alias="from")
    """Path of the list; `a[].b` joins the lists `b` of every row of `a`. In a CSV mapping `rows` are its lines."""
    members: dict[str, Rule]
    where: str = ""
    """Member of a row that tells its sort, when one list holds several."""
    equals: tuple[str, ...] = ()
    """Values of `where` that belong to this section."""
    skip: tuple[str, ...] = ()
    """Values of `where` that are left out on purpose (fees)."""
    split: str = ""
    """Regular expression between the entries of one cell (`[;；]`)."""
    merge_by: str = ""
    """Canonical member by which equal rows become one, their numeric quantities added."""
    distinct: bool = False
    """Whether a row that stands twice word for word counts once (exports that join two lists)."""

    @field_validator("split")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            message = f"split is no regular expression: {error}"
            raise ValueError(message) from None
        return value


class Recognise(_Part):
    """By which members a shape is known; every condition that is given must hold."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    at_least: int = 1
    """How many of `any` must be there."""
    none: tuple[str, ...] = ()
    equals: dict[str, str] = {}

    _one_value = field_validator("all", "any", "none", "equals")(_no_rows)


class Shape(_Part):
    """One kind of payload within a dialect."""

    kind: Literal["repair", "withdrawal", "registration", "token", "step", "vehicle"]
    step: Literal["", "insert", "items", "settle", "correction", "car", "order"] = ""
    order: str = ""
    """Path of the order code that holds steps together."""
    recognise: Recognise = Recognise()
    members: dict[str, Rule]
    parts: Section | None = None
    projects: Section | None = None
    provenance: dict[str, Rule] = {}
    ignored: tuple[str, ...] = ()
    """Paths that the partner's documentation knows and the standard does not: left out without a remark."""
    demanded: tuple[str, ...] = ()
    """Such paths that must be there all the same, empty or not (domain 1.7): that one is absent is flagged."""
    notes: tuple[Literal["SIGN_NOT_CHECKED", "ORDER_NOT_CHECKED"], ...] = ()

    @model_validator(mode="after")
    def _canonical(self) -> Self:
        for given, known in (
            (self.members, CANONICAL[self.kind]),
            (self.parts.members if self.parts else {}, {"name", "quantity", "code"}),
            (self.projects.members if self.projects else {}, {"name", "hours"}),
            (self.provenance, PROVENANCE),
        ):
            if unknown := sorted(set(given) - known):
                message = f"no canonical member {unknown[0]}; there are: {', '.join(sorted(known))}"
                raise ValueError(message)
        return self


class Envelope(_Part):
    """What is wrapped around every payload of a dialect."""

    path: str
    """Path of the payload inside the envelope."""
    header_date: str = ""
    """Path of the message's own date."""
    ignored: tuple[str, ...] = ()


class Layout(_Part):
    """One mapping file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    title: str = ""
    source: str = ""
    """Where the format is described."""
    edition: str = ""
    format: Literal["json", "csv"] = "json"
    delimiter: str = ""
    """CSV: the column separator; found by itself when empty."""
    extends: tuple[str, ...] = ()
    """Shipped mappings whose shapes this one has too, after its own."""
    envelope: Envelope | None = None
    shape: tuple[Shape, ...] = ()


def dialect_names() -> tuple[str, ...]:
    """The names of the shipped dialects."""
    return SHIPPED


@cache
def shipped(name: str) -> Layout:
    """The shipped mapping `name`.

    Raises:
        MappingError: there is none.
    """
    if name not in SHIPPED:
        message = f"没有方言 {name} / no dialect {name}"
        raise MappingError(message, f"known: {', '.join(SHIPPED)}, or the path of a mapping file (.toml)")
    resource = files("mappings").joinpath(f"data/mappings/{name}.toml")
    return parse_layout(resource.read_text("utf-8"), f"{name}.toml")


def load_layout(name: str) -> Layout:
    """A shipped mapping by name, or a mapping file by path (ending in `.toml`); a changed file is read again.

    Raises:
        MappingError: no such dialect or file, or the file cannot be used; with line and remedy.
    """
    if not name.endswith(".toml"):
        return shipped(name)
    try:
        stamp = os.stat(name).st_mtime_ns  # noqa: PTH116 - on the hot path
    except OSError as error:
        message = f"映射文件不可读 / mapping file not readable: {name}: {error.strerror}"
        raise MappingError(message, "check path and permissions") from None
    return _load_file(name, stamp)


@lru_cache(maxsize=64)
def _load_file(path: str, stamp: int) -> Layout:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"映射文件不可读 / mapping file not readable: {path}"
        raise MappingError(message, f"save it as UTF-8 text ({type(error).__name__})") from None
    return parse_layout(text, path)


def parse_layout(text: str, origin: str) -> Layout:
    """Read the text of a mapping file.

    Raises:
        MappingError: not TOML, or not as documented here; with line and remedy.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        message = f"{origin}: 不是有效的 TOML / not valid TOML: {error}"
        raise MappingError(message, "mend the syntax", int(found[1]) if found else 0) from None
    try:
        layout = Layout.model_validate(raw)
        inherited = [shape for base in layout.extends for shape in shipped(base).shape]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(key) for key in first["loc"])
        message = f"{origin}: {where}: {first['msg']}"
        named = re.search(r"no canonical member (\w+)", first["msg"])
        loc = (*first["loc"], named[1]) if named else first["loc"]
        raise MappingError(message, _remedy(first["type"]), _line(text, loc)) from None
    if not layout.shape and not inherited:
        message = f"{origin}: 没有 [[shape]] / no [[shape]]"
        raise MappingError(message, "describe at least one shape, or name a mapping in `extends`")
    return layout.model_copy(update={"shape": (*layout.shape, *inherited)})


def _remedy(kind: str) -> str:
    if kind == "extra_forbidden":
        return "remove or respell this setting"
    return "add this setting" if kind == "missing" else "change this setting"


def _line(text: str, loc: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `loc` that can be found in the text (0: none)."""
    lines = text.splitlines()
    best = start = 0
    for position, key in enumerate(loc):
        following = loc[position + 1] if position + 1 < len(loc) else None
        if isinstance(key, int):
            continue
        skip = following if isinstance(following, int) and key == "shape" else 0
        pattern = re.compile(rf"""(?:^\s*|[{{,.\[]\s*)["']?{re.escape(key)}["']?\s*(?:=|\]|\.)""")
        hits = [number for number in range(start, len(lines)) if pattern.search(lines[number])]
        if len(hits) > skip:
            start, best = hits[skip], hits[skip] + 1
            if key == "shape":
                start += 1
    return best
