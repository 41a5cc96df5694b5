"""The tools of a worker process, built once for a job: readers, judges, router, encoders, sealer, connectors."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import orjson

from connectors import registry
from connectors.contracts import PartSink, Source
from dlq.letter import Origin
from dlq.sealing import Sealer
from mappings import dates, plainly, quick, quickjudge
from mappings.documents import DIALECT as DOCUMENTS
from mappings.documents.quickinterchange import compile_written_reader
from mappings.encoding import SCHEMA
from mappings.findings import Profile, profile
from mappings.judging import REPAIR, Context, Draft
from mappings.quickinterchange import MESSAGES, compile_carried_reader, iso_day
from mappings.reading import Limits
from mappings.records import RepairRow, VehicleRegistration
from pipelines import sources
from pipelines.errors import SettingsError
from pipelines.heap import settle
from pipelines.settings import Exchange
from pipelines.storeform import table_of
from pipelines.version import BUILD
from pipelines.work import Directive, Job
from routing.dealers import Dealers, load_dealers, load_oems
from routing.homes import MemoryRegistrations
from routing.router import Router
from routing.table import load_table

QUICK_DIALECT = "national"
"""The dialect of everything that the quick path reads."""
QUICK_SHAPES = {"national": (quick.NATIONAL,), "auto": (quick.NATIONAL,)}
"""Dialects that have a quick path; of several shapes the first that fits."""


class _Names(dict[Any, tuple[str, ...]]):
    def __missing__(self, routes: Any) -> tuple[str, ...]:
        names = self[routes] = tuple(route.destination for route in routes)
        return names


class Workbench:
    """Everything that the steps of one job use. Parts are built when they are first asked for."""

    def __init__(self, job: Job) -> None:
        self.job = job
        told = orjson.dumps(job.exchange, default=str)
        self.exchange = cast("Exchange", _made(("exchange", told), lambda: Exchange.model_validate(dict(job.exchange))))
        self.received_at = datetime.fromisoformat(job.received_at)

    @cached_property
    def source(self) -> Source:
        """The source that the work items are read from."""
        return make_source(self.exchange)

    @cached_property
    def profile(self) -> Profile:
        """How strictly is judged."""
        return profile(self.exchange.mapping.profile)

    @cached_property
    def limits(self) -> Limits:
        """Bounds on payloads."""
        bounds = self.exchange.limits
        return Limits(bounds.payload_bytes, bounds.depth, bounds.rows, bounds.members)

    @cached_property
    def context(self) -> Context:
        """What judging knows, without the company of the item."""
        return Context(self.profile, self.received_at, company_required=True)

    def context_for(self, company: str) -> Context:
        """What judging knows about a payload of this company."""
        return replace(self.context, company=company) if company else self.context

    @cached_property
    def latest(self) -> Any:
        """The latest settle date that is not in the future (rule 13)."""
        return dates.day_in_shanghai(self.received_at) + timedelta(days=self.profile.limits["days_ahead"])

    @cached_property
    def quick_read(self) -> Any:
        """The quick reader of the exchange's dialect, or None."""
        dialect = self.exchange.mapping.dialect
        if dialect == DOCUMENTS:
            return _made(("documents", self.limits), lambda: compile_written_reader(self.limits))
        if dialect not in (*QUICK_SHAPES, *MESSAGES) or "repair" not in self.exchange.mapping.kinds:
            return None
        return _made(("reader", dialect, self.limits), self._reader)

    def is_quick(self, dialect: str) -> bool:
        """Whether payloads that are to be read in this dialect may be read by the quick reader of the exchange's."""
        own = self.exchange.mapping.dialect
        return dialect == own or (dialect == QUICK_DIALECT and own not in (*MESSAGES, DOCUMENTS))

    def _reader(self) -> Any:
        dialect = self.exchange.mapping.dialect
        if dialect in MESSAGES:
            return compile_carried_reader(MESSAGES[dialect], self.limits)
        return quick.compile_block_reader(QUICK_SHAPES[dialect][0], self.limits)

    @cached_property
    def quick_judge(self) -> Any:
        """The quick judge that goes with the quick reader."""
        remarks, day = bool(self.exchange.rules.receipts), plainly.day
        if self.exchange.mapping.dialect in MESSAGES:
            day = iso_day
        return _made(
            ("judge", self.exchange.mapping.profile, remarks, day),
            lambda: quickjudge.compile_judge(self.profile, remarks=remarks, day=day),
        )

    @cached_property
    def sheet_read(self) -> Any:
        """The reader of whole blocks into columns, or None where records do not go into Avro files as they came."""
        if not self.in_avro or self.quick_read is None or self.exchange.mapping.dialect in (*MESSAGES, DOCUMENTS):
            return None
        from mappings.sheetreader import compile_sheet_reader

        shape = QUICK_SHAPES[self.exchange.mapping.dialect][0]
        return _made(
            ("sheets", self.exchange.mapping.dialect, self.limits), lambda: compile_sheet_reader(shape, self.limits)
        )

    @cached_property
    def block(self) -> int:
        """Envelopes that flow through the steps together: rows are cheapest by the hundred, columns by the thousand."""
        return self.exchange.batch.block or (4_096 if self.sheet_read is not None else 512)

    @cached_property
    def sheet_judge(self) -> Any:
        """The judge that goes with the reader of whole blocks."""
        from mappings.sheetjudge import compile_sheet_judge

        remarks = bool(self.exchange.rules.receipts)
        return _made(
            ("sheet judge", self.exchange.mapping.profile, remarks),
            lambda: compile_sheet_judge(self.profile, remarks=remarks),
        )

    @cached_property
    def draft_of(self) -> Any:
        """The draft of what the quick reader took apart, for the careful path."""
        shapes = QUICK_SHAPES[self.exchange.mapping.dialect]
        return quick.draft_maker(shapes[0], QUICK_DIALECT)

    def draft_of_members(self, members: Mapping[str, Any]) -> Draft | None:
        """The draft of members that a sheet's reader took apart, for the careful path; None where some are missing."""
        if len(members) < len(RepairRow._fields):
            return None
        return Draft(REPAIR, QUICK_DIALECT, members, self._wire)

    @cached_property
    def _wire(self) -> Mapping[str, str]:
        return quick.wire_names(QUICK_SHAPES[self.exchange.mapping.dialect][0])

    @cached_property
    def names(self) -> _Names:
        """Routes -> names of their destinations."""
        return _Names()

    @cached_property
    def router(self) -> Router:
        """Decides destinations, with the registrations and dealers of this job."""
        table = _made(("table", self.exchange.routing.table), lambda: load_table(self.exchange.routing.table))
        if self.job.registrations:
            return Router(table, self.registrations, register(self.exchange))
        return cast(
            "Router", _made(("router", self.exchange.routing), lambda: Router(table, None, register(self.exchange)))
        )

    @cached_property
    def registrations(self) -> MemoryRegistrations | None:
        """The snapshot of vehicle registrations that this batch is routed by."""
        if not self.job.registrations:
            return None
        return MemoryRegistrations(read_registrations(Path(self.job.registrations)))

    @cached_property
    def sealer(self) -> Sealer:
        """Seals what is kept of payloads."""
        return cast("Sealer", _made(("sealer", self.job.key), lambda: Sealer.open(Path(self.job.key), create=False)))

    @cached_property
    def part_sinks(self) -> Mapping[str, PartSink]:
        """The sinks of this exchange whose deliveries are whole files, by their name in the settings."""
        return make_part_sinks(self.exchange)

    @cached_property
    def in_parts(self) -> bool:
        """Whether records go out as whole files, staged by workers; else as rows, written by the coordinator."""
        return bool(self.exchange.sinks) and all(name in self.part_sinks for name in self.exchange.sinks)

    @cached_property
    def in_avro(self) -> bool:
        """Whether those files are Avro; else they hold canonical JSON, a record a line."""
        return self.in_parts and all(sink.avro for sink in self.exchange.sinks.values())

    @lru_cache(maxsize=4_096)  # noqa: B019 - a workbench lives as long as its process works on the job
    def sink_of(self, destination: str) -> str:
        """Name of the sink that serves a destination; empty when none does."""
        return sink_name(self.exchange, destination)

    @cached_property
    def directives(self) -> Mapping[int, Mapping[int, Directive]]:
        """Item number -> ordinal -> directive."""
        if not self.job.directives:
            return {}
        raw = json.loads(Path(self.job.directives).read_text("utf-8"))
        return {
            int(number): {int(o): Directive(d[0], d[1], tuple(d[2])) for o, d in entries.items()}
            for number, entries in raw.items()
        }

    def origin(self, source: str, company: str, system: str) -> Origin:
        """What letters of an item have in common."""
        return Origin(
            exchange=self.exchange.name,
            batch=self.job.batch,
            source=source,
            company=company,
            system=system,
            profile=self.job.profile or self.exchange.mapping.profile,
            build=BUILD,
            received_at=self.job.received_at,
        )


def sink_name(exchange: Exchange, destination: str) -> str:
    """Name of the sink that serves a destination: the first whose `for` fits; empty when none does."""
    for name, sink in exchange.sinks.items():
        if fnmatch.fnmatchcase(destination, sink.for_):
            return name
    return ""


def make_source(exchange: Exchange) -> Source:
    """The source of an exchange. One on a server is kept: connecting costs as much as a batch. Raises Misconfigured."""
    told = orjson.dumps(exchange.source.options, default=str, option=orjson.OPT_SORT_KEYS)
    name = ("source", os.getpid(), exchange.source.connector, exchange.mapping.kinds, told)
    kept = _PARTS.get(name)
    if kept is None:
        kept = sources.make(exchange.source, table_of(exchange.mapping.kinds))
        if getattr(kept, "remote", False):
            _PARTS[name] = kept
    return cast("Source", kept)


def is_part_sink(exchange: Exchange, name: str) -> bool:
    """Whether deliveries of the sink of this name are whole files. Raises Misconfigured."""
    return hasattr(registry.connector("sink", exchange.sinks[name].connector), "promote")


def owned(exchange: Exchange, state: Path) -> Exchange:
    """The exchange with each file sink told whose staging it does: a state sweeps what it staged and nothing else."""
    owner = blake2b(str(state.resolve()).encode(), digest_size=8).hexdigest()
    sinks = {
        name: sink.model_copy(update={"owner": owner})
        if "owner" in registry.connector("sink", sink.connector).Settings.model_fields and "owner" not in sink.options
        else sink
        for name, sink in exchange.sinks.items()
    }
    return exchange.model_copy(update={"sinks": sinks})


def make_part_sinks(exchange: Exchange) -> dict[str, PartSink]:
    """The sinks of an exchange whose deliveries are whole files, by name. Raises Misconfigured."""
    made: dict[str, PartSink] = {}
    for name, sink in exchange.sinks.items():
        if is_part_sink(exchange, name):
            options = sink.options
            if sink.avro:
                options.setdefault("schema", SCHEMA)
            made[name] = cast("PartSink", registry.sink(sink.connector, options))
    return made


def register(exchange: Exchange) -> Dealers | None:
    """The dealer register that an exchange names, read once by this process, or None."""
    return cast("Dealers | None", _made(("dealers", exchange.routing), lambda: dealers(exchange)))


def dealers(exchange: Exchange) -> Dealers | None:
    """The dealer register that an exchange names, or None."""
    routing = exchange.routing
    return read_dealers(routing.dealers, routing.oems) if routing.dealers else None


def read_dealers(register: str, listed: str = "") -> Dealers:
    """The dealer register of a file, with the OEM list of another one, else the shipped list.

    Raises:
        SettingsError: a file cannot be read.
        RoutingError: what stands in it is no register or list.
    """
    oems = load_oems(_text(listed), _form(listed), listed) if listed else load_oems(_shipped_oems())
    return Dealers(load_dealers(_text(register), _form(register), register), oems)


def _form(path: str) -> str:
    return {".csv": "csv", ".toml": "toml"}.get(Path(path).suffix.lower(), "ndjson")


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        message = f"无法读取 {path}：{error.strerror} / cannot read {path}: {error.strerror}"
        raise SettingsError(message) from None
    except UnicodeDecodeError:
        message = f"{path} 不是 UTF-8 文本；请另存为 UTF-8 / {path} is no text in UTF-8: save it as UTF-8"
        raise SettingsError(message) from None


def _shipped_oems() -> str:
    return files("routing").joinpath("data/oems.toml").read_text("utf-8")


def read_registrations(path: Path) -> list[VehicleRegistration]:
    """The registrations of a snapshot file."""
    with path.open("rb") as lines:
        return [VehicleRegistration.model_validate_json(line) for line in lines]


_BENCHES: dict[tuple[str, str, str], Workbench] = {}
_PARTS: dict[Any, Any] = {}


def _made(name: Any, make: Callable[[], Any]) -> Any:
    """What is the same for every batch of an exchange, made once in this process."""
    if name not in _PARTS:
        _PARTS[name] = make()
    return _PARTS[name]


def forget() -> None:
    """Make everything anew: tables, profiles or mappings have changed."""
    _PARTS.clear()
    _BENCHES.clear()


def workbench(job: Job) -> Workbench:
    """The workbench of a job in this process: made once, however many steps ask."""
    name = (job.batch, job.staging, job.directives)
    bench = _BENCHES.get(name)
    if bench is None:
        _BENCHES.clear()
        bench = _BENCHES[name] = Workbench(job)
        settle()
    return bench
