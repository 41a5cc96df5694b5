"""The sinks of an exchange at the coordinator: one object a destination, made when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import orjson

from connectors import registry
from connectors.contracts import UNAVAILABLE, ConnectorError, Misconfigured, Outcome, PartSink, Sink, Tally
from connectors.gates import Pause
from mappings.encoding import SCHEMA
from pipelines.errors import SettingsError
from pipelines.registers import RegisterSink
from pipelines.settings import Exchange
from pipelines.state import State
from pipelines.steps import OPERATORS, REGISTRATIONS
from pipelines.storeform import table_of
from pipelines.workbench import is_part_sink, sink_name

OWN = "state"
"""Name of the sink that writes reference records to the state's registers."""


class Sinks:
    """Sinks by destination. `{destination}` in a sink's options stands for the destination's name.

    `make=False` is for those who only look: a store that is not there is not made.
    """

    def __init__(self, exchange: Exchange, state: State, *, make: bool = True) -> None:
        self._exchange, self._state, self._create = exchange, state, make
        self._made: dict[str, Any] = {}

    def agree(self) -> None:
        """See that the sinks can work together.

        Raises:
            SettingsError: records would go both into whole files and into rows, receipts have no sink of files, or
                files would have to wait for what is decided after they are written.
        """
        receipts = self.name(self._exchange.rules.receipts) if self._exchange.rules.receipts else ""
        if self._exchange.rules.receipts and (not receipts or not self.is_part_sink(receipts)):
            message = (
                f"rules.receipts: 没有文件类 sink 接收 {self._exchange.rules.receipts}；请添加"
                f' / no sink of files serves {self._exchange.rules.receipts}: add one, connector = "files"'
            )
            raise SettingsError(message)
        kinds = {name: self.is_part_sink(name) for name in self._exchange.sinks if name != receipts}
        if len(set(kinds.values())) > 1:
            files = ", ".join(name for name, parts in kinds.items() if parts)
            message = (
                f"sinks: 一个交换的记录只能全部写文件或全部写行，{files} 是文件；请拆成两个交换"
                f" / one exchange writes either files or rows, and {files} are files: make it two exchanges"
            )
            raise SettingsError(message)
        rules = self._exchange.rules
        decided = {
            "rules.history": rules.history,
            "rules.merge": rules.merge,
            "versions.also_held": self._exchange.versions.also_held,
        }
        if any(kinds.values()) and any(decided.values()):
            named = ", ".join(name for name, value in decided.items() if value)
            message = (
                f"{named}: 文件在决定之前已写好，写文件的交换不能使用；请去掉，或改用 sql 等按行写入的 sink"
                " / files are written before it is decided, so an exchange into files cannot have it:"
                " remove it, or use a sink of rows (sql)"
            )
            raise SettingsError(message)

    def name(self, destination: str) -> str:
        """Name of the sink that serves a destination; empty when none does."""
        if destination in (REGISTRATIONS, OPERATORS):
            return OWN
        return sink_name(self._exchange, destination)

    def repaircomefrom(self, name: str) -> int:
        """What the sink's settings say of 维修企业来源; 0: as the record has it."""
        return self._exchange.sinks[name].repaircomefrom if name in self._exchange.sinks else 0

    def form(self, destination: str) -> str:
        """The outbound form of documents that the settings of a destination's sink name; empty: our own."""
        name = self.name(destination)
        return self._exchange.sinks[name].form if name in self._exchange.sinks else ""

    def as_row(self, name: str) -> bool:
        """Whether deliveries are bodies of a row store."""
        return name in self._exchange.sinks and self._exchange.sinks[name].connector == "sql"

    def row_sink(self, destination: str) -> tuple[str, Sink]:
        """The name and the sink of a destination that takes rows."""
        name = self.name(destination)
        if name == OWN:
            return OWN, RegisterSink(self._state, destination)
        if not name:
            return "", _Nowhere(destination)
        if self.is_part_sink(name):
            return name, _Nowhere(destination, f"{name}: 只写整个文件 / this sink writes whole files only")
        try:
            return name, cast("Sink", self._make(name, destination))
        except ConnectorError as error:
            return name, _Nowhere(destination, str(error))

    def part_sink(self, name: str) -> PartSink:
        """A sink of whole files by its name in the settings.

        Raises:
            Misconfigured: there is none of that name any more.
        """
        if name not in self._exchange.sinks or not self.is_part_sink(name):
            message = f"sinks.{name}: 设置中没有这个写文件的 sink / the settings have no sink of files of this name"
            raise Misconfigured(message)
        return cast("PartSink", self._make(name, ""))

    def parts(self) -> Mapping[str, PartSink]:
        """All sinks of whole files."""
        return {name: self.part_sink(name) for name in self._exchange.sinks if self.is_part_sink(name)}

    def is_part_sink(self, name: str) -> bool:
        """Whether the sink's deliveries are whole files."""
        return is_part_sink(self._exchange, name)

    def takes_files(self, destination: str) -> bool:
        """Whether what goes to a destination are whole files."""
        name = self.name(destination)
        return name in self._exchange.sinks and self.is_part_sink(name)

    def _make(self, name: str, destination: str) -> Any:
        sink = self._exchange.sinks[name]
        options = {
            key: value.replace("{destination}", destination) if isinstance(value, str) else value
            for key, value in sink.options.items()
        }
        place = orjson.dumps([name, {k: str(v) for k, v in options.items()}]).decode()
        made = self._made.get(place)
        if made is None:
            if sink.avro:
                options.setdefault("schema", SCHEMA)
            if sink.connector == "sql":
                options.setdefault("table", table_of(self._exchange.mapping.kinds))
            if sink.connector in ("sql", "rowsets"):
                (_make_room if self._create else must_be_there)(str(options.get("url", "")))
            made = registry.sink(sink.connector, options)
            if self._create and hasattr(made, "create"):
                made.create()
            self._made[place] = made
        return made

    def close(self) -> None:
        """Close every sink that was made."""
        for made in self._made.values():
            if hasattr(made, "close"):
                made.close()
        self._made.clear()


def _make_room(url: str) -> None:
    """The folder of a SQLite store, made when it is missing; other databases have none of ours."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def must_be_there(url: str) -> None:
    """Refuse a SQLite store that is gone: opening it would make an empty one."""
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    if url.startswith("sqlite:///") and not path.is_file():
        message = f"数据库文件不存在 / the database file is gone: {path}"
        raise Misconfigured(message, "请从备份恢复 / restore it from its backup")


class _Nowhere:
    """Stands for a destination that no sink serves, or whose sink cannot be made: what is for it waits."""

    def __init__(self, destination: str, why: str = "") -> None:
        self._why = why or (
            f"没有为 {destination} 配置 sink / no sink serves {destination}: add one to [sinks] whose `for` fits it"
        )

    def pause(self) -> Pause:
        """It is never called, so what waits for it counts as never tried."""
        return Pause(1.0, self._why)

    def write(self, deliveries: Any) -> list[Outcome]:
        return [Outcome(UNAVAILABLE, self._why)] * len(deliveries)

    def verify(self, batch: str) -> Tally:
        raise Misconfigured(self._why)

    def check(self) -> list[str]:
        raise Misconfigured(self._why)

    def close(self) -> None:
        return
