"""Reading small registers from text: TOML (an array of tables), CSV (with a header) or NDJSON (one object a line)."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from routing.errors import TableError

MAX_CHARACTERS = 64 * 1024 * 1024
"""Most characters of a register or table that are read."""

_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_PROBLEMS = {"extra_forbidden": "多余的名称", "missing": "缺少"}
_REMEDIES = {
    "extra_forbidden": "该名称不存在，请更正或删除 / no such name here: correct or remove it",
    "missing": "请补上 / add it",
}
_CHECK = "请按说明更正 / correct it as said"

M = TypeVar("M", bound=BaseModel)


class Entry(NamedTuple):
    """One row of a register with the line where it stands (1 is the first)."""

    line: int
    values: dict[str, Any]


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        TableError: it is no TOML (with the line), or too long.
    """
    _limit(text, source)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        problem = f"不是 TOML / not TOML: {error}"
        raise TableError(source, line, problem, "请更正该行 / correct this line") from None
    except RecursionError:
        raise TableError(source, 0, "嵌套过深 / nested too deeply", "请拆平 / flatten it") from None


def rows(text: str, form: str, name: str, source: str) -> Iterator[Entry]:
    """The rows of a register.

    Args:
        text: The register.
        form: `toml`, `csv` or `ndjson`.
        name: The array of tables that holds the rows in TOML.
        source: What messages call the register.

    Raises:
        TableError: the text is not of that form.
    """
    _limit(text, source)
    if form == "toml":
        return _toml_rows(text, name, source)
    if form == "csv":
        return _csv_rows(text, source)
    if form == "ndjson":
        return _ndjson_rows(text, source)
    problem = f"未知格式 / unknown form {form!r}"
    raise TableError(source, 0, problem, "可用 / use one of: toml, csv, ndjson")


def read(model: type[M], text: str, form: str, name: str, source: str) -> list[M]:
    """The rows of a register, each validated as `model`.

    Raises:
        TableError: with the line of the first row that is wrong, and what to do.
    """
    found = []
    for entry in rows(text, form, name, source):
        try:
            found.append(model.model_validate(entry.values))
        except ValidationError as error:
            problem, remedy = describe(error)
            raise TableError(source, entry.line, problem, remedy) from None
    return found


def whole(model: type[M], text: str, source: str) -> M:
    """A whole TOML text as `model`.

    Raises:
        TableError: with what is wrong and the remedy.
    """
    try:
        return model.model_validate(parse_toml(text, source))
    except ValidationError as error:
        problem, remedy = describe(error)
        raise TableError(source, 0, problem, remedy) from None


def describe(error: ValidationError) -> tuple[str, str]:
    """Problem and remedy of the first error that pydantic found, without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(step) for step in first["loc"] if not str(step).startswith(("function-", "constrained-")))
    said = first["msg"].removeprefix("Value error, ")
    if " / " not in said:
        said = f"{_PROBLEMS.get(first['type'], '取值不合要求')} / {said}"
    return f"{path or '-'}: {said}", _REMEDIES.get(first["type"], _CHECK)


def header_line(text: str, name: str, index: int) -> int:
    """Line of the `index`-th (from 0) `[[name]]` header of a TOML text; 0 when it is written otherwise."""
    seen = -1
    pattern = re.compile(rf"\s*\[\[\s*{re.escape(name)}\s*\]\]")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            seen += 1
            if seen == index:
                return number
    return 0


def key_line(text: str, start: int, path: list[str]) -> int:
    """Line of the deepest key of `path` that is written between line `start` and the next table; 0 when none is."""
    lines = text.splitlines()
    end = next((n for n in range(start, len(lines)) if lines[n].lstrip().startswith("[[")), len(lines))
    for key in reversed(path):
        pattern = re.compile(rf"""(?:^|[\s{{,.\[])["']?{re.escape(key)}["']?\s*[=\].]""")
        for number in range(start, end):
            if pattern.search(lines[number]):
                return number + 1
    return 0


def _limit(text: str, source: str) -> None:
    if len(text) > MAX_CHARACTERS:
        problem = f"超过 {MAX_CHARACTERS} 个字符 / longer than {MAX_CHARACTERS} characters"
        raise TableError(source, 0, problem, "请拆分 / split it")


def _toml_rows(text: str, name: str, source: str) -> Iterator[Entry]:
    document = parse_toml(text, source)
    unknown = sorted(set(document) - {name, "edition", "source"})
    if unknown:
        problem = f"未知的表 / unknown table {unknown[0]!r}"
        raise TableError(source, 0, problem, f"应为 / it should be [[{name}]]")
    entries = document.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problem = f"{name} 不是表数组 / {name} is no array of tables"
        raise TableError(source, 0, problem, f"请写成 / write [[{name}]]")
    for index, entry in enumerate(entries):
        yield Entry(header_line(text, name, index), entry)


def _csv_rows(text: str, source: str) -> Iterator[Entry]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                problem = "列数与表头不符 / not as many columns as the header"
                raise TableError(source, reader.line_num, problem, "请更正该行 / correct this line")
            yield Entry(reader.line_num, {key.strip(): value.strip() for key, value in row.items() if value.strip()})
    except csv.Error as error:
        problem = f"不是 CSV / not CSV: {error}"
        raise TableError(source, reader.reader.line_num, problem, "请更正该行 / correct this line") from None


def _ndjson_rows(text: str, source: str) -> Iterator[Entry]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            problem = "不是 JSON 对象 / not a JSON object"
            raise TableError(source, number, problem, "每行一个对象 / write one object a line")
        yield Entry(number, value)
