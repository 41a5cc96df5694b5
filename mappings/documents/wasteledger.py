"""Rows of a hazardous waste ledger as HJ 1259-2022 heads its columns, as JSON objects or as CSV (domain section 4.3).

One row a payload; which of the tables it is of shows in its amount: 产生量, 入库量, 出库量, 自行利用/处置量 or
委外利用/处置量, and in three tables of our own for what the standard has none for: 运输量, 接收量, 盘点量. Only the
columns of the first table stand in a source; those of the others are named alike. A row is numbered by its batch code.
Names of the people who signed are never kept. Three columns are our own, since the ledger has no words for them:
企业代码 (the shop, where its token does not say it), 冲销批次编码 (a red entry: the row that it corrects) and
结算清单编号.

Going out, a row has the code of the catalogue in force, whatever edition the shop wrote.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mappings.documents.kinds import Form, Judged
from mappings.documents.waste import WasteEvent
from mappings.documents.wastejudge import event
from mappings.documents.wasterules import rename
from mappings.rules.case import Case
from mappings.trees import TreeError, decode_text, fold

Columns = Mapping[str, tuple[str, ...]]

_COMMON: Columns = {
    "companycode": ("企业代码", "companycode"),
    "name": ("危险废物名称", "行业俗称/单位内部名称", "国家危险废物名录名称"),
    "category": ("危险废物类别", "废物类别"),
    "code": ("危险废物代码", "废物代码"),
    "unit": ("计量单位",),
    "containercode": ("容器/包装编码",),
    "containertype": ("容器/包装类型",),
    "containers": ("容器/包装数量",),
    "reverses": ("冲销批次编码",),
    "costlistcode": ("结算清单编号",),
}


class Table(NamedTuple):
    """One of the ledger's tables: its event, its columns, and the first of them that tells it from the others."""

    event: str
    title: str
    columns: Columns


def _table(event_kind: str, title: str, amount: str, own: Columns) -> Table:
    return Table(event_kind, title, {**own, "quantity": (amount,), **_COMMON})


TABLES: tuple[Table, ...] = (
    _table(
        "generated",
        "产生环节",
        "产生量",
        {
            "batch": ("产生批次编码",),
            "day": ("产生时间",),
            "facility": ("产生设施编码",),
            "destination": ("去向",),
        },
    ),
    _table(
        "stored",
        "入库环节",
        "入库量",
        {
            "batch": ("入库批次编码",),
            "day": ("入库时间",),
            "facility": ("贮存设施编码",),
            "ofbatches": ("产生批次编码",),
        },
    ),
    _table(
        "taken-out",
        "出库环节",
        "出库量",
        {
            "batch": ("出库批次编码",),
            "day": ("出库时间",),
            "facility": ("贮存设施编码",),
            "destination": ("出库去向", "去向"),
            "ofbatches": ("入库批次编码",),
        },
    ),
    _table(
        "disposed",
        "自行利用/处置环节",
        "自行利用/处置量",
        {
            "batch": ("自行利用/处置批次编码",),
            "day": ("自行利用/处置时间",),
            "facility": ("自行利用/处置设施编码",),
            "method": ("自行利用/处置方式",),
            "ofbatches": ("产生批次编码/出库批次编码", "出库批次编码", "产生批次编码"),
        },
    ),
    _table(
        "handed-over",
        "委外利用/处置环节",
        "委外利用/处置量",
        {
            "batch": ("委外利用/处置批次编码",),
            "day": ("出厂时间", "委外利用/处置时间"),
            "method": ("利用/处置方式", "委外利用/处置方式"),
            "counterpartname": ("接收单位名称", "危险废物接收单位名称"),
            "counterpart": ("接收单位代码",),
            "licence": ("许可证编码", "接收单位许可证编码"),
            "manifest": ("转移联单编号", "危险废物转移联单编号"),
            "ofbatches": ("产生批次编码/出库批次编码", "出库批次编码", "产生批次编码"),
        },
    ),
    *(
        _table(
            event_kind,
            f"{word}（自有）",
            f"{word}量",
            {
                "batch": (f"{word}批次编码",),
                "day": (f"{word}时间",),
                "counterpartname": ("对方单位名称",),
                "counterpart": ("对方单位代码",),
                "licence": ("许可证编码",),
                "manifest": ("转移联单编号",),
                "ofbatches": ("出库批次编码",),
            },
        )
        for event_kind, word in (("transported", "运输"), ("received", "接收"), ("counted", "盘点"))
    ),
)
"""The five tables in the order of the standard, and three of our own."""

_BY_EVENT = {table.event: table for table in TABLES} | {"used": TABLES[3]}
_AMOUNTS = tuple(table.columns["quantity"][0] for table in TABLES)
_PEOPLE = frozenset(
    {
        "产生部门经办人",
        "贮存部门经办人",
        "出库部门经办人",
        "运送部门经办人",
        "自行利用/处置部门经办人",
        "经办人",
        "联系人",
        "联系电话",
    }
)
_UNITS = {"kg": "千克", "piece": "件"}
_DELIMITERS = ",;\t|"


def encode_row(document: WasteEvent) -> bytes:
    """Encode a ledger entry as CSV: the head of its table and one row.

    What the ledger has no column for (the entry's number, where it is not its batch code) is not carried.
    """
    return encode_ledger((document,))


def row_of(document: WasteEvent) -> dict[str, str]:
    """A ledger entry as the row of its table: head of a column -> its cell."""
    columns = _BY_EVENT[document.event].columns
    return {names[0]: _cell(document, name) for name, names in columns.items()}


def encode_ledger(documents: Iterable[WasteEvent]) -> bytes:
    """Encode entries of one table as CSV: its head, and a row each in the order given.

    Raises:
        ValueError: the entries are of several tables, or there are none.
    """
    rows = [row_of(one) for one in documents]
    if len({tuple(row) for row in rows}) != 1:
        message = "应为同一台账表的记录 / entries of one ledger table are wanted"
        raise ValueError(message)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8")


def _cell(row: WasteEvent, name: str) -> str:
    if name == "companycode":
        return row.issuer
    if name == "batch":
        return row.batch or row.number
    if name == "unit":
        return _UNITS[row.unit]
    value = row.members().get(name, "")
    return ",".join(value) if isinstance(value, list) else str(value)


def _is_row(members: Mapping[str, Any]) -> bool:
    return any(amount in members for amount in _AMOUNTS) and any(name in members for name in _COMMON["code"])


def _judge(case: Case) -> Judged:
    table = next(table for table in TABLES if table.columns["quantity"][0] in case.members)
    if "rows" in case.members:
        case.add("STRUCTURE_WRONG", "rows", str(len(case.members["rows"])), "一次一行 / one row a payload")
    rename(case, table.columns, {*_PEOPLE, "rows"})
    case.members = {**case.members, "event": _event(table, case.members.get("method"))}
    return event(case)


def _event(table: Table, method: object) -> str:
    """The event of a row; what was treated by oneself was used where its way is one of recovery (R)."""
    recovered = isinstance(method, str) and method.strip().upper().startswith(("R", "利用"))
    return "used" if table.event == "disposed" and recovered else table.event


def _csv_tree(body: bytes) -> Mapping[str, Any] | None:
    """The head's columns and the one row's cells; None where it is no such table."""
    try:
        lines = [line for line in decode_text(body).lstrip("﻿").splitlines() if line.strip()]
    except TreeError:
        return None
    if len(lines) < 2 or not any(amount in fold(lines[0]) for amount in _AMOUNTS):
        return None
    delimiter = max(_DELIMITERS, key=lines[0].count)
    try:
        head, *rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    members: dict[str, Any] = {}
    for name, cell in zip(head, rows[0], strict=False):
        members.setdefault(fold(name), cell)
    return members if len(rows) == 1 else {**members, "rows": rows}


ROW = Form("waste-ledger", _is_row, _judge)
CSV = Form("waste-ledger-csv", _is_row, _judge, _csv_tree)
