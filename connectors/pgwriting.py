"""How rows get into a versioned table of PostgreSQL: locks by key, one look-up by array, COPY into the table itself.

Versions are worked out in the client from what stands (as on SQLite, by the same code), so that what is new needs no
temporary table and no second pass on the server. Two writers must not do that for one key at a time, also for a key
that stands nowhere yet and so has no row to lock: each takes **advisory locks**, in ascending order. A write of few
keys locks each of them and shares the table; one of many keys has the table's writers to itself, since locks of a
server are few (64 for each connection).

A writer that comes to a halt in a transaction, since its process was stopped or its host is gone, must not hold up the
others. Between two statements the server ends it by itself. In the middle of a COPY no limit of the server's holds: it
waits for the next row for ever, and so whoever waits for its locks ends it.

Readers never wait. Only who asks how far the table is *settled* waits for writers: numbers are taken when rows are
written and seen when they are committed, so a smaller number can turn up after a greater one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Engine, Table, TextClause, text
from sqlalchemy.exc import DBAPIError

from connectors.contracts import Delivery
from connectors.copying import copy_rows, together

FEW = 256
"""Up to so many keys are locked one by one."""
INDEXED_BYTES = 2600
"""What fits into an entry of an index: a third of a page, with something kept back."""
_CLASS = 0x56_47
"""First half of the locks that stand for whole tables."""
IDLE_SECONDS = 5.0
"""A writer that does nothing for so long in the middle of a transaction has come to a halt."""
_IDLE_LIMIT = f"{IDLE_SECONDS * 1000:.0f}"
_LOCK_TIMEOUT = "55P03"
_IDLE = text("SELECT set_config('idle_in_transaction_session_timeout', :limit, true)")
_TRY_ALONE = text(
    "SELECT pg_try_advisory_xact_lock(:class, :table), set_config('idle_in_transaction_session_timeout', :limit, true)"
)
_PATIENCE = text(
    "SELECT set_config('vingate.lock_timeout', current_setting('lock_timeout'), true),"
    " set_config('lock_timeout', (1000 * least(CAST(:seconds AS float8),"
    " extract(epoch FROM current_setting('lock_timeout')::interval)))::bigint::text, true)"
)
_PATIENCE_BEFORE = text("SELECT set_config('lock_timeout', current_setting('vingate.lock_timeout'), true)")
_END_HALTED = text(
    "SELECT pg_terminate_backend(a.pid) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
    " AND l.classid = :class AND l.objid = CAST(:table AS bigint) & 4294967295"
    " AND a.datname = current_database() AND a.usename = current_user"
    " AND a.state = 'active' AND a.wait_event_type = 'Client'"
    " AND a.query_start < clock_timestamp() - make_interval(secs => :seconds)"
)
_ALONE = text("SELECT pg_advisory_xact_lock(:class, :table)")
_SHARE = text("SELECT pg_advisory_xact_lock_shared(:class, :table)")
_LOCK = text("SELECT pg_advisory_xact_lock(one) FROM unnest(CAST(:keys AS bigint[])) AS one")


def digest64(*names: str) -> int:
    """A signed 64-bit digest of some names."""
    digest = blake2b("\0".join(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class PostgresWriting:
    """The statements by which a sink writes; all of a table of PostgreSQL."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = {"class": _CLASS, "table": digest64(table.name) >> 32}
        self._columns = [column for column in table.columns if column.name != "seq"]
        name = f'"{table.name}"'
        self._standing, self._supersede, self._taken = standing_of(name), supersede_of(name), taken_of(name)
        indexed = {column.name for index in table.indexes for column in index.columns} - {"batch"}
        given = list(table.columns)[9:]
        self._indexed = [(at, column.name) for at, column in enumerate(given) if column.name in indexed]

    def unfit(self, delivery: Delivery, row: Sequence[Any]) -> str:
        """Why this database cannot hold a row; empty when it can."""
        for name, value in (("record_key", delivery.key), ("delivery_id", delivery.id), ("batch", delivery.batch)):
            if len(value) > INDEXED_BYTES // 4 and len(value.encode()) > INDEXED_BYTES:
                return _too_long(name)
        for at, name in self._indexed:
            value = row[at]
            if type(value) is str and len(value) > INDEXED_BYTES // 4 and len(value.encode()) > INDEXED_BYTES:
                return _too_long(name)
        return ""

    @contextmanager
    def begin(self, engine: Engine, keys: Collection[str]) -> Iterator[Connection]:
        """A transaction that no other writer of these keys can overlap."""
        with ExitStack() as held:
            yield self._begun(engine, keys, held)

    def _begun(self, engine: Engine, keys: Collection[str], held: ExitStack) -> Connection:
        """The third try waits as long as any other lock is waited for, behind a writer that was ended just now."""
        for patience in (_PATIENCE, _PATIENCE, None):
            try:
                return held.enter_context(self._locked(engine, keys, patience))
            except DBAPIError as error:
                if patience is None or getattr(error.orig, "sqlstate", "") != _LOCK_TIMEOUT:
                    raise
            with engine.begin() as ending:
                self._end_halted(ending)
        raise AssertionError  # the last one returns or raises

    @contextmanager
    def _locked(
        self, engine: Engine, keys: Collection[str], patience: TextClause | None = None
    ) -> Iterator[Connection]:
        with engine.begin() as connection:
            with together(connection):
                end_when_idle(connection)
                if patience is not None:
                    connection.execute(patience, {"seconds": IDLE_SECONDS})
                if len(keys) > FEW:
                    connection.execute(_ALONE, self._lock)
                else:
                    connection.execute(_SHARE, self._lock)
                    numbers = sorted({digest64(self._table.name, key) for key in keys})
                    connection.execute(_LOCK, {"keys": numbers})
                if patience is not None:
                    connection.execute(_PATIENCE_BEFORE)
            yield connection

    def _end_halted(self, connection: Connection) -> None:
        """End the sessions of writers that came to a halt in a COPY."""
        connection.execute(_END_HALTED, {**self._lock, "seconds": IDLE_SECONDS})

    def settle(self, connection: Connection) -> None:
        """Wait for the writers that are under way; holds off new ones until the transaction ends.

        The server ends it where who began it comes to a halt.
        """
        if not connection.scalar(_TRY_ALONE, {**self._lock, "limit": _IDLE_LIMIT}):
            self._end_halted(connection)
            connection.execute(_ALONE, self._lock)

    def standing(self, connection: Connection, keys: Collection[str]) -> Iterable[Any]:
        """Key, version, delivery id, content and batch of the rows with these keys."""
        return connection.execute(self._standing, {"keys": sorted(keys)})

    def taken(self, connection: Connection, ids: Sequence[str]) -> Iterable[Any]:
        """Delivery id and key of the rows with these ids."""
        return connection.execute(self._taken, {"keys": list(ids)})

    def supersede(self, connection: Connection, keys: Collection[str]) -> None:
        """No version of these keys is current any more."""
        connection.execute(self._supersede, {"keys": sorted(keys)})

    def insert(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, whose columns are those of the table behind `seq`.

        Raises:
            IntegrityError: an id or a version is there already.
        """
        copy_rows(connection, self._table, self._columns, rows)


def end_when_idle(connection: Connection) -> None:
    """Have the server end this transaction when its writer does nothing for `IDLE_SECONDS` between two statements."""
    connection.execute(_IDLE, {"limit": _IDLE_LIMIT})


# Key by key, whatever the planner believes of a table that was never analysed: it would read all of it. Keys are given
# sorted, since look-ups that follow each other then go through the same upper pages of the index.
_EACH = "FROM unnest(CAST(:keys AS text[])) AS w (key)"


def standing_of(name: str) -> TextClause:
    """Key, version, delivery id, content and batch of the rows of a table, by its quoted name, with some keys."""
    return text(
        "SELECT r.record_key, r.version, r.delivery_id, r.content, r.batch"  # noqa: S608 - a name that was checked
        f" {_EACH} CROSS JOIN LATERAL (SELECT * FROM {name} AS t WHERE t.record_key = w.key OFFSET 0) AS r"
    )


def supersede_of(name: str) -> TextClause:
    """No version of some keys is current any more."""
    return text(
        f"UPDATE {name} SET current = false WHERE seq = ANY(ARRAY(SELECT r.seq {_EACH} CROSS JOIN LATERAL"  # noqa: S608
        f" (SELECT t.seq FROM {name} AS t WHERE t.record_key = w.key AND t.current OFFSET 0) AS r))"
    )


def taken_of(name: str) -> TextClause:
    """Delivery id and key of the rows with some ids."""
    return text(
        f"SELECT r.delivery_id, r.record_key {_EACH} CROSS JOIN LATERAL"  # noqa: S608 - a name that was checked
        f" (SELECT * FROM {name} AS t WHERE t.delivery_id = w.key OFFSET 0) AS r"
    )


def _too_long(name: str) -> str:
    return f"BODY: 列 {name} 太长，无法索引 / column {name} is too long to be indexed: {INDEXED_BYTES} bytes at most"
