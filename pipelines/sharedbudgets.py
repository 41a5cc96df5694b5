"""Rate budgets in the database of a state on PostgreSQL: all who work on it share them, on whatever host.

One row a budget, changed under its lock in a transaction of its own, by the server's clock: those of hosts differ.
Gateways with states of their own share them in a database that their roles name (`budgets_elsewhere`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, Float, cast, extract, func, select, update
from sqlalchemy import text as text_of
from sqlalchemy.dialects.postgresql import insert

from connectors.budgets import Spent, Step, share, unshare
from connectors.confidential import revealed
from connectors.contracts import Misconfigured
from connectors.engines import Limits, open_engine, translated
from pipelines import tables

LIMITS = Limits(busy_seconds=10.0, statement_seconds=10.0, connections=2)


class StateBudgets:
    """Budgets in the state's database (`connectors.budgets.BudgetStore`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def change(self, name: str, step: Step) -> float:
        """Replace it under the row's lock; what cannot be read counts as nothing spent.

        Raises:
            Unavailable: the database is not to be had now: nothing was taken.
            Misconfigured: there is no such table.
        """
        t = tables.budgets
        own = t.c.name == name
        with translated(), self._engine.begin() as connection:
            self._prepare(connection)
            connection.execute(insert(t).values(name=name, spent="{}").on_conflict_do_nothing())
            kept = connection.execute(select(t.c.spent).where(own).with_for_update()).scalar_one()
            now = connection.execute(select(cast(extract("epoch", func.clock_timestamp()), Float))).scalar_one()
            spent, seconds = step(_read(kept), float(now))
            text = orjson.dumps({str(slot): count for slot, count in spent.items()}).decode()
            connection.execute(update(t).where(own).values(spent=text))
        return seconds

    def _prepare(self, connection: Connection) -> None:
        """The table is there: the state's migrations made it."""


class OwnBudgets(StateBudgets):
    """Budgets in a database that need not be a state's: the table is made where it is missing."""

    _made = False

    def _prepare(self, connection: Connection) -> None:
        if not self._made:
            connection.execute(text_of("SELECT pg_advisory_xact_lock(22091)"))  # of two that come first, one makes it
            tables.budgets.create(connection, checkfirst=True)
            self._made = True


@contextmanager
def budgets_elsewhere(url: SecretStr) -> Iterator[None]:
    """While it lasts, this process shares its budgets in a database of this address; an empty one changes nothing.

    Raises:
        Misconfigured: it is no address of PostgreSQL, or stands where nothing is to be read.
    """
    address = revealed(url, "state.budgets") if url.get_secret_value() else ""
    if not address:
        yield
        return
    if not address.startswith("postgresql"):
        message = "state.budgets: 应为 PostgreSQL 地址 / must be the address of a PostgreSQL database"
        raise Misconfigured(message, "例如 / for example postgresql+psycopg://user@host/database")
    engine = open_engine(address, LIMITS)
    store = OwnBudgets(engine)
    share(store)
    try:
        yield
    finally:
        unshare(store)
        engine.dispose()


def _read(text: str) -> Spent:
    try:
        return {int(slot): int(count) for slot, count in orjson.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        return {}
