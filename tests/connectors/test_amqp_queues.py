"""Queues are declared bounded and with dead letters, twice without harm, and never against what is there."""

from __future__ import annotations

import pika
import pytest
from amqp_samples import bench, broker  # noqa: F401 - fixtures

from connectors.amqpfeed import AmqpFeed
from connectors.amqpsink import AmqpSink
from connectors.contracts import Delivery, Misconfigured


def feed(bench, **form):  # noqa: F811
    return AmqpFeed(AmqpFeed.Settings(**bench.settings(queue=f"{bench.name}.in", declare=form)))


def test_declaring_twice_is_one_queue_with_dead_letters(bench):  # noqa: F811
    first = feed(bench).declare()
    assert feed(bench).declare() == first
    assert bench.count(f"{bench.name}.in") == bench.count(f"{bench.name}.in.dead") == 0
    assert feed(bench).check() == first


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
