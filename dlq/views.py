"""Letters as people and machines may see them: everything masked, nothing sealed.

The dict of `view` is the stable form of `vingate letters list|show --json`; members are only ever added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from dlq.letter import Letter
from dlq.letters import Count, Replay
from dlq.masking import masked_text, readable
from dlq.reasons import Reason
from mappings.shapes import HIDDEN

SHOWN_BYTES = 64 * 1024
"""Bytes of a body that a view shows."""


def view_reason(reason: Reason) -> dict[str, JsonValue]:
    """One reason: what, where, what was seen (masked), what would be right, and what to do."""
    return {
        "code": reason.code,
        "kind": reason.kind,
        "field": reason.field,
        "value": reason.value,
        "expected": reason.expected,
        "zh": reason.zh,
        "en": reason.en,
        "remedy_zh": reason.remedy_zh,
        "remedy_en": reason.remedy_en,
    }


def view(
    letter: Letter,
    body: bytes | None = None,
    history: Sequence[Replay] = (),
    trouble: str = "",
) -> dict[str, JsonValue]:
    """A letter for screens and `--json`.

    Args:
        letter: the letter.
        body: its original bytes, to be shown masked and cut; None to leave the body out.
        history: its replays.
        trouble: why the body cannot be shown, if it cannot.
    """
    shown: dict[str, JsonValue] = {
        "id": letter.id,
        "state": letter.state,
        "parked": letter.parked,
        "exchange": letter.exchange,
        "batch": letter.batch,
        "stage": letter.stage,
        "step": letter.step,
        "reason": letter.reason,
        "reasons": [view_reason(reason) for reason in letter.current],
        "source": masked_text(letter.source),
        "offset": letter.offset,
        "company": masked_text(letter.named_company),
        "system": letter.system,
        "dialect": letter.dialect,
        "profile": letter.profile,
        "mapping": letter.mapping,
        "build": letter.build,
        "destination": letter.destination,
        "record_key": masked_text(letter.record_key),
        "parent": letter.parent,
        "intake": letter.intake,
        "attempts": letter.attempts,
        "generation": letter.generation,
        "received_at": letter.received_at,
        "created_at": letter.created_at,
        "updated_at": letter.updated_at,
        "claimed_by": letter.claimed_by,
        "resolved_by": letter.resolved_by,
        "note": masked_text(letter.note),
        "body_sha256": letter.body_sha256,
        "body_size": letter.body_size,
        "body_kept": "reference" if letter.ref else "sealed",
    }
    if body is not None:
        shown["body"] = view_body(body)
        shown["body_cut"] = len(body) > SHOWN_BYTES
    if trouble:
        shown["body_trouble"] = masked_text(trouble)
    if history:
        shown["history"] = [_view_replay(replay) for replay in history]
    return shown


def view_body(body: bytes) -> str:
    """The body as text, masked, and cut after `SHOWN_BYTES`."""
    if len(body) <= SHOWN_BYTES:
        return masked_text(readable(body))
    text = readable(body[:SHOWN_BYTES])
    # A value that the cut goes through has lost its shape: the last run of letters and digits is dropped unseen.
    kept = text.rstrip("\ufffd")
    while kept and (kept[-1].isalnum() or kept[-1] in "@.-_%+ "):
        kept = kept[:-1]
    return masked_text(kept) + f"…{HIDDEN}"


def view_count(count: Count) -> dict[str, JsonValue]:
    """One line of the statistics."""
    return {"exchange": count.exchange, "state": count.state, "reason": count.reason, "letters": count.letters}


def totals(counts: Sequence[Count]) -> Mapping[str, int]:
    """Letters by state, over all exchanges and reasons."""
    out: dict[str, int] = {}
    for count in counts:
        out[count.state] = out.get(count.state, 0) + count.letters
    return out


def _view_replay(replay: Replay) -> JsonValue:
    return {
        "batch": replay.batch,
        "generation": replay.generation,
        "outcome": replay.outcome,
        "reasons": [view_reason(reason) for reason in replay.reasons],
        "at": replay.at,
    }
