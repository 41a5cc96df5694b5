"""Settings of a role: one TOML file says what `vingate serve` runs, and nothing else does.

    name = "province"
    [door]                                   # the door for shop software; leave it out: none
    port = 8443
    [exchanges.collect]                      # an exchange by its own file, with overrides beside it
    file = "{here}/../exchanges/collect.toml"
    records = 500                            # a micro-batch: so many records, or
    milliseconds = 20                        # so long
    [exchanges.collect.feeds.queue]          # sources that cannot be read again
    connector = "amqp"
    [exchanges.push]
    file = "{here}/../exchanges/push.toml"
    every = "5s"                             # sources that are scanned: every so often, or cron = "0 2 * * *"

Overrides from the environment and `--set a.b=c` work as for an exchange: `--set exchanges.collect.records=100`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from connectors import registry
from pipelines.door.settings import DoorSettings
from pipelines.errors import SettingsError
from pipelines.serving.logs import LogSettings
from pipelines.serving.schedules import Schedule, schedule
from pipelines.settings import Connector, Exchange, explained, line_of, override, read, refused, replaced

NO_SOURCE = {"connector": "memory", "hub": "nothing"}
"""The source of an exchange that is fed by the door and by feeds alone."""


_NAMING = (
    ("mapping", "dialect"),
    ("mapping", "profile"),
    ("routing", "table"),
    ("routing", "dealers"),
    ("routing", "oems"),
)
"""Options of an exchange that may name a file."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StateAddress(_Section):
    """Where the state lies."""

    url: SecretStr = SecretStr("")
    """Address of a PostgreSQL database, or `env:NAME`, `file:PATH`; empty: SQLite in the folder of `--state`."""
    share: bool = False
    """Whether several gateways, each with a folder of its own, work on this state together."""
    key: SecretStr = SecretStr("")
    """The key that all of them seal with: `file:PATH` of a copy of the first one's `keys/sealing.key`, or `env:NAME`.

    Empty: it lies in the folder of `--state`, where the first gateway makes it.
    """
    budgets: SecretStr = SecretStr("")
    """Address of a PostgreSQL database in which gateways with states of their own share their rate budgets.

    Any state's, or one of its own. Empty: the state's database where that is on PostgreSQL, else this process alone.
    """


class Work(_Section):
    """One exchange of a role, and how it is driven."""

    settings: Exchange
    feeds: dict[str, Connector] = {}
    """Connectors of kind feed, by a name of our choice; what they bring goes to the inbox."""
    every: str = ""
    """Scan the source so often: `5s`, `10m`, `1h`."""
    cron: str = ""
    """Scan the source at these moments, in China's time: `0 2 * * *`. What was missed while nothing ran is not made
    up for; a scan takes all that waits."""
    records: int = Field(default=500, ge=1, le=100_000)
    """Most records of a micro-batch."""
    milliseconds: int = Field(default=20, ge=0, le=60_000)
    """How long a micro-batch waits for more, after its first record."""

    @model_validator(mode="after")
    def _agrees(self) -> Work:
        schedule(self.every, self.cron)
        schedule("", self.settings.reconcile.cron)
        return self

    @property
    def schedule(self) -> Schedule:
        """When the source is scanned."""
        return schedule(self.every, self.cron)

    @property
    def reconciles(self) -> Schedule:
        """When what was sent is compared with what destinations hold."""
        return schedule("", self.settings.reconcile.cron)


class Door(DoorSettings):
    """The door (`pipelines.door.settings`), and the exchange that it is the door of."""

    exchange: str = "collect"
    """Name of the exchange whose mapping judges what comes in, and whose inbox it goes to."""


class HealthPort(_Section):
    """/healthz, /readyz and /metrics."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)
    """0: any free port, told in the line on stdout."""
    silent_seconds: float = Field(default=120, gt=1)
    """A process or a loop without a sign of life for so long is not healthy."""
    free_megabytes: int = Field(default=256, ge=0)
    """Not ready with less room than this on the state's disk."""


class Metrics(_Section):
    """/metrics."""

    enabled: bool = True
    cache_seconds: float = Field(default=5, ge=0)
    """What stands in the state is asked no more often than this."""


class Tracing(_Section):
    """OpenTelemetry spans of every batch and its stages."""

    enabled: bool = False
    """Needs `pip install 'vingate[tracing]'`."""
    endpoint: str = ""
    """OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; empty: as OTEL_EXPORTER_OTLP_ENDPOINT says."""


class Audit(_Section):
    """What those must say who look at a vehicle's records, and on what it may leave."""

    demanded: bool = False
    """Whether `vingate trace` needs --by and --for on this state, and every agreement a real approval: a role that
    would hand anything out under the example approval of a shipped pattern does not start then."""


DRAIN_SECONDS = 10.0
"""How long a door of several goes on after SIGTERM, unless the role says."""


class Role(_Section):
    """One role: any mix of door, feeds, scanned sources and schedules."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    description: str = ""
    state: StateAddress = StateAddress()
    door: Door | None = None
    exchanges: dict[str, Work] = Field(min_length=1)
    health: HealthPort = HealthPort()
    metrics: Metrics = Metrics()
    logging: LogSettings = LogSettings()
    tracing: Tracing = Tracing()
    audit: Audit = Audit()
    drain_seconds: float | None = Field(default=None, ge=0, le=600)
    """So long after SIGTERM `/readyz` says no and everything goes on, so that balancers move on before the door ends:
    choose more than they need to notice. Without it: 10 where gateways share a state and have a door, else 0."""
    stop_seconds: float = Field(default=28, gt=0, le=600)
    """What is not finished so long after that is killed; the state is safe, the next start goes on."""

    @property
    def drains(self) -> float:
        """Seconds for which a service that is to stop goes on."""
        if self.drain_seconds is not None:
            return self.drain_seconds
        return DRAIN_SECONDS if self.state.share and self.door is not None else 0.0

    @model_validator(mode="after")
    def _agrees(self) -> Role:
        named = (self.door.exchange, self.door.operators, self.door.insurers.exchange) if self.door else ()
        for name in named:
            if name and name not in self.exchanges:
                message = f"door: 没有交换 {name!r}；有 / there is no exchange {name!r}: {', '.join(self.exchanges)}"
                raise ValueError(message)
        if self.state.share:
            from pipelines.serving.shared import (
                refused as unshareable,  # late: roles that share nothing need none of it
            )

            problems = unshareable(self.exchanges)
            if problems:
                raise ValueError("state.share: " + "; ".join(problems))
        return self


@dataclass(frozen=True)
class Loaded:
    """A role as it was read: its settings, the plain data that children build them from, and the files it came from."""

    role: Role
    data: Mapping[str, Any]
    files: tuple[Path, ...]
    copies: Mapping[str, str] = field(default_factory=dict)
    """Path of a frozen copy -> that of its original."""

    def said(self, text: str) -> str:
        """A sentence with the originals' paths in place of their copies', which nobody edits."""
        for copied, original in self.copies.items():
            text = text.replace(copied, original)
        return text


def load(path: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Loaded:
    """The role of a settings file, each exchange whole, with overrides applied.

    Raises:
        SettingsError: a file that cannot be read, an unknown or wrong option: with line and remedy.
    """
    text, data = read(path)
    override(data, overrides, environment)
    given = data.get("exchanges", {})
    files = [path]
    if isinstance(given, dict):
        whole = {name: _whole(name, raw, path, text, files) for name, raw in given.items()}
        data = {**data, "exchanges": whole}
    try:
        role = Role.model_validate(data)
    except ValidationError as error:
        raise SettingsError(explained(error.errors(include_input=False), text, path)) from None
    problems = _refused_feeds(role)
    if problems:
        raise SettingsError(explained(problems, text, path))
    return Loaded(role, data, tuple(files))


def frozen(loaded: Loaded, folder: Path) -> Loaded:
    """The role with the files that its exchanges name (mappings, profiles, tables, registers) replaced by copies.

    What runs is the content that was validated: the originals may be edited meanwhile, well or badly, and a change of
    theirs is a change of settings. Copies lie in the state's folder under names that follow from their content; a file
    that is not there is left to whoever loads it, who says so. The originals are added to the files.

    Raises:
        SettingsError: a file cannot be read or copied.
    """
    data = copy.deepcopy(dict(loaded.data))
    files, copies = list(loaded.files), {}
    for raw in data["exchanges"].values():
        settings = replaced(raw["settings"], "{state}", folder.as_posix())
        for section, option in _NAMING:
            named = str(settings.get(section, {}).get(option, ""))
            if named and (option in ("dealers", "oems") or named.endswith(".toml")):
                files.append(Path(named))
                copied = raw["settings"][section][option] = _copy(Path(named), folder)
                copies[copied] = named
    return Loaded(Role.model_validate(data), data, tuple(dict.fromkeys(files)), copies)


def _copy(original: Path, folder: Path) -> str:
    """Path of a copy of a file, made where there is none of this content."""
    try:
        content = original.read_bytes()
        place = folder / "serving" / sha256(content).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        made, attempt = place / original.name, place / f"{original.name}.{os.getpid()}"
        if not made.exists() or made.read_bytes() != content:
            attempt.write_bytes(content)
            attempt.replace(made)
    except FileNotFoundError:
        return str(original)
    except OSError as error:
        message = f"{original}: 无法读取或复制：{error.strerror} / cannot be read or copied: {error.strerror}"
        raise SettingsError(message) from None
    return str(made)


def _whole(name: str, raw: Any, path: Path, text: str, files: list[Path]) -> Any:
    """An exchange as `Work` takes it: its file's settings, under what stands in the role."""
    if not isinstance(raw, dict):
        return raw
    own = {key: value for key, value in raw.items() if key in Work.model_fields and key != "settings"}
    over = {key: value for key, value in raw.items() if key not in own and key != "file"}
    base: dict[str, Any] = {}
    where, said = path, text
    if "file" in raw:
        where = Path(str(raw["file"]))
        said, base = read(where)
        files.append(where)
    merged = {"source": NO_SOURCE, **_merged(base, over), "name": name}
    problems: list[ErrorDetails] = []
    try:
        wrong = refused(Exchange.model_validate(merged))
    except ValidationError as error:
        wrong = error.errors(include_input=False)
    for problem in wrong:
        here = ("exchanges", name, *problem["loc"])
        if where == path or line_of(text, here) or not line_of(said, problem["loc"]):
            problem["loc"] = here
            raise SettingsError(explained([problem], text, path))
        problems.append(problem)
    if problems:
        raise SettingsError(explained(problems, said, where))
    return {**own, "settings": merged}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    found = dict(base)
    for key, value in over.items():
        under = found.get(key)
        found[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return found


def _refused_feeds(role: Role) -> list[ErrorDetails]:
    """Feeds that no connector knows, or options that theirs refuses, with the place where they stand."""
    found: list[ErrorDetails] = []
    for name, work in role.exchanges.items():
        for feed, part in work.feeds.items():
            place = ("exchanges", name, "feeds", feed)
            if part.connector not in registry.names("feed"):
                known = ", ".join(registry.names("feed"))
                message = f"没有名为 {part.connector!r} 的 feed / no feed is named so; installed: {known}"
                found.append(ErrorDetails(type="unknown", loc=(*place, "connector"), msg=message, input=None))
                continue
            settings = registry.connector("feed", part.connector).Settings
            try:
                settings(**part.options)
            except ValidationError as error:
                for one in error.errors(include_input=False, include_url=False, include_context=False):
                    one["loc"] = place + one["loc"]
                    found.append(one)
    return found
