"""The thin end of HTTP: bodies read within bounds, replies sent, one line of log a request. Bare ASGI, for speed."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from pipelines.door.counting import answered

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CROWDED = "vingate.crowded"
"""Key of a request's state: it came by a connection beyond the most that are served at a time."""
ACCESS = logging.getLogger("vingate.door.access")
_DRAINED = 4
"""A body beyond its bound is read to its end and thrown away, up to so many times the bound."""


class Gone(Exception):
    """The caller went away before its request was whole: nothing of it counts."""


class TooLarge(Exception):
    """The request is longer than it may be; `close` says whether the rest of it was left unread."""

    def __init__(self, close: bool) -> None:
        super().__init__(close)
        self.close = close


class NoRoom(Exception):
    """So many long requests are being read that there is no room for another one now."""


class Room:
    """Memory for the bodies that are being read and worked on, over all callers.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0
        """Bytes held now."""

    def take(self, size: int) -> None:
        """Hold more bytes. Raises NoRoom."""
        if self.held + size > self._most:
            raise NoRoom
        self.held += size

    def give_back(self, size: int) -> None:
        """Hold fewer bytes."""
        self.held -= size


async def read_body(scope: Scope, receive: Receive, most: int, room: Room) -> bytes:
    """The whole body, at most `most` bytes. It takes its length of the room, which the caller gives back.

    Raises:
        Gone: the caller went away.
        TooLarge: it is longer.
        NoRoom: too many others are being read or connected.
    """
    if scope.get("state", {}).get(CROWDED):
        raise NoRoom
    held = _Held(room)
    try:
        return await _read(scope, receive, most, held)
    except BaseException:
        room.give_back(held.size)
        raise


class _Held:
    """What one body holds of the room."""

    def __init__(self, room: Room) -> None:
        self._room, self.size = room, 0

    def take(self, size: int) -> None:
        self._room.take(size)
        self.size += size

    def let_go(self) -> None:
        self._room.give_back(self.size)
        self.size = 0


async def _read(scope: Scope, receive: Receive, most: int, held: _Held) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise Gone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > most:
            raise TooLarge(close=False)
        held.take(len(body))
        return body
    if (length := announced(scope["headers"])) > most * _DRAINED:
        raise TooLarge(close=True)
    held.take(len(body))
    pieces, size = [body], len(body)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size <= most and length <= most:
            held.take(len(piece))
            pieces.append(piece)
        elif size > most * _DRAINED:
            raise TooLarge(close=True)
        else:
            pieces.clear()
            held.let_go()
        if not message.get("more_body", False):
            if size > most:
                raise TooLarge(close=False)
            return b"".join(pieces)


async def send_reply(
    send: Send, status: int, media: bytes, body: bytes, retry_after: int = 0, *, close: bool = False
) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", media), (b"content-length", b"%d" % len(body))]
    if retry_after:
        headers.append((b"retry-after", b"%d" % retry_after))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def address_of(scope: Scope) -> str:
    """The caller's address; empty where there is none (tests)."""
    client = scope.get("client")
    return client[0] if client else ""


def log(scope: Scope, status: int, said: str, begun: float) -> None:
    """Count a request, and write one line (DEBUG where it was taken): never its query, which may hold a password."""
    took = time.perf_counter() - begun
    answered(str(scope["path"]), said, took)
    level = logging.DEBUG if said == "ok" else logging.INFO
    if ACCESS.isEnabledFor(level):
        ACCESS.log(
            level,
            "%s %s %d",
            scope["method"],
            scope["path"],
            status,
            extra={"answer": said, "ms": round(took * 1_000, 1), "peer": address_of(scope)},
        )


def announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes a head says that its request has; 0: it does not."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0  # of 64 bits: the parser looked
    return 0
