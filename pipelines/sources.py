"""Sources of an exchange: one, several under names, or a SQL source for each store that a pattern names.

`[source] connector = "several"` holds sections `[source.of.NAME]`, each a source of its own; a SQLite address with `*`
in it (`sqlite:///stores/province-*.db`) reads every store that fits, each under its file's name.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, SecretStr, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from connectors import registry
from connectors.contracts import Block, KnowsDays, Misconfigured, Source, WorkItem
from connectors.sqlbase import StoreSettings
from connectors.tables import TableSpec
from pipelines.errors import SettingsError
from pipelines.settings import Connector
from pipelines.storeform import DOCUMENTS, REPAIRS

SEVERAL, DERIVED, TRANSMISSIONS, OLD_PARTS = "several", "derived", "transmissions", "old-parts"
"""Name of the connector that holds others: `[source.of.NAME]`, each with a connector of its own."""
M = TypeVar("M", bound=BaseModel)
_OF_ROWS = ("sql", "query")
PART = "part"
"""Member of a work item's `extra`: which of several sources it is of."""


class Several:
    """Sources by name as one. A path inside it is `NAME/path`, an item's `extra["part"]` its source's name."""

    def __init__(self, parts: Mapping[str, Source]) -> None:
        self.parts = dict(sorted(parts.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parts,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """The items of each source in turn, by name."""
        for name, source in self.parts.items():
            own = {path.removeprefix(f"{name}/"): mark for path, mark in done.items() if path.startswith(f"{name}/")}
            for item in source.plan(own):
                yield replace(item, source=f"{name}/{item.source}", extra={**item.extra, PART: name})

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's envelopes, from the source that planned it."""
        name = item.extra[PART]
        extra = {key: value for key, value in item.extra.items() if key != PART}
        inner = replace(item, source=item.source.removeprefix(f"{name}/"), extra=extra)
        for one in self._part(name).read(inner, block):
            yield one._replace(item=item)

    def mark(self, path: str) -> str:
        """The mark of a path, by its source."""
        name, _, inner = path.partition("/")
        return self._part(name).mark(inner)

    @property
    def mark_suffices(self) -> bool:
        """Whether no source does anything when a path was read."""
        return all(getattr(part, "mark_suffices", False) for part in self.parts.values())

    def finish(self, paths: Iterable[str]) -> None:
        """Finish each source's own paths; of a mapping of paths to marks each source gets its part."""
        marks = paths if isinstance(paths, Mapping) else dict.fromkeys(paths, "")
        own: dict[str, dict[str, str]] = {}
        for path, mark in marks.items():
            name, _, inner = path.partition("/")
            own.setdefault(name, {})[inner] = mark
        for name, inner_marks in own.items():
            self._part(name).finish(inner_marks)

    def check(self) -> list[str]:
        """What each source says, under its name."""
        return [f"{name}: {line}" for name, source in self.parts.items() for line in source.check()]

    def _part(self, name: str) -> Source:
        if name not in self.parts:
            message = f"来源 {name} 已不在设置中 / source {name} is no longer in the settings or its store is gone"
            raise Misconfigured(message, "请恢复后再运行 / put it back, then run again")
        return self.parts[name]


class OfDays:
    """A source of which the records of some days are read, whatever was read before; its marks stay as they are."""

    def __init__(self, source: Source, days: tuple[date, date]) -> None:
        if not isinstance(source, KnowsDays):
            message = (
                "此来源不能按日读取；文件请再次放入目录，已发送的不会重复"
                " / this source knows no days: put its files into the folder again; nothing is sent twice"
            )
            raise SettingsError(message)
        self._source: Any = source
        self._days = days

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """The items of these days."""
        del done
        yield from self._source.between(*self._days)

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's envelopes."""
        yield from self._source.read(item, block)

    def mark(self, path: str) -> str:
        """The mark of a path."""
        return str(self._source.mark(path))

    def finish(self, paths: Iterable[str]) -> None:
        """Nothing to do: these paths were not read to their end."""

    def check(self) -> list[str]:
        """What the source says."""
        return list(self._source.check())


class Anew:
    """A source that derives, asked for everything that follows, whatever it knows of what followed before."""

    marks_in_commit = True

    def __init__(self, source: Source, state: Path, exchange: str) -> None:
        if not hasattr(source, "anew"):
            message = (
                "--again 只用于来源为 derived 的交换；其他来源请用 --from、--to 或重新投放文件"
                " / --again is for exchanges that derive; of others read days again, or put the files there again"
            )
            raise SettingsError(message)
        self._source: Any = source
        self._told = str(state), exchange

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """A window of everything, then what came since the mark."""
        from pipelines.deriving import Telling  # late: other exchanges need none of it

        yield from self._source.anew(done, Telling(*self._told))

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's envelopes."""
        yield from self._source.read(item, block)

    def mark(self, path: str) -> str:
        """Nothing: marks are made when items are planned."""
        return str(self._source.mark(path))

    def finish(self, paths: Iterable[str]) -> None:
        """Nothing to do: the mark tells how far."""

    def check(self) -> list[str]:
        """What the source says."""
        return list(self._source.check())


def make(source: Connector, table: TableSpec = REPAIRS) -> Source:
    """The source that settings name; `table` is what stores hold that name no table of their own.

    Raises:
        Misconfigured: an unknown connector, wrong options, or a pattern that no store fits.
    """
    if source.connector == SEVERAL:
        return Several({name: make(part, table) for name, part in _parts(source).items()})
    options = source.options
    if source.connector == DERIVED:
        return _derived(options)
    if source.connector == TRANSMISSIONS:
        from pipelines.transmissions import TransmissionSettings, TransmissionSource  # late, as above

        return TransmissionSource(_own(TRANSMISSIONS, TransmissionSettings, options))
    if source.connector == OLD_PARTS:
        from pipelines.oldparts import OldPartSettings, OldPartSource  # late, as above

        return OldPartSource(_own(OLD_PARTS, OldPartSettings, options))
    if source.connector != "sql":
        return registry.source(source.connector, options)
    options.setdefault("table", table)
    url = str(options.get("url", ""))
    if not _is_pattern(url):
        return registry.source("sql", options)
    return Several({name: registry.source("sql", {**options, "url": one}) for name, one in _stores(url).items()})


def _own(name: str, model: type[M], options: Mapping[str, Any]) -> M:
    """The settings of a source of our own, which reads what other exchanges wrote."""
    try:
        return model.model_validate(options)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        )
        message = f"来源 {name} 的设置有误 / settings of source {name}: {found}"
        raise Misconfigured(message, "见 docs/outside-systems.md / see docs/outside-systems.md") from None


def _derived(options: Mapping[str, Any]) -> Source:
    from pipelines.derivedrows import Holding  # late, as the next: other exchanges need none of it
    from pipelines.deriving import DerivedSettings, DerivedSource

    settings = _own(DERIVED, DerivedSettings, options)
    stores: dict[str, tuple[StoreSettings, Holding]] = {}
    for name, held in settings.of.items():
        url, table = held.url.get_secret_value(), DOCUMENTS if held.holds == "documents" else REPAIRS
        if unknown := [column for column in held.where if column not in table.columns]:
            message = f"source.of.{name}.where 中有未知列 / names unknown columns: {', '.join(unknown)}"
            raise Misconfigured(message, f"可用 / known: {', '.join(table.columns)}")
        named = _stores(url) if _is_pattern(url) else {"": url}
        for store, address in named.items():
            made = StoreSettings(url=SecretStr(address), password=held.password, table=table)
            stores[f"{name}/{store}" if store else name] = (made, held)
    return DerivedSource(settings, stores)


def in_rows(source: Connector, item: WorkItem) -> bool:
    """Whether an item's length counts rows of a store, not bytes."""
    if source.connector == SEVERAL:
        return _parts(source)[item.extra[PART]].connector in _OF_ROWS
    return source.connector in _OF_ROWS


def stores(source: Connector) -> list[str]:
    """Names of the stores of a SQL source: an empty one for a single store, one each for a pattern; none elsewhere."""
    if source.connector != "sql":
        return []
    url = str(source.options.get("url", ""))
    return list(_stores(url)) if _is_pattern(url) else [""]


def _parts(source: Connector) -> dict[str, Connector]:
    given = source.options.get("of")
    if set(source.options) != {"of"} or not isinstance(given, dict) or not given:
        message = '"several" 需要且只需要 [source.of.名称] / "several" needs [source.of.NAME] sections and nothing else'
        raise Misconfigured(message, "请为每个来源写一节 / write one section for each source")
    try:
        parts = {name: Connector.model_validate(part) for name, part in given.items()}
    except ValidationError:
        message = "[source.of.名称] 缺少 connector / a [source.of.NAME] section lacks its connector"
        raise Misconfigured(message, "请写 connector = ... / write connector = ...") from None
    alone = {part.connector for part in parts.values()} & {DERIVED, TRANSMISSIONS, OLD_PARTS}
    if alone:
        message = f"{', '.join(alone)} 只能单独作为来源 / is a source by itself only"
        raise Misconfigured(message, "请为它单设一个交换 / make an exchange of its own for it")
    return parts


def _is_pattern(url: str) -> bool:
    return url.startswith("sqlite:") and "*" in url


def _stores(pattern: str) -> dict[str, str]:
    """Name of a store (its file's, without ending) -> its address, for each file that fits."""
    try:
        parsed = make_url(pattern)
    except ArgumentError:
        message = "数据库地址不可用 / database address cannot be used"
        raise Misconfigured(message, "例如 / for example sqlite:///stores/province-*.db") from None
    files = sorted(glob.glob(cast("str", parsed.database)))  # noqa: PTH207 - the pattern may be absolute
    found = {Path(file).stem: parsed.set(database=file).render_as_string(hide_password=False) for file in files}
    if len(found) < len(files):
        stems = Counter(Path(file).stem for file in files)
        same = ", ".join(file for file in files if stems[Path(file).stem] > 1)
        message = f"数据库文件同名，无法区分 / stores of the same file name cannot be told apart: {same}"
        raise Misconfigured(message, "请给每个库不同的文件名 / give each store a file name of its own")
    if not found:
        message = f"没有符合 {parsed.database} 的数据库 / no store fits {parsed.database}"
        raise Misconfigured(message, "请先运行写入这些库的交换 / run the exchange that fills these stores first")
    return found
