"""Endpoints of the dialects: read the request, hand it to the desk, answer in the caller's words whatever happens."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

from mappings.trees import Limits
from pipelines.door.asgi import (
    ACCESS,
    Gone,
    NoRoom,
    Receive,
    Room,
    Scope,
    Send,
    TooLarge,
    address_of,
    log,
    read_body,
    send_reply,
)
from pipelines.door.desk import IN_LOOP
from pipelines.door.protocols import calls
from pipelines.door.protocols.calls import Call, Dialect, Outcome, Reply

LOG = logging.getLogger("vingate.door")

Handler = Callable[[Call, str], Awaitable[Outcome]]
"""What is done with a call from an address."""
AtOnce = Callable[[bytes, Callable[[Outcome], None]], bool]
"""What is done with a payload without a task, where that can be (`Desk.record_at_once`)."""
Said = Callable[[int, Reply, int], None]
"""Sends an answer: HTTP status, reply, seconds of Retry-After (0: none)."""


class Endpoint:
    """One address of one dialect, as an ASGI application.

    Args:
        dialect: how requests are understood and answered.
        kind: what is asked for there.
        handler: does it.
        limits: bounds of what is parsed.
        most: longest request in bytes.
        room: memory for bodies, shared by all endpoints.
        statuses: whether overload is told by HTTP statuses too.
        step: which piece comes there.
        query: whether the payload is the query string.
        at_once: does what needs no task; the handler does the rest.
    """

    def __init__(
        self,
        dialect: Dialect,
        kind: str,
        handler: Handler,
        limits: Limits,
        most: int,
        room: Room,
        *,
        statuses: bool = True,
        step: str = "",
        query: bool = False,
        at_once: AtOnce | None = None,
    ) -> None:
        self._dialect, self._kind, self._handler, self._limits = dialect, kind, handler, limits
        self._most, self._room, self._statuses, self._step, self._query = most, room, statuses, step, query
        self._at_once = at_once

    @property
    def quick(self) -> bool:
        """Whether `at_once` ever answers."""
        return self._at_once is not None

    def at_once(self, scope: Scope, body: bytes, said: Said) -> bool:
        """Answer a request without a task, as `__call__` would: that is most of what a request costs.

        Args:
            scope: method, path, client.
            body: all of it.
            said: is called in the loop, later.

        Returns:
            False: nothing was done, and `said` will not be called; `__call__` must answer.
        """
        if self._at_once is None or len(body) > min(self._most, IN_LOOP) or ACCESS.isEnabledFor(logging.DEBUG):
            return False
        begun, size = time.perf_counter(), len(body)

        def answered(outcome: Outcome) -> None:
            self._room.give_back(size)
            reply = self._reply(outcome)
            status = reply.status if self._statuses else 200
            said(status, reply, outcome.retry_after)
            log(scope, status, outcome.refusal or "ok", begun)

        try:
            self._room.take(size)
        except NoRoom:
            return False
        try:
            taken = self._at_once(body, answered)
        except Exception:  # noqa: BLE001 - `__call__` meets it again, and says it
            taken = False
        if not taken:
            self._room.give_back(size)
        return taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun, close = time.perf_counter(), False
        try:
            body = await read_body(scope, receive, self._most, self._room)
            try:
                outcome = await self._outcome(scope["query_string"] if self._query else body, address_of(scope))
            finally:
                self._room.give_back(len(body))
        except TooLarge as error:
            outcome, close = Outcome(calls.TOO_LARGE), error.close
        except NoRoom:
            outcome, close = Outcome(calls.BUSY, retry_after=1), True
        except Gone:
            return
        reply = self._reply(outcome)
        status = reply.status if self._statuses else 200
        await send_reply(send, status, reply.media, reply.body, outcome.retry_after, close=close)
        log(scope, status, outcome.refusal or ("refused" if outcome.findings else "ok"), begun)

    def _reply(self, outcome: Outcome) -> Reply:
        try:
            return self._dialect.write(self._kind, outcome)
        except Exception as error:  # noqa: BLE001 - what cannot be said is still answered
            LOG.error("an answer cannot be written: %s", type(error).__name__)
            return self._dialect.write(self._kind, Outcome(calls.TROUBLE))

    async def _outcome(self, payload: bytes, address: str) -> Outcome:
        if len(payload) > self._most:
            return Outcome(calls.TOO_LARGE)
        try:
            asked = (self._kind, payload, self._limits, self._step)
            long = len(payload) > IN_LOOP
            call = await asyncio.to_thread(self._dialect.read, *asked) if long else self._dialect.read(*asked)
            return await self._handler(call, address)
        except SQLAlchemyError as error:
            LOG.error("the store cannot be asked: %s", type(error).__name__)
            return Outcome(calls.NOT_DURABLE, retry_after=5)
        except Exception as error:  # noqa: BLE001 - the caller gets an answer in its dialect, never a trace
            where = "".join(traceback.format_tb(error.__traceback__))  # without the error's own words: they may quote
            LOG.error("a call failed: %s\n%s", type(error).__name__, where)
            return Outcome(calls.TROUBLE, retry_after=60)
