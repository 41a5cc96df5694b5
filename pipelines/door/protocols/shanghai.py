"""Shanghai's three signed steps (domain 1.6): `{"code": number, "message", "data"}`, 0 is ok, its own error numbers."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from mappings.findings import REJECT, Finding
from mappings.trees import Limits, TreeError
from pipelines.door.protocols import calls
from pipelines.door.protocols.calls import PIECE, QUERY, Call, Outcome, Reply, Signed
from pipelines.door.protocols.unwrapping import members, problem, text
from pipelines.door.protocols.wording import refused

NAME = "shanghai"
PATHS = {
    "/repairRecord/insert": (PIECE, "insert"),
    "/repairRecord/updateRepairItemByOrderCode": (PIECE, "items"),
    "/repairRecord/updateSettleInfoByOrderCode": (PIECE, "settle"),
    "/repairRecord/updateRepairInfoByOrderCode": (PIECE, "correction"),
    "/repairRecord/queryCompanyErrRepairRecord": (QUERY, ""),
}
"""Path -> (kind of call, step); all of them POST."""

MESSAGES = {
    0: "成功",
    100: "其他异常",
    102: "没有权限",
    104: "签名错误",
    105: "调用时间过期",
    106: "数据为空",
    107: "参数为空",
    108: "参数错误",
    110: "网关错误",
    112: "文件过大",
    113: "服务内部错误",
    114: "重复提交",
    2000: "车牌号错误",
    2001: "车辆识别码错误",
    2002: "工单号错误",
    2003: "维修记录不存在",
    2004: "维修记录已存在",
    2005: "维修项目不能为空",
    2006: "维修材料数量不能小于1",
    2007: "车辆照片大于5M",
    2008: "行驶证照片大于5M",
    2009: "燃料类型错误",
    2010: "使用性质错误",
    3025: "appKey不存在",
}
"""The numbers of the document that this gateway has use for."""

_REFUSALS = {
    calls.APP_UNKNOWN: 3025,
    calls.PENDING: 102,
    calls.CLOSED: 102,
    calls.NOT_A_SHOP: 102,
    calls.TOO_LARGE: 112,
    calls.TOO_MANY: 100,
    calls.BUSY: 110,
    calls.NOT_DURABLE: 113,
    calls.TROUBLE: 113,
}
_CODES = {
    "SIGN_MISSING": 104,
    "SIGN_WRONG": 104,
    "TIMESTAMP_EXPIRED": 105,
    "NONCE_REPLAYED": 114,
    "ORDER_UNKNOWN": 2003,
    "ORDER_EXISTS": 2004,
    "EMPTY_CONTENT": 2005,
    "QUANTITY_BELOW_ONE": 2006,
    "QUANTITY_NOT_NUMERIC": 2006,
    "QUANTITY_NEGATIVE": 2006,
}
_FIELDS = {
    "plate": 2000,
    "vin": 2001,
    "costlistcode": 2002,
    "fuel": 2009,
    "use": 2010,
    "carPhoto": 2007,
    "drivingPermitPhoto": 2008,
}


def read(kind: str, payload: bytes, limits: Limits, step: str = "") -> Call:
    """Understand a request body; its signature is checked over the same bytes."""
    if not payload.strip():
        return Call(kind, NAME, payload, problems=(Finding("NOT_JSON", "reject", "", "", ""),))
    try:
        own, _ = members(payload, (), limits)
    except TreeError as error:
        return Call(kind, NAME, payload, problems=(problem(error),))
    signed = Signed(text(own.get("appid")), text(own.get("nonce")), text(own.get("timestamp")), text(own.get("sign")))
    return Call(kind, NAME, payload, step=step, order=text(own.get("ordercode")), signed=signed)


def write(kind: str, outcome: Outcome) -> Reply:
    """`{"code": 0, "message": "成功", "data": null}`, or the number of the first fault and all of them in words."""
    code = number(outcome)
    said = refused(outcome)
    message = f"{MESSAGES[code]}：{said}" if said and said != MESSAGES[code] else MESSAGES[code]
    data = list(outcome.rows) if outcome.accepted and kind == QUERY else None
    return Reply(orjson.dumps({"code": code, "message": message, "data": data}), outcome.status)


def number(outcome: Outcome) -> int:
    """The error number of an outcome; of several faults that of the first with a number of its own."""
    if outcome.refusal:
        return _REFUSALS.get(outcome.refusal, 100)
    return numbered(outcome.findings)


def numbered(findings: Sequence[Finding]) -> int:
    """The number of the first refusing finding that the document has one for; 0 for none."""
    refusing = [finding for finding in findings if finding.severity == REJECT]
    if not refusing:
        return 0
    return next((found for found in map(_number, refusing) if found not in (107, 108)), _number(refusing[0]))


def _number(finding: Finding) -> int:
    if finding.code == "NOT_JSON":
        return 108 if finding.value else 106
    if finding.code == "MANDATORY_MISSING":
        return _FIELDS.get(finding.field, 107)
    return _CODES.get(finding.code) or _FIELDS.get(finding.field, 108)
