"""Engines for SQL stores, what differs between databases, and what their errors mean. The only such place.

SQLite runs in WAL mode (readers never block the writer) with `synchronous=FULL` (a commit survives a power cut); a
write transaction begins with BEGIN IMMEDIATE, so that versions are compared and written under one lock. Its log is
copied back every 8,000 pages (32 MB): keys are spread, so each commit writes the pages of thousands of keys, and those
written again before the log is copied are copied once.

PostgreSQL runs READ COMMITTED, so that a statement behind a lock sees what was committed before it; connections are
pooled, and have time-outs for statements and locks. A server that is silent is not waited for either
(`connectors.pglink`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from select import POLLIN, poll
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from connectors.contracts import ConnectorError, Misconfigured, Unavailable

WRITES = "vingate_writes"
"""Execution option of connections to SQLite whose transaction takes the write lock at its begin."""

_FOR_A_PERSON = (
    "no such", "has no column", "syntax error", "readonly", "unable to open", "not a database", "malformed",
    "authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist", "read-only transaction",
)  # fmt: skip
_STATES_FOR_A_PERSON = ("28", "3D", "42", "25006", "0A")
"""Begins of SQLSTATE: login refused, no such database, no such table or no right to it, read-only, not to be done."""


class Limits(NamedTuple):
    """How long to wait for a database, and how many connections to keep."""

    busy_seconds: float = 10.0
    """For a lock, and for a connection."""
    statement_seconds: float = 60.0
    """For one statement, and six times that between two of a transaction; SQLite has no such limit."""
    connections: int = 4
    connect_seconds: float = 10.0
    """For a connection to PostgreSQL to be made, each address of the host."""
    silent_seconds: float = 10.0
    """So long without a byte, PostgreSQL is asked by another connection whether it still works on the statement."""

    def given(self, query: Mapping[str, str | tuple[str, ...]]) -> Limits:
        """The same with those that an address names (`?silent_seconds=5`).

        Raises:
            Misconfigured: one is no number of seconds above 0.
        """
        found: dict[str, Any] = {name: _seconds(name, query[name]) for name in SECONDS if name in query}
        return self._replace(**found)


SECONDS = ("busy_seconds", "statement_seconds", "connect_seconds", "silent_seconds")
"""Limits that the address of a database on PostgreSQL may name, behind its `?`."""
_FOR_EVER = 1e6
RESTED_SECONDS = 1.0
"""A connection that was given back so lately, and on which nothing came in, is not asked before it is used again."""


def _seconds(name: str, value: str | tuple[str, ...]) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < _FOR_EVER:
        message = f"数据库地址中的 {name} 不是秒数 / {name} in the address of the database is no number of seconds"
        raise Misconfigured(message, f"例如 / for example ?{name}=10")
    return seconds


def address(url: str, password: str = "") -> str:
    """An address with a password, where it has none of its own.

    Raises:
        Misconfigured: it is no address.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _unusable(error) from None
    if password and not parsed.password:
        parsed = parsed.set(password=password)
    return parsed.render_as_string(hide_password=False)


def open_engine(url: str, limits: Limits) -> Engine:
    """An engine that waits no longer than its limits.

    Raises:
        Misconfigured: the address cannot be used. The message never holds it: it may hold a password.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            return _open_postgres(parsed, limits)
        if parsed.get_backend_name() != "sqlite":
            raise _unusable(NoSuchModuleError())
        arguments = {"timeout": limits.busy_seconds, "check_same_thread": False}
        engine = create_engine(parsed, connect_args=arguments, pool_timeout=max(limits.busy_seconds, 1.0))
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
        raise _unusable(error) from None
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _unusable(error: Exception) -> Misconfigured:
    message = f"数据库地址不可用 / database address cannot be used: {type(error).__name__}"
    return Misconfigured(
        message, "例如 / for example sqlite:////var/lib/vingate/store.db, postgresql+psycopg://user@host/database"
    )


def _open_postgres(url: URL, limits: Limits) -> Engine:
    """An engine on PostgreSQL: a dead server is noticed, and nothing waits longer than its limit."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    limits = limits.given(url.query)
    url = url.difference_update_query(SECONDS)
    arguments: dict[str, Any] = {
        "connect_timeout": max(round(limits.connect_seconds), 2),  # what libpq takes for 1 is 2
        "application_name": "vingate",
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # ms that what was sent may stay unanswered
    }
    engine = create_engine(
        url,
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,  # a connection that a restart of the server cut is not given out
        pool_size=limits.connections,
        pool_use_lifo=True,  # one that has its statements prepared already
        max_overflow=0,
        pool_timeout=max(round(limits.busy_seconds), 2),
        hide_parameters=True,
    )

    waits = limits.busy_seconds, limits.statement_seconds, 6 * limits.statement_seconds

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, _given: object, parameters: dict[str, Any]) -> Any:  # noqa: ANN401
        from connectors.pglink import open_link  # late: stores on SQLite need none of it

        return open_link(dict(parameters), limits.silent_seconds, limits.statement_seconds)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false),"
            " set_config('idle_in_transaction_session_timeout', %s, false)"
            ", set_config('jit', 'off', false)"  # it costs more than any of our statements
            # Statements are parsed once, and planned each time: a plan kept from an empty table reads all of it.
            ", set_config('plan_cache_mode', 'force_custom_plan', false)"
            # The server, too, finds out that a host has gone, in seconds: by itself it asks after two hours.
            ", set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false)"
            ", set_config('tcp_keepalives_count', '3', false)",
            [str(round(max(seconds, 0.001) * 1000)) for seconds in waits],
        )
        connection.commit()

    ping = engine.dialect.do_ping

    def _ping(connection: Any) -> bool:  # noqa: ANN401 - the driver's connection
        lately = time.monotonic() - connection.rested_at < RESTED_SECONDS
        heard = poll()
        heard.register(connection.fileno(), POLLIN)
        return (lately and not heard.poll(0)) or ping(connection)

    setattr(engine.dialect, "do_ping", _ping)  # noqa: B010 - a question for each transaction costs as much as one

    @event.listens_for(engine, "checkin")
    def _rests(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection, None where it broke
        if connection is not None:
            connection.rested_at = time.monotonic()

    return engine


@contextmanager
def glancing(engine: Engine) -> Iterator[Connection]:
    """A connection for questions of which each stands by itself: on PostgreSQL one round trip each, not three."""
    options = {"isolation_level": "AUTOCOMMIT"} if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(**options) as connection:
        yield connection


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
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


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
    text = _said(cause) or type(error).__name__
    state = str(getattr(cause, "sqlstate", None) or "")
    person = state.startswith(_STATES_FOR_A_PERSON) if state else any(sign in text for sign in _FOR_A_PERSON)
    person = person or (isinstance(error, ProgrammingError) and not state)
    if person:
        message = f"数据库无法使用 / database cannot be used: {text}"
        return Misconfigured(message, "请检查路径、权限与表结构 / check path, rights, tables (migrated?)")
    message = f"数据库暂不可用 / database is unavailable: {text}"
    return Unavailable(message, "稍后自动重试；磁盘满时请清理 / tried again by itself; free space if the disk is full")


def _said(cause: object) -> str:
    """The first line of a driver's error, that of a server without the values that it may quote."""
    text = str(cause).strip().partition("\n")[0]
    return re.sub(r'value "[^"]*"|: "[^"]*"', "…", text)[:200]
