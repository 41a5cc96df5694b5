"""Repair records by columns: a block of them costs a few calls for each member instead of a few for each record.

A `Sheet` is first what a reader took apart, as sent, and after judging what is written out. It is a sequence of rows
all along: rows are made of the columns when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappings import dates
from mappings.numbers import number
from mappings.records import Part, Project, RepairRow

pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own gives pages back after every block, to ask for them again

TEXT = pa.string()
PART, PROJECT = (pa.struct([(name, TEXT) for name in members._fields]) for members in (Part, Project))
SCALARS = tuple(name for name in RepairRow._fields if name not in ("parts", "projects"))
"""Members that occur once in a record."""
SCHEMA = pa.schema([*((name, TEXT) for name in SCALARS), ("parts", pa.list_(PART)), ("projects", pa.list_(PROJECT))])
"""Columns of a sheet: the members of `RepairRow`, all of them text, null where a member is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet(Sequence[Any]):
    """The repair records of a block.

    `batch` holds records by the columns of `SCHEMA`, `places` the position of each in the block. The other positions
    are `odd`: before judging, what a reader of single payloads made of them, or None; after it rows that were judged
    one by one, or None for what is no repair record.
    """

    batch: pa.RecordBatch
    places: NDArray[np.intp]
    odd: Mapping[int, Any]

    def __len__(self) -> int:
        return len(self.places) + len(self.odd)

    def __getitem__(self, i: Any) -> Any:  # noqa: ANN401 - rows, and what odd records are
        """One row, or what is odd there. As judged only."""
        if i in self.odd:
            return self.odd[i]
        return _row(self.batch.slice(int(np.searchsorted(self.places, i)), 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Any]:
        """All rows, and what is odd, in order. As judged only."""
        found: list[Any] = [self.odd.get(i) for i in range(len(self))]
        for place, members in zip(self.places.tolist(), self.batch.to_pylist(), strict=True):
            found[place] = _row(members)
        return iter(found)

    def column(self, name: str) -> list[Any]:
        """A member of each record, as text, and of odd rows; None of what is no repair record."""
        values: list[Any] = self.batch.column(name).to_pylist()
        if not self.odd:
            return values
        found: list[Any] = [getattr(self.odd.get(i), name, None) for i in range(len(self))]
        for place, value in zip(self.places.tolist(), values, strict=True):
            found[place] = value
        return found

    def by_first(self, name: str) -> tuple[list[int], list[int]]:
        """Records told apart by the first character of a member.

        A position in the batch for each character that occurs, and for each record which of them it has.
        """
        coded = pc.utf8_slice_codeunits(self.batch.column(name), 0, 1).dictionary_encode()
        codes = coded.indices.to_numpy()
        _, first = np.unique(codes, return_index=True)
        return first.tolist(), codes.tolist()

    def members(self, chosen: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The members of records that are not odd, as read, without those that are missing, by position."""
        rows = np.searchsorted(self.places, chosen)
        found = self.batch.take(pa.array(rows)).to_pylist()
        return {
            i: {name: value for name, value in members.items() if value is not None}
            for i, members in zip(chosen, found, strict=True)
        }

    def taken(self, alive: Sequence[bool]) -> Sheet:
        """The records for which `alive` says so, in order."""
        stays = np.array(alive, bool)
        places, mine = np.cumsum(stays) - 1, stays[self.places]
        batch = self.batch if mine.all() else self.batch.filter(pa.array(mine))
        odd = {int(places[i]): value for i, value in self.odd.items() if stays[i]}
        return Sheet(batch, places[self.places[mine]], odd)

    def with_odd(self, odd: Mapping[int, Any]) -> Sheet:
        """The sheet with these at the positions that its columns leave open."""
        return replace(self, odd=odd)


def _row(members: Mapping[str, Any]) -> RepairRow:
    """A clean record as a row."""
    return RepairRow(
        members["companycode"],
        members["companyname"],
        members["plate"],
        members["vin"],
        dates.day(members["repairdate"]),  # type: ignore[arg-type] # it is a day
        dates.day(members["settledate"]),  # type: ignore[arg-type] # it is a day
        Decimal(members["mileage"]),
        members["faultdescription"],
        members["costlistcode"],
        tuple(Part(p["name"], number(p["quantity"]), p["code"]) for p in members["parts"]),
        tuple(Project(p["name"], number(p["hours"])) for p in members["projects"]),
    )
