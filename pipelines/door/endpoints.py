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
    ) -> None:
        self._dialect, self._kind, self._handler, self._limits = dialect, kind, handler, limits
        self._most, self._room, self._statuses, self._step, self._query = most, room, statuses, step, query

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
