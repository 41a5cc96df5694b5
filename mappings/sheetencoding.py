"""The Avro encoder of sheets: columns of encoded members, joined record by record.

What `mappings.avroschema` encodes from the typed row is the same; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mappings import dates
from mappings.avroschema import DAY_ZERO, DECIMAL_SCALE, decimal_bytes, zigzag
from mappings.encoding import CONTENT_FIELDS, SCHEMA, company_bytes, content_of
from mappings.records import RepairRow
from mappings.sheet import Sheet

_BYTES = pa.binary()
_NOTHING = pa.scalar(b"", _BYTES)
_END = pa.scalar(b"\0", _BYTES)
_FIVE = pa.scalar(zigzag(5), _BYTES)
_MEMO_LIMIT = 65_536
Column = Any
"""An Arrow array: of bytes where it is encoded, of texts or lists of rows where it is not."""


class _Lengths:
    """Avro's encoding of lengths and counts, looked up."""

    def __init__(self) -> None:
        self._known = pa.array([], _BYTES)

    def __call__(self, lengths: Column) -> Column:
        most = (pc.max(lengths).as_py() or 0) + 1
        if most > len(self._known):
            self._known = pa.array([zigzag(i) for i in range(max(2 * most, 128))], _BYTES)
        return self._known.take(lengths)


class _Pieces(dict[str, bytes]):
    """Memo of an encoding."""

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, text: str) -> bytes:
        encoded = self._encode(text)
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        self[text] = encoded
        return encoded

    def column(self, texts: Column) -> Column:
        """The encoding of each text, looked up once for each that is different."""
        coded = texts.dictionary_encode()
        return pa.array(map(self.__getitem__, coded.dictionary.to_pylist()), _BYTES).take(coded.indices)


_lengths = _Lengths()
_days = _Pieces(lambda raw: zigzag(dates.day(raw).toordinal() - DAY_ZERO))  # type: ignore[union-attr] # it is clean
_amounts = _Pieces(lambda raw: b"\x02" + decimal_bytes(Decimal(raw)))


def _joined(pieces: Sequence[Column]) -> Column:
    return pc.binary_join_element_wise(*pieces, _NOTHING)


def _text(column: Column) -> Iterator[Column]:
    raw = column.cast(_BYTES)
    yield _lengths(pc.binary_length(raw))
    yield raw


def _whole_number(column: Column) -> Iterator[Column]:
    """A number of at most six digits, in the five bytes that `decimal_bytes` gives it."""
    unscaled = (column.cast(pa.int64()).to_numpy() * 10**DECIMAL_SCALE).astype(">i8")
    digits = np.ascontiguousarray(unscaled.view(np.uint8).reshape(-1, 8)[:, 3:])
    yield _FIVE
    yield pa.FixedSizeBinaryArray.from_buffers(pa.binary(5), len(column), [None, pa.py_buffer(digits)]).cast(_BYTES)


def _list(column: Column, items: Mapping[str, Any]) -> Iterator[Column]:
    """Rows of a record: how many, one behind the other, the end; of no rows just the end."""
    values = column.flatten()
    pieces = [piece for f in items["fields"] for piece in _member(values.field(f["name"]), f["type"])]
    offsets = pc.subtract(column.offsets, column.offsets[0])
    counts = column.value_lengths()
    yield pc.if_else(pc.equal(counts, 0), _NOTHING, _lengths(counts))
    yield pc.binary_join(pa.ListArray.from_arrays(offsets, _joined(pieces)), _NOTHING)
    yield _END


def _member(column: Column, kind: Any) -> Iterator[Column]:  # noqa: ANN401 - any node of a schema
    """The encoding of a member, in pieces."""
    if kind == "string":
        return _text(column)
    if isinstance(kind, list):
        return iter((_amounts.column(column),))
    if kind["type"] == "array":
        return _list(column, kind["items"])
    return iter((_days.column(column),)) if kind["logicalType"] == "date" else _whole_number(column)


def compile_encoder(schema: Mapping[str, Any], fields: Sequence[str]) -> Callable[[pa.RecordBatch], Column]:
    """A function that encodes the named fields of a record schema for the clean records of a sheet."""
    kinds = {field["name"]: field["type"] for field in schema["fields"]}

    def encode(batch: pa.RecordBatch) -> Column:
        return _joined([piece for name in fields for piece in _member(batch.column(name), kinds[name])])

    return encode


_contents = compile_encoder(SCHEMA, CONTENT_FIELDS)


def records_of(sheet: Sheet, tail: bytes) -> tuple[list[bytes], list[bytes]]:
    """Of each record of a sheet the content, and the whole record, given the closing members that all have in common.

    What is no repair record has neither.
    """
    contents = _contents(sheet.batch)
    whole = _joined([*_text(sheet.batch.column("companycode")), contents, pa.scalar(tail, _BYTES)])
    return (
        _placed(sheet, contents.to_pylist(), content_of),
        _placed(sheet, whole.to_pylist(), lambda row: company_bytes(row.companycode) + content_of(row) + tail),
    )


def _placed(sheet: Sheet, encoded: list[bytes], encode: Callable[[RepairRow], bytes]) -> list[bytes]:
    """What was encoded by columns, with the odd rows in their places."""
    if not sheet.odd:
        return encoded
    found = [b""] * len(sheet)
    for place, record in zip(sheet.places.tolist(), encoded, strict=True):
        found[place] = record
    for place, row in sheet.odd.items():
        if row is not None:
            found[place] = encode(row)
    return found
