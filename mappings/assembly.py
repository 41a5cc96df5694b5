"""Shanghai's pieces of one order -> one record: in any order of arrival, over any number of batches.

A record is whole when reception (`insert`), parts (`items`) and settlement (`settle`) are there. The first insert
stands (the platform refuses a second one with 2004), of items and settlements the last one (they are updates), and
corrections are laid over it last, in the order of their arrival. Of 二级维护 the car upload (`car`) and the order
upload (`order`) must be there; of each the last one stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import orjson

from mappings.documents.oldparts import OF_ORDER
from mappings.placeholders import clean, is_placeholder
from mappings.reading import read_step

SCHEMA = "vingate.shanghai-order/1"
NEEDED = ("insert", "items", "settle")
"""The steps of the three-step interface without which there is no record."""
MAINTENANCE = ("car", "order")
"""The uploads of 二级维护 without which there is no record."""

Piece = tuple[str, bytes]
"""A step's name (`insert`, `items`, `settle`, `correction`; `car`, `order`) and its body as it arrived."""

_SCALARS = (
    "companycode",
    "companyname",
    "plate",
    "vin",
    "repairdate",
    "settledate",
    "mileage",
    "faultdescription",
    "costlistcode",
)


def family(step: str) -> tuple[str, ...]:
    """The needed steps of the interface that a step belongs to; an equal code at the other one is another order."""
    return MAINTENANCE if step in MAINTENANCE else NEEDED


def missing(pieces: Iterable[Piece]) -> list[str]:
    """Which of the needed steps are not there yet; the first piece tells of which interface they are."""
    there = list(dict.fromkeys(step for step, _ in pieces))
    return [step for step in family(there[0] if there else "") if step not in there]


def assemble(pieces: Sequence[Piece], companycode: str = "", companyname: str = "") -> bytes | None:
    """Make one `shanghai-order` payload of the pieces of one order; None while a needed step is missing.

    The interface never names the company (its appId does): who knows it hands it in. The same pieces give the same
    bytes; pieces of different steps may come in any order. A piece that cannot be read adds nothing.
    """
    if missing(pieces):
        return None
    members: dict[str, Any] = {}
    for step, body in _ranked(pieces):
        found = read_step(body, step).members
        members |= {name: value for name, value in found.items() if step != "correction" or _says(value)}
    members |= {k: v for k, v in (("companycode", companycode), ("companyname", companyname)) if v}
    document: dict[str, Any] = {"schema": SCHEMA}
    document |= {name: _text(members[name]) for name in _SCALARS if name in members}
    document |= {name: _rows(members[name]) for name in ("parts", "projects") if name in members}
    return orjson.dumps(document)


def old_parts(pieces: Sequence[Piece], companycode: str) -> bytes | None:
    """What the shop says of the old parts of one 二级维护 order: a message of the form `old-part-disposal`.

    None while an upload is missing, and where the order says nothing (domain 1.7: an empty member).
    """
    if missing(pieces) or family(pieces[0][0]) != MAINTENANCE:
        return None
    members: dict[str, Any] = {}
    for step, body in _ranked(pieces):
        members |= read_step(body, step).members
    if is_placeholder(members.get("disposal")):
        return None
    told = {wire: _text(members.get(name)) for wire, name in OF_ORDER.items()}
    return orjson.dumps({"companycode": companycode, "vin": _text(members.get("vin")), **told})


def _ranked(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces in the order in which they are laid over each other."""
    if family(pieces[0][0]) == MAINTENANCE:
        return [[piece for piece in pieces if piece[0] == step][-1] for step in MAINTENANCE]
    inserts = [piece for piece in pieces if piece[0] == "insert"][:1]
    last = [[piece for piece in pieces if piece[0] == step][-1] for step in ("items", "settle")]
    return [*inserts, *last, *(piece for piece in pieces if piece[0] == "correction")]


def _says(value: object) -> bool:
    """Whether a correction's member corrects anything."""
    return bool(value) if isinstance(value, list) else not is_placeholder(value)


def _rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: _text(value) for name, value in sorted(row.items())} for row in rows]


def _text(value: object) -> object:
    return clean(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value
