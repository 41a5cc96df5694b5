"""Records of `/v1`: split, judged one by one, kept in one commit, each with its receipt."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec
import orjson
from pydantic import ValidationError

from connectors.contracts import Arrival
from mappings.findings import REJECT, Finding
from pipelines.door.claims import Claims
from pipelines.door.desk import Desk
from pipelines.door.intake import Guard, Item
from pipelines.door.judging import Verdict
from pipelines.door.protocols.calls import Outcome
from pipelines.door.v1.models import MOST_RECORDS, RecordsReply, Taken, WithdrawalRequest
from pipelines.door.v1.problems import KEY_REUSED, WrongRequest, remarks
from pipelines.door.v1.receipts import SOURCE, inbox_key, receipt_id
from pipelines.inbox import Judged
from pipelines.settings import Exchange

DIALECT = "record"
_REQUESTS = "door:v1:requests"
_LONGEST_KEY = 255


class _Many(msgspec.Struct):
    records: list[msgspec.Raw]


class _Judged(NamedTuple):
    body: bytes
    verdict: Verdict
    receipt: str


_MANY = msgspec.json.Decoder(_Many)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def split(body: bytes) -> tuple[list[bytes], bool]:
    """The records of a request, each exactly as sent, and whether it was a batch.

    A list, an object with a member `records`, or one record.

    Raises:
        WrongRequest: no JSON, no record, or too many.
    """
    first = body.lstrip()[:1]
    try:
        if first == b"[":
            found = [bytes(raw) for raw in _LIST.decode(body)]
        elif first == b"{":
            msgspec.json.decode(body)
            try:
                found = [bytes(raw) for raw in _MANY.decode(body).records]
            except msgspec.ValidationError:
                return [body], False
        else:
            msg = "应为 JSON 对象或数组 / must be a JSON object or list"
            raise WrongRequest(msg)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        msg = "不是有效的 JSON / not valid JSON"
        raise WrongRequest(msg) from None
    if not 0 < len(found) <= MOST_RECORDS:
        msg = f"一次 1 至 {MOST_RECORDS} 条 / 1 to {MOST_RECORDS} records at a time"
        raise WrongRequest(msg)
    return found, True


def withdrawal(code: str, body: bytes, reason: str | None) -> bytes:
    """The payload of a withdrawal: the form of `record` that a batch or a file may hold as well.

    Args:
        code: settlement list code of the record.
        body: JSON object with a member `reason`; or empty.
        reason: why, where there is no body.

    Raises:
        WrongRequest: the body is no such object, or both are given.
    """
    if body.strip():
        try:
            given = WithdrawalRequest.model_validate_json(body).reason
        except ValidationError:
            msg = '应为 {"reason": "撤回原因"} / must be {"reason": "why"}'
            raise WrongRequest(msg) from None
        if reason is not None:
            msg = "撤回原因只写一处 / give the reason once: in the body, or in the address"
            raise WrongRequest(msg)
        reason = given
    return orjson.dumps({"costlistcode": code, "withdrawn": reason or ""})


def idempotency_key(given: str | None) -> str:
    """The Idempotency-Key of a request; empty where it has none.

    Raises:
        WrongRequest: longer than 255 characters, or not printable ASCII.
    """
    key = (given or "").strip()
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        msg = "Idempotency-Key 至多 255 个可见字符 / at most 255 visible characters"
        raise WrongRequest(msg)
    return key


class Records:
    """Takes the records of a company at a desk."""

    def __init__(self, desk: Desk, exchange: Exchange) -> None:
        self._desk, self._exchange = desk, exchange
        self._claims = Claims(exchange.name, _REQUESTS)

    async def take(self, bodies: Sequence[bytes], company: str, key: str, code: str = "") -> RecordsReply | Outcome:
        """Judge and keep; why nothing was kept, or what became of each.

        Args:
            bodies: the records, each as sent.
            company: whose they are.
            key: Idempotency-Key; the same request under it is answered again and kept once.
            code: settlement list code that the one record must have (corrections).
        """
        now = self._desk.clock()
        judged = await asyncio.to_thread(self._judge, bodies, company, key, code, now)
        items = [self._item(one, company) for one in judged if one.verdict.keep]
        if items:
            kept = await self._desk.put(items, self._guard(bodies, company, key))
            if not kept.accepted:
                return kept
        return reply(judged)

    def _judge(self, bodies: Sequence[bytes], company: str, key: str, code: str, now: datetime) -> list[_Judged]:
        found = []
        for at, body in enumerate(bodies):
            verdict = self._desk.judge.carefully(body, DIALECT, company, now)
            if code and verdict.row is not None and verdict.row.costlistcode != code:
                other = Finding("STRUCTURE_WRONG", REJECT, "costlistcode", verdict.row.costlistcode, code)
                verdict = Verdict((other,), keep=False)
            if code and verdict.withdrawal is not None:
                told = "撤回请用 DELETE / to withdraw, use DELETE"
                verdict = Verdict((Finding("STRUCTURE_WRONG", REJECT, "withdrawn", "", told),), keep=False)
            unique = sha256(f"{company}|{key}|{at}".encode()).digest() if key else os.urandom(8)
            receipt = receipt_id(unique, body, verdict.row or verdict.withdrawal, self._exchange)
            found.append(_Judged(body, verdict, receipt))
        return found

    def _item(self, one: _Judged, company: str) -> Item:
        arrival = Arrival(one.body, SOURCE, inbox_key(company, one.receipt), company, "")
        return Item(self._exchange.name, Judged(arrival, one.verdict.dialect, 0, one.verdict.told), one.verdict.vin)

    def _guard(self, bodies: Sequence[bytes], company: str, key: str) -> Guard | None:
        """The same Idempotency-Key must bear the same content."""
        if not key:
            return None
        content = sha256(b"\0".join(bodies)).hexdigest()
        return lambda connection, now: (
            "" if self._claims.claim(connection, (company, key), content, now) else KEY_REUSED
        )


def reply(judged: Sequence[_Judged]) -> RecordsReply:
    """What became of each."""
    taken = [
        Taken(
            index=at,
            status="refused" if one.verdict.refused else "accepted",
            receipt=one.receipt if one.verdict.keep else "",
            findings=remarks(one.verdict.found or one.verdict.refused),
        )
        for at, one in enumerate(judged)
    ]
    refused = sum(1 for one in taken if one.status == "refused")
    return RecordsReply(accepted=len(taken) - refused, refused=refused, records=taken)
