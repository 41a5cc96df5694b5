"""The State: one database (SQLite, PostgreSQL) and its folder, owned by one gateway at a time.

It owns the engine, the unit of work and the migrations. Everything that must be true together is committed together
here.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, insert, inspect, select, text

from connectors.budgets import share, unshare
from connectors.engines import glancing
from dlq.errors import Tampered
from dlq.sealing import Sealer
from pipelines import tables
from pipelines.errors import KeyElsewhere, NotShareable, StateBusy, StateMissing, StateTooNew, StateTooOld
from pipelines.schema import Standing, note, standing
from pipelines.stateplace import DATABASE, keep_place, open_place, place_of
from pipelines.versions import VersionIndex

if TYPE_CHECKING:
    from pipelines.lease import Lease
    from pipelines.sharedbudgets import StateBudgets
    from pipelines.sharing import Share
    from pipelines.versiontable import VersionTable

__all__ = ["DATABASE", "SCHEMA_SINCE", "SCHEMA_VERSION", "SETTINGS", "State"]

_Result = TypeVar("_Result")
SETTINGS = b"settings"
"""What the settings of a run are sealed for."""
SCHEMA_VERSION = "0014"
"""The newest revision of the migration history (pipelines/migrations)."""
SCHEMA_SINCE = "0014"
"""The newest revision that does not expand: builds since this one work on a state of this schema."""
_SHARED_SINCE = "0007"


class State:
    """The durable memory of a gateway in the folder `path`.

    `own=True` takes the gateway's lock: runs need it, commands that only look do not. `url` is the address of a
    database of PostgreSQL; the folder keeps it, so that later ones need none. With `shared=True` several gateways, each
    with a folder of its own, own it together (`pipelines.sharing`). Raises StateBusy where another gateway owns the
    state, StateMissing where a command looks at what no run has made, KeyElsewhere and NotShareable where it cannot be
    shared.
    """

    def __init__(self, path: Path, *, own: bool, url: str = "", shared: bool = False) -> None:
        self.path = path
        self.share: Share | None = None
        self._lock: int | None = None
        self._lease: Lease | None = None
        self._budgets: StateBudgets | None = None
        given = place_of(path, url)
        if own:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
            self._lock = _lock(path)
        elif not given and not (path / DATABASE).is_file():
            raise StateMissing(path)
        try:
            self.engine = open_place(path, given)
        except BaseException:
            self._unlock()
            raise
        self._shared = self.engine.dialect.name == "postgresql"
        try:
            if own:
                self._own(given, shared=shared)
            else:
                self._look()
        except BaseException:
            self.close()
            raise
        self.versions = _versions(path, shared=self._shared) if own else None
        self._sets: list[tuple[str, ...]] | None = None

    def _own(self, given: str, *, shared: bool) -> None:
        if shared and not self._shared:
            message = (
                "只有 PostgreSQL 上的状态可由多个网关共享：请设置 state.url"
                " / only a state on PostgreSQL can be shared: set state.url"
            )
            raise NotShareable(message)
        if self._shared and inspect(self.engine).has_table(tables.leases.name):
            self._lease = self._leased(alone=not (shared and self._beside()))  # before tables change
        self._migrate()
        if self._shared:
            self._lease = self._lease or self._leased(alone=not shared)
            keep_place(self.path, given)
            self._share_budgets()
        (self.path / "staging").mkdir(exist_ok=True)
        if shared:
            self._join()

    def _join(self) -> None:
        """Become one of those who share the state; the lease on the whole is given back, each has one of its own."""
        from pipelines.sharing import join

        whole = self._lease
        self.share = join(self.engine, self.path, self.unit_of_work, self._key_like)
        self._lease = self.share.lease
        if whole is not None:
            whole.close()
        self.share.balance()
        self.share.watch()

    def _key_like(self, known: str) -> str:
        """The fingerprint of our key, which must be the one that is known, where one is."""
        if not known:
            return self.sealer().fingerprint
        if not self.key_path.exists() or Sealer.open(self.key_path, create=False).fingerprint != known:
            raise KeyElsewhere(self.key_path, known)
        return known

    def _schema(self) -> Standing:
        with self.engine.connect() as connection:
            return standing(connection)

    def _beside(self) -> bool:
        """Whether others may go on with the state while we come: nothing changes, or nothing that they would mind."""
        found = self._schema()
        if found.serves(SCHEMA_VERSION):
            return True
        from pipelines.migrations import expands

        return expands(found.version)

    def _share_budgets(self) -> None:
        """Rate budgets of this process are those of all who work on this state, on other hosts and after us too."""
        from pipelines.sharedbudgets import StateBudgets  # late, as all of PostgreSQL

        self._budgets = StateBudgets(self.engine)
        share(self._budgets)

    def _leased(self, *, alone: bool) -> Lease:
        from pipelines.lease import Lease  # late, as all of PostgreSQL: it costs every start else

        lease = Lease(self.engine, self.path)
        if alone and self._schema().version >= _SHARED_SINCE:
            from pipelines import sharing

            try:
                sharing.alone(self.engine, self.path)
            except BaseException:
                lease.close()
                raise
        return lease

    @property
    def leads(self) -> bool:
        """Whether what must be done by one gateway alone is ours."""
        return self.share is None or self.share.once

    @property
    def sure(self) -> bool:
        """Whether nobody can have taken over what is ours of a state that several share; from any thread."""
        return self.share is None or self.share.sure

    @property
    def member(self) -> str:
        """Our name among those who share the state; empty: it is ours alone."""
        return "" if self.share is None else self.share.name

    def partitions(self, exchange: str) -> frozenset[int] | None:
        """Partitions of an exchange's inbox that are ours; None: all of it is ours."""
        return self.share.held if self.share is not None and exchange in self.share.partitioned else None

    @property
    def notices(self) -> bool:
        """Whether the database tells who listens what was committed."""
        return self._shared

    @property
    def key_path(self) -> Path:
        """Where the sealing key lies."""
        return self.path / "keys" / "sealing.key"

    def sealer(self) -> Sealer:
        """The sealer of this state; its key is made on the first run.

        Raises:
            KeyLost: the key is gone, and something was sealed with it.
            WrongKey: the key is another one than the last run's.
        """
        t = tables.runs
        with self.reading() as connection:
            begun = connection.execute(select(t.c.id).limit(1)).first() is not None
            newest = select(t.c.settings).where(t.c.settings.is_not(None)).order_by(t.c.id.desc()).limit(1)
            sealed = connection.execute(newest).scalar()
        sealer = Sealer.open(self.key_path, create=not begun)
        if sealed:
            with suppress(Tampered):  # who needs the settings says so
                sealer.unseal(sealed, SETTINGS)
        return sealer

    @contextmanager
    def unit_of_work(self) -> Iterator[Connection]:
        """One transaction: everything in it is committed together or not at all.

        Raises:
            StateLost: another gateway took over; nothing was committed.
        """
        try:
            with self.engine.begin() as connection:
                if self.share is not None:  # others may have made some
                    self.forget_sets()
                yield connection
                if self._lease is not None:
                    self._lease.proved(connection)
        except BaseException:
            self.forget_sets()
            raise

    def work(self, unit: Callable[[Connection], _Result]) -> _Result:
        """Call a unit of work in a transaction; again, when the server gave it up for another one's sake."""

        def once() -> _Result:
            with self.unit_of_work() as connection:
                return unit(connection)

        if not self._shared:
            return once()
        from pipelines.lease import retried

        return retried(once)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that only looks, at one moment of the database; never waits for the writer."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if self._shared else {}
        with self.engine.connect().execution_options(reading=True, **options) as connection:
            yield connection
            connection.commit()  # a rollback would have the driver forget what it has prepared

    @contextmanager
    def glancing(self) -> Iterator[Connection]:
        """A connection for one question: on a server it costs one round trip, where `reading` costs three."""
        with glancing(self.engine) if self._shared else self.reading() as connection:
            yield connection

    def destination_set(self, connection: Connection, names: Sequence[str]) -> int:
        """The number of a set of destinations, which is made when it is new."""
        wanted = tuple(sorted(set(names)))
        known = self.destination_sets(connection)
        if wanted not in known and self.share is not None:
            connection.execute(text("LOCK TABLE destination_sets IN EXCLUSIVE MODE"))
            self.forget_sets()
            known = self.destination_sets(connection)
        if wanted in known:
            return known.index(wanted)
        connection.execute(
            insert(tables.destination_sets), {"id": len(known), "names": json.dumps(wanted, ensure_ascii=False)}
        )
        known.append(wanted)
        return len(known) - 1

    def destination_sets(self, connection: Connection) -> list[tuple[str, ...]]:
        """All sets of destinations by number; number 0 is the empty one."""
        if self._sets is None:
            t = tables.destination_sets
            rows = connection.execute(select(t.c.names).order_by(t.c.id)).scalars().all()
            self._sets = [tuple(json.loads(names)) for names in rows]
        return self._sets

    def forget_sets(self) -> None:
        """Drop what is remembered of destination sets, after a transaction that did not commit."""
        self._sets = None

    def merge_versions(self) -> None:
        """Merge runs of the version index that have become too many; the old files go once that is committed."""
        if self.versions is None or self._shared:  # a table has no runs
            return
        with self.reading() as connection:
            runs = self.versions.mergeable(connection)
        if runs:
            with self.unit_of_work() as connection:
                gone = self.versions.merge(connection, runs)
            self.versions.drop(gone)

    def close(self) -> None:
        """Give back the database and the lock."""
        if self._budgets is not None:
            unshare(self._budgets)
            self._budgets = None
        if self.share is not None:
            self.share.close()
            self._lease = None
        if self._lease is not None:
            self._lease.close()
            self._lease = None
        self.engine.dispose()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self) -> None:
        """A command that only looks changes no schema."""
        with self.engine.connect() as connection:
            if not inspect(connection).has_table("meta"):
                raise StateMissing(self.path)
            found = standing(connection)
        if not found.serves(SCHEMA_VERSION):
            raise (
                StateTooOld(self.path, found.version, SCHEMA_VERSION)
                if found.version < SCHEMA_VERSION
                else StateTooNew(found.version, SCHEMA_VERSION)
            )

    def _migrate(self) -> None:
        with self.engine.begin() as connection:
            if self._shared:
                connection.execute(text("SELECT pg_advisory_xact_lock(22089)"))  # of two that come first, one makes it
            fresh = not inspect(connection).has_table("meta")
            if fresh:
                tables.metadata.create_all(connection)
                note(connection, Standing(SCHEMA_VERSION, SCHEMA_SINCE))
                connection.execute(insert(tables.destination_sets), {"id": 0, "names": "[]"})
                return
            found = standing(connection)
        if not found.serves(SCHEMA_VERSION):
            from pipelines.migrations import upgrade  # imported late: Alembic is needed by old states only

            upgrade(self.engine)


def _versions(path: Path, *, shared: bool) -> VersionIndex | VersionTable:
    if not shared:
        return VersionIndex(path / "versions")
    from pipelines.versiontable import VersionTable

    return VersionTable()


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Hold the lock of a state's folder.

    Raises:
        StateBusy: another process holds it.
    """
    handle = _lock(path)
    try:
        yield
    finally:
        os.close(handle)


def _lock(path: Path) -> int:
    handle = os.open(path / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StateBusy(path) from None
    return handle
