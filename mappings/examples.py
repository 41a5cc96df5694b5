"""Examples beside mapping files: an input, and what must come of it.

The examples of a mapping stand in `examples/NAME/` beside the mapping file, NAME being its `name`: `CASE.in.json` or
`CASE.in.csv` and `CASE.expected.json`, an object with any of `kind`, `dialect`, `step`, `order`, `header_date`,
`members`, `provenance` and `notes` (a list of codes). What it names must be equal; what it leaves out is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from mappings.judging import Draft
from mappings.layout import Layout, MappingError, dialect_names, load_layout, shipped
from mappings.reading import read

_COMPARED = ("kind", "dialect", "step", "order", "header_date", "members", "provenance", "notes")
_OBJECTS = frozenset({"members", "provenance"})
_SUFFIXES = (".in.json", ".in.csv")


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """What became of one example: `differences` is empty when it holds."""

    mapping: str
    example: str
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the example holds."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class MappingInfo:
    """One shipped mapping, for lists."""

    name: str
    title: str
    edition: str
    source: str
    examples: int


def list_mappings() -> list[MappingInfo]:
    """The shipped mappings, in the order in which payloads are tried against them."""
    return [_info(shipped(name)) for name in dialect_names()]


def run_examples(mapping: str) -> list[ExampleResult]:
    """Run the examples of a shipped mapping (by name) or of a mapping file (by path, ending in `.toml`).

    Raises:
        MappingError: no such mapping, or an example without its expectation (or one that is not JSON).
    """
    layout = load_layout(mapping)
    folder = examples_folder(layout, mapping)
    return [_run(layout.name, mapping, case, body, expected) for case, body, expected in _cases(folder)]


def _info(layout: Layout) -> MappingInfo:
    examples = sum(1 for _ in _cases(examples_folder(layout, layout.name)))
    return MappingInfo(layout.name, layout.title, layout.edition, layout.source, examples)


def examples_folder(layout: Layout, mapping: str) -> Traversable:
    """Where the examples of a layout stand, which `mapping` is the name or the file of."""
    if mapping.endswith(".toml"):
        return Path(mapping).parent / "examples" / layout.name
    return files("mappings").joinpath(f"data/mappings/examples/{layout.name}")


def _cases(folder: Traversable) -> Iterator[tuple[str, bytes, Mapping[str, Any]]]:
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        suffix = next((suffix for suffix in _SUFFIXES if entry.name.endswith(suffix)), "")
        if suffix:
            case = entry.name.removesuffix(suffix)
            yield case, entry.read_bytes(), _expected(folder.joinpath(f"{case}.expected.json"))


def _expected(path: Traversable) -> Mapping[str, Any]:
    remedy = f"write {path.name} beside the example: a JSON object with kind, members, notes, ..."
    try:
        found = json.loads(path.read_text("utf-8"), parse_float=Decimal)
    except (OSError, ValueError):
        message = f"示例没有可读的期望 / example without a readable expectation: {path.name}"
        raise MappingError(message, remedy) from None
    if not isinstance(found, dict) or set(found) - set(_COMPARED):
        message = f"{path.name}: 未知的成员 / unknown members; known: {', '.join(_COMPARED)}"
        raise MappingError(message, remedy)
    for key in _OBJECTS & set(found):
        if not isinstance(found[key], dict):
            message = f"{path.name}: {key} 应为对象 / must be an object"
            raise MappingError(message, remedy)
    return found


def _run(name: str, mapping: str, case: str, body: bytes, expected: Mapping[str, Any]) -> ExampleResult:
    draft = read(body, mapping)
    return ExampleResult(name, case, tuple(_differences(draft, expected)))


def _differences(draft: Draft, expected: Mapping[str, Any]) -> Iterator[str]:
    for key, wanted in expected.items():
        found: Any = [note.code for note in draft.notes] if key == "notes" else getattr(draft, key)
        if key in _OBJECTS:
            for member in sorted({*wanted, *found}):
                if wanted.get(member) != found.get(member):
                    yield f"{key}.{member}: {found.get(member)!r}, expected {wanted.get(member)!r}"
        elif found != wanted:
            yield f"{key}: {found!r}, expected {wanted!r}"
