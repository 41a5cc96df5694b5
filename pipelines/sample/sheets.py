"""CSV exports: several rows a record, quoted fields with commas and line breaks, GBK or UTF-8."""

from __future__ import annotations

from pipelines.sample.content import Content
from pipelines.sample.wire import dashed

HEADER = (
    "结算清单编号",
    "车牌号码",
    "车辆识别代码",
    "送修日期",
    "送修里程",
    "结算日期",
    "故障描述",
    "维修项目",
    "维修工时",
    "配件名称",
    "配件编码",
    "配件数量",
    "企业名称",
)
_SPECIAL = frozenset(',"\n\r')


def rows(content: Content) -> str:
    """The rows of one record, joined; its head is repeated in each.

    A record without its list code keeps one row: rows belong together by that code only.
    """
    head = (
        content.listcode,
        content.plate,
        content.vin,
        dashed(content.repair),
        content.mileage,
        dashed(content.settle),
        content.fault,
    )
    count = max(len(content.parts), len(content.projects), 1) if content.listcode else 1
    lines = []
    for index in range(count):
        project = content.projects[index] if index < len(content.projects) else ("", "")
        part = content.parts[index] if index < len(content.parts) else ("", "", "")
        cells = (*head, *project, part[0], part[2], part[1], content.companyname)
        lines.append(",".join(map(_cell, cells)))
    return "\r\n".join(lines) + "\r\n"


def header() -> str:
    """The header line."""
    return ",".join(HEADER) + "\r\n"


def _cell(text: str) -> str:
    if _SPECIAL.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'
