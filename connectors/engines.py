"""Engines for SQL stores, what differs between databases, and what their errors mean. The only such place.

SQLite runs in WAL mode (readers never block the writer) with `synchronous=FULL` (a commit survives a power cut); a
write transaction begins with BEGIN IMMEDIATE, so that versions are compared and written under one lock. Its log is
copied back every 8,000 pages (32 MB): keys are spread, so each commit writes the pages of thousands of keys, and those
written again before the log is copied are copied once. On PostgreSQL
the same is reached by locking the table against other writers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from connectors.contracts import ConnectorError, Misconfigured, Unavailable

_FOR_A_PERSON = ("no such", "has no column", "readonly", "unable to open", "not a database", "malformed")


def open_engine(url: str, busy_seconds: float) -> Engine:
    """An engine that waits at most `busy_seconds` for a lock.

    Raises:
        Misconfigured: the address cannot be used. The message never holds it: it may hold a password.
    """
    try:
        parsed = make_url(url)
        lite = parsed.get_backend_name() == "sqlite"
        arguments = {"timeout": busy_seconds, "check_same_thread": False} if lite else {}
        engine = create_engine(parsed, connect_args=arguments, pool_timeout=max(busy_seconds, 1.0))
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
        message = f"数据库地址不可用 / database address cannot be used: {type(error).__name__}"
        raise Misconfigured(message, "例如 / for example sqlite:////var/lib/vingate/store.db") from None
    if lite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "cache_size=-16000",
        "temp_store=MEMORY",
        "wal_autocheckpoint=8000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("vingate_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: Engine, table: Table) -> Iterator[Connection]:
    """One write transaction that no other writer of the table can overlap."""
    with engine.connect().execution_options(vingate_writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")
        yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's errors into the connectors'.

    Raises:
        Unavailable: locked, busy, full, not reachable.
        Misconfigured: no such table or column, read-only, not a database.
    """
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        raise store_error(error) from error


def store_error(error: DBAPIError | PoolTimeoutError) -> ConnectorError:
    """What a database error means; the text holds neither statement nor parameters nor address."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = str(cause).splitlines()[0][:200] if str(cause) else type(error).__name__
    person = isinstance(error, ProgrammingError) or any(sign in text for sign in _FOR_A_PERSON)
    if person or not isinstance(error, OperationalError | PoolTimeoutError | DBAPIError):
        message = f"数据库无法使用 / database cannot be used: {text}"
        return Misconfigured(message, "请检查路径、权限与表结构 / check path, rights, tables (migrated?)")
    message = f"数据库暂不可用 / database is unavailable: {text}"
    return Unavailable(message, "稍后自动重试；磁盘满时请清理 / tried again by itself; free space if the disk is full")
