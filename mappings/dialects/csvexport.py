"""Shop CSV exports: one header line and the lines of one settlement list -> the tree that a CSV mapping extracts from.

GBK or UTF-8, quotes and line breaks inside cells, separators `,` `;` tab or `|`. Which column means what is in a
mapping file (`format = "csv"`); several lines of one costlistcode are one record with several parts or projects.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from mappings.layout import Layout
from mappings.paths import parse_path
from mappings.placeholders import is_placeholder
from mappings.plans import CSV_ROWS, plans_of
from mappings.trees import NOT_JSON, STRUCTURE_WRONG, Json, Limits, Problem, Tree, TreeError, decode_text, fold

_DELIMITERS = (",", ";", "\t", "|")
_HEADER_MOST = 20_000
_LINE_END = re.compile(r"[\r\n]")


def columns_of(layout: Layout) -> frozenset[str]:
    """The folded column names that a CSV mapping knows."""
    return frozenset().union(*(plan.known[()] for plan in plans_of(layout)))


def looks_like(text: str, layout: Layout) -> bool:
    """Whether the first line holds at least three column names of the mapping."""
    return _delimiter(text, layout)[1] >= 3


def csv_tree(body: bytes, layout: Layout, limits: Limits) -> Tree:
    """Parse one CSV payload.

    The tree's root holds the first line's cells by folded column name, and all lines under `CSV_ROWS`. A cell outside
    parts and projects that differs between lines is a problem of the tree: two records stand in one payload.

    Raises:
        TreeError: too large, not text, no data line, quotes that do not close, more cells than columns.
    """
    if len(body) > limits.payload_bytes:
        expected = f"不超过 {limits.payload_bytes} 字节 / at most {limits.payload_bytes} bytes"
        raise TreeError(STRUCTURE_WRONG, f"{len(body)} bytes", expected)
    text = decode_text(body)
    lines = _lines(text, _delimiter(text, layout)[0], limits)
    header = lines[0]
    names = [fold(name) for name in header]
    tree = Tree({}, {name: shown for name, shown in zip(names, header, strict=True) if name != shown}, [])
    tree.spelled[CSV_ROWS] = "rows"
    if len(set(names)) < len(names):
        for name in dict.fromkeys(name for name in names if names.count(name) > 1 and name):
            tree.problems.append(Problem((name,), "repeated", "每列只出现一次 / each column only once"))
    rows = [_row(names, line, number, tree) for number, line in enumerate(lines[1:])]
    tree.root.update(rows[0])
    tree.root[CSV_ROWS] = rows
    _compare(layout, rows, tree)
    return tree


def _delimiter(text: str, layout: Layout) -> tuple[str, int]:
    """The separator under which the header line holds most known columns, and how many."""
    head = _LINE_END.split(text[:_HEADER_MOST].lstrip(), 1)[0]
    known = columns_of(layout)
    candidates = (layout.delimiter,) if layout.delimiter else _DELIMITERS
    counts = {mark: len({fold(cell.strip('"')) for cell in head.split(mark)} & known) for mark in candidates}
    best = max(candidates, key=lambda mark: counts[mark])
    return best, counts[best]


def _lines(text: str, delimiter: str, limits: Limits) -> list[list[str]]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines: list[list[str]] = []
        for line in reader:
            if any(cell.strip() for cell in line):
                lines.append(line)
            if len(lines) > limits.rows + 1 or len(line) > limits.members:
                most = f"{limits.rows} rows, {limits.members} columns"
                expected = f"不超过 {limits.rows} 行、{limits.members} 列 / at most {most}"
                raise TreeError(STRUCTURE_WRONG, f"{len(lines)} lines, {len(line)} columns", expected)
    except csv.Error as error:
        raise TreeError(STRUCTURE_WRONG, f"line {reader.line_num}", f"有效的 CSV / valid CSV: {error}") from None
    if len(lines) < 2:
        raise TreeError(
            NOT_JSON, f"{len(lines)} lines", "标题行和至少一行数据 / a header line and at least one data line"
        )
    return lines


def _row(names: list[str], line: list[str], number: int, tree: Tree) -> dict[str, Json]:
    if len(line) > len(names):
        problem = Problem((f"line {number + 2}",), f"{len(line)} cells", f"{len(names)} 列 / {len(names)} columns")
        tree.problems.append(problem)
    row: dict[str, Json] = {}
    for name, cell in zip(names, line, strict=False):
        if "\0" in cell:
            tree.problems.append(Problem((name,), "no text", "没有 NUL 的文本 / text without NUL"))
            cell = cell.replace("\0", "\ufffd")
        if name:
            row.setdefault(name, cell)
    return row


def _compare(layout: Layout, rows: Iterable[dict[str, Json]], tree: Tree) -> None:
    """All lines must tell of one visit; a blank cell in a later line says nothing."""
    columns = [
        parse_path(path, whole=True)[0]
        for plan in plans_of(layout)
        for rule in plan.shape.members.values()
        for path in rule.from_
    ]
    for name in dict.fromkeys(columns):
        values = {row[name].strip() for row in rows if not is_placeholder(row.get(name))}
        if values and is_placeholder(tree.root.get(name)):
            tree.root[name] = min(values)
        if len(values) > 1:
            expected = "同一结算清单的各行相同 / the same in all lines of one settlement list"
            tree.problems.append(Problem((name,), f"{len(values)} values", expected))
