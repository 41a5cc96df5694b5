"""Nonces of signed calls: each counts once for its application while its timestamp could still be taken."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete
from sqlalchemy.dialects import postgresql, sqlite

from pipelines import tables
from pipelines.door.moments import storable, written

LONGEST = 64
"""Characters of the longest nonce (1.7 allows 32)."""
DEFAULT_KEPT = timedelta(minutes=20)
"""Twice the timestamp window of ten minutes: one that is ahead by the window is taken for two windows."""


def remember_nonce(connection: Connection, app: str, nonce: str, now: datetime, kept: timedelta = DEFAULT_KEPT) -> bool:
    """Keep a nonce of an application; False where it was used before, or cannot be one.

    Of two calls at a time with one nonce exactly one gets True, on whatever gateway. It counts when the caller commits:
    call it in the transaction that keeps what the call brought, and a call that failed may be sent again as it is.

    Args:
        connection: in the caller's transaction.
        app: application (appId, companyIdentity).
        nonce: as sent.
        now: the moment of the call.
        kept: how long it is remembered: twice the timestamp window at least.
    """
    if not (storable(nonce, LONGEST) and storable(app, LONGEST)):
        return False
    t = tables.nonces
    over = (t.c.app == app) & (t.c.nonce == nonce) & (t.c.expires_at <= written(now))
    connection.execute(delete(t).where(over))
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {"app": app, "nonce": nonce, "expires_at": written(now + kept)}
    fresh = dialect.insert(t).values(row).on_conflict_do_nothing().returning(t.c.nonce)
    return connection.execute(fresh).first() is not None


def sweep(connection: Connection, now: datetime) -> int:
    """Remove the nonces that are over; how many went. In a transaction of its own."""
    t = tables.nonces
    return connection.execute(delete(t).where(t.c.expires_at <= written(now))).rowcount
