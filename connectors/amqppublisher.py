"""Publishes messages with many in flight, and tells of each what the broker said: confirmed, returned, refused.

A message counts only when the broker confirmed it and did not return it (`mandatory`): a return comes before its
confirm. What was sent and not confirmed when the connection broke is unknown, and is told as *unavailable*.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic

from connectors.amqplink import Linked
from connectors.amqpsettings import BrokerSettings
from connectors.amqpwire import Message
from connectors.contracts import ACCEPTED, REFUSED, UNAVAILABLE, Outcome, Unavailable

_FULL = Outcome(UNAVAILABLE, "QUEUE_FULL: 队列已满或服务器拒收 / the queue is full, or the broker refused it (nack)")
_SILENT = Outcome(UNAVAILABLE, "TIMEOUT: 服务器未在时限内确认 / the broker did not confirm in time")
_BLOCKED = Outcome(
    UNAVAILABLE, "BLOCKED: 服务器内存或磁盘不足，暂停接收 / the broker is short of memory or disk and blocks"
)


class _Call:
    """Messages of one call and what is known of each."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.waiting = deque(range(len(messages)))
        """Not yet sent."""
        self.outcomes: list[Outcome | None] = [None] * len(messages)
        self.left = len(messages)
        self.done = threading.Event()

    def settle(self, at: int, outcome: Outcome) -> None:
        """What became of a message; the first word counts."""
        if self.outcomes[at] is None:
            self.outcomes[at] = outcome
            self.left -= 1
            if not self.left:
                self.done.set()

    def rest(self, outcome: Outcome) -> None:
        """The same for all of which nothing is known."""
        self.waiting.clear()
        for at in range(len(self.messages)):
            self.settle(at, outcome)


class Publisher(Linked):
    """One channel with publisher confirms.

    Args:
        settings: which broker.
        content_type: of all messages.
        in_flight: messages sent and not confirmed at a time.
        in_flight_bytes: bytes of them, likewise.
    """

    def __init__(self, settings: BrokerSettings, content_type: str, in_flight: int, in_flight_bytes: int) -> None:
        super().__init__(settings)
        self._content_type, self._most, self._most_bytes = content_type, in_flight, in_flight_bytes
        self._call: _Call | None = None
        self.forget()

    def forget(self) -> None:
        """What belongs to one channel: what is in flight on it, and what was returned. A call that waits is told."""
        self._tag = self._bytes = 0
        self._open: dict[int, tuple[_Call, int]] = {}
        self._returned: dict[str, str] = {}
        self._blocked = False
        self.known: set[str] = set()
        """Exchanges that were seen."""
        if self._call is not None:
            self._call.rest(Outcome(UNAVAILABLE, str(self.error())))

    # -- the gateway's side --------------------------------------------------------------------------------------------

    def ready(self, seconds: float) -> Outcome | None:
        """Wait for a first connection; what is to be told of all messages where there is none.

        Raises:
            Misconfigured: the broker refused us.
        """
        with self.changed:
            self.start()
            self.changed.wait_for(lambda: self.channel is not None or self.troubled, seconds)
            if self.refused:
                raise self.error()
            if self.channel is None:
                return Outcome(UNAVAILABLE, str(self.error()))
            return _BLOCKED if self._blocked else None

    def publish(self, messages: Sequence[Message], seconds: float) -> list[Outcome]:
        """Send messages, and wait so long at most until the broker has said something of each. One call at a time."""
        call = _Call(messages)
        with self.changed:
            if self.channel is None or self.link is None:
                return [Outcome(UNAVAILABLE, str(self.error()))] * len(messages)
            self._call, link = call, self.link
        link.call(lambda: self._pump(call))
        call.done.wait(seconds)
        with self.changed:
            self._call = None
            if call.left:
                blocked = self._blocked
                call.rest(_BLOCKED if blocked else _SILENT)
                if not blocked:  # nobody knows what became of this channel
                    link.drop(Unavailable(_SILENT.reason))
            return [one for one in call.outcomes if one is not None]

    # -- the link's side -----------------------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        """Ask for confirms, and hear of returns and blocks."""
        connection = channel.connection
        connection.add_on_connection_blocked_callback(lambda *_: self._block(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._block(False))
        channel.add_on_return_callback(self._hear_return)
        channel.confirm_delivery(self._hear_confirm, callback=lambda _: self.up(channel))

    def _block(self, blocked: bool) -> None:
        with self.changed:
            self._blocked = blocked
            if self._call is not None:
                self._pump(self._call)

    def _pump(self, call: _Call) -> None:
        """Send while there is room in flight."""
        with self.changed:
            channel = self.channel
            while channel is not None and channel.is_open and call.waiting and not self._blocked:
                if self._open and (len(self._open) >= self._most or self._bytes >= self._most_bytes):
                    break
                at = call.waiting.popleft()
                self._send(channel, call, at)

    def _send(self, channel: Channel, call: _Call, at: int) -> None:
        one = call.messages[at]
        self._tag += 1
        self._open[self._tag] = (call, at)
        self._bytes += len(one.body)
        about = pika.BasicProperties(
            message_id=one.id, headers=one.headers, delivery_mode=2, content_type=self._content_type
        )
        channel.basic_publish(one.exchange, one.routing_key, one.body, about, mandatory=True)

    def _hear_return(self, _: Channel, method: Any, properties: Any, __: bytes) -> None:  # noqa: ANN401 - pika's
        place = f"exchange {method.exchange!r}, routing key {method.routing_key!r}"
        self._returned[properties.message_id] = (
            f"NO_QUEUE: 没有队列接收 / no queue takes it: {place} ({method.reply_code} {method.reply_text})"
        )

    def _hear_confirm(self, frame: Any) -> None:  # noqa: ANN401 - pika's
        method = frame.method
        with self.changed:
            tags = [method.delivery_tag]
            if method.multiple:
                tags = [tag for tag in self._open if tag <= method.delivery_tag]
            refused = isinstance(method, Basic.Nack)
            for tag in tags:
                if tag in self._open:
                    self._settle(tag, refused)
            if self._call is not None:
                self._pump(self._call)

    def _settle(self, tag: int, refused: bool) -> None:
        call, at = self._open.pop(tag)
        message = call.messages[at]
        self._bytes -= len(message.body)
        returned = self._returned.pop(message.id, None)
        if refused:
            call.settle(at, _FULL)
        elif returned is not None:
            call.settle(at, Outcome(REFUSED, returned))
        else:
            call.settle(at, Outcome(ACCEPTED))
