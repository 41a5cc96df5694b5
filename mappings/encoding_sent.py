"""The Avro encoder of rows as they were sent (`SentRow`): one string a record, turned into bytes once.

Bytes are written as the Latin-1 characters of the same value: CPython joins such strings as cheaply as bytes, and texts
that are ASCII anyway (codes, VIN) need no encoding of their own. What `mappings.avroschema` encodes from the typed row
is the same; a test holds both together.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from mappings.avroschema import DECIMAL_SCALE, zigzag
from mappings.avroschema import decimal_bytes as exact
from mappings.records import SentRow

_MEMO_LIMIT = 65_536
_EPOCH = date(1970, 1, 1).toordinal()
_ASCII = frozenset({"vin", "costlistcode", "code"})


class _Memo(dict[Any, str]):
    """Values that come again -> their bytes as Latin-1 text."""

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, value: Any) -> str:  # noqa: ANN401 - texts, dates and numbers
        encoded = self._encode(value).decode("latin-1")
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        if len(encoded) <= 512:
            self[value] = encoded
        return encoded


def _text(text: str) -> bytes:
    raw = text.encode()
    return zigzag(len(raw)) + raw


def _amount(text: str) -> bytes:
    return b"\x02" + exact(Decimal(text))


def _field(name: str, kind: Any, value: str) -> str:  # noqa: ANN401 - any node of a schema
    """What stands in the f-string for one value."""
    if name in _ASCII:
        return f"{{L[len({value})]}}{{{value}}}"
    if name == "plate":  # a province's character, three bytes in UTF-8, and ASCII
        return f"{{L[len({value}) + 2]}}{{P[{value}[0]]}}{{{value}[1:]}}"
    if kind == "string":
        return f"{{T[{value}]}}"
    if isinstance(kind, list):
        return f"{{A[{value}]}}"
    if kind["type"] == "array":
        row = "".join(_field(f["name"], f["type"], f"x.{f['name']}") for f in kind["items"]["fields"])
        return f"{{L[len({value})] if {value} else ''}}{{J([f'{row}' for x in {value}])}}\\0"
    if kind["logicalType"] == "date":
        return f"{{Y[{value}]}}"
    # a whole number of at most six digits, in the five bytes that `decimal_bytes` gives it
    return f"\\n{{(int({value}) * {10**DECIMAL_SCALE}).to_bytes(5, 'big').decode('latin-1')}}"


def compile_encoder(
    schema: Mapping[str, Any], fields: Sequence[str], skip: int
) -> Callable[[Sequence[SentRow]], list[bytes]]:
    """A function that encodes the named fields of a record schema for many rows; the first `skip` values are not."""
    kinds = {field["name"]: field["type"] for field in schema["fields"]}
    whole = "".join(_field(name, kinds[name], name) for name in fields)
    skipped = "".join(f"_{i}, " for i in range(skip))
    source = (
        "def encode(rows):\n"
        "    return [\n"
        f'        f"{whole}".encode("latin-1")\n'
        f"        for {skipped}{', '.join(fields)} in rows\n"
        "    ]\n"
    )
    namespace: dict[str, Any] = {
        "T": _Memo(_text),
        "P": _Memo(str.encode),
        "A": _Memo(_amount),
        "Y": _Memo(lambda day: zigzag(day.toordinal() - _EPOCH)),
        "L": _Memo(zigzag),
        "J": "".join,
    }
    filename = f"<avro encoder of sent rows of {schema['name']}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - source is made from our own schema only
    function: Callable[[Sequence[SentRow]], list[bytes]] = namespace["encode"]
    return function
