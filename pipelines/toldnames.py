"""What an exchange that derives has told, by name: so that what no longer follows can be withdrawn by its name.

Index and journals know records by digests. The names of derived documents stand beside their journal lines, sealed,
since a number may hold a VIN.
"""

from __future__ import annotations

import zlib
from base64 import b85decode, b85encode
from collections.abc import Mapping
from pathlib import Path

import orjson
from sqlalchemy import select

from dlq.sealing import Sealer
from mappings.encoding import WITHDRAWN
from pipelines import tables
from pipelines.journal import ADDRESSED, Journal
from pipelines.state import State

Named = tuple[str, str]
"""Issuer, and the code in the place of a list code: kind and number."""


def sealed_names(sealer: Sealer, batch: str, names: Mapping[int, Named]) -> str:
    """Names of a batch's records, by ordinal, as a journal keeps them."""
    packed = zlib.compress(orjson.dumps(list(names.items())), 1)
    return b85encode(sealer.seal(packed, batch.encode())).decode()


def opened_names(sealer: Sealer, batch: str, sealed: str) -> dict[int, Named]:
    """Ordinal -> name.

    Raises:
        SealError: it was changed, or sealed with another key.
    """
    packed = sealer.unseal(b85decode(sealed), batch.encode())
    return {ordinal: (issuer, listed) for ordinal, (issuer, listed) in orjson.loads(zlib.decompress(packed))}


def names_told(folder: Path, exchange: str) -> set[Named]:
    """The documents that an exchange has told and not withdrawn, whatever became of them at their destinations.

    Raises:
        StateMissing: there is no such state.
        SealError: a journal was changed, or its key is another one.
    """
    found: set[Named] = set()
    j, b = tables.journals, tables.batches
    wanted = (
        select(j.c.batch, j.c.lines)
        .join(b, b.c.id == j.c.batch)
        .where(b.c.exchange == exchange)
        .order_by(b.c.number, j.c.item)
        .execution_options(yield_per=8)
    )
    with State(folder, own=False) as state, state.reading() as connection:
        sealer = state.sealer()
        for batch, packed in connection.execute(wanted):
            book = Journal.unpack(packed)
            names: dict[int, Named] = {}
            for sealed in book.names:
                names |= opened_names(sealer, batch, sealed)
            for line in book.lines[book.lines["fate"] == ADDRESSED] if names else ():
                name = names.get(int(line["ordinal"]))
                if name is not None and int(line["content"]) == WITHDRAWN:
                    found.discard(name)
                elif name is not None:
                    found.add(name)
    return found
