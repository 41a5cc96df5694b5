"""HTTP/1.1 connections with bounds: on the head of a request, and on the time that a caller takes to send it."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pipelines.door.asgi import CROWDED

PEER = "vingate.peer"
"""Key of a request's state: common name of the certificate that the caller showed; empty: none."""

_NEVER = 1e8
"""Seconds."""
_LONGEST_PARSED = 60_000
"""The parser of addresses takes 65,535 bytes; Foshan's are longer where a record has hundreds of rows."""


def _reply(status: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Bounded(HttpToolsProtocol):
    """One connection. Until a request is whole it has a deadline; what is late or too long is answered 408 or 431.

    Subclasses set the bounds (`bounded`): uvicorn makes connections of a class.
    """

    header_seconds = 10.0
    body_seconds = 60.0
    header_bytes = 64 * 1024
    connections_most = 5_000

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
        self._every = max(min(self.header_seconds, self.body_seconds) / 4, 0.02)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._peer = _common_name(transport)
        self._beyond = len(self.connections) > self.connections_most
        self._wait(self.header_seconds)

    def data_received(self, data: bytes) -> None:
        """Bytes came; while they belong to a head they are counted, for the parser keeps them until they are whole."""
        self._chunk, whole = len(data), self._whole
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
        super().on_headers_complete()
        if self._beyond:
            self.cycle.keep_alive = False
        if query:
            self.scope["query_string"] = query

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        if self.cycle is not None and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._head, self._in_head = 0, True
        self._whole += 1
        self._deadline = self.loop.time() + 2 * _NEVER
        if self.cycle is not None and not self.transport.is_closing():
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


def bounded(header_seconds: float, body_seconds: float, header_bytes: int, connections: int) -> type[Bounded]:
    """A class of connections with these bounds; those beyond so many at a time are sent away by `asgi.read_body`."""
    members = {"header_seconds": header_seconds, "body_seconds": body_seconds, "header_bytes": header_bytes}
    return type("BoundedHere", (Bounded,), {**members, "connections_most": connections})


def _common_name(transport: asyncio.Transport) -> str:
    """Common name of the certificate that the caller showed and that was verified."""
    shown = transport.get_extra_info("peercert")
    if not shown:
        return ""
    return next((value for group in shown.get("subject", ()) for key, value in group if key == "commonName"), "")
