"""The life of a manifest (联单) and of an app order: tables of states, and what may follow what (domain 4.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

State = Literal["SUBMITTED", "APPROVED", "REJECTED", "IN_TRANSIT", "RECEIVED"]

FOLLOWS: Mapping[str, tuple[State, ...]] = {
    "": ("SUBMITTED",),
    "SUBMITTED": ("APPROVED", "REJECTED"),
    "APPROVED": ("IN_TRANSIT",),
    "IN_TRANSIT": ("RECEIVED",),
    "REJECTED": (),
    "RECEIVED": (),
}
"""State -> what may follow it; `""` is a manifest that does not exist yet."""

LEFT = frozenset({"IN_TRANSIT", "RECEIVED"})
"""States in which the waste has left the producer."""

ISSUED = frozenset({"APPROVED", "IN_TRANSIT", "RECEIVED"})
"""States whose weight counts against plan and licence."""

UNSIGNED, SIGNED, COMPLETE = "1", "2", "3"
"""Status of an app order: 未签, 已签 (by the transporter), 完成 (by the consumer)."""

TRANSPORTER, CONSUMER = "transporter", "consumer"

_NUMBER = re.compile(r"(?:19|20)\d{12}")


def follows(state: str, after: str) -> bool:
    """Whether a manifest may go from one state to another."""
    return after in FOLLOWS.get(state, ())


def first_wrong(states: Sequence[str]) -> int | None:
    """The place of the first state that may not follow the one before it, None where all may."""
    before = ""
    for place, state in enumerate(states):
        if not follows(before, state):
            return place
        before = state
    return None


def order_status(signed: frozenset[str]) -> str:
    """The status of an order by who signed it; what the consumer signed alone still waits for the transporter."""
    if TRANSPORTER not in signed:
        return UNSIGNED
    return COMPLETE if CONSUMER in signed else SIGNED


def usual_number(number: str) -> bool:
    """Whether a manifest number has 14 digits: year, province and city, serial. Other forms are in use too."""
    return _NUMBER.fullmatch(number) is not None and number.isascii()
