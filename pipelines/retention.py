"""How long months of a store stay in its database, and their files in the archive: settings that say on what ground.

    [store]
    url = "env:STORE_URL"
    [archive]
    folder = "/var/lib/vingate/archive"
    rest_days = 7
    [retention]
    online_months = 60
    archive_months = 0
    reason = "..."

A month is counted from the day of settlement. Nothing is removed by default: the record of a vehicle is the sum of its
repairs from purchase to scrapping (2017 construction guide, "全寿命周期的汽车维修电子记录的总和"), so a file may go
only where somebody answers for it (`archive_months`, with a `reason` that names the rule).
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from connectors.archives import Archive, Archives
from connectors.catalogue import ARCHIVED
from connectors.sqlbase import StoreSettings
from pipelines.errors import SettingsError
from pipelines.storeform import REPAIRS


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StorePlace(_Section):
    """Which store."""

    url: SecretStr
    """Address on PostgreSQL, or `env:NAME`, `file:PATH`."""
    password: SecretStr = SecretStr("")


class ArchivePlace(_Section):
    """Where its archive lies."""

    folder: Path
    rest_days: int = Field(default=7, ge=0)
    """A month to which a row came in so many days stays: exchanges that read the store must come to it first."""


class Periods(_Section):
    """How long."""

    online_months: int = Field(ge=1)
    """So many whole months behind the one of settlement stay in the database."""
    archive_months: int = Field(default=0, ge=0)
    """So many months behind the latest settlement in it a file is kept; 0: for ever."""
    reason: str = Field(min_length=1)
    """The rule that these periods rest on; it stands in what the command tells."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if 0 < self.archive_months < self.online_months:
            message = "archive_months 不得少于 online_months / archive_months must not be less than online_months"
            raise ValueError(message)
        return self


class Retention(_Section):
    """Settings of `vingate store`."""

    store: StorePlace
    archive: ArchivePlace
    retention: Periods | None = None

    def archives(self) -> Archives:
        """The store's months and their files.

        Raises:
            Misconfigured: the store is not divided by months.
        """
        place = StoreSettings(url=self.store.url, password=self.store.password, table=REPAIRS)
        return Archives(place, self.archive.folder, self.archive.rest_days)


def load_retention(path: Path) -> Retention:
    """Settings of a file.

    Raises:
        SettingsError: it is not there, or wrong.
    """
    try:
        found = Retention.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"无法读取设置 / settings cannot be read: {path}: {type(error).__name__}"
        raise SettingsError(message) from None
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        message = f"{path}: 设置有误 / settings are wrong: {told}"
        raise SettingsError(message) from None
    return found


class Due(NamedTuple):
    """What is to be done with a month, or a file of it."""

    what: Literal["archive", "wait", "remove"]
    """`wait`: it is due, but a row came to it lately."""
    month: int
    count: int  # type: ignore[assignment]  # hides tuple.count
    archive: Archive | None = None


def due(
    periods: Periods, months: dict[int, int], archives: Sequence[Archive], today: date, fresh: Collection[int] = ()
) -> Iterator[Due]:
    """What is due, oldest first. What names no month (0) is never due by itself; `fresh` months have to wait."""
    for month, rows in sorted(months.items()):
        if month and rows and _age(month, today) > periods.online_months:
            yield Due("wait" if month in fresh else "archive", month, rows)
    for one in archives if periods.archive_months else ():
        latest = max(one.month, int(one.last_day[:7].replace("-", "") or 0))
        if one.month and one.state == ARCHIVED and _age(latest, today) > periods.archive_months:
            yield Due("remove", one.month, one.count, one)


def _age(month: int, today: date) -> int:
    """Months from a month to today's."""
    return 12 * (today.year - month // 100) + today.month - month % 100


def keep_to(archives: Archives, wanted: Sequence[Due]) -> Iterator[tuple[Due, Archive | None]]:
    """Do what is due, a month at a time."""
    for one in wanted:
        if one.archive is not None:
            archives.expire(one.archive)
            yield one, one.archive
        else:
            yield one, archives.archive(one.month) if one.what == "archive" else None
