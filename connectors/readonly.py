"""Engines on databases of others, in which nothing is changed: any that SQLAlchemy has a driver for.

SQLite is opened `mode=ro` with `query_only`, PostgreSQL in read-only transactions; elsewhere nothing but SELECT is
ever sent and every transaction is rolled back. Give such a user no right to write besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from connectors.contracts import Misconfigured
from connectors.engines import Limits, open_engine

_EXAMPLE = "例如 / for example sqlite:////shop/data.db, postgresql+psycopg://reader@host/shop, mysql+pymysql://..."


def open_reader(url: str, limits: Limits) -> Engine:
    """An engine for reading.

    Raises:
        Misconfigured: the address cannot be used; the message never holds it, since it may hold a password.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            return open_engine(url, limits)
        if parsed.get_backend_name() == "sqlite":
            return _open_file(parsed, limits)
        return create_engine(parsed, pool_pre_ping=True, pool_size=1, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
        why = type(error).__name__
        message = f"数据库地址不可用，或缺少驱动 / the address cannot be used, or has no driver: {why}"
        raise Misconfigured(message, _EXAMPLE) from None


def _open_file(url: URL, limits: Limits) -> Engine:
    place = quote(url.database or "")
    engine = create_engine(
        f"sqlite:///file:{place}?mode=ro&uri=true",
        connect_args={"timeout": limits.busy_seconds, "check_same_thread": False},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
        connection.execute("PRAGMA query_only=ON")

    return engine


@contextmanager
def reading(engine: Engine, rows: int) -> Iterator[Connection]:
    """A transaction that only reads and is rolled back, whose results come so many rows at a time."""
    options: dict[str, Any] = {"stream_results": True, "yield_per": rows}
    if engine.dialect.name == "postgresql":
        options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**options) as connection:
        try:
            yield connection
        finally:
            connection.rollback()
