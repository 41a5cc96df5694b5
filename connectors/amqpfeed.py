"""Envelopes from a queue of an AMQP broker: taken, made durable in the inbox, and only then acknowledged.

A message that comes again after a crash or a cut connection has the same key, so the inbox keeps it once. A message is
never refused or given back one by one: what it holds is judged later, so that it becomes a letter only for what it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pika.channel import Channel
from pydantic import Field

from connectors.amqperrors import RETRIED
from connectors.amqplink import Linked, borrowed
from connectors.amqpqueues import QueueForm, declare_queues, waiting
from connectors.amqpsettings import BrokerSettings
from connectors.amqpsplitting import Split, arrivals
from connectors.contracts import Arrival, Unavailable


class AmqpFeed(Linked):
    """The messages of one queue. Several feeds share a queue: each message goes to one of them.

    After the connection broke, a thread opens it again and messages that were not acked come again, with their keys.
    """

    class Settings(BrokerSettings):
        """Settings of an AMQP feed."""

        queue: str = Field(min_length=1, max_length=255)
        prefetch: int = Field(default=1000, ge=1, le=65535)
        """Messages that may be open (sent to us and not acked) at a time: what the broker's flow is held by.

        So many of the longest may lie in memory: choose it by their size (100 of 1 MB). Nothing else bounds their bytes
        and keeps their order: RabbitMQ counts no bytes ahead, puts what is given back behind what waits, and cuts off
        who stops reading, which counts for a queue's delivery limit.
        """
        split: Split = "none"
        """How a message of many records is cut: `none`, `array` (JSON) or `lines` (of JSON)."""
        split_bytes: int = Field(default=16 << 20, ge=1)
        """A longer message is not cut."""
        company_header: str = ""
        """Header that names the company, where the sender is trusted to say; empty: the payload itself must."""
        system_header: str = ""
        """Header that names the collecting system, likewise."""
        declare: QueueForm = QueueForm()
        """What the queue is declared with by `vingate check --declare`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.settings = settings
        self.wake: Callable[[], None] = lambda: None
        """Called in the link's thread when a message came."""
        self.forget()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def forget(self) -> None:
        """What belongs to one channel: its messages, what is left of the one being taken, the last taken whole."""
        self._messages: deque[tuple[Any, Any, bytes]] = deque()
        self._rest: deque[Arrival] = deque()
        self._rest_tag = self._whole = 0

    # -- the gateway's side --------------------------------------------------------------------------------------------

    def take(self, most: int, seconds: float) -> list[Arrival]:
        """The next arrivals, at most `most`; the records of one message may come in several takes.

        Raises:
            Unavailable: there is no connection now; it is opened again by itself.
            Misconfigured: the broker refused us, or there is no such queue.
        """
        with self.changed:
            self.start()
            self.changed.wait_for(lambda: self._messages or self._rest or self.refused, seconds)
            given = self._gather(most)
            if not given and self.channel is None:
                raise self.error()
            return given

    def _gather(self, most: int) -> list[Arrival]:
        given: list[Arrival] = []
        while len(given) < most:
            if not self._rest:
                if not self._messages:
                    break
                method, properties, body = self._messages.popleft()
                self._rest_tag = method.delivery_tag
                self._rest.extend(self._cut(method, properties, body))
            given.append(self._rest.popleft())
            if not self._rest:
                self._whole = self._rest_tag
        return given

    def _cut(self, method: Any, properties: Any, body: bytes) -> list[Arrival]:  # noqa: ANN401 - pika's
        settings, headers = self.settings, properties.headers or {}
        return arrivals(
            settings.queue,
            _text(properties.message_id),
            body,
            settings.split,
            _named(headers, settings.company_header),
            _named(headers, settings.system_header),
            settings.split_bytes,
            first=not method.redelivered,
        )

    def ack(self) -> None:
        """Acknowledge all messages of which every record was taken, in one frame.

        Nobody says whether it arrived. A quorum queue has some 32 acks under way and holds further ones back in the
        channel; those are lost where the connection ends at once, even after `close`, and their messages come again.
        """
        with self.changed:
            tag, self._whole, channel, link = self._whole, 0, self.channel, self.link
        if tag and channel is not None and link is not None:
            link.call(lambda: channel.basic_ack(tag, multiple=True) if channel.is_open else None)

    # -- the link's side -----------------------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        """Consume from the queue."""
        channel.add_on_cancel_callback(lambda _: self._cancelled())
        channel.basic_qos(prefetch_count=self.settings.prefetch)
        channel.basic_consume(self.settings.queue, self._arrived, callback=lambda _: self.up(channel))

    def _arrived(self, _: Channel, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401 - pika's
        with self.changed:
            self._messages.append((method, properties, body))
            self.changed.notify()
        self.wake()

    def _cancelled(self) -> None:
        if self.link is not None:
            message = f"消费被服务器取消 / the broker cancelled the consumer: {self.settings.queue}"
            self.link.drop(Unavailable(message, RETRIED))

    # -- for operators -------------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """How much waits in the queue, and who else consumes.

        Raises:
            Unavailable: no node can be reached.
            Misconfigured: refused, or there is no such queue.
        """
        with borrowed(self.settings) as channel:
            return [waiting(channel, self.settings.queue)]

    def declare(self) -> list[str]:
        """Declare the queue, its dead-letter exchange and dead-letter queue. Idempotent.

        Raises:
            Unavailable: no node can be reached.
            Misconfigured: refused, or one exists with other arguments.
        """
        return declare_queues(self.settings, [self.settings.queue], self.settings.declare)


def _named(headers: Mapping[str, object], header: str) -> str:
    """What a header that is trusted names; nothing where none is: a name may be empty on the wire."""
    return _text(headers.get(header)) if header else ""


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
