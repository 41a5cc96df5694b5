"""Closures received against closures due, by day and division: what follows now, and what the department acknowledged.

Due is what follows from the stores at this moment, worked out anew. Received is what the environment department said
it took, in the newest version of each closure: the journals know that, of whatever way it went. Both are compared as
the agreement lets them out, since what is withheld cannot differ there.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
from sqlalchemy import Connection, select

from connectors.engines import translated
from connectors.sqlbase import Store
from connectors.sqlstore import SqlSink
from dlq.sealing import Sealer
from mappings.documents.closures import Closure
from mappings.documents.interchange import encode_document
from mappings.encoding import content_digest, key_digest
from pipelines import tables
from pipelines.agreeing import Agreed
from pipelines.journal import ADDRESSED, RECEIVED, Journal
from pipelines.keptsettings import newest_exchange
from pipelines.settings import Exchange
from pipelines.sinks import Sinks
from pipelines.state import State
from pipelines.versions import key_halves
from pipelines.withdrawing import is_withdrawn
from pipelines.workbench import make_source
from routing.cases.emissionreports import Received, received

if TYPE_CHECKING:
    from pipelines.deriving import DerivedSource

DESTINATIONS = "environment*"
"""Names of destinations that are environment departments."""
UNSENT = "unsent"
"""Of a closure that follows and was never addressed: its exchange has not run since."""

Halves = tuple[int, int]


class Balance(NamedTuple):
    """What one exchange owes the department, and what that has."""

    exchange: str
    rows: list[Received]
    """By day and division."""
    why: Mapping[str, str]
    """Closure that is missing or differs -> what became of its newest version: `waiting`, `dead`, `unsent` ..."""
    unnamed: int
    """Closures that the department has and that no store of ours names any more."""

    @property
    def balanced(self) -> bool:
        """Whether what was received is what is due."""
        return not self.unnamed and all(row.balanced for row in self.rows)


class _Version(NamedTuple):
    version: int
    content: int
    withdrawn: bool
    routes: tuple[str, ...]


class _Sent(NamedTuple):
    """Of each record, by key, what went to the department."""

    taken: dict[Halves, _Version]
    """The newest version that was acknowledged."""
    newest: dict[Halves, tuple[int, str]]
    """The newest version at all, and what became of it."""
    names: set[str]
    """Destinations that anything was addressed to."""


def emission_exchanges(state: State, sealer: Sealer) -> list[Exchange]:
    """The exchanges of a state that send closures, by the settings that they last ran with."""
    r = tables.runs
    with state.reading() as connection:
        names = connection.execute(select(r.c.exchange).distinct().order_by(r.c.exchange)).scalars().all()
        kept = [newest_exchange(connection, sealer, name) for name in names]
    return [one for one in kept if one is not None and one.source.options.get("derivation") == "emissions"]


def balance(state: State, exchange: Exchange, destinations: str = DESTINATIONS) -> Balance:
    """Received against due of one exchange.

    Args:
        state: the state that the exchange runs on; need not be owned.
        exchange: its settings, placed.
        destinations: a glob: who is an environment department.

    Raises:
        Misconfigured: a store or a register is not there.
        Unavailable: a store is not to be had now.
    """
    due = dict(_due(exchange))
    with state.reading() as connection:
        sent = _sent(connection, exchange.name, destinations)
    there: dict[Halves, Closure] = {}
    unknown: dict[Halves, _Version] = {}
    for key, one in sent.taken.items():
        if one.withdrawn:
            continue
        if key in due and one.content == int.from_bytes(content_digest(due[key].content()), "big"):
            there[key] = due[key]
        else:
            unknown[key] = one
    there.update(_read_back(state, exchange, unknown))
    rows = received(due.values(), there.values(), _as_told(exchange, sorted(sent.names)))
    why = {
        " ".join(one.identity[:2]): sent.newest[key][1] if key in sent.newest else UNSENT
        for key, one in {**there, **due}.items()
    }
    wanted = {name for row in rows for name in (*row.missing, *row.differing, *row.unexpected)}
    told = {name: end for name, end in sorted(why.items()) if name in wanted}
    return Balance(exchange.name, rows, told, len(unknown.keys() - there.keys()))


def _due(exchange: Exchange) -> Iterator[tuple[Halves, Closure]]:
    with closing(cast("DerivedSource", make_source(exchange))) as source:
        for document in source.everything():
            if isinstance(document, Closure):
                name = exchange.versions.system, document.identity.issuer, document.listed
                yield key_halves(key_digest(exchange.scope, *name)), document


def _sent(connection: Connection, exchange: str, destinations: str) -> _Sent:
    b, j = tables.batches, tables.journals
    wanted = select(j.c.lines, b.c.state).join(b, b.c.id == j.c.batch).where(b.c.exchange == exchange)
    sent = _Sent({}, {}, set())
    for packed, state in connection.execute(wanted.order_by(b.c.number, j.c.item).execution_options(yield_per=8)):
        book = Journal.unpack(packed)
        for line in book.lines[book.lines["fate"] == ADDRESSED]:
            routes = book.routes[int(line["routes"])]
            asked = [name for name in routes if fnmatch.fnmatchcase(name, destinations)]
            sent.names.update(asked)
            told = book.outcomes.get(str(int(line["ordinal"])), {})
            usual = "delivered" if state == "closed" else "in_flight"
            for outcome in (told.get(name, usual) for name in asked):
                _note(sent, line, routes, outcome)
    return sent


def _note(sent: _Sent, line: Any, routes: tuple[str, ...], outcome: str) -> None:
    key, version = (int(line["key_hi"]), int(line["key_lo"])), int(line["version"])
    if version >= sent.newest.get(key, (0, ""))[0]:
        sent.newest[key] = version, outcome
    if outcome in RECEIVED and (key not in sent.taken or version > sent.taken[key].version):
        sent.taken[key] = _Version(version, int(line["content"]), is_withdrawn(line), routes)


def _read_back(state: State, exchange: Exchange, wanted: Mapping[Halves, _Version]) -> dict[Halves, Closure]:
    """Versions of closures as our own stores hold them that got them too."""
    found: dict[Halves, Closure] = {}
    if not wanted:
        return found
    sinks = Sinks(exchange, state, make=False)
    try:
        for destination in sorted({name for one in wanted.values() for name in one.routes}):
            _, sink = sinks.row_sink(destination)
            if isinstance(sink, SqlSink):
                found.update(_versions(Store(sink.settings), exchange.scope, wanted))
    finally:
        sinks.close()
    return found


def _versions(store: Store, scope: str, wanted: Mapping[Halves, _Version]) -> Iterator[tuple[Halves, Closure]]:
    own = store.table.c
    if "members" not in own:
        return  # tables of somebody else's: what was sent is not to be read back there
    asked = select(own.system, own.companycode, own.costlistcode, own.version, own.members).where(
        own.kind == Closure.KIND, own.withdrawn.is_(None)
    )
    try:
        with translated(), store.engine.connect().execution_options(yield_per=2_000) as connection:
            for *name, version, members in connection.execute(asked):
                key = key_halves(key_digest(scope, *name))
                if key in wanted and wanted[key].version == version:
                    yield key, Closure.of_members(orjson.loads(members))
    finally:
        store.engine.dispose()


def _as_told(exchange: Exchange, destinations: list[str]) -> Callable[[Closure], object]:
    """A closure as each destination's agreement lets it out: that in force, else the first that covers it at all."""
    standing, now = Agreed(exchange.agreements).standing(), datetime.now(UTC)
    terms = []
    for name in destinations:
        covering = standing.matching(name, Closure.KIND)
        terms.append(
            standing.in_force(name, Closure.KIND, now) or (covering[0].terms(Closure.KIND) if covering else None)
        )
    if any(one is None or one.whole for one in terms):
        return lambda closure: closure

    def told(closure: Closure) -> object:
        record = orjson.loads(encode_document(closure, {}))
        return [one.apply(record) for one in terms if one is not None]

    return told
