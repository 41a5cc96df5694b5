"""Settings of an exchange: TOML, validated strictly, with overrides from the environment and `--set a.b=c`.

A role is a settings file. Every option is documented on its field; `vingate check FILE` prints what would happen.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from connectors import registry
from connectors.budgets import BudgetSettings
from connectors.windows import Windows
from mappings.dates import FIRST_YEAR, LAST_YEAR
from pipelines.errors import SettingsError
from pipelines.placing import absolute
from routing.agreements import STATUTORY

ENVIRONMENT_PREFIX = "VINGATE__"
"""`VINGATE__SOURCE__PATH=/in` sets `source.path`."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Connector(BaseModel):
    """A source or sink: the connector's name, and its own options beside it (checked by the connector)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    connector: str
    """Name of an installed connector (`vingate check` lists them)."""

    @property
    def options(self) -> dict[str, Any]:
        """The connector's own options."""
        return dict(self.model_extra or {})


class Pace(_Section):
    """When a destination may be called, and how often, whatever its connector.

    A call is one write of at most `batch.write` deliveries, or the handing over of a batch's files. What the connector
    counts for itself (an HTTP sink's own `maintenance` and `budget`, by the request) holds besides.
    """

    maintenance: Windows = ()
    """Windows in which it is left alone, `HH:MM-HH:MM [days] [zone]`: `23:30-01:00 Sat,Sun` (China's time)."""
    budget: BudgetSettings | None = None
    """`{ calls = 30, seconds = 60 }`; shared under `name`, by default the exchange and the destination."""


class Destinations(Connector):
    """A sink and the destinations that it serves."""

    for_: Annotated[str, Field(alias="for")] = "*"
    """Glob over destination names, e.g. `province-*`."""
    repaircomefrom: int = 0
    """维修企业来源 written for these destinations: 2 上级下发 for what comes down to them; 0: as the record has it."""
    form: str = ""
    """Outbound form of documents (`mappings.documents.outbound`), behind the agreements; empty: our own form."""
    pace: Pace = Pace()
    """Maintenance windows and call budget of each destination."""

    @property
    def avro(self) -> bool:
        """Whether it writes Avro files."""
        return self.connector == "avro" or (self.connector, self.options.get("format")) == ("s3", "avro")


class Mapping_(_Section):
    """How payloads are read and judged."""

    dialect: str = "auto"
    """`auto`, the name of a shipped dialect, or the path of a mapping file (.toml)."""
    profile: str = "strict"
    """`strict`, `lenient`, or the path of a profile file (.toml)."""
    company: Literal["source", "payload"] = "payload"
    """Who says which company a record is of: `source` (its folder, header or token; what comes without is a letter), or
    `payload`, the record itself where the source does not say."""
    kinds: tuple[str, ...] = ("repair",)
    """Record kinds that this exchange takes: repair, registration, vehicle."""


class Versions(_Section):
    """Who numbers the versions of a record."""

    mode: Literal["assign", "carried"] = "assign"
    """`assign`: this gateway collects and numbers them; `carried`: they were numbered where they were collected."""
    system: str = ""
    """Collecting system written into records where the source's layout does not name one; with `{system}` in it, what
    is made of the name in the layout: `oem-{system}`."""
    scope: str = ""
    """Name of the version index scope; the exchange's own name when empty."""
    also_held: tuple[str, ...] = ()
    """Other scopes whose deliveries count as held by their destinations (push asks headquarters)."""
    repaircomefrom: int = 1
    """维修企业来源 of what this exchange collects: 1 同步."""


class Rules(_Section):
    """What is decided with a store at hand."""

    history: tuple[str, ...] = ()
    """History rules that are on: MILEAGE_REGRESSION, VIN_MANY_PLATES, PLATE_MANY_VINS, PRICE_AS_HOURS,
    COMPANY_NAME_MISMATCH, SETTLED_LATE; empty: none."""
    merge: Literal["", "shop", "headquarters", "carried"] = ""
    """The way by which this exchange's records come, where one visit may come by two ways; empty: nothing is merged."""
    receipts: str = ""
    """Destination that gets a receipt for every payload; empty: none."""


class Routing(_Section):
    """Who gets a record."""

    table: str = "home"
    """Name of a shipped table (collect, headquarters, report, push, home) or the path of a TOML file."""
    dealers: str = ""
    """Path of the dealer register; empty: none."""
    oems: str = ""
    """Path of the ministry's OEM list; empty: the shipped one."""
    registrations: bool = False
    """Whether vehicle registrations known to the state are asked for the home."""


class Batch(_Section):
    """How much is worked on at a time."""

    bytes: int = Field(default=160 * 1024 * 1024, ge=1)
    """Items are gathered to a batch until they hold this many bytes."""
    items: int = Field(default=512, ge=1, le=4_000)
    """Most items of a batch."""
    workers: int = Field(default=1, ge=1, le=64)
    """Worker processes."""
    block: int | None = Field(default=None, ge=1, le=10_000)
    """Envelopes that flow through the steps together; by itself 4,096 where blocks are read into columns, else 512."""
    write: int = Field(default=2_000, ge=1)
    """Deliveries written to a row sink in one call."""


class Limits(_Section):
    """Bounds on what a partner may send."""

    payload_bytes: int = Field(default=64 * 1024 * 1024, ge=1_024)
    """Longest payload that is read; a longer one is a letter by reference."""
    depth: int = Field(default=64, ge=4, le=500)
    rows: int = Field(default=10_000, ge=1)
    members: int = Field(default=2_000, ge=10)


class Fragments(_Section):
    """Pieces of records that come in steps."""

    max_age_days: float = Field(default=30, gt=0)
    """Age after which pieces of an order that never became whole are letters."""


class Retry(_Section):
    """Deliveries that wait."""

    first_seconds: float = 5
    """Pause after a destination failed; doubled each time, with jitter."""
    most_seconds: float = 3_600
    """Longest pause."""
    most_waiting: int = Field(default=1_000_000, ge=1)
    """Deliveries that may wait before nothing more is taken in (the door then answers 503, queues keep theirs)."""
    most_waiting_bytes: int = Field(default=4 * 1024**3, ge=1)
    """Their bytes."""


class Reconcile(_Section):
    """Reconciliation of what was sent with what destinations hold (`vingate reconcile`)."""

    ask: dict[str, Destinations] = {}
    """Sinks that are asked in place of a destination's own, which cannot be: of a queue the door behind it."""
    cron: str = ""
    """`vingate serve` reconciles at these moments, in China's time: `30 2 * * *`; empty: never."""
    days: int = Field(default=1, ge=1, le=366)
    """So many whole days, in China's time, up to the last midnight."""
    backfill: bool = False
    """Whether what is missing is then sent again by itself."""


class Exchange(_Section):
    """One exchange: source, mapping, routing, sinks."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    description: str = ""
    source: Connector
    mapping: Mapping_ = Mapping_()
    versions: Versions = Versions()
    rules: Rules = Rules()
    routing: Routing = Routing()
    agreements: tuple[str, ...] = STATUTORY
    """What may leave (`routing.agreements`): names of shipped agreements, or paths of TOML files, read again when they
    change. Of several that cover a destination and a kind the first that is in force counts."""
    sinks: dict[str, Destinations] = {}
    """Sinks by name; an exchange that only fills the state's registers (registrations, operators) needs none."""
    batch: Batch = Batch()
    limits: Limits = Limits()
    fragments: Fragments = Fragments()
    retry: Retry = Retry()
    reconcile: Reconcile = Reconcile()
    runner: str = "embedded"
    """`embedded`, `prism`, `portable`, or `spark`."""
    prism: str = ""
    """Path of prism's binary; empty: the one on PATH. It is never downloaded."""
    job_endpoint: str = ""
    """Where the job service of a portable runner listens (host:port); for prism: one that runs already."""
    environment_type: str = ""
    """Where a portable runner has its workers: `LOOPBACK` (in this process), `EXTERNAL` (a worker pool), `PROCESS`,
    `DOCKER`; empty: EXTERNAL for spark, else LOOPBACK. All but LOOPBACK need the state's staging, sources and part
    sinks at the same paths on every machine."""
    environment_config: str = ""
    """Of EXTERNAL the pool's host:port (spark: empty is `localhost:50000`, the pool beside each
    worker), of PROCESS `{"command": ...}`, of DOCKER the image."""
    received_at: datetime | None = None
    """The moment written as received; empty: when the batch was opened. For tests and backfills."""

    @property
    def scope(self) -> str:
        """The version index scope."""
        return self.versions.scope or self.name

    def placed(self, state: Path) -> Exchange:
        """These settings as a state keeps them: `{state}` replaced by its folder, relative paths made absolute."""
        plain = replaced(self.model_dump(mode="json", by_alias=True), "{state}", state.absolute().as_posix())
        return Exchange.model_validate(absolute(plain))

    @model_validator(mode="after")
    def _agrees(self) -> Exchange:
        if self.received_at is not None and self.received_at.tzinfo is None:
            message = "received_at: 需要时区，如 2026-09-30T20:00:00+08:00 / needs a time zone"
            raise ValueError(message)
        if self.received_at is not None and not FIRST_YEAR <= self.received_at.year <= LAST_YEAR:
            message = f"received_at: 年份应为 {FIRST_YEAR}-{LAST_YEAR} / must be of the years {FIRST_YEAR}-{LAST_YEAR}"
            raise ValueError(message)
        return self


def replaced(value: Any, mark: str, by: str) -> Any:
    """Settings with a mark in any text replaced."""
    if isinstance(value, str):
        return value.replace(mark, by)
    if isinstance(value, dict):
        return {name: replaced(inner, mark, by) for name, inner in value.items()}
    return [replaced(inner, mark, by) for inner in value] if isinstance(value, list) else value


def load(path: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Exchange:
    """The exchange of a settings file, with overrides applied.

    Relative paths in the file are meant as they stand: relative to where the command is called. `{here}` is replaced by
    the folder of the file; `{state}` by the state's folder, once a run begins (`Exchange.placed`).

    Raises:
        SettingsError: unreadable file, bad TOML, unknown or wrong option: with line and remedy.
    """
    text, data = read(path)
    override(data, overrides, environment)
    try:
        exchange = Exchange.model_validate(data)
    except ValidationError as error:
        raise SettingsError(explained(error.errors(), text, path)) from None
    if wrong := refused(exchange):
        raise SettingsError(explained(wrong, text, path))
    return exchange


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Text and content of a TOML file, `{here}` replaced by the folder of the file.

    Raises:
        SettingsError: unreadable file, bad TOML.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        message = f"没有这个设置文件：{path} / no such settings file: {path}"
        raise SettingsError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"设置文件无法读取：{path}（{error}） / settings file cannot be read: {path} ({error})"
        raise SettingsError(message) from None
    text = text.replace("{here}", path.resolve().parent.as_posix())
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: 不是合法的 TOML：{error} / not TOML: {error}"
        raise SettingsError(message) from None


def override(data: dict[str, Any], overrides: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Put what the environment says into settings, and over that what `--set a.b=c` says.

    Raises:
        SettingsError: an override that names no option.
    """
    for name, value in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _put(data, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), value, f"${name}")
    for one in overrides:
        key, separator, value = one.partition("=")
        if not separator or not key.strip():
            message = f"--set {one}: 应为 a.b=值 / must read a.b=value"
            raise SettingsError(message)
        _put(data, key.strip().split("."), value, f"--set {key}")


def refused(exchange: Exchange) -> list[ErrorDetails]:
    """Options that the named connectors do not know, with the place where they stand.

    Whatever else a connector has against its settings it says when it is built: some options are filled in until then.
    """
    found: list[ErrorDetails] = []
    kinds: list[tuple[registry.Kind, tuple[str, ...], Connector]] = [("source", ("source",), exchange.source)]
    kinds += [("sink", ("sinks", name), sink) for name, sink in exchange.sinks.items()]
    kinds += [("sink", ("reconcile", "ask", name), sink) for name, sink in exchange.reconcile.ask.items()]
    for kind, place, part in kinds:
        if not registry.known(kind, part.connector):
            continue
        known = registry.connector(kind, part.connector).Settings
        try:
            known(**part.options)
        except ValidationError as error:
            for one in error.errors(include_input=False, include_url=False, include_context=False):
                if one["type"] in ("extra_forbidden", "literal_error"):
                    one["loc"] = place + one["loc"]
                    one["ctx"] = {"known": ", ".join(field.alias or key for key, field in known.model_fields.items())}
                    found.append(one)
    return found


def _put(data: dict[str, Any], keys: Sequence[str], value: str, said: str) -> None:
    at: Any = data
    for key in keys[:-1]:
        at = at.setdefault(key, {})
        if not isinstance(at, dict):
            message = f"{said}: {key} 不是一个小节 / {key} is no section"
            raise SettingsError(message)
    at[keys[-1]] = _literal(value)


def _literal(value: str) -> Any:
    """A TOML list, table or quoted text where the text is one, else the text itself: the option says what it means.

    Numbers and truth values stay text, for `versions.system=44` means the text `44`.
    """
    if re.fullmatch(r"\[.*\]|\{.*\}|\".*\"", value, re.DOTALL):
        try:
            return tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            return value
    return value


def explained(problems: Sequence[ErrorDetails], text: str, path: Path) -> str:
    """Problems that pydantic found in the settings of a file, each with its line and what to do about it."""
    lines = [f"{path}: 设置有误 / settings are wrong:"]
    for problem in problems:
        place = ".".join(str(part) for part in problem["loc"])
        line = line_of(text, problem["loc"])
        where = f"（第 {line} 行 / line {line}）" if line else ""
        remedy = ""
        if problem["type"] == "extra_forbidden":
            remedy = "：没有这个选项，请检查拼写或删除 / no such option: check its spelling or remove it"
            if known := problem.get("ctx", {}).get("known"):
                remedy += f" - 可用的选项 / options it knows: {known}"
        elif problem["type"] == "missing":
            remedy = "：缺少此选项，请补上 / is missing: add it"
        lines.append(f"  {place}{where}{remedy or ': ' + problem['msg']}")
    return "\n".join(lines)


def line_of(text: str, place: Sequence[int | str]) -> int:
    """Best guess at the line of a dotted key in TOML text; 0 when it is not there."""
    keys = [str(part) for part in place]
    section: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.strip("[]").split(".")
            if section == keys:
                return number
        else:
            name = stripped.split("=", 1)[0].strip().strip('"')
            if [*section, *name.split(".")] == keys:
                return number
    return 0
