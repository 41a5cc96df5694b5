"""Rows of a CSV file or of a database's table, by our names for their columns.

columns = Columns(COMPANIES, {"companycode": "企业代号"})
for row in csv_rows(path, columns): ...
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, column, create_engine, inspect, select, table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, NoSuchTableError

from connectors.engines import Limits, open_engine
from mappings.placeholders import clean
from mappings.trees import fold
from pipelines.errors import PipelineError

LIMITS = Limits(busy_seconds=30.0, statement_seconds=600.0, connections=2)
_CHUNK = 1 << 20
_PAGE = 1_000
_LONGEST_CELL = 1 << 20


class SourceUnfit(PipelineError):
    """What is to be imported cannot be read that way: the text says what is missing, and what to name."""

    exit_code = 2


class Row(NamedTuple):
    """One row: where it stands, its cells by our names (those that are there), and whether it is a row at all."""

    place: str
    cells: dict[str, str]
    broken: bool = False


class Columns:
    """Which header stands for which of our names.

    Args:
        known: our name -> headers that are recognised by themselves, compared without case.
        given: our name -> the header that it has here; goes before `known`.
        needed: our names that must be there.

    Raises:
        SourceUnfit: `given` names what is not one of ours.
    """

    def __init__(
        self, known: Mapping[str, tuple[str, ...]], given: Mapping[str, str], needed: tuple[str, ...] = ()
    ) -> None:
        if unknown := sorted(set(given) - set(known)):
            message = f"没有数据项 {unknown[0]}；可用的有 / no member {unknown[0]}; there are: {', '.join(known)}"
            raise SourceUnfit(message)
        self._known, self._given, self._needed = known, given, needed

    def found(self, headers: list[str]) -> dict[str, str]:
        """Our name -> the header as it is spelled there.

        Raises:
            SourceUnfit: a header that was named, or one that is needed, is not there.
        """
        spelled = {fold(header): header for header in reversed(headers)}
        result: dict[str, str] = {}
        for name, usual in self._known.items():
            wanted = (self._given[name],) if name in self._given else (name, *usual)
            header = next((spelled[fold(one)] for one in wanted if fold(one) in spelled), None)
            if header is not None:
                result[name] = header
            elif name in self._given or name in self._needed:
                message = (
                    f"找不到 {name} 的列 {wanted[0]}；现有的列 / no column {wanted[0]} for {name}; there are: "
                    f"{', '.join(headers)[:400]} - 用 / use --column {name}=列名 HEADER"
                )
                raise SourceUnfit(message)
        return result


def encoding_of(path: Path) -> str:
    """The encoding of a text file: by its byte order mark, as UTF-8 if all of it is, else GB18030."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        head = file.read(_CHUNK)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        try:
            while head:
                decoder.decode(head)
                head = file.read(_CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "gb18030"
    return "utf-8-sig"


def csv_rows(path: Path, columns: Columns, encoding: str = "", delimiter: str = "") -> Iterator[Row]:
    """The rows of a CSV file with a header line; encoding and separator are found by themselves where not named.

    Raises:
        SourceUnfit: no header line, or columns that are not there.
        OSError: it cannot be read.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding=encoding or encoding_of(path), errors="replace", newline="") as file:
        head = file.readline(_CHUNK)
        mark = delimiter or max((",", ";", "\t", "|"), key=head.count)
        file.seek(0)
        reader = csv.reader(file, delimiter=mark)
        headers = [header.strip() for header in next(reader, [])]
        if not any(headers):
            message = f"{path}: 没有标题行 / no header line"
            raise SourceUnfit(message)
        at = {name: headers.index(header) for name, header in columns.found(headers).items()}
        yield from _csv_rows(reader, at, len(headers))


def _csv_rows(reader: Any, at: Mapping[str, int], width: int) -> Iterator[Row]:
    while True:
        try:
            cells = next(reader, None)
        except csv.Error:
            yield Row(f"line {reader.line_num}", {}, broken=True)
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        text = "".join(cells)
        broken = len(cells) != width or "\ufffd" in text or "\0" in text
        found = {name: cells[index].strip() for name, index in at.items() if index < len(cells)}
        yield Row(f"line {reader.line_num}", found, broken)


@contextmanager
def database(url: str) -> Iterator[Engine]:
    """An engine for a database that is only read; its connections are closed behind it.

    Raises:
        SourceUnfit: as `open_database`.
    """
    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()


def open_database(url: str) -> Engine:
    """An engine for a database that is only read.

    Raises:
        SourceUnfit: no address, no driver for it, or no such SQLite file. The address is never shown with its password.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            message = f"没有文件 {parsed.database} / there is no file {parsed.database}"
            raise SourceUnfit(message)
        return open_engine(url, LIMITS) if parsed.get_backend_name() == "postgresql" else create_engine(parsed)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        message = (
            f"数据库地址不可用（{type(error).__name__}）；可用 sqlite:///路径、postgresql+psycopg://…，或先导出为 CSV"
            " / no database address that can be used: sqlite:///PATH or postgresql+psycopg://..., or export it as CSV"
        )
        raise SourceUnfit(message) from None


def shown_address(source: str) -> str:
    """A source as people may see it: an address without its password."""
    if "://" not in source:
        return source
    try:
        return make_url(source).render_as_string(hide_password=True)
    except ArgumentError:
        return "?"


class Stored:
    """One table of a database that was found, its columns by folded names.

    Args:
        engine: the database.
        name: of the table, with its schema before it where it needs one.
        option: the option by which a person names it.

    Raises:
        SourceUnfit: there is no such table.
    """

    def __init__(self, engine: Engine, name: str, option: str = "--table") -> None:
        schema, _, bare = name.rpartition(".")
        try:
            names = [one["name"] for one in inspect(engine).get_columns(bare, schema=schema or None)]
        except NoSuchTableError:
            names = []
        if not names:
            message = (
                f"数据库中没有表 {name}；请用 {option} 指明 / the database has no table {name}: name it by {option}"
            )
            raise SourceUnfit(message)
        self.name, self.headers = name, names
        self._table = table(bare, *map(column, names), schema=schema or None)
        self._spelled = {fold(header): header for header in reversed(names)}

    def __contains__(self, name: str) -> bool:
        return fold(name) in self._spelled

    def __getitem__(self, name: str) -> Any:
        return self._table.c[self._spelled[fold(name)]]

    def demand(self, *names: str) -> None:
        """Make sure that there are columns of these names.

        Raises:
            SourceUnfit: there are not.
        """
        for name in names:
            if name not in self:
                message = (
                    f"表 {self.name} 没有列 {name}；现有的列 / the table {self.name} has no column {name}; there are: "
                    f"{', '.join(self.headers)[:400]}"
                )
                raise SourceUnfit(message)

    def order(self) -> list[Any]:
        """Columns that put rows of one record in a fixed order: a number of their own, where there is one."""
        return [self[name] for name in ("itemId", "partId", "seq", "id") if name in self]


def has_table(engine: Engine, name: str) -> bool:
    """Whether a database has a table."""
    schema, _, bare = name.rpartition(".")
    return bool(inspect(engine).has_table(bare, schema=schema or None))


def table_rows(engine: Engine, name: str, columns: Columns) -> Iterator[Row]:
    """The rows of a table, cells as text.

    Raises:
        SourceUnfit: no such table, or columns that are not there.
    """
    stored = Stored(engine, name)
    found = columns.found(stored.headers)
    chosen = select(*(stored[header].label(ours) for ours, header in found.items()))
    with engine.connect().execution_options(yield_per=_PAGE) as connection:
        for number, row in enumerate(connection.execute(chosen).mappings(), 1):
            yield Row(f"row {number}", {ours: as_text(value) for ours, value in row.items()})


def as_text(value: object) -> str:
    """A cell of a database as text: days as yyyyMMdd, numbers as plain digits, nothing as the empty text."""
    if value is None:
        return ""
    if isinstance(value, datetime | date):
        return f"{value:%Y%m%d}"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, int | float | Decimal | str):
        return clean(value)
    return str(value).strip()
