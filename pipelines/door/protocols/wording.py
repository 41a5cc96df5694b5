"""Findings in the words of one status text: Chinese, all of them, since a client shows nothing else (rules 20, 21)."""

from __future__ import annotations

from collections.abc import Iterable

from dlq.reasons import reason
from mappings.findings import FLAG, Finding
from pipelines.door.protocols.calls import REFUSALS, Outcome

ADDED = "新增成功"
"""What clients look for in the answer to a record (domain 1.2)."""


_OWN = {"QUANTITY_BELOW_ONE": "维修材料数量不能小于 1"}


def fault(finding: Finding) -> str:
    """One finding: what is wrong, where, what was seen and what would be right."""
    parts = [finding.wire or finding.field]
    if finding.value:
        parts.append(f"值 {finding.value}")
    if expected := finding.expected.split(" / ", 1)[0]:
        parts.append(f"应为 {expected}")
    inside = "，".join(part for part in parts if part)
    return (_OWN.get(finding.code) or reason(finding.code).zh) + (f"（{inside}）" if inside else "")


def faults(findings: Iterable[Finding]) -> str:
    """All findings, one after the other; behind what refuses stands what is only flagged."""
    refusing, flagged = dict[str, None](), dict[str, None]()
    for finding in findings:
        (flagged if finding.severity == FLAG else refusing)[fault(finding)] = None
    said = "；".join(refusing)
    return f"{said}；另请核对：{'；'.join(flagged)}" if flagged else said


def refused(outcome: Outcome) -> str:
    """Why a call was refused; empty where it was not."""
    said = faults(outcome.findings)
    return "；".join(text for text in (REFUSALS.get(outcome.refusal, ""), said) if text)
