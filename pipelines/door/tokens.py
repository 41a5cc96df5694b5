"""Access tokens: 64 upper-case hex digits, random, stored as SHA-256, several valid at a time for one company.

Every record call bears one, so a process remembers for some seconds whom a token belongs to (`TokenCache`); one that
was revoked is refused everywhere after that time at the latest.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, select

from pipelines import tables
from pipelines.door.moments import written

_FORM = re.compile(r"[0-9A-Fa-f]{64}")
ACTIVE = "active"
"""State of an account whose tokens count."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """How long a token lives, and how many of one company are valid at a time (a new one ends the oldest)."""

    life: timedelta = timedelta(hours=24)
    several: int = 100


DEFAULT = TokenRules()


class Holder(NamedTuple):
    """Whose a token is, and until when."""

    company: str
    companyname: str
    expires_at: datetime


def issue(connection: Connection, company: str, now: datetime, rules: TokenRules = DEFAULT) -> str:
    """Give a company a new token; its oldest ones beyond `rules.several` and those that are over end with it.

    The token itself is nowhere kept.
    """
    t = tables.tokens
    token = secrets.token_hex(32).upper()
    row = {
        "digest": _digest(token),
        "company": company,
        "issued_at": written(now),
        "expires_at": written(now + rules.life),
    }
    connection.execute(delete(t).where(t.c.company == company, t.c.expires_at <= written(now)))
    connection.execute(insert(t), row)
    newest = select(t.c.digest).where(t.c.company == company).order_by(t.c.issued_at.desc(), t.c.digest)
    beyond = connection.execute(newest.offset(max(rules.several, 1))).scalars().all()
    if beyond:
        connection.execute(delete(t).where(t.c.digest.in_(beyond)))
    return token


def company_of(connection: Connection, token: str, now: datetime) -> Holder | None:
    """Whose token it is; None for one that is unknown, over, or of an account that is not active."""
    if not _FORM.fullmatch(token):
        return None
    t, a = tables.tokens, tables.accounts
    row = connection.execute(
        select(t.c.company, a.c.companyname, t.c.expires_at)
        .join(a, a.c.company == t.c.company)
        .where(t.c.digest == _digest(token), t.c.expires_at > written(now), a.c.state == ACTIVE)
    ).first()
    return Holder(row.company, row.companyname, datetime.fromisoformat(row.expires_at)) if row else None


def revoke(connection: Connection, company: str) -> int:
    """End all tokens of a company; how many there were."""
    t = tables.tokens
    return connection.execute(delete(t).where(t.c.company == company)).rowcount


def sweep(connection: Connection, now: datetime) -> int:
    """Remove the tokens that are over; how many went. In a transaction of its own."""
    t = tables.tokens
    return connection.execute(delete(t).where(t.c.expires_at <= written(now))).rowcount


def _digest(token: str) -> bytes:
    return sha256(token.upper().encode()).digest()


class TokenCache:
    """Remembers for some seconds what the loader said of a token, so that not every call asks the database.

    Args:
        loader: says whose a token is (`company_of` on a connection of its own).
        seconds: how long an answer is remembered: the longest time that a revoked token is still taken.
        most: how many tokens are remembered, and how many that nobody holds: made-up ones push no good ones out.
        clock: seconds, monotonic.

    Safe to use from several threads. Tokens are remembered by their hash.
    """

    def __init__(
        self,
        loader: Callable[[str, datetime], Holder | None],
        seconds: float = 5.0,
        most: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader, self._seconds, self._most, self._clock = loader, seconds, most, clock
        self._held: OrderedDict[bytes, tuple[float, Holder]] = OrderedDict()
        self._nobody: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def peek(self, token: str, now: datetime) -> tuple[bool, Holder | None]:
        """(True, whose it is or None) where that is remembered; (False, None) where `get` must ask. Never blocks."""
        if not _FORM.fullmatch(token):
            return True, None
        digest, moment = _digest(token), self._clock()
        with self._lock:
            held = self._held.get(digest)
            if held is not None and moment < held[0]:
                return True, held[1] if now < held[1].expires_at else None
            return moment < self._nobody.get(digest, moment), None

    def get(self, token: str, now: datetime) -> Holder | None:
        """Whose it is; asks the loader where that is not remembered, so call it where waiting is allowed."""
        known, holder = self.peek(token, now)
        if known:
            return holder
        holder = self._loader(token, now)
        digest, until = _digest(token), self._clock() + self._seconds
        with self._lock:
            if holder is None:
                self._held.pop(digest, None)
                _keep(self._nobody, digest, until, self._most)
            else:
                _keep(self._held, digest, (until, holder), self._most)
        return holder

    def __len__(self) -> int:
        return len(self._held) + len(self._nobody)


def _keep(into: OrderedDict[bytes, Any], digest: bytes, value: object, most: int) -> None:
    into[digest] = value
    into.move_to_end(digest)
    while len(into) > most:
        into.popitem(last=False)
