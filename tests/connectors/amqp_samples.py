"""What tests of AMQP share: the run's broker, queues of a test's own, and the network in between."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPError
from servers import rabbitmq
from servers.cutting import Proxy

QUORUM = {"x-queue-type": "quorum"}


class Bench:
    """A broker, a name of this test's own, and a proxy to the broker whose connections can be cut."""

    def __init__(self, broker: rabbitmq.Broker, name: str) -> None:
        self.broker, self.name = broker, name
        self.proxy = Proxy(broker.port)
        self._connection: pika.BlockingConnection | None = None
        self._read = {}

    def settings(self, **more):
        """Settings that reach the broker through the proxy, and try again quickly."""
        quick = {"backoff_seconds": 0.02, "backoff_limit_seconds": 0.2}
        return {"url": self.broker.url(port=self.proxy.port), **quick, **more}

    @property
    def channel(self):
        """A channel of the test's own, past the proxy."""
        if self._connection is None or self._connection.is_closed:
            self._connection = self.broker.connect()
        return self._connection.channel()

    def queue(self, name: str = "", **arguments) -> str:
        """Declare a queue of this test's own; its name."""
        full = f"{self.name}{name}"
        self.channel.queue_declare(full, durable=True, arguments={**QUORUM, **arguments})
        return full

    def put(self, queue: str, bodies, ids=(), **properties) -> None:
        """Publish, confirmed."""
        channel = self.channel
        channel.confirm_delivery()
        names = ids or [None] * len(bodies)
        for body, name in zip(bodies, names, strict=True):
            about = pika.BasicProperties(message_id=name, delivery_mode=2, **properties)
            channel.basic_publish("", queue, body, about, mandatory=True)
        channel.close()

    def read(self, queue: str):
        """Messages of a queue as (properties, body), in order: all that was read so far, and what waits."""
        known, channel = self._read.setdefault(queue, []), self.channel
        left = self.count(queue)
        if left:
            channel.basic_qos(prefetch_count=500)
            for method, properties, body in channel.consume(queue, inactivity_timeout=60):
                assert method is not None, f"{left} messages counted did not come"
                channel.basic_ack(method.delivery_tag)
                known.append((properties, body))
                left -= 1
                if not left:
                    break
        channel.close()
        return known

    def count(self, queue: str) -> int:
        """Messages that wait in a queue."""
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def wait_for(self, condition, seconds: float = 60.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited for nothing"
            time.sleep(0.02)

    def close(self) -> None:
        """Cut all connections."""
        self.proxy.close()
        with suppress(AMQPError):  # a broker that was killed took the connection along
            if self._connection is not None and self._connection.is_open:
                self._connection.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """The run's broker."""
    return rabbitmq.start(tmp_path_factory.getbasetemp())


def _name(place: Path) -> str:
    return f"{place.parent.name}.{place.parent.parent.name}.{place.name}"


@pytest.fixture
def bench(broker, tmp_path):
    """A test's place at the broker, which others use too."""
    with broker.shared():
        made = Bench(broker, _name(tmp_path))
        yield made
        made.close()


@pytest.fixture
def lone_bench(broker, tmp_path):
    """A test's place at a broker that nobody else uses meanwhile."""
    with broker.alone():
        made = Bench(broker, _name(tmp_path))
        yield made
        made.close()
