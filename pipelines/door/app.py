"""The door as Starlette applications: one for all dialects, one for Foshan's listener."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from pipelines.door.asgi import Receive, Room, Scope, Send, send_reply
from pipelines.door.desk import Desk
from pipelines.door.endpoints import Endpoint, Handler
from pipelines.door.insurers import InsurerDesk
from pipelines.door.judging import QUICK
from pipelines.door.pieces import Pieces
from pipelines.door.protocols import calls, chengdu, foshan, national, secondary, shanghai
from pipelines.door.protocols.calls import PIECE, RECORD, REGISTER, TOKEN
from pipelines.door.v1.api import Api
from pipelines.door.v1.problems import WRONG_METHOD, problem

_ABOUT_ONE = 64 * 1024
"""Longest registration or token request: nobody has said yet who sends it."""


@dataclass(frozen=True, slots=True)
class Door:
    """What the applications are made of."""

    desk: Desk
    pieces: Pieces
    api: Api
    room: Room
    insurers: InsurerDesk | None = None


def make_app(door: Door) -> Starlette:
    """Every dialect but Foshan's, `/v1`, what insurers call where they are served, and `/healthz`."""
    settings, limits = door.desk.settings, door.desk.judge.limits
    statuses = settings.overload == "status"
    handlers: dict[str, Handler] = {
        RECORD: door.desk.record,
        TOKEN: door.desk.token,
        REGISTER: door.desk.register,
    }
    routes: list[BaseRoute] = []
    post = partial(_route, routes, "POST")
    for dialect in (national, chengdu):
        for path, kind in dialect.PATHS.items():
            most = settings.body_bytes if kind == RECORD else min(_ABOUT_ONE, settings.body_bytes)
            at_once = door.desk.record_at_once if dialect.NAME == QUICK and kind == RECORD else None
            made = Endpoint(dialect, kind, handlers[kind], limits, most, door.room, statuses=statuses, at_once=at_once)
            post(path, made)
    for signed, most in ((shanghai, settings.photo_body_bytes), (secondary, settings.body_bytes)):
        for path, (kind, step) in signed.PATHS.items():
            handler = door.pieces.piece if kind == PIECE else door.pieces.query
            post(path, Endpoint(signed, kind, handler, limits, most, door.room, statuses=statuses, step=step))
    _route(routes, "GET", chengdu.TIME_PATH, _time)
    _route(routes, "GET", "/healthz", _healthz)
    routes += door.api.routes()
    if door.insurers is not None:
        routes += door.insurers.routes()
    return Starlette(routes=routes, exception_handlers={404: _no_such_address, 405: _no_such_method})


def make_foshan_app(door: Door) -> Starlette:
    """Foshan's dialect alone: its clients write passwords into addresses."""
    settings, limits = door.desk.settings, door.desk.judge.limits
    handlers: dict[str, Handler] = {RECORD: door.desk.record, TOKEN: door.desk.token}
    routes: list[BaseRoute] = []
    for path, kind in foshan.PATHS.items():
        most, statuses = settings.body_bytes, settings.overload == "status"
        endpoint = Endpoint(foshan, kind, handlers[kind], limits, most, door.room, statuses=statuses, query=True)
        _route(routes, "GET", path, endpoint)
    return Starlette(routes=routes)


def direct(app: Starlette) -> ASGIApp:
    """The application, with the dialects' endpoints called at once: no layer between them and a request."""
    found = _endpoints(app)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = found.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (endpoint or app)(scope, receive, send)

    return dispatch


def at_once(app: Starlette) -> dict[bytes, Endpoint]:
    """Addresses, as they stand in requests (POST), whose endpoints may answer without a task."""
    return {path.encode(): one for (method, path), one in _endpoints(app).items() if method == "POST" and one.quick}


def _endpoints(app: Starlette) -> dict[tuple[str, str], Endpoint]:
    return {
        (method, route.path): route.endpoint
        for route in app.routes
        if isinstance(route, Route) and isinstance(route.endpoint, Endpoint)
        for method in route.methods or ()
    }


async def _no_such_address(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/v1"):
        return problem(calls.NOT_FOUND)
    return PlainTextResponse("Not Found", 404)


async def _no_such_method(request: Request, error: Exception) -> Response:
    allowed = getattr(error, "headers", None) or {}
    if request.url.path.startswith("/v1"):
        answer = problem(WRONG_METHOD)
        answer.headers.update(allowed)
        return answer
    return PlainTextResponse("Method Not Allowed", 405, allowed)


def _route(routes: list[BaseRoute], method: str, path: str, endpoint: object) -> None:
    routes.append(Route(path, endpoint, methods=[method]))  # type: ignore[arg-type]  # ASGI applications are taken too


class _Plain:
    """An endpoint that says one text."""

    def __init__(self, text: object) -> None:
        self._text = text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        said = self._text() if callable(self._text) else self._text
        await send_reply(send, 200, b"text/plain;charset=UTF-8", str(said).encode())


_time = _Plain(lambda: time.time_ns() // 1_000_000)
_healthz = _Plain("ok")
