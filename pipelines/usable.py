"""Whether settings can work, asked before a run begins: all that they name is loaded, nothing is touched."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors import registry
from mappings.documents.kinds import KINDS
from mappings.documents.outbound import OUTBOUND
from mappings.encoding import SCHEMA
from mappings.findings import profile
from mappings.reading import AUTO, known
from pipelines.agreecheck import agree, needs_of, over
from pipelines.errors import SettingsError
from pipelines.runnable import runnable
from pipelines.settings import Destinations, Exchange
from pipelines.storeform import table_of, takes_documents
from pipelines.workbench import dealers, make_source
from routing.table import load_table


def usable(exchange: Exchange) -> None:
    """Load mapping, profile, routing table and registers, and build the connectors and find the runner that are named.

    Raises:
        MappingError: no such dialect or mapping file.
        ProfileError: no such profile.
        RoutingError: no such routing table or register, or a wrong one.
        Misconfigured: no such connector, or options that it refuses.
        SettingsError: a register cannot be read, the runner cannot run, or a flow has no agreement that lets through
            what it needs.
    """
    runnable(exchange)
    if exchange.mapping.dialect != AUTO:
        known(exchange.mapping.dialect)
    profile(exchange.mapping.profile)
    load_table(exchange.routing.table)
    dealers(exchange)
    make_source(exchange)
    kinds = exchange.mapping.kinds
    if takes_documents(kinds):
        _documents_only(exchange)
    for sink in exchange.reconcile.ask.values():
        built(sink, kinds)
    made = {name: built(sink, kinds) for name, sink in exchange.sinks.items()}
    parts = frozenset(name for name, sink in made.items() if hasattr(sink, "promote"))
    agree(exchange, needs_of(exchange, made), parts)
    if parts == exchange.sinks.keys() and len({exchange.sinks[name].avro for name in parts}) > 1:
        message = (
            "一个交换的文件型 sink 须同为 avro 或同为其他格式；请拆成两个交换"
            " / the file sinks of one exchange are all avro or all others: make two exchanges of it"
        )
        raise SettingsError(message)


def _documents_only(exchange: Exchange) -> None:
    """Refuse what documents do not have. Raises SettingsError."""
    others = [kind for kind in exchange.mapping.kinds if kind not in KINDS]
    if others:
        message = (
            f"mapping.kinds: 单证与 {', '.join(others)} 不能在同一交换；请拆成两个"
            f" / documents and {', '.join(others)} are not taken by one exchange: make two of it"
        )
        raise SettingsError(message)
    for name, given in (("rules.history", exchange.rules.history), ("rules.merge", exchange.rules.merge)):
        if given:
            message = f"{name}: 只用于维修记录；请删除 / is for repair records only: remove it"
            raise SettingsError(message)
    for name, sink in exchange.sinks.items():
        if sink.form and sink.form not in OUTBOUND:
            message = f"sinks.{name}.form: 没有 {sink.form} / there is no {sink.form}: {', '.join(OUTBOUND)}"
            raise SettingsError(message)
        if sink.avro:
            message = f"sinks.{name}: 单证没有 Avro 格式，请用 files / documents have no Avro form: use files"
            raise SettingsError(message)


def begun(exchange: Exchange) -> None:
    """See that there is something to read and that it may leave: a run that cannot begin leaves no state behind.

    A service begins all the same: what else it does must go on when an agreement has ended.

    Raises:
        Misconfigured: the source's path does not exist.
        SettingsError: the agreements of a flow are over.
    """
    for wrong in over(exchange, datetime.now(UTC)):
        raise SettingsError(wrong)
    if not Path(str(exchange.source.options.get("path", "."))).exists():
        make_source(exchange).check()


def built(sink: Destinations, kinds: Collection[str]) -> Any:
    """The sink as its settings say, `{destination}` left as it stands. Raises Misconfigured."""
    options = sink.options
    if sink.avro:
        options.setdefault("schema", SCHEMA)
    if sink.connector == "sql":
        options.setdefault("table", table_of(kinds))
    return registry.sink(sink.connector, options)
