"""Who owns a state on PostgreSQL: a lease row with an epoch, proved in every commit.

A process that ends, however it ends, loses its session, and with it a lock of the server: the next one takes over at
once. A process that was stopped keeps its session, but cannot renew: after `SECONDS` another may take over. Taking over
raises the epoch. Each of the owner's transactions ends by reading the row with its own epoch under a lock that a
take-over waits for; so what wakes up later commits nothing.

The state as a whole is one name. Partitions are further names: nothing here knows what a name means.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Float, bindparam, cast, extract, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pipelines import tables
from pipelines.errors import StateBusy, StateLost

SECONDS = 30.0
"""How long a lease lasts without being renewed; it is renewed three times as often."""
PATIENCE = 3.0
"""Seconds that the server is given to notice that a holder was killed."""
WHOLE = "state"
"""The name of the lease on everything."""
_Result = TypeVar("_Result")
_NOW: Any = cast(extract("epoch", func.clock_timestamp()), Float)
_CLASS = 0x56_49
_PROVE = text("SELECT epoch FROM leases WHERE name = :name AND epoch = :epoch FOR SHARE")


class Lease:
    """A lease that is held, renewed in a thread of its own until `close`.

    Raises StateBusy when another process holds it and lives.
    """

    def __init__(self, engine: Engine, path: Path, name: str = WHOLE) -> None:
        self._engine, self._path, self._name = engine, path, name
        self._session = self._open()
        self._ended = threading.Event()
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
        if connection.execute(_PROVE, {"name": self._name, "epoch": self.epoch}).first() is None:
            raise StateLost(self._path)

    def close(self) -> None:
        """Give the lease back: the next process need not wait."""
        self._ended.set()
        self._renewer.join()
        t = tables.leases
        own = (t.c.name == self._name) & (t.c.epoch == self.epoch)
        if not self._session.closed:
            with suppress(DBAPIError, PoolTimeout):
                self._session.execute(update(t).where(own).values(expires=0))
                self._session.execute(text("SELECT pg_advisory_unlock(:class, hashtext(:name))"), self._lock)
        self._leave()

    @property
    def _lock(self) -> dict[str, object]:
        return {"class": _CLASS, "name": self._name}

    def _take(self) -> int:
        t = tables.leases
        first = insert(t).values(name=self._name, epoch=0, owner="", session=0, expires=0).on_conflict_do_nothing()
        self._session.execute(first)
        end = time.monotonic() + PATIENCE
        while True:
            taken = self._try()
            if taken:
                return taken
            if time.monotonic() >= end:
                raise StateBusy(self._path)
            self._ended.wait(0.05)

    def _try(self) -> int:
        """The new epoch; 0 while another holder lives.

        A commit of the old holder that is under way is waited for: it has locked the row to prove its epoch.
        """
        t = tables.leases
        own = t.c.name == bindparam("n")
        before = self._session.execute(select(t.c.session).where(own), {"n": self._name}).scalar_one()
        dead = self._alone()
        change = (
            update(t)
            .where(own if dead else own & (t.c.expires < _NOW))
            .values(
                epoch=t.c.epoch + 1,
                owner=f"{socket.gethostname()}:{os.getpid()}",
                session=func.pg_backend_pid(),
                expires=_NOW + SECONDS,
            )
        )
        taken = self._session.execute(change.returning(t.c.epoch), {"n": self._name}).scalar()
        if taken is not None and not dead:
            self._end(before)
        return int(taken or 0)

    def _alone(self) -> bool:
        """Whether no other session holds the lock; it is ours then."""
        return bool(
            self._session.execute(text("SELECT pg_try_advisory_lock(:class, hashtext(:name))"), self._lock).scalar()
        )

    def _end(self, session: int) -> None:
        """End the session of a holder that did not renew, so that its lock comes free."""
        with suppress(DBAPIError):  # another user's: the epoch is what counts
            end = text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = :pid AND datname = current_database() AND application_name = 'vingate'"
            )
            self._session.execute(end, {"pid": session})
            self._alone()

    def _renew(self) -> None:
        t = tables.leases
        own = (t.c.name == self._name) & (t.c.epoch == self.epoch)
        change = update(t).where(own).values(expires=_NOW + SECONDS, session=func.pg_backend_pid())
        while not self._ended.wait(SECONDS / 3):
            try:
                if self._session.closed:  # the server was away: its session, and the lock with it, is made again
                    self._session = self._open()
                    self._alone()
                if self._session.execute(change).rowcount != 1:
                    return
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
            if getattr(error.orig, "sqlstate", "") not in ("40001", "40P01"):
                raise
    return work()
