"""Journals: packed and unpacked the same, joined in order, counted as they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.accounts import intake
from pipelines.journal import ADDRESSED, DEAD, FATES, LINE, Interned, Journal, join

NAMES = st.tuples() | st.tuples(st.sampled_from(["province-44", "ministry", "编"]))
ROUTES = [(), ("province-44",), ("province-31", "ministry")]
FINDINGS = [(), ("MILEAGE_ZERO",), ("judge",), ("decode",), ("receive",)]
WIDE = st.integers(0, 2**64 - 1)
LINES = st.lists(
    st.tuples(
        WIDE, st.sampled_from(list(FATES)), *[WIDE] * 4, st.integers(0, 2**32 - 1)
    ),
    max_size=30,
)  # fmt: skip


def made(rows, chosen=None):
    """A journal of rows; routes and findings follow from the place of the line."""
    lines = np.zeros(len(rows), LINE)
    for i, (offset, fate, hi, lo, content, vin, version) in enumerate(rows):
        ordinal = i if chosen is None else chosen[i]
        routes = ordinal % 3 if fate == ADDRESSED else 0
        findings = 2 + ordinal % 3 if fate == DEAD else ordinal % 2
        lines[i] = (ordinal, offset, fate, hi, lo, content, vin, version, routes, findings)
    return Journal(lines, list(ROUTES), list(FINDINGS), {"1": {"ministry": "duplicate"}}, {"0": "使领馆 / embassy"})


def same(one, other):
    assert one.lines.tolist() == other.lines.tolist()
    assert (one.routes, one.findings, one.outcomes, one.notes) == (
        other.routes,
        other.findings,
        other.outcomes,
        other.notes,
    )


@given(LINES)
def test_what_is_packed_is_unpacked(rows):
    book = made(rows)
    packed = book.pack()
    same(Journal.unpack(packed), book)
    assert Journal.unpack(packed).pack() == packed


def test_a_line_is_sixty_four_bytes_wide_at_most_and_digests_cost_no_time():
    assert LINE.itemsize <= 64
    book = made([(i, ADDRESSED, 7, 7, 7, 7, 1) for i in range(1_000)])
    assert len(book.pack()) < 1_000 * 40


@given(LINES)
def test_counts_agree_with_the_lines(rows):
    book = made(rows)
    fates = [FATES[row[1]] for row in rows]
    assert book.counts() == {name: fates.count(name) for name in set(fates)}
    addressed = {}
    for i, row in enumerate(rows):
        for destination in ROUTES[i % 3] if row[1] == ADDRESSED else ():
            addressed[destination] = addressed.get(destination, 0) + 1
    assert book.addressed() == addressed


@given(LINES)
def test_the_intake_equations_hold_for_any_lines(rows):
    told = intake({0: made(rows), 1: made(rows[:3])})
    received = len(rows) + len(rows[:3])
    assert told["received"] == received
    assert received == told["decoded"] + told["dead_intake"] + told["duplicate_intake"] + told["fragments"]
    ways = ("addressed", "dead_records", "duplicate_records", "filtered", "unplaced")
    assert told["decoded"] == sum(told[way] for way in ways)
    dead = [i for part in (rows, rows[:3]) for i, row in enumerate(part) if row[1] == DEAD]
    assert told["dead_records"] == sum(1 for i in dead if i % 3 == 0)
    flagged = [i for part in (rows, rows[:3]) for i, row in enumerate(part) if row[1] != DEAD and i % 2]
    assert told["flagged"] == len(flagged)


@given(LINES, st.randoms(use_true_random=False))
def test_pieces_are_joined_in_order_of_ordinals(rows, chance):
    whole = made(rows)
    places = list(range(len(rows)))
    chance.shuffle(places)
    cut = chance.randrange(len(rows) + 1)
    pieces = [made([rows[i] for i in some], some) for some in (places[:cut], places[cut:])]
    joined = join(pieces)
    assert joined.lines["ordinal"].tolist() == list(range(len(rows)))
    for name in ("offset", "fate", "key_hi", "content", "version"):
        assert joined.lines[name].tolist() == whole.lines[name].tolist()
    for line, before in zip(joined.lines, whole.lines, strict=True):
        assert joined.routes[line["routes"]] == whole.routes[before["routes"]]
        assert joined.findings[line["findings"]] == whole.findings[before["findings"]]
    assert (joined.outcomes, joined.notes) == (whole.outcomes, whole.notes)


@given(LINES, st.randoms(use_true_random=False))
def test_what_pieces_are_joined_to_depends_on_neither_their_number_nor_their_order(rows, chance):
    owners = [chance.randrange(3) for _ in rows]
    places = [[i for i, owner in enumerate(owners) if owner == one] for one in range(3)]
    pieces = [_written([rows[i] for i in some], some) for some in places]
    whole = _written(rows, list(range(len(rows)))).pack()
    for ordered in (pieces, pieces[::-1], pieces[1:] + pieces[:1]):
        assert join(ordered).pack() == whole


def _written(rows, ordinals):
    """A piece as a worker writes it: tables of its own, in order of first appearance among its lines."""
    book = made(rows, ordinals)
    routes, findings = Interned(), Interned()
    for line in book.lines:
        line["routes"] = routes[ROUTES[line["routes"]]]
        line["findings"] = findings[FINDINGS[line["findings"]]]
    return Journal(book.lines, routes.table, findings.table)


def test_one_piece_out_of_order_is_put_in_order_too():
    rows = [(i, ADDRESSED, i, i, i, i, 1) for i in range(4)]
    assert join([made(rows, [3, 1, 0, 2])]).lines["ordinal"].tolist() == [0, 1, 2, 3]


@given(st.lists(NAMES))
def test_interned_tuples_keep_the_order_of_their_first_appearance(values):
    interned = Interned()
    numbers = [interned[value] for value in values]
    assert [interned.table[n] for n in numbers] == values
    assert interned.table == list(dict.fromkeys([(), *values]))
