"""The sheet reader: JSON payloads of one shape taken apart by the block, into columns.

What it leaves alone, the readers of single payloads look at; so it may be narrow but must never be kinder than they
are. Arrow's parser is as strict as that asks for: given a schema it refuses unknown members, members that stand twice,
other values than text, control characters and lone surrogates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from mappings.quick import Shape
from mappings.sheet import SCALARS, SCHEMA, TEXT, Sheet
from mappings.trees import DEFAULT_LIMITS, Limits

FEWEST = 64
"""Fewer payloads are not worth the columns."""
REFUSALS = 16
_MOST_BYTES = 256 << 20
_SHORTEST_MEMBER = 5
"""Bytes of `"":""`: shorter payloads than so many of them are within the limits for rows."""

SheetReader = Callable[[Sequence[bytes]], "Sheet | None"]


def compile_sheet_reader(
    shape: Shape, limits: Limits = DEFAULT_LIMITS, *, fewest: int = FEWEST, refusals: int = REFUSALS
) -> SheetReader:
    """A function that takes JSON payloads of this shape apart, into columns as sent.

    Payloads that it leaves alone stand in the sheet's `odd`, as None. Where that would be most of them, it gives None
    for the whole block.

    Args:
        shape: where the members are.
        limits: bounds on a payload.
        fewest: smaller blocks, and parts of a block that cannot be read, are left alone.
        refusals: after so many parts of a block that could not be read, the rest of it is left alone.
    """
    parse = _parser(shape)
    longest = min(limits.payload_bytes, _SHORTEST_MEMBER * limits.rows, limits.values)

    def one_each(bodies: Sequence[bytes]) -> pa.RecordBatch | None:
        return _one_each(bodies, parse, longest)

    def read(bodies: Sequence[bytes]) -> Sheet | None:
        if len(bodies) < fewest:
            return None
        found = list(_halved(bodies, one_each, fewest, refusals))
        if sum(batch.num_rows for _, batch in found) * 2 < len(bodies):
            return None
        places = np.concatenate([np.arange(start, start + batch.num_rows) for start, batch in found])
        batch = found[0][1] if len(found) == 1 else pa.concat_batches([batch for _, batch in found])
        whole = _whole(batch)
        if not whole.all():
            batch, places = batch.filter(pa.array(whole)), places[whole]
        odd = np.setdiff1d(np.arange(len(bodies)), places).tolist() if len(places) < len(bodies) else ()
        return Sheet(batch, places, dict.fromkeys(odd))

    return read


def _halved(
    bodies: Sequence[bytes], read: Callable[[Sequence[bytes]], pa.RecordBatch | None], fewest: int, refusals: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Parts of a block that can be read, from where; a part that cannot is halved to find the payload to blame."""
    parts = [(0, len(bodies))]
    while parts and refusals:
        start, end = parts.pop()
        batch = read(bodies[start:end])
        if batch is not None:
            yield start, batch
            continue
        refusals -= 1
        middle = (start + end) // 2
        if end - start >= 2 * fewest:
            parts += [(middle, end), (start, middle)]


def _one_each(bodies: Sequence[bytes], parse: Callable[[bytes], pa.RecordBatch], longest: int) -> pa.RecordBatch | None:
    """The records of payloads, or None where not every one is exactly one record.

    A parser of many values does not see where a payload ends: one half of an object here and the other half in the next
    payload would be a record to it. So each begins with a brace and ends with one. As no text may hold a line break, a
    boundary then lies between two whole values, and each payload is one where they are as many.
    """
    joined = b"\n".join(bodies)
    begins, ends = {body[:1] for body in bodies}, {body[-2:].rstrip(b"\r")[-1:] for body in bodies}
    if begins != {b"{"} or ends != {b"}"} or len(joined) > _MOST_BYTES:
        return None
    if len(max(bodies, key=len)) > longest or (b"\\" in joined and b"\\u0000" in joined):
        return None
    try:
        batch = parse(joined)
    except pa.ArrowInvalid:
        return None
    return batch if batch.num_rows == len(bodies) else None


def _whole(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which records have all objects and lists where they belong, and rows that lack nothing."""
    whole = np.ones(batch.num_rows, bool)
    there = [column.is_valid().to_numpy(zero_copy_only=False) for column in batch.columns[: len(SCALARS)]]
    whole &= np.logical_or.reduce(there)
    for rows in batch.columns[len(SCALARS) :]:
        whole &= rows.is_valid().to_numpy(zero_copy_only=False)
        for member in rows.values.flatten():
            if member.null_count:
                lacking = np.flatnonzero(member.is_null().to_numpy(zero_copy_only=False))
                whole[np.searchsorted(rows.offsets.to_numpy(), lacking, side="right") - 1] = False
    return whole


def _parser(shape: Shape) -> Callable[[bytes], pa.RecordBatch]:
    """A function that parses objects of a shape, one a line, into the columns of a sheet."""
    part = pa.struct([(member, TEXT) for member in shape.part.values()])
    project = pa.struct([(member, TEXT) for member in shape.project.values()])
    leaves = {shape.members[name]: TEXT for name in SCALARS}
    leaves |= {shape.parts: pa.list_(part), shape.projects: pa.list_(project)}
    wire = pa.schema([*_nested((), leaves), *((name, TEXT) for name in sorted(shape.ignored))])
    form = pj.ParseOptions(explicit_schema=wire, newlines_in_values=False, unexpected_field_behavior="error")
    paths = [*(shape.members[name] for name in SCALARS), shape.parts, shape.projects]
    rows = {
        shape.parts: (SCHEMA.field("parts").type.value_type, shape.part),
        shape.projects: (SCHEMA.field("projects").type.value_type, shape.project),
    }

    def renamed(path: tuple[str, ...], column: pa.ListArray) -> pa.ListArray:
        """A list of rows under its canonical names."""
        kind, names = rows[path]
        sent = dict(zip([field.name for field in column.values.type], column.values.flatten(), strict=True))
        values = pa.StructArray.from_arrays([sent[names[field.name]] for field in kind], fields=list(kind))
        return pa.ListArray.from_arrays(column.offsets, values, mask=column.is_null() if column.null_count else None)

    def parse(joined: bytes) -> pa.RecordBatch:
        whole = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
        table = pj.read_json(pa.BufferReader(joined), whole, form)
        table.validate(full=True)  # texts are UTF-8, those that carry nothing too
        found: dict[tuple[str, ...], Any] = {(name,): table.column(name).chunk(0) for name in wire.names}
        for path in paths:
            for depth in range(1, len(path)):
                holder = path[:depth]
                if path[: depth + 1] not in found:
                    names = [(*holder, field.name) for field in found[holder].type]
                    found |= dict(zip(names, found[holder].flatten(), strict=True))
        columns = [renamed(path, found[path]) if path in rows else found[path] for path in paths]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)

    return parse


def _nested(prefix: tuple[str, ...], leaves: dict[tuple[str, ...], pa.DataType]) -> list[tuple[str, pa.DataType]]:
    """The fields of the object at a path."""
    steps = dict.fromkeys(path[len(prefix)] for path in leaves if path[: len(prefix)] == prefix)
    return [(step, leaves.get((*prefix, step)) or pa.struct(_nested((*prefix, step), leaves))) for step in steps]
