"""Judging: a draft and what is known beside it -> every finding, and the record where it could be built.

Pure and deterministic: findings come in the order of the rules (notes of unwrapping, fields in the order of the
record, rows column by column, then rules across fields), and no input makes it raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mappings.documents import Document
from mappings.documents.kinds import form
from mappings.findings import REJECT, Finding
from mappings.judging import DOCUMENT, REGISTRATION, REPAIR, STEP, TOKEN, VEHICLE, WITHDRAWAL, Context, Draft, Judgement
from mappings.records import Operator, RepairRow, VehicleRegistration, Withdrawal
from mappings.rules import maintenance, registration, repair, withdrawal
from mappings.rules.case import Case

_FOLLOWING_STEPS = frozenset({"items", "settle", "correction"})
_KINDS = (REPAIR, WITHDRAWAL, STEP, REGISTRATION, TOKEN, VEHICLE)


def judge(draft: Draft, context: Context) -> Judgement:
    """Judge a draft by the rules of domain table 9.1: all findings at once, weighed by the context's profile.

    A profile changes severities, lengths and limits and so the verdict; with the same lengths and limits, the set of
    (code, field) is the same under every profile, but for the choice between CODE_NOT_IN_TABLE and CODE_MAPPED.
    """
    case = Case(draft, context)
    record, members = _judged(draft, case)
    findings = tuple(case.findings)
    rejected = any(finding.severity == REJECT for finding in findings)
    return Judgement(
        kind=_kind(draft, record),
        dialect=draft.dialect,
        findings=findings,
        record=None if rejected else record,
        members=members,
        step=draft.step,
        order=draft.order,
        provenance=draft.provenance,
    )


def _kind(draft: Draft, record: object) -> str:
    """The kind of a record; of one that is none yet, that of its draft."""
    if isinstance(record, Document):
        return record.KIND
    return WITHDRAWAL if isinstance(record, Withdrawal) else draft.kind


def _judged(
    draft: Draft, case: Case
) -> tuple[RepairRow | Withdrawal | Operator | VehicleRegistration | Document | None, Mapping[str, Any]]:
    """The record and the display members by the rules of the draft's kind; findings go to the case."""
    if draft.kind == REPAIR:
        return repair.repair(case)
    if draft.kind == WITHDRAWAL:
        return withdrawal.withdrawal(case)
    if draft.kind == STEP:
        rules = maintenance if draft.step in maintenance.STEPS else repair
        members = rules.step(case, draft.step)
        if draft.step in _FOLLOWING_STEPS and not _noted(case.findings, "ORDER_NOT_CHECKED"):
            case.add("ORDER_NOT_CHECKED", "costlistcode")
        return None, members
    if draft.kind == REGISTRATION:
        return registration.registration(case)
    if draft.kind == TOKEN:
        return None, registration.token(case)
    if draft.kind == VEHICLE:
        return registration.vehicle(case)
    if draft.kind == DOCUMENT:
        return form(draft.dialect).judge(case)
    if not any(finding.severity == REJECT for finding in case.findings):
        case.add("DIALECT_UNKNOWN", "", draft.kind, ", ".join(_KINDS))
    return None, {}


def _noted(findings: list[Finding], code: str) -> bool:
    return any(finding.code == code for finding in findings)
