"""Which versions stand in a versioned table under keys that begin alike, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, or_, select

from connectors.contracts import Misconfigured
from connectors.engines import translated
from connectors.sqlbase import Store, StoreSettings


class Listed(NamedTuple):
    """A version that stands."""

    key: str
    version: int
    content: str
    moment: str


class SqlListing:
    """Lists a table by key, which its unique index gives in order: a page reads on where the last one ended.

    Args:
        settings: the table.
        moment: a column of ISO 8601 text that says since when a version is known.
    """

    def __init__(self, settings: StoreSettings, moment: str) -> None:
        self._store = Store(settings)
        if moment not in settings.table.columns:
            message = f"没有这一列 / there is no column {moment!r}"
            raise Misconfigured(message, "请检查设置 / check the settings")
        self._moment = self._store.table.c[moment]

    def page(self, begins: Sequence[str], since: str, after: tuple[str, int], most: int) -> list[Listed]:
        """At most so many versions behind `after` (key and version), by key and version.

        Args:
            begins: what a key must begin with; any of these.
            since: a moment's text; versions whose text sorts before it are left out.
            after: key and version of the last one that is known; ("", 0) at first.
            most: how many at most.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        own = self._store.table.c
        key, version = after
        behind = or_(own.record_key > key, and_(own.record_key == key, own.version > version))
        wanted = select(own.record_key, own.version, own.content, self._moment)
        wanted = wanted.where(or_(*map(self._begins, begins)), behind, self._moment >= since)
        with translated(), self._store.engine.connect() as connection:
            rows: Sequence[Any] = connection.execute(wanted.order_by(own.record_key, own.version).limit(most)).all()
        return [Listed(*row) for row in rows]

    def _begins(self, text: str) -> ColumnElement[bool]:
        own = self._store.table.c
        if self._store.engine.dialect.name != "sqlite":
            return own.record_key.startswith(text, autoescape=True)
        # LIKE of SQLite knows no case and so uses no index; its texts sort by bytes, which gives the same as a range.
        return and_(own.record_key >= text, own.record_key < text + "\U0010ffff")

    def close(self) -> None:
        """Close the connections."""
        self._store.engine.dispose()
