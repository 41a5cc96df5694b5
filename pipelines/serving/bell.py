"""What wakes a gateway that has nothing to do: commits to the inbox, told by PostgreSQL, and messages of brokers.

Every commit that puts envelopes into an inbox on PostgreSQL notifies `CHANNEL` with the exchange (`pipelines.inbox`). A
thread listens. Nothing relies on a notice: an inbox that nobody spoke of is looked at once in `LOOK_SECONDS` all the
same, and while nobody listens (SQLite, a server that is away) it is looked at in every round.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pipelines.inbox import CHANNEL

LOG = logging.getLogger("vingate.bell")
LOOK_SECONDS = 1.0
"""How long an inbox is left alone that nobody spoke of."""
_LISTEN_SECONDS = 1.0
_FIRST_PAUSE, _MOST_PAUSE = 0.5, 10.0


class Bell:
    """Rung from any thread, for one exchange each time; the gateway waits for it and asks for whom it rang."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._news: set[str] = set()
        self._rung: set[str] = set()
        self._asked: dict[str, float] = {}
        self.listening = False
        """Whether commits to the inbox are heard of."""

        self.sure = True
        """Whether all feeds ring it for what they bring."""

    def hear(self, exchange: str, feed: Any) -> None:
        """Let a feed ring for an exchange; one that cannot is asked as often as before."""
        if hasattr(feed, "wake"):
            feed.wake = lambda: self.ring(exchange)
        else:
            self.sure = False

    def ring(self, *exchanges: str) -> None:
        """Something lies in the inboxes, or with the feeds, of these."""
        with self._changed:
            self._news.update(exchanges)
            self._rung.update(exchanges)
            self._changed.notify_all()

    def wait(self, seconds: float) -> set[str]:
        """Wait until it rings, at most so long; for whom it rang since it was waited for last."""
        with self._changed:
            self._changed.wait_for(lambda: self._news, seconds)
            news, self._news = self._news, set()
            return news

    def rang(self, exchange: str) -> bool:
        """Whether it rang for an exchange since this was asked last, or that was too long ago."""
        with self._changed:
            now, rung = self._clock(), exchange in self._rung
            self._rung.discard(exchange)
            if rung or not self.listening or now - self._asked.get(exchange, -math.inf) >= LOOK_SECONDS:
                self._asked[exchange] = now
                return True
            return False


class Listener:
    """Listens to a database in a thread of its own until `close`, and rings; where it hears nothing, it says so."""

    def __init__(self, engine: Engine, bell: Bell, exchanges: Iterable[str]) -> None:
        self._engine, self._bell, self._exchanges = engine, bell, frozenset(exchanges)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._ended.is_set():
            try:
                self._listen()
                pause = _FIRST_PAUSE
            except Exception as error:  # noqa: BLE001 - whatever it was: the inboxes are looked at meanwhile
                LOG.info("no notices from the database: %s", type(error).__name__)
            self._bell.listening = False
            self._bell.ring(*self._exchanges)
            self._ended.wait(pause)
            pause = min(pause * 2, _MOST_PAUSE)

    def _listen(self) -> None:
        held = self._engine.raw_connection()
        connection: Any = held.driver_connection
        held.detach()  # it is no connection of the pool any more
        try:
            connection.rollback()
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            self._bell.listening = True
            self._bell.ring(*self._exchanges)  # what came before is not told
            while not self._ended.is_set():
                for notice in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                    if notice.payload in self._exchanges:
                        self._bell.ring(notice.payload)
        finally:
            with suppress(SQLAlchemyError, OSError):
                connection.close()
