"""What the coordinator remembers of records for history rules: visits, and hours that companies wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, any_, bindparam, delete, select

from mappings.history import History, HoursShare, Visit, share_of
from mappings.records import RepairRow
from pipelines import tables
from pipelines.upserts import given_rows, indexable, inserting

_ASKED = 500


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
    rows = [row for row in rows if indexable(scope, row.companycode, row.costlistcode) and indexable(scope, row.plate)]
    if not rows:
        return
    kept = {
        (row.companycode, row.costlistcode): (
            scope,
            row.companycode,
            row.costlistcode,
            row.vin,
            row.plate,
            row.repairdate.isoformat(),
            row.settledate.isoformat(),
            str(row.mileage),
        )
        for row in rows
    }
    dialect = connection.dialect.name
    visits, hours_of = _remembering(dialect)
    connection.execute(visits, given_rows(dialect, _HISTORY, kept.values()))
    shares: dict[str, HoursShare] = {}
    for row in rows:
        before, own = shares.get(row.companycode, HoursShare(0, 0)), share_of(row)
        shares[row.companycode] = HoursShare(before.rows + own.rows, before.tens + own.tens)
    added = [(scope, company, *shares[company]) for company in sorted(shares)]
    connection.execute(hours_of, given_rows(dialect, _HOURS, added))


def forget(connection: Connection, scope: str, companycode: str, costlistcode: str) -> None:
    """A record is withdrawn: history rules are told no more of that visit. A company's share of hours stays as counted.

    That share is of everything that the company ever wrote, corrected records too: it tells how it writes.
    """
    t = tables.history
    connection.execute(
        delete(t).where(t.c.scope == scope, t.c.companycode == companycode, t.c.costlistcode == costlistcode)
    )
