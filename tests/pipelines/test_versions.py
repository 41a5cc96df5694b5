"""The version index against a dict, over any sequence of additions, look-ups, merges, sweeps and reopenings."""

# ruff: noqa: S311 - chance is seeded
from __future__ import annotations

import random
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from pipelines import tables, versionruns, versions
from pipelines.errors import NumbersUsedUp
from pipelines.state import State
from pipelines.versionruns import ENTRY, Run, merged, newest, write_run
from pipelines.versions import VersionIndex, key_bytes, key_halves, pack_intake, unpack_intake

TOP = (1 << 64) - 1
EDGES = (0, 1, (1 << 58) - 1, 1 << 58, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - (1 << 58), TOP - 1, TOP)


def entries(rows) -> np.ndarray:
    return np.array(rows, ENTRY)


def halves(keys):
    return np.array([k[0] for k in keys], np.uint64), np.array([k[1] for k in keys], np.uint64)


@contextmanager
def opened(folder):
    with State(folder, own=True) as state:
        yield state


class Model:
    """A state's index, and a dict that must know the same."""

    def __init__(self, state):
        self.state, self.known = state, {}

    def add(self, rows):
        with self.state.unit_of_work() as connection:
            self.state.versions.add(connection, entries(rows))
        self.known.update({row[:2]: row for row in rows})

    def check(self, keys):
        with self.state.reading() as connection:
            positions, found = self.state.versions.find(connection, *halves(keys))
        assert positions.tolist() == [i for i, key in enumerate(keys) if key in self.known]
        assert [tuple(e) for e in found.tolist()] == [self.known[key] for key in keys if key in self.known]

    def check_all(self, *more):
        self.check([*self.known, *more])


@pytest.fixture
def small(monkeypatch):
    """Regions, fronts and runs so small that a few keys cross all borders."""
    monkeypatch.setattr(versionruns, "_REGION", 4)
    monkeypatch.setattr(versions, "SMALL", 3)
    monkeypatch.setattr(versions, "FRONT_LIMIT", 7)


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_of_operations_agrees_with_a_dict(seed, tmp_path, small):
    rnd = random.Random(seed)
    keys = [(hi, lo) for hi in EDGES for lo in (0, 1, TOP)] + [
        (rnd.getrandbits(64), rnd.getrandbits(64)) for _ in range(60)
    ]
    state = State(tmp_path, own=True)
    model = Model(state)
    for step in range(60):
        what = rnd.randrange(8)
        if what <= 3:
            size = rnd.choice([0, 1, 2, 3, 4, 9, 30])
            model.add(
                [
                    (*rnd.choice(keys), rnd.getrandbits(64), step, rnd.randrange(1, 9), rnd.randrange(5))
                    for _ in range(size)
                ]
            )
        elif what == 4:
            state.merge_versions()
        elif what == 5:
            (state.path / "versions" / f"stray{step}.run.hi").write_bytes(b"left by a crash")
            with state.unit_of_work() as connection:
                assert state.versions.sweep(connection) == 1
        elif what == 6:
            state.close()
            state = model.state = State(tmp_path, own=True)
        else:
            model.check(rnd.sample(keys, rnd.randrange(len(keys))))
    model.check_all((5, 5))
    state.merge_versions()
    model.check_all((5, 5))
    with state.reading() as connection:
        assert state.versions.size(connection) >= len(model.known)
    state.close()


def test_equal_first_halves_are_told_apart_across_regions_and_merges(tmp_path, small):
    with opened(tmp_path) as state:
        model = Model(state)
        for start in range(0, 40, 10):
            model.add([(1 << 63, lo, lo, 1, 1, 0) for lo in range(start, start + 10)])
            model.check_all((1 << 63, 99), ((1 << 63) + 1, 0), ((1 << 63) - 1, 0))
        state.merge_versions()
        model.check_all((1 << 63, 99))
        assert len(list((tmp_path / "versions").iterdir())) == 1


def test_needles_may_repeat_and_come_in_any_order(tmp_path):
    with opened(tmp_path) as state:
        model = Model(state)
        model.add([(7, 7, 1, 1, 1, 0), (TOP, 3, 2, 2, 1, 0)])
        model.check([(TOP, 3), (7, 7), (8, 8), (7, 7), (TOP, 3)])
        model.check([])


def test_what_was_not_committed_is_not_known_and_its_file_is_swept(tmp_path):
    with opened(tmp_path) as state:
        model = Model(state)
        model.add([(1, 1, 1, 1, 1, 0)])
        many = [(n, n, n, 1, 1, 0) for n in range(5, 5 + versions.SMALL + 1)]
        for rows in (many, many[:3]):
            with pytest.raises(RuntimeError), state.unit_of_work() as connection:  # noqa: PT012 - it ends with the error
                state.versions.add(connection, entries(rows))
                raise RuntimeError
            model.check([(1, 1), (5, 5), (6, 6)])
        assert len(list((tmp_path / "versions").iterdir())) == 1  # a crash between file and commit leaves this
        with state.unit_of_work() as connection:
            assert state.versions.sweep(connection) == 1
            assert state.versions.size(connection) == 1
        model.check_all((5, 5))


def test_a_merge_that_is_not_committed_changes_nothing(tmp_path, small):
    with opened(tmp_path) as state:
        model = Model(state)
        for n in range(4):
            model.add([(n * 10 + i, i, i, n, 1, 0) for i in range(8)])
        with state.reading() as connection:
            runs = state.versions.mergeable(connection)
        assert len(runs) == 4
        with pytest.raises(RuntimeError), state.unit_of_work() as connection:  # noqa: PT012 - it ends with the error
            state.versions.merge(connection, runs)
            raise RuntimeError
        model.check_all((99, 99))
        with state.unit_of_work() as connection:
            assert state.versions.sweep(connection) == 1
        state.merge_versions()
        model.check_all((99, 99))
        assert len(list((tmp_path / "versions").iterdir())) == 1


def test_later_entries_win_through_front_runs_and_merges(tmp_path, small):
    key = (1 << 63, 1)
    with opened(tmp_path) as state:
        model = Model(state)
        for version in range(1, 30):
            filler = [(version * 100 + i, 0, 0, version, 1, 0) for i in range(version % 6)]
            model.add([*filler, (*key, version, version, version, version % 3)])
            model.check([key])
            state.merge_versions()
            model.check([key])
        model.check_all()


def test_the_number_of_runs_stays_small(tmp_path, small):
    with opened(tmp_path) as state:
        model = Model(state)
        for n in range(80):
            model.add([(random.Random(n * 10 + i).getrandbits(64), i, i, n, 1, 0) for i in range(10)])
            state.merge_versions()
            assert len(list((tmp_path / "versions").iterdir())) < 12
        model.check_all((3, 3))


def test_a_cut_run_is_an_error_and_never_a_wrong_answer(tmp_path):
    write_run(tmp_path / "a.run", entries([(n, n, n, n, 1, 0) for n in range(10)]))
    (tmp_path / "a.run").write_bytes((tmp_path / "a.run").read_bytes()[:50])
    with Run(tmp_path / "a.run", 10) as run, pytest.raises(OSError, match="cut"):
        list(run.find(*halves([(3, 3)])))


@given(st.lists(st.tuples(st.sampled_from(EDGES), st.integers(0, 2), st.integers(0, TOP)), max_size=40))
def test_newest_keeps_the_last_of_equal_keys(rows):
    kept = newest(entries([(hi, lo, content, 0, 1, 0) for hi, lo, content in rows]))
    assert {(int(e["hi"]), int(e["lo"])): int(e["content"]) for e in kept} == {r[:2]: r[2] for r in rows}
    assert len(kept) == len({r[:2] for r in rows})
    assert (np.diff(kept["hi"].astype(object)) >= 0).all()


def test_intake_numbers_compare_in_intake_order_and_fit_the_table(tmp_path):
    numbers = [pack_intake(*place) for place in ((0, 0), (1, 0), (1, 1), (1, (1 << 31) - 1), (2, 0))]
    older = [5 << 36 | 3 << 24 | 9, (1 << 26) - 1 << 36]
    assert [*older, *numbers] == sorted([*older, *numbers])
    assert [unpack_intake(number) for number in (*older[:1], *numbers[2:4])] == [
        (5, 3, 9), (1, None, 1), (1, None, (1 << 31) - 1),
    ]  # fmt: skip
    largest = pack_intake((1 << 31) - 1, (1 << 31) - 1)
    for batch, place in ((1 << 31, 0), (0, 1 << 31), (-1, 0)):
        with pytest.raises(NumbersUsedUp):
            pack_intake(batch, place)
    with opened(tmp_path) as state:
        Model(state).add([(1, 1, TOP, largest, (1 << 31) - 1, 0)])
        with state.reading() as connection:
            _, found = state.versions.find(connection, *halves([(1, 1)]))
    assert found[0].item() == (1, 1, TOP, largest, (1 << 31) - 1, 0)


@given(st.integers(0, TOP), st.integers(0, TOP))
def test_keys_are_their_halves(hi, lo):
    assert key_halves(key_bytes(hi, lo)) == (hi, lo)


def uniform(count, seed):
    made = np.zeros(count, ENTRY)
    chance = np.random.default_rng(seed)
    for name in ("hi", "lo", "content"):
        made[name] = chance.integers(0, TOP, count, np.uint64, endpoint=True)
    return newest(made)


def test_looking_up_and_merging_keep_little_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(versionruns, "_REGION", 1 << 13)
    folder = tmp_path / "versions"
    with opened(tmp_path) as state:
        index: VersionIndex = state.versions
        pieces = [uniform(500_000, seed) for seed in range(3)]
        for n, piece in enumerate(pieces):
            write_run(folder / f"{n}.run", piece)
            with state.unit_of_work() as connection:
                connection.execute(insert(tables.version_runs), {"name": f"{n}.run", "rows": len(piece)})
        wanted = np.concatenate([piece[::50] for piece in pieces])
        del pieces
        tracemalloc.start()
        with state.unit_of_work() as connection:
            positions, found = index.find(connection, wanted["hi"], wanted["lo"])
            assert len(positions) == len(wanted)
            assert (found == wanted).all()
            index.drop(index.merge(connection, [(f"{n}.run", 500_000) for n in range(3)]))
            positions, found = index.find(connection, wanted["hi"], wanted["lo"])
        assert (found == wanted).all()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 15_000_000  # the index has 60 MB


def test_runs_merge_in_key_order_whatever_their_sizes(tmp_path):
    pieces = [uniform(70_000, 1), uniform(200_000, 2), uniform(5, 3)]
    runs = []
    for n, piece in enumerate(pieces):
        write_run(tmp_path / f"{n}.run", piece)
        runs.append(Run(tmp_path / f"{n}.run", len(piece)))
    together = np.concatenate(list(merged(runs)))
    assert (together == newest(np.concatenate(pieces))).all()
    for run in runs:
        run.__exit__()
