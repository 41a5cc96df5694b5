"""What was disclosed to somebody who asked: written down before the answer goes out, as deliveries are (事中留痕).

A page is one row, with a fixed-width line for each record in it; who asks, and what was told under which terms, stands
beside. `vingate trace` finds them by the vehicle, as it finds journals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson
from sqlalchemy import Connection, insert, select

from mappings.encoding import key_digest
from pipelines import tables
from pipelines.disclosures import keep_terms
from pipelines.state import State
from pipelines.versions import key_halves
from pipelines.vinhash import vin_hash, vin_hashes
from routing.agreements import Terms

_LINE = np.dtype([("vin", "<u8"), ("key_hi", "<u8"), ("key_lo", "<u8"), ("version", "<u4")])
_TOLD = ("vin", "day", "members")
"""What an answer has of a document, beside its version and digest."""


class Told(NamedTuple):
    """A version of a record in an answer."""

    vin: str
    companycode: str
    costlistcode: str
    version: int


class Pull(NamedTuple):
    """A record's version that somebody was told."""

    key: tuple[int, int]
    """Digest of company and list code (`key_of`)."""
    version: int
    disclosed: dict[str, Any]
    """Who, when, under which agreement and approval, which fields: as `vingate trace` shows it."""


def key_of(companycode: str, costlistcode: str) -> tuple[int, int]:
    """What stands for a record's name in a row: a document's number may hold a VIN."""
    return key_halves(key_digest("", "", companycode, costlistcode))


def note_pull(state: State, who: str, destination: str, terms: Terms, told: Sequence[Told]) -> None:
    """Write down what an answer tells; nothing where it tells nothing.

    Args:
        state: the state; need not be owned.
        who: the account that asks.
        destination: whom it stands for in agreements.
        terms: under which it is told.
        told: the records.
    """
    if not told:
        return
    lines = np.zeros(len(told), _LINE)
    lines["vin"] = vin_hashes([one.vin for one in told])
    keys = [key_of(one.companycode, one.costlistcode) for one in told]
    lines["key_hi"], lines["key_lo"] = [hi for hi, _ in keys], [lo for _, lo in keys]
    lines["version"] = [one.version for one in told]
    row = {
        "moment": datetime.now(UTC).isoformat(),
        "who": who,
        "destination": destination,
        "kind": terms.kind,
        "terms": terms.digest,
        "count": len(told),
        "lines": lines.tobytes(),
    }
    with state.unit_of_work() as connection:
        keep_terms(connection, [terms])
        connection.execute(insert(tables.pulls), row)


def pulls_of(connection: Connection, vin: str) -> Iterator[Pull]:
    """Everything that was told of a vehicle to those who asked, oldest first."""
    wanted = np.uint64(vin_hash(vin))
    if not wanted:
        return
    p, t = tables.pulls, tables.terms
    asked = select(p, t.c.agreement, t.c.version, t.c.approval, t.c.purpose, t.c.fields)
    asked = asked.join(t, t.c.digest == p.c.terms).order_by(p.c.moment, p.c.id)
    for row in connection.execute(asked.execution_options(yield_per=100)):
        lines = np.frombuffer(row.lines, _LINE)
        for line in lines[lines["vin"] == wanted]:
            key = int(line["key_hi"]), int(line["key_lo"])
            yield Pull(key, int(line["version"]), _disclosed(row))


def _disclosed(row: Any) -> dict[str, Any]:
    fields = {path: how for path, how in orjson.loads(row.fields).items() if path.split(".")[0] in _TOLD}
    return {
        "destination": row.destination,
        "moment": row.moment,
        "agreement": row.agreement,
        "version": row.version,
        "approval": row.approval,
        "purpose": row.purpose,
        "kind": row.kind,
        "asked_by": row.who,
        "fields": [{"path": path, "treatment": how} for path, how in fields.items()],
    }
