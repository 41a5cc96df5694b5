"""Versions, duplicates and destinations against a plain model, over random sequences of batches."""

# ruff: noqa: S311 - chance is seeded
from __future__ import annotations

import random

import numpy as np
import pytest

from pipelines.deciding import Item, Rule, apply, decide
from pipelines.journal import ADDRESSED, DEAD, DUPLICATE, FILTERED, LINE, SUPERSEDED, UNPLACED, Interned, Journal
from pipelines.state import State
from pipelines.versions import pack_intake

PLACES = ("province-31", "province-44", "ministry")


def book(records):
    """A journal of (key, content, routes, version); a key of None is a line without a record.

    No routes is unplaced, routes of None are a record that is filtered.
    """
    lines, routes = np.zeros(len(records), LINE), Interned()
    for i, (key, content, wanted, version) in enumerate(records):
        fate = DEAD if key is None else FILTERED if wanted is None else ADDRESSED if wanted else UNPLACED
        hi, lo = key or (0, 0)
        lines[i] = (i, i * 10, fate, hi, lo, content, 0, version, routes[tuple(wanted or ()) if key else ()], 0)
    return Journal(lines, routes.table)


class Gateway:
    """Batches decided and committed one after the other, as the coordinator does it."""

    def __init__(self, state, *, carried=False):
        self.state, self.carried, self.number = state, carried, 0

    def batch(self, *items, intakes=None, also_held=None):
        """What became of each record: (fate, version, destinations)."""
        self.number += 1
        given = [Item(n, book(records), (intakes or {}).get(n, {})) for n, records in enumerate(items)]
        rule = Rule(self.number, self.carried, also_held or {})
        with self.state.unit_of_work() as connection:
            decided = decide(connection, self.state, given, rule)
        for item in given:
            apply(item, decided.directives.get(item.number, {}))
        with self.state.unit_of_work() as connection:
            self.state.versions.add(connection, decided.entries)
        return [
            [(int(x["fate"]), int(x["version"]), item.journal.routes[int(x["routes"])]) for x in item.journal.lines]
            for item in given
        ]


@pytest.fixture
def state(tmp_path):
    with State(tmp_path, own=True) as made:
        yield made


class Model:
    """The rule in its plainest form: one record after the other."""

    def __init__(self, *, carried=False):
        self.carried, self.known = carried, {}

    def take(self, key, content, routes, version):
        if key is None:
            return DEAD, version, ()
        known = self.known.get(key)
        if routes is None:
            return self.filter(key, content, version)
        if known is None:
            self.known[key] = [content, version, set(routes)]
            return (ADDRESSED if routes else UNPLACED), version, tuple(routes)
        old, newest, held = known
        new = tuple(r for r in routes if r not in held)
        if content == old and (version == newest or not self.carried):
            held |= set(new)
            return (ADDRESSED if new else DUPLICATE), newest, new
        number = version if self.carried else newest + 1
        if number > newest:
            wanted = tuple(dict.fromkeys((*routes, *sorted(held))))
            self.known[key] = [content, number, held | set(wanted)]
        else:  # an older version, or another content under the same number: it goes where its routes say
            wanted = tuple(routes)
            self.known[key] = [content if number == newest else old, newest, held | set(wanted)]
        return (ADDRESSED if wanted else UNPLACED), number, wanted

    def filter(self, key, content, version):
        """A filtered record is nothing new, unless it corrects one that is known: then its holders hear of it."""
        old, newest, held = self.known.get(key, (content, version, set()))
        number = version if self.carried else newest + 1
        if key not in self.known or number <= newest or (content == old and not self.carried):
            return FILTERED, version, ()
        self.known[key] = [content, number, held]
        return (ADDRESSED if held else FILTERED), number, tuple(sorted(held))


@pytest.mark.parametrize("carried", [False, True], ids=["assign", "carried"])
@pytest.mark.parametrize("seed", range(10))
def test_any_sequence_of_batches_agrees_with_the_model(seed, carried, tmp_path):
    rnd = random.Random(seed)
    keys = [None, *[(rnd.getrandbits(64), rnd.getrandbits(64)) for _ in range(6)], (1 << 63, 1), (1 << 63, 2)]
    with State(tmp_path, own=True) as state:
        gateway, model = Gateway(state, carried=carried), Model(carried=carried)
        for _ in range(12):
            items = [
                [
                    (
                        rnd.choice(keys),
                        rnd.randrange(1, 4),
                        rnd.sample(PLACES, rnd.randrange(3)) if rnd.random() < 0.8 else None,
                        rnd.randrange(1, 5) if carried else 1,
                    )
                    for _ in range(rnd.randrange(6))
                ]
                for _ in range(rnd.randrange(1, 4))
            ]
            assert gateway.batch(*items) == [[model.take(*record) for record in records] for records in items]


A, B, KEY = 1, 2, (5, 5)


def _size(state):
    with state.reading() as connection:
        return state.versions.size(connection)


def one(content, *routes, version=1):
    return [(KEY, content, routes, version)]


def test_back_to_an_old_content_is_a_third_version(state):
    gateway = Gateway(state)
    told = [gateway.batch(one(content, "ministry"))[0][0] for content in (A, B, A, A)]
    assert [(fate, version) for fate, version, _ in told] == [
        (ADDRESSED, 1),
        (ADDRESSED, 2),
        (ADDRESSED, 3),
        (DUPLICATE, 3),
    ]


def test_a_new_version_goes_to_every_destination_that_holds_an_older_one(state):
    gateway = Gateway(state)
    gateway.batch(one(A, "province-44"))
    assert gateway.batch(one(B, "province-31")) == [[(ADDRESSED, 2, ("province-31", "province-44"))]]
    assert gateway.batch(one(B, "province-44", "ministry")) == [[(ADDRESSED, 2, ("ministry",))]]


@pytest.mark.parametrize("carried", [False, True], ids=["assign", "carried"])
def test_a_correction_that_is_filtered_goes_to_who_holds_the_record_and_ends_what_waits(state, carried):
    gateway, filtered = Gateway(state, carried=carried), (KEY, B, None, 2 if carried else 1)
    assert gateway.batch([(KEY, A, None, 1)]) == [[(FILTERED, 1, ())]]
    assert _size(state) == 0
    gateway.batch(one(A))
    assert gateway.batch([filtered]) == [[(FILTERED, 2, ())]]
    assert gateway.batch(one(A, "ministry", version=3)) == [[(ADDRESSED, 3, ("ministry",))]]
    assert gateway.batch([(KEY, B, None, 4 if carried else 1)]) == [[(ADDRESSED, 4, ("ministry",))]]


def test_what_another_scope_gave_away_is_left_out(state):
    gateway = Gateway(state)
    held = {KEY: frozenset({"province-44"})}
    assert gateway.batch(one(A, "province-44"), also_held=held) == [[(DUPLICATE, 1, ())]]
    assert gateway.batch(one(A, "province-44", "ministry"), also_held=held) == [[(ADDRESSED, 1, ("ministry",))]]
    assert gateway.batch(one(A, "ministry"), also_held=held) == [[(DUPLICATE, 1, ())]]


def test_a_replay_that_is_older_than_what_stands_is_superseded(state):
    gateway = Gateway(state)
    first = pack_intake(1, 0, 9)
    gateway.batch([])
    gateway.batch(one(A, "ministry"))
    assert gateway.batch(one(B, "ministry"), intakes={0: {0: first}}) == [[(SUPERSEDED, 1, ())]]
    assert gateway.batch(one(A, "ministry"), intakes={0: {0: first}}) == [[(DUPLICATE, 1, ())]]
    assert gateway.batch(one(B, "ministry")) == [[(ADDRESSED, 2, ("ministry",))]]


def test_a_replay_of_what_was_taken_back_since_is_superseded(state):
    gateway = Gateway(state)
    gateway.batch(one(A, "ministry"))
    died = pack_intake(2, 0, 0)
    gateway.batch([])
    assert gateway.batch(one(A, "ministry"), one(A, "ministry")) == [[(DUPLICATE, 1, ())]] * 2
    assert gateway.batch(one(B, "ministry"), intakes={0: {0: died}}) == [[(SUPERSEDED, 1, ())]]
    assert gateway.batch(one(B, "ministry")) == [[(ADDRESSED, 2, ("ministry",))]]


def test_a_replay_of_the_newest_intake_goes_on(state):
    gateway = Gateway(state)
    gateway.batch(one(A, "ministry"))
    assert gateway.batch(one(B, "ministry"), intakes={0: {0: pack_intake(1, 0, 3)}}) == [
        [(ADDRESSED, 2, ("ministry",))]
    ]
    assert gateway.batch(one(A, "ministry"), intakes={0: {0: pack_intake(1, 0, 2)}}) == [[(SUPERSEDED, 2, ())]]


def test_a_replay_of_the_same_content_to_another_destination_makes_nothing_older(state):
    gateway = Gateway(state)
    gateway.batch([])
    gateway.batch(one(A, "province-31"))
    letters = [pack_intake(1, 0, ordinal) for ordinal in range(2)]
    assert gateway.batch(one(A, "province-44"), intakes={0: {0: letters[0]}}) == [[(ADDRESSED, 1, ("province-44",))]]
    assert gateway.batch(one(B, "province-31"), intakes={0: {0: letters[1]}}) == [[(SUPERSEDED, 1, ())]]


def test_what_waited_for_its_home_is_sent_once_it_has_one(state):
    gateway = Gateway(state)
    assert gateway.batch(one(A)) == [[(UNPLACED, 1, ())]]
    assert gateway.batch(one(A)) == [[(DUPLICATE, 1, ())]]
    assert gateway.batch(one(A, "province-44")) == [[(ADDRESSED, 1, ("province-44",))]]


def test_an_older_carried_version_is_kept_for_its_routes_and_changes_nothing(state):
    gateway = Gateway(state, carried=True)
    gateway.batch(one(B, "ministry", version=3))
    assert gateway.batch(one(A, "ministry", version=2)) == [[(ADDRESSED, 2, ("ministry",))]]
    assert gateway.batch(one(B, "ministry", version=3)) == [[(DUPLICATE, 3, ())]]


def test_a_batch_without_items_decides_nothing(state):
    assert Gateway(state).batch() == []
    with State.reading(state) as connection:
        assert state.versions.size(connection) == 0


def test_only_the_owner_of_a_state_decides(tmp_path, state):
    with (
        State(tmp_path, own=False) as looking,
        looking.reading() as connection,
        pytest.raises(RuntimeError, match="owned"),
    ):
        decide(connection, looking, [Item(0, book(one(A, "ministry")))], Rule(1, carried=False))
