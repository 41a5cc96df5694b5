"""The one way in: bytes -> draft -> judgement. Everything else in this package serves these functions."""

from __future__ import annotations

from collections.abc import Iterable

from mappings.dialects.csvexport import csv_tree, looks_like
from mappings.documents import DIALECT
from mappings.documents.interchange import PROVENANCE
from mappings.documents.kinds import FORMS, OWN_SCHEMAS, Form, form, forms
from mappings.drafting import draft_of
from mappings.findings import REJECT, Finding
from mappings.judging import DOCUMENT, Context, Draft, Judgement
from mappings.layout import Layout, MappingError, dialect_names, load_layout, shipped
from mappings.opening import kind_of
from mappings.paths import written
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
_OWN = b"vingate."
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
    if dialect in FORMS:
        return _as_form(body, form(dialect), limits)
    if dialect == AUTO and _OWN in body and (draft := _of_ours(body, limits)) is not None:
        return draft
    layouts = [shipped(name) for name in dialect_names()] if dialect == AUTO else [load_layout(dialect)]
    named = "" if dialect == AUTO else layouts[0].name
    try:
        draft = _read(body, layouts, limits)
        if draft is None and dialect == AUTO:
            draft = _of_forms(_tree(body, limits), forms())
        return draft or _unknown(named, layouts)
    except TreeError as error:
        draft = _not_json(body, forms()) if dialect == AUTO and error.code == NOT_JSON else None
        return draft or _failed(named, error.code, error.value, error.expected)


def known(dialect: str) -> str:
    """The name of a dialect: of a form, of a shipped mapping, or of the mapping file that it is the path of.

    Raises:
        MappingError: there is no such dialect or file, or the file cannot be used.
    """
    return dialect if dialect in FORMS else load_layout(dialect).name


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


def _as_form(body: bytes, named: Form, limits: Limits) -> Draft:
    draft = _not_json(body, [named])
    try:
        draft = draft or _of_forms(_tree(body, limits), [named])
    except TreeError as error:
        return _failed(named.name, error.code, error.value, error.expected)
    expected = f"已知方言 / known dialects: {named.name}"
    return draft or _failed(named.name, "DIALECT_UNKNOWN", "", expected)


def _of_forms(tree: Tree, chosen: Iterable[Form]) -> Draft | None:
    if not isinstance(tree.root, dict):
        raise TreeError(STRUCTURE_WRONG, kind_of(tree.root), "对象 / an object")
    notes = tuple(
        Finding(STRUCTURE_WRONG, REJECT, written(one.path, tree.spelled), one.value, one.expected)
        for one in tree.problems
    )
    for one in chosen:
        if one.tree is None and one.recognises(tree.root):
            own = {name: tree.root[name] for name in PROVENANCE if name in tree.root} if one.name == DIALECT else {}
            return Draft(DOCUMENT, one.name, tree.root, tree.spelled, notes, provenance=own)
    return None


def _of_ours(body: bytes, limits: Limits) -> Draft | None:
    """The draft of what says that it is of a form of our own."""
    try:
        tree = _tree(body, limits)
    except TreeError:
        return None
    said = tree.root.get("schema") if isinstance(tree.root, dict) else None
    return _of_forms(tree, forms()) if isinstance(said, str) and said in OWN_SCHEMAS else None


def _not_json(body: bytes, chosen: Iterable[Form]) -> Draft | None:
    """The draft of a payload by the forms that are no JSON."""
    for one in chosen:
        members = one.tree(body) if one.tree is not None else None
        if members is not None and one.recognises(members):
            return Draft(DOCUMENT, one.name, members)
    return None


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
    names = ", ".join((*(layout.name for layout in layouts), *(FORMS if not named else ())))
    return _failed(named, "DIALECT_UNKNOWN", "", f"已知方言 / known dialects: {names}")


def _failed(dialect: str, code: str, value: str, expected: str) -> Draft:
    return Draft(kind="", dialect=dialect, members={}, notes=(Finding(code, REJECT, "", value, expected),))
