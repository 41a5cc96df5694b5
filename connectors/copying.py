"""COPY into a table of PostgreSQL: the cheapest way in, about 1 us of the client's time for a row of 26 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, LargeBinary, String, Table
from sqlalchemy.exc import DBAPIError

_TYPES: tuple[tuple[type[Any], str], ...] = (
    (Boolean, "bool"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (LargeBinary, "bytea"),
    (String, "text"),  # VARCHAR has the same binary form
)
"""Kinds of columns, a special one before its general one, and what the server calls them."""


def copy_rows(
    connection: Connection, table: Table, columns: Sequence[Column[Any]], rows: Iterable[Sequence[Any]], into: str = ""
) -> None:
    """COPY rows into a table, in the transaction of the connection.

    Args:
        connection: to PostgreSQL, by psycopg.
        table: the table that has the columns.
        columns: columns in the order of the rows' values; the others get their defaults.
        rows: the values, None for NULL.
        into: name of another table with the same columns, a temporary one.

    Raises:
        DBAPIError: what SQLAlchemy would raise for an INSERT of the same rows.
    """
    quote = connection.dialect.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in columns)
    statement = f"COPY {quote(into or table.name)} ({names}) FROM STDIN (FORMAT BINARY)"
    types = [next(name for kind, name in _TYPES if isinstance(column.type, kind)) for column in columns]
    driver: Any = connection.connection.driver_connection
    with translated_errors(connection, statement), driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """Statements inside are sent without waiting for each one's answer (PostgreSQL).

    For changes whose answers nobody looks at: whoever did would find no rows, whatever there is. No COPY inside. What
    one of them raises comes at the end at the latest.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.driver_connection
    with translated_errors(connection, "pipeline"), driver.pipeline():
        yield


@contextmanager
def translated_errors(connection: Connection, statement: str) -> Iterator[None]:
    """The driver's errors as those of SQLAlchemy; a connection that broke leaves the pool."""
    driver: Any = connection.connection.driver_connection
    base: Any = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        gone = bool(driver.closed)
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, base, True, gone, connection.dialect
        ) from error  # fmt: skip
