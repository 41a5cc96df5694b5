"""An environment department's questions about its own closures: read only, and only what its agreement lets go.

Who asks is a company account that `door.closures.callers` gives a destination, and the districts that it may see.
Closures are read from the store of cases, as they stand at that moment; terms are those in force at that moment. What
is told is written down before it is (`pipelines.pulls`), as a delivery is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

import orjson
from pydantic import SecretStr
from sqlalchemy import Select, select
from starlette.datastructures import QueryParams

from connectors.contracts import UNAVAILABLE, Outcome, Unavailable
from connectors.engines import translated
from connectors.sqlbase import Store, StoreSettings
from dlq.sealing import Sealer
from mappings.documents.closures import Closure
from mappings.reportnumbers import area_of
from mappings.vin import normalise
from pipelines.agreeing import Agreed
from pipelines.door.settings import ClosureQueries, ClosureReader
from pipelines.door.v1.models import ClosureDaysReply, ClosureOf, ClosuresOfDay, ClosuresReply
from pipelines.door.v1.problems import WrongRequest
from pipelines.looks import note_look
from pipelines.pulls import Told, note_pull
from pipelines.state import State
from pipelines.storeform import DOCUMENTS
from routing.agreements import Terms
from routing.treatments import PASS

_DAYS = 366
"""Most days that are counted for one answer."""
_LIMIT, _MOST, _READ = 200, 1_000, 5_000
"""Closures of a page, usual and most; rows that are looked at for one page at most."""
_FILTERS = {"from": "day", "to": "day", "vin": "vin", "district": "members.area"}
"""Filter -> path that it tells something of: who may not know that may not ask by it."""
_ASKED = "查询本部门闭环 / asks for its closures: GET /v1/closures"


class NotAgreed(Exception):
    """No agreement in force lets the caller have this; says why, in Chinese and English."""


class Asked(NamedTuple):
    """A request for a page."""

    first: date
    last: date
    district: str
    """First digits of a division."""
    vin: str
    cursor: int
    """Number of the last row that was looked at."""
    limit: int
    filters: tuple[str, ...]

    @classmethod
    def of(cls, query: QueryParams) -> Asked:
        """The request of a query string.

        Raises:
            WrongRequest: a member is unknown or wrong.
        """
        unknown = sorted(set(query) - {*_FILTERS, "cursor", "limit"})
        try:
            asked = cls(
                date.fromisoformat(query.get("from") or date.min.isoformat()),
                date.fromisoformat(query.get("to") or date.max.isoformat()),
                query.get("district", ""),
                normalise(query.get("vin", "")),
                int(query.get("cursor") or 0),
                int(query.get("limit") or _LIMIT),
                tuple(name for name in _FILTERS if query.get(name)),
            )
        except ValueError:
            asked = None
        if unknown or asked is None or not asked._fits():
            message = (
                f"from、to 为日期，district 为区划代码前 2 至 6 位，limit 为 1 至 {_MOST}"
                f" / from and to are ISO days, district the first 2 to 6 digits of a division, limit 1 to {_MOST}"
            )
            raise WrongRequest(message + (f": {unknown[0]}" if unknown else ""))
        return asked

    def _fits(self) -> bool:
        district = not self.district or (
            2 <= len(self.district) <= 6 and self.district.isascii() and self.district.isdigit()
        )
        return district and 1 <= self.limit <= _MOST and 0 <= self.cursor < 1 << 62


class Closures:
    """The store of cases, asked for closures."""

    def __init__(self, settings: ClosureQueries, state: State, sealer: Sealer) -> None:
        self._settings, self._state, self._sealer = settings, state, sealer
        url = settings.store.get_secret_value().replace("{state}", state.path.absolute().as_posix())
        self._store = Store(StoreSettings(url=SecretStr(url), password=settings.password, table=DOCUMENTS))
        self._agreed = Agreed(settings.agreements)

    def page(self, company: str, asked: Asked) -> ClosuresReply:
        """A page of the closures that a caller may see; it may be empty and have a next one.

        Raises:
            NotAgreed: it is no such caller, or no agreement in force lets it have this.
            ConnectorError: the store, or what is agreed, is not to be had now.
        """
        reader = self._reader(company)
        terms = self._terms(reader, asked.filters)
        if asked.vin:
            note_look(self._state, self._sealer, asked.vin, company, _ASKED)
        rows = self._rows(asked)
        chosen = list(islice((row for row in rows if self._within(row, asked, reader)), asked.limit))
        last = chosen[-1] if len(chosen) == asked.limit else rows[-1] if len(rows) == _READ else None
        told = [Told(row.vin or "", row.companycode, row.costlistcode, row.version) for row in chosen]
        note_pull(self._state, company, reader.destination, terms, told)
        return ClosuresReply(closures=[_told(row, terms) for row in chosen], next=str(last.seq) if last else "")

    def days(self, company: str, asked: Asked) -> ClosureDaysReply:
        """How many closures a caller should have, by day and district, of some days.

        Raises:
            WrongRequest: no days are asked for, or too many, or by something else.
            NotAgreed: it is no such caller, or no agreement in force lets it know this.
            ConnectorError: the store, or what is agreed, is not to be had now.
        """
        if asked.vin or (asked.last - asked.first).days not in range(_DAYS):
            message = f"请给出 from 与 to，至多 {_DAYS} 天 / name from and to, at most {_DAYS} days, and no vin"
            raise WrongRequest(message)
        reader = self._reader(company)
        self._terms(reader, ("from", "district"))
        own = self._store.table.c
        wanted = self._standing(asked).with_only_columns(own.day, own.companycode, own.members)
        counts: Counter[tuple[str, str]] = Counter()
        with translated(), self._store.engine.connect().execution_options(yield_per=_READ) as connection:
            for row in connection.execute(wanted):
                if self._within(row, asked, reader):
                    counts[row.day, _area(row)] += 1
        days = [ClosuresOfDay(day=day, district=area, due=due) for (day, area), due in sorted(counts.items())]
        return ClosureDaysReply(days=days)

    def _reader(self, company: str) -> ClosureReader:
        reader = self._settings.callers.get(company)
        if reader is None:
            message = "此账户不查询闭环 / this account asks for no closures"
            raise NotAgreed(message)
        return reader

    def _terms(self, reader: ClosureReader, filters: Iterable[str]) -> Terms:
        terms = self._agreed.terms(reader.destination, Closure.KIND)
        if isinstance(terms, Outcome):
            if terms.status == UNAVAILABLE:
                raise Unavailable(terms.reason)
            raise NotAgreed(terms.reason)
        for name in filters:
            path = _FILTERS[name]
            if any(terms.treatment(one) != PASS for one in {path, f"members.{path}" if path == "vin" else path}):
                message = f"{name}: 协议未放行，不能据此查询 / the agreement withholds it, so nobody asks by it"
                raise NotAgreed(message)
        return terms

    def _standing(self, asked: Asked) -> Select[Any]:
        """The closures that stand, of the days that are asked for."""
        own = self._store.table.c
        return select(own.seq, own.version, own.content, *(own[name] for name in DOCUMENTS.columns)).where(
            own.kind == Closure.KIND, own.current.is_(True), own.withdrawn.is_(None),
            own.day >= asked.first.isoformat(), own.day <= asked.last.isoformat(),
        )  # fmt: skip

    def _rows(self, asked: Asked) -> Sequence[Any]:
        own = self._store.table.c
        wanted = self._standing(asked).where(own.seq > asked.cursor)
        if asked.vin:
            wanted = wanted.where(own.vin == asked.vin)
        with translated(), self._store.engine.connect() as connection:
            return connection.execute(wanted.order_by(own.seq).limit(_READ)).all()

    @staticmethod
    def _within(row: Any, asked: Asked, reader: ClosureReader) -> bool:
        area = _area(row)
        return area.startswith(asked.district) and (not reader.districts or area.startswith(reader.districts))

    def close(self) -> None:
        """Close the connections."""
        self._store.engine.dispose()


def _area(row: Any) -> str:
    return orjson.loads(row.members).get("area") or area_of(row.companycode) or ""


def _told(row: Any, terms: Terms) -> ClosureOf:
    members = {name: getattr(row, name) for name in DOCUMENTS.columns if getattr(row, name) is not None}
    for name in ("members", "findings"):
        if isinstance(members.get(name), str):
            members[name] = orjson.loads(members[name])
    told = terms.apply(members)
    return ClosureOf(version=row.version, content=row.content, **dict(_given(told)))


def _given(told: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a reply has of what may be told."""
    for name in ("vin", "day", "members"):
        if name in told:
            yield name, told[name]
