"""What the coordinator remembers of records beyond their versions: visits for history rules, visits for merging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, any_, bindparam, delete, insert, select, update

from mappings.history import History, HoursShare, Visit
from mappings.records import RepairRow
from pipelines import tables
from pipelines.upserts import given, inserting
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

    def _asked(self, name: str, values: Collection[str]) -> Iterable[Any]:
        """The rows that a question finds, in the order of the values."""
        statement = _questions(self._connection.dialect.name)[name]
        for chunk in _chunks(values):
            yield from self._connection.execute(statement, {"scope": self._scope, "values": chunk})

    def _visits(self, column: str, values: Collection[str]) -> list[Visit]:
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
            for r in self._asked(column, values)
        ]

    def visits_of_vins(self, vins: Collection[str]) -> list[Visit]:
        """Every known visit of these vehicles."""
        return self._visits("vin", vins)

    def visits_of_plates(self, plates: Collection[str]) -> list[Visit]:
        """Every known visit under these plates."""
        return self._visits("plate", plates)

    def hours_of(self, companies: Collection[str]) -> dict[str, HoursShare]:
        """Company code -> its hours so far."""
        return {r.company: HoursShare(r.rows, r.tens) for r in self._asked("hours", companies)}

    def names_of(self, companies: Collection[str]) -> dict[str, str]:
        """Company code -> the name that it is registered under."""
        return {r.companycode: r.companyname for r in self._asked("names", companies)}


@cache
def _questions(dialect: str) -> Mapping[str, Select[Any]]:
    """What is asked of the state, with `scope` and `values`; on PostgreSQL values go as one array."""
    t, h, o = tables.history, tables.company_hours, tables.operators
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import ARRAY  # late: it costs every start else

        def among(column: ColumnElement[str]) -> ColumnElement[bool]:
            return column == any_(bindparam("values", type_=ARRAY(Text)))
    else:

        def among(column: ColumnElement[str]) -> ColumnElement[bool]:
            return column.in_(bindparam("values", expanding=True))

    visits = {name: select(t).where(t.c.scope == bindparam("scope"), among(t.c[name])) for name in ("vin", "plate")}
    return {
        **visits,
        "hours": select(h).where(h.c.scope == bindparam("scope"), among(h.c.company)),
        "names": select(o.c.companycode, o.c.companyname).where(o.c.current.is_(True), among(o.c.companycode)),
    }


_HISTORY = ("scope", "companycode", "costlistcode", "vin", "plate", "repairdate", "settledate", "mileage")
_HOURS = ("scope", "company", "rows", "tens")


@cache
def _remembering(dialect: str) -> tuple[Any, Any]:
    """The statements that add visits, and hours of companies."""
    t, h = tables.history, tables.company_hours
    visits = inserting(dialect, t, _HISTORY)
    replaced = {name: visits.excluded[name] for name in _HISTORY[3:]}
    hours = inserting(dialect, h, _HOURS)
    sums = {name: h.c[name] + hours.excluded[name] for name in _HOURS[2:]}
    return (
        visits.on_conflict_do_update(index_elements=[t.c[name] for name in _HISTORY[:3]], set_=replaced),
        hours.on_conflict_do_update(index_elements=[h.c.scope, h.c.company], set_=sums),
    )


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
    dialect = connection.dialect.name
    visits, hours_of = _remembering(dialect)
    connection.execute(visits, given(dialect, list(kept.values())))
    worked: Counter[str] = Counter()
    tens: Counter[str] = Counter()
    for row in rows:
        hours = [p[1] for p in row.projects if p[1]]
        worked[row.companycode] += len(hours)
        tens[row.companycode] += sum(1 for h in hours if h % 10 == 0)
    shares = [{"scope": scope, "company": c, "rows": n, "tens": tens[c]} for c, n in sorted(worked.items())]
    connection.execute(hours_of, given(dialect, shares))


def forget(connection: Connection, scope: str, companycode: str, costlistcode: str) -> None:
    """A record is withdrawn: history rules are told no more of that visit. A company's share of hours stays as counted.

    That share is of everything that the company ever wrote, corrected records too: it tells how it writes.
    """
    t = tables.history
    connection.execute(
        delete(t).where(t.c.scope == scope, t.c.companycode == companycode, t.c.costlistcode == costlistcode)
    )


_VISIT = (tables.visits.c.destination == bindparam("at")) & (tables.visits.c.key == bindparam("of"))
_OWN = select(tables.visits.c.partner, tables.visits.c.stands).where(_VISIT)
_OF_VEHICLE = select(tables.visits).where(
    tables.visits.c.destination == bindparam("at"), tables.visits.c.vin == bindparam("of")
)
_KEEP = insert(tables.visits)
_RENEW = update(tables.visits).where(_VISIT)
# Made once: to build a statement costs more than to execute it, and there are four a record.


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
        here = {"at": destination, "of": key}
        own = self._connection.execute(_OWN, here).first()
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
            for r in self._connection.execute(_OF_VEHICLE, {"at": destination, "of": row.vin})
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
        if own is None:
            self._connection.execute(_KEEP, {"destination": destination, "key": key, **values})
        else:
            self._connection.execute(_RENEW, {**here, **values})
        if partner is None:
            return ""
        self._connection.execute(_RENEW, {"at": destination, "of": partner.key, "partner": key})
        return partner.key

    def part(self, destinations: Sequence[str], key: str) -> None:
        """A record is withdrawn: it is no visit any more, and the one that it was a pair with stands for itself."""
        t = tables.visits
        here = t.c.destination.in_(destinations)
        self._connection.execute(delete(t).where(here, t.c.key == key))
        self._connection.execute(update(t).where(here, t.c.partner == key).values(partner="", stands=True))
