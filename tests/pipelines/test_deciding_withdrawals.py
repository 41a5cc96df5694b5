"""Deciding withdrawals: case by case, and whatever the order in which uploads and withdrawals of a key are decided."""

# ruff: noqa: S311 - chance is seeded
from __future__ import annotations

import random
from collections import defaultdict

import pytest
from test_deciding import Gateway

from mappings.encoding import WITHDRAWN
from pipelines.deciding import Rule, withdraw
from pipelines.journal import ADDRESSED, DEAD, DUPLICATE, FILTERED, SUPERSEDED, UNPLACED
from pipelines.state import State
from pipelines.versions import pack_intake
from pipelines.work import Directive

KEY, A, B = (7, 7), 11, 12


@pytest.fixture
def state(tmp_path):
    with State(tmp_path, own=True) as made:
        yield made


def sent(content, *routes, version=1, key=KEY):
    return [(key, content, routes, version)]


def back(version=1, key=KEY):
    return [(key, WITHDRAWN, None, version)]


def test_a_withdrawal_is_a_version_for_those_that_hold_an_older_one(state):
    gate = Gateway(state)
    gate.batch(sent(A, "province-31"))
    gate.batch(sent(B, "province-44"))
    assert gate.batch(back()) == [[(ADDRESSED, 3, ("province-31", "province-44"))]]
    assert gate.batch(back(), back()) == [[(DUPLICATE, 3, ())], [(DUPLICATE, 3, ())]]
    assert gate.batch(sent(B, "province-44")) == [[(ADDRESSED, 4, ("province-44", "province-31"))]], "it lives again"


def test_everything_in_one_batch(state):
    together = [*sent(A, "ministry"), *back(), *back(), *sent(A, "ministry"), *back(key=(8, 8))]
    assert Gateway(state).batch(together) == [
        [
            (ADDRESSED, 1, ("ministry",)),
            (ADDRESSED, 2, ("ministry",)),
            (DUPLICATE, 2, ()),
            (ADDRESSED, 3, ("ministry",)),
            (DEAD, 0, ()),
        ]
    ]


def test_what_is_not_known_cannot_be_withdrawn_however_often(state):
    gate = Gateway(state)
    assert gate.batch(back(), back()) == [[(DEAD, 0, ())]] * 2
    assert gate.batch(back()) == [[(DEAD, 0, ())]]
    assert gate.batch(sent(A, "ministry")) == [[(ADDRESSED, 1, ("ministry",))]], "what comes later is a first version"
    assert gate.batch(back()) == [[(ADDRESSED, 2, ("ministry",))]]


def test_an_older_record_that_is_decided_after_an_unknown_withdrawal_stays_away(state):
    gate = Gateway(state)
    gate.number = 5
    gate.batch(back())
    assert gate.batch(sent(A, "ministry"), intakes={0: {0: pack_intake(3, 0)}}) == [[(SUPERSEDED, 0, ())]]
    assert gate.batch(back()) == [[(DEAD, 0, ())]], "nobody holds it still"


def test_an_older_withdrawal_changes_nothing_where_a_newer_version_stands(state):
    gate = Gateway(state)
    gate.number = 5
    gate.batch(sent(A, "ministry"))
    assert gate.batch(back(), intakes={0: {0: pack_intake(3, 0)}}) == [[(SUPERSEDED, 1, ())]]
    assert gate.batch(sent(A, "ministry")) == [[(DUPLICATE, 1, ())]]
    same_again = pack_intake(7, 0)  # of the batch before this one: the record was sent again after it
    assert gate.batch(back(), intakes={0: {0: same_again}}) == [[(SUPERSEDED, 1, ())]]


def test_a_record_that_waits_for_its_home_is_withdrawn_without_a_delivery(state):
    gate = Gateway(state)
    assert gate.batch(sent(A)) == [[(UNPLACED, 1, ())]]
    assert gate.batch(back()) == [[(FILTERED, 2, ())]]
    assert gate.batch(back()) == [[(DUPLICATE, 2, ())]]
    assert gate.batch(sent(A, "ministry")) == [[(ADDRESSED, 3, ("ministry",))]]


def test_carried_withdrawals(state):
    gate = Gateway(state, carried=True)
    gate.batch(sent(A, "ministry"))
    assert gate.batch(back(version=3)) == [[(ADDRESSED, 3, ("ministry",))]]
    assert gate.batch(back(version=3)) == [[(DUPLICATE, 3, ())]]
    assert gate.batch(sent(B, "ministry", "province-44", version=2)) == [[(ADDRESSED, 2, ("ministry",))]], "history"
    assert gate.batch(sent(B, "province-44", version=2)) == [[(SUPERSEDED, 2, ())]]
    assert gate.batch(sent(A, "province-44", version=4)) == [[(ADDRESSED, 4, ("province-44", "ministry"))]]
    assert gate.batch(back(version=3)) == [[(ADDRESSED, 3, ("ministry", "province-44"))]], "late: their history"
    assert gate.batch(sent(A, "province-44", version=4)) == [[(DUPLICATE, 4, ())]]


def test_a_carried_withdrawal_of_what_never_came_is_filtered_and_remembered(state):
    gate = Gateway(state, carried=True)
    assert gate.batch(back(version=2)) == [[(FILTERED, 2, ())]]
    assert gate.batch(sent(A, "ministry", version=1)) == [[(SUPERSEDED, 1, ())]]
    assert gate.batch(sent(A, "ministry", version=3)) == [[(ADDRESSED, 3, ("ministry",))]]


def test_what_another_scope_holds_is_not_withdrawn_by_this_one(state):
    gate = Gateway(state, carried=True)
    also = {KEY: frozenset({"province-31"})}
    gate.batch(sent(A, "ministry", "province-31"), also_held=also)
    assert gate.batch(back(version=2), also_held=also) == [[(ADDRESSED, 2, ("ministry",))]]


def test_what_is_not_known_is_a_letter_and_is_remembered():
    told, after = withdraw(None, 5, 1, Rule(1, carried=False))
    assert told == Directive(DEAD, 0, ())
    assert after is not None
    assert (after.version, after.intake, after.held) == (0, 5, frozenset())


# -- any order ---------------------------------------------------------------------------------------------------------

CONTENTS = {11: ("province-31",), 12: ("province-44", "ministry"), 13: (), 14: ("province-31", "ministry")}


class Stores:
    """What destinations hold of each key: version -> content; the highest version is what their readers see."""

    def __init__(self):
        self.held = defaultdict(dict)

    def take(self, events, outcomes):
        for (key, content, _, _), (fate, version, destinations) in zip(events, outcomes, strict=True):
            if fate == ADDRESSED:
                assert destinations
                for name in destinations:
                    known = self.held[key, name].setdefault(version, content)
                    assert known == content, "a store would refuse this"

    def newest(self, key):
        return {name: copies[max(copies)] for (of, name), copies in self.held.items() if of == key}


def _events(rng, key):
    """Uploads, corrections and withdrawals of a key, in the order in which they were taken in."""
    chosen = [rng.choice((*CONTENTS, WITHDRAWN, WITHDRAWN)) for _ in range(rng.randint(1, 7))]
    return [(key, c, CONTENTS.get(c), 1) for c in chosen]


def _decide(gate, stores, order, rng):
    """Decide (event, intake) in this order, in batches of any size."""
    at = 0
    while at < len(order):
        some = order[at : at + rng.randint(1, 40)]
        at += len(some)
        events = [event for event, _ in some]
        (outcomes,) = gate.batch(events, intakes={0: {i: intake for i, (_, intake) in enumerate(some)}})
        stores.take(events, outcomes)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_order_all_stores_end_where_the_order_of_intake_ends(seed, tmp_path):
    rng = random.Random(seed)
    keys = [(rng.getrandbits(60) + 1, number) for number in range(150)]
    taken = [(event, pack_intake(1, place))
             for place, event in enumerate(e for key in keys for e in _events(rng, key))]  # fmt: skip
    twice = [*taken, *rng.sample(taken, len(taken) // 3)]  # the same envelope decided again, as a replay is
    rng.shuffle(twice)
    ends = []
    for name, order in (("ordered", taken), ("shuffled", twice)):
        stores = Stores()
        with State(tmp_path / name, own=True) as state:
            gate = Gateway(state)
            gate.number = 2
            _decide(gate, stores, order, rng)
        ends.append(stores)
    last = {event[0]: event[1] for event, _ in taken}
    for key in keys:
        ordered, shuffled = (stores.newest(key) for stores in ends)
        assert set(ordered.values()) <= {last[key]}
        assert set(shuffled.values()) <= {last[key]}, "nobody is left with another version"
        assert set(shuffled) <= set(ordered)
        if last[key] != WITHDRAWN:
            assert set(CONTENTS[last[key]]) <= set(shuffled), "who is to have it has it"


@pytest.mark.parametrize("seed", range(4))
def test_carried_versions_in_any_order_leave_nobody_with_what_is_withdrawn(seed, tmp_path):
    rng = random.Random(seed)
    keys = [(rng.getrandbits(60) + 1, number) for number in range(150)]
    carried = []
    for key in keys:
        chosen = [rng.choice([c for c in CONTENTS if CONTENTS[c]]) for _ in range(rng.randint(1, 4))]
        versions = [(key, c, CONTENTS[c], n) for n, c in enumerate(chosen, 1)]
        carried += [*versions, (key, WITHDRAWN, None, len(versions) + 1)]
    order = [(event, pack_intake(1, place)) for place, event in enumerate([*carried, *carried[::3]])]
    rng.shuffle(order)
    stores = Stores()
    with State(tmp_path, own=True) as state:
        _decide(Gateway(state, carried=True), stores, order, rng)
    for key in keys:
        assert set(stores.newest(key).values()) <= {WITHDRAWN}
