"""Marks of letters: a digest beside each row, so that an edit of any of its columns by hand shows, and of which letter.

The ledger of a batch sums the fingerprints of its letters: that tells that something fixed was changed, not where, and
nothing of what became of a letter since. A mark covers all of a row: what is fixed, state, attempts, generation, notes
and what stands beside them, and the letter's replays. The store writes it with every change that it makes itself, and
never makes a wrong one right again.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import orjson

from dlq.letter import OPEN

SINCE = (
    *("state", "attempts", "generation", "parked", "claimed_by", "resolved_by", "note", "updated_at"),
    *("last_reasons", "reason", "codes"),
)
"""The columns that tell what became of a letter, in the order of its row."""
WRONG = "changed by hand"
"""The mark of a letter that was changed although its mark was wrong already."""
_BORN = (OPEN, 0, 0, False, "", "", "")


class Tried(NamedTuple):
    """One row of a letter's replays."""

    batch: str
    generation: int
    outcome: str
    reasons: str
    at: str


def mark(
    fingerprint: int, created_at: str, codes: tuple[str, str], since: tuple[object, ...], tried: Sequence[Tried] = ()
) -> str:
    """The mark of a letter whose columns `SINCE` hold `since`; `codes` are what the last two of them must be.

    Of a letter that nothing became of it is the fingerprint, which is known where letters are made by the thousand.
    """
    if not tried and since == (*_BORN, created_at, "", *codes):
        return f"{fingerprint:016x}"
    told = orjson.dumps((fingerprint, codes, since, sorted(tried)), default=repr)
    return blake2b(told, digest_size=8, person=b"letter").hexdigest()
