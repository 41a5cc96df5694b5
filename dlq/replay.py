"""Replay, decided: which letters may go again, as what, and what comes of it. Pure.

A replay enters by the same door as new data: one envelope with the original bytes, from the company that was
authenticated then, under a key of its own for each generation, so that the same replay run twice is a known key and
nothing happens twice. Its batch counts like any other: a replay that fails again is dead there, and the letter stays
counted as dead where it died.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from dlq.letter import CLAIMED, GENERATIONS, OPEN, RESOLVED, Letter
from dlq.reasons import Reason
from dlq.rows import utc


class Refusal(NamedTuple):
    """Why a letter is not replayed, and what to do."""

    zh: str
    en: str


def refusal(letter: Letter) -> Refusal | None:
    """Why this letter may not be replayed now; None if it may."""
    if letter.state == CLAIMED:
        return Refusal("正在处理", "it is being worked on")
    if letter.state != OPEN:
        return Refusal("已结束；作废的死信可先重新打开", "it is closed; a discarded letter can be opened again")
    if letter.parked:
        return Refusal(
            f"已重放 {letter.generation} 次仍失败，停放等待人工处理；修正后先重新打开",
            f"{letter.generation} replays failed, it is parked; open it again when its cause is mended",
        )
    return None


def key(letter: Letter) -> str:
    """The envelope key of the letter's next replay: `letter:<id>:<generation>`."""
    return f"letter:{letter.id}:{letter.generation}"


def after(letter: Letter, batch: str, again: tuple[Reason, ...], now: datetime) -> Letter:
    """The letter after a replay by `batch`: resolved, or open again with one generation more, or parked.

    Args:
        letter: as it was claimed.
        batch: the replay's batch.
        again: the reasons for which it died again; empty if it went through.
        now: when (aware).
    """
    tried = letter._replace(attempts=letter.attempts + 1, updated_at=utc(now))
    if not again:
        return tried._replace(state=RESOLVED, resolved_by=batch, parked=False)
    generation = letter.generation + 1
    return tried._replace(
        state=OPEN,
        claimed_by="",
        generation=generation,
        parked=generation >= GENERATIONS,
        last_reasons=again,
    )
