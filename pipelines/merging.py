"""Visits that may come by two ways, and the pairs that were made of them (rules: `routing.merging`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from mappings.records import RepairRow
from pipelines import tables
from pipelines.upserts import given, indexable, inserting
from routing.dealers import Dealers
from routing.merging import Visit, match_one

_ASKED = 500
"""Keys or vehicles asked for at a time."""
_COLUMNS = tuple(column.name for column in tables.visits.columns)
_AT = tables.visits.c.destination == bindparam("at")
_OF = {
    name: select(tables.visits).where(_AT, tables.visits.c[name].in_(bindparam("of", expanding=True)))
    for name in ("key", "vin")
}


class Coming(NamedTuple):
    """A record of a batch, as it comes to one destination."""

    destination: str
    key: str
    """Record key: collecting system, company code, list code."""
    vin: str


class _Kept(NamedTuple):
    visit: Visit
    stands: bool
    """Whether the record stands for both of its pair; a record without partner does."""


class Merger:
    """Finds the other record of the same visit at a destination, and keeps the pairs.

    The state is asked once for all records that are expected, and written once: expect, merge each, keep.
    """

    def __init__(self, connection: Connection, dealers: Dealers) -> None:
        self._connection, self._dealers = connection, dealers
        self._visits: dict[tuple[str, str], _Kept] = {}
        self._of_vehicle: dict[tuple[str, str], set[str]] = {}
        self._changed: dict[tuple[str, str], None] = {}

    def concerns(self, company: str, day: date) -> bool:
        """Whether visits of this company may come by two ways."""
        return bool(self._dealers.oem_of(company, day))

    def expect(self, coming: Iterable[Coming]) -> None:
        """Read what is known of these records and of their vehicles; what came before is kept first."""
        self.keep()
        self._visits, self._of_vehicle = {}, {}
        keys, vins = defaultdict(set), defaultdict(set)
        for one in coming:
            keys[one.destination].add(one.key)
            vins[one.destination].add(one.vin)
        for name, wanted in (("key", keys), ("vin", vins)):
            for destination, values in sorted(wanted.items()):
                ordered = sorted(values)
                for at in range(0, len(ordered), _ASKED):
                    asked = {"at": destination, "of": ordered[at : at + _ASKED]}
                    for row in self._connection.execute(_OF[name], asked):
                        self._set(destination, _kept(row))

    def merged_into(self, destination: str, key: str, system: str, row: RepairRow) -> str:
        """Key of the record that this one tells the same visit as, where that one stands for both; else empty."""
        if not indexable(destination, key):
            return ""  # no key that a store could hold
        own = self._visits.get((destination, key))
        if own is not None and own.visit.partner:
            return "" if own.stands else own.visit.partner
        candidate = Visit(
            key,
            row.vin,
            row.companycode,
            row.settledate,
            row.mileage,
            row.costlistcode,
            system,
            self._dealers.oem_of(row.companycode, row.settledate),
        )
        others = self._of_vehicle.get((destination, row.vin), ())
        partner = match_one(candidate, [self._visits[destination, other].visit for other in others])
        self._change(destination, _Kept(candidate._replace(partner=partner.key if partner else ""), partner is None))
        if partner is None:
            return ""
        other = self._visits[destination, partner.key]
        self._change(destination, other._replace(visit=partner._replace(partner=key)))
        return partner.key

    def part(self, destinations: Sequence[str], key: str) -> None:
        """A record is withdrawn: it is no visit any more, and the one that it was a pair with stands for itself."""
        self.keep()
        t = tables.visits
        here = t.c.destination.in_(destinations)
        self._connection.execute(delete(t).where(here, t.c.key == key))
        self._connection.execute(update(t).where(here, t.c.partner == key).values(partner="", stands=True))

    def keep(self) -> None:
        """Write what changed since the last time."""
        rows = [_row(destination, self._visits[destination, key]) for destination, key in self._changed]
        if rows:
            dialect = self._connection.dialect.name
            self._connection.execute(_keeping(dialect), given(dialect, rows))
        self._changed = {}

    def _set(self, destination: str, kept: _Kept) -> None:
        before = self._visits.get((destination, kept.visit.key))
        if before is not None and before.visit.vin != kept.visit.vin:
            self._of_vehicle[destination, before.visit.vin].discard(kept.visit.key)
        self._visits[destination, kept.visit.key] = kept
        self._of_vehicle.setdefault((destination, kept.visit.vin), set()).add(kept.visit.key)

    def _change(self, destination: str, kept: _Kept) -> None:
        self._set(destination, kept)
        self._changed[destination, kept.visit.key] = None


def pair_of(connection: Connection, destination: str, key: str) -> str:
    """Key of the record that this one was merged into at a destination; empty where it stands for itself."""
    t = tables.visits
    where = (t.c.destination == destination) & (t.c.key == key) & t.c.stands.is_(False)
    return str(connection.execute(select(t.c.partner).where(where)).scalar() or "")


@cache
def _keeping(dialect: str) -> Any:
    statement = inserting(dialect, tables.visits, _COLUMNS)
    replaced = {name: statement.excluded[name] for name in _COLUMNS[2:]}
    return statement.on_conflict_do_update(index_elements=[tables.visits.c[n] for n in _COLUMNS[:2]], set_=replaced)


def _kept(row: Any) -> _Kept:
    visit = Visit(
        row.key,
        row.vin,
        row.company,
        date.fromisoformat(row.settledate),
        Decimal(row.mileage),
        row.costlistcode,
        row.system,
        row.dealer_of,
        row.partner,
    )
    return _Kept(visit, row.stands)


def _row(destination: str, kept: _Kept) -> dict[str, Any]:
    members = kept.visit._asdict()
    changed = {"settledate": kept.visit.settledate.isoformat(), "mileage": str(kept.visit.mileage)}
    return {"destination": destination, **members, **changed, "stands": kept.stands}
