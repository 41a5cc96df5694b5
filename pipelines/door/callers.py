"""What the door asks about its callers, each answered in short transactions, with hashing outside of them.

Everything here blocks (database, scrypt): a server calls it from worker threads. Only what peeks never waits.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection

from dlq.sealing import Sealer
from mappings.records import Operator
from pipelines.door import accounts, applications, nonces, tokens
from pipelines.door.accounts import LockRules, Login, Registered
from pipelines.door.applications import Application
from pipelines.door.passwords import DEFAULT, Cost, Given
from pipelines.door.tokens import Holder, TokenCache, TokenRules
from pipelines.lease import retried


class Database(Protocol):
    """Where the door's tables are (`pipelines.state.State` is one)."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that only looks."""

    def glancing(self) -> AbstractContextManager[Connection]:
        """A connection for one question."""

    def unit_of_work(self) -> AbstractContextManager[Connection]:
        """One transaction, committed at its end."""


@dataclass(frozen=True, slots=True)
class CallerRules:
    """Settings of everything about callers."""

    approve: bool = True
    """Registrations count at once; False: the operator approves them."""
    locks: LockRules = field(default_factory=LockRules)
    tokens: TokenRules = field(default_factory=TokenRules)
    cost: Cost = DEFAULT
    remembered_seconds: float = 5.0
    """How long a process takes a token or an application without asking the database again."""


DEFAULT_RULES = CallerRules()


class Callers:
    """Registration, login, tokens and applications on one database.

    Args:
        database: where the tables are.
        sealer: opens the secrets of applications.
        rules: settings.
    """

    def __init__(self, database: Database, sealer: Sealer, rules: CallerRules = DEFAULT_RULES) -> None:
        self._database, self._sealer, self._rules = database, sealer, rules
        self._cache = TokenCache(self._company_of, rules.remembered_seconds)
        self._states: dict[str, tuple[float, str]] = {}
        self._applications: dict[str, tuple[float, Application]] = {}
        self._hashing = threading.BoundedSemaphore(max(os.cpu_count() or 1, 1))

    def register(self, operator: Operator, password: str, now: datetime) -> Registered:
        """Make an account, or answer the same registration again (`accounts.register`)."""
        given = Given(password, self._rules.cost)
        with self._database.reading() as connection:
            stored = accounts.hashes_of(connection, uscc=operator.companyunifiedsocialcreditidentifier)
        with self._hashing:
            for text in stored:
                given.fits(text)
            if not stored and given.acceptable:
                given.hashed()
        rules = self._rules

        def registered() -> Registered:
            with self._database.unit_of_work() as connection:
                return accounts.register(connection, operator, given, now, approve=rules.approve, rules=rules.locks)

        return retried(registered)

    def login(self, company: str, password: str, now: datetime) -> Login:
        """Give a token for a company code and its password (`accounts.login`)."""
        given = Given(password, self._rules.cost)
        with self._database.reading() as connection:
            stored = accounts.hashes_of(connection, company=company) or [""]
        with self._hashing:
            for text in stored:
                if given.fits(text):
                    given.renewed(text)
        rules = self._rules

        def logged_in() -> Login:
            with self._database.unit_of_work() as connection:
                return accounts.login(connection, company, given, now, rules=rules.locks, tokens_by=rules.tokens)

        return retried(logged_in)

    def peek(self, token: str, now: datetime) -> tuple[bool, Holder | None]:
        """(True, whose the token is or None) where this process remembers; (False, None): ask `company_of`."""
        return self._cache.peek(token, now)

    def company_of(self, token: str, now: datetime) -> Holder | None:
        """Whose a token is, remembered for some seconds."""
        return self._cache.get(token, now)

    def state_of(self, company: str) -> str:
        """State of the account of a system that shows a certificate, remembered for some seconds; empty: none."""
        until, state = self._states.get(company, (0.0, ""))
        if time.monotonic() >= until:
            with self._database.reading() as connection:
                account = accounts.find(connection, company)
            state = account.state if account is not None else ""
            self._states[company] = time.monotonic() + self._rules.remembered_seconds, state
        return state

    def peek_application(self, app: str) -> Application | None:
        """The application of that name where this process remembers it; None: ask `application_of`."""
        until, application = self._applications.get(app, (0.0, None))
        return application if time.monotonic() < until else None

    def application_of(self, app: str) -> Application | None:
        """The application that signs calls under this name; one that there is is remembered for some seconds."""
        known = self.peek_application(app)
        if known is not None:
            return known
        with self._database.glancing() as connection:
            found = applications.application_of(connection, self._sealer, app)
        if found is None:
            self._applications.pop(app, None)
        else:
            self._applications[app] = time.monotonic() + self._rules.remembered_seconds, found
        return found

    def sweep(self, now: datetime) -> int:
        """Remove tokens and nonces that are over; how many went. Once in a while, from one place."""

        def swept() -> int:
            with self._database.unit_of_work() as connection:
                return tokens.sweep(connection, now) + nonces.sweep(connection, now)

        return retried(swept)

    def _company_of(self, token: str, now: datetime) -> Holder | None:
        with self._database.glancing() as connection:
            return tokens.company_of(connection, token, now)
