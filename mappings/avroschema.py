"""Avro schemas generated from the canonical records, and the encoder generated from a schema.

Generated code is what makes Avro cheap: a generic writer walks the schema for every record, this one was walked once.
The encoding is the Avro 1.11 binary encoding; a test decodes it with an independent reader.
"""

from __future__ import annotations

import json
import linecache
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from mappings.records import Part, Project, Provenance, RepairRow

DECIMAL_SCALE = 4
"""Decimal places kept of quantities, hours and mileage (domain rule 5: one or two occur; four are accepted)."""

_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": DECIMAL_SCALE}
_DATE = {"type": "int", "logicalType": "date"}
_INSTANT = {"type": "long", "logicalType": "timestamp-millis"}
_KINDS: Mapping[Any, Any] = {str: "string", int: "int", Decimal: _DECIMAL, date: _DATE, datetime: _INSTANT}

_MEMO_LIMIT = 65_536
DAY_ZERO = date(1970, 1, 1).toordinal()
"""The day that Avro counts dates from."""


def repair_schema() -> dict[str, Any]:
    """The schema of a delivered repair record: the members of `RepairRow`, then those of `Provenance`, as annotated.

    Members that came after the first edition have a default, so that readers of either edition read both.
    """
    row, provenance = get_type_hints(RepairRow), get_type_hints(Provenance)
    fields = row | {name: provenance[name] for name in Provenance.model_fields}
    schema = _record("Repair", fields)
    schema["namespace"] = "vingate"
    schema["fields"].append({"name": "withdrawn", "type": _kind(str | None), "default": None})
    return schema


def _record(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": n, "type": _kind(kind)} for n, kind in fields.items()]}


def _kind(annotation: Any) -> Any:  # noqa: ANN401 - a type, and any node of a schema
    """The Avro type of a member, by its annotation."""
    if annotation in _KINDS:
        return _KINDS[annotation]
    inner = get_args(annotation)
    if get_origin(annotation) is tuple and inner[1:] == (...,):
        return {"type": "array", "items": _kind(inner[0])}
    if get_origin(annotation) is UnionType and inner[1:] == (NoneType,):
        return ["null", _kind(inner[0])]
    if isinstance(annotation, type) and issubclass(annotation, Part | Project):
        return _record(annotation.__name__, get_type_hints(annotation))
    message = f"no Avro type for {annotation!r}"
    raise ValueError(message)


def schema_text() -> str:
    """The schema as the file `mappings/data/repair.avsc` holds it: `python -m mappings.avroschema` writes it."""
    return json.dumps(repair_schema(), ensure_ascii=False, indent=2) + "\n"


def zigzag(number: int) -> bytes:
    """Avro's int and long: zig-zag, then base 128 with continuation bits."""
    value = (number << 1) ^ (number >> 63)
    out = bytearray()
    while value & ~0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Texts(dict[str, bytes]):
    """Memo of encoded strings: names repeat, and a dict look-up is the cheapest encoder."""

    def __missing__(self, text: str) -> bytes:
        raw = text.encode("utf-8", "surrogatepass")
        encoded = zigzag(len(raw)) + raw
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        if len(raw) <= 256:
            self[text] = encoded
        return encoded


class _Days(dict[date, bytes]):
    def __missing__(self, day: date) -> bytes:
        encoded = self[day] = zigzag(day.toordinal() - DAY_ZERO)
        return encoded


_SCALE = Decimal(10**DECIMAL_SCALE)
_LENGTHS = tuple(zigzag(length) for length in range(64))
_FIVE, _IN_FIVE = _LENGTHS[5], 1 << 39


def decimal_bytes(number: Decimal) -> bytes:
    """Avro's decimal: the unscaled integer in two's complement. Usual sizes take five bytes without asking how many."""
    unscaled = int(number * _SCALE)
    if 0 <= unscaled < _IN_FIVE:
        return _FIVE + unscaled.to_bytes(5, "big")
    size = (unscaled.bit_length() + 8) >> 3
    return _LENGTHS[size] + unscaled.to_bytes(size, "big", signed=True)


class _MaybeDecimals(dict[Decimal | None, bytes]):
    def __missing__(self, number: Decimal | None) -> bytes:
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        encoded = self[number] = b"\x00" if number is None else b"\x02" + decimal_bytes(number)
        return encoded


class _Counts(dict[int, bytes]):
    def __missing__(self, count: int) -> bytes:
        encoded = self[count] = zigzag(count)
        return encoded


def _expression(kind: Any, value: str, unique: bool) -> str:  # noqa: ANN401 - any node of a schema
    """Source of the expression that encodes `value` of Avro type `kind`."""
    if kind == "string":
        return f"L[len(e := {value}.encode())] + e" if unique else f"T[{value}]"
    if kind in ("int", "long"):
        return f"L2[{value}]"
    if kind == ["null", "string"]:
        return f"(Z if {value} is None else U + T[{value}])"
    if isinstance(kind, list):
        return f"M[{value}]"
    if kind.get("logicalType") == "decimal":
        return f"D({value})"
    if kind.get("logicalType") == "date":
        return f"Y[{value}]"
    if kind.get("logicalType") == "timestamp-millis":
        return f"zigzag({value})"
    if kind.get("type") == "array":
        return _array(kind["items"], value)
    message = f"no encoding for {kind!r}"
    raise ValueError(message)


def _array(items: Any, value: str) -> str:  # noqa: ANN401 - any node of a schema
    if isinstance(items, str):
        body = _expression(items, "x", unique=False)
        inner = f"b''.join([{body} for x in {value}])"
    else:
        names = [field["name"] for field in items["fields"]]
        parts = " + ".join(_expression(f["type"], f["name"], unique=f["name"] == "code") for f in items["fields"])
        inner = f"b''.join([{parts} for {', '.join(names)} in {value}])"
    return f"(L2[len({value})] + {inner} + Z if {value} else Z)"


def compile_encoder(
    schema: Mapping[str, Any], fields: tuple[str, ...], unique: frozenset[str] = frozenset(), skip: int = 0
) -> Callable[[Iterable[Any]], list[bytes]]:
    """A function that encodes the named fields of a record schema for many tuples of their values at once.

    Args:
        schema: an Avro record schema.
        fields: names of the fields to encode, in order.
        unique: string fields whose values rarely repeat: they are encoded without a memo.
        skip: values at the start of each tuple that are not encoded.
    """
    kinds = {field["name"]: field["type"] for field in schema["fields"]}
    expressions = ",\n            ".join(f"{_expression(kinds[name], name, name in unique)}" for name in fields)
    skipped = "".join(f"_{i}, " for i in range(skip))
    source = (
        "def encode(rows):\n"
        "    encoded = []\n"
        "    add, join = encoded.append, b''.join\n"
        f"    for {skipped}{', '.join(fields)}, in rows:\n"
        f"        add(join((\n            {expressions},\n        )))\n"
        "    return encoded\n"
    )
    namespace: dict[str, Any] = {
        "T": _Texts(),
        "D": decimal_bytes,
        "M": _MaybeDecimals(),
        "Y": _Days(),
        "L": _Counts(),
        "L2": _Counts(),
        "Z": b"\x00",
        "U": b"\x02",
        "zigzag": zigzag,
    }
    filename = f"<avro encoder of {schema['name']}: {fields[0]}..{fields[-1]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - source is made from our own schema only
    function: Callable[[Iterable[Any]], list[bytes]] = namespace["encode"]
    return function


if __name__ == "__main__":
    sys.stdout.write(schema_text())
