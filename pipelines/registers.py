"""The state's own registers: vehicle registrations and operators, a history of which the newest of a key stands.

Every accepted record stays as a row, so that what a batch delivered can be counted again, whatever replaced it since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson
from sqlalchemy import Connection, func, insert, select, update

from connectors.contracts import ACCEPTED, DUPLICATE, Delivery, Outcome, Tally, fingerprint
from mappings.encoding import delivery_id
from pipelines import tables
from pipelines.state import State
from pipelines.steps import OPERATORS

_MEMBERS = {
    "operators": ("companycode", "companyname"),
    "registrations": ("vin", "valid_from", "valid_to", "plate", "home"),
}
_KEYS = {"operators": ("companycode",), "registrations": ("vin", "valid_from")}


def reference(record: Mapping[str, Any], body: bytes, destination: str, place: int, batch: str) -> Delivery:
    """The delivery of a reference record. Its version is its place of intake: nobody numbers versions of these."""
    key = "|".join(str(record.get(name) or "") for name in ("vin", "valid_from", "companycode"))
    digest = blake2b(body, digest_size=8).hexdigest()
    return Delivery(delivery_id(key, place, digest, destination), destination, key, place, digest, body, batch)


class RegisterSink:
    """One of the state's registers (the destinations `registrations` and `operators`)."""

    exact = True
    """It tells by the place of intake what it has taken: its *duplicate* is one, also after a crash."""

    def __init__(self, state: State, destination: str) -> None:
        self._state, self.destination = state, destination
        self._table = tables.operators if destination == OPERATORS else tables.registrations
        self._names = _MEMBERS[self._table.name]
        self._key = _KEYS[self._table.name]

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Write reference records: of one key the one that came in last stands; the same again is a duplicate."""
        with self._state.unit_of_work() as connection:
            return [self._one(connection, delivery) for delivery in deliveries]

    def _one(self, connection: Connection, delivery: Delivery) -> Outcome:
        t, members = self._table, orjson.loads(delivery.body)
        same = [t.c[name] == members[name] for name in self._key]
        around = select(t.c.delivery_id, t.c.intake, t.c.record).where(*same)
        before = connection.execute(
            around.where(t.c.intake <= delivery.version).order_by(t.c.intake.desc()).limit(1)
        ).first()
        if before is not None and before.intake == delivery.version:
            return Outcome(ACCEPTED)
        if before is not None and before.record.encode() == delivery.body:
            return Outcome(DUPLICATE)
        late = connection.execute(around.where(t.c.intake > delivery.version).limit(1)).first() is not None
        values = {name: members.get(name) for name in self._names}
        if "sequence" in t.c:
            values["sequence"] = (connection.execute(select(func.max(t.c.sequence))).scalar_one() or 0) + 1
        if not late:
            connection.execute(update(t).where(*same, t.c.current.is_(True)).values(current=False))
        values |= {"intake": delivery.version, "current": not late, "record": delivery.body.decode()}
        connection.execute(insert(t), {**values, "delivery_id": delivery.id, "batch": delivery.batch})
        return Outcome(ACCEPTED)

    def verify(self, batch: str) -> Tally:
        """The batch's rows, superseded ones too, computed again from what stands in them.

        A row whose columns contradict its record, or whose `current` contradicts its history, is not counted.
        """
        return self.verify_many([batch])[batch]

    def verify_many(self, batches: Sequence[str]) -> dict[str, Tally]:
        """The same for each of some batches, in one query."""
        t, other = self._table, self._table.alias("other")
        newest = (
            select(func.max(other.c.intake))
            .where(*(other.c[name] == t.c[name] for name in self._key))
            .scalar_subquery()
        )
        found: dict[str, list[int]] = {batch: [0, 0] for batch in batches}
        with self._state.reading() as connection:
            for row in connection.execute(select(t, newest.label("newest")).where(t.c.batch.in_(batches))):
                made = self._standing(row)
                if made is not None:
                    found[row.batch][0] += 1
                    found[row.batch][1] += fingerprint(made)
        return {batch: Tally(count, digest % 2**64) for batch, (count, digest) in found.items()}

    def _standing(self, row: Any) -> Delivery | None:
        """The delivery of a row that is as it was written; None where it is not."""
        members, given = _members(row.record), row._mapping
        if members is None or any(given[name] != members.get(name) for name in self._names):
            return None
        if bool(row.current) != (row.intake == row.newest):
            return None
        made = reference(members, row.record.encode(), self.destination, row.intake, row.batch)
        return made if made.id == row.delivery_id else None

    def check(self) -> list[str]:
        """How much the register holds."""
        t = self._table
        with self._state.reading() as connection:
            count = connection.execute(select(func.count()).select_from(t).where(t.c.current.is_(True))).scalar_one()
        return [f"{self.destination}: {count} 条 / {count} records"]

    def close(self) -> None:
        """Nothing is held."""


def _members(record: str) -> dict[str, Any] | None:
    try:
        members = orjson.loads(record)
    except orjson.JSONDecodeError:
        return None
    return members if isinstance(members, dict) else None
