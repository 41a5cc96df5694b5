"""HTTP/1.1 connections with bounds: on the head of a request, and on the time that a caller takes to send it.

What can be answered at once (`Endpoint.at_once`) is answered without a task; everything else as uvicorn does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from select import POLLRDHUP, poll
from types import MappingProxyType
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from pipelines.door.asgi import CROWDED, Scope, announced
from pipelines.door.desk import IN_LOOP
from pipelines.door.endpoints import Said
from pipelines.door.intake import GONE
from pipelines.door.protocols.calls import Reply

PEER = "vingate.peer"
"""Key of a request's state: common name of the certificate that the caller showed; empty: none."""

_NEVER = 1e8
"""Seconds."""
_LONGEST_PARSED = 60_000
"""The parser of addresses takes 65,535 bytes; Foshan's are longer where a record has hundreds of rows."""


def _reply(status: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


AtOnce = Callable[[Scope, bytes, Said], bool]
"""Answers a request without a task, or says that it cannot (`Endpoint.at_once`)."""


class _Asked:
    """A request that may be answered at once. It stands where uvicorn has its cycle, and is asked the same things."""

    __slots__ = ("at_once", "before", "disconnected", "keep_alive", "pieces", "response_complete")
    response_started = False
    message_event = asyncio.Event()  # nobody waits for it

    def __init__(self, at_once: AtOnce, before: Any) -> None:
        self.at_once, self.before = at_once, before
        self.pieces: list[bytes] = []
        self.keep_alive = True
        self.response_complete = self.disconnected = False


class Bounded(HttpToolsProtocol):
    """One connection. Until a request is whole it has a deadline; what is late or too long is answered 408 or 431.

    Subclasses set the bounds (`bounded`): uvicorn makes connections of a class.
    """

    header_seconds = 10.0
    body_seconds = 60.0
    header_bytes = 64 * 1024
    connections_most = 5_000
    quick: Mapping[bytes, AtOnce] = MappingProxyType({})
    """Address -> what may answer there at once."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._head = self._chunk = self._whole = 0
        self._in_head = True
        self._peer = ""
        self._beyond = False
        self._asked: _Asked | None = None
        self._every = max(min(self.header_seconds, self.body_seconds) / 4, 0.02)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._peer = _common_name(transport)
        self._ends = poll()
        self._ends.register(transport.get_extra_info("socket").fileno(), POLLRDHUP)
        self._beyond = len(self.connections) > self.connections_most
        self._wait(self.header_seconds)

    def data_received(self, data: bytes) -> None:
        """Bytes came; while they belong to a head they are counted, for the parser keeps them until they are whole."""
        self._chunk, whole = len(data), self._whole
        GONE.set(self.gone)  # here, for connections may share a context: what is asked below is asked before others are
        super().data_received(data)
        if self._in_head and self._whole == whole:
            self._head += len(data)
            if self._head > self.header_bytes:
                self._refuse(b"431 Request Header Fields Too Large")
            elif self._idle:
                self._wait(self.header_seconds)

    @property
    def _idle(self) -> bool:
        """Whether nothing is asked and no deadline runs: what comes now, an empty line even, begins to be a head."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self._deadline - self.loop.time() > _NEVER

    def gone(self) -> bool:
        """Whether the caller has closed the connection, whatever of it was read; asked by one thread at a time."""
        return self.transport.is_closing() or bool(self._ends.poll(0))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request began."""
        super().on_message_begin()
        self.scope["state"][PEER] = self._peer
        if self._beyond:
            self.scope["state"][CROWDED] = True
        self._wait(self.header_seconds)

    def on_headers_complete(self) -> None:
        """The head is whole; the body may take its time."""
        self._in_head = False
        if self._head + self._chunk > self.header_bytes:  # else it cannot be too long
            size = len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
            if size > self.header_bytes:
                self._refuse(b"431 Request Header Fields Too Large")
        if self.transport.is_closing():
            return
        self._wait(self.body_seconds)
        query = b""
        if len(self.url) > _LONGEST_PARSED:
            self.url, _, query = self.url.partition(b"?")
        if (at_once := self.quick.get(self.url)) is not None and not query and self._simple:
            self._asked = self.cycle = _Asked(at_once, self.cycle)  # type: ignore[assignment]
            return
        super().on_headers_complete()
        if self._beyond:
            self.cycle.keep_alive = False
        if query:
            self.scope["query_string"] = query

    @property
    def _simple(self) -> bool:
        """Whether the request is an ordinary and short one, whose head asks for nothing, and none before it waits."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self._beyond
            and not self.flow.write_paused
            and 0 < announced(self.headers) <= IN_LOOP
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _as_usual(self, asked: _Asked) -> None:
        """A request that cannot be answered at once: uvicorn is told what came of it so far."""
        self._asked, self.cycle = None, asked.before
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and asked.keep_alive
        for piece in asked.pieces:
            super().on_body(piece)

    def _answer(self, asked: _Asked) -> None:
        self._asked = None
        scope: Any = self.scope
        scope["method"], scope["path"] = "POST", self.url.decode("ascii")
        body = asked.pieces[0] if len(asked.pieces) == 1 else b"".join(asked.pieces)
        if not asked.at_once(scope, body, partial(self._said, asked)):
            self._as_usual(asked)
            super().on_message_complete()

    def _said(self, asked: _Asked, status: int, reply: Reply, retry_after: int) -> None:
        asked.response_complete = True
        if self.transport.is_closing():
            return
        parts = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (b"content-type: ", reply.media, b"\r\ncontent-length: %d\r\n" % len(reply.body))
        if retry_after:
            parts.append(b"retry-after: %d\r\n" % retry_after)
        if not asked.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", reply.body)
        self.transport.write(b"".join(parts))
        if not asked.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        if (asked := self._asked) is not None:
            asked.pieces.append(body)
        elif self.cycle is not None and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._head, self._in_head = 0, True
        self._whole += 1
        self._deadline = self.loop.time() + 2 * _NEVER
        if self._asked is not None:
            if not self.transport.is_closing():
                self._answer(self._asked)
        elif self.cycle is not None and not self.transport.is_closing():
            super().on_message_complete()

    def _wait(self, seconds: float) -> None:
        """Set the deadline. A timer looks at it now and then: one of its own for each request would cost more."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_later(self._every, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        left = self._deadline - self.loop.time()
        if left <= 0:
            self._refuse(b"408 Request Timeout")
        elif left < _NEVER:
            self._timer = self.loop.call_later(min(left, self._every), self._look)

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_reply(status))
        self.transport.close()


def bounded(
    header_seconds: float, body_seconds: float, header_bytes: int, connections: int, quick: Mapping[bytes, AtOnce]
) -> type[Bounded]:
    """A class of connections with these bounds; those beyond so many at a time are sent away by `asgi.read_body`.

    What may be answered at once is given by its address.
    """
    members = {"header_seconds": header_seconds, "body_seconds": body_seconds, "header_bytes": header_bytes}
    return type("BoundedHere", (Bounded,), {**members, "connections_most": connections, "quick": quick})


def _common_name(transport: asyncio.Transport) -> str:
    """Common name of the certificate that the caller showed and that was verified."""
    shown = transport.get_extra_info("peercert")
    if not shown:
        return ""
    return next((value for group in shown.get("subject", ()) for key, value in group if key == "commonName"), "")
