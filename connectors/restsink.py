"""Deliveries to a peer that is called over HTTP, one or many to a request; what it answers decides, by a table.

    sink = HttpSink(HttpSink.Settings(
        url="https://host", per_request=100, request={"path": "/records", "body": {"records": "{records}"}},
        record={"id": "{id}", "data": "{record}"}, auth={"kind": "bearer", "token": "env:TOKEN"},
        answers={"records": "results", "record_id": "id", "codes": {"ok": "accepted", "known": "duplicate"}}))

- A call without an answer, with 5xx or 429 makes its deliveries *unavailable*, and what comes after them in the same
  write is left untried: order is kept. Deliveries of a record of which one is unavailable wait behind it.
- A request of many that is refused as a whole is halved until the record that is at fault stands alone.
- Credentials that are refused stop the flow: every delivery is *unavailable* with a reason that begins with
  `AUTH_FAILED`, nothing more is sent, and `pause().stopped` says so.
- What the peer accepted is proved by asking it (`tally`) or by receipts kept here (`receipts`), which also tell that a
  duplicate is what the same batch brought before. A peer that ignores the idempotency key gets a delivery again whose
  answer was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from connectors.contracts import (
    ACCEPTED,
    DUPLICATE,
    REFUSED,
    UNAVAILABLE,
    ConnectorError,
    Delivery,
    Held,
    Misconfigured,
    Outcome,
    Tally,
)
from connectors.gates import Gate, Pause
from connectors.jsonpaths import at, text_of
from connectors.receiptfiles import ReceiptFiles
from connectors.restanswers import AnswerTable, Said
from connectors.restcalls import Request
from connectors.restlisting import listed
from connectors.restpeer import Peer, Unfilled, from_template
from connectors.resttemplates import Record, UnfillableError, asked, dumped, places, render
from connectors.sendsettings import HttpSettings

_FIX = "请检查设置 / check the settings"


class _Piece(NamedTuple):
    """A delivery on its way out."""

    place: int
    delivery: Delivery
    record: Record
    rendered: Any
    size: int


class HttpSink:
    """Deliveries by HTTP calls; see the module."""

    Settings = HttpSettings

    def __init__(self, settings: HttpSettings, *, peer: Peer | None = None, gate: Gate | None = None) -> None:
        self.settings = settings
        self.exact = settings.exact
        call = settings.request
        named = (root for root, _ in places([call.path, call.query, call.headers, call.body]))
        self.batchwise = "batch" in named
        """Whether a request names its batch, and so carries deliveries of one alone."""
        self.needs = frozenset(asked([call.path, call.query, call.headers, call.body, settings.record]))
        """Paths inside a record without which no call can be made."""
        self._peer = peer or Peer(settings, gate=gate)
        self._receipts = ReceiptFiles(settings.receipts) if settings.receipts else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def pause(self) -> Pause:
        """Why nothing would go out at this moment, and for how long; `stopped`: the credentials were refused."""
        return self._peer.pause()

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """One outcome for each delivery, in order.

        Raises:
            Misconfigured: a secret cannot be read or the request cannot be built, before anything was sent.
        """
        writing = _Writing(self, deliveries)
        for group in writing.groups():
            self._send(group, writing)
        return writing.outcomes()

    def _send(self, group: list[_Piece], writing: _Writing) -> None:
        if writing.closed:
            writing.leave(group)
            return
        try:
            reply = self._peer.call(lambda scope: self._request(group, scope), self.settings.answers)
        except Unfilled as error:
            self._take(group, [Said("refused", error.message)] * len(group), writing)
            return
        except ConnectorError as error:
            if isinstance(error, Misconfigured) and not writing.sent and not self._peer.pause().stopped:
                raise
            writing.close(group, str(error))
            return
        writing.sent = True
        ids = [(one.delivery.id, one.delivery.key) for one in group]
        each = self.settings.answers.each(reply.answer.status, reply.answer.body, ids)
        if each is not None:
            self._take(group, each, writing)
        elif reply.said.end == "refused" and len(group) > 1:
            middle = len(group) // 2
            self._send(group[:middle], writing)
            self._send(group[middle:], writing)
        elif reply.said.end in ("unavailable", "stopped"):
            writing.close(group, self._peer.clean(reply.said.reason))
        else:
            self._take(group, [reply.said] * len(group), writing)

    def _take(self, group: list[_Piece], said: list[Said], writing: _Writing) -> None:
        outcomes = [
            Outcome(UNAVAILABLE if one.end in ("auth", "stopped") else one.end, self._peer.clean(one.reason))
            if one.end not in ("accepted", "duplicate")
            else Outcome(one.end)
            for one in said
        ]
        accepted = [piece.delivery for piece, one in zip(group, outcomes, strict=True) if one.status == "accepted"]
        known = [piece.delivery for piece, one in zip(group, outcomes, strict=True) if one.status == DUPLICATE]
        try:
            if accepted:
                self.note(accepted)
            ours = self._ours(known)
        except ConnectorError as error:  # taken there and not provable here: it is sent again with the same id
            writing.close(group, str(error))
            return
        for piece, outcome in zip(group, outcomes, strict=True):
            again = outcome.status == DUPLICATE and piece.delivery.id in ours
            writing.decide(piece, Outcome(ACCEPTED) if again else outcome)

    def _ours(self, duplicates: Sequence[Delivery]) -> frozenset[str]:
        """Ids of what the peer knows because the same batch brought it before: the receipt of that stands here."""
        if not duplicates or self._receipts is None or self.exact:
            return frozenset()
        return self._receipts.among(duplicates)

    def _request(self, group: list[_Piece], scope: Any) -> Request:  # noqa: ANN401 - what templates know
        settings, first = self.settings, group[0]
        known = {"records": [one.rendered for one in group], **_batch_scope(first.delivery)}
        if settings.per_request == 1:
            known.update(_scope(first.delivery, first.record))
        built = from_template(settings.request, known)(scope)
        if settings.request.body is None:
            body = dumped(known["records"] if settings.per_request > 1 else first.rendered)
            built = built._replace(body=body, headers={"Content-Type": "application/json", **built.headers})
        if not settings.idempotency_header:
            return built
        ids = [one.delivery.id for one in group]
        key = ids[0] if len(ids) == 1 else sha256("\n".join(ids).encode()).hexdigest()
        return built._replace(headers={**built.headers, settings.idempotency_header: key})

    def piece(self, place: int, delivery: Delivery) -> _Piece:
        """A delivery made ready.

        Raises:
            UnfillableError: it is no JSON, or lacks what the template names.
        """
        record = Record(delivery.body)
        record.opened  # noqa: B018 - what is no JSON must not get into a request of many
        rendered = render(self.settings.record, _scope(delivery, record))
        return _Piece(place, delivery, record, rendered, len(delivery.body))

    def verify(self, batch: str) -> Tally:
        """What stands at the peer for a batch, as it says itself, or as our receipts say.

        Raises:
            Unavailable: it cannot be asked now.
            Misconfigured: neither `tally` nor `receipts` is set, or the answer cannot be read.
        """
        asked = self.settings.tally
        if asked is None:
            if self._receipts is None:
                message = "对方无法核对 / this peer cannot be verified"
                raise Misconfigured(message, "请设置 receipts 或 tally / set receipts or tally")
            return self._receipts.tally(batch)
        answer = self._peer.call(from_template(asked.call, {"batch": batch}), AnswerTable()).answer
        try:
            opened = orjson.loads(answer.body)
            return Tally(int(text_of(at(opened, asked.count))), int(text_of(at(opened, asked.digest))) % 2**64)
        except ValueError:
            message = f"核对答复无法读取 / the tally cannot be read: HTTP {answer.status}"
            raise Misconfigured(message, "请检查 tally / check tally") from None

    def held(self, since: datetime, batches: Sequence[str]) -> Iterator[Held]:
        """What the peer says it took since a moment.

        Raises:
            Unavailable: it cannot be asked now.
            Misconfigured: `held` is not set, or the answer cannot be read.
        """
        del batches
        if self.settings.held is None:
            message = "未说明如何查询对方的记录 / the settings do not say how this peer is asked for its records"
            raise Misconfigured(message, "请设置 held / set held")
        return listed(self._peer, self.settings.held, since)

    def note(self, deliveries: Sequence[Delivery]) -> None:
        """Keep receipts of deliveries that the peer holds.

        Raises:
            ConnectorError: the receipts cannot be written.
        """
        if self._receipts is not None:
            self._receipts.add(deliveries)

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        """Take back the receipts of deliveries that the peer says it does not hold.

        Raises:
            ConnectorError: the receipts cannot be written.
        """
        if self._receipts is not None:
            self._receipts.withdraw(deliveries)

    def check(self) -> list[str]:
        """Call the peer once.

        Raises:
            ConnectorError: it cannot be reached, refuses us, or the settings cannot work.
        """
        return [self._peer.check(self.settings.answers)]

    def close(self) -> None:
        """Close the connections. Idempotent; a later call opens them again."""
        self._peer.close()


def _batch_scope(delivery: Delivery) -> dict[str, Any]:
    return {"batch": delivery.batch, "destination": delivery.destination}


def _scope(delivery: Delivery, record: Record) -> dict[str, Any]:
    return {
        "record": record,
        "id": delivery.id,
        "key": delivery.key,
        "version": delivery.version,
        "content": delivery.content,
        "merged_into": delivery.merged_into,
        **_batch_scope(delivery),
    }


class _Writing:
    """One write: which deliveries go together, and what became of each."""

    def __init__(self, sink: HttpSink, deliveries: Sequence[Delivery]) -> None:
        self._sink, self._deliveries = sink, deliveries
        self._found: list[Outcome | None] = [None] * len(deliveries)
        self._first: dict[str, int] = {}
        self._waiting: dict[str, str] = {}
        """Keys of which a delivery is unavailable, with the reason: what comes after it waits too."""
        self.closed = ""
        """Why nothing more is tried in this write."""
        self.sent = False

    def groups(self) -> Iterator[list[_Piece]]:
        """Requests, in order; a record stands in one only once, so that its versions arrive one after another."""
        settings, group, keys, held = self._sink.settings, list[_Piece](), set[str](), 0
        for place, delivery in enumerate(self._deliveries):
            if self._first.setdefault(delivery.id, place) != place:
                continue
            try:
                piece = self._sink.piece(place, delivery)
            except UnfillableError as error:
                self._found[place] = Outcome(REFUSED, str(error))
                continue
            full = len(group) >= settings.per_request or held + piece.size > settings.max_request_bytes
            other = self._sink.batchwise and group and group[0].delivery.batch != delivery.batch
            if group and (full or other or delivery.key in keys):
                yield group
                group, keys, held = [], set(), 0
            if delivery.key in self._waiting:
                self._found[place] = Outcome(UNAVAILABLE, self._waiting[delivery.key])
                continue
            group.append(piece)
            keys.add(delivery.key)
            held += piece.size
        if group:
            yield group

    def decide(self, piece: _Piece, outcome: Outcome) -> None:
        """What became of a delivery."""
        self._found[piece.place] = outcome
        if outcome.status == UNAVAILABLE:
            self._waiting[piece.delivery.key] = outcome.reason

    def close(self, group: list[_Piece], reason: str) -> None:
        """Nothing more goes out in this write."""
        self.closed = reason
        self.leave(group)

    def leave(self, group: list[_Piece]) -> None:
        """These are left for later."""
        for piece in group:
            self._found[piece.place] = Outcome(UNAVAILABLE, self.closed)

    def outcomes(self) -> list[Outcome]:
        """All outcomes, in order; what stood twice in the write has one."""
        return [
            self._found[self._first[one.id]] or Outcome(UNAVAILABLE, self.closed or _FIX) for one in self._deliveries
        ]
