from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letter_samples import NOW, letter

from dlq import replay
from dlq.backoff import CAP, FIRST, next_attempt, seeded
from dlq.letter import GENERATIONS
from dlq.reasons import reason

DEAD = (reason("NO_ROUTE"),)


def claimed(kept, batch="r1"):
    return kept._replace(state="claimed", claimed_by=batch)


@pytest.mark.parametrize(
    "changes", [{"state": "resolved"}, {"state": "discarded"}, {"parked": True}, {"parked": True, "state": "claimed"}]
)
def test_what_may_not_go_is_refused_with_words(changes):
    assert replay.refusal(letter()._replace(**changes))


def test_success_resolves():
    done = replay.after(claimed(letter()), "r1", (), NOW)
    assert (done.state, done.resolved_by, done.attempts, done.generation) == ("resolved", "r1", 1, 0)


def test_three_failures_park_and_keys_never_repeat():
    kept, keys = letter(), set()
    for turn in range(GENERATIONS):
        assert replay.refusal(kept) is None
        assert not kept.parked
        keys.add(replay.key(kept))
        kept = replay.after(claimed(kept), f"r{turn}", DEAD, NOW)
        assert (kept.state, kept.claimed_by, kept.generation, kept.attempts) == ("open", "", turn + 1, turn + 1)
        assert kept.last_reasons == DEAD
        assert kept.reasons == letter().reasons
    assert len(keys) == GENERATIONS
    assert kept.parked
    assert "3" in replay.refusal(kept).en
    again = replay.after(claimed(kept._replace(parked=False)), "r9", DEAD, NOW)
    assert again.parked


@given(st.integers(-3, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_lie_between_half_of_the_first_and_the_cap(attempts, chance):
    wait = next_attempt(attempts, NOW, lambda: chance) - NOW
    assert FIRST / 2 <= wait <= CAP


def test_waits_double_up_to_the_cap():
    waits = [next_attempt(n, NOW, lambda: 0.0) - NOW for n in range(1, 14)]
    assert waits[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert waits[-1] == CAP
    assert next_attempt(2, NOW, lambda: 0.999, first=timedelta(seconds=1)) - NOW > timedelta(seconds=1)


def test_chance_can_be_fixed_and_zones_are_wanted():
    assert seeded("d1", 1)() == seeded("d1", 1)() != seeded("d1", 2)()
    assert next_attempt(1, NOW, Random(1).random) > NOW  # noqa: S311
    with pytest.raises(ValueError, match="zone"):
        next_attempt(1, datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), lambda: 0.0)
