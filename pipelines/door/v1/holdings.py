"""Which of its records a caller finds in the store: what it compares with what it sent.

Told are key, version and digest of the content, of the caller's own records only, and of those of a collecting system
that `door.senders` gives to it. What was accepted and lies still in the inbox does not stand in the store yet.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import QueryParams

from connectors.contracts import Misconfigured
from connectors.sqllisting import Listed, SqlListing
from connectors.sqlstore import SqlSink
from mappings.encoding import record_key
from pipelines.door.v1.models import HeldReply, Standing
from pipelines.door.v1.problems import WrongRequest
from pipelines.settings import Destinations, Exchange
from pipelines.storeform import REPAIRS

_LIMIT, _MOST = 1_000, 5_000
_ZONES = timedelta(days=1)
"""Texts of moments in other zones sort elsewhere: so much earlier ones are read, and looked at one by one."""
_LONGEST = 512


class Asked(NamedTuple):
    """A request for a page."""

    since: datetime
    store: int = 0
    """Which of the stores is read, from 0."""
    after: tuple[str, int] = ("", 0)
    limit: int = _LIMIT

    @classmethod
    def of(cls, query: QueryParams) -> Asked:
        """The request of a query string.

        Raises:
            WrongRequest: a member is missing or wrong.
        """
        try:
            since = datetime.fromisoformat(query.get("since", ""))
            limit = int(query.get("limit") or _LIMIT)
            store, version, key = (query.get("cursor") or "0:0:").split(":", 2)
            asked = cls(since, int(store), (key, int(version)), limit)
        except ValueError:
            asked = None
        if asked is None or not asked._fits():
            msg = "since 应为带时区的 ISO 8601 时刻，limit 为 1 至 5000 / since is an ISO 8601 moment with its zone"
            raise WrongRequest(msg)
        return asked

    def _fits(self) -> bool:
        key, version = self.after
        return (
            self.since.tzinfo is not None
            and 1970 <= self.since.year < 9999  # moments in other zones are looked for around it
            and 1 <= self.limit <= _MOST
            and 0 <= self.store < _MOST
            and 0 <= version < 1 << 62
            and len(key) <= _LONGEST
            and key.isprintable()
        )


class Holdings:
    """The stores that an exchange writes, asked by its callers.

    Args:
        exchange: the exchange of the door, placed on its state.
        senders: company code -> collecting system whose records it may list too.
    """

    def __init__(self, exchange: Exchange, senders: Mapping[str, str]) -> None:
        self._system, self._senders = exchange.versions.system, senders
        self.stores = [sink for sink in exchange.sinks.values() if sink.connector == "sql"]
        self._open: dict[str, SqlListing] = {}

    def page(self, company: str, asked: Asked) -> HeldReply:
        """A page of a company's records; it may be empty and have a next one.

        Raises:
            ConnectorError: a store cannot be asked.
        """
        places = [place for store in self.stores for place in _places(store)]
        if asked.store >= len(places):
            return HeldReply(records=[])
        begins = [record_key(self._system, company, "")]
        if company in self._senders:
            begins.append(record_key(self._senders[company], "", "").removesuffix("|"))
        since = (asked.since - _ZONES).isoformat()
        found = self._listing(places[asked.store]).page(begins, since, asked.after, asked.limit)
        known = [one for one in found if _moment(one) >= asked.since]
        return HeldReply(records=[_standing(one) for one in known], next=_next(asked, found, len(places)))

    def _listing(self, place: Destinations) -> SqlListing:
        options = {"table": REPAIRS, **place.options}
        name = str(options.get("url", ""))
        if name not in self._open:
            self._open[name] = SqlListing(SqlSink.Settings(**options), "received_at")
        return self._open[name]

    def close(self) -> None:
        """Close the stores."""
        for one in self._open.values():
            one.close()
        self._open.clear()


def _places(store: Destinations) -> list[Destinations]:
    """One setting for each store that it means: of a pattern those files that are there.

    Raises:
        Misconfigured: a pattern of databases on a server, which cannot be listed.
    """
    url = str(store.options.get("url", ""))
    if "{destination}" not in url:
        return [store]
    if not any(mark in store.for_ for mark in "*?["):
        files = [url.replace("{destination}", store.for_)]
    elif url.startswith("sqlite:///"):
        before, after = url.removeprefix("sqlite:///").split("{destination}", 1)
        pattern = f"{glob.escape(before)}{store.for_}{glob.escape(after)}"
        files = [f"sqlite:///{file}" for file in sorted(glob.glob(pattern))]  # noqa: PTH207 - it may be absolute
    else:
        message = "按目的地分库的服务器不能列出 / databases on a server, one for each destination, cannot be listed"
        raise Misconfigured(message, "请用一个库 / use one database")
    return [
        store.model_copy(update={"url": file})
        for file in files
        if not file.startswith("sqlite:///") or Path(file.removeprefix("sqlite:///")).is_file()
    ]


def _next(asked: Asked, found: list[Listed], stores: int) -> str:
    if len(found) == asked.limit:
        return f"{asked.store}:{found[-1].version}:{found[-1].key}"
    return f"{asked.store + 1}:0:" if asked.store + 1 < stores else ""


def _moment(one: Listed) -> datetime:
    return datetime.fromisoformat(one.moment)


def _standing(one: Listed) -> Standing:
    return Standing(key=one.key, version=one.version, content=one.content, received_at=one.moment)
