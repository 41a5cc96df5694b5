"""Connections to PostgreSQL that nobody can hold for ever.

Time-outs of the server do not help against a server, or a proxy before it, that takes what is sent and never answers:
it must be the client that stops waiting. But a long silence may be a long statement as well. So, after
`silent_seconds` without a byte, a second connection asks the server whether it still works on the statement. Where it
does not, or cannot be asked, the connection is shut: the statement ends like any other whose server went away. The same
happens, asked or not, to one that stays silent `GRACE` longer than the server would have let it run.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import psycopg

from connectors.pglists import QuickLists

LOG = logging.getLogger("vingate.database")
GRACE = 5.0
"""Seconds that a server is given to end a statement that ran too long."""
ASKING = 5.0
"""Seconds that a second connection may take to be made, and to ask."""
LATE = 1.0
"""Seconds for an answer that is on its way: the server is done with the statement, and nothing has come yet."""

_STATE = "SELECT state, wait_event_type FROM pg_stat_activity WHERE pid = %s"
_Result = TypeVar("_Result")


class Patience(NamedTuple):
    """How long a connection waits for its server."""

    silent_seconds: float
    """So long without a byte, and it is asked whether the server still works for us."""
    most_seconds: float
    """So long without a byte, and the connection is given up in any case."""
    works: Callable[[int], bool]
    """Whether the server works for the session with this number; asked over another connection."""


class Link(psycopg.Connection[Any]):
    """A connection whose server has gone when it says nothing and does nothing for us."""

    patience: Patience | None = None
    """None: it waits as long as the driver does."""
    session: int = 0
    """The number of the session at the server; 0: not known, then nobody is asked."""
    rested_at: float = -math.inf
    """When it was given back to its pool (monotonic)."""

    def wait(self, gen: Generator[Any, Any, _Result], *given: Any, **named: Any) -> _Result:  # noqa: ANN401 - the driver's
        """What the driver waits for, as long as there is hope."""
        if self.patience is not None:
            gen = self._hoped(gen, self.patience)
        return super().wait(gen, *given, **named)

    def _hoped(self, gen: Generator[Any, Any, _Result], patience: Patience) -> Generator[Any, Any, _Result]:
        """The same steps; where the driver wakes up without a byte, it is looked how long that has been so."""
        heard = asked = time.monotonic()
        doubted = False
        try:
            wants = next(gen)
            while True:
                ready = yield wants
                now = time.monotonic()
                if ready:
                    heard = asked = now
                    doubted = False
                elif now - heard > patience.most_seconds or (doubted and now - asked > LATE):
                    self._give_up(now - heard)
                    patience = patience._replace(most_seconds=math.inf, works=_working)  # the driver finds it closed
                    doubted = False
                elif now - asked > patience.silent_seconds and self.session and not doubted:
                    doubted = not patience.works(self.session)
                    asked = time.monotonic()
                wants = gen.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def _give_up(self, seconds: float) -> None:
        """Shut the connection under the driver, which then finds it closed and says so in its usual way."""
        LOG.warning("the database was silent for %.0f s and does nothing for us: connection given up", seconds)
        with suppress(OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as shared:
            shared.shutdown(socket.SHUT_RDWR)


def open_link(parameters: dict[str, Any], silent_seconds: float, statement_seconds: float) -> Link:
    """A connection that waits no longer than it must.

    Raises:
        psycopg.Error: the server cannot be reached, or refuses us.
    """
    link = Link.connect(**parameters)
    link.adapters.register_dumper(list, QuickLists)
    link.patience = Patience(ASKING, ASKING, _working)  # until it is known who we are there
    row = link.execute("SELECT pg_backend_pid()").fetchone()
    link.rollback()
    link.session = int(row[0]) if row is not None else 0
    link.patience = Patience(silent_seconds, statement_seconds + GRACE, lambda session: works(parameters, session))
    return link


def works(parameters: dict[str, Any], session: int) -> bool:
    """Whether the server works for a session, and does not wait for its client.

    Refused by the server itself (too many connections), nothing is known, and that counts as work.
    """
    try:
        with Link.connect(**{**parameters, "connect_timeout": round(ASKING)}, autocommit=True) as link:
            link.patience = Patience(ASKING, ASKING, _working)
            row = link.execute(_STATE, [session]).fetchone()
    except psycopg.Error as error:
        return "FATAL" in str(error)
    if row is None:
        return False
    state, waits_for = row
    return state not in _DONE and waits_for != "Client"


def _working(_session: int) -> bool:
    return True


_DONE = ("idle", "idle in transaction", "idle in transaction (aborted)")
