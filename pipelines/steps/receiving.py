"""The receive step: the envelopes of a work item, block by block."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.contracts import Block, WorkItem
from connectors.lines import measure
from pipelines.segments import ENVELOPE, read_rows, unpack_envelope
from pipelines.steps.common import UNKNOWN, said
from pipelines.work import About, Dead, Load, Task, Why
from pipelines.workbench import Workbench

SEALED = "sealed"
"""Member of a work item's `extra`: path of a sealed segment that holds its envelopes."""


def receive(bench: Workbench, task: Task) -> Iterator[tuple[Load, Dead | None]]:
    """The envelopes of an item, block by block; the last load says how many there were.

    What could not even be read as one payload is dead. A source that changed under our hands stops the work:
    Unreadable.
    """
    count = 0
    for block, companies in _blocks(bench, task.item):
        ordinals = list(range(count, count + len(block.bodies)))
        count += len(block.bodies)
        dead = None
        if block.problems:
            numbers = list(range(count, count + len(block.problems)))
            count += len(block.problems)
            offsets, bodies, whys = zip(*block.problems, strict=True)
            words, measured = zip(*map(measure, whys), strict=True)
            died: list[tuple[Why, ...]] = [(said(why),) for why in words]
            about = [About(measured=one) if one else UNKNOWN for one in measured]
            dead = Dead(task, "receive", numbers, list(offsets), list(bodies), died, about)
        yield Load(task, ordinals, block.offsets, block.bodies, companies=companies), dead
    yield Load(task, [], [], [], total=count), None


def _blocks(bench: Workbench, item: WorkItem) -> Iterator[tuple[Block, list[str]]]:
    """Blocks of the source, and from whom each envelope is where the item does not say.

    Or of a sealed segment: letters that are replayed, orders that were assembled, envelopes of the inbox.
    """
    size = bench.block
    if SEALED not in item.extra:
        for block in bench.source.read(item, size):
            yield block, []
        return
    rows = list(read_rows(item.extra[SEALED], bench.sealer))
    for at in range(0, len(rows), size):
        chosen = rows[at : at + size]
        if chosen[0].kind == ENVELOPE:
            places, companies, bodies = zip(*[unpack_envelope(row.body) for row in chosen], strict=True)
            yield Block(item, list(bodies), list(places), []), list(companies)
        else:
            yield Block(item, [row.body for row in chosen], [row.ordinal for row in chosen], []), []
