"""Tables of somebody else's database, and how the rows of one record become theirs and are compared with them.

A body names the rows of one record by table:

    {"rowkey": "0f3a", "tables": {"RepairInfo_M": [{"RepairVeID": "0f3a", "Vin": "..."}], "VehiclePartslist_M": []}}

Every row has the key in its table's key column; what a table's rows lack is null there. Numbers, days and moments are
JSON texts in the body and have the column's own type in the table, so they are compared by value: 4 is 4.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import BigInteger, Column, Date, DateTime, Index, MetaData, Numeric, String, Table, Text, bindparam
from sqlalchemy import delete as deletion
from sqlalchemy.types import TypeEngine

from connectors.tables import Kind as BookKind
from connectors.tables import TableSpec, UnmappableError

Kind = Literal["text", "int", "decimal", "date", "moment"]
"""text; int; decimal (digits as text, `12.5`); date (`YYYY-MM-DD`); moment (ISO, without a zone: local time)."""

BOOK: Mapping[str, BookKind] = {"rowkey": "text", "tables": "json"}
"""The columns of our own table beside them: which rows stand for which record version."""
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"


class RowTable(BaseModel):
    """One table of theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=_NAME)
    """Column that every row of one record has alike."""
    columns: Mapping[str, Kind]
    """Column -> kind, the key among them; names are written as they stand in the database, capitals too."""

    @model_validator(mode="after")
    def _whole(self) -> RowTable:
        if self.columns.get(self.key) != "text":
            message = f"columns: 缺少键列 {self.key}（text） / the key column {self.key} must be among them, as text"
            raise ValueError(message)
        return self


class Rows(NamedTuple):
    """The rows of one record."""

    key: str
    tables: Mapping[str, Sequence[Mapping[str, Any]]]


class RowTables:
    """Tables of one database, as their owner made them."""

    def __init__(self, given: Mapping[str, RowTable]) -> None:
        self.given = dict(given)
        metadata = MetaData()
        self.tables = {name: _table(metadata, name, one) for name, one in self.given.items()}

    def rows(self, key: str, tables: Any) -> Rows:  # noqa: ANN401 - whatever a body has
        """The rows of a body, typed.

        Raises:
            UnmappableError: a table or column that is not known, a value of another kind, or a row of another key.
        """
        if not isinstance(tables, dict) or not key:
            message = "BODY: 须有 rowkey 与 tables / rowkey and tables are needed"
            raise UnmappableError(message)
        return Rows(key, {name: [self._row(name, key, row) for row in self._listed(name, tables)] for name in tables})

    def _listed(self, name: str, tables: Mapping[str, Any]) -> Sequence[Any]:
        found = tables[name]
        if name not in self.given or not isinstance(found, list):
            message = f"BODY: {name}: 未知的表或不是数组 / an unknown table, or no list"
            raise UnmappableError(message)
        return found

    def _row(self, name: str, key: str, row: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a body has
        spec = self.given[name]
        if not isinstance(row, dict) or row.get(spec.key) != key or not row.keys() <= spec.columns.keys():
            message = f"BODY: {name}: 行的键或列不符 / a row of another key, or with an unknown column"
            raise UnmappableError(message)
        typed = {}
        for column, kind in spec.columns.items():
            try:
                typed[column] = None if row.get(column) is None else _TYPED[kind](row[column])
            except (TypeError, ValueError, InvalidOperation):
                message = f"{column}: 应为 {kind} / must be {kind}"
                raise UnmappableError(message) from None
        return typed

    def bound(self, name: str, rows: Iterable[Mapping[str, Any]], dialect: str) -> list[dict[str, Any]]:
        """Rows as a driver takes them."""
        kinds = self.given[name].columns
        if dialect != "sqlite":
            return [dict(row) for row in rows]
        return [{name: _lite(kinds[name], value) for name, value in row.items()} for row in rows]

    def remove(self, name: str) -> Any:  # noqa: ANN401 - a statement
        """Deletes the rows of some keys, `keys`."""
        own = self.tables[name].c[self.given[name].key]
        return deletion(self.tables[name]).where(own.in_(bindparam("keys", expanding=True)))

    def same(self, name: str, wanted: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a table's rows are those of a record, whatever their order."""
        return Counter(self._values(name, row) for row in wanted) == Counter(self._values(name, row) for row in found)

    def _values(self, name: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(_value(kind, row[column]) for column, kind in self.given[name].columns.items())


def book(name: str) -> TableSpec:
    """Our own table."""
    return TableSpec(name=name, columns=dict(BOOK))


def body(key: str, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """The canonical body of the rows of one record; no rows: it is gone."""
    return orjson.dumps({"rowkey": key, "tables": tables})


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> int:  # noqa: ANN401
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _decimal(value: Any) -> Decimal:  # noqa: ANN401
    found = Decimal(_text(value))
    if not found.is_finite():
        raise ValueError
    return found


def _moment(value: Any) -> datetime:  # noqa: ANN401
    return datetime.fromisoformat(_text(value)).replace(tzinfo=None)


_TYPED: Mapping[Kind, Callable[[Any], Any]] = {
    "text": _text,
    "int": _number,
    "decimal": _decimal,
    "date": lambda value: date.fromisoformat(_text(value)),
    "moment": _moment,
}


def _lite(kind: Kind, value: Any) -> Any:  # noqa: ANN401 - SQLite knows texts and integers
    if value is None or kind in ("text", "int"):
        return value
    return format(value, "f") if kind == "decimal" else value.isoformat()


def _value(kind: Kind, value: Any) -> Any:  # noqa: ANN401 - as a driver gives it -> comparable
    if value is None or kind in ("text", "int"):
        return value
    try:
        if kind == "decimal":
            return Decimal(str(value)).normalize()
        if isinstance(value, str):
            return _TYPED[kind](value)
    except (ValueError, InvalidOperation):
        return value
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


_COLUMN_TYPES: Mapping[Kind, TypeEngine[Any]] = {
    "text": Text(),
    "int": BigInteger(),
    "decimal": Numeric().with_variant(String(), "sqlite"),
    "date": Date().with_variant(String(), "sqlite"),
    "moment": DateTime().with_variant(String(), "sqlite"),
}


def _table(metadata: MetaData, name: str, spec: RowTable) -> Table:
    columns = [Column(column, _COLUMN_TYPES[kind]) for column, kind in spec.columns.items()]
    return Table(name, metadata, *columns, Index(f"ix_{name}_{spec.key}", spec.key))
