"""The AMQP sink keeps its contract at a real broker: only what was confirmed and not returned is accepted."""

from __future__ import annotations

import threading
import time

import orjson
import pika
import pytest
from amqp_samples import bench, broker, lone_bench  # noqa: F401 - fixtures
from servers import rabbitmq

from connectors import registry
from connectors.amqpfeed import AmqpFeed
from connectors.amqpsink import AmqpSink
from connectors.amqpwire import Form, packed
from connectors.contracts import Delivery, Misconfigured, Tally, Unavailable, Unverifiable, fingerprint
from connectors.testing import FeedContract, SinkContract

FULL = {"x-overflow": "reject-publish"}


def delivery(number, destination="d", size=0, batch="b1", merged=""):
    body = orjson.dumps({"n": number, "filler": "x" * size})
    return Delivery(f"id-{destination}-{number}", destination, f"系统|{number}", 1, "c0", body, batch, merged)


def said(sink, deliveries):
    """Statuses of a write, once the connection stands again."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        outcomes = sink.write(deliveries)
        if {one.status for one in outcomes} != {"unavailable"}:
            break
        time.sleep(0.02)
    return [one.status for one in outcomes]


@pytest.fixture
def made(bench):  # noqa: F811
    """Makes sinks, and closes them at the end."""
    sinks = []

    def make(**settings):
        sinks.append(AmqpSink(AmqpSink.Settings(**bench.settings(**settings))))
        return sinks[-1]

    yield make
    for one in sinks:
        one.close()


class TestAmqpSink(SinkContract):
    name = "amqp"
    remembers = False

    @pytest.fixture(autouse=True)
    def _queues(self, bench):  # noqa: F811
        self.bench, self.sinks = bench, []
        self.queue = bench.queue()
        self.small = bench.queue(".small", **{"x-max-length": 30}, **FULL)
        yield
        for one in self.sinks:
            one.close()

    def sink(self, place, queue=""):
        self.sinks.append(AmqpSink(AmqpSink.Settings(**self.bench.settings(routing_key=queue or self.queue))))
        return self.sinks[-1]

    def no_room(self, place):
        return self.sink(place, self.small)

    def stands(self, place, sink, batch):
        """What a reader finds who keeps one of each id."""
        found = {}
        for about, body in [*self.bench.read(self.queue), *self.bench.read(self.small)]:
            headers = about.headers
            given = Delivery(
                about.message_id, headers["destination"], headers["key"], headers["version"], headers["content"],
                body, headers["batch"], headers.get("merged_into", ""),
            )  # fmt: skip
            assert about.delivery_mode == pika.DeliveryMode.Persistent.value
            if given.batch == batch:
                found[given.id] = fingerprint(given)
        return Tally(len(found), sum(found.values()) % 2**64)

    def tamper(self, place, delivery):
        read = self.bench.read(self.queue)
        read[:] = [(about, b"{}" if about.message_id == delivery.id else body) for about, body in read]

    def remove(self, place, delivery):
        read = self.bench.read(self.queue)
        read[:] = [one for one in read if one[0].message_id != delivery.id]

    def working_settings(self, place):
        return self.bench.settings(routing_key=self.queue)

    def broken_settings(self, place):
        return self.bench.settings(exchange=f"{self.queue}.none")


def test_a_message_of_many_is_of_one_batch():
    given = [delivery(n, batch=batch) for n, batch in enumerate(("b1", "b1", "b2", "b1"))]
    made = packed(given, Form("", "q", 10, "array", 1 << 20, "application/json")).messages
    assert [(one.headers["batch"], one.places) for one in made] == [("b1", (0, 1)), ("b2", (2,)), ("b1", (3,))]


def test_a_queue_cannot_be_verified_and_says_so(bench, made):  # noqa: F811
    with pytest.raises(Unverifiable):
        made().verify("b1")


def test_what_no_queue_takes_is_refused_alone(bench, made):  # noqa: F811
    bench.queue(".a")
    sink = made(routing_key=f"{bench.name}.{{destination}}")
    given = [delivery(1, "a"), delivery(2, "nowhere"), delivery(3, "a"), delivery(4, "nowhere")]
    outcomes = sink.write(given)
    assert [one.status for one in outcomes] == ["accepted", "refused", "accepted", "refused"]
    assert outcomes[1].reason.startswith("NO_QUEUE")
    assert f"{bench.name}.nowhere" in outcomes[1].reason
    assert [body for _, body in bench.read(f"{bench.name}.a")] == [given[0].body, given[2].body]


def test_an_exchange_that_is_not_there_is_refused_alone(bench, made):  # noqa: F811
    queue = bench.queue()
    channel = bench.channel
    channel.exchange_declare(f"{bench.name}-a", durable=True)
    channel.queue_bind(queue, f"{bench.name}-a", "k")
    sink = made(exchange=f"{bench.name}-{{destination}}", routing_key="k")
    outcomes = sink.write([delivery(1, "a"), delivery(2, "b"), delivery(3, "a")])
    assert [one.status for one in outcomes] == ["accepted", "refused", "accepted"]
    assert outcomes[1].reason.startswith("NO_EXCHANGE")
    assert bench.count(queue) == 2
    channel.exchange_delete(f"{bench.name}-a")


def test_the_one_exchange_missing_stops_all(bench, made):  # noqa: F811
    sink = made(exchange=f"{bench.name}-none", routing_key="k")
    for _ in range(2):
        with pytest.raises(Misconfigured) as caught:
            sink.write([delivery(1)])
        assert f"{bench.name}-none" in str(caught.value)


def test_a_channel_that_the_broker_closes_makes_unavailable_and_is_opened_again(bench, made):  # noqa: F811
    queue, exchange = bench.queue(), f"{bench.name}-x"
    bench.channel.exchange_declare(exchange, durable=True)
    bench.channel.queue_bind(queue, exchange, "k")
    sink = made(exchange=exchange, routing_key="k")
    assert said(sink, [delivery(1)]) == ["accepted"]
    bench.channel.exchange_delete(exchange)
    outcomes = sink.write([delivery(n) for n in range(2, 5)])  # NOT_FOUND: the broker closes the channel
    assert [one.status for one in outcomes] == ["unavailable"] * 3
    bench.channel.exchange_declare(exchange, durable=True)
    bench.channel.queue_bind(queue, exchange, "k")
    assert said(sink, [delivery(n) for n in range(2, 5)]) == ["accepted"] * 3
    assert [about.message_id for about, _ in bench.read(queue)] == [f"id-d-{n}" for n in range(1, 5)]
    bench.channel.exchange_delete(exchange)


def test_a_full_queue_is_unavailable_and_drains(bench, made):  # noqa: F811
    queue = bench.queue(**{"x-max-length": 20}, **FULL)
    sink, given = made(routing_key=queue, in_flight=5), [delivery(n) for n in range(60)]
    waiting = given
    statuses = said(sink, waiting)
    assert "unavailable" in statuses
    assert statuses[0] == "accepted"
    reader, found = AmqpFeed(AmqpFeed.Settings(**bench.settings(queue=queue))), []
    while waiting:
        waiting = [one for one, status in zip(waiting, statuses, strict=True) if status == "unavailable"]
        found += FeedContract.drain(reader, len(given) - len(waiting) - len(found))
        reader.ack()
        if waiting:
            bench.wait_for(lambda: bench.count(queue) == 0)
            statuses = [one.status for one in sink.write(waiting)]
    reader.close()
    assert sorted(one.key for one in found) == sorted(one.id for one in given)


def test_many_records_share_a_message_and_its_outcome(bench, made):  # noqa: F811
    queue = bench.queue()
    sink = made(routing_key=f"{bench.name}{{destination}}", per_message=3)
    given = [delivery(n, "" if n != 3 else ".none") for n in range(8)]
    outcomes = sink.write(given)
    assert [one.status for one in outcomes] == ["accepted"] * 3 + ["refused"] + ["accepted"] * 4
    messages = bench.read(queue)
    assert [[one["n"] for one in orjson.loads(body)] for _, body in messages] == [[0, 1, 2], [4, 5, 6], [7]]
    assert [about.headers["count"] for about, _ in messages] == [3, 3, 1]
    sink.write(given[:3])
    assert len({about.message_id for about, _ in bench.read(queue)}) == 3  # said again: the same message
    sink.write(given[:3])
    feed = AmqpFeed(AmqpFeed.Settings(**bench.settings(queue=queue, split="array")))
    assert [one.body for one in FeedContract.drain(feed, 3)] == [one.body for one in given[:3]]
    feed.close()


FORM = Form("", "{destination}", 2, "array", 60, "application/json")


def test_a_message_of_many_is_bounded_in_bytes():
    given = [delivery(n, size=20) for n in range(4)]
    found = packed(given, FORM)
    assert [one.places for one in found.messages] == [(0,), (1,), (2,), (3,)]
    assert all(len(one.body) <= 60 for one in found.messages)


def test_what_is_there_twice_is_sent_once():
    found = packed([delivery(1), delivery(2), delivery(1)], FORM._replace(per_message=1))
    assert [one.places for one in found.messages] == [(0,), (1,)]
    assert found.same == {2: 0}


def test_lines_are_joined_by_line_breaks():
    given = [delivery(n) for n in range(2)]
    found = packed(given, FORM._replace(joined="lines", longest=1000))
    assert found.messages[0].body == given[0].body + b"\n" + given[1].body


@pytest.mark.parametrize(
    ("one", "sign"), [(delivery(1, size=60), "PAYLOAD_TOO_LARGE"), (delivery(1, "省" * 86), "NAME")]
)
def test_what_can_never_be_sent_is_refused_alone(one, sign):
    found = packed([delivery(0), one, delivery(2)], FORM)
    assert [message.places for message in found.messages] == [(0, 2)]
    assert found.refused[1].status == "refused"
    assert found.refused[1].reason.startswith(sign)


def test_a_connection_cut_before_the_confirm_makes_unavailable(bench, made):  # noqa: F811
    queue = bench.queue()
    sink = made(routing_key=queue, confirm_seconds=600)
    assert said(sink, [delivery(0)]) == ["accepted"]
    given, outcomes = [delivery(n, size=20_000) for n in range(1, 2000)], []
    writing = threading.Thread(target=lambda: outcomes.extend(sink.write(given)))
    before = bench.count(queue)
    writing.start()
    bench.wait_for(lambda: bench.count(queue) > before)
    bench.proxy.cut()
    writing.join()
    assert len(outcomes) == len(given)
    lost = [one for one, outcome in zip(given, outcomes, strict=True) if outcome.status != "accepted"]
    assert {outcome.status for outcome in outcomes} <= {"accepted", "unavailable"}
    assert said(sink, lost or given[:1]) == ["accepted"] * (len(lost) or 1)
    assert {about.message_id for about, _ in bench.read(queue)} == {one.id for one in [delivery(0), *given]}


def test_a_broker_that_is_away_is_unavailable_at_once_and_tried_again(bench, made):  # noqa: F811
    sink = made(routing_key=bench.queue(), connect_seconds=60)
    with bench.proxy.away():
        outcomes = sink.write([delivery(1), delivery(2)])
        assert [one.status for one in outcomes] == ["unavailable"] * 2
        assert all(one.reason for one in outcomes)
    assert said(sink, [delivery(1), delivery(2)]) == ["accepted"] * 2


def test_confirms_that_do_not_come_make_unavailable(bench, made):  # noqa: F811
    queue = bench.queue()
    sink = made(routing_key=queue, confirm_seconds=0.000001)
    outcomes = sink.write([delivery(n) for n in range(500)])
    assert outcomes[-1].status == "unavailable"
    assert outcomes[-1].reason.startswith("TIMEOUT")
    sink.close()
    patient = made(routing_key=queue)
    assert said(patient, [delivery(n) for n in range(500)]) == ["accepted"] * 500


@pytest.mark.parametrize("use", ["write", "check", "declare"])
def test_a_wrong_password_stops_the_flow_at_once(bench, made, use):  # noqa: F811
    sink = made(routing_key="q", password="wr0ng-password")  # noqa: S106
    calls = {"write": lambda: sink.write([delivery(1)]), "check": sink.check, "declare": sink.declare}
    with pytest.raises(Misconfigured) as caught:
        calls[use]()
    assert caught.value.remedy
    assert "wr0ng" not in str(caught.value)
    if use == "write":
        for _ in range(20):
            with pytest.raises(Misconfigured):
                calls[use]()
    assert bench.proxy.accepted == 1


def test_one_who_may_not_write_is_told(bench, made):  # noqa: F811
    sink = made(routing_key=bench.queue(), user=rabbitmq.STRANGER, password=rabbitmq.PASSWORD)
    outcomes = sink.write([delivery(1)])
    assert [one.status for one in outcomes] == ["unavailable"]
    assert "ACCESS_REFUSED" in outcomes[0].reason
    with pytest.raises(Misconfigured):
        sink.write([delivery(1)])


def test_places_other_than_the_destination_are_refused():
    with pytest.raises(Misconfigured) as caught:
        registry.sink("amqp", {"url": "amqp://h", "routing_key": "{password}"})
    assert "{destination}" in str(caught.value)


def test_tls_with_a_trusted_certificate_and_one_of_our_own(bench):  # noqa: F811
    keys, queue = bench.broker.certificates, bench.queue()
    secure = {"url": bench.broker.url(port=bench.broker.tls_port).replace("amqp:", "amqps:"), "ca": keys / "ca.pem"}
    ours = {"cert": keys / "client.pem", "key": keys / "client.key"}
    sink = AmqpSink(AmqpSink.Settings(routing_key=queue, **secure))
    assert said(sink, [delivery(1)]) == ["accepted"]
    sink.close()
    feed = AmqpFeed(AmqpFeed.Settings(queue=queue, **secure, **ours))
    assert feed.check()
    assert [one.key for one in FeedContract.drain(feed, 1)] == ["id-d-1"]
    feed.close()


def test_tls_with_an_authority_that_nobody_trusts_is_refused(bench):  # noqa: F811
    url = bench.broker.url(port=bench.broker.tls_port).replace("amqp:", "amqps:")
    sink = AmqpSink(AmqpSink.Settings(routing_key="q", url=url, ca=bench.broker.certificates / "other-ca.pem"))
    for use in (sink.check, lambda: sink.write([delivery(1)])):
        with pytest.raises(Misconfigured) as caught:
            use()
        assert "TLS" in str(caught.value)
        assert rabbitmq.PASSWORD not in str(caught.value)
    sink.close()


def test_tls_to_a_plain_port_is_told(bench):  # noqa: F811
    url = bench.broker.url().replace("amqp:", "amqps:")
    sink = AmqpSink(AmqpSink.Settings(routing_key="q", url=url, ca=bench.broker.certificates / "ca.pem"))
    with pytest.raises((Misconfigured, Unavailable)) as caught:
        sink.check()
    assert caught.value.remedy
