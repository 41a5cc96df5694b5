"""Moving a state from SQLite to PostgreSQL: every table and the whole version index, in one transaction of the target.

    told = copy_state(Path("var/state"), "env:STATE_URL")

Nobody else may have the state open meanwhile. Until the copy is committed the state is the one on SQLite; then the
folder names the new database, and the file of the old one is renamed to `vingate.db.moved`, to be kept or removed. A
copy that was cut off leaves the state as it was; what it left in the target goes with its transaction. One that was cut
off after its commit is finished by the next call, which finds this very state in the target.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Integer, Table, create_engine, event, func, inspect, select, text
from sqlalchemy.exc import OperationalError

from connectors.copying import copy_rows
from pipelines import tables, vinplaces
from pipelines.errors import StateBusy, StateMissing, StateNotEmpty
from pipelines.state import State, lock_folder
from pipelines.stateplace import DATABASE, keep_place, open_place
from pipelines.versionruns import Entries, merged
from pipelines.versions import VersionIndex
from pipelines.versiontable import VersionTable

MOVED = f"{DATABASE}.moved"
_OWN = frozenset({"version_runs", "version_front", "versions", "vin_journals", "leases"})
"""Tables that are not copied row by row: the indexes are made anew, leases belong to their database."""
_AT_ONCE = 2_000


def copy_state(folder: Path, url: str) -> dict[str, int]:
    """Move the state of a folder to a database of PostgreSQL; how many rows each table has there.

    Args:
        folder: the state's folder, whose database is SQLite.
        url: address of the new database, which must be empty; or `env:NAME`, `file:PATH`.

    Raises:
        StateMissing: there is no state on SQLite in the folder.
        StateBusy: another process has it open.
        StateNotEmpty: the target has tables already, and they do not hold this state as it is.
        Misconfigured: the address cannot be used.
    """
    if not (folder / DATABASE).is_file():
        raise StateMissing(folder)
    State(folder, own=True).close()  # brings an older schema to today's
    with ExitStack() as held:
        held.enter_context(lock_folder(folder))
        target = open_place(folder, url)
        held.callback(target.dispose)
        with _alone(folder) as source, target.begin() as connection:
            counts = _copied(source, connection, folder)
        keep_place(folder, url)
        (folder / DATABASE).rename(folder / MOVED)
    return counts


@contextmanager
def _alone(folder: Path) -> Iterator[Connection]:
    """A connection to the old database that no other process can have open at the same time."""
    engine = create_engine(f"sqlite:///{folder / DATABASE}", connect_args={"timeout": 1})

    @event.listens_for(engine, "connect")
    def _exclusive(connection: Any, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")

    try:
        with _opened(engine, folder) as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _opened(engine: Engine, folder: Path) -> Iterator[Connection]:
    with engine.connect() as connection:
        try:
            connection.execute(select(tables.meta)).all()
        except OperationalError as error:
            if str(getattr(error.orig, "sqlite_errorname", "")).startswith("SQLITE_BUSY"):
                raise StateBusy(folder) from None
            raise
        yield connection


def _copied(source: Connection, target: Connection, folder: Path) -> dict[str, int]:
    if set(inspect(target).get_table_names()) & set(tables.metadata.tables):
        return _moved_before(source, target, folder)
    tables.metadata.create_all(target)
    counts = {
        table.name: _copy_table(source, target, table)
        for table in tables.metadata.sorted_tables
        if table.name not in _OWN
    }
    vinplaces.fill(source, target)
    counts["versions"] = _copy_versions(source, target, folder)
    return counts


_TELLING = (tables.meta, tables.runs, tables.batches, tables.batch_destinations)
"""Tables whose rows tell one state from another, and from the same one a batch later."""


def _moved_before(source: Connection, target: Connection, folder: Path) -> dict[str, int]:
    """The counts of a target that holds this very state: a call before this one was cut off behind its commit.

    Raises:
        StateNotEmpty: it holds another one, or this one went on there.
    """
    if not set(tables.metadata.tables) <= set(inspect(target).get_table_names()):
        raise StateNotEmpty
    copied = [table for table in tables.metadata.sorted_tables if table.name not in _OWN]
    counts = {table.name: _count(target, table) for table in copied}
    if counts != {table.name: _count(source, table) for table in copied}:
        raise StateNotEmpty
    for table in _TELLING:
        rows = select(table).order_by(*table.primary_key.columns)
        if any(a != b for a, b in zip(source.execute(rows), target.execute(rows), strict=True)):
            raise StateNotEmpty
    return counts | {"versions": VersionTable().size(target)}


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _copy_table(source: Connection, target: Connection, table: Table) -> int:
    rows = source.execute(select(table).execution_options(yield_per=_AT_ONCE))
    copy_rows(target, table, list(table.columns), (tuple(row) for row in rows))
    number = table.autoincrement_column
    if number is not None and isinstance(number.type, Integer):
        _go_on_counting(source, target, table, number.name)
    return _count(target, table)


def _go_on_counting(source: Connection, target: Connection, table: Table, column: str) -> None:
    """No number that was ever given is given again."""
    last = source.execute(select(func.max(table.c[column]))).scalar() or 0
    if table.dialect_options["sqlite"]["autoincrement"]:
        given = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        last = max(last, source.execute(given, {"name": table.name}).scalar() or 0)
    if last:
        going = text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)")
        target.execute(going, {"table": table.name, "column": column, "last": last})


def _copy_versions(source: Connection, target: Connection, folder: Path) -> int:
    """The runs of the index merged to one, oldest first, then what stands in front of them."""
    index, kept = VersionIndex(folder / "versions"), VersionTable()
    with ExitStack() as stack:
        runs = [stack.enter_context(run) for run in index.opened(source)]
        for piece in merged(runs) if runs else ():
            _add(kept, target, piece)
    front = index.front(source)
    _add(kept, target, front)
    return kept.size(target)


def _add(kept: VersionTable, target: Connection, entries: Entries) -> None:
    for at in range(0, len(entries), 100_000):
        kept.add(target, entries[at : at + 100_000])
