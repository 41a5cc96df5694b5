"""Partitions: which envelopes must be worked on by one gateway, so that the order of a vehicle's records is kept.

An envelope's partition follows from its vehicle; where no VIN can be read, and for pieces of orders, which may or may
not bear one, from its sender. The number of partitions is no setting: doors on several hosts must agree on it, and so
must everything that waits.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from zlib import crc32

from sqlalchemy import ColumnElement

PARTITIONS = 32
"""A power of two; at most so many gateways have work of their own. Changing it needs a migration of the inbox."""
_MASK = PARTITIONS - 1
_IN_STEPS = ("shanghai", "secondary")
_PIECE = re.compile(rb'"(?:orderCode|incomingInspectionId)\\?"')
_VIN = re.compile(rb'"vin\\?"\s*:\s*\\?"\s*([0-9A-Za-z]{17})\s*\\?"')
_PIECES = (b"orderCode", b"incomingInspectionId")
_SOUGHT = 1 << 20


def partition_of(vin: int, sender: str, dialect: str = "") -> int:
    """The partition of an envelope, by the hash of its VIN (0: none could be read), else by its sender."""
    if vin and not dialect.startswith(_IN_STEPS):
        return vin & _MASK
    return crc32(sender.encode()) & _MASK


def vin_in(body: bytes) -> str:
    """The VIN in a payload that nobody has decoded yet; empty where none is found, or it is a piece of an order.

    It only chooses a partition. A payload that hides its VIN goes by its sender, and its versions are still right:
    they are compared by the record's key, whatever the partition.
    """
    found = _VIN.search(body, 0, _SOUGHT)
    if found is None or (any(name in body for name in _PIECES) and _PIECE.search(body, 0, _SOUGHT)):
        return ""
    return found[1].decode().upper()


def among(vin: ColumnElement[int], partitions: Collection[int] | None) -> list[ColumnElement[bool]]:
    """The condition that a signed VIN hash is of these partitions; no condition where all are meant (None)."""
    if partitions is None:
        return []
    masked: Any = vin.op("&")(_MASK)
    return [masked.in_(sorted(partitions))]
