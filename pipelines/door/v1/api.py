"""The addresses of `/v1`, as Starlette routes."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import ceil
from typing import NamedTuple

import orjson
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from connectors.contracts import ConnectorError
from pipelines.door.asgi import Gone, NoRoom, Room, TooLarge, address_of, log, read_body
from pipelines.door.desk import IN_LOOP, Desk
from pipelines.door.identity import company_of
from pipelines.door.protocols import calls
from pipelines.door.protocols.calls import Call, Outcome
from pipelines.door.v1.closures import Asked as AskedClosures
from pipelines.door.v1.closures import Closures, NotAgreed
from pipelines.door.v1.holdings import Asked, Holdings
from pipelines.door.v1.models import TokenReply, TokenRequest
from pipelines.door.v1.openapi import document
from pipelines.door.v1.problems import (
    NO_RECEIPT,
    NOT_AGREED,
    REFUSED,
    UNSUPPORTED,
    WRONG_REQUEST,
    WrongRequest,
    problem,
    refused,
)
from pipelines.door.v1.receipts import Receipts
from pipelines.door.v1.records import Records, idempotency_key, split, withdrawal

LOG = logging.getLogger("vingate.door")

RECORDS_A_CALL = 100
"""A batch costs a company one of its calls for so many records, and for the rest of them one more."""

_LONGEST_REASON = 8_192
"""Bytes of a request to withdraw."""


class Api(NamedTuple):
    """What `/v1` is made of."""

    desk: Desk
    records: Records
    receipts: Receipts
    room: Room
    holdings: Holdings
    closures: Closures | None = None

    def routes(self) -> list[BaseRoute]:
        """The routes."""
        return [
            Route("/v1/records", _guarded(self._post), methods=["POST"]),
            Route("/v1/records/{costlistcode:path}", _guarded(self._put), methods=["PUT"]),
            Route("/v1/records/{costlistcode:path}", _guarded(self._delete), methods=["DELETE"]),
            Route("/v1/receipts/{receipt}", _guarded(self._receipt), methods=["GET"]),
            Route("/v1/held", _guarded(self._held), methods=["GET"]),
            Route("/v1/closures", _guarded(self._closures), methods=["GET"]),
            Route("/v1/closures/days", _guarded(self._closure_days), methods=["GET"]),
            Route("/v1/token", _guarded(self._token), methods=["POST"]),
            Route("/v1/openapi.json", _guarded(self._document), methods=["GET"]),
        ]

    async def _post(self, request: Request) -> Response:
        """One record, or a batch."""
        company = await self._company(request)
        if isinstance(company, Response):
            return company
        async with self._body(request, self.desk.settings.batch_body_bytes) as body:
            bodies, batch = await asyncio.to_thread(split, body) if len(body) > IN_LOOP else split(body)
            if not batch and len(body) > self.desk.settings.body_bytes:
                raise TooLarge(close=False)
            return await self._take(request, bodies, company, batch=batch)

    async def _put(self, request: Request) -> Response:
        """A correction: the record that stands under this settlement list code from now on."""
        company = await self._company(request)
        if isinstance(company, Response):
            return company
        async with self._body(request, self.desk.settings.body_bytes) as body:
            bodies, batch = await asyncio.to_thread(split, body) if len(body) > IN_LOOP else split(body)
            return await self._correct(request, bodies, company, batch=batch)

    async def _correct(self, request: Request, bodies: list[bytes], company: str, *, batch: bool) -> Response:
        if batch:
            msg = "更正一次一条 / one record is corrected at a time"
            raise WrongRequest(msg)
        return await self._take(request, bodies, company, request.path_params["costlistcode"])

    async def _delete(self, request: Request) -> Response:
        """A withdrawal: the record of this settlement list code counts no longer."""
        company = await self._company(request)
        if isinstance(company, Response):
            return company
        async with self._body(request, _LONGEST_REASON) as body:
            told = withdrawal(request.path_params["costlistcode"], body, request.query_params.get("reason"))
            return await self._take(request, [told], company)

    async def _receipt(self, request: Request) -> Response:
        """What became of a record."""
        company = await self._company(request)
        if isinstance(company, Response):
            return company
        if wait := self.desk.hurry(company):
            return refused(wait)
        found = await asyncio.to_thread(self.receipts.of, company, request.path_params["receipt"])
        return _json(found) if found is not None else problem(NO_RECEIPT)

    async def _held(self, request: Request) -> Response:
        """The caller's own records that stand in the store."""
        company = await self._company(request)
        if isinstance(company, Response):
            return company
        if wait := self.desk.hurry(company, 1):
            return refused(wait)
        asked = Asked.of(request.query_params)
        if not self.holdings.stores:
            return problem(UNSUPPORTED, detail="此系统不以数据库存储记录 / records do not lie in a database here")
        try:
            return _json(await asyncio.to_thread(self.holdings.page, company, asked))
        except ConnectorError as error:
            LOG.error("the store cannot be asked: %s", type(error).__name__)
            return problem(calls.NOT_DURABLE, retry_after=30)

    async def _closures(self, request: Request) -> Response:
        """Closures of emission repairs, for the department whose they are."""
        return await self._asked_of_closures(request, Closures.page)

    async def _closure_days(self, request: Request) -> Response:
        """How many of them there are, by day and district."""
        return await self._asked_of_closures(request, Closures.days)

    async def _asked_of_closures(
        self, request: Request, answer: Callable[[Closures, str, AskedClosures], BaseModel]
    ) -> Response:
        company = await self._company(request)
        if isinstance(company, Response):
            return company
        if wait := self.desk.hurry(company, 1):
            return refused(wait)
        if self.closures is None:
            return problem(UNSUPPORTED, detail="此处不提供闭环查询 / closures cannot be asked for here")
        asked = AskedClosures.of(request.query_params)
        try:
            return _json(await asyncio.to_thread(answer, self.closures, company, asked))
        except NotAgreed as error:
            return problem(NOT_AGREED, detail=str(error))
        except ConnectorError as error:
            LOG.error("the store of cases cannot be asked: %s", type(error).__name__)
            return problem(calls.NOT_DURABLE, retry_after=30)

    async def _token(self, request: Request) -> Response:
        """A token for company code and password."""
        try:
            async with self._body(request, 4_096) as body:
                asked = TokenRequest.model_validate_json(body)
        except ValidationError:
            return problem(WRONG_REQUEST, detail="companycode, companypassword")
        call = Call(calls.TOKEN, "v1", b"", company=asked.companycode, password=asked.companypassword)
        outcome = await self.desk.token(call, address_of(request.scope))
        if not outcome.accepted:
            return refused(outcome)
        seconds = int(self.desk.settings.token_hours * 3_600)
        return _json(TokenReply(access_token=outcome.token, expires_in=seconds), headers={"cache-control": "no-store"})

    async def _document(self, request: Request) -> Response:
        """The OpenAPI document."""
        return Response(orjson.dumps(document()), media_type="application/json")

    async def _take(
        self, request: Request, bodies: list[bytes], company: str, code: str = "", *, batch: bool = False
    ) -> Response:
        key = idempotency_key(request.headers.get("idempotency-key"))
        if self.desk.intake.full:
            return refused(self.desk.busy())
        if no := self.desk.hurry(company, ceil(len(bodies) / RECORDS_A_CALL)) or self.desk.no_shop(company):
            return refused(no)
        taken = await self.records.take(bodies, company, key, code)
        if isinstance(taken, Outcome):
            return refused(taken)
        if not batch and taken.refused:
            findings = [one.model_dump() for one in taken.records[0].findings]
            answer = problem(REFUSED)
            told = {**orjson.loads(answer.body), "findings": findings, "receipt": taken.records[0].receipt}
            return Response(orjson.dumps(told), answer.status_code, media_type=answer.media_type)
        return _json(taken, 202)

    @asynccontextmanager
    async def _body(self, request: Request, most: int) -> AsyncGenerator[bytes]:
        """The body, which takes of the room while it is worked on."""
        body = await read_body(request.scope, request.receive, most, self.room)
        try:
            yield body
        finally:
            self.room.give_back(len(body))

    async def _company(self, request: Request) -> str | Response:
        """Who calls; or the refusal."""
        found = await company_of(request, self.desk, "v1")
        return refused(found) if isinstance(found, Outcome) else found


def _json(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status, headers, "application/json")


def _guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, with every failure told as a problem and none as a trace."""

    async def guarded(request: Request) -> Response:
        begun = time.perf_counter()
        response = await answered(request)
        log(request.scope, response.status_code, "ok" if response.status_code < 400 else "refused", begun)
        return response

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except TooLarge as error:
            answer = problem(calls.TOO_LARGE)
            if error.close:
                answer.headers["connection"] = "close"
            return answer
        except NoRoom:
            answer = problem(calls.BUSY, retry_after=1)
            answer.headers["connection"] = "close"
            return answer
        except Gone:
            return Response(status_code=400)
        except WrongRequest as error:
            return problem(WRONG_REQUEST, detail=str(error))
        except SQLAlchemyError as error:
            LOG.error("the store cannot be asked: %s", type(error).__name__)
            return problem(calls.NOT_DURABLE, retry_after=5)
        except Exception as error:  # noqa: BLE001 - the caller gets an answer, never a trace
            where = "".join(traceback.format_tb(error.__traceback__))  # without the error's own words: they may quote
            LOG.error("a call failed: %s\n%s", type(error).__name__, where)
            return problem(calls.TROUBLE, retry_after=60)

    return guarded
