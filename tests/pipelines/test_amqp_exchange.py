"""An exchange whose destinations are queues: what the broker confirmed is delivered, and that is the ledger's proof."""

from __future__ import annotations

import pytest
from row_gate import SHOP, Gate, record
from servers import rabbitmq

from connectors.amqpfeed import AmqpFeed
from connectors.amqpsink import AmqpSink
from connectors.contracts import Unavailable
from pipelines.ledger import prove
from pipelines.settings import Exchange


@pytest.fixture
def broker(tmp_path_factory):
    with rabbitmq.start(tmp_path_factory.getbasetemp()).shared() as made:
        yield made


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


def to_queue(exchange, url, queue):
    settings = exchange.model_dump(mode="json", by_alias=True)
    settings["sinks"]["provinces"] = {"connector": "amqp", "for": "province-*", "url": url, "routing_key": queue}
    return Exchange.model_validate(settings)


def test_what_the_broker_confirmed_is_delivered_and_proved(gate, broker, tmp_path, monkeypatch):
    queue, base = f"{tmp_path.parent.name}.{tmp_path.name}", gate.exchange
    settings = {"url": broker.url(), "queue": queue}
    feed = AmqpFeed(AmqpFeed.Settings(**settings))
    gate.exchange = lambda which, *overrides: to_queue(base(which, *overrides), broker.url(), queue)
    gate.shop(record("J1"), record("J2"))
    missing = gate.run("collect")  # no such queue: the broker returns what nobody takes
    assert missing.destinations["province-11"]["dead"] == 2
    feed.declare()
    gate.shop(record("J3"), record("J4"), record("J5"))
    done = gate.run("collect")
    assert done.destinations["province-11"]["delivered"] == 3
    assert [problem.as_dict() for problem in prove(gate.state).problems] == []
    found = []
    while len(found) < 3:
        try:
            found += feed.take(10, 1)
        except Unavailable:
            continue
    feed.ack()
    feed.close()
    assert len({one.key for one in found}) == 3
    assert all(SHOP.encode() in one.body for one in found)
    # A queue that could be read again and were empty would be a loss: it is the receipt that counts.
    monkeypatch.setattr(AmqpSink, "verify", lambda sink, batch: (_ for _ in ()).throw(Unavailable("away")))
    assert {problem.kind for problem in prove(gate.state).problems} == {"unasked"}
