"""Who owns a state on PostgreSQL: a lease row with an epoch, proved in every commit.

A process that ends, however it ends, loses its session, and with it a lock of the server: the next one takes over at
once. A process that was stopped keeps its session, but cannot renew: after `SECONDS` another may take over. A commit of
its that is under way is waited for, but not for ever: it may have been stopped in one, so all sessions that bear its
name are ended then. Taking over raises the epoch. Each of the owner's transactions ends by reading the row with its own
epoch under a lock that a take-over waits for; so what wakes up later commits nothing.

The state as a whole is one name; each gateway that shares a state is another (`pipelines.sharing`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Float, bindparam, cast, extract, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pipelines import tables
from pipelines.errors import StateBusy, StateLost
from pipelines.stateplace import SESSIONS

SECONDS = 30.0
"""How long a lease lasts without being renewed, by default."""
RENEWALS = 3
"""How often it is renewed in that time, by default."""
PATIENCE = 3.0
"""Seconds that the server is given to notice that a holder was killed."""
UNDER_WAY = 2.0
"""Seconds that a commit of a holder that did not renew is waited for."""
WHOLE = "state"
"""The name of the lease on everything."""
_NOW: Any = cast(extract("epoch", func.clock_timestamp()), Float)
LOCKS = 0x56_49
"""The class of the advisory locks that sessions of holders keep: class, hash of the lease's name."""
_PROVE = text("SELECT epoch FROM leases WHERE name = :name AND epoch = :epoch FOR SHARE")
_Result = TypeVar("_Result")


class Lease:
    """A lease that is held, renewed in a thread of its own until `close`.

    Waits `patience` seconds for one that is about to come free. Raises StateBusy when another process holds it and
    lives.
    """

    def __init__(
        self,
        engine: Engine,
        path: Path,
        name: str = WHOLE,
        *,
        seconds: float | None = None,
        renewals: int = RENEWALS,
        patience: float | None = None,
    ) -> None:
        self._engine, self._path, self.name = engine, path, name
        self._seconds, self._renewals = SECONDS if seconds is None else seconds, renewals
        self._patience = PATIENCE if patience is None else patience
        self._session = self._open()
        self._ended = threading.Event()
        self._renewed_at = float("-inf")
        try:
            self.epoch = self._take()
        except BaseException:
            self._session.close()
            raise
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewer.start()

    def proved(self, connection: Connection) -> None:
        """Make sure, at the end of a transaction, that the lease is still ours until it is committed.

        Raises:
            StateLost: another process took over; nothing may be committed.
        """
        if connection.execute(_PROVE, {"name": self.name, "epoch": self.epoch}).first() is None:
            raise StateLost(self._path)

    @property
    def left(self) -> float:
        """Seconds that the lease lasts at least, by our own clock; from any thread. Later it may be ours still."""
        return self._renewed_at + self._seconds - time.monotonic()

    def close(self) -> None:
        """Give the lease back: the next process need not wait."""
        self._ended.set()
        self._renewer.join()
        t = tables.leases
        own = (t.c.name == self.name) & (t.c.epoch == self.epoch)
        if not self._session.closed:
            with suppress(DBAPIError, PoolTimeout):
                self._session.execute(update(t).where(own).values(expires=0, owner="", session=0))
                self._session.execute(text("SELECT pg_advisory_unlock(:class, hashtext(:name))"), self._lock)
        self._leave()

    @property
    def _lock(self) -> dict[str, object]:
        return {"class": LOCKS, "name": self.name}

    def _take(self) -> int:
        t = tables.leases
        first = insert(t).values(name=self.name, epoch=0, owner="", session=0, expires=0).on_conflict_do_nothing()
        self._session.execute(first)
        end = time.monotonic() + self._patience
        while True:
            taken = self._try()
            if taken:
                return taken
            if time.monotonic() >= end:
                raise StateBusy(self._path)
            self._ended.wait(0.05)

    def _try(self) -> int:
        """The new epoch; 0 while another holder lives."""
        t = tables.leases
        own = t.c.name == bindparam("n")
        asked = select(t.c.owner, t.c.session, t.c.expires < _NOW).where(own)
        owner, session, late = self._session.execute(asked, {"n": self.name}).one()
        dead = self._alone()
        if not dead and not late:
            return 0
        if not self._free(own):
            self._end(owner, session)
        change = (
            update(t)
            .where(own if dead else own & (t.c.expires < _NOW))
            .values(
                epoch=t.c.epoch + 1,
                owner=func.current_setting("application_name"),
                session=func.pg_backend_pid(),
                expires=_NOW + self._seconds,
            )
        )
        began = time.monotonic()
        taken = self._session.execute(change.returning(t.c.epoch), {"n": self.name}).scalar()
        if taken is not None:
            self._renewed_at = began
            self._end(owner, session)
            self._alone()
        return int(taken or 0)

    def _free(self, own: ColumnElement[bool]) -> bool:
        """Whether the row comes free by itself: a commit that is under way has locked it to prove its epoch."""
        end = time.monotonic() + UNDER_WAY
        asked = select(tables.leases.c.epoch).where(own).with_for_update(nowait=True)
        while True:
            try:
                self._session.execute(asked, {"n": self.name})
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", "") != "55P03":
                    raise
                if time.monotonic() >= end:
                    return False
                self._ended.wait(0.05)
            else:
                return True

    def _alone(self) -> bool:
        """Whether no other session holds the lock; it is ours then."""
        return bool(
            self._session.execute(text("SELECT pg_try_advisory_lock(:class, hashtext(:name))"), self._lock).scalar()
        )

    def _end(self, owner: str, session: int) -> None:
        """End the sessions of a holder that is taken over from, with what they have locked; never our own."""
        end = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE :ours AND (pid = :session OR application_name = :owner)"
            " AND application_name <> current_setting('application_name')"
        )
        with suppress(DBAPIError):  # another user's: the epoch is what counts
            self._session.execute(end, {"ours": f"{SESSIONS}%", "session": session, "owner": owner})

    def _renew(self) -> None:
        t = tables.leases
        own = (t.c.name == self.name) & (t.c.epoch == self.epoch)
        change = update(t).where(own).values(expires=_NOW + self._seconds, session=func.pg_backend_pid())
        while not self._ended.wait(self._seconds / self._renewals):
            try:
                if self._session.closed:  # the server was away: its session, and the lock with it, is made again
                    self._session = self._open()
                    self._alone()
                began = time.monotonic()
                if self._session.execute(change).rowcount != 1:
                    return
                self._renewed_at = began
            except (DBAPIError, PoolTimeout):
                self._leave()

    def _open(self) -> Connection:
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def _leave(self) -> None:
        with suppress(DBAPIError, PoolTimeout):
            self._session.close()


def retried(work: Callable[[], _Result], times: int = 5) -> _Result:
    """Call a unit of work again that the server gave up for another one's sake (deadlock, serialization)."""
    for _ in range(times - 1):
        try:
            return work()
        except DBAPIError as error:
            if not is_given_up(error):
                raise
    return work()


def is_given_up(error: DBAPIError) -> bool:
    """Whether the server gave a transaction up for another one's sake."""
    return getattr(error.orig, "sqlstate", "") in ("40001", "40P01")
