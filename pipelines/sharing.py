"""Gateways that share a state on PostgreSQL: each a member with a lease, each with partitions of its own.

A member's lease (`pipelines.lease`) is named for it, and each of its commits proves it. A partition, and what must be
done by one (`ONCE`), is a row that names its member. It changes hands in two ways only: its member gives it up between
batches, or the member is dead and its lease was taken by another, which raises the epoch and inherits all that the dead
one had, decided batches too. So the one row that a commit proves stands for all partitions that it touches.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pipelines import tables
from pipelines.errors import NotShareable, StateBusy, StateLost
from pipelines.lease import LOCKS, PATIENCE, Lease
from pipelines.partitions import PARTITIONS, among

LOG = logging.getLogger("vingate.sharing")
MEMBER, PARTITION, ONCE = "member:", "partition:", "once"
"""Names of leases: `member:` and a name; `partition:07`; what must be done by one gateway alone."""
SECONDS = 8.0
"""How long a member's lease lasts without being renewed: what it had is taken over within 15 s, whatever happened."""
RENEWALS = 8
GRACE = 3.0
"""Seconds without a session after which a member counts as dead: two renewals, should the server have been away."""
LOOK_SECONDS = 1.0
SURE_SECONDS = 2.0
"""With less left of its lease by its own clock a member counts on it no more: another may be about to take over."""
KEY = "sealing-key"
"""The row of `meta` with the fingerprint of the key that all members seal with."""
_LIVES = text(
    "SELECT l.name, l.epoch > 0 AND l.expires < EXTRACT(EPOCH FROM clock_timestamp()) AS late, EXISTS ("
    " SELECT 1 FROM pg_locks k WHERE k.locktype = 'advisory' AND k.classid::bigint = :class AND k.objsubid = 2"
    " AND k.objid::bigint = (hashtext(l.name)::bigint & 4294967295) AND k.granted"
    " AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS held"
    " FROM leases l WHERE l.name LIKE 'member:%' ORDER BY l.name"
)
"""Members, and whether they did not renew or have no session; one that is just coming has not been late yet."""
_t = tables.leases
_NAMES = [ONCE, *(f"{PARTITION}{number:02d}" for number in range(PARTITIONS))]
_Unit = Callable[[], AbstractContextManager[Connection]]


class Share:
    """What one gateway has of a state that several share.

    Args:
        engine: of the state.
        path: the folder of this gateway.
        lease: the lease on its own name.
        unit: its units of work, which prove that lease.
    """

    def __init__(self, engine: Engine, path: Path, lease: Lease, unit: _Unit) -> None:
        self._engine, self._path, self.lease, self._unit = engine, path, lease, unit
        self.name = lease.name
        self.partitioned: set[str] = set()
        """Exchanges whose inbox is worked on by partitions; the others belong to who holds `ONCE`."""
        self.held: frozenset[int] = frozenset()
        self.once = False
        self.members = 1
        self.changes = 0
        """Rises whenever something was taken, inherited or given up: what is known of the state is to be read again."""
        self._silent: dict[str, float] = {}
        self._aside_until = float("-inf")
        self._balanced = float("-inf")
        self._inherited = False
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="share", daemon=True)

    def watch(self) -> None:
        """Begin to look after the others, in a thread: what a stopped one has locked may hold up all of us."""
        self._watcher.start()

    def tick(self) -> None:
        """Once a second, take what is free and give up what is too much; take note of what was inherited.

        To be called between batches only. Raises StateLost when this member counts as dead itself.
        """
        if time.monotonic() - self._balanced >= LOOK_SECONDS or self._inherited:
            self._balanced = time.monotonic()
            self.balance()

    def balance(self) -> None:
        """Make the shares equal, as far as that is ours to do."""
        if self._inherited:
            self._inherited = False
            self.changes += 1
        with self._unit() as connection:
            self.lease.proved(connection)
            members = sorted(connection.execute(select(_t.c.name).where(_t.c.name.startswith(MEMBER))).scalars())
            mine = [row.name for row in self._rows(connection, self.name)]
            fair = _fair(members, self.name)
            held = [name for name in mine if name != ONCE]
            if len(held) > fair:
                self._give(connection, held[fair:])
            elif len(held) < fair:
                self._claim(connection, PARTITION, fair - len(held))
            if ONCE not in mine and (len(members) == 1 or time.monotonic() >= self._aside_until):
                self._claim(connection, ONCE, 1)
            after = {row.name for row in self._rows(connection, self.name)}
        self._now_has(after, len(members))

    @property
    def sure(self) -> bool:
        """Whether nobody can have taken over from us yet, by our own clock; from any thread, the database not asked."""
        return self.lease.left > SURE_SECONDS

    def stand_aside(self, seconds: float) -> bool:
        """Give up what one gateway does alone, for another that can do it, and leave it to the others for so long.

        To be called between batches only. False: something of ours is unfinished, all stays as it is.
        """
        with self._unit() as connection:
            self.lease.proved(connection)
            if self._busy(connection, self.held):
                return False
            mine = (_t.c.name == ONCE) & (_t.c.owner == self.name)
            connection.execute(update(_t).where(mine).values(owner="", epoch=_t.c.epoch + 1))
        self._aside_until = time.monotonic() + seconds
        self.once, self.changes = False, self.changes + 1
        return True

    def close(self) -> None:
        """Leave: what is finished is given up at once; what is not, others inherit as of a dead member."""
        self._ended.set()
        if self._watcher.is_alive():
            self._watcher.join()
        with suppress(StateLost, DBAPIError, PoolTimeout), self._engine.begin() as connection:
            self.lease.proved(connection)
            if not self._busy(connection, self.held):
                connection.execute(update(_t).where(_t.c.owner == self.name).values(owner="", epoch=_t.c.epoch + 1))
                connection.execute(delete(_t).where(_t.c.name == self.name))
        self.lease.close()

    def _now_has(self, names: Iterable[str], members: int) -> None:
        held = frozenset(int(name.removeprefix(PARTITION)) for name in names if name != ONCE)
        once = ONCE in names
        if (held, once) != (self.held, self.once):
            self.held, self.once, self.changes = held, once, self.changes + 1
        self.members = members

    # -- the dead ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self.look()
            except StateLost:  # who works will hear of it too
                return
            except (DBAPIError, PoolTimeout) as error:
                LOG.warning("cannot look after the others: %s", type(error).__name__)

    def look(self) -> None:
        """Inherit from members that are dead."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            seen = connection.execute(_LIVES, {"class": LOCKS}).all()
        for dead in self._dead(seen):
            self._inherit(dead)

    def _dead(self, seen: Iterable[Any]) -> list[str]:
        """Members that did not renew, or whose sessions are gone for a while."""
        now = time.monotonic()
        others = [row for row in seen if row.name != self.name]
        self._silent = {row.name: self._silent.get(row.name, now) for row in others if not row.held}
        return [row.name for row in others if row.late or now - self._silent.get(row.name, now) >= GRACE]

    def _inherit(self, dead: str) -> None:
        """Take a dead member's lease, and with it all that it had."""
        with suppress(StateBusy):  # it lives after all, or another inherits
            lease = Lease(self._engine, self._path, dead, seconds=SECONDS, patience=0)
            try:
                with self._engine.begin() as connection:
                    lease.proved(connection)
                    inherit(connection, dead, self.name)
                    connection.execute(delete(_t).where(_t.c.name == dead))
                    self.lease.proved(connection)
                self._inherited = True
            finally:
                lease.close()

    # -- partitions ----------------------------------------------------------------------------------------------------

    def _rows(self, connection: Connection, owner: str) -> list[Any]:
        return list(connection.execute(select(_t.c.name).where(_t.c.owner == owner).order_by(_t.c.name)))

    def _claim(self, connection: Connection, names: str, most: int) -> None:
        free = (
            select(_t.c.name)
            .where(_t.c.name.startswith(names), _t.c.owner == "")
            .order_by(_t.c.name)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        chosen = connection.execute(free).scalars().all()
        connection.execute(update(_t).where(_t.c.name.in_(chosen)).values(owner=self.name, epoch=_t.c.epoch + 1))

    def _give(self, connection: Connection, names: list[str]) -> None:
        """Give up partitions, unless something of ours is unfinished: what comes after it must not overtake it."""
        if not self._busy(connection, {int(name.removeprefix(PARTITION)) for name in names}):
            connection.execute(update(_t).where(_t.c.name.in_(names)).values(owner="", epoch=_t.c.epoch + 1))

    def _busy(self, connection: Connection, partitions: Collection[int]) -> bool:
        b, w = tables.batches, tables.waiting
        unfinished = select(b.c.id).where(b.c.member == self.name, b.c.state.in_(("open", "decided"))).limit(1)
        tried = select(w.c.id).where(w.c.trying.is_(True), *among(w.c.vin, partitions)).limit(1)
        return any(connection.execute(one).first() is not None for one in (unfinished, tried))


def _fair(members: list[str], name: str) -> int:
    """How many partitions are a member's share."""
    each, left = divmod(PARTITIONS, len(members))
    return each + (members.index(name) < left)


def inherit(connection: Connection, dead: str, heir: str) -> None:
    """Hand over what a member had: its batches, open ones to be forgotten, decided ones to be finished; its rows."""
    b = tables.batches
    connection.execute(update(b).where(b.c.member == dead, b.c.state != "closed").values(member=heir))
    had = (_t.c.owner == dead) & _t.c.name.in_(_NAMES)
    connection.execute(update(_t).where(had).values(owner=heir, epoch=_t.c.epoch + 1))


# -- coming, and being alone -------------------------------------------------------------------------------------------


def join(engine: Engine, path: Path, unit: _Unit, key: Callable[[str], str]) -> Share:
    """Become a member, while the caller holds the lease on the whole state, so that nobody owns it alone.

    The first one has all partitions, and takes up what an owner left. `key` is told the fingerprint of the key that
    members seal with ("": nobody said yet), sees that ours is the same, and gives it.

    Raises:
        NotShareable: what a lone owner decided lies in another folder.
    """
    name = f"{MEMBER}{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    m = tables.meta
    with engine.begin() as connection:
        known = connection.execute(select(m.c.value).where(m.c.name == KEY)).scalar() or ""
        ours = key(known)
        if not known:
            connection.execute(insert(m), {"name": KEY, "value": ours})
        rows = [{"name": one, "epoch": 0, "owner": "", "session": 0, "expires": 0} for one in _NAMES]
        connection.execute(postgresql.insert(_t).values(rows).on_conflict_do_nothing())
        owned = select(_t.c.name).where(_t.c.name.in_(_NAMES), _t.c.owner != "").limit(1)
        first = connection.execute(owned).first() is None
        if first:
            _finishable(connection, path)
    share = Share(engine, path, Lease(engine, path, name, seconds=SECONDS, renewals=RENEWALS), unit)
    if first:
        with engine.begin() as connection:
            share.lease.proved(connection)
            inherit(connection, "", name)
    return share


def _finishable(connection: Connection, path: Path) -> None:
    """See that what a lone owner decided can be finished here: its staged rows are files of its folder."""
    b, s = tables.batches, tables.staged_rows
    in_files = b.c.id.not_in(select(s.c.batch))
    left = connection.execute(select(b.c.id).where(b.c.state == "decided", b.c.member == "", in_files)).scalars()
    for batch in left:
        if not (path / "staging" / batch).is_dir():
            message = (
                f"批次 {batch} 已决定而未完成，其暂存文件在先前网关的目录中：请先以该目录启动"
                f" / the batch {batch} is decided and not finished, and what it staged lies in the folder of the"
                " gateway that ran before: start with that folder first"
            )
            raise NotShareable(message)


def alone(engine: Engine, path: Path) -> None:
    """See that no member lives, for who holds the lease on the whole state; what dead ones had becomes the whole's.

    Raises:
        StateBusy: gateways share the state.
    """
    end = time.monotonic() + PATIENCE
    while True:
        with engine.connect() as connection:
            found = connection.execute(_LIVES, {"class": LOCKS}).all()
        if not any(row.held and not row.late for row in found):
            break
        if time.monotonic() >= end:
            raise StateBusy(path)
        time.sleep(0.05)
    for row in found:
        lease = Lease(engine, path, row.name, seconds=SECONDS)
        try:
            with engine.begin() as connection:
                inherit(connection, row.name, "")
                connection.execute(delete(_t).where(_t.c.name == row.name))
        finally:
            lease.close()
