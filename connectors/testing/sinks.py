"""What a sink of single deliveries must do."""
# ruff: noqa: S101, D102 - a suite is made of assertions, and a test's name says what it shows

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors import registry
from connectors.contracts import (
    ACCEPTED,
    DUPLICATE,
    REFUSED,
    UNAVAILABLE,
    Delivery,
    Lists,
    Sink,
    Tally,
    Unverifiable,
    fingerprint,
    tallies,
)
from connectors.testing.common import TEXT, Contract, copy


class SinkContract(Contract):
    """What a sink of single deliveries must do.

    Hooks: `name`, `sink`, `working_settings`, `broken_settings`, `tamper`, `remove`, `no_room`, `unmappable`; for a
    sink that cannot read again what it gave away, `remembers` and `stands` too.
    """

    kind: registry.Kind = "sink"
    remembers = True
    """Whether the destination tells duplicates and conflicts from what is new. One that does not gets a delivery twice
    when it is written twice; its readers tell by the id."""

    def sink(self, place: Path) -> Any:  # noqa: ANN401 - any sink
        """A connector that writes to the place; a second one reaches the same store."""
        raise NotImplementedError

    def tamper(self, place: Path, delivery: Delivery) -> None:
        """Change what stands of a delivery by hand."""
        raise NotImplementedError

    def remove(self, place: Path, delivery: Delivery) -> None:
        """Delete a delivery by hand."""
        raise NotImplementedError

    def no_room(self, place: Path) -> Any:  # noqa: ANN401 - any sink
        """A connector on the same store that has no room for 500 bodies of 2 KB; the store exists already."""
        raise NotImplementedError

    def stands(self, place: Path, sink: Sink, batch: str) -> Tally:
        """What stands at the destination for a batch, each delivery counted once; here: what the sink itself says."""
        return sink.verify(batch)

    def unmappable(self) -> bytes | None:
        """A body that this destination cannot take; None if it takes any bytes."""
        return None

    def body(self, number: int, size: int = 0) -> bytes:
        """A body that the destination takes."""
        return orjson.dumps({"n": number, "text": TEXT, "filler": "x" * size})

    def delivery(
        self, number: int, version: int = 1, batch: str = "b1", content: int = 0, size: int = 0, merged: str = ""
    ) -> Delivery:
        """A delivery of record `number`; another `content` makes another body and id."""
        body = self.body(number + 1_000_000 * content, size)
        key, digest = f"系统|{number}|", sha256(body).hexdigest()
        identity = sha256(f"{key}|{version}|{digest}".encode()).hexdigest()
        return Delivery(identity, "d", key, version, digest, body, batch, merged)

    @staticmethod
    def tally(deliveries: Sequence[Delivery]) -> Tally:
        """What verify must find."""
        return Tally(len(deliveries), sum(map(fingerprint, deliveries)) % 2**64)

    @staticmethod
    def statuses(sink: Sink, deliveries: Sequence[Delivery]) -> list[str]:
        """Write and give the statuses."""
        return [one.status for one in sink.write(deliveries)]

    def test_it_is_a_sink(self, place: Path) -> None:
        assert isinstance(self.sink(place), Sink)

    def test_nothing_to_write_has_no_outcome(self, place: Path) -> None:
        assert self.sink(place).write([]) == []

    def test_one_outcome_each_and_all_stand(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(n) for n in range(700)]
        assert self.statuses(sink, given) == [ACCEPTED] * 700
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_the_same_batch_again_is_accepted_and_doubles_nothing(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(n) for n in range(20)]
        sink.write(given)
        assert self.statuses(sink, given) == [ACCEPTED] * 20
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_another_batch_is_a_duplicate(self, place: Path) -> None:
        if not self.remembers:
            pytest.skip("this destination does not remember what it took")
        sink = self.sink(place)
        sink.write([self.delivery(1), self.delivery(2)])
        assert self.statuses(sink, [self.delivery(2, batch="b2"), self.delivery(3, batch="b2")]) == [
            DUPLICATE,
            ACCEPTED,
        ]
        assert self.stands(place, sink, "b2") == self.tally([self.delivery(3, batch="b2")])

    def test_who_can_be_asked_tells_what_stands(self, place: Path) -> None:
        sink = self.sink(place)
        can = isinstance(sink, Lists)
        if not can or getattr(sink.settings, "held", True) is None:
            pytest.skip("this destination cannot be asked for its records")
        given = [self.delivery(9_000 + n, batch="b1" if n < 7 else "b2") for n in range(8)]
        sink.write(given)
        assert self.told(sink) >= {(one.key, one.content) for one in given}
        self.remove(place, given[3])
        told = self.told(sink)
        assert (given[3].key, given[3].content) not in told
        assert told >= {(one.key, one.content) for one in given if one is not given[3]}

    @staticmethod
    def told(sink: Any) -> set[tuple[str, str]]:  # noqa: ANN401 - any sink
        """Keys and contents that a sink tells of two batches."""
        return {(one.key, one.content) for one in sink.held(datetime(2020, 1, 1, tzinfo=UTC), ["b1", "b2"])}

    def test_many_batches_are_told_apart_in_one_go(self, place: Path) -> None:
        sink = self.sink(place)
        try:
            given = {f"b{n}": [self.delivery(10 * n + m, batch=f"b{n}") for m in range(n)] for n in range(4)}
            for one in given.values():
                sink.write(one)
            asked = [*given, "none", "b2"]
            assert tallies(sink, asked) == {batch: sink.verify(batch) for batch in asked}
        except Unverifiable:
            pytest.skip("this destination cannot be read again")

    def test_twice_in_one_call_stands_once(self, place: Path) -> None:
        sink = self.sink(place)
        assert self.statuses(sink, [self.delivery(1), self.delivery(1)]) == [ACCEPTED, ACCEPTED]
        assert self.stands(place, sink, "b1").count == 1

    def test_a_crash_in_mid_batch_is_made_good(self, place: Path) -> None:
        given = [self.delivery(n) for n in range(50)]
        self.sink(place).write(given[:23])
        sink = self.sink(place)
        assert self.statuses(sink, given) == [ACCEPTED] * 50
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_a_version_with_another_content_is_refused_alone(self, place: Path) -> None:
        if not self.remembers:
            pytest.skip("this destination does not remember what it took")
        sink = self.sink(place)
        sink.write([self.delivery(1)])
        outcomes = sink.write([self.delivery(0), self.delivery(1, content=1), self.delivery(2)])
        assert [one.status for one in outcomes] == [ACCEPTED, REFUSED, ACCEPTED]
        assert "VERSION_CONFLICT" in outcomes[1].reason
        assert self.stands(place, sink, "b1") == self.tally([self.delivery(n) for n in (0, 1, 2)])

    def test_newer_versions_are_accepted(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(1, version=v, content=v) for v in (1, 2, 3)]
        assert self.statuses(sink, given[:2]) == [ACCEPTED] * 2
        assert self.statuses(sink, given[2:]) == [ACCEPTED]
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_an_older_version_that_comes_late_is_accepted(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(1, version=v, content=v) for v in (3, 1, 2)]
        assert self.statuses(sink, given[:1]) == [ACCEPTED]
        assert self.statuses(sink, given[1:]) == [ACCEPTED] * 2
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_there_and_back_again_is_three_versions(self, place: Path) -> None:
        sink = self.sink(place)
        given = [self.delivery(1, version=v, content=c) for v, c in ((1, 0), (2, 1), (3, 0))]
        assert self.statuses(sink, given) == [ACCEPTED] * 3
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_what_cannot_be_taken_is_refused_alone(self, place: Path) -> None:
        body = self.unmappable()
        if body is None:
            pytest.skip("this destination takes any bytes")
        sink, good = self.sink(place), [self.delivery(1), self.delivery(2)]
        bad = Delivery("0" * 64, "d", "k", 1, "c", body, "b1")
        outcomes = sink.write([good[0], bad, good[1]])
        assert [one.status for one in outcomes] == [ACCEPTED, REFUSED, ACCEPTED]
        assert outcomes[1].reason
        assert self.stands(place, sink, "b1") == self.tally(good)

    def test_batches_are_told_apart(self, place: Path) -> None:
        sink = self.sink(place)
        sink.write([self.delivery(1, batch="b1")])
        sink.write([self.delivery(2, batch="b10"), self.delivery(3, batch="b10")])
        assert [self.stands(place, sink, batch).count for batch in ("b1", "b10", "b", "")] == [1, 2, 0, 0]

    def test_batches_in_one_call_are_told_apart(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(n, batch=f"b{n % 2}") for n in range(6)]
        assert self.statuses(sink, given) == [ACCEPTED] * 6
        for batch in ("b0", "b1"):
            assert self.stands(place, sink, batch) == self.tally([one for one in given if one.batch == batch])

    def test_a_batch_that_never_was_is_nothing(self, place: Path) -> None:
        assert self.stands(place, self.sink(place), "none") == Tally(0, 0)

    def test_a_merged_record_keeps_into_which(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(1, merged="系统|2"), self.delivery(2)]
        sink.write(given)
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_a_huge_body_is_taken(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(1, size=2 << 20)]
        assert self.statuses(sink, given) == [ACCEPTED]
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_a_huge_batch_is_taken(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(n) for n in range(5000)]
        assert set(self.statuses(sink, given)) == {ACCEPTED}
        assert self.stands(place, sink, "b1") == self.tally(given)

    def test_a_change_by_hand_is_found(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(n) for n in range(10)]
        sink.write(given)
        self.tamper(place, given[4])
        assert self.stands(place, sink, "b1") != self.tally(given)

    def test_a_loss_is_found(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(n) for n in range(10)]
        sink.write(given)
        self.remove(place, given[4])
        assert self.stands(place, sink, "b1").count == 9

    def test_without_room_all_is_unavailable_or_stands(self, place: Path) -> None:
        first = [self.delivery(n) for n in range(5)]
        self.sink(place).write(first)
        given = [self.delivery(n, batch="b2", size=2000) for n in range(100, 600)]
        full = self.no_room(place)
        outcomes = full.write(given)
        full.close()
        assert len(outcomes) == 500
        assert UNAVAILABLE in {one.status for one in outcomes}
        assert all(one.reason for one in outcomes if one.status == UNAVAILABLE)
        stands = [one for one, outcome in zip(given, outcomes, strict=True) if outcome.status == ACCEPTED]
        sink = self.sink(place)
        assert self.stands(place, sink, "b2") == self.tally(stands)
        assert self.stands(place, sink, "b1") == self.tally(first)
        assert self.statuses(sink, given) == [ACCEPTED] * 500
        assert self.stands(place, sink, "b2") == self.tally(given)

    def test_it_can_be_pickled_after_use(self, place: Path) -> None:
        sink, given = self.sink(place), [self.delivery(1)]
        sink.write(given)
        assert self.stands(place, copy(sink), "b1") == self.tally(given)

    def test_closing_is_idempotent(self, place: Path) -> None:
        sink = self.sink(place)
        sink.write([self.delivery(1)])
        sink.close()
        sink.close()
        assert self.stands(place, self.sink(place), "b1").count == 1

    def test_reasons_hold_no_body(self, place: Path) -> None:
        sink = self.sink(place)
        sink.write([self.delivery(1)])
        outcomes = sink.write([self.delivery(1, content=1)])
        assert TEXT not in outcomes[0].reason

    def test_writers_side_by_side_take_turns(self, place: Path) -> None:
        self.sink(place).write([])
        groups = [[self.delivery(n, batch=f"t{t}") for n in range(t * 100, t * 100 + 60)] for t in range(3)]
        statuses: list[str] = []

        def work(group: list[Delivery]) -> None:
            sink = self.sink(place)
            for at in range(0, 60, 20):
                statuses.extend(self.statuses(sink, group[at : at + 20]))
            sink.close()

        threads = [threading.Thread(target=work, args=(group,)) for group in groups]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert statuses == [ACCEPTED] * 180
        assert [self.stands(place, self.sink(place), f"t{t}") for t in range(3)] == [
            self.tally(group) for group in groups
        ]
