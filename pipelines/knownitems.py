"""Work items that are known: what makes one the same as another, and how their envelopes are accounted.

The envelopes of an item that was taken before are duplicates before anything is read of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection, bindparam, insert, select

from connectors.contracts import WorkItem
from pipelines import tables

RESTORED = "restored"
"""Kind of a batch that was made again from the rows of stores (`pipelines.relearning`), and the source of its item."""

_ENVELOPES = select(tables.items.c.envelopes).where(
    *(tables.items.c[name] == bindparam(name) for name in ("exchange", "sender", "digest", "start", "stop"))
)


def sender(item: WorkItem) -> str:
    """From whom an item is: the same bytes from two shops are two files."""
    return f"{item.system}|{item.company}"


def identity(item: WorkItem) -> tuple[str, str, int, int]:
    """What makes an item the same as another: its sender, its bytes, and which of them."""
    return sender(item), item.digest, item.offset, stop(item)


def stop(item: WorkItem) -> int:
    """Where an item ends; -1: with its source."""
    return item.offset + item.length if item.length >= 0 else -1


def packed_items(items: Sequence[WorkItem]) -> bytes:
    """Items as the state keeps them."""
    return orjson.dumps([[i.source, i.digest, i.offset, i.length, i.company, i.system, dict(i.extra)] for i in items])


def unpacked_items(packed: bytes) -> list[WorkItem]:
    """Items of their kept form."""
    return [WorkItem(*raw) for raw in orjson.loads(packed)]


def batch_id(exchange: str, number: int) -> str:
    """The name of a batch."""
    return f"{exchange}-{number:06d}"


def envelopes_of(connection: Connection, exchange: str, item: WorkItem) -> int | None:
    """How many envelopes this very item had when it was taken; None when it never was."""
    name, digest, start, end = identity(item)
    asked = {"exchange": exchange, "sender": name, "digest": digest, "start": start, "stop": end}
    return connection.execute(_ENVELOPES, asked).scalar()


def account_known(
    connection: Connection, exchange: str, number: int, run: int, received_at: str, repeated: Sequence[WorkItem]
) -> None:
    """Write a batch of known items to the ledger, closed as it is opened.

    What is known only since the batch before it is accounted in that batch's decision: were it a commit of its own, a
    kill between the two would give it another number.
    """
    total = sum(envelopes_of(connection, exchange, item) or 0 for item in repeated)
    connection.execute(
        insert(tables.batches),
        {
            "id": batch_id(exchange, number),
            "exchange": exchange,
            "number": number,
            "run": run,
            "kind": "known",
            "state": "closed",
            "received_at": received_at,
            "items": packed_items(repeated),
            "received": total,
            "duplicate_intake": total,
        },
    )
