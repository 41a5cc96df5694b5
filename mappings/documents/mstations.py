"""M stations (汽车排放性能维护（维修）站): the reference list of an environment department, row by row.

Of Mstation_M the columns `companyuniquecode` and `address` are public (domain section 3.2); the rest is our own:

| member | M/O | meaning |
|---|---|---|
| companyuniquecode | M | the station's code in the environment department's system |
| companycode | O | its code in the repair records, where that is another one |
| name (companyname) | O | |
| address | O | |
| area | O | division, GB/T 2260; else that of the code |
| from (valid_from), to (valid_to) | M, O | first and last day of validity; without a last day it is in force |

Form `m-station` is a row as a JSON object, `m-station-csv` a table of one row under these titles.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar

from mappings import divisions
from mappings.documents import Document, Identity
from mappings.documents.kinds import Form, Judged
from mappings.reportnumbers import area_of
from mappings.rules import fields
from mappings.rules.case import Case
from mappings.rules.messages import Body, Message, Names
from mappings.trees import TreeError, decode_text, fold


class MStation(Document):
    """One M station, and when its listing is in force."""

    KIND: ClassVar[str] = "m-station"

    companyuniquecode: str
    companycode: str
    """The code that repair records bear; `companyuniquecode` where the list names no other."""
    name: str | None = None
    address: str | None = None
    area: str | None = None
    valid_from: date
    valid_to: date | None = None

    @property
    def identity(self) -> Identity:
        """Under its own code, numbered by code and first day: a new listing is a new document."""
        number = f"{self.companyuniquecode}/{self.valid_from.isoformat()}"
        return Identity(self.companyuniquecode, number, self.valid_from)

    def valid(self, day: date) -> bool:
        """Whether the listing is in force on that day, both bounds included."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


_NAMES: Names = {
    "companyuniquecode": ("companyuniquecode",),
    "companycode": ("companycode",),
    "name": ("name", "companyname"),
    "address": ("address", "companyaddress"),
    "area": ("area", "companyadministrativedivisioncode"),
    "valid_from": ("from", "valid_from"),
    "valid_to": ("to", "valid_to"),
}
_REPAIR_MEMBERS = frozenset({"costlistcode", "vin", "test_no", "jkid"})


def _recognises(members: Mapping[str, Any]) -> bool:
    return "companyuniquecode" in members and not _REPAIR_MEMBERS & members.keys()


def _judge(case: Case) -> Judged:
    Message(case).rename(Body(case.members), _NAMES)
    code = fields.required_text(case, "companyuniquecode")
    own = fields.optional_text(case, "companycode")
    name, address = fields.optional_text(case, "name"), fields.optional_text(case, "address")
    area = fields.optional_text(case, "area")
    first, last = fields.required_day(case, "valid_from"), fields.optional_day(case, "valid_to")
    if area is not None and (len(area) != len("330100") or divisions.of_division(area) is None):
        case.add("CODE_NOT_IN_TABLE", "area", area, "GB/T 2260, 6 位数字 / 6 digits")
    if first is not None and last is not None and first > last:
        case.add("DATE_ORDER", "valid_from", first, f"<= {last.isoformat()}")
    if code is None or first is None:
        return None, {}
    found = MStation(
        companyuniquecode=code,
        companycode=own or code,
        name=name,
        address=address,
        area=area or area_of(code),
        valid_from=first,
        valid_to=last,
    )
    return found, found.members()


def _table(body: bytes) -> Mapping[str, Any] | None:
    """The one row of a table with a line of titles."""
    try:
        lines = list(csv.reader(io.StringIO(decode_text(body).removeprefix("\ufeff")), strict=True))
    except (TreeError, csv.Error):
        return None
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    if len(lines) != len(("titles", "row")) or len(lines[0]) != len(lines[1]):
        return None
    return dict(zip(map(fold, lines[0]), lines[1], strict=True))


M_STATION = Form("m-station", _recognises, _judge)
M_STATION_CSV = Form("m-station-csv", _recognises, _judge, _table)
