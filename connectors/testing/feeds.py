"""What a feed must do."""
# ruff: noqa: S101, D102 - a suite is made of assertions, and a test's name says what it shows

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors import registry
from connectors.contracts import Arrival, Feed, Unavailable
from connectors.testing.common import TEXT, Contract, copy

PATIENCE = 60.0
"""Seconds after which what did not come counts as lost; no test that passes waits so long."""


class FeedContract(Contract):
    """What a feed must do.

    Hooks: `name`, `put`, `feed`, `lose`, `away`, `working_settings`, `broken_settings`, and the two attributes. A test
    that wants to see that nothing more comes lets a last one arrive and sees that it is the next.
    """

    kind: registry.Kind = "feed"
    gives_keys = True
    """Whether a sender can give a key of its own."""
    takes_empty = True
    """Whether a payload may be empty."""

    def put(self, place: Path, bodies: Sequence[bytes], keys: Sequence[str] = ()) -> None:
        """Let payloads arrive after those that are there, with these keys where some are given."""
        raise NotImplementedError

    def feed(self, place: Path) -> Any:  # noqa: ANN401 - any feed
        """A connector that takes them, with at least 100 open at a time; the suite closes it."""
        raise NotImplementedError

    def lose(self, place: Path) -> None:
        """Cut the connections that feeds have at this moment."""
        pytest.skip("this feed has no connection to lose")

    def away(self, place: Path) -> AbstractContextManager[Any]:
        """While it lasts, the system cannot be reached."""
        pytest.skip("this system cannot be away")

    @pytest.fixture
    def feeds(self, place: Path) -> Any:  # noqa: ANN401 - a generator function to pytest
        """Makes feeds, and closes them at the end of the test."""
        made: list[Feed] = []

        def make() -> Feed:
            made.append(self.feed(place))
            return made[-1]

        yield make
        for one in made:
            one.close()

    @staticmethod
    def body(number: int, size: int = 0) -> bytes:
        """A payload."""
        return orjson.dumps({"n": number, "text": TEXT, "filler": "x" * size})

    @staticmethod
    def numbers(arrivals: Sequence[Arrival]) -> list[int]:
        """The numbers of payloads."""
        return [orjson.loads(one.body)["n"] for one in arrivals]

    @staticmethod
    def drain(feed: Feed, count: int, most: int = 100) -> list[Arrival]:
        """The next `count` arrivals, in as many takes as it needs; gives up after a long time, with what came."""
        found: list[Arrival] = []
        end = time.monotonic() + PATIENCE
        while len(found) < count and time.monotonic() < end:
            try:
                found += feed.take(min(most, count - len(found)), 1.0)
            except Unavailable:  # on its way back
                time.sleep(0.02)
        return found

    def test_it_is_a_feed(self, feeds: Any) -> None:  # noqa: ANN401
        assert isinstance(feeds(), Feed)

    def test_payloads_come_in_order_as_they_were(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        given = [self.body(n) for n in range(50)]
        self.put(place, given)
        assert [one.body for one in self.drain(feeds(), 50)] == given

    def test_a_take_gives_at_most_so_many(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(20)])
        feed = feeds()
        found: list[Arrival] = []
        while len(found) < 20:
            given = feed.take(7, PATIENCE)
            assert 1 <= len(given) <= 7
            found += given
        assert self.numbers(found) == list(range(20))

    def test_taking_goes_on_before_the_ack(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(30)])
        feed = feeds()
        assert [self.numbers(self.drain(feed, 10)) for _ in range(3)] == [
            list(range(at, at + 10)) for at in (0, 10, 20)
        ]

    def test_nothing_waiting_gives_nothing(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(1)])
        feed = feeds()
        self.drain(feed, 1)
        assert feed.take(10, 0.05) == []
        assert feed.take(10, 0) == []

    def test_what_comes_while_it_waits_is_given(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        feed = feeds()
        late = threading.Timer(0.2, self.put, (place, [self.body(5)]))
        late.start()
        given = self.numbers(feed.take(10, PATIENCE))
        late.join()
        assert given == [5]

    def test_what_was_acked_is_gone(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(10)])
        feed = feeds()
        self.drain(feed, 10)
        feed.ack()
        feed.close()
        self.put(place, [self.body(99)])
        assert self.numbers(self.drain(feeds(), 1)) == [99]

    def test_what_was_not_acked_comes_again_the_same(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(10)])
        feed = feeds()
        first = self.drain(feed, 10)
        feed.close()
        assert sorted(self.drain(feeds(), 10)) == sorted(first)

    def test_an_ack_covers_what_was_taken_before_it(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(30)])
        feed = feeds()
        self.drain(feed, 10)
        self.drain(feed, 5)
        feed.ack()
        self.drain(feed, 8)
        feed.close()
        assert sorted(self.numbers(self.drain(feeds(), 15))) == list(range(15, 30))

    def test_what_was_never_taken_stays(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(10)])
        feed = feeds()
        self.drain(feed, 3)
        feed.ack()
        feed.close()
        assert self.numbers(self.drain(feeds(), 7)) == list(range(3, 10))

    def test_an_ack_without_a_take_does_nothing(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(3)])
        feed = feeds()
        feed.ack()
        assert self.numbers(self.drain(feed, 3)) == [0, 1, 2]
        feed.ack()
        feed.ack()

    def test_keys_are_unique_and_sources_named(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(40)])
        found = self.drain(feeds(), 40)
        assert len({(one.source, one.key) for one in found if one.key}) == len([one for one in found if one.key])
        assert all(one.source for one in found)

    @pytest.mark.parametrize("key", ["id-1", "钥匙/\U00020bb7 é", "a b\tc;d,e#f", "k" * 200])
    def test_a_key_comes_as_it_was_given(self, place: Path, feeds: Any, key: str) -> None:  # noqa: ANN401
        if not self.gives_keys:
            pytest.skip("senders give no keys")
        self.put(place, [self.body(1)], [key])
        assert [one.key for one in self.drain(feeds(), 1)] == [key]

    def test_a_duplicate_keeps_its_key(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        if not self.gives_keys:
            pytest.skip("senders give no keys")
        self.put(place, [self.body(1), self.body(2), self.body(1)], ["a", "b", "a"])
        assert [one.key for one in self.drain(feeds(), 3)] == ["a", "b", "a"]

    def test_any_bytes_come_as_they_were(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        given = [bytes(range(256)), b"\xff\xfe", b"\r\n", TEXT.encode("gb18030"), b"{"]
        self.put(place, given)
        assert [one.body for one in self.drain(feeds(), 5)] == given

    def test_an_empty_payload_is_a_payload(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        if not self.takes_empty:
            pytest.skip("payloads are never empty here")
        self.put(place, [b"", self.body(1)])
        assert [one.body for one in self.drain(feeds(), 2)] == [b"", self.body(1)]

    def test_a_huge_payload_comes_whole(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        given = [self.body(1), self.body(2, 3 << 20), self.body(3)]
        self.put(place, given)
        assert [one.body for one in self.drain(feeds(), 3)] == given

    def test_many_come_all_once(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(3000)])
        feed = feeds()
        found: list[Arrival] = []
        for _ in range(6):
            found += self.drain(feed, 500)
            feed.ack()
        assert self.numbers(found) == list(range(3000))
        feed.close()
        self.put(place, [self.body(9999)])
        assert self.numbers(self.drain(feeds(), 1)) == [9999]

    def test_a_connection_lost_before_the_ack_loses_nothing(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(10)])
        feed = feeds()
        first = self.drain(feed, 10)
        self.lose(place)
        feed.ack()
        feed.close()
        again = self.drain(feeds(), 10)
        assert {one.body for one in again} == {one.body for one in first}
        assert {one.key for one in again} == {one.key for one in first}

    def test_a_lost_connection_is_opened_again(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(5)])
        feed = feeds()
        self.drain(feed, 5)
        feed.ack()
        self.lose(place)
        self.put(place, [self.body(99)])
        seen: list[int] = []
        while 99 not in seen:  # an ack that did not get through brings its payloads again
            given = self.numbers(self.drain(feed, 1))
            assert given, "nothing came after the connection was lost"
            seen += given
        feed.ack()

    def test_a_system_that_is_away_is_unavailable_with_a_remedy(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(1)])
        feed = feeds()
        with self.away(place), pytest.raises(Unavailable) as caught:
            feed.take(1, 0.2)
        assert caught.value.remedy
        assert str(copy(caught.value)) == str(caught.value)
        assert self.numbers(self.drain(feed, 1)) == [1]

    def test_closing_is_idempotent(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(1)])
        unused, feed = feeds(), feeds()
        unused.close()
        unused.close()
        self.drain(feed, 1)
        feed.close()
        feed.close()

    def test_a_take_after_closing_opens_again(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(4)])
        feed = feeds()
        self.drain(feed, 2)
        feed.ack()
        feed.close()
        assert self.numbers(self.drain(feed, 2)) == [2, 3]

    def test_it_can_be_pickled_after_use(self, place: Path, feeds: Any) -> None:  # noqa: ANN401
        self.put(place, [self.body(n) for n in range(4)])
        feed = feeds()
        self.drain(feed, 2)
        feed.ack()
        feed.close()
        other = copy(feed)
        assert self.numbers(self.drain(other, 2)) == [2, 3]
        other.close()
