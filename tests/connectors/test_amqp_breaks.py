"""A broker that dies or blocks in the middle of work: nothing is lost, and what comes again has the same key."""

from __future__ import annotations

import threading

from amqp_samples import broker, lone_bench  # noqa: F401 - fixtures
from test_amqp_sink import delivery, said

from connectors.amqpfeed import AmqpFeed
from connectors.amqpsink import AmqpSink
from connectors.contracts import Unavailable


class Writer(threading.Thread):
    """Writes deliveries until it was enough, each again until it is accepted, as the gateway's retries do."""

    def __init__(self, sink):
        super().__init__()
        self.sink, self.given, self.waiting, self.accepted = sink, [], [], 0
        self.enough = threading.Event()

    def run(self):
        while self.waiting or not self.enough.is_set():
            if len(self.waiting) < 50 and not self.enough.is_set():
                more = [delivery(len(self.given) + n, size=300) for n in range(50)]
                self.given += more
                self.waiting += more
            now = self.waiting[:50]
            outcomes = self.sink.write(now)
            again = [one for one, outcome in zip(now, outcomes, strict=True) if outcome.status != "accepted"]
            self.accepted += len(now) - len(again)
            self.waiting[:50] = again
            if again:
                threading.Event().wait(0.02)


class Reader(threading.Thread):
    """Takes and acks until it has seen all that was written, as the gateway's inbox does."""

    def __init__(self, feed, writer):
        super().__init__()
        self.feed, self.writer, self.seen, self.troubles = feed, writer, {}, 0

    def run(self):
        while self.writer.is_alive() or len(self.seen) < len(self.writer.given):
            try:
                given = self.feed.take(40, 0.2)
            except Unavailable:
                self.troubles += 1
                continue
            for one in given:
                assert self.seen.setdefault(one.key, one.body) == one.body
            self.feed.ack()


def test_a_broker_that_dies_while_both_sides_work_loses_nothing(lone_bench):  # noqa: F811
    queue = lone_bench.queue()
    direct = {"url": lone_bench.broker.url(), "backoff_seconds": 0.02, "backoff_limit_seconds": 0.2}
    sink = AmqpSink(AmqpSink.Settings(routing_key=queue, **direct))
    feed = AmqpFeed(AmqpFeed.Settings(queue=queue, prefetch=100, **direct))
    writer = Writer(sink)
    reader = Reader(feed, writer)
    writer.start()
    reader.start()
    lone_bench.wait_for(lambda: writer.accepted > 500 and len(reader.seen) > 200)
    with lone_bench.broker.down():
        lone_bench.wait_for(lambda: reader.troubles > 0)
    writer.enough.set()
    writer.join()
    reader.join()
    assert reader.seen == {one.id: one.body for one in writer.given}
    sink.close()
    feed.close()


def test_a_broker_that_blocks_makes_unavailable_and_is_used_again(lone_bench):  # noqa: F811
    queue = lone_bench.queue()
    sink = AmqpSink(AmqpSink.Settings(routing_key=queue, **lone_bench.settings(confirm_seconds=2)))
    assert said(sink, [delivery(0)]) == ["accepted"]
    with lone_bench.broker.out_of_memory():
        outcomes = sink.write([delivery(1), delivery(2)])
        assert [one.status for one in outcomes] == ["unavailable"] * 2
        assert [one.status for one in sink.write([delivery(3)])] == ["unavailable"]
        assert {one.reason.partition(":")[0] for one in outcomes} == {"BLOCKED"}
    assert said(sink, [delivery(n) for n in (1, 2, 3)]) == ["accepted"] * 3
    assert lone_bench.proxy.accepted == 1  # blocked is not broken
    sink.close()
    assert {about.message_id for about, _ in lone_bench.read(queue)} == {f"id-d-{n}" for n in range(4)}


def test_consuming_goes_on_while_publishers_are_blocked(lone_bench):  # noqa: F811
    queue = lone_bench.queue()
    lone_bench.put(queue, [b"1", b"2"])
    feed = AmqpFeed(AmqpFeed.Settings(**lone_bench.settings(queue=queue)))
    with lone_bench.broker.out_of_memory():
        found = []
        while len(found) < 2:
            try:
                found += feed.take(2, 1)
            except Unavailable:
                continue
        feed.ack()
        feed.close()
    assert lone_bench.count(queue) == 0
