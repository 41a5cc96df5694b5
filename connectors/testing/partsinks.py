"""What a sink of whole parts must do."""
# ruff: noqa: S101, D102 - a suite is made of assertions, and a test's name says what it shows

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from connectors import registry
from connectors.contracts import (
    ConnectorError,
    PartSink,
    StagedPart,
    Tally,
    Unavailable,
    tallies,
)
from connectors.testing.common import Contract, copy


class PartSinkContract(Contract):
    """What a sink of whole parts must do.

    Hooks: `name`, `sink`, `working_settings`, `broken_settings`, `record`, `stands`, `content`, `tamper`, `remove`,
    `no_room`.
    """

    kind: registry.Kind = "sink"

    def sink(self, place: Path) -> Any:  # noqa: ANN401 - any part sink
        """A connector that writes to the place; a second one reaches the same parts."""
        raise NotImplementedError

    def record(self, number: int, size: int = 0) -> bytes:
        """An encoded record, with `TEXT` and `size` more characters."""
        raise NotImplementedError

    def stands(self, place: Path) -> list[str]:
        """Names of all that stands at the place, staged or final."""
        raise NotImplementedError

    def content(self, place: Path, part: StagedPart) -> list[int]:
        """Numbers of a final part's records, decoded."""
        raise NotImplementedError

    def tamper(self, place: Path, part: StagedPart) -> None:
        """Change a final part by hand."""
        raise NotImplementedError

    def remove(self, place: Path, part: StagedPart) -> None:
        """Delete a final part by hand."""
        raise NotImplementedError

    def no_room(self, place: Path) -> AbstractContextManager[Any]:
        """While it lasts, a connector (its value) that has no room for 200 records of 5,000 random characters."""
        raise NotImplementedError

    def part(self, sink: PartSink, numbers: Sequence[int], destination: str = "d", batch: str = "b1") -> StagedPart:
        """A staged part."""
        writer = sink.open(destination, batch, "i1")
        writer.add([self.record(n) for n in numbers])
        return writer.close()

    @staticmethod
    def tally(parts: Sequence[StagedPart]) -> Tally:
        """What verify must find."""
        return Tally(sum(one.count for one in parts), sum(int(one.sha256[:16], 16) for one in parts) % 2**64)

    def test_it_is_a_part_sink(self, place: Path) -> None:
        assert isinstance(self.sink(place), PartSink)

    def test_a_staged_part_is_not_there_yet(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(10))
        assert part.temporary != part.final
        assert not part.temporary.endswith(Path(part.final).suffix or "final")
        assert (part.destination, part.count) == ("d", 10)
        assert sink.verify("b1") == Tally(0, 0)

    def test_a_promoted_part_stands(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(10))
        sink.promote([part])
        assert self.stands(place) == [part.final]
        assert sink.verify("b1") == self.tally([part])

    def test_records_come_back_in_order(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(500))
        sink.promote([part])
        assert self.content(place, part) == list(range(500))

    def test_promoting_twice_changes_nothing(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(10))
        sink.promote([part])
        self.sink(place).promote([part, part])
        assert sink.verify("b1") == self.tally([part])

    def test_a_crash_between_two_promotions_is_made_good(self, place: Path) -> None:
        sink = self.sink(place)
        parts = [self.part(sink, range(n), destination=f"d{n}") for n in (3, 4, 5)]
        sink.promote(parts[:1])
        self.sink(place).promote(parts)
        assert sink.verify("b1") == self.tally(parts)

    def test_promoting_nothing_is_fine(self, place: Path) -> None:
        self.sink(place).promote([])
        assert self.sink(place).verify("b1") == Tally(0, 0)

    def test_a_lost_part_is_named(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(10))
        sink.sweep([])
        with pytest.raises(ConnectorError) as caught:
            sink.promote([part])
        assert part.final in caught.value.message
        assert caught.value.remedy

    def test_another_content_under_the_final_name_is_no_success(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(10))
        sink.promote([part])
        self.tamper(place, part)
        with pytest.raises(ConnectorError):
            sink.promote([part])

    def test_every_attempt_gives_the_same_bytes_under_another_name(self, place: Path) -> None:
        first, second = self.part(self.sink(place), range(900)), self.part(self.sink(place), range(900))
        assert first.temporary != second.temporary
        assert first[2:] == second[2:]

    @pytest.mark.parametrize("step", [1, 7, 899])
    def test_how_records_are_handed_in_does_not_matter(self, place: Path, step: int) -> None:
        sink = self.sink(place)
        writer = sink.open("d", "b1", "i1")
        for at in range(0, 900, step):
            writer.add([self.record(n, 200) for n in range(at, min(at + step, 900))])
        whole = sink.open("d", "b1", "i1")
        whole.add([self.record(n, 200) for n in range(900)])
        assert writer.close().sha256 == whole.close().sha256

    def test_sweeping_keeps_what_receipts_name(self, place: Path) -> None:
        sink = self.sink(place)
        kept, gone = self.part(sink, range(5)), self.part(sink, range(5))
        assert self.sink(place).sweep([kept.temporary]) == 1
        assert self.stands(place) == [kept.temporary]
        assert gone.temporary != kept.temporary
        sink.promote([kept])
        assert sink.sweep([]) == 0
        assert sink.verify("b1") == self.tally([kept])

    def test_sweeping_an_empty_place_is_fine(self, place: Path) -> None:
        assert self.sink(place).sweep([]) == 0

    def test_aborting_leaves_nothing(self, place: Path) -> None:
        writer = self.sink(place).open("d", "b1", "i1")
        writer.add([self.record(n, 400) for n in range(3000)])
        writer.abort()
        writer.abort()
        assert self.stands(place) == []

    def test_a_writer_that_dies_leaves_only_what_is_swept(self, place: Path) -> None:
        sink = self.sink(place)
        writer = sink.open("d", "b1", "i1")
        writer.add([self.record(n, 400) for n in range(3000)])
        again = self.part(self.sink(place), range(10))
        sink.promote([again])
        sink.sweep([])
        assert self.stands(place) == [again.final]
        writer.abort()

    def test_an_empty_part_is_a_part(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, [])
        sink.promote([part])
        assert part.count == 0
        assert self.content(place, part) == []
        assert sink.verify("b1") == self.tally([part])

    def test_many_records(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(20_000))
        sink.promote([part])
        assert self.content(place, part) == list(range(20_000))
        assert sink.verify("b1").count == 20_000

    def test_a_huge_record(self, place: Path) -> None:
        sink = self.sink(place)
        writer = sink.open("d", "b1", "i1")
        writer.add([self.record(1), self.record(2, 2 << 20), self.record(3)])
        part = writer.close()
        sink.promote([part])
        assert self.content(place, part) == [1, 2, 3]

    def test_batches_are_told_apart(self, place: Path) -> None:
        sink = self.sink(place)
        for batch, count in (("b1", 1), ("b-1", 2), ("b--1", 3), ("b", 4), ("1-b", 5), ("批/次", 6)):
            sink.promote([self.part(sink, range(count), batch=batch)])
        counts = [sink.verify(batch).count for batch in ("b1", "b-1", "b--1", "b", "1-b", "批/次", "-1", "")]
        assert counts == [1, 2, 3, 4, 5, 6, 0, 0]
        asked = ("b1", "b--1", "批/次", "none")
        assert tallies(sink, asked) == {batch: sink.verify(batch) for batch in asked}

    @pytest.mark.parametrize("destination", ["广东", "a/b", "../up", "a--b", "-", ".hidden", "%2F", "x" * 100])
    def test_any_destination_name_is_safe(self, place: Path, destination: str) -> None:
        sink = self.sink(place)
        part, other = self.part(sink, range(3), destination=destination), self.part(sink, range(4), destination="d")
        sink.promote([part, other])
        assert part.final != other.final
        assert sorted(self.stands(place)) == sorted([part.final, other.final])
        assert sink.verify("b1") == self.tally([part, other])

    def test_a_change_by_hand_is_found(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(100))
        sink.promote([part])
        self.tamper(place, part)
        assert sink.verify("b1") != self.tally([part])

    def test_a_loss_is_found(self, place: Path) -> None:
        sink = self.sink(place)
        parts = [self.part(sink, range(n), destination=f"d{n}") for n in (3, 4)]
        sink.promote(parts)
        self.remove(place, parts[0])
        assert sink.verify("b1") == self.tally(parts[1:])

    def test_without_room_nothing_is_left_and_it_works_later(self, place: Path) -> None:
        with self.no_room(place) as full:
            writer = full.open("d", "b1", "i1")
            with pytest.raises(Unavailable) as caught:  # noqa: PT012 - which call finds out is the sink's affair
                for n in range(200):
                    writer.add([self.record(n, 5000)])
                writer.close()
        assert caught.value.remedy
        assert self.stands(place) == []
        sink = self.sink(place)
        part = self.part(sink, range(10))
        sink.promote([part])
        assert sink.verify("b1") == self.tally([part])

    def test_writers_side_by_side_do_not_meet(self, place: Path) -> None:
        sink = self.sink(place)
        one, two = sink.open("d", "b1", "i1"), sink.open("d", "b1", "i1")
        one.add([self.record(1)])
        two.add([self.record(2), self.record(3)])
        first, second = one.close(), two.close()
        sink.promote([second])
        assert self.content(place, second) == [2, 3]
        assert sink.sweep([]) == 1
        assert first.count == 1

    def test_it_can_be_pickled_after_use(self, place: Path) -> None:
        sink = self.sink(place)
        part = self.part(sink, range(10))
        copy(sink).promote([copy(part)])
        assert copy(sink).verify("b1") == self.tally([part])
