"""The memory connectors keep the contracts, and fail when they are told to."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count

import orjson
import pytest

from connectors.contracts import Arrival, Delivery, Unavailable
from connectors.memory import Broken, MemoryFeed, MemoryPartSink, MemorySink, MemorySource, forget, hub
from connectors.testing import TEXT, FeedContract, PartSinkContract, SinkContract, SourceContract

NUMBER = count()


@pytest.fixture(autouse=True)
def _fresh_hubs(tmp_path):
    yield
    forget(str(tmp_path))


class TestMemorySource(SourceContract):
    name = "memory"

    def put(self, place, numbers, size=0):
        queue = hub(str(place)).queues.setdefault("q", [])
        queue.extend(orjson.dumps(self.payload(n, size)) for n in numbers)

    def source(self, place, *, small=False):
        return MemorySource(MemorySource.Settings(hub=str(place), item_payloads=3 if small else 1000))

    def spoil(self, place):
        hub(str(place)).queues["q"][5] = b"\xff"
        hub(str(place)).queues["q"].append(b"x" * ((64 << 20) + 1))

    def working_settings(self, place):
        return {"hub": str(place)}

    def broken_settings(self, place):
        return None


class TestMemoryFeed(FeedContract):
    name = "memory"

    def put(self, place, bodies, keys=()):
        named = keys or [f"m{next(NUMBER)}" for _ in bodies]
        hub(str(place)).put(Arrival(body, "q", key) for body, key in zip(bodies, named, strict=True))

    def feed(self, place):
        return MemoryFeed(MemoryFeed.Settings(hub=str(place)))

    def lose(self, place):
        hub(str(place)).lose()

    @contextmanager
    def away(self, place):
        hub(str(place)).reachable = False
        yield
        hub(str(place)).reachable = True

    def working_settings(self, place):
        return {"hub": str(place)}

    def broken_settings(self, place):
        return None

    def failing(self, place, mode, every=2):
        self.put(place, [self.body(n) for n in range(9)])
        return MemoryFeed(MemoryFeed.Settings(hub=str(place), mode=mode, every=every))

    def test_every_second_take_is_refused(self, place):
        feed = self.failing(place, "refuse")
        assert self.numbers(feed.take(2, 0)) == [0, 1]
        with pytest.raises(Unavailable):
            feed.take(2, 0)
        assert self.numbers(feed.take(2, 0)) == [2, 3]

    def test_every_second_take_stalls(self, place):
        feed = self.failing(place, "stall")
        assert [self.numbers(feed.take(2, 0)) for _ in range(3)] == [[0, 1], [], [2, 3]]

    def test_a_break_gives_back_what_was_taken(self, place):
        feed = self.failing(place, "break", every=3)
        feed.take(2, 0)
        feed.ack()
        feed.take(2, 0)
        with pytest.raises(Broken):
            feed.take(2, 0)
        assert self.numbers(self.feed(place).take(9, 0)) == list(range(2, 9))

    def test_two_feeds_share_what_arrives(self, place):
        self.put(place, [self.body(n) for n in range(6)])
        one, two = self.feed(place), self.feed(place)
        assert [self.numbers(one.take(2, 0)), self.numbers(two.take(3, 0))] == [[0, 1], [2, 3, 4]]
        one.close()
        assert self.numbers(two.take(9, 0)) == [0, 1, 5]


class TestMemorySink(SinkContract):
    name = "memory"

    def sink(self, place):
        return MemorySink(MemorySink.Settings(hub=str(place)))

    def tamper(self, place, delivery):
        kept = hub(str(place)).delivered
        before = kept[delivery.id]
        kept[delivery.id] = Delivery(
            before.id, "d", before.key, before.version, before.content, b"{}", before.batch, before.merged_into
        )

    def remove(self, place, delivery):
        del hub(str(place)).delivered[delivery.id]

    def no_room(self, place):
        return MemorySink(MemorySink.Settings(hub=str(place), capacity=50))

    def working_settings(self, place):
        return {"hub": str(place)}

    def broken_settings(self, place):
        return None

    @pytest.mark.parametrize(
        ("mode", "status"), [("refuse", "refused"), ("stall", "unavailable"), ("accept", "accepted")]
    )
    def test_every_third_fails_as_told(self, place, mode, status):
        sink = MemorySink(MemorySink.Settings(hub=str(place), mode=mode, every=3))
        found = self.statuses(sink, [self.delivery(n) for n in range(7)])
        assert found == ["accepted", "accepted", status, "accepted", "accepted", status, "accepted"]

    def test_only_what_matches_fails(self, place):
        sink = MemorySink(MemorySink.Settings(hub=str(place), mode="refuse", match="|2"))
        assert self.statuses(sink, [self.delivery(n) for n in (1, 2, 3)]) == ["accepted", "refused", "accepted"]

    def test_a_break_leaves_what_came_before(self, place):
        sink, given = MemorySink(MemorySink.Settings(hub=str(place), mode="break", every=4)), []
        given = [self.delivery(n) for n in range(10)]
        with pytest.raises(Broken):
            sink.write(given)
        assert sink.verify("b1") == self.tally(given[:3])
        assert self.statuses(self.sink(place), given) == ["accepted"] * 10


class TestMemoryPartSink(PartSinkContract):
    name = "memory-parts"

    def sink(self, place):
        return MemoryPartSink(MemoryPartSink.Settings(hub=str(place)))

    def record(self, number, size=0):
        return orjson.dumps({"n": number, "text": TEXT, "filler": "x" * size})

    def stands(self, place):
        return [*hub(str(place)).staged, *hub(str(place)).parts]

    def content(self, place, part):
        return [orjson.loads(one)["n"] for one in hub(str(place)).parts[part.final]]

    def tamper(self, place, part):
        hub(str(place)).parts[part.final][0] = b"{}"

    def remove(self, place, part):
        del hub(str(place)).parts[part.final]

    @contextmanager
    def no_room(self, place):
        yield MemoryPartSink(MemoryPartSink.Settings(hub=str(place), capacity=100))

    def working_settings(self, place):
        return {"hub": str(place)}

    def broken_settings(self, place):
        return None

    def test_a_break_ends_the_process(self, place):
        sink = MemoryPartSink(MemoryPartSink.Settings(hub=str(place), mode="break", match="广东"))
        self.part(sink, range(3), destination="京")
        with pytest.raises(Broken):
            self.part(sink, range(3), destination="广东")
