"""Receipts: what became of an envelope that `/v1` took, found again by what its id says.

An id is 48 bytes: 8 that make it unique (of an Idempotency-Key: of the key), 16 of the body's SHA-256, and the 16 and 8
by which journals know record key and content. So nothing must be kept beside what is kept anyway: the inbox's key tells
whose receipt it is and since when, the journals tell the rest. It is told as long as the inbox keeps its keys.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import numpy as np
from sqlalchemy import Connection, select

from dlq.reasons import Reason, unpack
from mappings.encoding import content_bytes, content_digest, key_digest
from mappings.records import RepairRow, Withdrawal
from pipelines import tables
from pipelines.door.v1.models import Arrived, Receipt, Remark
from pipelines.journal import ADDRESSED, FATES, Journal, digest_column
from pipelines.settings import Exchange
from pipelines.versions import key_halves

SOURCE = "door:v1"
"""Source of the envelopes that come by `/v1`."""
MOST_JOURNALS = 5_000
"""Journals that are looked through for one receipt, from when it came: about as many batches."""
CLOCKS_APART = timedelta(minutes=2)
"""How far the gateway's clock may be behind the door's."""
_UNIQUE, _BODY, _KEY = 8, 16, 16
_LENGTH = 64
_WAITING = frozenset({"waiting", "in_flight", "unplaced"})


class Database(Protocol):
    """Where inbox and journals are (`pipelines.state.State` is one)."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that only looks."""


class _Marks(NamedTuple):
    body: bytes
    key: tuple[int, int]
    content: int


def receipt_id(unique: bytes, body: bytes, of: RepairRow | Withdrawal | None, exchange: Exchange) -> str:
    """The id of the receipt for one body, of a record or a withdrawal; `of` is None where the body was refused."""
    marks = bytes(_KEY + 8)
    if of is not None:
        key = key_digest(exchange.scope, exchange.versions.system, of.companycode, of.costlistcode)
        marks = key + content_digest(content_bytes(of[1:]) if isinstance(of, RepairRow) else b"")
    return urlsafe_b64encode(unique[:_UNIQUE] + sha256(body).digest()[:_BODY] + marks).decode()


def inbox_key(company: str, receipt: str) -> str:
    """The key in the inbox under which an envelope lies: nobody else's receipt can be asked for."""
    return f"{company}|{receipt}"


class Receipts:
    """Looks receipts up.

    Args:
        database: where inbox, letters and journals are.
        exchange: the exchange that the envelopes went to.
    """

    def __init__(self, database: Database, exchange: Exchange) -> None:
        self._database, self._exchange = database, exchange

    def of(self, company: str, receipt: str) -> Receipt | None:
        """What became of an envelope; None where the company has no such receipt."""
        marks = _marks(receipt)
        if marks is None:
            return None
        with self._database.reading() as connection:
            since = self._since(connection, company, receipt)
            if since is None:
                return None
            if self._waits(connection, company, receipt):
                return Receipt(id=receipt, state="waiting", received_at=since)
            return (
                self._dead(connection, company, receipt, marks, since)
                or self._journalled(connection, receipt, marks, since)
                or Receipt(id=receipt, state="unknown", received_at=since)
            )

    def _since(self, connection: Connection, company: str, receipt: str) -> str | None:
        k = tables.inbox_keys
        where = (k.c.exchange == self._exchange.name) & (k.c.source == SOURCE)
        found = select(k.c.received_at).where(where, k.c.key == inbox_key(company, receipt))
        moment: str | None = connection.execute(found).scalar()
        return moment

    def _waits(self, connection: Connection, company: str, receipt: str) -> bool:
        t = tables.inbox
        where = (t.c.exchange == self._exchange.name) & (t.c.source == SOURCE) & (t.c.company == company)
        found = select(t.c.id).where(where, t.c.key == inbox_key(company, receipt)).limit(1)
        return connection.execute(found).first() is not None

    def _dead(self, connection: Connection, company: str, receipt: str, marks: _Marks, since: str) -> Receipt | None:
        t = tables.letters.letters
        statement = (
            select(t.c.reasons)
            .where(
                t.c.exchange == self._exchange.name,
                t.c.company == company,
                t.c.destination == "",
                t.c.body_sha256.startswith(marks.body.hex()),
                t.c.state.in_(("open", "claimed", "discarded")),
            )
            .limit(1)
        )
        reasons = connection.execute(statement).scalar()
        if reasons is None:
            return None
        told = [_remark(reason) for reason in unpack(reasons)]
        return Receipt(id=receipt, state="dead", received_at=since, reasons=told)

    def _journalled(self, connection: Connection, receipt: str, marks: _Marks, since: str) -> Receipt | None:
        for book, line in self._lines(connection, marks, since):
            fate = FATES[int(line["fate"])]
            if fate in ("duplicate", "known", "superseded"):
                return Receipt(id=receipt, state="duplicate", received_at=since, version=int(line["version"]))
            if line["fate"] != ADDRESSED:
                state = "pending" if fate in _WAITING else "filtered"
                return Receipt.model_validate({"id": receipt, "state": state, "received_at": since})
            told = book.outcomes.get(str(int(line["ordinal"])), {})
            arrived = [
                Arrived(name=name, outcome=told.get(name, "delivered")) for name in book.routes[int(line["routes"])]
            ]
            return Receipt.model_validate(
                {
                    "id": receipt,
                    "state": _state([one.outcome for one in arrived]),
                    "received_at": since,
                    "version": int(line["version"]),
                    "destinations": arrived,
                }
            )
        return None

    def _lines(self, connection: Connection, marks: _Marks, since: str) -> Iterator[tuple[Journal, Any]]:
        """Journal lines of the record's content, from the batches since it came, oldest first.

        Then from those shortly before: the gateway's clock may be behind ours.
        """
        j, b = tables.journals, tables.batches
        chosen = (
            select(j.c.lines)
            .join(b, b.c.id == j.c.batch)
            .where(b.c.exchange == self._exchange.name)
            .order_by(b.c.number, j.c.item)
            .limit(MOST_JOURNALS)
            .execution_options(yield_per=8)
        )
        shortly = (datetime.fromisoformat(since) - CLOCKS_APART).isoformat()
        for when in ((b.c.received_at >= since,), (b.c.received_at >= shortly, b.c.received_at < since)):
            with connection.execute(chosen.where(*when)) as rows:  # closed also where the asker stops midway
                for (packed,) in rows:
                    yield from _found(packed, marks)


def _found(packed: bytes, marks: _Marks) -> Iterator[tuple[Journal, Any]]:
    high, low = marks.key
    same = digest_column(packed, "content") == np.uint64(marks.content)
    if not same.any():
        return
    book = Journal.unpack(packed)
    same &= (book.lines["key_hi"] == np.uint64(high)) & (book.lines["key_lo"] == np.uint64(low))
    yield from ((book, book.lines[index]) for index in np.flatnonzero(same).tolist())


def _state(outcomes: list[str]) -> str:
    if all(outcome in ("delivered", "duplicate", "merged") for outcome in outcomes):
        return "delivered"
    if any(outcome in _WAITING for outcome in outcomes):
        return "pending"
    return "dead" if all(outcome == "dead" for outcome in outcomes) else "partly"


def _remark(reason: Reason) -> Remark:
    return Remark(
        code=reason.code,
        severity="reject",
        field=reason.field,
        value=reason.value,
        expected=reason.expected,
        message=f"{reason.zh} / {reason.en}",
    )


def _marks(receipt: str) -> _Marks | None:
    if len(receipt) != _LENGTH or not receipt.isascii():
        return None
    try:
        raw = urlsafe_b64decode(receipt)
    except ValueError:
        return None
    body, rest = raw[_UNIQUE : _UNIQUE + _BODY], raw[_UNIQUE + _BODY :]
    return _Marks(body, key_halves(rest[:_KEY]), int.from_bytes(rest[_KEY:], "big"))
