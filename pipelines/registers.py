"""The state's own registers: vehicle registrations and operators, a history of which the newest of a key stands.

Every accepted record stays as a row, so that what a batch delivered can be counted again, whatever replaced it since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
from sqlalchemy import Connection, Table, bindparam, func, insert, select, update

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
_ASKED = 500
"""Vehicles or companies asked for at a time."""


def reference(record: Mapping[str, Any], body: bytes, destination: str, place: int, batch: str) -> Delivery:
    """The delivery of a reference record. Its version is its place of intake: nobody numbers versions of these."""
    key = "|".join(str(record.get(name) or "") for name in ("vin", "valid_from", "companycode"))
    digest = blake2b(body, digest_size=8).hexdigest()
    return Delivery(delivery_id(key, place, digest, destination), destination, key, place, digest, body, batch)


@dataclass(slots=True)
class _Row:
    """A row of one key's history, as far as the next one has to know it."""

    intake: int
    record: bytes
    current: bool
    batch: str = ""
    """Batch of a row that is added; a row that was there has none."""


class _Histories:
    """The histories of some keys: read at once, added to, written at once."""

    def __init__(self, connection: Connection, table: Table, records: Sequence[Mapping[str, Any]]) -> None:
        self._connection, self._table = connection, table
        self._key, self._names = _KEYS[table.name], _MEMBERS[table.name]
        self._rows: dict[tuple[Any, ...], list[_Row]] = {self._name(record): [] for record in records}
        self._added: list[tuple[_Row, Delivery, Mapping[str, Any]]] = []
        self._superseded: list[dict[str, Any]] = []
        column = table.c[self._key[0]]
        asked = sorted({name[0] for name in self._rows})
        for at in range(0, len(asked), _ASKED):
            for row in connection.execute(select(table).where(column.in_(asked[at : at + _ASKED]))):
                kept = self._rows.get(self._name(row._asdict()))
                if kept is not None:
                    kept.append(_Row(row.intake, row.record.encode(), row.current))

    def _name(self, members: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(members[name] for name in self._key)

    def add(self, delivery: Delivery, members: Mapping[str, Any]) -> Outcome:
        """Take one record into the history of its key."""
        name, place = self._name(members), delivery.version
        history = self._rows[name]
        before = max((row for row in history if row.intake <= place), key=lambda row: row.intake, default=None)
        if before is not None and before.intake == place:
            return Outcome(ACCEPTED)
        if before is not None and before.record == delivery.body:
            return Outcome(DUPLICATE)
        late = any(row.intake > place for row in history)
        if not late:
            for row in history:
                if row.current and not row.batch:
                    self._superseded.append({**dict(zip(self._key, name, strict=True)), "intake": row.intake})
                row.current = False
        added = _Row(place, delivery.body, not late, delivery.batch)
        history.append(added)
        self._added.append((added, delivery, members))
        return Outcome(ACCEPTED)

    def keep(self) -> None:
        """Write what was added, and that what it replaced stands no more."""
        t, names = self._table, (*self._key, "intake")
        if self._superseded:
            same = [t.c[name] == bindparam(f"of_{name}") for name in names]
            replaced = [{f"of_{name}": value for name, value in row.items()} for row in self._superseded]
            self._connection.execute(update(t).where(*same).values(current=False), replaced)
        if not self._added:
            return
        rows = [
            {
                **{name: members.get(name) for name in self._names},
                "intake": row.intake,
                "current": row.current,
                "record": row.record.decode(),
                "delivery_id": delivery.id,
                "batch": row.batch,
            }
            for row, delivery, members in self._added
        ]
        if "sequence" in t.c:
            last = self._connection.execute(select(func.max(t.c.sequence))).scalar_one() or 0
            rows = [{**row, "sequence": last + at} for at, row in enumerate(rows, 1)]
        self._connection.execute(insert(t), rows)


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
        members = [orjson.loads(delivery.body) for delivery in deliveries]
        with self._state.unit_of_work() as connection:
            histories = _Histories(connection, self._table, members)
            outcomes = [histories.add(*one) for one in zip(deliveries, members, strict=True)]
            histories.keep()
        return outcomes

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
