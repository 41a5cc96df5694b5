"""Work items of a batch from the inbox: one for the envelopes of a source, system and dialect, of many senders."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from connectors.contracts import WorkItem
from dlq.sealing import Sealer
from pipelines.inbox import Kept
from pipelines.segments import ENVELOPE, RowWriter, StagedRow, pack_envelope
from pipelines.steps import FAILING, SEALED

DIGEST = "inbox"
"""Stands for the bytes of the whole inbox: an envelope's number there is its place in it."""

MOST_TURNS = 100
"""Times that new items begin within a batch: a company that changes its dialect all the time costs no more."""
_FRAME_ROWS = 500


def grouped(kept: Sequence[Kept], staging: Path, failing: Collection[int] = ()) -> list[tuple[WorkItem, list[Kept]]]:
    """Items and their envelopes, by the oldest of each; those that break the steps are items of their own.

    Items are decided one after the other. Where a company's envelopes are of several items (it uploads by one dialect,
    and corrects or withdraws by another), new items begin, so that each company's are decided in the order of their
    coming. Pieces are put in order when they are assembled. At most `MOST_TURNS` times: the first envelopes then.
    """
    groups: dict[tuple[int, str, str, str, bool], list[Kept]] = {}
    turn = 0
    last: dict[tuple[str, str], tuple[str, str, str, bool]] = {}
    for row in kept:
        own = row.source, row.system, row.dialect, row.id in failing
        sender = row.company, row.system
        if row.company and ":" not in row.dialect and last.setdefault(sender, own) != own:
            turn, last = turn + 1, {sender: own}
            if turn > MOST_TURNS:
                break
        groups.setdefault((turn, *own), []).append(row)
    found = []
    for number, ((_, source, system, dialect, broken), rows) in enumerate(groups.items()):
        extra: dict[str, Any] = {SEALED: str(staging / f"inbox-{number:03d}.rows"), FAILING: broken}
        if dialect:  # as which it was answered: what the door refused is not to be taken for something else
            extra["dialect"] = dialect
        found.append((WorkItem(source, DIGEST, rows[0].id, -1, "", system, extra), rows))
    return found


def write_envelopes(item: WorkItem, rows: Sequence[Kept], sealer: Sealer) -> None:
    """Stage the envelopes of an item where it says that they lie. Not synced: they are in the inbox still."""
    writer = RowWriter(Path(item.extra[SEALED]), sealer)
    staged = [StagedRow(i, ENVELOPE, pack_envelope(row.id, row.company, row.body)) for i, row in enumerate(rows)]
    for at in range(0, len(staged), _FRAME_ROWS):
        writer.add(staged[at : at + _FRAME_ROWS])
    writer.close(sync=False)
