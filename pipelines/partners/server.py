"""A stand-in as an ASGI application, with its moods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.partners import giving
from pipelines.partners.keeping import Kept
from pipelines.partners.protocol import Answered, Came, Partner, Protocol, UnreadableError

MOST_BYTES = 32 * 1024 * 1024
"""Longest message that is read."""
_MOST_ROWS = 1_000
_PAGE = {"after": 0, "limit": 200}
"""Where a page of what is given begins, and how long it is."""


class Mood(BaseModel):
    """How a stand-in behaves; changed while it runs by `PUT /mood`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slow_seconds: float = Field(default=0.0, ge=0, le=600)
    """So long passes before it answers."""
    down: bool = False
    """It answers 503."""
    picky: int = Field(default=0, ge=0)
    """It refuses every so-manieth record; 0: none."""
    wrong: bool = False
    """It takes what it gets, and answers what is no answer."""


class StandIn:
    """One stand-in that runs."""

    def __init__(self, partner: Partner, kept: Kept, mood: Mood) -> None:
        self.partner, self.kept, self.mood = partner, kept, mood
        self._looked_at = 0
        for collection, records in partner.gives.items():
            if not kept.given(collection, most=1):
                kept.give(collection, records)

    def app(self) -> Starlette:
        """The application: its protocols, what it gives, `GET /received/COLLECTION`, `GET /counts`, `/mood`."""
        routes = [Route(one.path, self._called(one), methods=["POST", "PUT"]) for one in self.partner.protocols]
        routes += [Route(f"/v1/{name}", self._asked(name), methods=["GET", "PUT"]) for name in self.partner.gives]
        routes += [
            Route("/counts", self._counts, methods=["GET"]),
            Route("/received/{collection}", self._received, methods=["GET"]),
            Route("/mood", self._mood, methods=["GET", "PUT"]),
            Route("/", self._says_who, methods=["GET", "HEAD"]),
        ]
        return Starlette(routes=routes)

    def _called(self, protocol: Protocol) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            mood = self.mood
            if mood.slow_seconds:
                await asyncio.sleep(mood.slow_seconds)
            if mood.down:
                return Response(b"maintenance", 503, headers={"Retry-After": "1"})
            body = b""
            try:
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        return Response(protocol.unreadable("too large"), 413, media_type=protocol.content_type)
            except ClientDisconnect:  # who called gave up, as it does when this one is slow: nothing was taken
                return Response(status_code=408)
            try:
                came = protocol.read(body, {name.lower(): value for name, value in request.headers.items()})
            except UnreadableError as error:
                return Response(protocol.unreadable(str(error)), 400, media_type=protocol.content_type)
            answered = await asyncio.to_thread(self._take, came, mood)
            said = b"<html>gateway error</html>" if mood.wrong else protocol.answer(answered)
            return Response(said, 200, media_type=protocol.content_type)

        return endpoint

    def _asked(self, collection: str) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if request.method == "PUT":
                try:
                    further = giving.lines_of(await request.body())
                except UnreadableError as error:
                    return _json({"wrong": str(error)}, 400)
                await asyncio.to_thread(self.kept.give, collection, further)
                return _json({"given": len(further)})
            mood = self.mood
            if mood.slow_seconds:
                await asyncio.sleep(mood.slow_seconds)
            if mood.down:
                return Response(b"maintenance", 503, headers={"Retry-After": "1"})
            try:
                after, most = (int(request.query_params.get(name) or least) for name, least in _PAGE.items())
            except ValueError:
                return _json({"wrong": "after, limit: 应为整数 / whole numbers"}, 400)
            found = await asyncio.to_thread(self.kept.given, collection, after, min(max(most, 1), _MOST_ROWS))
            said = b"<html>gateway error</html>" if mood.wrong else giving.rows(found)
            return Response(said, 200, media_type="application/json")

        return endpoint

    def _take(self, came: Sequence[Came], mood: Mood) -> list[Answered]:
        """Judge records, keep those that fit, and say what became of each."""
        wrong = [self._wrong(one, mood) for one in came]
        good = [(one.id, one.collection, one.members) for one, why in zip(came, wrong, strict=True) if not why]
        known = iter(self.kept.take(good))
        for one, why in zip(came, wrong, strict=True):
            if why:
                self.kept.refuse(one.collection, "; ".join(why))
        return [
            Answered(one, known=False if why else next(known), wrong=why) for one, why in zip(came, wrong, strict=True)
        ]

    def _wrong(self, one: Came, mood: Mood) -> list[str]:
        self._looked_at += 1
        if mood.picky and self._looked_at % mood.picky == 0:
            return ["抽查不予接收 / not taken today"]
        judge = self.partner.judges.get(one.collection)
        return [f"不接收 / not taken here: {one.collection}"] if judge is None else list(judge(one.members))

    async def _counts(self, _request: Request) -> Response:
        return _json(await asyncio.to_thread(self.kept.counts))

    async def _received(self, request: Request) -> Response:
        told = request.query_params
        rows = await asyncio.to_thread(
            lambda: list(self.kept.records(request.path_params["collection"], told.get("after", "")))
        )
        return _json({"rows": [{"id": name, **orjson.loads(record)} for name, record in rows]})

    async def _mood(self, request: Request) -> Response:
        if request.method == "PUT":
            try:
                self.mood = Mood.model_validate_json(await request.body())
            except ValidationError as error:
                return _json({"wrong": error.errors(include_input=False, include_url=False)}, 422)
        return _json(self.mood.model_dump())

    async def _says_who(self, _request: Request) -> Response:
        return _json({"partner": self.partner.name, "zh": self.partner.zh, "en": self.partner.en})


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value, default=str), status, media_type="application/json")
