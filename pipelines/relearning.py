"""A state that was set back to an older moment learns from its stores what was delivered since.

    with State(folder, own=True) as state:
        relearn(state, exchange)

A store that is newer than its state holds rows of batches that the state does not know. What it would collect again
would get the same numbers, for other batches, and a record would be new that stands already. So those batches are made
again from the rows, under their own names: journal, counts, version index and history. What leaves no row in a store
is not known again: letters, duplicates, records without a home, pairs of merged visits. Their sources are asked again,
and what is known then is a duplicate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from sqlalchemy import Connection, insert, inspect, select

from connectors.catalogue import kept_of
from connectors.contracts import Delivery, Misconfigured, WorkItem, fingerprint
from connectors.engines import translated
from connectors.sqlbase import Store
from connectors.sqlstore import SqlSink
from mappings import divisions
from mappings.encoding import WITHDRAWN, delivery_id, key_digest
from pipelines import accounts, tables, vinplaces
from pipelines.errors import PipelineError
from pipelines.journal import ADDRESSED, LINE, Interned, Journal
from pipelines.keptsettings import newest_run
from pipelines.knownitems import RESTORED, batch_id, packed_items
from pipelines.lookup import Name
from pipelines.memory import forget, remember
from pipelines.rowform import row_of
from pipelines.settings import Exchange
from pipelines.sinks import Sinks
from pipelines.state import State
from pipelines.versionruns import ENTRY
from pipelines.versions import key_halves, pack_intake
from pipelines.vinhash import vin_hash
from routing.table import load_table

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


class WentOn(PipelineError):
    """The state collected since it was set back, so its numbers mean other batches than the stores' do."""

    exit_code = 1

    def __init__(self, batch: str) -> None:
        super().__init__(
            f"状态恢复后已继续运行，批号 {batch} 冲突；请再次恢复备份，先执行 state relearn"
            f" / the state went on since it was set back, its number of {batch} is taken:"
            " restore its backup again, and call state relearn first"
        )


class Archived(PipelineError):
    """Rows of a batch that is to be learnt are in the archive of their month."""

    def __init__(self, batch: str, files: Sequence[str]) -> None:
        told = ", ".join(files[:20])
        super().__init__(
            f"批次 {batch} 等的记录已归档（{told}）；请先 vingate store reload 这些月份，"
            "再执行 state relearn，之后可再次归档"
            f" / records of {batch} and others are archived ({told}): bring these months back with vingate store"
            " reload, call state relearn, then archive them again"
        )


class Unplaced(PipelineError):
    """All of an exchange is learnt but rows of which nobody can tell for whom they are."""

    exit_code = 1

    def __init__(self, rows: Mapping[str, int]) -> None:
        told = ", ".join(f"{batch}: {count}" for batch, count in list(rows.items())[:20])
        super().__init__(
            f"已补回其余各条；以下批次有记录不知属于哪个目的地，未补回（{told}）：行被改动、路由表已更换，或该目的地不收记录编号"
            f" / all else is learnt; of these batches there are rows of which the destination is unknown ({told}): they"
            " were changed, the routing table is another one by now, or an agreement withheld their keys. Restore the"
            " state's backup again, put back table or rows, call state relearn; else they are new when they come again."
            " 其余交换请再执行一次 / Other exchanges go on when it is called again"
        )


class _Row(NamedTuple):
    """A version that stands in a store."""

    destination: str
    """Empty where nobody can tell."""
    sink: str
    key: str
    version: int
    content: int
    merged_into: str
    members: Mapping[str, Any]
    digest: int
    """Its fingerprint."""


def relearn(state: State, exchange: Exchange) -> dict[str, int]:
    """Make the batches again that the stores of an exchange know and the state does not; batch -> its records.

    Args:
        state: owned by this process, and not used since it was set back.
        exchange: settings of its newest run, placed.

    Raises:
        WentOn: it was used since.
        Unplaced: nobody can tell for whom some rows are; all else is learnt.
        Archived: rows of those batches are in archives, so that not all of them could be learnt.
        ConnectorError: a store is not to be had.
    """
    sinks = Sinks(exchange, state, make=False)
    learnt: dict[str, int] = {}
    unplaced: dict[str, int] = {}
    try:
        with state.reading() as connection:
            run = newest_run(connection, exchange.name)
            stores = _stores(connection, exchange, sinks)
            known = set(connection.execute(select(tables.batches.c.id)).scalars())
        unknown = sorted(
            {batch for store, _, _ in stores for batch in _batches(store, exchange.name)} - known, key=_number
        )
        _refuse_archived(stores, exchange.name, known)
        for batch in unknown:
            rows = [row for store, sink, names in stores for row in _rows(store, sink, names, batch)]
            with state.unit_of_work() as connection:
                learnt[batch] = _learn(state, connection, exchange, run, batch, rows)
            if not all(row.destination for row in rows):
                unplaced[batch] = sum(not row.destination for row in rows)
    finally:
        sinks.close()
    if unplaced:
        raise Unplaced(unplaced)
    return learnt


def _stores(connection: Connection, exchange: Exchange, sinks: Sinks) -> list[tuple[Store, str, list[str]]]:
    """Each store once, the name of its sink, and the destinations that may lie in it.

    Those that the state knows, and those that the routing table can name: one may have got its first record since.
    """
    b, d = tables.batches, tables.batch_destinations
    wanted = select(d.c.destination).join(b, b.c.id == d.c.batch).where(b.c.exchange == exchange.name).distinct()
    fixed = [one.for_ for one in exchange.sinks.values() if not any(mark in one.for_ for mark in "*?[")]
    known = {*connection.execute(wanted).scalars(), *fixed}
    found: dict[str, tuple[Store, str, list[str]]] = {}
    for destination in [*sorted(known), *sorted(_nameable(exchange) - known)]:
        name, sink = sinks.row_sink(destination)
        if isinstance(sink, SqlSink):
            place = f"{sink.settings.url.get_secret_value()} {sink.settings.table.name}"
            if place not in found:
                store = Store(sink.settings)
                if destination not in known and not _is_there(store):
                    continue
                found[place] = store, name, []
            found[place][2].append(destination)
    return list(found.values())


def _nameable(exchange: Exchange) -> set[str]:
    """Destinations that the exchange's routing table can name, as far as it names them by provinces."""
    templates = load_table(exchange.routing.table).templates
    return {_PLACEHOLDER.sub(key, template) for template in templates for key in divisions.PROVINCES}


def _is_there(store: Store) -> bool:
    """Whether a store that nobody knows of has its table."""
    try:
        with translated():
            return bool(inspect(store.engine).has_table(store.spec.name))
    except Misconfigured:
        return False


def _number(batch: str) -> int:
    return int(batch.rpartition("-")[2])


def _batches(store: Store, exchange: str) -> Iterator[str]:
    own = store.table.c
    with translated(), store.engine.connect() as connection:
        for batch in connection.execute(select(own.batch).distinct()).scalars():
            if _is_of(batch, exchange):
                yield batch


def _refuse_archived(stores: Sequence[tuple[Store, str, list[str]]], exchange: str, known: Collection[str]) -> None:
    away: dict[str, str] = {}
    for store, _, _ in stores:
        if store.divided:
            with translated(), store.engine.connect() as connection:
                away.update(
                    (file, batch)
                    for batch, file in kept_of(connection, store.spec.name)
                    if batch not in known and _is_of(batch, exchange)
                )
    if away:
        raise Archived(min(away.values(), key=_number), sorted(away))


def _is_of(batch: str, exchange: str) -> bool:
    number = batch.rpartition("-")[2]
    return number.isdecimal() and batch == batch_id(exchange, int(number))


def _rows(store: Store, sink: str, destinations: Sequence[str], batch: str) -> Iterator[_Row]:
    """The rows of a batch in the order in which they came."""
    own, names = store.table.c, list(store.spec.columns)
    columns = [own.record_key, own.version, own.delivery_id, own.content, own.merged_into, *store.given(own)]
    with translated(), store.engine.connect() as connection:
        found = connection.execute(select(*columns).where(own.batch == batch).order_by(own.seq)).all()
    for key, version, identity, content, merged, *values in found:
        body = store.rows.body(values)
        mark = fingerprint(Delivery(identity, "", key, version, content, body, batch, merged))
        destination = next((one for one in destinations if delivery_id(key, version, content, one) == identity), "")
        members = {**dict.fromkeys(names), **orjson.loads(body)}
        yield _Row(destination, sink, key, version, int(content, 16), merged, members, mark)


def _learn(
    state: State, connection: Connection, exchange: Exchange, run: int | None, batch: str, rows: Sequence[_Row]
) -> int:
    """Write one batch to the state as it was; how many records it has."""
    b, number = tables.batches, _number(batch)
    if connection.execute(select(b.c.id).where(b.c.number == number)).first() is not None:
        raise WentOn(batch)
    received, rows = str(rows[0].members["received_at"]), [row for row in rows if row.destination]
    records: dict[tuple[str, int], list[_Row]] = {}
    for row in rows:
        records.setdefault((row.key, row.version), []).append(row)
    book = _journal(exchange.scope, list(records.values()))
    connection.execute(
        insert(b),
        {
            "id": batch,
            "exchange": exchange.name,
            "number": number,
            "run": run,
            "kind": RESTORED,
            "state": "closed",
            "received_at": received,
            "items": packed_items([WorkItem(RESTORED, batch)]),
            **accounts.intake({0: book}),
        },
    )
    connection.execute(insert(tables.journals), {"batch": batch, "item": 0, "source": RESTORED, "lines": book.pack()})
    vinplaces.keep(connection, number, 0, book)
    told: dict[str, accounts.Account] = {}
    for row in rows:
        one = told.setdefault(row.destination, accounts.Account(row.sink))
        one.counts.update({"addressed": 1, "merged" if row.merged_into else "delivered": 1})
        one.stands += 1
        one.digest += row.digest
    accounts.open_accounts(connection, batch, told)
    _remember_versions(state, connection, number, book)
    if exchange.rules.history:
        _remember_visits(connection, exchange.scope, [one[0] for one in records.values()])
    return len(records)


def _journal(scope: str, records: Sequence[Sequence[_Row]]) -> Journal:
    book = Journal(np.zeros(len(records), LINE))
    routes, findings = Interned(book.routes), Interned(book.findings)
    for ordinal, (line, rows) in enumerate(zip(book.lines, records, strict=True)):
        first = rows[0]
        line["ordinal"], line["fate"], line["version"] = ordinal, ADDRESSED, first.version
        line["key_hi"], line["key_lo"] = key_halves(key_digest(scope, *Name.of(first.key)))
        line["content"], line["vin"] = first.content, vin_hash(str(first.members.get("vin") or ""))
        line["routes"] = routes[tuple(row.destination for row in rows)]
        line["findings"] = findings[tuple(first.members.get("findings") or ())]
        merged = {row.destination: "merged" for row in rows if row.merged_into}
        if merged:
            book.outcomes[str(ordinal)] = merged
    book.routes, book.findings = routes.table, findings.table
    return book


def _remember_versions(state: State, connection: Connection, number: int, book: Journal) -> None:
    """The newest version of each key, held where it is and where earlier ones are."""
    versions, lines = state.versions, book.lines
    if versions is None or not len(lines):
        return
    at, before = versions.find(connection, lines["key_hi"].copy(), lines["key_lo"].copy())
    known = dict(zip(at.tolist(), before, strict=True))
    held: dict[tuple[int, int], set[str]] = {}
    newest: dict[tuple[int, int], int] = {}
    entries = np.zeros(len(lines), ENTRY)
    sets = state.destination_sets(connection)
    for place, line in enumerate(lines):
        key = int(line["key_hi"]), int(line["key_lo"])
        old = known.get(place)
        holders = held.setdefault(key, set(sets[int(old["held"])]) if old is not None else set())
        holders.update(book.routes[int(line["routes"])])
        is_newer = int(line["version"]) >= newest.get(key, int(old["version"]) if old is not None else 0)
        chosen = (line["content"], pack_intake(number, place), line["version"])
        if not is_newer and old is not None:
            chosen = (old["content"], old["intake"], old["version"])
        newest[key] = int(chosen[2])
        entries[place] = (*key, *chosen, state.destination_set(connection, tuple(sorted(holders))))
    versions.add(connection, entries)


def _remember_visits(connection: Connection, scope: str, rows: Sequence[_Row]) -> None:
    for row in rows:
        if row.content == WITHDRAWN:
            _, company, code = Name.of(row.key)
            forget(connection, scope, company, code)
        elif row.members.get("vin"):
            remember(connection, scope, [row_of(row.members, parts=False)])
