"""The AMQP feed keeps its contract at a real broker, whatever breaks."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from itertools import count

import orjson
import pytest
from amqp_samples import bench, broker, lone_bench  # noqa: F401 - fixtures
from realtime.links import HALF, PASS, Links
from servers import rabbitmq

from connectors import registry
from connectors.amqpfeed import AmqpFeed
from connectors.amqplink import borrowed
from connectors.amqpsplitting import arrivals
from connectors.contracts import Arrival, Misconfigured, Unavailable
from connectors.testing import FeedContract

NUMBER = count()


@pytest.fixture
def made(bench):  # noqa: F811
    """Makes feeds of a queue, and closes them at the end."""
    feeds = []

    def make(queue, **settings):
        feeds.append(AmqpFeed(AmqpFeed.Settings(**bench.settings(queue=queue, **settings))))
        return feeds[-1]

    yield make
    for one in feeds:
        one.close()


class Hanging:
    """A link whose thread did not end in time when it was stopped."""

    alive = True

    def __init__(self, _settings, _opened, ended):
        self.end = ended

    def stop(self):
        pass


def test_an_end_that_comes_late_is_that_of_an_earlier_connection(monkeypatch):
    monkeypatch.setattr("connectors.amqplink.Link", Hanging)
    feed = AmqpFeed(AmqpFeed.Settings(url="amqp://nobody@127.0.0.1/", queue="q"))
    with feed.changed:
        feed.start()
        earlier = feed.link
    feed.close()
    with feed.changed:
        feed.start()
    feed.channel = channel = object()
    earlier.end(Unavailable("late"))
    assert (feed.channel, feed.troubled) == (channel, False)
    feed.link.end(Unavailable("lost"))
    assert (feed.channel, feed.troubled) == (None, True)


class TestAmqpFeed(FeedContract):
    name = "amqp"

    @pytest.fixture(autouse=True)
    def _queue(self, bench):  # noqa: F811
        self.bench = bench
        self.queue = bench.queue()

    def put(self, place, bodies, keys=()):
        self.bench.put(self.queue, bodies, keys or [f"m{next(NUMBER)}" for _ in bodies])

    def feed(self, place):
        return AmqpFeed(AmqpFeed.Settings(**self.working_settings(place)))

    def lose(self, place):
        self.bench.proxy.cut()

    def away(self, place):
        return self.bench.proxy.away()

    def working_settings(self, place):
        return self.bench.settings(queue=self.queue)

    def broken_settings(self, place):
        return self.bench.settings(queue=f"{self.queue}.none")


def drain(feed, number, most=100):
    return FeedContract.drain(feed, number, most)


def test_without_an_id_the_key_is_a_digest_of_queue_and_body(bench, made):  # noqa: F811
    one, other = bench.queue(".a"), bench.queue(".b")
    for queue in (one, other):
        bench.put(queue, [b"x", b"y", b"x"])
    keys = [[arrival.key for arrival in drain(made(queue), 3)] for queue in (one, other)]
    assert keys[0][0] == keys[0][2] != keys[0][1]
    assert not set(keys[0]) & set(keys[1])


def test_without_an_id_what_comes_first_is_new_and_what_comes_again_is_known(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"x", b"y", b"x"])
    bench.put(queue, [b"z"], ["id"])
    feed = made(queue)
    first = drain(feed, 4)
    assert [one.new for one in first] == [True, True, True, False]
    feed.close()  # not acked
    again = drain(feed, 4)
    assert [one.new for one in again] == [False] * 4
    assert [one.key for one in again] == [one.key for one in first]


def test_headers_name_company_and_system_where_settings_say_so(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"x"], headers={"shop": "沪123", "from": "T", "other": 7})
    trusting = made(queue, company_header="shop", system_header="from")
    assert drain(trusting, 1)[0][3:5] == ("沪123", "T")
    trusting.close()
    wary = made(queue, company_header="other")
    assert drain(wary, 1)[0][3:5] == ("", "")


def test_a_header_without_a_name_names_nobody(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"x"], headers={"": "someone else"})
    assert drain(made(queue), 1)[0][3:5] == ("", "")


@pytest.mark.parametrize(
    ("split", "body", "pieces"),
    [
        (
            "array",
            b'[{"a":1.0, "a":2},\n {"b":"\xe6\xb1\xbd,]"}, 3]',
            [b'{"a":1.0, "a":2}', b'{"b":"\xe6\xb1\xbd,]"}', b"3"],
        ),
        ("lines", b'{"a":1}\r\n\r\n{"b":[\t2]}\n', [b'{"a":1}', b'{"b":[\t2]}']),
        ("lines", b"{}", [b"{}"]),
    ],
)
def test_a_message_of_many_records_is_cut_byte_for_byte(split, body, pieces):
    found = arrivals("q", "id", body, split, "c", "s")
    assert found == [Arrival(piece, "q", f"id#{n}", "c", "s") for n, piece in enumerate(pieces)]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'[{"a":1},', b"\xff", b"[" * 100_000, b"null", b"\n\n"])
@pytest.mark.parametrize("split", ["array", "lines", "none"])
def test_what_cannot_be_cut_is_one_arrival(split, body):
    found = arrivals("q", "id", body, split)
    assert [one.body for one in found] == [body]


def test_what_is_too_long_is_not_cut():
    assert arrivals("q", "id", b"[1,2]", "array", longest=4) == [Arrival(b"[1,2]", "q", "id")]


def test_a_message_cut_in_the_middle_is_acked_when_all_of_it_was_taken(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [orjson.dumps(list(range(5))), orjson.dumps([5, 6]), orjson.dumps([7])], ["a", "b", "c"])
    feed = made(queue, split="array")
    first = drain(feed, 3)
    assert [one.key for one in first] == ["a#0", "a#1", "a#2"]
    feed.ack()
    feed.close()
    again = drain(feed, 6)
    assert again[:3] == first
    assert [one.key for one in again[3:]] == ["a#3", "a#4", "b#0"]
    feed.ack()  # a whole, b not
    feed.close()
    assert [one.key for one in drain(feed, 3)] == ["b#0", "b#1", "c#0"]
    feed.ack()
    feed.close()
    assert bench.count(queue) == 0


def test_no_more_is_open_than_prefetch_allows(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"%d" % n for n in range(12)])
    feed = made(queue, prefetch=5)
    assert len(drain(feed, 5)) == 5
    assert feed.take(5, 0.1) == []
    assert bench.count(queue) == 7
    feed.ack()
    assert [one.body for one in drain(feed, 5)] == [b"5", b"6", b"7", b"8", b"9"]


def test_two_feeds_share_a_queue(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"%d" % n for n in range(40)])
    feeds, found = [made(queue, prefetch=3), made(queue, prefetch=3)], []
    while len(found) < 40:
        for one in feeds:
            with suppress(Unavailable):  # while it connects
                found += [arrival.body for arrival in one.take(2, 0.05)]
            one.ack()
    assert sorted(map(int, found)) == list(range(40))


def test_a_queue_that_went_and_comes_back_is_consumed_again(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"1"])
    feed = made(queue)
    assert len(drain(feed, 1)) == 1
    bench.channel.queue_delete(queue)  # the broker cancels the consumer
    bench.wait_for(lambda: _unavailable(feed))
    bench.queue()
    bench.put(queue, [b"2"])
    assert [one.body for one in drain(feed, 1)] == [b"2"]


def _unavailable(feed):
    try:
        feed.take(1, 0)
    except Unavailable:
        return True
    return False


def test_a_channel_that_the_broker_closes_is_opened_again(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"1", b"2"])
    feed = made(queue)
    assert len(drain(feed, 2)) == 2
    channel = feed.channel
    feed.link.call(lambda: channel.basic_ack(999))  # PRECONDITION_FAILED - unknown delivery tag
    bench.wait_for(lambda: feed.channel is not channel)
    assert sorted(one.body for one in drain(feed, 2)) == [b"1", b"2"]


def test_heartbeats_go_out_while_the_caller_is_busy(bench, made):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"1"])
    feed = made(queue, heartbeat_seconds=1)
    drain(feed, 1)
    threading.Event().wait(3.5)  # three heartbeats missed would be the end of it
    feed.ack()
    bench.put(queue, [b"2"])
    assert [one.body for one in drain(feed, 1)] == [b"2"]
    assert bench.proxy.accepted == 1


def test_a_broker_that_says_nothing_is_given_up(bench):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"1"])
    links = Links()
    port = links.add("broker", bench.broker.port)
    settings = {**bench.settings(queue=queue, heartbeat_seconds=1), "url": bench.broker.url(port=port)}
    feed = AmqpFeed(AmqpFeed.Settings(**settings))
    assert len(drain(feed, 1)) == 1
    links.set("broker", HALF)  # the broker hears us, so it keeps us
    bench.wait_for(lambda: _unavailable(feed))
    assert "says nothing" in str(feed.error())
    links.set("broker", PASS)
    assert [one.body for one in drain(feed, 1)] == [b"1"]
    feed.close()


def misconfigured(feed):
    for _ in range(100):
        try:
            assert feed.take(1, 1) == []
        except Unavailable:
            continue
        except Misconfigured as error:
            return error
    pytest.fail("nothing was refused")


@pytest.mark.parametrize(("user", "password"), [("vingate", "wr0ng-password"), ("nobody", rabbitmq.PASSWORD)])
def test_a_wrong_password_is_said_once_and_not_tried_again(bench, made, user, password):  # noqa: F811
    feed = made(bench.queue(), user=user, password=password)
    error = misconfigured(feed)
    assert error.remedy
    assert password not in str(error)
    assert rabbitmq.PASSWORD not in str(error)
    for _ in range(50):
        with pytest.raises(Misconfigured):
            feed.take(1, 0)
    assert bench.proxy.accepted == 1
    with pytest.raises(Misconfigured):
        feed.check()


def test_after_a_while_a_refusal_is_put_to_the_test(bench, made):  # noqa: F811
    feed = made(f"{bench.name}.later", refused_seconds=0.05)
    assert "later" in str(misconfigured(feed))
    bench.put(bench.queue(".later"), [b"1"])
    found = []

    def given():
        try:
            found.extend(feed.take(1, 0.1))
        except (Misconfigured, Unavailable):
            return False
        return bool(found)

    bench.wait_for(given)
    assert found[0].body == b"1"


def test_one_who_may_not_read_is_told(bench, made):  # noqa: F811
    error = misconfigured(made(bench.queue(), user=rabbitmq.STRANGER, password=rabbitmq.PASSWORD))
    assert "ACCESS_REFUSED" in str(error)
    assert rabbitmq.PASSWORD not in str(error)


def test_a_vhost_that_is_not_there_is_told(bench):  # noqa: F811
    settings = bench.settings(queue="q")
    feed = AmqpFeed(AmqpFeed.Settings(**{**settings, "url": settings["url"] + "nowhere"}))
    error = misconfigured(feed)
    feed.close()
    assert "nowhere" in str(error)
    assert rabbitmq.PASSWORD not in str(error)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://u:s3cret@h/"},
        {"url": "amqp://u:s3cret@h:port/"},
        {"url": "amqp://u:s3cret@/v"},
        {"url": "amqp://u:s3cret@h/?heartbeat=1"},
        {"url": "amqp://u:s3cret@h/", "ca": "/none.pem"},
        {"url": "amqps://u:s3cret@h/", "ca": "/none.pem"},
        {"url": "amqp://u:s3cret@h/", "nodes": ["h:x"]},
        {"url": "env:VINGATE_NO_SUCH_VARIABLE"},
        {"url": "amqp://h", "password": "file:/none"},
    ],
)
def test_settings_that_cannot_work_are_told_without_their_secrets(settings):
    feed = AmqpFeed(AmqpFeed.Settings(queue="q", **settings))
    for use in (feed.check, feed.declare, lambda: feed.take(1, 60)):
        with pytest.raises(Misconfigured) as caught:
            use()
        assert caught.value.remedy
        assert "s3cret" not in f"{caught.value} {caught.value!r} {feed.settings!r}"
    feed.close()


def test_a_node_brings_no_credentials():
    with pytest.raises(Misconfigured) as caught:
        registry.feed("amqp", {"queue": "q", "url": "amqp://h", "nodes": ["u:s3cret@h"]})
    assert "nodes" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_nobody_there_is_unavailable_and_names_the_place_only():
    feed = AmqpFeed(AmqpFeed.Settings(queue="q", url="amqp://u:s3cret@127.0.0.1:1/"))
    for use in (feed.check, lambda: feed.take(1, 0.2)):
        with pytest.raises(Unavailable) as caught:
            use()
        assert "s3cret" not in str(caught.value)
    feed.close()
    assert "127.0.0.1:1" in str(caught.value)


def test_closing_while_it_connects_leaves_nothing_behind():
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        url = f"amqp://u:s3cret@127.0.0.1:{mute.getsockname()[1]}/"
        feed = AmqpFeed(AmqpFeed.Settings(queue="q", url=url, connect_seconds=0.5))
        for _ in range(2):
            with pytest.raises(Unavailable):
                feed.take(1, 0)
            feed.close()
        assert [one.name for one in threading.enumerate() if one.name == "amqp"] == []


def test_another_node_is_tried_when_one_is_away(bench):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"1"])
    settings = {**bench.settings(queue=queue), "nodes": [f"127.0.0.1:{bench.proxy.port}"]}
    feed = AmqpFeed(AmqpFeed.Settings(**{**settings, "url": bench.broker.url(port=1)}))
    assert feed.check()
    assert [one.body for one in drain(feed, 1)] == [b"1"]
    feed.close()


def test_a_connection_lost_in_its_users_hands_is_told_as_that(bench):  # noqa: F811
    settings = bench.settings(queue="q", nodes=[f"127.0.0.1:{bench.broker.port}"])

    def use():
        with borrowed(AmqpFeed.Settings(**settings)) as channel:
            bench.proxy.cut()
            channel.queue_declare(f"{bench.name}.lost", passive=True)

    with pytest.raises(Unavailable):
        use()


def test_secrets_are_read_from_where_settings_say(bench, made, monkeypatch, tmp_path):  # noqa: F811
    queue = bench.queue()
    bench.put(queue, [b"1"])
    (tmp_path / "password").write_text(f"{rabbitmq.PASSWORD}\n")
    monkeypatch.setenv("VINGATE_TEST_BROKER", f"amqp://127.0.0.1:{bench.proxy.port}/")
    settings = {"url": "env:VINGATE_TEST_BROKER", "user": rabbitmq.USER, "password": f"file:{tmp_path / 'password'}"}
    feed = AmqpFeed(AmqpFeed.Settings(queue=queue, **settings))
    assert len(drain(feed, 1)) == 1
    feed.close()
