"""What a versioned table looks like: the columns every one has, the caller's own, and how a body becomes a row.

The caller gives a `TableSpec`; nothing here knows what the columns mean. A delivery's body is a JSON object whose
members are the spec's columns, and it must be **canonical**: members in the spec's order, empty ones left out, written
as `orjson.dumps` writes them (`TableSpec.body` does that). So a row gives back the very bytes that were delivered, and
`verify` can compute the fingerprint of a delivery again from the columns: a value changed by hand is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

Kind = Literal["text", "int", "date", "decimal", "json"]
"""text; int (64 bits); date (`YYYY-MM-DD`); decimal (digits as text, `-12.50`); json (any value, kept as its text)."""

OWN = ("seq", "record_key", "version", "delivery_id", "content", "batch", "merged_into", "current", "late", "month")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")
_DECIMAL = re.compile(r"-?[0-9]{1,60}(\.[0-9]{1,60})?")


class TableSpec(BaseModel):
    """A versioned table: its name, the caller's columns in order, and which of them are indexed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    columns: dict[str, Kind]
    indexes: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Columns that came to the spec later, last among them: a table that lacks one gets it from its sink."""
    month: str = ""
    """A column of ISO dates whose month divides the table on PostgreSQL (`connectors.months`); empty: it is one."""

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            message = "表名只用小写字母、数字、下划线 / a table's name is lower-case letters, digits and underscores"
            raise ValueError(message)
        return name

    @model_validator(mode="after")
    def _fits(self) -> TableSpec:
        bad = [one for one in self.columns if one in OWN or not _NAME.fullmatch(one)]
        bad += [one for one in (*self.indexes, *self.added) if one not in self.columns]
        bad += [one for one in (self.month,) if one and self.columns.get(one) not in ("text", "date")]
        if bad or not self.columns:
            message = f"列名不可用、被占用或不存在 / columns are none, reserved or unknown: {', '.join(bad)}"
            raise ValueError(message)
        return self

    def body(self, values: Mapping[str, Any]) -> bytes:
        """The canonical body of some values: the spec's order, without the empty (None) ones."""
        return orjson.dumps({name: values[name] for name in self.columns if values.get(name) is not None})


class UnmappableError(ValueError):
    """A body that cannot become a row; the text is the reason given to the sender."""


class RowMap:
    """Bodies to rows and back, for one spec. A row is a tuple in the order of `spec.columns`."""

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self._names = list(spec.columns)
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._json = [at for at, kind in enumerate(spec.columns.values()) if kind == "json"]

    def row(self, body: bytes) -> tuple[Any, ...]:
        """The spec's columns, in order, None where the body has no such member.

        Raises:
            UnmappableError: no JSON object, an unknown member, a value of another kind, or not canonical.
        """
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            message = "BODY: 不是 JSON 对象 / not a JSON object"
            raise UnmappableError(message)
        shape = self._shape(value)
        if shape is None or orjson.dumps(value) != body:
            raise UnmappableError(self._why(value))
        values = [*value.values(), None]
        if shape.texts is not None and set(map(type, shape.texts(values))) != _ALL_TEXT:
            raise UnmappableError(self._why_not_kinds(value))
        for at, kind in shape.others:
            if not _is(kind, values[at]):
                raise UnmappableError(self._why_not_kinds(value))
        for at in shape.json:
            if values[at] is None:
                raise UnmappableError(self._why(value))
            values[at] = orjson.dumps(values[at]).decode()
        if b"\\u0000" in body:
            message = "BODY: 含 NUL 字符 / holds a NUL character"
            raise UnmappableError(message)
        return shape.spread(values)

    def _shape(self, value: dict[str, Any]) -> _Shape | None:
        members = tuple(value)
        shape = self._shapes.get(members)
        if shape is None and members == tuple(name for name in self._names if name in value):
            shape = _shape(self.spec.columns, members)
            if len(self._shapes) < 1000:
                self._shapes[members] = shape
        return shape

    def _why_not_kinds(self, value: dict[str, Any]) -> str:
        if None not in value.values():
            for name, kind in self.spec.columns.items():
                if name in value and not _is(kind, value[name]):
                    return _wrong(name, kind)
        return self._why(value)

    def _why(self, value: dict[str, Any]) -> str:
        unknown = [name[:60] for name in value if name not in self.spec.columns]
        if unknown:
            return f"BODY: 未知成员 / unknown members: {', '.join(unknown[:10])}"
        return "BODY: 成员顺序或写法不规范 / not canonical: members in order, empty ones left out, no spaces"

    def body(self, row: Iterable[Any]) -> bytes:
        """The body that the row came from."""
        values = list(row)
        for at in self._json:
            if isinstance(values[at], str):
                values[at] = orjson.Fragment(values[at])
        members = zip(self._names, values, strict=True)
        return orjson.dumps({name: value for name, value in members if value is not None}, default=repr)


class _Shape(NamedTuple):
    """What there is to do for bodies with the same members."""

    texts: Callable[[list[Any]], tuple[Any, ...]] | None
    """Gives the values that must be text; None where there are none."""
    others: list[tuple[int, str]]
    json: list[int]
    spread: Callable[[list[Any]], tuple[Any, ...]]
    """Gives for each column its value; the None behind them all, where it has none."""


_ALL_TEXT = {str}


def _shape(columns: Mapping[str, str], members: tuple[str, ...]) -> _Shape:
    places = {name: at for at, name in enumerate(members)}
    kinds = [(at, columns[name]) for name, at in places.items()]
    texts = [at for at, kind in kinds if kind == "text"]
    return _Shape(
        _getter(texts) if texts else None,
        [(at, kind) for at, kind in kinds if kind not in ("text", "json")],
        [at for at, kind in kinds if kind == "json"],
        _getter([places.get(name, -1) for name in columns]),
    )


def _getter(places: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    if len(places) == 1:
        (only,) = places
        return lambda values: (values[only],)
    return itemgetter(*places)


def _is(kind: str, value: object) -> bool:
    if kind == "json":
        return True
    if kind == "int":
        return type(value) is int and -(2**63) <= value < 2**63
    if type(value) is not str:
        return False
    if kind == "text":
        return True
    if kind == "decimal":
        return _DECIMAL.fullmatch(value) is not None
    try:
        return len(value) == 10 and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _wrong(name: str, kind: str) -> str:
    return f"BODY: 列 {name} 应为 {kind} / column {name} must be {kind}"


_SQL_TYPES: dict[str, Any] = {"text": Text, "int": BigInteger, "decimal": Text, "json": Text, "date": String(10)}
"""JSON stays text, since a JSON type may reorder members, and dates stay ISO text: both come back byte for byte."""


def tables(spec: TableSpec, metadata: MetaData, *, divided: bool = False) -> Table:
    """Declare the table of a spec in a MetaData: for `create`, and for a migration history to compare with.

    A row per version. `seq` is its place in intake order; `current` is true for the newest version of a key; `late`
    for one that came after a newer one. Of the indexes, the one on `batch` serves `verify`.

    Args:
        spec: the table's form.
        metadata: where it is declared.
        divided: with a partition for each month, which every unique index then has to contain.
    """
    own: list[Any] = [
        Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("record_key", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("delivery_id", Text, nullable=False),
        Column("content", Text, nullable=False),
        Column("batch", Text, nullable=False),
        Column("merged_into", Text, nullable=False),
        Column("current", Boolean, nullable=False),
        Column("late", Boolean, nullable=False),
    ]
    given = [Column(name, _SQL_TYPES[kind]) for name, kind in spec.columns.items()]
    month = [Column("month", Integer, primary_key=True, autoincrement=False)] if divided else []
    within = ("month",) if divided else ()
    constraints = [
        UniqueConstraint("record_key", "version", *within, name=f"uq_{spec.name}_version"),
        UniqueConstraint("delivery_id", *within, name=f"uq_{spec.name}_delivery"),
        Index(f"ix_{spec.name}_batch", "batch"),
        *(Index(f"ix_{spec.name}_{name}", name) for name in spec.indexes),
    ]
    options: dict[str, Any] = {"postgresql_partition_by": "LIST (month)"} if divided else {}
    return Table(spec.name, metadata, *own, *given, *month, *constraints, sqlite_autoincrement=True, **options)
