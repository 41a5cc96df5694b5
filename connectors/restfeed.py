"""A feed that polls a peer over HTTP: pages of records, from where the last ack left off.

    feed = HttpFeed(HttpFeed.Settings(
        url="https://host", request={"path": "/records", "query": {"cursor": "{cursor}", "limit": "500"}},
        records="data.rows", next="data.next", key="id", position="/var/lib/vingate/host.position"))

Where the polling stands is a *position*: the cursor of a page, and how many of its records are done. It moves by

- `next`: the answer names the cursor of the next page (none: there is no next page yet, and this one may still grow),
- `record_cursor`: the cursor is a member of the last record taken (`since` parameters),
- `pages = N`: pages are numbered, and one with N records is full,
- `confirm`: the peer gives what was not confirmed, and forgets what is: an ack is that call.

The first three keep the position in a file of ours, replaced and synced by `ack`; that file is the feed's only memory,
and a feed whose process died goes on from it. So an ack is durable when it returns, and what was taken and not acked
comes again with the same keys. A page must keep the order of its records.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import deque
from hashlib import sha256
from threading import Event
from typing import Any, NamedTuple

import orjson

from connectors.contracts import Arrival, Misconfigured, Unavailable
from connectors.gates import Gate, Pause
from connectors.jsonpaths import raw_at, raw_elements, text_at
from connectors.pollsettings import PollSettings, Position, keep, kept
from connectors.restanswers import AnswerTable
from connectors.restcalls import Answer, Request
from connectors.restpeer import Build, Peer, from_template
from connectors.restsettings import CallTemplate
from connectors.resttemplates import Scope

_FIX = "请检查 records、key 与 body 的路径 / check the paths records, key and body"
_EMPTY_PAGES = 100
"""Empty pages that are passed in one take; the rest waits for the next."""
_LATER = "稍后自动重试 / it is tried again later"


class _Waiting(NamedTuple):
    """A record of a page that was fetched, and where polling stands once it is done."""

    arrival: Arrival
    after: Position
    key: str
    """What the peer knows it by; empty: nothing that could be read."""


class HttpFeed:
    """Pages of records, polled; see the module."""

    Settings = PollSettings

    def __init__(self, settings: PollSettings, *, peer: Peer | None = None, gate: Gate | None = None) -> None:
        self.settings = settings
        self._peer = peer or Peer(settings, gate=gate)
        self._fetched: deque[_Waiting] = deque()
        self._at: Position | None = None
        """Where the next page begins."""
        self._taken: Position | None = None
        """Where polling stands when all that was taken is done; None: nothing was taken since the last ack."""
        self._open: dict[str, None] = {}
        """Keys that were fetched and are not confirmed."""
        self._keys: list[str] = []
        """Keys that were taken and are not confirmed."""
        self._tag = ("", Position(""))
        self._due = 0.0
        self._closed = Event()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def pause(self) -> Pause:
        """Why the peer is not asked at this moment, and for how long."""
        return self._peer.pause()

    def take(self, most: int, seconds: float) -> list[Arrival]:
        """The next arrivals, at most `most`, waiting at most so many seconds for the first of them.

        Raises:
            Unavailable: the peer cannot be reached, or asked us to wait.
            Misconfigured: it refuses our credentials, or its answers are not what the settings say.
        """
        self._closed.clear()
        end = time.monotonic() + seconds
        while not self._fetched:
            now = time.monotonic()
            if now >= self._due:
                self._poll()
                if self._fetched:
                    break
                self._due = time.monotonic() + self.settings.every_seconds
            left = min(end, self._due) - time.monotonic()
            if time.monotonic() >= end or (left > 0 and self._closed.wait(left)):
                break
        return self._given(most)

    def _given(self, most: int) -> list[Arrival]:
        found: list[Arrival] = []
        while self._fetched and len(found) < most:
            waiting = self._fetched.popleft()
            found.append(waiting.arrival)
            self._taken = waiting.after
            if waiting.key:
                self._keys.append(waiting.key)
        return found

    # -- asking --------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Ask for the page at hand, and for those behind it while they are empty."""
        any(self._page() for _ in range(_EMPTY_PAGES))

    def _page(self) -> bool:
        """Ask for the page at hand; whether that is enough."""
        at_ = self._at or kept(self.settings)
        self._at = at_
        reply = self._peer.call(self._build(at_), self._table())
        if reply.answer.status == 304:
            return True
        if reply.said.end != "accepted":
            raise self._wrong(reply.said.end, reply.said.reason)
        elements = self._elements(reply.answer)
        if self.settings.confirm is not None:
            fresh = self._queued(elements)
        else:
            fresh = self._paged(elements, at_, self._following(reply.answer, at_, len(elements)))
        self._tag = (reply.answer.headers.get("etag", ""), at_) if not fresh and self._at == at_ else ("", at_)
        self._fetched.extend(fresh)
        return bool(fresh) or self._at == at_

    def _table(self) -> AnswerTable:
        known = {"304": "accepted", **self.settings.answers.status}
        return self.settings.answers.model_copy(update={"status": known})

    def _build(self, at_: Position) -> Build:
        made = from_template(self.settings.request, {"cursor": at_.cursor})
        tag, of = self._tag

        def build(scope: Scope) -> Request:
            request = made(scope)
            if tag and of == at_:
                return request._replace(headers={**request.headers, "If-None-Match": tag})
            return request

        return build

    def _elements(self, answer: Answer) -> list[bytes]:
        try:
            found = raw_at(answer.body, self.settings.records)
            return raw_elements(b"" if found is None else found)
        except ValueError:
            where = self.settings.records or "答复 / the answer"
            message = f"{self._name}: {where} 不是列表 / is no list"
            raise Unavailable(message, _FIX) from None

    def _queued(self, elements: list[bytes]) -> list[_Waiting]:
        fresh = []
        for element in elements:
            waiting = self._waiting(element, "", Position(""))
            if waiting.arrival.key not in self._open:
                self._open[waiting.arrival.key] = None
                fresh.append(waiting)
        return fresh

    def _following(self, answer: Answer, at_: Position, count: int) -> Position | None:
        """The next page, where there is one."""
        settings = self.settings
        if settings.pages:
            return Position(str(int(at_.cursor) + 1)) if count >= settings.pages else None
        cursor = text_at(answer.body, settings.next) if settings.next else ""
        if cursor is None and count <= at_.done:
            message = f"{self._name}: {settings.next} 无法读取 / {settings.next} cannot be read"
            raise Unavailable(message, _FIX)
        return Position(cursor) if cursor and cursor != at_.cursor else None

    def _paged(self, elements: list[bytes], at_: Position, following: Position | None) -> list[_Waiting]:
        fresh, after = [], at_
        for number, element in enumerate(elements[at_.done :], at_.done + 1):
            after = Position(after.cursor, after.done + 1)
            place = f"{at_.cursor} {number}"
            if self.settings.record_cursor:
                cursor, place = text_at(element, self.settings.record_cursor), ""
                after = Position(cursor) if cursor else after  # one without stands behind the last that has one
            elif following is not None and number == len(elements):
                after = following
            fresh.append(self._waiting(element, place, after))
        if fresh:
            self._at = fresh[-1].after
        elif following is not None:
            self._at = following
        return fresh

    def _waiting(self, element: bytes, place: str, after: Position) -> _Waiting:
        """A record; what cannot be read of it is handed over whole, so that the steps refuse it.

        Args:
            element: the record.
            place: tells it from another one of the same bytes, where it has no key; the same when it is asked for
                again.
            after: where polling stands once it is done.
        """
        settings = self.settings
        key = text_at(element, settings.key) if settings.key else ""
        company = text_at(element, settings.company) if settings.company else ""
        body = element if company is None else self._payload(element)
        name = key or sha256(f"{place}\0".encode() + element).hexdigest()
        arrival = Arrival(body, settings.source or self._name, name, company or "", settings.system)
        return _Waiting(arrival, after, key or "")

    def _payload(self, element: bytes) -> bytes:
        """The payload of a record; one that is not as the settings say comes whole, so that the steps refuse it."""
        try:
            found = raw_at(element, self.settings.body)
            if found is None or self.settings.form == "json":
                return element if found is None else found
            text = orjson.loads(found)
            return base64.b64decode(text, validate=True) if self.settings.form == "base64" else text.encode()
        except (ValueError, TypeError, AttributeError, binascii.Error):
            return element

    def _wrong(self, end: str, reason: str) -> Unavailable | Misconfigured:
        words = f"{self._name}: {self._peer.clean(reason)}"
        return Unavailable(words, _LATER) if end == "unavailable" else Misconfigured(words, _FIX)

    @property
    def _name(self) -> str:
        return self.settings.url + self.settings.request.path

    # -- where it stands -----------------------------------------------------------------------------------------------

    def ack(self) -> None:
        """Everything taken so far is durable in the inbox: keep the position, or confirm it to the peer.

        A confirmation that does not get through is no error: its records come again with the same keys.

        Raises:
            Unavailable: no room for the position.
            Misconfigured: the position cannot be kept, or the peer refuses the confirmation.
        """
        if self._taken is None:
            return
        if self.settings.confirm is None:
            keep(self.settings, self._taken)
        elif self._keys:
            self._confirm(self.settings.confirm)
        self._taken, self._keys = None, []

    def _confirm(self, call: CallTemplate) -> None:
        keys, self._keys = self._keys, []
        for key in keys:
            self._open.pop(key, None)
        try:
            reply = self._peer.call(from_template(call, {"keys": keys}), self.settings.answers)
        except Unavailable:
            return
        if reply.said.end not in ("accepted", "duplicate", "unavailable"):
            raise self._wrong(reply.said.end, reply.said.reason)

    def check(self) -> list[str]:
        """Ask for the page at hand.

        Raises:
            ConnectorError: it cannot be reached, refuses us, or the settings do not fit its answers.
        """
        at_ = kept(self.settings)
        reply = self._peer.call(self._build(at_), self._table())
        if reply.said.end != "accepted":
            raise self._wrong(reply.said.end, reply.said.reason)
        found = 0 if reply.answer.status == 304 else len(self._elements(reply.answer))
        waiting = max(found - at_.done, 0)
        return [f"{self._name}: 本页 {waiting} 条待取 / {waiting} records wait on this page"]

    def close(self) -> None:
        """Forget what was not acked, close the connections, and end a take that waits. Idempotent."""
        self._closed.set()
        self._fetched.clear()
        self._at = self._taken = None
        self._open, self._keys = {}, []
        self._tag, self._due = ("", Position("")), 0.0
        self._peer.close()
