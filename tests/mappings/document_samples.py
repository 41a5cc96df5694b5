"""Payloads of documents as partners send them, and how they are judged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from mappings.findings import profile
from mappings.judging import Context, Judgement
from mappings.reading import judge, read

PAYLOADS = Path(__file__).parents[1] / "payloads"
DOCUMENTS = PAYLOADS / "documents"
RECEIVED = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
VIN = "LSVAL41Z882104202"
VISIT = {"companycode": "310000010001", "costlistcode": "W1", "vin": VIN, "evaluationdate": "2026-10-03"}
EVALUATIONS: dict[str, dict[str, Any]] = {
    "evaluation-2021": {**VISIT, "维修质量": "5", "维修效率": 4, "维修收费": "3.0", "服务态度": 2, "服务环境": 1},
    "evaluation-2017": {**VISIT, "服务态度": 2, "维修质量": 5, "维修效率": 4, "价格透明度": 3, "店面环境": 1},
    "evaluation-city": {**VISIT, "quality": 5, "efficiency": 4, "price": 3, "environment": 1, "grade": 4},
    "evaluation-app": {
        **VISIT,
        "skill": 5,
        "attitude": 2,
        "efficiency": 4,
        "environment": 1,
        "overallEvaluation": 3,
    },
}
CHECK = {
    "companycode": "310000010001",
    "checkno": "CC-7",
    "checkDate": "20261003",
    "result": "2",
    "items": [{"item": "01", "result": "1"}, {"item": "05", "result": "2"}],
    "rectifyBy": "20261103",
}
COMPLAINT = {
    "companycode": "310000010001",
    "complaintno": "TS-1",
    "receiveddate": "2026/10/5",
    "subject": "2",
    "outcome": "1",
    "closeddate": "20261020",
    "costlistcode": "W1",
    "vin": VIN,
}
APPEAL = {
    "companycode": "310000010001",
    "appealno": "SS-1",
    "fileddate": "20261025",
    "about": "transmission",
    "aboutno": "2026-10",
    "decision": "2",
    "decideddate": "20261101",
    "corrections": [{"member": "late", "value": 0}],
}
FORMS: dict[str, dict[str, Any]] = {
    **EVALUATIONS,
    "spot-check": CHECK,
    "complaint": COMPLAINT,
    "appeal": APPEAL,
    "damage-estimate": orjson.loads((PAYLOADS / "27_alipay_autodamage_estimate_submit.json").read_bytes()),
}
DROP = object()


def judged(body: bytes | dict[str, Any], dialect: str = "auto", name: str = "strict", company: str = "") -> Judgement:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    return judge(read(sent, dialect), Context(profile(name), RECEIVED, company))


def changed(form: str, **changes: Any) -> dict[str, Any]:
    """A clean payload with members replaced or dropped."""
    return {name: value for name, value in {**FORMS[form], **changes}.items() if value is not DROP}


def seen(judgement: Judgement) -> list[tuple[str, str]]:
    return [(finding.code, finding.field) for finding in judgement.findings]
