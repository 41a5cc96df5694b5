"""Where intake numbers lead: to the batch, item and ordinal of the envelope that was numbered so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate

from sqlalchemy import Connection, select

from pipelines import tables
from pipelines.journal import Journal, digest_column
from pipelines.versions import pack_intake, unpack_intake

Place = tuple[int, int, int]
"""Batch number, item, ordinal."""


class Places:
    """Looks places up by the journals that are kept; those of a batch are counted once.

    Args:
        connection: of the state.
        number: of the batch that is being decided, whose journals are not kept yet.
        own: its journals.
    """

    def __init__(self, connection: Connection, number: int = 0, own: Mapping[int, Journal] | None = None) -> None:
        self._connection = connection
        lengths = {item: len(book.lines) for item, book in sorted((own or {}).items())}
        self._starts = {number: starts(lengths)} if own is not None else {}

    def __call__(self, intake: int) -> Place:
        """The place that a number leads to; item 0 where no journals of its batch are kept."""
        batch, item, place = unpack_intake(intake)
        if item is not None:
            return batch, item, place
        begins = self._begins(batch)
        if not begins:
            return batch, 0, place
        item = list(begins)[bisect_right(list(begins.values()), place) - 1]
        return batch, item, place - begins[item]

    def _begins(self, batch: int) -> dict[int, int]:
        if batch not in self._starts:
            self._starts[batch] = starts(dict(self._kept(batch)))
        return self._starts[batch]

    def number(self, batch: int, item: int, ordinal: int) -> int:
        """The intake number of a place in a batch whose journals are kept."""
        return pack_intake(batch, self._begins(batch)[item] + ordinal)

    def _kept(self, batch: int) -> Iterable[tuple[int, int]]:
        j, b = tables.journals, tables.batches
        kept = select(j.c.item, j.c.lines).join(b, b.c.id == j.c.batch).where(b.c.number == batch).order_by(j.c.item)
        rows = self._connection.execute(kept.execution_options(yield_per=8))
        return ((row.item, len(digest_column(row.lines, "vin"))) for row in rows)


def starts(lengths: Mapping[int, int]) -> dict[int, int]:
    """Item -> how many envelopes of its batch come before its first one; `lengths` in order of the items."""
    return dict(zip(lengths, accumulate(lengths.values(), initial=0), strict=False))
