"""Queues as this project wants them: replicated, bounded, refusing when full, none lost on its way to dead letters.

A quorum queue of bounded length answers a publisher that it is full (`overflow=reject-publish`), so that what does not
fit waits at its sender. Dead-lettering is at-least-once: a message leaves its queue when the dead-letter queue has it.
One consumer at a time is given messages: a gateway that takes a queue over gets them when the one before is gone, and
what that one held back comes first. So the order of a vehicle's records survives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pika.adapters.blocking_connection import BlockingChannel
from pydantic import Field

from connectors.amqplink import borrowed
from connectors.amqpsettings import BrokerSettings
from connectors.settings import ConnectorSettings


class QueueForm(ConnectorSettings):
    """What queues are declared with."""

    max_length: int = Field(default=1_000_000, ge=1)
    """Messages; beyond that publishers are refused."""
    max_length_bytes: int = Field(default=10 << 30, ge=1)
    """Bytes of bodies, likewise."""
    dead_letters: str = "{queue}.dead"
    """Name of the dead-letter exchange and of its queue; empty: none."""
    one_reader: bool = True
    """Messages go to one consumer; others stand by until it is gone. False: they are spread, and order is lost."""
    arguments: dict[str, bool | int | str] = Field(default_factory=dict)
    """Further `x-` arguments of the queue, or others in place of ours."""


class Binding(NamedTuple):
    """How messages get into a queue."""

    queue: str
    exchange: str
    routing_key: str
    kind: str = "direct"
    """Type of the exchange."""


def declare_queues(
    settings: BrokerSettings, queues: Sequence[str], form: QueueForm, bindings: Sequence[Binding] = ()
) -> list[str]:
    """Declare queues with their dead-letter exchanges and queues, and bind them. Idempotent.

    Returns:
        A sentence on each queue.

    Raises:
        Unavailable: no node can be reached.
        Misconfigured: refused, or something exists with other arguments.
    """
    said = []
    with borrowed(settings) as channel:
        for queue in dict.fromkeys(queues):
            _declare(channel, queue, form)
            said.append(waiting(channel, queue))
        for one in dict.fromkeys(bindings):
            channel.exchange_declare(one.exchange, one.kind, durable=True)
            channel.queue_bind(one.queue, one.exchange, one.routing_key)
    return said


def _declare(channel: BlockingChannel, queue: str, form: QueueForm) -> None:
    bounds: dict[str, bool | int | str] = {
        "x-queue-type": "quorum",
        "x-max-length": form.max_length,
        "x-max-length-bytes": form.max_length_bytes,
        "x-overflow": "reject-publish",
    }
    own = dict(bounds)
    if form.one_reader:
        own["x-single-active-consumer"] = True
    dead = form.dead_letters.replace("{queue}", queue)
    if dead:
        own |= {"x-dead-letter-exchange": dead, "x-dead-letter-strategy": "at-least-once"}
        channel.exchange_declare(dead, "fanout", durable=True)
        channel.queue_declare(dead, durable=True, arguments=bounds)
        channel.queue_bind(dead, dead)
    channel.queue_declare(queue, durable=True, arguments=own | form.arguments)


def waiting(channel: BlockingChannel, queue: str) -> str:
    """A sentence on how much waits in a queue that exists."""
    found = channel.queue_declare(queue, passive=True).method
    count, consumers = found.message_count, found.consumer_count
    return f"{queue}: {count} 条待取, {consumers} 个消费者 / {count} messages wait, {consumers} consumers"
