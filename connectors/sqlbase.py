"""What the SQL sink and the SQL source share: their settings, the table, the engine."""

from __future__ import annotations

import weakref

from pydantic import Field, SecretStr
from sqlalchemy import MetaData, func, select

from connectors.engines import open_engine, translated
from connectors.settings import ConnectorSettings
from connectors.tables import RowMap, TableSpec, tables

ASKED = 500
"""Values in one IN list."""


class StoreSettings(ConnectorSettings):
    """Which table of which database."""

    url: SecretStr
    """Address, as SQLAlchemy writes it: `sqlite:////path/store.db`. Never shown: it may hold a password."""
    table: TableSpec
    busy_seconds: float = Field(default=10.0, ge=0)
    """How long to wait for another writer before answering *unavailable*."""


class Store:
    """The table, and an engine that is opened when first used, never pickled, and closed with the last user."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.spec = settings.table
        self.table = tables(settings.table, MetaData())
        self.rows = RowMap(settings.table)
        self.engine = open_engine(settings.url.get_secret_value(), settings.busy_seconds)
        weakref.finalize(self, self.engine.dispose)  # a source has no close(), and sqlite3 warns of what is left open

    def check(self) -> list[str]:
        """How much the table holds.

        Raises:
            Misconfigured: there is no such table.
            Unavailable: the database is not to be had now.
        """
        own = self.table.c
        with translated(), self.engine.connect() as connection:
            total = connection.scalar(select(func.count()).select_from(self.table))
            current = connection.scalar(select(func.count()).select_from(self.table).where(own.current.is_(True)))
        return [f"{self.spec.name}: {total} 个版本, {current} 条现行 / {total} versions, {current} current"]
