"""The memory connectors keep the contracts, and fail when they are told to."""

from __future__ import annotations

from contextlib import contextmanager

import orjson
import pytest

from connectors.contracts import Delivery
from connectors.memory import Broken, MemoryPartSink, MemorySink, MemorySource, forget, hub
from connectors.testing import TEXT, PartSinkContract, SinkContract, SourceContract


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
