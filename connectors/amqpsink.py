"""Deliveries into an AMQP broker: persistent, mandatory, confirmed with many in flight.

A queue does not tell what it took before, and cannot be read again: written twice, a delivery is there twice, under the
same message id, and its readers keep one. What the broker confirmed is the proof that the ledger counts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from connectors.amqperrors import Absent
from connectors.amqplink import borrowed
from connectors.amqppublisher import Publisher
from connectors.amqpqueues import Binding, QueueForm, declare_queues, waiting
from connectors.amqpsettings import BrokerSettings
from connectors.amqpwire import Form, Message, packed
from connectors.contracts import REFUSED, UNAVAILABLE, Delivery, Outcome, Tally, Unavailable, Unverifiable

_PLACE = "{destination}"


class AmqpSink:
    """Messages to an exchange, or straight to queues through the default one."""

    class Settings(BrokerSettings):
        """Settings of an AMQP sink."""

        exchange: str = Field(default="", max_length=255)
        """Exchange; may hold `{destination}`. Empty: the default exchange, where the routing key names the queue."""
        routing_key: str = Field(default=_PLACE, max_length=255)
        """Routing key; may hold `{destination}`."""
        per_message: int = Field(default=1, ge=1, le=10_000)
        """Records in one message, where the peer takes many: 100 are 10 to 50 times cheaper than one. Headers then
        name destination, batch and count only; a message's outcome is that of all its records."""
        joined: Literal["array", "lines"] = "array"
        """How many records make a message: a JSON array, or lines."""
        content_type: str = "application/json"
        in_flight: int = Field(default=1000, ge=1)
        """Messages sent and not yet confirmed at a time."""
        in_flight_bytes: int = Field(default=16 << 20, ge=1)
        """Bytes of them, likewise."""
        confirm_seconds: float = Field(default=30.0, gt=0)
        """How long the confirms of one call may take; the rest is *unavailable* then."""
        max_message_bytes: int = Field(default=32 << 20, ge=1)
        """A longer record is refused; RabbitMQ itself takes 128 MiB at most."""
        destinations: tuple[str, ...] = ()
        """Destinations whose queues `check` looks at and `vingate check --declare` declares."""
        queue: str = "{routing_key}"
        """Name of the queue that is declared for a destination."""
        exchange_type: Literal["direct", "topic", "fanout"] = "direct"
        """What the exchange is declared as."""
        declare: QueueForm = QueueForm()
        """What queues are declared with."""

        @model_validator(mode="after")
        def _places(self) -> AmqpSink.Settings:
            left = "".join(one.replace(_PLACE, "") for one in (self.exchange, self.routing_key))
            if "{" in left or "}" in left:
                message = "exchange 与 routing_key 只认 {destination} / they know no other place than {destination}"
                raise ValueError(message)
            return self

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._form = Form(
            settings.exchange,
            settings.routing_key,
            settings.per_message,
            settings.joined,
            settings.max_message_bytes,
            settings.content_type,
        )
        self._publisher = Publisher(settings, settings.content_type, settings.in_flight, settings.in_flight_bytes)
        self._turn = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """One outcome for each delivery, in order.

        *accepted*: confirmed by the broker, in a queue. *refused*: no queue takes it, or it is too long. *unavailable*:
        the queue is full, the broker is away, blocks, or did not confirm: it may be there nevertheless.

        Raises:
            Misconfigured: the broker refused us, or there is no such exchange.
        """
        if not deliveries:
            return []
        packing = packed(deliveries, self._form)
        outcomes = dict(packing.refused)
        with self._turn:
            for message, outcome in self._published(packing.messages):
                outcomes.update(dict.fromkeys(message.places, outcome))
        for place, first in packing.same.items():
            outcomes[place] = outcomes[first]
        return [outcomes[place] for place in range(len(deliveries))]

    def _published(self, messages: Sequence[Message]) -> list[tuple[Message, Outcome]]:
        if not messages:
            return []
        settings, publisher = self.settings, self._publisher
        trouble = publisher.ready(settings.connect_seconds)
        if trouble is not None:
            return [(one, trouble) for one in messages]
        try:
            absent = self._absent({one.exchange for one in messages})
        except Unavailable as error:
            return [(one, Outcome(UNAVAILABLE, str(error))) for one in messages]
        good = [one for one in messages if one.exchange not in absent]
        done = list(zip(good, publisher.publish(good, settings.confirm_seconds) if good else [], strict=True))
        return done + [(one, absent[one.exchange]) for one in messages if one.exchange in absent]

    def _absent(self, exchanges: set[str]) -> dict[str, Outcome]:
        """Those that are not there: publishing to one would close the channel under all that is in flight."""
        found: dict[str, Outcome] = {}
        for exchange in sorted(exchanges - self._publisher.known - {""}):
            try:
                with borrowed(self.settings) as channel:
                    channel.exchange_declare(exchange, passive=True)
                self._publisher.known.add(exchange)
            except Absent as error:
                if _PLACE not in self.settings.exchange:
                    raise
                found[exchange] = Outcome(REFUSED, f"NO_EXCHANGE: {error.message}")
        return found

    def verify(self, batch: str) -> Tally:
        """A queue cannot be read again.

        Raises:
            Unverifiable: always.
        """
        message = f"队列不可重读，以发布确认为凭 / queues cannot be read again, confirms are the proof: {batch}"
        raise Unverifiable(message)

    def check(self) -> list[str]:
        """What waits in the queues that messages go to, as far as settings name them; whether the exchange is there.

        Raises:
            Unavailable: no node can be reached.
            Misconfigured: refused, or an exchange or queue is not there.
        """
        settings, said = self.settings, []
        foreign = bool(settings.exchange) and not settings.destinations  # how its queues are named is not our affair
        with borrowed(settings) as channel:
            own = {one.exchange for one in self._bindings()} | {settings.exchange}
            for exchange in sorted(name for name in own if name and _PLACE not in name):
                channel.exchange_declare(exchange, passive=True)
            if not foreign:
                said += [waiting(channel, one.queue) for one in self._bindings()]
        return said or [f"{settings.exchange or '(default)'}: 可以发布 / can be published to"]

    def declare(self) -> list[str]:
        """Declare the exchange, and for each of `destinations` its queue, bound, with dead letters. Idempotent.

        Raises:
            Unavailable: no node can be reached.
            Misconfigured: refused, or something exists with other arguments.
        """
        bindings = self._bindings()
        bound = [one for one in bindings if one.exchange]
        return declare_queues(self.settings, [one.queue for one in bindings], self.settings.declare, bound)

    def _bindings(self) -> list[Binding]:
        settings = self.settings
        names = settings.destinations if _PLACE in settings.exchange + settings.routing_key else ("",)
        found = []
        for name in names:
            routing_key = settings.routing_key.replace(_PLACE, name)
            queue = settings.queue.replace("{routing_key}", routing_key).replace(_PLACE, name)
            found.append(Binding(queue, settings.exchange.replace(_PLACE, name), routing_key, settings.exchange_type))
        return found

    def close(self) -> None:
        """End the connection. Idempotent; a later write opens another one."""
        self._publisher.close()
