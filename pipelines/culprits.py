"""Which record, row or file it is, once a destination does not hold what the ledger says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from connectors.parts import PartFolder, safe
from connectors.sqlbase import Store
from connectors.sqlstore import SqlSink
from dlq.masking import masked_text
from mappings.encoding import WITHDRAWN, content_digest, delivery_id, key_digest
from pipelines import disclosures, tables
from pipelines.journal import ADDRESSED, Journal
from pipelines.problems import Problem
from pipelines.rowform import content_of_record
from pipelines.settings import Exchange
from pipelines.versions import key_halves
from routing.agreements import Terms

_STANDS = ("delivered", "merged")


class _Wanted(NamedTuple):
    """A delivery that the journals call for."""

    content: int
    findings: tuple[str, ...]
    place: str
    destination: str


_Key = tuple[int, int, int, str]
"""Halves of the key digest, version, destination."""


def in_store(
    connection: Connection, exchange: Exchange, batch: str, destinations: Sequence[str], sink: object
) -> list[Problem]:
    """Missing, altered and extra rows of a batch in a SQL store; nothing for stores that cannot be listed.

    Nor where an agreement let less through than the record: its content cannot be computed again from such rows.
    """
    if not isinstance(sink, SqlSink) or _changed(connection, batch, destinations):
        return []
    wanted = dict(_wanted(connection, batch, destinations))
    try:
        rows = list(_rows(sink, batch))
    except SQLAlchemyError:
        return []
    seen: set[_Key] = set()
    problems: list[Problem] = []
    for row in rows:
        key, name = _key_of(exchange, destinations, row), masked_text(f"{row['record_key']} v{row['version']}")
        what = wanted.get(key) if key is not None else None
        if key is None or what is None:
            where = key[3] if key is not None else ",".join(destinations)
            problems.append(Problem("extra-record", batch, where, "-", 1, name))
            continue
        seen.add(key)
        column = _altered(row, what)
        if column:
            problems.append(Problem("altered-record", batch, what.destination, "unchanged", column, name))
    for key, what in wanted.items():
        if key not in seen:
            problems.append(Problem("missing-record", batch, what.destination, 1, "-", what.place))
    return problems


def _changed(connection: Connection, batch: str, destinations: Sequence[str]) -> bool:
    """Whether anything of a batch left otherwise than whole."""
    told = disclosures.read(connection, batch, ())
    return any(not Terms.restored(row.packed).whole for name in destinations for row in told.rows(name))


def _wanted(connection: Connection, batch: str, destinations: Sequence[str]) -> Iterator[tuple[_Key, _Wanted]]:
    j = tables.journals
    for source, packed in connection.execute(
        select(j.c.source, j.c.lines).where(j.c.batch == batch).order_by(j.c.item)
    ):
        book = Journal.unpack(packed)
        for line in book.lines[book.lines["fate"] == ADDRESSED]:
            told = book.outcomes.get(str(int(line["ordinal"])), {})
            for destination in book.routes[int(line["routes"])]:
                if destination in destinations and told.get(destination, "delivered") in _STANDS:
                    key = int(line["key_hi"]), int(line["key_lo"]), int(line["version"]), destination
                    findings = book.findings[int(line["findings"])]
                    yield key, _Wanted(int(line["content"]), findings, f"{source}@{int(line['offset'])}", destination)


def _rows(sink: SqlSink, batch: str) -> Iterator[Mapping[str, Any]]:
    store = Store(sink.settings)
    own, other = store.table.c, store.table.alias("other")
    newest = select(func.max(other.c.version)).where(store.of_one_record(other.c, own)).scalar_subquery()
    try:
        with store.engine.connect().execution_options(yield_per=2_000) as connection:
            statement = select(store.table, newest.label("newest")).where(own.batch == batch).order_by(own.seq)
            for row in connection.execute(statement):
                yield dict(row._mapping)
    finally:
        store.engine.dispose()


def _key_of(exchange: Exchange, destinations: Sequence[str], row: Mapping[str, Any]) -> _Key | None:
    """The journal's key of a row, with the destination that its delivery id was made for."""
    try:
        system, company, code = (_plain(part) for part in str(row["record_key"]).split("|"))
        hi, lo = key_halves(key_digest(exchange.scope, system, company, code))
        version = int(row["version"])
    except (ValueError, TypeError):
        return None
    for destination in destinations:
        if delivery_id(row["record_key"], version, str(row["content"]), destination) == row["delivery_id"]:
            return hi, lo, version, destination
    return hi, lo, version, destinations[0]


def _plain(text: str) -> str:
    return text.replace("%7C", "|").replace("%25", "%")


def _altered(row: Mapping[str, Any], what: _Wanted) -> str:
    """Name of what differs in a row; empty when nothing that the journal knows does."""
    if row["content"] != f"{what.content:016x}":
        return "content"
    if bool(row["current"]) != (row["version"] == row["newest"]):
        return "current"
    if what.content == WITHDRAWN:  # it has no content: only that it was withdrawn
        return "" if row["withdrawn"] else "withdrawn"
    try:
        lists = {name: orjson.loads(row[name]) for name in ("parts", "projects", "members") if name in row}
        digest = int.from_bytes(content_digest(content_of_record({**row, **lists})), "big")
        findings = tuple(orjson.loads(row["findings"] or "[]"))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
        return "columns"
    if digest != what.content:
        return "columns"
    if str(row["record_key"]).split("|")[1:2] != [str(row["companycode"])]:
        return "companycode"
    return "" if findings == what.findings else "findings"


def stray_parts(sink: PartFolder, batch: str, parts: Sequence[Any]) -> list[Problem]:
    """Files of a batch that no row of `parts` names."""
    known = {Path(part.final).name for part in parts}
    folder = Path(str(sink.settings.path))
    found = []
    for path in sorted(folder.glob(f"*--*--*{sink.suffix}")) if folder.is_dir() else ():
        pieces = path.name.split("--", 2)
        if pieces[1] == safe(batch) and path.name not in known:
            found.append(Problem("extra-part", batch, pieces[0], "-", "1", str(path)))
    return found
