"""What the coordinator remembers of records beyond their versions: visits for history rules, visits for merging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mappings.history import History, HoursShare, Visit
from mappings.records import RepairRow
from pipelines import tables
from pipelines.upserts import many
from routing.dealers import Dealers
from routing.merging import Visit as MergeVisit
from routing.merging import match_one

_ASKED = 500


_INDEXED_BYTES = 2_400


def _indexable(*texts: str) -> bool:
    """Whether an index of any database holds these texts together; PostgreSQL's entries end at 2,704 bytes."""
    return sum(map(len, texts)) <= _INDEXED_BYTES // 4 or sum(len(one.encode()) for one in texts) <= _INDEXED_BYTES


def _chunks(values: Collection[str]) -> Iterable[list[str]]:
    ordered = sorted(values)
    return (ordered[at : at + _ASKED] for at in range(0, len(ordered), _ASKED))


class StateHistory(History):
    """The answers of the state to history rules, within one scope."""

    def __init__(self, connection: Connection, scope: str) -> None:
        self._connection, self._scope = connection, scope

    def _visits(self, column: str, values: Collection[str]) -> list[Visit]:
        t = tables.history
        statement = select(t).where(t.c.scope == self._scope, t.c[column].in_(bindparam("values", expanding=True)))
        return [
            Visit(
                r.companycode,
                r.costlistcode,
                r.vin,
                r.plate,
                date.fromisoformat(r.repairdate),
                date.fromisoformat(r.settledate),
                Decimal(r.mileage),
            )
            for chunk in _chunks(values)
            for r in self._connection.execute(statement, {"values": chunk})
        ]

    def visits_of_vins(self, vins: Collection[str]) -> list[Visit]:
        """Every known visit of these vehicles."""
        return self._visits("vin", vins)

    def visits_of_plates(self, plates: Collection[str]) -> list[Visit]:
        """Every known visit under these plates."""
        return self._visits("plate", plates)

    def hours_of(self, companies: Collection[str]) -> dict[str, HoursShare]:
        """Company code -> its hours so far."""
        t = tables.company_hours
        statement = select(t).where(t.c.scope == self._scope, t.c.company.in_(bindparam("values", expanding=True)))
        return {
            r.company: HoursShare(r.rows, r.tens)
            for chunk in _chunks(companies)
            for r in self._connection.execute(statement, {"values": chunk})
        }

    def names_of(self, companies: Collection[str]) -> dict[str, str]:
        """Company code -> the name that it is registered under."""
        t = tables.operators
        statement = select(t.c.companycode, t.c.companyname).where(
            t.c.current.is_(True), t.c.companycode.in_(bindparam("values", expanding=True))
        )
        return {
            r.companycode: r.companyname
            for chunk in _chunks(companies)
            for r in self._connection.execute(statement, {"values": chunk})
        }


def remember(connection: Connection, scope: str, rows: Sequence[RepairRow]) -> None:
    """Add records to what history rules will be told; one with codes too long for an index is none of theirs."""
    rows = [
        row for row in rows if _indexable(scope, row.companycode, row.costlistcode) and _indexable(scope, row.plate)
    ]
    if not rows:
        return
    kept = {
        (row.companycode, row.costlistcode): {
            "scope": scope,
            "companycode": row.companycode,
            "costlistcode": row.costlistcode,
            "vin": row.vin,
            "plate": row.plate,
            "repairdate": row.repairdate.isoformat(),
            "settledate": row.settledate.isoformat(),
            "mileage": str(row.mileage),
        }
        for row in rows
    }
    t = tables.history
    inserting, given = many(connection, t, list(kept.values()))
    replaced = {name: inserting.excluded[name] for name in ("vin", "plate", "repairdate", "settledate", "mileage")}
    key = [t.c.scope, t.c.companycode, t.c.costlistcode]
    connection.execute(inserting.on_conflict_do_update(index_elements=key, set_=replaced), given)
    worked: Counter[str] = Counter()
    tens: Counter[str] = Counter()
    for row in rows:
        hours = [p[1] for p in row.projects if p[1]]
        worked[row.companycode] += len(hours)
        tens[row.companycode] += sum(1 for h in hours if h % 10 == 0)
    h = tables.company_hours
    shares = [{"scope": scope, "company": c, "rows": n, "tens": tens[c]} for c, n in sorted(worked.items())]
    adding, given = many(connection, h, shares)
    sums = {"rows": h.c.rows + adding.excluded.rows, "tens": h.c.tens + adding.excluded.tens}
    connection.execute(adding.on_conflict_do_update(index_elements=[h.c.scope, h.c.company], set_=sums), given)


def forget(connection: Connection, scope: str, companycode: str, costlistcode: str) -> None:
    """A record is withdrawn: history rules are told no more of that visit. A company's share of hours stays as counted.

    That share is of everything that the company ever wrote, corrected records too: it tells how it writes.
    """
    t = tables.history
    connection.execute(
        delete(t).where(t.c.scope == scope, t.c.companycode == companycode, t.c.costlistcode == costlistcode)
    )


class Merger:
    """Finds the other record of the same visit at a destination, and keeps the pairs (routing.merging)."""

    def __init__(self, connection: Connection, dealers: Dealers) -> None:
        self._connection, self._dealers = connection, dealers

    def concerns(self, company: str, day: date) -> bool:
        """Whether visits of this company may come by two ways."""
        return bool(self._dealers.oem_of(company, day))

    def merged_into(self, destination: str, key: str, system: str, row: RepairRow) -> str:
        """Key of the record that this one tells the same visit as, where that one stands for both; else empty."""
        if not _indexable(destination, key):
            return ""  # no key that a store could hold
        t = tables.visits
        own = self._connection.execute(
            select(t.c.partner, t.c.stands).where(t.c.destination == destination, t.c.key == key)
        ).first()
        if own is not None and own.partner:
            return "" if own.stands else str(own.partner)
        candidate = MergeVisit(
            key,
            row.vin,
            row.companycode,
            row.settledate,
            row.mileage,
            row.costlistcode,
            system,
            self._dealers.oem_of(row.companycode, row.settledate),
        )
        others = [
            MergeVisit(
                r.key,
                r.vin,
                r.company,
                date.fromisoformat(r.settledate),
                Decimal(r.mileage),
                r.costlistcode,
                r.system,
                r.dealer_of,
                r.partner,
            )
            for r in self._connection.execute(select(t).where(t.c.destination == destination, t.c.vin == row.vin))
        ]
        partner = match_one(candidate, others)
        values: Mapping[str, Any] = {
            "vin": row.vin,
            "company": row.companycode,
            "settledate": row.settledate.isoformat(),
            "mileage": str(row.mileage),
            "costlistcode": row.costlistcode,
            "system": system,
            "dealer_of": candidate.dealer_of,
            "partner": partner.key if partner else "",
            "stands": partner is None,
        }
        where = (t.c.destination == destination) & (t.c.key == key)
        if own is None:
            self._connection.execute(insert(t), {"destination": destination, "key": key, **values})
        else:
            self._connection.execute(update(t).where(where).values(**values))
        if partner is None:
            return ""
        self._connection.execute(
            update(t).where(t.c.destination == destination, t.c.key == partner.key).values(partner=key)
        )
        return partner.key

    def part(self, destinations: Sequence[str], key: str) -> None:
        """A record is withdrawn: it is no visit any more, and the one that it was a pair with stands for itself."""
        t = tables.visits
        here = t.c.destination.in_(destinations)
        self._connection.execute(delete(t).where(here, t.c.key == key))
        self._connection.execute(update(t).where(here, t.c.partner == key).values(partner="", stands=True))
