"""How documents go out where our own form will not do: canonical JSON -> what a partner's table or message wants.

An outbound form is applied behind the agreements, to what may leave. What it needs and does not get, it names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, cast

import orjson
from pydantic import ValidationError

from mappings.dates import SHANGHAI
from mappings.documents.kinds import kind
from mappings.records import Withdrawal


class Outbound(NamedTuple):
    """An outbound form."""

    write: Callable[[Mapping[str, Any]], bytes]
    """The JSON members of a document version (`mappings.documents.interchange`) -> the partner's bytes.

    Raises `UnfitError` where members are missing that the form needs.
    """
    kind: str
    """The kind of documents that it writes."""

    @property
    def needs(self) -> frozenset[str]:
        """Paths without which it can write nothing: the members that the kind cannot be without."""
        fields = kind(self.kind).model_fields.items()
        return frozenset(f"members.{name}" for name, field in fields if field.is_required())


class UnfitError(ValueError):
    """A document that an outbound form cannot write; the text names the members."""


def repairinfo_m(record: Mapping[str, Any]) -> bytes:
    """A closure as the row of RepairInfo_M with its two lists (domain table 3.2), or its withdrawal."""
    from mappings.documents.closures import Closure, encode_line, encode_withdrawn_line

    if record.get("kind") != Closure.KIND:
        message = f"kind: {record.get('kind')} 不是 closure / is no closure"
        raise UnfitError(message)
    if record.get("withdrawn") is not None:
        return encode_withdrawn_line(_withdrawal(record))
    document = _document(record)
    return encode_line(document, str(record["system"]), datetime.fromisoformat(str(record["received_at"])))


def repairinfo_m_rows(record: Mapping[str, Any]) -> bytes:
    """A closure as rows of the three tables of domain table 3.2, by table; its withdrawal has none.

    `{"rowkey": RepairVeID, "tables": {"RepairInfo_M": [...], "VehiclePartslist_M": [...], "RepairProjectList_M":
    [...]}}`, days and moments (China's time) as ISO texts, numbers as plain text: what the sink `rowsets` writes.
    """
    from mappings.documents.closures import Closure, row_id, sql_rows

    if record.get("kind") != Closure.KIND:
        message = f"kind: {record.get('kind')} 不是 closure / is no closure"
        raise UnfitError(message)
    if record.get("withdrawn") is not None:
        gone = _withdrawal(record)
        return orjson.dumps({"rowkey": row_id(gone.companycode, gone.costlistcode), "tables": {}})
    document = _document(record)
    tables = sql_rows(document, str(record["system"]), datetime.fromisoformat(str(record["received_at"])))
    told = {"rowkey": row_id(document.identity.issuer, document.listed), "tables": tables}
    return orjson.dumps(told, default=_told, option=orjson.OPT_PASSTHROUGH_DATETIME)


def waste_ledger(record: Mapping[str, Any]) -> bytes:
    """A ledger entry as the row of its HJ 1259 table (domain 4.3): a flat object, head of a column -> its cell.

    The sink `drop` writes such rows as CSV (`format = "csv"`). A ledger takes nothing back but by a red entry (冲销).
    """
    from mappings.documents.waste import WasteEvent
    from mappings.documents.wasteledger import row_of

    if record.get("kind") != WasteEvent.KIND:
        message = f"kind: {record.get('kind')} 不是 waste-event / is no waste-event"
        raise UnfitError(message)
    if record.get("withdrawn") is not None:
        message = "withdrawn: 台账不能撤回，请以红字记录冲销 / a ledger takes nothing back: send a red entry"
        raise UnfitError(message)
    if record.get("version", 1) != 1:
        message = (
            "version: 台账不能改写，请先红字冲销再另记 / a ledger rewrites nothing: send a red entry, then a new one"
        )
        raise UnfitError(message)
    return orjson.dumps(row_of(_document(record)))


def _told(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(SHANGHAI).replace(tzinfo=None).isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, date) else format(cast("Decimal", value), "f")


OUTBOUND: Mapping[str, Outbound] = {
    "repairinfo-m": Outbound(repairinfo_m, "closure"),
    "repairinfo-m-rows": Outbound(repairinfo_m_rows, "closure"),
    "waste-ledger": Outbound(waste_ledger, "waste-event"),
}
"""Outbound forms by name."""


def _document(record: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a document of any kind
    try:
        return kind(str(record["kind"])).of_members(record["members"])
    except (ValidationError, LookupError, TypeError) as error:
        places = error.errors(include_input=False, include_url=False) if isinstance(error, ValidationError) else []
        named = ", ".join(".".join(map(str, one["loc"])) for one in places) or "members"
        message = f"缺少对方格式所需的成员 / lacks members that this form needs: {named}"
        raise UnfitError(message) from None


def _withdrawal(record: Mapping[str, Any]) -> Withdrawal:
    return Withdrawal(str(record["companycode"]), str(record["costlistcode"]), str(record["withdrawn"]))
