"""Reads records back by VIN from Avro parts, SQL stores and what waits: the journal finds, this proves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import orjson
from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import SQLAlchemyError

from connectors.catalogue import files_of
from connectors.contracts import ConnectorError
from connectors.parts import place_of
from connectors.sqlbase import Store
from connectors.sqlstore import SqlSink
from dlq.errors import SealError
from dlq.sealing import Sealer
from mappings.encoding import key_digest
from pipelines import tables
from pipelines.keptsettings import kept_exchange
from pipelines.sealedrows import open_waiting
from pipelines.settings import Exchange
from pipelines.sinks import OWN, Sinks
from pipelines.state import State
from pipelines.versions import key_halves

Halves = tuple[int, int]


class Name(NamedTuple):
    """What names a record."""

    system: str
    companycode: str
    costlistcode: str

    @classmethod
    def of(cls, record_key: str) -> Name:
        """The name in a record key as text. Raises ValueError: it is none."""
        system, company, code = (part.replace("%7C", "|").replace("%25", "%") for part in record_key.split("|"))
        return cls(system, company, code)


class Lookup:
    """Finds the names of one vehicle's records. Parts and stores are read once each."""

    def __init__(self, state: State, sealer: Sealer, vin: str) -> None:
        self._state, self._sealer, self._vin = state, sealer, vin
        self._runs: dict[int, tuple[Exchange, Sinks] | None] = {}
        self._read: dict[str, list[Name]] = {}

    def close(self) -> None:
        """Close the stores that were opened."""
        for made in self._runs.values():
            if made is not None:
                made[1].close()

    def scope(self, connection: Connection, run: int) -> str:
        """The version index scope that a run worked in; empty when it kept no settings."""
        made = self._made(connection, run)
        return made[0].scope if made is not None else ""

    def name(
        self, connection: Connection, run: int, batch: str, item: int, ordinal: int, key: Halves, routes: Sequence[str]
    ) -> Name | None:
        """The name of the record with this key digest; None when no part, store or waiting row can prove it."""
        scope = self.scope(connection, run)
        for names in self._places(connection, run, batch, item, ordinal, routes):
            for name in names:
                if key_halves(key_digest(scope, *name)) == key:
                    return name
        return None

    def archived(self, connection: Connection, run: int, batch: str, routes: Sequence[str]) -> list[str]:
        """Names of the archives in which what a batch brought to these destinations lies."""
        made = self._made(connection, run)
        found: list[str] = []
        for destination in routes if made is not None else ():
            sink = made[1].row_sink(destination)[1] if made is not None else None
            store = Store(sink.settings) if isinstance(sink, SqlSink) else None
            if store is not None and store.divided:
                try:
                    with store.engine.connect() as asked:
                        found += files_of(asked, store.spec.name, batch)
                except (SQLAlchemyError, ConnectorError):
                    continue
                finally:
                    store.engine.dispose()
        return list(dict.fromkeys(found))

    def _made(self, connection: Connection, run: int) -> tuple[Exchange, Sinks] | None:
        if run not in self._runs:
            exchange = kept_exchange(connection, self._sealer, run)
            self._runs[run] = None if exchange is None else (exchange, Sinks(exchange, self._state, make=False))
        return self._runs[run]

    def _places(
        self, connection: Connection, run: int, batch: str, item: int, ordinal: int, routes: Sequence[str]
    ) -> Iterator[Iterable[Name]]:
        p, w = tables.parts, tables.waiting
        rows = connection.execute(select(w).where(w.c.batch == batch, w.c.item == item, w.c.ordinal == ordinal)).all()
        yield [name for name, vin in map(self._waiting, rows) if name is not None and vin == self._vin]
        finals = connection.execute(
            select(p.c.sink, p.c.final, p.c.temporary, p.c.promoted).where(
                p.c.batch == batch, p.c.destination.in_(routes)
            )
        ).all()
        made = self._made(connection, run)
        sinks = made[1].parts() if made is not None else {}
        for name, final, temporary, promoted in finals:
            place = place_of(final, sinks.get(name))
            if place is None or place.suffix != ".avro" or not place.name.split("--")[-1].startswith(f"{item:05d}-"):
                continue
            yield self._part(str(place) if promoted or not Path(temporary).exists() else temporary)
        for destination in routes if made is not None and not finals else ():
            yield self._store(made[1], destination, batch) if made is not None else ()

    def _waiting(self, row: Row[Any]) -> tuple[Name | None, str]:
        try:
            record = orjson.loads(open_waiting(self._sealer, row))
        except SealError:
            return None, ""
        return Name(record["system"], record["companycode"], record["costlistcode"]), record.get("vin", "")

    def _part(self, path: str) -> list[Name]:
        if path not in self._read:
            found = []
            try:
                with Path(path).open("rb") as file:
                    record: Any
                    for record in fastavro.reader(file):
                        if record["vin"] == self._vin:
                            found.append(Name(record["system"], record["companycode"], record["costlistcode"]))
            except (OSError, ValueError, EOFError, LookupError, TypeError):
                found = []  # gone or damaged: `vingate ledger` says so
            self._read[path] = found
        return self._read[path]

    def _store(self, sinks: Sinks, destination: str, batch: str) -> list[Name]:
        """Names in a store: those of the vehicle, or, where the table has no VIN, those that the batch brought."""
        name, sink = sinks.row_sink(destination)
        if name == OWN or not isinstance(sink, SqlSink):
            return []
        place = sink.settings.url.get_secret_value()
        store = Store(sink.settings)
        own = store.table.c
        if "vin" not in own:
            place = f"{place} {batch}"
        if place not in self._read:
            wanted = own.vin == self._vin if "vin" in own else own.batch == batch
            try:
                with store.engine.connect() as connection:
                    keys = connection.execute(select(own.record_key).where(wanted).distinct()).scalars()
                    self._read[place] = [Name.of(key) for key in keys]
            except (SQLAlchemyError, ConnectorError, ValueError):
                self._read[place] = []
            finally:
                store.engine.dispose()
        return self._read[place]
