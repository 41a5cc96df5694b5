"""Bounds on what an Avro schema of others makes its decoder do: no values without end, and no depth without end.

A value of `null`, of a `fixed` of size 0, or of a record of nothing else takes no bytes: an array of such could claim
any number of items, and records of records double them at each level. The decoder descends on the stack of the
processor, which no exception guards: records within themselves, or too deep ones, end the process.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn

from connectors.contracts import Unreadable

_FREE = 1_000
_DEPTH = 200
_PRIMITIVES = frozenset(("boolean", "int", "long", "float", "double", "bytes", "string"))


class _Cost(NamedTuple):
    free: int
    """Values that a schema gives without taking a byte; 0 where it takes one."""
    depth: int


def refuse_endless(schema: Any, names: Collection[str]) -> None:  # noqa: ANN401 - any parsed schema
    """Let it pass.

    Args:
        schema: as `fastavro.parse_schema` gives it: named types are referred to by their full names.
        names: the full names of its named types.

    Raises:
        Unreadable: an array of items that take no bytes, too many values that take none, or a type that lies within
            itself or too deep.
    """
    _cost(schema, names, {})


def _cost(schema: Any, names: Collection[str], known: dict[str, _Cost]) -> _Cost:  # noqa: ANN401 - a parsed schema
    if isinstance(schema, list):
        return _bounded(0, [_cost(one, names, known) for one in schema])
    if isinstance(schema, str):
        if schema == "null":
            return _Cost(1, 1)
        if schema in names and schema not in _PRIMITIVES and schema not in known:
            _refuse("自包含的类型 / a type within itself")
        return _Cost(0, 1) if schema in _PRIMITIVES else known[schema]
    kind = schema["type"]
    if kind in ("record", "error"):
        inner = [_cost(one["type"], names, known) for one in schema["fields"]]
        free = 1 + sum(one.free for one in inner) if all(one.free for one in inner) else 0
        cost = _bounded(free, inner)
    elif kind in ("array", "map"):
        items = _cost(schema["items" if kind == "array" else "values"], names, known)
        if kind == "array" and items.free:
            _refuse("不占字节的元素的数组 / an array of items that take no bytes")
        cost = _bounded(0, [items])
    elif kind in ("fixed", "enum"):
        cost = _Cost(int(kind == "fixed" and schema["size"] == 0), 1)
    else:
        return _cost(kind, names, known)
    if "name" in schema:
        known[schema["name"]] = cost
    return cost


def _bounded(free: int, inner: list[_Cost]) -> _Cost:
    cost = _Cost(free, 1 + max((one.depth for one in inner), default=0))
    if free > _FREE or cost.depth > _DEPTH:
        _refuse("不占字节的值过多或嵌套过深 / too many values that take no bytes, or too many levels")
    return cost


def _refuse(what: str) -> NoReturn:
    message = f"Avro 模式没有界限，不予解码 / the file's Avro schema has no bounds and is not decoded: {what}"
    raise Unreadable(message, "请发送方改用有界限的模式 / ask the sender for a schema that has bounds")
