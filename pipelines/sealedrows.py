"""Rows that are sent later, sealed as a whole: what waits for its destination, and pieces of orders.

The body is sealed for the columns that say what is sent, and whose it is, so that one of them which was changed by hand
is found like a changed body: the row opens no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Row

from dlq.errors import Tampered
from dlq.sealing import Sealer

_WAITING = ("id", "exchange", "batch", "item", "ordinal", "destination", "vin", "version", "merged_into")
_PIECE = ("id", "exchange", "system", "company", "order", "step", "intake", "source", "offset", "received_at", "batch")


def seal_waiting(sealer: Sealer, row: Mapping[str, Any], record: bytes) -> dict[str, Any]:
    """A row of `waiting` with its sealed canonical record; `row` has all columns that are fixed when it is made."""
    return {**row, "record": sealer.seal(record, _context(row, _WAITING))}


def open_waiting(sealer: Sealer, row: Row[Any]) -> bytes:
    """The canonical record of a whole row of `waiting`.

    Raises:
        SealError: it was changed, or sealed with another key.
    """
    return _opened(sealer, row._asdict(), _WAITING, row.record)


def seal_piece(sealer: Sealer, row: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """A row of `fragments` with its sealed body."""
    return {**row, "body": sealer.seal(body, _context(row, _PIECE))}


def open_piece(sealer: Sealer, row: Row[Any]) -> bytes:
    """The body of a whole row of `fragments`.

    Raises:
        SealError: it was changed, or sealed with another key.
    """
    return _opened(sealer, row._asdict(), _PIECE, row.body)


def _context(row: Mapping[str, Any], names: tuple[str, ...]) -> bytes:
    return orjson.dumps([row[name] for name in names])


def _opened(sealer: Sealer, row: Mapping[str, Any], names: tuple[str, ...], sealed: bytes) -> bytes:
    try:
        return sealer.unseal(sealed, _context(row, names))
    except Tampered:
        return sealer.unseal(sealed, str(row["id"]).encode())  # of before: rows were sealed for their names alone
