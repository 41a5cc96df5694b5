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
RECEIVED = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
VIN = "LSVAL41Z882104202"
EVALUATIONS = ("evaluation-2021", "evaluation-2017", "evaluation-city", "evaluation-app")
FORMS: dict[str, dict[str, Any]] = {
    **{
        name: orjson.loads((PAYLOADS / "credit" / f"{name}.json").read_bytes())
        for name in (*EVALUATIONS, "spot-check", "complaint", "appeal")
    },
    "damage-estimate": orjson.loads((PAYLOADS / "27_alipay_autodamage_estimate_submit.json").read_bytes()),
}
"""Form -> a clean payload of it."""
DROP = object()


def judged(body: bytes | dict[str, Any], dialect: str = "auto", name: str = "strict", company: str = "") -> Judgement:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    return judge(read(sent, dialect), Context(profile(name), RECEIVED, company))


def changed(form: str, **changes: Any) -> dict[str, Any]:
    """A clean payload with members replaced or dropped."""
    return {name: value for name, value in {**FORMS[form], **changes}.items() if value is not DROP}


def seen(judgement: Judgement) -> list[tuple[str, str]]:
    return [(finding.code, finding.field) for finding in judgement.findings]
