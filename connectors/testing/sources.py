"""What a source must do."""
# ruff: noqa: S101, D102 - a suite is made of assertions, and a test's name says what it shows

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.contracts import (
    ConnectorError,
    Source,
    WorkItem,
)
from connectors.testing.common import TEXT, Contract, copy


class SourceContract(Contract):
    """What a source must do. Hooks: `name`, `put`, `source`, `working_settings`, `broken_settings`, `spoil`."""

    def put(self, place: Path, numbers: Sequence[int], size: int = 0) -> None:
        """Let envelopes arrive, after those that are there: JSON objects with `n`, `text` and `filler` of `size`."""
        raise NotImplementedError

    def source(self, place: Path, *, small: bool = False) -> Any:  # noqa: ANN401 - any source
        """A connector that reads them; with `small`, in items as small as it can."""
        raise NotImplementedError

    def spoil(self, place: Path) -> None:
        """Damage what was put, so that some of it cannot be read any more."""
        raise NotImplementedError

    @staticmethod
    def payload(number: int, size: int = 0) -> dict[str, Any]:
        """The members of an envelope."""
        return {"n": number, "text": TEXT, "filler": "x" * size}

    @staticmethod
    def numbers(source: Source, items: Sequence[WorkItem], block: int = 512) -> list[int]:
        """The numbers that are read, in order."""
        blocks = [one for item in items for one in source.read(item, block)]
        assert [one.problems for one in blocks if one.problems] == []
        return [orjson.loads(body)["n"] for one in blocks for body in one.bodies]

    @staticmethod
    def keys(source: Source, items: Sequence[WorkItem]) -> list[tuple[str, int]]:
        """The keys that the gateway makes of what is read."""
        return [(item.digest, offset) for item in items for one in source.read(item) for offset in one.offsets]

    @staticmethod
    def done(source: Source, items: Sequence[WorkItem]) -> dict[str, str]:
        """The marks that a gateway keeps once the items are committed."""
        return {path: source.mark(path) for path in {item.source for item in items}}

    def test_it_is_a_source(self, place: Path) -> None:
        self.put(place, [1])
        assert isinstance(self.source(place), Source)

    def test_all_envelopes_come_in_order(self, place: Path) -> None:
        self.put(place, range(1300))
        source = self.source(place)
        assert self.numbers(source, list(source.plan({}))) == list(range(1300))

    def test_text_comes_as_it_was(self, place: Path) -> None:
        self.put(place, [7])
        source = self.source(place)
        bodies = [body for item in source.plan({}) for one in source.read(item) for body in one.bodies]
        assert [orjson.loads(body)["text"] for body in bodies] == [TEXT]

    def test_planning_twice_gives_the_same_items(self, place: Path) -> None:
        self.put(place, range(50))
        source = self.source(place, small=True)
        assert list(source.plan({})) == list(source.plan({}))

    def test_items_are_small_values(self, place: Path) -> None:
        self.put(place, range(50))
        for item in self.source(place, small=True).plan({}):
            assert copy(item) == item
            assert WorkItem(**orjson.loads(orjson.dumps(asdict(item)))) == item
            assert len(pickle.dumps(item)) < 2000

    def test_an_item_means_the_same_elsewhere(self, place: Path) -> None:
        self.put(place, range(100))
        source = self.source(place, small=True)
        items = [WorkItem(**orjson.loads(orjson.dumps(asdict(item)))) for item in source.plan({})]
        assert self.numbers(self.source(place, small=True), items) == list(range(100))

    def test_small_items_in_any_order_give_each_envelope_once(self, place: Path) -> None:
        self.put(place, range(200))
        source = self.source(place, small=True)
        items = list(source.plan({}))
        assert sorted(self.numbers(source, items[::-1])) == list(range(200))

    @pytest.mark.parametrize("block", [1, 7, 512])
    def test_blocks_are_bounded(self, place: Path, block: int) -> None:
        self.put(place, range(40))
        source = self.source(place)
        items = list(source.plan({}))
        blocks = [one for item in items for one in source.read(item, block)]
        assert all(len(one.bodies) == len(one.offsets) <= block for one in blocks)
        assert self.numbers(source, items, block) == list(range(40))

    def test_keys_are_unique_and_offsets_rise(self, place: Path) -> None:
        self.put(place, range(100))
        source = self.source(place, small=True)
        for item in source.plan({}):
            offsets = [offset for one in source.read(item) for offset in one.offsets]
            assert offsets == sorted(offsets)
        keys = self.keys(source, list(source.plan({})))
        assert len(set(keys)) == len(keys) == 100

    def test_keys_are_the_same_in_every_run_and_cut(self, place: Path) -> None:
        self.put(place, range(100))
        once, again = self.source(place), self.source(place, small=True)
        assert self.keys(once, list(once.plan({}))) == self.keys(again, list(again.plan({})))

    def test_a_reader_that_dies_midway_loses_nothing(self, place: Path) -> None:
        self.put(place, range(60))
        source = self.source(place)
        first = next(iter(source.plan({})))
        reading = iter(source.read(first, 10))
        next(reading)
        del reading
        assert self.numbers(self.source(place), [*source.plan({})]) == list(range(60))

    def test_equal_payloads_are_envelopes_of_their_own(self, place: Path) -> None:
        self.put(place, [5, 5, 5])
        source = self.source(place)
        items = list(source.plan({}))
        assert self.numbers(source, items) == [5, 5, 5]
        assert len(set(self.keys(source, items))) == 3

    def test_what_is_done_is_not_planned_again(self, place: Path) -> None:
        self.put(place, range(20))
        source = self.source(place)
        done = self.done(source, list(source.plan({})))
        assert list(self.source(place).plan(done)) == []

    def test_what_comes_later_is_planned(self, place: Path) -> None:
        self.put(place, range(20))
        source = self.source(place)
        done = self.done(source, list(source.plan({})))
        self.put(place, range(20, 30))
        later = self.source(place)
        assert set(range(20, 30)) <= set(self.numbers(later, list(later.plan(done))))

    def test_the_mark_is_that_of_planning(self, place: Path) -> None:
        self.put(place, range(20))
        source = self.source(place)
        items = list(source.plan({}))
        self.put(place, range(20, 30))
        done = self.done(source, items)
        assert done == {item.source: item.extra["mark"] for item in items}
        later = self.source(place)
        assert set(range(20, 30)) <= set(self.numbers(later, list(later.plan(done))))

    def test_finish_is_idempotent_and_final(self, place: Path) -> None:
        self.put(place, range(20))
        source = self.source(place)
        done = self.done(source, list(source.plan({})))
        source.finish(list(done))
        source.finish(list(done))
        assert list(self.source(place).plan(done)) == []

    def test_nothing_there_is_nothing_to_do(self, place: Path) -> None:
        self.put(place, [])
        source = self.source(place)
        assert self.numbers(source, list(source.plan({}))) == []
        assert source.check()

    def test_a_huge_payload_comes_whole(self, place: Path) -> None:
        self.put(place, [1])
        self.put(place, [2], size=3 << 20)
        source = self.source(place)
        bodies = [orjson.loads(x) for item in source.plan({}) for one in source.read(item) for x in one.bodies]
        assert [(one["n"], len(one["filler"])) for one in bodies] == [(1, 0), (2, 3 << 20)]

    def test_many_come_all(self, place: Path) -> None:
        self.put(place, range(12_000))
        source = self.source(place)
        assert self.numbers(source, list(source.plan({}))) == list(range(12_000))

    def test_the_unreadable_is_a_problem_or_a_clear_error(self, place: Path) -> None:
        self.put(place, range(300))
        source = self.source(place)
        items = list(source.plan({}))
        self.spoil(place)
        for again in (items, None):
            try:
                blocks = [one for item in again or self.source(place).plan({}) for one in source.read(item)]
            except ConnectorError as error:
                assert error.remedy  # noqa: PT017 - either of two ends is right
            else:
                problems = [one for block in blocks for one in block.problems]
                assert problems
                assert all(reason and isinstance(body, bytes) for _, body, reason in problems)

    def test_it_can_be_pickled_after_planning(self, place: Path) -> None:
        self.put(place, range(30))
        source = self.source(place)
        items = list(source.plan({}))
        assert self.numbers(copy(source), items) == list(range(30))
