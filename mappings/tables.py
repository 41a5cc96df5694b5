"""Code tables: data files with edition, source, row count and checksum, read once and held to their index.

`table("fuel").name_of("A")` gives the meaning, `"A" in table("fuel")` the membership and
`table("company-categories").code_for("三类")` the code of a text or short form (finding CODE_MAPPED).
"""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from mappings.folding import compact

NAMES: tuple[str, ...] = (
    "gb2260",
    "mot",
    "plate-characters",
    "plate-letters",
    "wmi",
    "economic-categories",
    "operating-states",
    "company-categories",
    "fuel",
    "fuel-jinhua",
    "use-of-vehicle",
    "nature-of-use",
    "plate-colours",
    "plate-kinds",
    "inspection-kinds",
    "emission-standards",
    "uscc-departments",
    "waste-hazardous",
    "waste-general",
    "waste-old-codes",
    "waste-categories",
    "waste-units",
    "waste-events",
    "waste-manifest-states",
    "waste-standings",
    "waste-plan-states",
    "filing-items",
    "check-results",
    "complaint-subjects",
    "complaint-outcomes",
    "appeal-decisions",
    "history-purposes",
    "old-part-disposals",
    "rectification-matters",
    "test-types",
    "iu-types",
    "inspection-natures",
    "judgements",
    "obd-communication",
    "obd-monitors",
)
"""The tables shipped, as named in `data/tables/index.toml`."""


class TableDamagedError(Exception):
    """A table's file does not agree with its index: changed, cut, or with a code twice."""


@dataclass(frozen=True)
class CodeTable:
    """One code table with its origin."""

    name: str
    edition: str
    source: str
    rows: int
    sha256: str
    entries: Mapping[str, str]
    """Code -> meaning (Chinese)."""
    details: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Code -> every column of its row by the column's name (`mark`, `en`, ...)."""
    texts: Mapping[str, str] = field(repr=False)
    """Folded text or short form -> code; a text that ends with `*` stands for every text that starts so."""

    def __contains__(self, code: object) -> bool:
        return code in self.entries

    def name_of(self, code: str) -> str | None:
        """The meaning of a code, or None."""
        return self.entries.get(code)

    def code_for(self, text: str) -> str | None:
        """The code of a text, of a short form or of the code itself, or None; the longest beginning wins."""
        folded = compact(text)
        if folded in self.entries:
            return folded
        if folded in self.texts:
            return self.texts[folded]
        starts = [form for form in self.texts if form.endswith("*") and folded.startswith(form[:-1])]
        return self.texts[max(starts, key=len)] if starts else None


@cache
def table(name: str) -> CodeTable:
    """The code table of that name (see `NAMES`).

    Raises:
        KeyError: no such table; the message names those shipped.
        TableDamagedError: the file is not the one that the index describes.
    """
    entry = index().get(name)
    if entry is None:
        msg = f"没有代码表 {name}，现有 / no table {name}, there are: {', '.join(NAMES)}"
        raise KeyError(msg)
    body = files("mappings").joinpath(f"data/tables/{name}.csv").read_bytes()
    return read_table(name, body, entry)


@cache
def index() -> Mapping[str, Mapping[str, str | int]]:
    """What `data/tables/index.toml` says of each table: edition, source, rows, sha256 and remarks."""
    raw = files("mappings").joinpath("data/tables/index.toml").read_text("utf-8")
    return MappingProxyType(tomllib.loads(raw))


def read_table(name: str, body: bytes, entry: Mapping[str, str | int]) -> CodeTable:
    """Build a table out of its file's bytes, held to its index entry.

    Raises:
        TableDamagedError: checksum or row count differ, or a code or text is there twice.
    """
    digest = hashlib.sha256(body).hexdigest()
    if digest != entry["sha256"]:
        msg = f"代码表 {name} 校验和不符 / checksum of table {name} is {digest}, index says {entry['sha256']}"
        raise TableDamagedError(msg)
    rows = list(csv.DictReader(body.decode("utf-8").splitlines()))
    details = {row["code"]: MappingProxyType(row) for row in rows}
    if not len(rows) == len(details) == entry["rows"]:
        msg = f"代码表 {name} 行数不符 / table {name} has {len(details)} codes in {len(rows)} rows, not {entry['rows']}"
        raise TableDamagedError(msg)
    return CodeTable(
        name=name,
        edition=str(entry["edition"]),
        source=str(entry["source"]),
        rows=len(rows),
        sha256=digest,
        entries=MappingProxyType({code: row["name"] for code, row in details.items()}),
        details=MappingProxyType(details),
        texts=MappingProxyType(_texts(rows)),
    )


def _texts(rows: list[dict[str, str]]) -> dict[str, str]:
    """Names and short forms -> code; a name that several codes share stands for none of them."""
    shared = Counter(compact(row["name"]) for row in rows)
    texts = {compact(row["name"]): row["code"] for row in rows if shared[compact(row["name"])] == 1}
    for row in rows:
        for form in filter(None, row.get("texts", "").split("|")):
            if texts.setdefault(compact(form), row["code"]) != row["code"]:
                msg = f"同一文字对应两个代码 / one text for two codes: {form}"
                raise TableDamagedError(msg)
    return texts
