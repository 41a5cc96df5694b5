"""Repair records of an older platform's database -> payloads of the national shape.

The shape is that of domain table 1.5: `rr_repair_record` with `rr_repair_item` (work) and, where there is one, a
table of parts. Column names are compared without case, the known misspelling `repairrmileate` is read as the mileage.
What the standard does not know (maintId, repairtype, repeirnature, ...) stays behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Engine, func, select

from pipelines.importing import remarks as why
from pipelines.importing.inlet import Payload
from pipelines.importing.remarks import Reason, Remarks
from pipelines.importing.tabular import SourceUnfit, Stored, as_text, has_table

_PAGE = 500
_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "companycode": ("maintCode", "companycode"),
    "companyname": ("maintName", "companyname"),
    "vehicleplatenumber": ("vehicleplatenumber",),
    "vin": ("vin",),
    "repairdate": ("repairdate",),
    "repairmileage": ("repairrmileate", "repairmileage"),
    "settledate": ("settledate",),
    "faultdescription": ("faultdescription",),
    "costlistcode": ("costlistcode",),
}
_DEMANDED = ("maintCode", "vin", "settledate", "costlistcode")
_WORK: Mapping[str, str] = {"repairproject": "repairproject", "workinghours": "workinghours"}
_NOT_DELETED = ("", "0", "false", "\0")
"""What a mark of deletion holds of a record that stands: text, a number, a boolean, a BIT."""
_PARTS: Mapping[str, str] = {"partsname": "partsname", "partsquantity": "partsquantity", "partscode": "partscode"}


class Layout(NamedTuple):
    """Names in the older database."""

    records: str = "rr_repair_record"
    items: str = "rr_repair_item"
    parts: str = "rr_repair_part"
    """A table that may be absent: the shape that was seen has none."""
    key: str = "recordId"
    """The column that holds a record and its rows together."""


class Records:
    """Reads the records of a database page by page, in the order of their key.

    Args:
        engine: the database.
        layout: its names.

    Raises:
        SourceUnfit: a table or column is not there, or the key is not each record's own; the message says which, and
            what to name.
    """

    def __init__(self, engine: Engine, layout: Layout) -> None:
        self._engine, self._layout = engine, layout
        self._records = Stored(engine, layout.records)
        self._records.demand(layout.key, *_DEMANDED)
        self._work = self._rows(layout.items, "--items-table", _WORK)
        self._parts = self._rows(layout.parts, "--parts-table", _PARTS) if has_table(engine, layout.parts) else None
        self._demand_own_keys()

    def _rows(self, name: str, option: str, members: Mapping[str, str]) -> Stored:
        stored = Stored(self._engine, name, option)
        stored.demand(self._layout.key, *members)
        return stored

    def _demand_own_keys(self) -> None:
        """Pages go by the key: records that have none, or share one, would be left out unseen."""
        key = self._records[self._layout.key]
        shared = select(key).group_by(key).having((func.count() > 1) | key.is_(None)).limit(1)
        with self._engine.connect() as connection:
            if not connection.execute(shared).all():
                return
        message = (
            f"表 {self._layout.records} 的列 {self._layout.key} 有空值或重复，不能区分记录；请用 --key 指明唯一的列，"
            f"或先整理为视图并用 --table 指明 / the column {self._layout.key} of {self._layout.records} is empty or the"
            " same in some records: name by --key a column that is each record's own, or by --table a view that has one"
        )
        raise SourceUnfit(message)

    def pages(self, remarks: Remarks) -> Iterator[list[Payload]]:
        """Payloads, some hundred at a time; what is left out is remarked."""
        key = self._records[self._layout.key]
        last: Any = None
        while True:
            chosen = select(*self._columns()).order_by(key).limit(_PAGE)
            with self._engine.connect() as connection:
                page = connection.execute(chosen if last is None else chosen.where(key > last)).all()
                if not page:
                    return
                last = page[-1].key
                yield self._payloads(connection, page, remarks)

    def _columns(self) -> list[Any]:
        columns = [self._records[self._layout.key].label("key")]
        for ours, names in _MEMBERS.items():
            columns += [self._records[name].label(ours) for name in names if name in self._records][:1]
        for mark in ("repaircomefrom", "delFlag"):
            if mark in self._records:
                columns.append(self._records[mark].label(mark))
        return columns

    def _payloads(self, connection: Connection, page: Sequence[Any], remarks: Remarks) -> list[Payload]:
        keys = [row.key for row in page]
        work = self._children(connection, self._work, keys, _WORK)
        parts = self._children(connection, self._parts, keys, _PARTS) if self._parts else {}
        found: list[Payload] = []
        for row in page:
            place, code = f"{self._layout.key} {as_text(row.key)}"[:120], as_text(row.costlistcode)
            if left := _left_out(row):
                remarks.note(place, code, "left_out", [Reason(left)])
                continue
            basic = {ours: as_text(getattr(row, ours, None)) for ours in _MEMBERS}
            whole = {
                "basicInfo": basic,
                "vehiclepartslist": parts.get(row.key, []),
                "repairprojectlist": work.get(row.key, []),
            }
            found.append(Payload(orjson.dumps(whole), place, code, basic["companycode"]))
        return found

    def _children(
        self, connection: Connection, stored: Stored, keys: list[Any], members: Mapping[str, str]
    ) -> dict[Any, list[dict[str, str]]]:
        key = stored[self._layout.key]
        chosen = select(key.label("key"), *(stored[name].label(ours) for ours, name in members.items()))
        found: dict[Any, list[dict[str, str]]] = defaultdict(list)
        for row in connection.execute(chosen.where(key.in_(keys)).order_by(key, *stored.order())):
            found[row.key].append({ours: as_text(getattr(row, ours)) for ours in members})
        return found


def _left_out(row: Any) -> str:
    """Why a record is not taken over, or nothing."""
    if as_text(getattr(row, "repaircomefrom", None)) == "2":
        return why.FROM_ABOVE
    return why.DELETED if as_text(getattr(row, "delFlag", None)) not in _NOT_DELETED else ""
