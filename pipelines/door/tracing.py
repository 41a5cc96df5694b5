"""What a request at the door spent its time on, for whoever keeps spans; nothing is wrapped where nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Commit = tuple[int, int, int]
"""Begin and end in nanoseconds since 1970, and how many envelopes."""
Told = Callable[[str, int, int, int, list[Commit]], None]
"""Path as metrics show it, HTTP status, begin, end, commits."""

COMMITS: ContextVar[list[Commit] | None] = ContextVar("commits", default=None)
"""Commits of the request that is being answered; None where nobody traces."""
_MODERN = "/v1/"


def traced(app: ASGIApp, told: Told) -> ASGIApp:
    """The application, each of whose requests is told when it was answered."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        commits: list[Commit] = []
        begun, status = time.time_ns(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        token = COMMITS.set(commits)
        try:
            await app(scope, receive, noting)
        finally:
            COMMITS.reset(token)
            # What no route knows may be anything, also a secret that was typed in the wrong place.
            path = "other" if status == 404 else _MODERN if scope["path"].startswith(_MODERN) else scope["path"]
            told(path, status, begun, time.time_ns(), commits)

    return wrapped
