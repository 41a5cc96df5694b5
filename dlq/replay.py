"""Replay, decided: which letters may go again, as what, and what comes of it. Pure.

A replay enters by the same door as new data: one envelope with the original bytes, from the company that was
authenticated then, under a key of its own for each generation, so that the same replay run twice is a known key and
nothing happens twice. Its batch counts like any other: a replay that fails again is dead there, and the letter stays
counted as dead where it died.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from connectors.contracts import Envelope
from dlq.errors import WrongState
from dlq.letter import CLAIMED, GENERATIONS, OPEN, RESOLVED, Letter, Origin
from dlq.reasons import Reason
from dlq.rows import utc

_PREFIX = "letter:"


class Refusal(NamedTuple):
    """Why a letter is not replayed, and what to do."""

    zh: str
    en: str


class Split(NamedTuple):
    """The letters that one replay left behind."""

    again: tuple[Reason, ...]
    """Reasons for which the letter itself died again; empty if it went through."""
    new: tuple[Letter, ...]
    """Deaths of another kind on the way (another destination): letters of their own, children of this one."""


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
    return f"{_PREFIX}{letter.id}:{letter.generation}"


def letter_of(envelope_key: str) -> tuple[str, int] | None:
    """Id and generation that a replay's envelope key names; None for any other key."""
    if not envelope_key.startswith(_PREFIX):
        return None
    name, _, generation = envelope_key[len(_PREFIX) :].rpartition(":")
    return (name, int(generation)) if name and generation.isdecimal() else None


def envelope(letter: Letter, body: bytes) -> Envelope:
    """What a replay hands to the door: the original bytes, as the company that they were authenticated for.

    Raises:
        WrongState: the letter may not be replayed. A letter that this replay claimed already may.
    """
    why = refusal(letter if letter.state != CLAIMED else letter._replace(state=OPEN))
    if why:
        msg = f"死信 {letter.id} 不能重放: {why.zh} / letter {letter.id} is not replayed: {why.en}"
        raise WrongState(msg)
    return Envelope(body=body, source=letter.source, offset=letter.offset, key=key(letter), company=letter.company)


def origin(letter: Letter, origin_of_batch: Origin) -> Origin:
    """The origin of letters that a replay leaves behind: this batch's, with the letter as parent."""
    return origin_of_batch._replace(
        source=letter.source,
        company=letter.company,
        system=letter.system,
        parent=letter.id,
        generation=letter.generation + 1,
    )


def split(letter: Letter, left: Iterable[Letter]) -> Split:
    """Tell the letter's own new death from other deaths on the way.

    What dies again is what died before: an envelope anywhere before its destinations, a delivery for its destination.
    """
    again: list[Reason] = []
    new: list[Letter] = []
    for dead in left:
        if dead.destination == letter.destination:
            again.extend(reason for reason in dead.reasons if reason not in again)
        else:
            new.append(dead)
    return Split(tuple(again), tuple(new))


def after(letter: Letter, batch: str, again: tuple[Reason, ...], now: datetime) -> Letter:
    """The letter after a replay by `batch`: resolved, or open again with one generation more, or parked.

    A replay that met only what heals by itself (the store was away) counts as an attempt, not as a generation.

    Args:
        letter: as it was claimed.
        batch: the replay's batch.
        again: the reasons for which it died again; empty if it went through.
        now: when (aware).
    """
    tried = letter._replace(attempts=letter.attempts + 1, updated_at=utc(now))
    if not again:
        return tried._replace(state=RESOLVED, resolved_by=batch, parked=False)
    if all(reason.heals for reason in again):
        return tried._replace(state=OPEN, last_reasons=letter.last_reasons, claimed_by="")
    generation = letter.generation + 1
    return tried._replace(
        state=OPEN,
        claimed_by="",
        generation=generation,
        parked=generation >= GENERATIONS,
        last_reasons=tuple(reason for reason in again if not reason.heals),
    )
