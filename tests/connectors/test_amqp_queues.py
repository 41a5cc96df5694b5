"""Queues are declared bounded and with dead letters, twice without harm, and never against what is there."""

from __future__ import annotations

import pika
import pytest
from amqp_samples import bench, broker  # noqa: F401 - fixtures

from connectors.amqpfeed import AmqpFeed
from connectors.amqpsink import AmqpSink
from connectors.contracts import Delivery, Misconfigured, Unavailable


def feed(bench, prefetch=1000, **form):  # noqa: F811
    return AmqpFeed(AmqpFeed.Settings(**bench.settings(queue=f"{bench.name}.in", prefetch=prefetch, declare=form)))


def test_declaring_twice_is_one_queue_with_dead_letters(bench):  # noqa: F811
    first = feed(bench).declare()
    assert feed(bench).declare() == first
    assert bench.count(f"{bench.name}.in") == bench.count(f"{bench.name}.in.dead") == 0
    assert feed(bench).check() == first


def taken(one, seconds=0.2):
    """What a feed is given now."""
    try:
        return [arrival.body for arrival in one.take(50, seconds)]
    except Unavailable:  # it is still connecting
        return []


def test_who_takes_a_queue_over_is_given_first_what_the_one_before_held_back(bench):  # noqa: F811
    first, second = feed(bench), feed(bench)
    first.declare()
    early, late = [b"%d" % n for n in range(3)], [b"%d" % n for n in range(3, 20)]
    bench.put(f"{bench.name}.in", early)
    held: list[bytes] = []
    bench.wait_for(lambda: held.extend(taken(first)) or held == early)
    bench.wait_for(lambda: taken(second) == [] and second.channel is not None)  # it consumes, and stands by
    bench.put(f"{bench.name}.in", late)
    assert taken(second, 1) == []
    first.close()
    found: list[bytes] = []
    bench.wait_for(lambda: found.extend(taken(second)) or len(found) >= 20)
    assert found == early + late
    second.close()


@pytest.mark.parametrize("leaves", ["closes", "drops its connection"])
def test_who_leaves_gives_back_what_it_held_before_anything_newer_is_given_on(bench, leaves):  # noqa: F811
    first, second = feed(bench, prefetch=3), feed(bench, prefetch=3)
    first.declare()
    bodies = [b"%d" % n for n in range(12)]  # three are held back, nine wait behind them
    bench.put(f"{bench.name}.in", bodies)
    held: list[bytes] = []
    bench.wait_for(lambda: held.extend(taken(first)) or held == bodies[:3])
    bench.wait_for(lambda: taken(second) == [] and second.channel is not None)
    if leaves == "closes":
        first.close()
    else:
        first.link.drop(Unavailable("", ""))  # it comes again, and stands by
    found: list[bytes] = []

    def all_came():
        found.extend(taken(second))
        second.ack()
        return len(found) >= len(bodies)

    bench.wait_for(all_came)
    first.close()
    second.close()
    assert found == bodies


def test_messages_are_spread_where_order_counts_for_nothing(bench):  # noqa: F811
    feeds = [feed(bench, one_reader=False) for _ in range(2)]
    feeds[0].declare()
    for one in feeds:
        taken(one)
    bench.wait_for(lambda: "2 consumers" in feeds[0].check()[0])
    bench.put(f"{bench.name}.in", [b"%d" % n for n in range(20)])
    found: list[list[bytes]] = [[], []]
    bench.wait_for(lambda: [got.extend(taken(one)) for one, got in zip(feeds, found, strict=True)] and all(found))
    for one in feeds:
        one.close()


def test_other_arguments_are_told_and_change_nothing(bench):  # noqa: F811
    feed(bench, max_length=10).declare()
    with pytest.raises(Misconfigured) as caught:
        feed(bench, max_length=11).declare()
    assert "x-max-length" in str(caught.value)
    assert f"{bench.name}.in" in str(caught.value)
    assert caught.value.remedy
    feed(bench, max_length=10).declare()


def test_what_is_rejected_goes_to_the_dead_letters(bench):  # noqa: F811
    feed(bench).declare()
    bench.put(f"{bench.name}.in", [b"bad"])
    channel = bench.channel
    method, _, _ = next(iter(channel.consume(f"{bench.name}.in", inactivity_timeout=60)))
    channel.basic_reject(method.delivery_tag, requeue=False)
    bench.wait_for(lambda: bench.count(f"{bench.name}.in.dead") == 1)
    assert [body for _, body in bench.read(f"{bench.name}.in.dead")] == [b"bad"]
    bench.wait_for(lambda: bench.count(f"{bench.name}.in") == 0)


@pytest.mark.parametrize("form", [{"max_length": 3}, {"max_length_bytes": 3000}])
def test_a_queue_that_is_full_refuses(bench, form):  # noqa: F811
    feed(bench, **form, dead_letters="").declare()
    with pytest.raises(pika.exceptions.NackError):
        bench.put(f"{bench.name}.in", [b"x" * 1000] * 20)


def test_further_arguments_are_given_on(bench):  # noqa: F811
    feed(bench, arguments={"x-expires": 60_000}).declare()
    with pytest.raises(Misconfigured) as caught:
        feed(bench, arguments={"x-expires": 50_000}).declare()
    assert "x-expires" in str(caught.value)


@pytest.mark.parametrize("exchange", ["", "{name}-x", "{name}-{destination}"])
def test_a_sink_declares_a_queue_for_each_destination(bench, exchange):  # noqa: F811
    settings = bench.settings(
        exchange=exchange.replace("{name}", bench.name),
        routing_key=f"{bench.name}.{{destination}}",
        destinations=["a", "b"],
    )
    sink = AmqpSink(AmqpSink.Settings(**settings))
    with pytest.raises(Misconfigured):
        sink.check()
    assert len(sink.declare()) == len(sink.declare()) == len(sink.check()) == 2
    given = [Delivery(f"i{one}", one, "k", 1, "c", b"{}", "b") for one in ("a", "b")]
    assert [one.status for one in sink.write(given)] == ["accepted"] * 2
    sink.close()
    for one in ("a", "b"):
        assert [about.message_id for about, _ in bench.read(f"{bench.name}.{one}")] == [f"i{one}"]


def test_an_exchange_of_another_type_is_told(bench):  # noqa: F811
    bench.channel.exchange_declare(f"{bench.name}-x", "fanout", durable=True)
    settings = bench.settings(exchange=f"{bench.name}-x", routing_key="k", queue=bench.name)
    with pytest.raises(Misconfigured) as caught:
        AmqpSink(AmqpSink.Settings(**settings)).declare()
    assert "type" in str(caught.value)
    bench.channel.exchange_delete(f"{bench.name}-x")


def test_an_exchange_of_somebody_else_is_checked_without_its_queues(bench):  # noqa: F811
    sink = AmqpSink(AmqpSink.Settings(**bench.settings(exchange=f"{bench.name}-y", routing_key="k")))
    with pytest.raises(Misconfigured):
        sink.check()
    bench.channel.exchange_declare(f"{bench.name}-y", "topic", durable=True)
    assert f"{bench.name}-y" in sink.check()[0]
    bench.channel.exchange_delete(f"{bench.name}-y")
