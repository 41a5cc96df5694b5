"""Files named on the command line -> their payloads, one after the other, by the connectors that exchanges use."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from connectors.contracts import Source, WorkItem
from mappings.documents.kinds import FORMS
from mappings.layout import Layout, dialect_names, load_layout
from mappings.trees import TreeError, decode_text, fold
from pipelines.cli.out import wrong_use

AVRO_MAGIC = b"Obj\x01"
_DELIMITERS = ",;\t|"
_LINE_END = re.compile(r"[\r\n]")


class Payload(NamedTuple):
    """One payload of a file; or, with `problem`, why there is none."""

    body: bytes
    offset: int
    problem: str = ""


def existing(files: list[Path]) -> list[Path]:
    """The files, once it is sure that each is one.

    Raises:
        WrongUse: a path that is not there, or a folder.
    """
    for path in files:
        if path.is_dir():
            wrong_use(
                f"{path} 是目录；请写出文件，例如 {path}/*.json，整个目录请用 vingate run"
                f" / {path} is a folder: name its files, e.g. {path}/*.json, or use `vingate run` for folders"
            )
        if not path.exists():
            wrong_use(f"没有这个文件：{path}；请检查路径 / no such file: {path}; check the path")
    return files


def payloads(path: Path, dialect: str) -> Iterator[Payload]:
    """The payloads of one file, in order; a file that holds none gives one problem.

    Lines of a CSV export that belong to one settlement list are one payload, as the dialect's mapping names the column.
    """
    count = 0
    source = _source(path)
    for item in source.plan({}):
        for found in _read(source, item, path, dialect):
            count += 1
            yield found
    if not count:
        yield Payload(b"", 0, "文件中没有报文 / the file holds no payload")


def _source(path: Path, group_by: str = "", delimiter: str = "auto") -> Source:
    with path.open("rb") as file:
        avro = file.read(len(AVRO_MAGIC)) == AVRO_MAGIC
    if avro:
        from connectors.avrofiles import AvroSource  # imported late: a file of lines does not need fastavro

        return AvroSource(AvroSource.Settings(path=path, include=("*",)))
    from connectors.files import FilesSource

    return FilesSource(FilesSource.Settings(path=path, group_by=group_by, delimiter=delimiter))


def _read(source: Source, item: WorkItem, path: Path, dialect: str) -> Iterator[Payload]:
    if item.extra.get("format") == "csv":
        source = _grouping(source, item, path, dialect)
    for block in source.read(item):
        found = [Payload(body, offset) for body, offset in zip(block.bodies, block.offsets, strict=True)]
        found += [Payload(body, offset, problem) for offset, body, problem in block.problems]
        yield from sorted(found, key=lambda one: one.offset)


def _grouping(source: Source, item: WorkItem, path: Path, dialect: str) -> Source:
    """The same source, told by which column consecutive lines belong together."""
    first = next((body for block in source.read(item, 1) for body in block.bodies), b"")
    title, delimiter = list_code_column(first, dialect)
    return _source(path, group_by=title, delimiter=delimiter) if title else source


def list_code_column(body: bytes, dialect: str) -> tuple[str, str]:
    """Title of the column that holds the settlement list's code, and the separator; empty where there is none."""
    try:
        head = _LINE_END.split(decode_text(body).lstrip("\ufeff"), 1)[0]
    except TreeError:
        return "", "auto"
    names = dialect_names() if dialect == "auto" else () if dialect in FORMS else (dialect,)
    layouts = [layout for name in names if (layout := load_layout(name)).format == "csv"]
    for layout in layouts:
        wanted = _columns(layout)
        for delimiter in (layout.delimiter,) if layout.delimiter else _DELIMITERS:
            titles = next(csv.reader([head], delimiter=delimiter), [])
            for title in titles:
                if fold(title) in wanted and len(titles) > 1:
                    return title.strip(), delimiter
    return "", "auto"


def _columns(layout: Layout) -> set[str]:
    rules = [shape.members["costlistcode"] for shape in layout.shape if "costlistcode" in shape.members]
    return {fold(path) for rule in rules for path in rule.from_}
