"""What insurers call: assessments (核损返回, XML in GBK) and estimates (JSON), durable before they are answered.

| address (POST) | form | answer |
|---|---|---|
| `/insurers/assessments` | `loss-assessment` | XML in GBK: 000, 402 with every reason, 499 for our fault |
| `/insurers/estimates` | `damage-estimate` | JSON: code "1" or "0", one status, the estimate_request_uuid again |

Members and answer codes are those of domain section 8.1; addresses and authentication (a token of `/v1/token`, or a
certificate) are ours, since no public text says how insurers call. Who may call stands in the settings, and who called
is the insurer, whatever the payload says.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import orjson
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.contracts import Arrival
from mappings.documents.claimforms import DAMAGE_ESTIMATE, LOSS_ASSESSMENT, answer_assessment, answer_estimate
from mappings.documents.claims import Estimate
from mappings.documents.lossxml import MOST_BYTES
from pipelines.door.asgi import Gone, NoRoom, Room, TooLarge, log, read_body
from pipelines.door.claims import Claims
from pipelines.door.desk import Desk
from pipelines.door.identity import company_of
from pipelines.door.intake import Guard, Item
from pipelines.door.judging import Judge
from pipelines.door.protocols import calls
from pipelines.door.protocols.calls import REFUSALS, Outcome
from pipelines.inbox import Judged
from pipelines.settings import Exchange

LOG = logging.getLogger("vingate.door")

NOT_AN_INSURER, REQUEST_REUSED = "NOT_AN_INSURER", "REQUEST_REUSED"
_SOURCE = "door:insurers"
_SAID = {
    NOT_AN_INSURER: "该账号不是已登记的保险机构",
    REQUEST_REUSED: "同一 estimate_request_uuid 已用于其他内容",
}
_OURS = frozenset({calls.BUSY, calls.NOT_DURABLE, calls.TROUBLE, calls.TOO_MANY})
"""Refusals that are not the payload's fault: it may be sent again as it is."""
_STATUSES = {
    calls.TOKEN_MISSING: 401,
    calls.TOKEN_WRONG: 401,
    calls.PENDING: 403,
    calls.CLOSED: 403,
    NOT_AN_INSURER: 403,
}


class _Told(NamedTuple):
    """What became of a payload, in neither form yet."""

    outcome: Outcome
    request: str = ""
    """The estimate_request_uuid."""


def _assessment(told: _Told, said: str) -> Response:
    failed = told.outcome.refusal in _OURS
    return Response(answer_assessment(told.outcome.findings, said, failed=failed), media_type="application/xml")


def _estimate(told: _Told, said: str) -> Response:
    return Response(answer_estimate(told.outcome.findings, told.request, said), media_type="application/json")


_Writes = Callable[[_Told, str], Response]


class InsurerDesk:
    """Takes what insurers send.

    Args:
        desk: of the door: knows callers, keeps envelopes.
        exchange: judges what comes, and gets it.
        room: memory for bodies, shared with the other addresses.
    """

    def __init__(self, desk: Desk, exchange: Exchange, room: Room) -> None:
        self._desk, self._room = desk, room
        self._exchange, self._judge = exchange.name, Judge(exchange)
        self._requests = Claims(exchange.name, f"{_SOURCE}:requests")

    def routes(self) -> list[Route]:
        """The routes."""
        served = (
            ("/insurers/assessments", LOSS_ASSESSMENT.name, _assessment),
            ("/insurers/estimates", DAMAGE_ESTIMATE.name, _estimate),
        )
        return [Route(path, partial(self._answer, form, writes), methods=["POST"]) for path, form, writes in served]

    async def _answer(self, form: str, writes: _Writes, request: Request) -> Response:
        """Take one payload and answer in the words of its form, whatever happens."""
        begun, close = time.perf_counter(), False
        try:
            told = await self._taken(form, request)
        except TooLarge as error:
            told, close = _Told(Outcome(calls.TOO_LARGE)), error.close
        except NoRoom:
            told, close = _Told(Outcome(calls.BUSY, retry_after=1)), True
        except Gone:
            return Response(status_code=400)
        except SQLAlchemyError as error:
            LOG.error("the store cannot be asked: %s", type(error).__name__)
            told = _Told(Outcome(calls.NOT_DURABLE, retry_after=5))
        except Exception as error:  # noqa: BLE001 - the caller gets an answer in its form, never a trace
            where = "".join(traceback.format_tb(error.__traceback__))  # without the error's own words: they may quote
            LOG.error("a call failed: %s\n%s", type(error).__name__, where)
            told = _Told(Outcome(calls.TROUBLE, retry_after=60))
        outcome = told.outcome
        answer = writes(told, _SAID.get(outcome.refusal) or REFUSALS.get(outcome.refusal, ""))
        if outcome.refusal and self._desk.settings.overload == "status":
            answer.status_code = _STATUSES.get(outcome.refusal, outcome.status)
        if outcome.retry_after:
            answer.headers["retry-after"] = str(outcome.retry_after)
        if close:
            answer.headers["connection"] = "close"
        log(request.scope, answer.status_code, outcome.refusal or ("refused" if outcome.findings else "ok"), begun)
        return answer

    async def _taken(self, form: str, request: Request) -> _Told:
        """Who calls, how often, what the payload is worth; kept before this returns."""
        desk = self._desk
        company = await company_of(request, desk, _SOURCE)
        if isinstance(company, Outcome):
            return _Told(company)
        insurer = desk.settings.insurers.callers.get(company)
        if insurer is None:
            return _Told(Outcome(NOT_AN_INSURER))
        if desk.intake.full:
            return _Told(desk.busy())
        if wait := desk.hurry(company):
            return _Told(wait)
        body = await read_body(request.scope, request.receive, min(desk.settings.body_bytes, MOST_BYTES), self._room)
        try:
            return await self._kept(form, body, insurer)
        finally:
            self._room.give_back(len(body))

    async def _kept(self, form: str, body: bytes, insurer: str) -> _Told:
        verdict = await asyncio.to_thread(self._judge.carefully, body, form, insurer, self._desk.clock())
        asked = str(verdict.members.get("estimate_request_uuid") or "")
        guard: Guard | None = None
        key = ""
        if isinstance(verdict.document, Estimate):
            key = sha256(f"{insurer}\0{asked}".encode()).hexdigest()
            guard = self._once(insurer, verdict.document)
        if verdict.keep:
            arrival = Arrival(body, _SOURCE, key, insurer, "")
            item = Item(self._exchange, Judged(arrival, form, 0, verdict.told), verdict.vin)
            kept = await self._desk.put([item], guard)
            if not kept.accepted:
                return _Told(kept, asked)
        return _Told(Outcome(findings=verdict.refused), asked)

    def _once(self, insurer: str, estimate: Estimate) -> Guard:
        """The same request must say the same; when it was made may differ, since a client that repeats it may write so.

        It is kept once: its key in the inbox is that of the request.
        """
        said = {name: value for name, value in estimate.members().items() if name != "requestedon"}
        content = sha256(orjson.dumps(said)).hexdigest()
        name = (insurer, estimate.estimate_request_uuid)
        return lambda connection, now: "" if self._requests.claim(connection, name, content, now) else REQUEST_REUSED
