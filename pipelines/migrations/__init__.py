"""The one migration history, for two kinds of databases: the state, and SQL stores of records.

A fresh database is made by `create_all`, in one step and without Alembic. Only one that an older vingate made comes
here:

    from pipelines.migrations import upgrade   # imports Alembic
    upgrade(engine)                            # a state
    upgrade(engine, spec=REPAIRS)              # a store with the table of this spec

To change a table: change `pipelines.tables` (or `dlq.tables`, `connectors.tables`), run
`python -m pipelines.migrations`, put what it prints into a new file in `versions/`, and set
`pipelines.state.SCHEMA_VERSION` to its revision. One that `expands` (says so: `expands = True`) adds what builds before
it need not know, and locks no table for long; gateways of both builds share a state then. After any other one
`SCHEMA_SINCE` is its revision too.
"""

from __future__ import annotations

import time
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError

from connectors.tables import TableSpec
from connectors.tables import tables as store_table
from pipelines import tables
from pipelines.errors import StateTooNew
from pipelines.schema import Standing, note, standing

STATE, STORE = "state", "store"
_TRIES, _PAUSE, _WAIT_MS, _LOCKED = 60, 0.5, 500, "55P03"


def head() -> str:
    """The newest revision."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def upgrade(engine: Engine, spec: TableSpec | None = None, revision: str = "head") -> None:
    """Bring a database to a revision, in one transaction; one that is there already is left as it is.

    Args:
        engine: of the state, or of a store.
        spec: the table of a store; None for a state.
        revision: up to which.

    Others may be at work on it: where one of them holds a table that is to change, that is tried again, since who
    waits for a table makes all others wait.

    Raises:
        StateTooNew: a newer vingate made it.
        DBAPIError: a table did not come free in `_TRIES` times.
    """
    for _ in range(_TRIES - 1):
        try:
            _upgrade(engine, spec, revision)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != _LOCKED:
                raise
            time.sleep(_PAUSE)
        else:
            return
    _upgrade(engine, spec, revision)


def _upgrade(engine: Engine, spec: TableSpec | None, revision: str) -> None:
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = {_WAIT_MS}"))
        config = _config(connection, spec)
        known = _known(connection, spec)
        if known and known not in {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}:
            raise StateTooNew(known, head())
        if known:
            command.stamp(config, known)
        command.upgrade(config, revision)
        if spec is None:
            now = _context(connection, spec).get_current_revision() or ""
            applied = ScriptDirectory.from_config(config).iterate_revisions(now, known or "base")
            bounds = [one.revision for one in applied if not _expands(one)]
            note(connection, Standing(now, bounds[0] if bounds else standing(connection).since))


def expands(known: str) -> bool:
    """Whether all revisions behind a known one expand; not where it is unknown."""
    scripts = ScriptDirectory.from_config(_config())
    if known not in {one.revision for one in scripts.walk_revisions()}:
        return False
    return all(_expands(one) for one in scripts.iterate_revisions("head", known))


def _expands(one: Script) -> bool:
    return bool(getattr(one.module, "expands", False))


def differences(connection: Connection, spec: TableSpec | None = None) -> list[Any]:
    """What differs between a database and today's tables; empty when nothing does."""
    found: list[Any] = compare_metadata(_context(connection, spec), metadata_of(spec))
    return found


def draft() -> str:
    """The body of the revision that the state's tables need now, as Alembic would write it."""
    engine = create_engine("sqlite://")
    try:
        upgrade(engine)
        with engine.connect() as connection:
            operations = produce_migrations(_context(connection, None), tables.metadata).upgrade_ops
            return render_python_code(operations, render_as_batch=True) if operations is not None else ""
    finally:
        engine.dispose()


def metadata_of(spec: TableSpec | None) -> MetaData:
    """Today's tables of a state, or of a store."""
    if spec is None:
        return tables.metadata
    metadata = MetaData()
    store_table(spec, metadata)
    return metadata


def version_table(spec: TableSpec | None) -> str:
    """Where a database keeps its revision; stores of several specs may share one database."""
    return "alembic_version" if spec is None else f"{spec.name}_revision"


def _config(connection: Connection | None = None, spec: TableSpec | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "pipelines:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, spec=spec, role=STATE if spec is None else STORE)
    return config


def _context(connection: Connection, spec: TableSpec | None) -> MigrationContext:
    return MigrationContext.configure(
        connection, opts={"version_table": version_table(spec), "target_metadata": metadata_of(spec)}
    )


def _known(connection: Connection, spec: TableSpec | None) -> str:
    """The revision that a database made by `create_all` is at; empty when it is empty, or Alembic knows."""
    names = inspect(connection).get_table_names()
    if version_table(spec) in names:
        return _context(connection, spec).get_current_revision() or ""
    if spec is None:
        found = select(tables.meta.c.value).where(tables.meta.c.name == "schema")
        return str(connection.execute(found).scalar() or "") if "meta" in names else ""
    return FIRST if spec.name in names else ""


FIRST = "0001"
"""Stores made by `create` before they kept a revision are at this one."""
