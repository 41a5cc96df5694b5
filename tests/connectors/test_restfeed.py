"""The HTTP feed keeps the contract against a real server, in each way that a position can move."""

from __future__ import annotations

import base64
import sys
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import ClassVar

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import httppeer

from connectors import registry
from connectors.contracts import Arrival, Misconfigured, Unavailable
from connectors.pollsettings import PollSettings
from connectors.restfeed import HttpFeed
from connectors.testing import FeedContract

NUMBER = count()


@pytest.fixture(scope="module")
def server():
    with httppeer.serving() as running:
        yield running


@pytest.fixture
def hub(server):
    return server.hub(f"feed{next(NUMBER)}")


class TestHttpFeed(FeedContract):
    """Pages whose answer names the next one."""

    name = "http"
    shape = "offset"
    way: ClassVar = {"next": "data.next"}

    @pytest.fixture(autouse=True)
    def _hub(self, server, place):
        self.hub = server.hub(place.name)
        self.hub.shape, self.hub.etag = self.shape, True

    def put(self, place, bodies, keys=()):
        for at, body in enumerate(bodies):
            key = keys[at] if keys else f"m{next(NUMBER)}"
            self.hub.rows.append(orjson.dumps({"id": key, "data": base64.b64encode(body).decode()}))

    def feed(self, place):
        return HttpFeed(PollSettings(**self.working_settings(place)))

    @contextmanager
    def away(self, place):
        self.hub.always = "cut"
        yield
        self.hub.always = ""

    def working_settings(self, place):
        return {
            "url": self.hub.url,
            "request": {"method": "GET", "path": "/page", "query": {"cursor": "{cursor}", "limit": "40"}},
            "records": "data.rows", "key": "id", "body": "data", "form": "base64", "every_seconds": 0.02,
            "retry": {"tries": 1}, "breaker": {"failures": 1000}, **self.kept(place), **self.way,
        }  # fmt: skip

    def kept(self, place):
        return {"position": str(place / "kept" / "position")}

    def broken_settings(self, place):
        return self.working_settings(place) | {"auth": {"kind": "bearer", "token": "env:NOBODY_SETS_THIS"}}


class TestSince(TestHttpFeed):
    """The cursor is a member of the last record."""

    shape = "since"
    way: ClassVar = {"record_cursor": "id"}

    def test_a_duplicate_keeps_its_key(self):
        pytest.skip("a cursor that stands twice is no cursor")


class TestPages(TestHttpFeed):
    """Numbered pages."""

    shape = "pages"
    way: ClassVar = {"pages": 40}


class TestConfirm(TestHttpFeed):
    """The peer is told what it may forget."""

    shape = "queue"
    way: ClassVar = {"confirm": {"path": "/confirm", "body": {"keys": "{keys}"}}}

    def kept(self, place):
        return {}

    def working_settings(self, place):
        settings = super().working_settings(place)
        settings["request"]["query"]["limit"] = "4000"
        return settings

    def test_a_duplicate_keeps_its_key(self):
        pytest.skip("what stands twice under one key is confirmed at once")

    def test_a_confirmation_that_is_lost_brings_the_records_again(self, place, feeds):
        self.put(place, [self.body(n) for n in range(3)])
        feed = feeds()
        first = self.drain(feed, 3)
        self.hub.faults.append("cut")
        feed.ack()
        assert self.drain(feed, 3) == first
        feed.ack()
        assert self.hub.rows == []


def poll(hub, tmp_path, **more):
    return HttpFeed(
        PollSettings(
            **{
                "url": hub.url, "request": {"method": "GET", "path": "/say", "query": {"c": "{cursor}"}},
                "records": "rows", "next": "next", "every_seconds": 0.01, "position": tmp_path / "position",
                "retry": {"tries": 1},
            } | more
        )
    )  # fmt: skip


def test_records_come_byte_for_byte(hub, tmp_path):
    hub.rows.append(b'{"id": "1",  "hours": 1.50, "n": 12345678901234567890123}')
    feed = poll(hub, tmp_path, request={"method": "GET", "path": "/page"}, records="data.rows")
    assert [one.body for one in feed.take(10, 10)] == hub.rows
    feed.close()


@pytest.mark.parametrize("way", [{}, {"next": "", "pages": 3}, {"key": "id"}])
def test_records_without_keys_are_named_by_their_places_and_bytes(hub, tmp_path, way):
    hub.answers += [{"rows": [{"n": 1}, {"n": 2}, {"n": 1}], "next": "b"}, {"rows": [{"n": 1}]}]
    feed = poll(hub, tmp_path, **way)
    keys = [one.key for one in feed.take(2, 10)]
    feed.ack()
    keys += [one.key for one in feed.take(2, 10)]
    keys += [one.key for one in feed.take(2, 10)]
    assert len(set(keys)) == 4  # a record, its correction, and the record again are three
    feed.close()
    hub.answers.extendleft([{"rows": [{"n": 1}, {"n": 2}, {"n": 1}], "next": "b"}])
    assert [one.key for one in feed.take(10, 10)] == [keys[2]]  # what was not acked comes again by the same key
    feed.close()


BAD = [
    b'{"id": "\xff1", "cursor": "1"}',
    rb'{"id": "\ud800", "cursor": "1"}',
    b'{"cursor": "1"}',
    b'{"id": null, "cursor": "1"}',
    b'{"id": "1", "cursor": "\xff"}',
    b'{"id": "1"}',
    b'{"id": "1", "cursor": "1", "shop": "\xff"}',
    rb'{"id": "1", "cursor": "1", "data": "\x"}',
    b'{"id": "1", "cursor": "1", "\xff": 1}',
    b'{"id": "1", "cursor": "1", "n": NaN}',
    b'{"id": "1", "cursor": "1", "deep": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b"nonsense",
    b"5",
]
WAYS = [
    {"next": "next"},
    {"next": "", "record_cursor": "cursor"},
    {"next": "", "pages": 3},
    {"next": "", "confirm": {"path": "/confirm", "body": {"keys": "{keys}"}}},
]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("way", WAYS)
def test_a_record_that_cannot_be_read_holds_nothing_back(hub, tmp_path, way, bad):
    good = [b'{"id": "0", "cursor": "0", "data": {"a": 1}}', b'{"id": "2", "cursor": "2", "data": {"b": 2}}']
    hub.answers.append(b'{"code": "ok", "rows": [' + b", ".join([good[0], bad, good[1]]) + b'], "next": null}')
    answers = {"code": "code", "codes": {"ok": "accepted"}}
    about = {"key": "id", "company": "shop", "body": "data", "answers": answers}
    feed = poll(hub, tmp_path, every_seconds=3600, **way, **about)
    found = feed.take(10, 10)
    assert [one.body for one in found] == [b'{"a": 1}', found[1].body, b'{"b": 2}']
    assert found[1].body in bad
    assert found[1].company == ""
    assert len({one.key for one in found}) == 3
    feed.ack()
    feed.close()
    if "confirm" not in way:
        kept = orjson.loads((tmp_path / "position").read_bytes())
        assert (kept["cursor"], kept["done"]) in {("2", 0), ("", 3)}


def test_records_without_a_cursor_stand_behind_the_last_that_has_one(hub, tmp_path):
    hub.answers.append({"rows": [{"c": "1"}, {"n": 2}, {"n": 3}]})
    feed = poll(hub, tmp_path, next="", record_cursor="c", every_seconds=3600)
    assert len(feed.take(2, 10)) == 2
    feed.ack()
    assert orjson.loads((tmp_path / "position").read_bytes()) == {"cursor": "1", "done": 1}
    feed.close()
    hub.answers.append({"rows": [{"n": 2}, {"n": 3}, {"c": "4"}]})
    hub.answers.popleft()
    assert [orjson.loads(one.body) for one in feed.take(10, 10)] == [{"n": 3}, {"c": "4"}]
    assert hub.calls[-1].query["c"] == "1"
    feed.close()


def test_a_record_without_a_key_is_not_confirmed_and_comes_once(hub, tmp_path):
    hub.rows += [b'{"id": "1"}', b'{"id": null}']
    confirm = {"path": "/confirm", "body": {"keys": "{keys}"}}
    request = {"method": "GET", "path": "/page"}
    hub.shape = "queue"
    feed = poll(hub, tmp_path, request=request, records="data.rows", key="id", next="", confirm=confirm)
    assert len(feed.take(10, 10)) == 2
    feed.ack()
    assert orjson.loads(hub.calls[-1].body) == {"keys": ["1"]}
    assert feed.take(10, 0.03) == []
    assert hub.rows == [b'{"id": null}']
    feed.close()


def test_a_next_page_that_cannot_be_read_is_told_once_its_records_are_taken(hub, tmp_path):
    hub.answers.append(b'{"rows": [{"n": 1}], "next": "\xff"}')
    feed = poll(hub, tmp_path)
    assert len(feed.take(10, 10)) == 1
    with pytest.raises(Unavailable, match="next"):
        feed.take(10, 10)
    feed.close()


def test_company_system_and_source_come_with_each(hub, tmp_path):
    hub.answers.append({"rows": [{"id": 7, "shop": {"code": 330103000000001}, "text": "机油\n"}]})
    feed = poll(hub, tmp_path, key="id", company="shop.code", system="33", source="peer", body="text", form="text")
    assert feed.take(10, 10) == [Arrival("机油\n".encode(), "peer", "7", "330103000000001", "33")]
    feed.close()


def test_a_payload_that_is_not_where_it_should_be_comes_whole(hub, tmp_path):
    hub.answers.append({"rows": [{"id": 1, "data": "no base64!"}, {"id": 2}, {"id": 3, "data": 5}]})
    feed = poll(hub, tmp_path, body="data", form="base64")
    assert [orjson.loads(one.body)["id"] for one in feed.take(10, 10)] == [1, 2, 3]
    feed.close()


def test_what_has_not_changed_is_not_sent_again(hub, tmp_path):
    hub.etag, hub.shape = True, "offset"
    hub.rows += [b'{"id": "1"}', b'{"id": "2"}']
    feed = poll(hub, tmp_path, request={"method": "GET", "path": "/page"}, records="data.rows", next="data.next")
    assert len(feed.take(10, 10)) == 2
    assert feed.take(10, 0.2) == []
    asked = [one for one in hub.calls if "if-none-match" in one.headers]
    assert asked
    hub.rows.append(b'{"id": "3"}')
    assert [one.body for one in feed.take(10, 10)] == [b'{"id": "3"}']
    feed.close()


def test_empty_pages_on_the_way_are_passed(hub, tmp_path):
    hub.answers += [{"rows": [], "next": "b"}, {"rows": [], "next": "c"}, {"rows": [{"n": 1}], "next": None}]
    feed = poll(hub, tmp_path)
    assert len(feed.take(10, 10)) == 1
    assert [one.query["c"] for one in hub.calls] == ["", "b", "c"]
    feed.ack()
    assert orjson.loads((tmp_path / "position").read_bytes()) == {"cursor": "c", "done": 1}
    feed.close()


@pytest.mark.parametrize("answer", [{"rows": 5}, {}, [], b'{"rows": [{"a": "b""}]}', b'{"rows": [1, 2'])
def test_an_answer_of_another_shape_is_unavailable_with_the_paths(hub, tmp_path, answer):
    hub.answers.append(answer)
    feed = poll(hub, tmp_path, key="id")
    with pytest.raises(Unavailable) as caught:
        feed.take(10, 0.1)
    assert "records" in caught.value.remedy
    feed.close()


@pytest.mark.parametrize("fault", ["html", "huge", "500", "429:30", "packed"])
def test_a_fault_of_the_peer_loses_nothing(hub, tmp_path, fault):
    hub.answers.append({"rows": [{"n": 1}]})
    hub.faults.append(fault)
    feed = poll(hub, tmp_path, max_answer_bytes=1 << 20, max_retry_after_seconds=0.05)
    with pytest.raises(Unavailable):
        feed.take(10, 0.1)
    found = []
    while not found:
        try:
            found = feed.take(10, 0.1)
        except Unavailable:
            continue
    assert len(found) == 1
    feed.close()


def test_a_pause_that_the_peer_asks_for_is_kept(hub, tmp_path):
    hub.faults.append("429:3000")
    feed = poll(hub, tmp_path)
    for _ in range(3):
        with pytest.raises(Unavailable):
            feed.take(10, 0.1)
    assert len(hub.calls) == 1
    assert feed.pause().seconds > 2900
    feed.close()


def test_refused_credentials_stop_it(hub, tmp_path):
    hub.always = "401"
    feed = poll(hub, tmp_path, auth={"kind": "bearer", "token": "s3cret"})
    for _ in range(3):
        with pytest.raises(Misconfigured, match="AUTH_FAILED"):
            feed.take(10, 0.1)
    assert len(hub.calls) == 1
    feed.close()


def test_a_damaged_position_is_named(hub, tmp_path):
    (tmp_path / "position").write_text("{")
    feed = poll(hub, tmp_path)
    with pytest.raises(Misconfigured, match="position"):
        feed.take(1, 0)
    feed.close()


def test_a_position_that_cannot_be_kept_is_no_ack(hub, tmp_path):
    (tmp_path / "file").write_text("")
    hub.answers.append({"rows": [{"n": 1}]})
    feed = poll(hub, tmp_path, position=tmp_path / "file" / "position")
    with pytest.raises(Misconfigured):
        feed.take(1, 10)
    feed.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"next": ""},
        {"pages": 5},
        {"position": None},
        {"next": "", "confirm": {"path": "/c"}},
        {"key": "a..["},
        {"request": {"query": {"a": "{record}"}}},
    ],
)
def test_settings_that_cannot_work_are_refused(hub, tmp_path, wrong):
    given = {"url": hub.url, "next": "next", "position": str(tmp_path / "p")} | wrong
    with pytest.raises(Misconfigured):
        registry.feed("http", given)


def test_a_peer_without_news_is_asked_only_now_and_then(hub, tmp_path):
    hub.answers.append({"rows": []})
    feed = poll(hub, tmp_path, every_seconds=3600)
    assert [feed.take(10, 0) for _ in range(5)] == [[]] * 5
    assert feed.take(10, 0.02) == []
    assert len(hub.calls) == 1
    feed.close()
