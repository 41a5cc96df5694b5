"""Where a state's database is: SQLite in its folder, or a database of PostgreSQL that the folder names.

The folder is always there: it holds the sealing key and what is staged. A state on PostgreSQL has the file
`database.url` in it, with the address as it was given (`env:NAME` and `file:PATH` stay what they are), so that every
later command needs `--state` only. `VINGATE_STATE_URL` serves where no address was given and the folder has no database
of either kind.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from connectors.confidential import revealed
from connectors.contracts import Misconfigured
from connectors.engines import Limits, open_engine
from pipelines.errors import StateElsewhere

DATABASE = "vingate.db"
ADDRESS = "database.url"
VARIABLE = "VINGATE_STATE_URL"
SESSIONS = "vingate "
"""How the names of our sessions on the server begin; host, process and what makes them unique follow."""
LIMITS = Limits(busy_seconds=30.0, statement_seconds=600.0, connections=10)


def place_of(folder: Path, url: str = "") -> str:
    """The address of a state's database as it was given; empty: it is SQLite in the folder.

    Raises:
        StateElsewhere: an address was given, and the folder has a database of SQLite.
    """
    kept = folder / ADDRESS
    if (folder / DATABASE).exists():
        if url:
            raise StateElsewhere(folder)
        return ""
    if url:
        return url
    if kept.is_file():
        return kept.read_text("utf-8").strip()
    return f"env:{VARIABLE}" if os.environ.get(VARIABLE) else ""


def keep_place(folder: Path, url: str) -> None:
    """Write the address of a state on PostgreSQL into its folder, for its owner's eyes only."""
    kept = folder / ADDRESS
    if kept.is_file() and kept.read_text("utf-8").strip() == url:
        return
    staged = folder / f"{ADDRESS}.new"
    handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{url}\n")
        file.flush()
        os.fsync(file.fileno())
    staged.rename(kept)


def open_place(folder: Path, url: str) -> Engine:
    """The engine of a state's database.

    Raises:
        Misconfigured: the address cannot be used, or the database cannot keep a state.
    """
    if not url:
        return _sqlite(folder / DATABASE)
    address = revealed(SecretStr(url), "state.url")
    if not address.startswith("postgresql"):
        message = "状态数据库地址应为 PostgreSQL / the address of a state's database must be one of PostgreSQL"
        raise Misconfigured(message, "例如 / for example postgresql+psycopg://user@host/database")
    engine = open_engine(_named(address), LIMITS)
    event.listen(engine, "connect", _whole_numbers)
    try:
        _sorts_by_bytes(engine, make_url(address).database or "")
    except BaseException:
        engine.dispose()
        raise
    return engine


def _named(address: str) -> str:
    """The address with a name for our sessions, unless it has one: who takes a state over ends all that we have."""
    try:
        url = make_url(address)
    except ArgumentError:
        return address  # `open_engine` says what is wrong with it
    if "application_name" in url.query:
        return address
    host = socket.gethostname().encode("ascii", "replace").decode()[:30]
    name = f"{SESSIONS}{host}:{os.getpid()}:{secrets.token_hex(6)}"
    return url.update_query_dict({"application_name": name}).render_as_string(hide_password=False)


def _whole_numbers(connection: Any, _record: object) -> None:
    """Sums of whole numbers are whole numbers, as they are on SQLite: the state has no others."""
    from psycopg.adapt import Loader  # late: states on SQLite need none of it

    class Whole(Loader):
        def load(self, data: Any) -> int:
            return int(bytes(data))

    connection.adapters.register_loader("numeric", Whole)


def _sorts_by_bytes(engine: Engine, name: str) -> None:
    """Keys and times are compared by their bytes, here and in Python: another order would lose what is between."""
    with engine.connect() as connection:
        by_bytes, encoding = connection.execute(
            text("SELECT 'B' < 'a' AND '-b' < 'a', current_setting('server_encoding')")
        ).one()
    if not by_bytes or encoding != "UTF8":
        message = (
            "数据库须按字节排序并使用 UTF8 / the database must sort by bytes (collation C) and be of encoding UTF8"
        )
        remedy = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"
        raise Misconfigured(message, f"请重建 / make it with: {remedy}")


def _sqlite(database: Path) -> Engine:
    engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver's guess
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE")

    return engine
