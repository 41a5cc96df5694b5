"""What a company sent and was refused, from the open letters: for clients that ask for their list of errors."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, select

from dlq.reasons import unpack
from pipelines import tables

_MOST = 500


class Database(Protocol):
    """Where the letters are (`pipelines.state.State` is one)."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that only looks."""


class Failures:
    """Open letters of one exchange and dialect by company. Only what was found is told, never the payload."""

    def __init__(self, database: Database, exchange: str, dialect: str) -> None:
        self._database, self._exchange, self._dialect = database, exchange, dialect

    def of(self, company: str) -> list[dict[str, Any]]:
        """The newest letters of a company: when, which order, and every reason."""
        t = tables.letters.letters
        statement = (
            select(t)
            .where(
                t.c.exchange == self._exchange,
                t.c.company == company,
                t.c.state == "open",
                t.c.dialect.startswith(self._dialect),
            )
            .order_by(t.c.created_at.desc(), t.c.id)
            .limit(_MOST)
        )
        with self._database.reading() as connection:
            return [_row(letter) for letter in connection.execute(statement)]


def _row(letter: Any) -> dict[str, Any]:
    return {
        "id": letter.id,
        "orderCode": letter.record_key.rpartition("|")[2],
        "receivedAt": letter.received_at,
        "errors": [{"code": one.code, "field": one.field, "message": one.zh} for one in unpack(letter.reasons)],
    }
