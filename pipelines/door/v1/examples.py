"""Examples of the OpenAPI document: requests that are taken as they stand, and refusals as they are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mappings.findings import REJECT, Finding
from pipelines.door.protocols import calls
from pipelines.door.v1.problems import REFUSED as NOT_TAKEN
from pipelines.door.v1.problems import WRONG_REQUEST, told

_CODE = "WX240318007"
_RECORD: Mapping[str, Any] = {
    "companyname": "杭州某某汽车维修有限公司",
    "plate": "浙AD12345",
    "vin": "LRW3E7FS6PC834425",
    "repairdate": "2024-03-18",
    "settledate": "2024-03-18",
    "mileage": 21560,
    "faultdescription": "空调不制冷",
    "costlistcode": _CODE,
    "parts": [{"name": "空调滤芯", "quantity": 1, "code": "1107681-00-A"}],
    "projects": [{"name": "更换空调滤芯", "hours": "0.5"}],
}
_WHY = "重复上传，以 WX240318008 为准"
_WITHDRAWAL = {"costlistcode": _CODE, "withdrawn": _WHY}

SENT: Mapping[str, Any] = {"record": _RECORD, "batch": {"records": [_RECORD, _WITHDRAWAL]}, "withdrawal": _WITHDRAWAL}
"""Bodies of `POST /v1/records`."""
CORRECTED: Mapping[str, Any] = {"correction": {**_RECORD, "mileage": 21_650}}
"""Bodies of `PUT /v1/records/WX240318007`."""
WITHDRAWN: Mapping[str, Any] = {"withdrawal": {"reason": _WHY}}
"""Bodies of `DELETE /v1/records/WX240318007`."""

_LACKING = Finding("MANDATORY_MISSING", REJECT, "withdrawn", "", "必填 / mandatory")
REFUSED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "400": ("看不懂的请求 / not understood", told(WRONG_REQUEST, detail='应为 {"reason": "撤回原因"} / must be …')),
    "401": ("没有有效的令牌 / no valid token", told(calls.TOKEN_WRONG)),
    "422": ("校验未通过，含全部问题 / refused, with every finding", told(NOT_TAKEN, [_LACKING])),
    "429": ("请求过多 / too many requests", told(calls.TOO_MANY)),
    "503": ("暂不能保存，未接收 / cannot be made durable now; nothing was taken", told(calls.NOT_DURABLE)),
}
"""Status of a refusal -> what it means, and a body of it."""
