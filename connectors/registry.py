"""Connectors by name, found through entry points and imported only when they are asked for.

A third party adds a connector with an entry point in the group `vingate.sources`, `vingate.feeds` or `vingate.sinks`;
its class has a pydantic model as attribute `Settings` and is built as `Connector(Settings(...))`. The built-in ones are
listed here too, so that a checkout works whose package metadata is older or missing; an entry point of the same name
wins only if it is no built-in.

    >>> from connectors.registry import names
    >>> "files" in names("source")
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal

from pydantic import ValidationError

from connectors.contracts import Feed, Misconfigured, PartSink, Sink, Source

Kind = Literal["source", "feed", "sink"]

_GROUPS: dict[Kind, str] = {"source": "vingate.sources", "feed": "vingate.feeds", "sink": "vingate.sinks"}
_BUILT_IN: dict[Kind, dict[str, str]] = {
    "source": {
        "files": "connectors.files:FilesSource",
        "avro": "connectors.avrofiles:AvroSource",
        "sql": "connectors.sqlstore:SqlSource",
        "query": "connectors.querysource:QuerySource",
        "sftp": "connectors.sftpsource:SftpSource",
        "s3": "connectors.s3source:S3Source",
        "memory": "connectors.memory:MemorySource",
    },
    "feed": {
        "amqp": "connectors.amqpfeed:AmqpFeed",
        "http": "connectors.restfeed:HttpFeed",
        "memory": "connectors.memory:MemoryFeed",
    },
    "sink": {
        "amqp": "connectors.amqpsink:AmqpSink",
        "files": "connectors.files:FilesSink",
        "avro": "connectors.avrofiles:AvroSink",
        "sql": "connectors.sqlstore:SqlSink",
        "rowsets": "connectors.rowsetsink:RowsetSink",
        "http": "connectors.restsink:HttpSink",
        "sftp": "connectors.sftpsink:SftpSink",
        "s3": "connectors.s3sink:S3Sink",
        "drop": "connectors.dropsink:DropSink",
        "memory": "connectors.memory:MemorySink",
        "memory-parts": "connectors.memory:MemoryPartSink",
    },
}


def _places(kind: Kind) -> dict[str, str]:
    """Name -> `module:Class` of all that is installed."""
    others = {point.name: point.value for point in entry_points(group=_GROUPS[kind])}
    return {**others, **_BUILT_IN[kind]}


def names(kind: Kind) -> list[str]:
    """The connectors of one kind that are installed, sorted; none of them is imported for it."""
    return sorted(_places(kind))


def known(kind: Kind, name: str) -> bool:
    """Whether a connector of this name is installed. The built-in ones are known without looking."""
    return name in _BUILT_IN[kind] or name in _places(kind)


def connector(kind: Kind, name: str) -> type[Any]:
    """The class of a connector.

    Raises:
        Misconfigured: no connector has this name, or its module cannot be imported.
    """
    place = _BUILT_IN[kind].get(name) or _places(kind).get(name)
    if place is None:
        zh = {"source": "来源", "feed": "推送来源", "sink": "去向"}[kind]
        message = f"没有名为 {name!r} 的{zh}连接器 / no {kind} connector is named {name!r}"
        raise Misconfigured(message, f"已安装 / installed: {', '.join(names(kind))}")
    module, _, attribute = place.partition(":")
    try:
        loaded = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        message = f"连接器 {name!r} 无法载入 ({place}) / connector {name!r} cannot be loaded ({place}): {error}"
        raise Misconfigured(message, "请安装其依赖 / install what it needs") from error
    if not isinstance(loaded, type) or not hasattr(loaded, "Settings"):
        message = f"{place} 不是连接器：缺少 Settings / {place} is no connector: it has no Settings"
        raise Misconfigured(message, "见 connectors.registry 的说明 / see connectors.registry")
    return loaded


def _build(kind: Kind, name: str, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any connector's class
    made = connector(kind, name)
    try:
        return made(made.Settings(**settings))
    except ValidationError as error:
        # Place and sentence only: the value may be a password.
        found = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or '(settings)'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        )
        known = ", ".join(field.alias or key for key, field in made.Settings.model_fields.items())
        message = f"连接器 {name!r} 的设置有误 / settings of connector {name!r}: {found}"
        raise Misconfigured(message, f"可用的设置 / settings it knows: {known}") from None


def source(name: str, settings: Mapping[str, Any]) -> Source:
    """Build the source connector `name` from its settings.

    Raises:
        Misconfigured: unknown name, or settings that the connector refuses (each with its place, never its value).
    """
    built: Source = _build("source", name, settings)
    return built


def feed(name: str, settings: Mapping[str, Any]) -> Feed:
    """Build the feed connector `name` from its settings.

    Raises:
        Misconfigured: unknown name, or settings that the connector refuses (each with its place, never its value).
    """
    built: Feed = _build("feed", name, settings)
    return built


def sink(name: str, settings: Mapping[str, Any]) -> Sink | PartSink:
    """Build the sink connector `name` from its settings.

    Raises:
        Misconfigured: unknown name, or settings that the connector refuses (each with its place, never its value).
    """
    built: Sink | PartSink = _build("sink", name, settings)
    return built
