"""The environment department: closures of emission repairs, in the envelope of the I stations' interface.

`{jkid, jksqm, data: [{body: [{...}]}]}`, each object a row of RepairInfo_M with its two lists (domain table 3.2),
answered by `{result: [{code, message, RepairVeID}]}` in order: code 1 taken, 2 known already, 0 refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from pipelines.partners import checks
from pipelines.partners.protocol import Answered, Came, Partner, Protocol, UnreadableError
from pipelines.partners.rows import object_of

_JKID = "uploadRepairClosureM"
_CLOSURES = "closures"


def _read(body: bytes, _headers: Mapping[str, str]) -> Sequence[Came]:
    message = object_of(body)
    if message.get("jkid") != _JKID:
        words = f"jkid: 应为 {_JKID} / must be {_JKID}"
        raise UnreadableError(words)
    data = message.get("data")
    rows = (
        [row for part in data if isinstance(part, dict) for row in part.get("body", ())]
        if isinstance(data, list)
        else []
    )
    if not rows or not all(isinstance(row, dict) and isinstance(row.get("RepairVeID"), str) for row in rows):
        words = "data[].body[]: 每条需有 RepairVeID / each needs its RepairVeID"
        raise UnreadableError(words)
    return [Came(f"{row['RepairVeID']}:{_content(row)}", _CLOSURES, row) for row in rows]


def _content(row: Mapping[str, Any]) -> str:
    """What makes a row known: all of it with its moment, so that what is put back as it was is another one again."""
    return sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _answer(answered: Sequence[Answered]) -> bytes:
    return orjson.dumps(
        {
            "result": [
                {
                    "code": "0" if one.wrong else "2" if one.known else "1",
                    "message": "; ".join(one.wrong),
                    "RepairVeID": one.came.members["RepairVeID"],
                }
                for one in answered
            ]
        }
    )


def _unreadable(why: str) -> bytes:
    return orjson.dumps({"result": [{"code": "0", "message": why}]})


def _lists(row: Mapping[str, Any]) -> list[str]:
    parts, projects = row.get("vehiclepartslist"), row.get("repairprojectlist")
    if not parts and not projects:
        return ["配件与项目均为空 / neither parts nor projects"]
    lists = {"vehiclepartslist": parts, "repairprojectlist": projects}
    return [f"{name}: 应为数组 / a list is needed" for name, rows in lists.items() if not isinstance(rows, list | None)]


_CLOSURE = checks.judge(
    {
        "Costlistcode": checks.text,
        "Vin": checks.vin,
        "companyuniquecode": checks.text,
        "companyname": checks.text,
        "repairdate": checks.day,
        "settledate": checks.day,
        "repairmileage": checks.number,
        "uploadTime": checks.text,
    },
    {"test_no": checks.text},
    _lists,
)


def _judge(row: Mapping[str, Any]) -> Sequence[str]:
    return checks.judge({"withdrawn": checks.text})(row) if "withdrawn" in row else _CLOSURE(row)


ENVIRONMENT = Partner(
    "environment",
    "生态环境部门排放监管系统",
    "the environment department's emission supervision",
    [Protocol("/im", _read, _answer, _unreadable)],
    {_CLOSURES: _judge},
)
