"""The one way in: bytes -> draft -> judgement. Everything else in this package serves these functions."""

from __future__ import annotations

from mappings.dialects.csvexport import csv_tree, looks_like
from mappings.drafting import draft_of
from mappings.findings import REJECT, Finding
from mappings.judging import Context, Draft, Judgement
from mappings.layout import Layout, MappingError, dialect_names, load_layout, shipped
from mappings.opening import kind_of
from mappings.trees import (
    DEFAULT_LIMITS,
    NOT_JSON,
    STRUCTURE_WRONG,
    Limits,
    Tree,
    TreeError,
    decode_text,
    parse,
    parse_text,
)

__all__ = ["DEFAULT_LIMITS", "Limits", "MappingError", "dialect_names", "judge", "read", "read_step"]

AUTO = "auto"
_STEPPED = frozenset({"shanghai", "secondary"})
_MAINTENANCE = frozenset({"car", "order"})


def read(body: bytes, dialect: str = AUTO, limits: Limits = DEFAULT_LIMITS) -> Draft:
    """Recognise the dialect of one payload by its content, unwrap it and rename its members.

    `dialect` is `auto`, one of `dialect_names()`, or the path of a mapping file (`.toml`); `shanghai:STEP` and
    `secondary:STEP` are pieces whose step is known (`read_step`). Never raises for bad input: a payload that cannot be
    read gives a Draft of kind `""` whose notes say why (NOT_JSON, DIALECT_UNKNOWN, STRUCTURE_WRONG).

    Raises:
        MappingError: wrong use, no such dialect or mapping file.
    """
    name, _, step = dialect.partition(":")
    if step and name in _STEPPED:
        return read_step(body, step, limits)
    layouts = [shipped(name) for name in dialect_names()] if dialect == AUTO else [load_layout(dialect)]
    named = "" if dialect == AUTO else layouts[0].name
    try:
        return _read(body, layouts, limits) or _unknown(named, layouts)
    except TreeError as error:
        return _failed(named, error.code, error.value, error.expected)


def read_step(body: bytes, step: str, limits: Limits = DEFAULT_LIMITS) -> Draft:
    """Read one Shanghai step whose kind is known from the address that was called.

    `insert`, `items`, `settle` and `correction` are those of the three-step interface, `car` and `order` of 二级维护.
    An insert and a correction can look alike; nothing else tells them apart.
    """
    layout = shipped("secondary" if step in _MAINTENANCE else "shanghai")
    try:
        tree = _tree(body, limits)
        return draft_of(layout, tree, limits, step) or _unknown(layout.name, [layout])
    except TreeError as error:
        return _failed(layout.name, error.code, error.value, error.expected)


def judge(draft: Draft, context: Context) -> Judgement:
    """Judge a draft by the rules of domain table 9.1: all findings at once, weighed by the context's profile."""
    from mappings.judge import judge as weigh  # imported late: reading is of use without the rules

    return weigh(draft, context)


def _read(body: bytes, layouts: list[Layout], limits: Limits) -> Draft | None:
    tables = [layout for layout in layouts if layout.format == "csv"]
    if len(tables) == len(layouts):
        return _first(tables, csv_tree(body, tables[0], limits), limits)
    try:
        tree = _tree(body, limits)
    except TreeError as error:
        table = _table(body, tables) if error.code == NOT_JSON else None
        if table is None:
            raise
        return _first([table], csv_tree(body, table, limits), limits)
    if not isinstance(tree.root, dict):
        raise TreeError(STRUCTURE_WRONG, kind_of(tree.root), "对象 / an object")
    return _first([layout for layout in layouts if layout.format == "json"], tree, limits)


def _tree(body: bytes, limits: Limits) -> Tree:
    tree = parse(body, limits)
    if isinstance(tree.root, str) and tree.root.lstrip()[:1] == "{":
        inner = Tree(None, tree.spelled, tree.problems)
        return Tree(parse_text(tree.root, limits, inner), tree.spelled, tree.problems)
    return tree


def _table(body: bytes, tables: list[Layout]) -> Layout | None:
    """The CSV mapping whose columns stand in the first line, if the payload can be a table at all."""
    if body.lstrip()[:1] in (b"{", b"[", b""):
        return None
    try:
        head = decode_text(body)
    except TreeError:
        return None
    return next((layout for layout in tables if looks_like(head, layout)), None)


def _first(layouts: list[Layout], tree: Tree, limits: Limits) -> Draft | None:
    return next((draft for layout in layouts if (draft := draft_of(layout, tree, limits))), None)


def _unknown(named: str, layouts: list[Layout]) -> Draft:
    names = ", ".join(layout.name for layout in layouts)
    return _failed(named, "DIALECT_UNKNOWN", "", f"已知方言 / known dialects: {names}")


def _failed(dialect: str, code: str, value: str, expected: str) -> Draft:
    return Draft(kind="", dialect=dialect, members={}, notes=(Finding(code, REJECT, "", value, expected),))
