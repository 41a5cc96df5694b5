"""A query on a database of others as a source: each record one envelope, resumed by a column, nothing changed there.

    source = QuerySource(QuerySource.Settings(
        url="env:SHOP_DATABASE", query="SELECT * FROM settlement_lines WHERE settled = 1",
        key="结算清单编号", cursor="updated_at", overlap=600))

- Rows that are equal in `key` are one envelope (a settlement and its lines), in the form of a CSV export (`form`), so
  that mappings for exports read it too. A record stands where its latest row stands by `cursor`.
- What is read lies behind the mark, up to the greatest cursor of this moment: a **window**. A record that changes gets
  a later cursor and is read again, whole; the gateway sees by its content whether it is a new version.
- Transactions that commit late may leave rows behind the mark: `overlap` reads so much of the last window again, when
  something in it changed. What is read twice is a duplicate by its content.
- A window has a digest, its records numbers from 0 in the order of (cursor, key): the keys of envelopes.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from hashlib import sha256
from itertools import groupby, islice
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from sqlalchemy import Connection, Select, and_, column, func, literal_column, or_, select, text
from sqlalchemy.engine import make_url

from connectors.confidential import revealed
from connectors.contracts import Block, Misconfigured, WorkItem
from connectors.engines import Limits, address, translated
from connectors.queryrows import UnfitError, csv_payload, earlier, json_payload, place_text, place_value
from connectors.readonly import open_reader, reading
from connectors.settings import ConnectorSettings

_SELECT = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_BLOCK_BYTES = 1 << 20
_FIX = "请检查 query、key 与 cursor / check query, key and cursor"


class QuerySettings(ConnectorSettings):
    """Which query on which database."""

    url: SecretStr
    """Address, as SQLAlchemy writes it, or `env:NAME`, `file:PATH`. Never shown: it may hold a password."""
    password: SecretStr = SecretStr("")
    """Password for the address, where it holds none: a text, `env:NAME` or `file:PATH`."""
    query: str
    """One SELECT (or WITH ... SELECT), whose columns are the payload's; without ORDER BY."""
    key: str
    """Column that names a record: rows that are equal in it are one record. Rows without one are not read."""
    cursor: str
    """Column that rises with each change of a record: a number, a moment, or text that sorts like one.

    Rows without one are not ready yet: they are read once they have it.
    """
    line: str = ""
    """Column by which the rows of a record are ordered; empty: by their content."""
    day: str = ""
    """Column by which records of some days are chosen (`vingate run --from`), a day or moment; empty: none can be."""
    overlap: float = Field(default=0, ge=0)
    """So much before the mark is looked at again: seconds where the cursor is a moment, else units."""
    company: SecretStr = SecretStr("")
    """Company code of the records where the payload does not say: a text, `env:NAME` or `file:PATH`."""
    system: str = ""
    """Collecting system of the records; empty: the exchange's own."""
    without: tuple[str, ...] = ()
    """Columns that no payload holds: those that only key, cursor, line or day need."""
    form: Literal["csv", "json"] = "csv"
    item_records: int = Field(default=1_000, ge=1)
    """Records of one work item."""
    max_rows: int = Field(default=10_000, ge=1)
    """Rows of one record; a longer one becomes a problem."""
    max_payload_bytes: int = Field(default=64 << 20, ge=1)
    """A longer payload becomes a problem."""
    busy_seconds: float = Field(default=10.0, ge=0)
    statement_seconds: float = Field(default=600.0, gt=0)
    """How long PostgreSQL may work on a statement."""

    @field_validator("query")
    @classmethod
    def _reads(cls, query: str) -> str:
        plain = query.strip().removesuffix(";").rstrip()
        if not _SELECT.match(plain) or ";" in plain:
            message = "query 应为一条 SELECT / must be one SELECT"
            raise ValueError(message)
        return plain


class QuerySource:
    """Records of a query; see the module."""

    Settings = QuerySettings
    path = "query"
    """The one path inside this source."""

    def __init__(self, settings: QuerySettings) -> None:
        self.settings = settings
        url = address(revealed(settings.url, "url"), revealed(settings.password, "password"))
        self._engine = open_reader(url, Limits(settings.busy_seconds, settings.statement_seconds, 2))
        weakref.finalize(self, self._engine.dispose)
        place = make_url(url).set(username=None, password=None).render_as_string()
        self._identity = "\0".join((place, settings.query, settings.key, settings.cursor, settings.form))
        self._planned = ""
        self._all = self._asked("q")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def _asked(self, name: str) -> Any:  # noqa: ANN401 - a subquery of SQLAlchemy
        """The query under a name, with the columns that are named in the settings."""
        given = self.settings
        named = dict.fromkeys(filter(None, (given.key, given.cursor, given.day, given.line)))
        asked = text(given.query.replace(":", r"\:"))
        return asked.columns(*map(column, named)).subquery(name)

    # -- plan ----------------------------------------------------------------------------------------------------------

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Items of the records behind the mark.

        Raises:
            Misconfigured: the query cannot be used.
            Unavailable: the database is not to be had now.
        """
        before = done.get(self.path, "")
        last, overlap = before.rpartition("|")[0], self.settings.overlap
        with self._reading() as connection:
            upto = connection.execute(select(func.max(self._all.c[self.settings.cursor]))).scalar()
            if upto is None:
                return
            self._planned = mark = self._mark(connection, upto)
            if mark == before:
                return
            begin = _place(last) if last else None
            after = None if begin is None else earlier(begin, overlap) if overlap else begin
            window = {"after": "" if after is None else place_text(after), "upto": place_text(upto)}
            yield from self._items(connection, window, self._digest(window["after"], mark), mark)

    def between(self, first: date, last: date) -> Iterator[WorkItem]:
        """Items of all records of some days, whatever was read before; the mark stays as it is.

        Raises:
            Misconfigured: no `day` is set, or the query cannot be used.
            Unavailable: the database is not to be had now.
        """
        if not self.settings.day:
            message = "未设置 day，不能按日读取 / no column for days is set"
            raise Misconfigured(message, "请设置 source.day / set source.day")
        window = {"from": first.isoformat(), "to": (last + timedelta(days=1)).isoformat()}
        with self._reading() as connection:
            state = sha256()
            for at, key in self._places(connection, window):
                state.update(f"{at}\0{key}\0".encode())
            yield from self._items(connection, window, self._digest(*window.values(), state.hexdigest()), "")

    def _mark(self, connection: Connection, upto: Any) -> str:  # noqa: ANN401 - what a driver gives
        """The greatest cursor, and a digest of what lies within the overlap before it."""
        seen = sha256()
        if self.settings.overlap:
            window = {"after": place_text(earlier(upto, self.settings.overlap)), "upto": place_text(upto)}
            for at, key in self._places(connection, window):
                seen.update(f"{at}\0{key}\0".encode())
        return f"{place_text(upto)}|{seen.hexdigest()[:16] if self.settings.overlap else ''}"

    def _digest(self, *names: str) -> str:
        return sha256("\0".join((self._identity, *names)).encode()).hexdigest()

    def _items(self, connection: Connection, window: Mapping[str, str], digest: str, mark: str) -> Iterator[WorkItem]:
        """Cut a window: each item ends with a place (cursor and key), behind which the next one begins."""
        company, begin, at, count = revealed(self.settings.company, "company"), ["", ""], 0, 0
        place = begin
        for place in map(list, self._places(connection, window)):
            count += 1
            if count == self.settings.item_records:
                yield self._item(digest, at, count, {**window, "begin": begin, "end": place, "mark": mark}, company)
                at, count, begin = at + count, 0, place
        if count:
            yield self._item(digest, at, count, {**window, "begin": begin, "end": place, "mark": mark}, company)

    def _item(self, digest: str, at: int, count: int, extra: Mapping[str, Any], company: str) -> WorkItem:
        return WorkItem(self.path, digest, at, count, company, self.settings.system, extra)

    def _places(self, connection: Connection, window: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Place of each record of a window: cursor and key, in this order."""
        latest = self._latest(window).subquery("g")
        with connection.execute(select(latest.c.at, latest.c.key).order_by(latest.c.at, latest.c.key)) as found:
            for at, key in found:
                yield place_text(at), place_text(key)

    def _latest(self, window: Mapping[str, Any]) -> Select[Any]:
        """Key and greatest cursor of the records of a window, and of the part of it between `begin` and `end`."""
        key, cursor = self._all.c[self.settings.key], self._all.c[self.settings.cursor]
        at = func.max(cursor)
        found = select(key.label("key"), at.label("at")).where(key.is_not(None), cursor.is_not(None))
        if "from" in window:
            days = self._asked("d")
            day = days.c[self.settings.day]
            kept_as_text = self._engine.dialect.name == "sqlite"
            first, last = (window[one] if kept_as_text else date.fromisoformat(window[one]) for one in ("from", "to"))
            chosen = day >= first, day < last
            found = found.where(key.in_(select(days.c[self.settings.key]).where(*chosen)))
        elif window["after"]:
            found = found.where(cursor > place_value(window["after"]))
        found = found.group_by(key)
        if "upto" in window:
            found = found.having(at <= place_value(window["upto"]))
        if window.get("begin", [""])[0]:
            where, name = map(place_value, window["begin"])
            found = found.having(or_(at > where, and_(at == where, key > name)))
        if "end" in window:
            where, name = map(place_value, window["end"])
            found = found.having(or_(at < where, and_(at == where, key <= name)))
        return found

    # -- read ----------------------------------------------------------------------------------------------------------

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's records as they are now; offsets are their places in the window.

        One that changed since the plan stands behind the window, and comes with the next one.

        Raises:
            Misconfigured: the query cannot be used.
            Unavailable: the database is not to be had now.
        """
        bodies: list[bytes] = []
        offsets: list[int] = []
        problems: list[tuple[int, bytes, str]] = []
        held, at = 0, item.offset
        for body, problem in self._payloads(item):
            if problem:
                problems.append((at, b"", problem))
            else:
                bodies.append(body)
                offsets.append(at)
            held, at = held + len(body), at + 1
            if len(bodies) + len(problems) >= block or held >= _BLOCK_BYTES:
                yield Block(item, bodies, offsets, problems)
                bodies, offsets, problems, held = [], [], [], 0
        if bodies or problems:
            yield Block(item, bodies, offsets, problems)

    def _payloads(self, item: WorkItem) -> Iterator[tuple[bytes, str]]:
        """Body of each record, or why there is none."""
        latest = self._latest(item.extra).subquery("g")
        key = self._all.c[self.settings.key]
        wanted = select(literal_column("q.*"), latest.c.at, latest.c.key)
        wanted = wanted.select_from(self._all.join(latest, key == latest.c.key))
        with self._reading() as connection, connection.execute(wanted.order_by(latest.c.at, latest.c.key)) as found:
            names = list(found.keys())[:-2]
            if len(set(names)) < len(names):
                message = "query 有同名的列 / two columns of the query bear one name"
                raise Misconfigured(message, "请用 AS 改名 / rename one with AS")
            for _, rows in groupby(found, lambda row: row[-1]):
                yield self._payload(names, [tuple(row)[:-2] for row in islice(rows, self.settings.max_rows + 1)])

    def _payload(self, names: list[str], rows: list[tuple[Any, ...]]) -> tuple[bytes, str]:
        if len(rows) > self.settings.max_rows:
            return b"", f"TOO_MANY_ROWS: 一条记录超过 {self.settings.max_rows} 行 / more rows than a record may have"
        make = csv_payload if self.settings.form == "csv" else json_payload
        kept = [at for at, name in enumerate(names) if name not in self.settings.without]
        try:
            body = make([names[at] for at in kept], [[row[at] for at in kept] for row in self._ordered(names, rows)])
        except UnfitError as error:
            return b"", str(error)
        if len(body) > self.settings.max_payload_bytes:
            return b"", f"PAYLOAD_TOO_LARGE: 单条超长 / payload too long: {len(body)}"
        return body, ""

    def _ordered(self, names: list[str], rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Rows of a record in an order that a database need not keep: by `line`, and among equals by content."""
        if len(rows) == 1:
            return rows
        rows = sorted(rows, key=repr)
        if self.settings.line:
            at = names.index(self.settings.line)
            rows.sort(key=lambda row: (row[at] is not None, row[at]))
        return rows

    def mark(self, path: str) -> str:
        """The mark that this object planned; before a plan that of this moment."""
        del path
        if not self._planned:
            with self._reading() as connection:
                upto = connection.execute(select(func.max(self._all.c[self.settings.cursor]))).scalar()
                return "" if upto is None else self._mark(connection, upto)
        return self._planned

    def finish(self, paths: Iterable[str]) -> None:
        """Nothing to do: nothing is changed there."""

    def check(self) -> list[str]:
        """How many rows there are, and how many of them are not read.

        Raises:
            Misconfigured: the query cannot be used.
            Unavailable: the database is not to be had now.
        """
        key, cursor = self._all.c[self.settings.key], self._all.c[self.settings.cursor]
        with self._reading() as connection:
            rows, keyed, ready = connection.execute(
                select(func.count(), func.count(key), func.count(cursor)).select_from(self._all)
            ).one()
        said = [f"{rows} 行 / {rows} rows"]
        if rows > keyed:
            said.append(f"{rows - keyed} 行没有 {self.settings.key}，不读取 / rows without a key are not read")
        if rows > ready:
            said.append(
                f"{rows - ready} 行没有 {self.settings.cursor}，尚不读取 / rows without a cursor are not read yet"
            )
        return said

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with translated(), reading(self._engine, 500) as connection:
                yield connection
        except UnfitError as error:
            raise Misconfigured(str(error), _FIX) from None


def _place(told: str) -> Any:  # noqa: ANN401 - what a driver takes
    """A place that the gateway kept.

    Raises:
        Misconfigured: it is of another source.
    """
    try:
        return place_value(told)
    except ValueError:
        message = "记住的位置属于另一来源 / the place that is remembered is another source's"
        raise Misconfigured(message, "请使用另一个交换名 / give the exchange another name") from None
