"""Forms of what insurers send: `loss-assessment` (核损返回, XML in GBK) and `damage-estimate` (JSON); and our answers.

| form | public members | our own extensions, all optional |
|---|---|---|
| loss-assessment | those of domain section 8.1 | InsurerCode, VinNo, PlateNo, AuditDate; PartName, RepairName in rows |
| damage-estimate | those of the request; the rows of its result | insurer; damage_list holds the rows |

The packet of an assessment is read by `mappings.documents.lossxml`. The answer to it is XML with 000, 402 or 499; the
answer to an estimate is JSON with code "1" or "0" and one status, and repeats its `estimate_request_uuid`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import partial
from typing import Any

import orjson
from pydantic import BaseModel

from mappings import vin
from mappings.dates import day_in_shanghai
from mappings.documents import lossxml, members
from mappings.documents.claims import (
    DAMAGE_PRICES,
    PART_PRICES,
    POLICIES,
    SUMS,
    WORK_PRICES,
    ApprovedWork,
    Assessment,
    Damage,
    Estimate,
    FittedPart,
    WorkSum,
)
from mappings.documents.kinds import Form, Judged
from mappings.findings import REJECT, Finding, catalogue
from mappings.folding import compact
from mappings.placeholders import clean, is_placeholder
from mappings.rules import fields
from mappings.rules.case import Case

REQUEST_TYPE = "006"
"""核损返回."""

_PACKET = {
    "insurercode": "insurer",
    "vinno": "vin",
    "plateno": "plate",
    "auditdate": "assessedon",
    "auditrepiarsum": "auditrepairsum",
    "fitinfo": "fits",
    "repairinfo": "repairs",
    "repairsuminfo": "repairsums",
    "outrepair": "outrepairs",
    "assistinfo": "assists",
}
_ESTIMATE = {
    "frame_no": "vin",
    "license_no": "plate",
    "request_timestamp": "requestedon",
    "image_list": "images",
    "damage_list": "damages",
}
_FLAGS = {"1": True, "Y": True, "TRUE": True, "是": True, "0": False, "N": False, "FALSE": False, "否": False}
_KNOWN = frozenset({*Assessment.model_fields, lossxml.MISDECLARED, "requesttype", "packet", "head", "body", "lossinfo"})
_TEXTS = ("survey_no", "estimate_no", "engine_no", "model_brand")
_amount = partial(members.decimal, unread="AMOUNT_NOT_NUMERIC", negative="AMOUNT_NEGATIVE", shows=False)
_count = partial(members.decimal, unread="QUANTITY_NOT_NUMERIC", negative="QUANTITY_NEGATIVE")
_hours = partial(members.decimal, unread="HOURS_NOT_NUMERIC", negative="HOURS_NEGATIVE")


def _assessment(case: Case) -> Judged:
    if lossxml.UNREADABLE in case.members:
        case.add("XML_UNREADABLE", "", case.members[lossxml.UNREADABLE], "006, GBK")
        return None, {}
    members.rename(case, _PACKET)
    case.wire = {**case.wire, **_ROW_PATHS}
    if lossxml.MISDECLARED in case.members:
        case.add("CHARSET_MISMATCH", "", None, clean(case.members[lossxml.MISDECLARED]))
    members.leave_out(case, _KNOWN)
    kind = members.required_text(case, "requesttype")
    if kind is not None and kind != REQUEST_TYPE:
        case.add("CODE_NOT_IN_TABLE", "requesttype", kind, REQUEST_TYPE)
    values: dict[str, Any] = {
        "insurer": _insurer(case),
        "lossno": members.required_text(case, "lossno"),
        "dmgvhclid": members.required_text(case, "dmgvhclid"),
        "reportcode": members.required_text(case, "reportcode"),
        "plate": None if fields.optional_text(case, "plate") is None else fields.plate(case),
        "assessedon": _assessed_on(case),
    }
    values["vin"] = _vehicle(case, values["dmgvhclid"])
    for name in SUMS:
        sent = fields.required(case, name)
        values[name] = None if sent is None else _amount(case, name, sent)
    for name, (read, row_of) in _ROWS.items():
        values[name] = tuple(read(case, place, row) for place, row in members.rows(case, name, row_of.model_fields))
    values["outrepairs"], values["assists"] = (len(members.rows(case, name)) for name in ("outrepairs", "assists"))
    return _withheld(members.built(Assessment, values))


def _estimate(case: Case) -> Judged:
    members.rename(case, _ESTIMATE)
    members.leave_out(case, Estimate.model_fields)
    damages = members.rows(case, "damages", Damage.model_fields)
    values: dict[str, Any] = {
        "insurer": _insurer(case),
        "estimate_request_uuid": members.required_text(case, "estimate_request_uuid"),
        "report_no": members.required_text(case, "report_no"),
        **{name: members.optional_text(case, name) for name in _TEXTS},
        **{name: _policy(case, name) for name in POLICIES},
        "vin": fields.vehicle_number(case),
        "plate": None if fields.optional_text(case, "plate") is None else fields.plate(case),
        "requestedon": members.past_day(case, "requestedon"),
        "images": _images(case),
        "damages": tuple(_damage(case, place, row) for place, row in damages),
    }
    return _withheld(members.built(Estimate, values))


def _withheld(judged: Judged) -> Judged:
    """Policy numbers are not displayed."""
    document, shown = judged
    return document, {name: value for name, value in shown.items() if name not in POLICIES}


def _insurer(case: Case) -> str | None:
    """Who sends: as authenticated, else as the payload says; mandatory only where nobody is authenticated."""
    if case.context.company:
        return case.context.company
    if case.context.company_required:
        return members.required_text(case, "insurer")
    return members.optional_text(case, "insurer") or ""


def _assessed_on(case: Case) -> date | None:
    if is_placeholder(case.members.get("assessedon")):
        return day_in_shanghai(case.context.received_at)
    return members.past_day(case, "assessedon")


def _vehicle(case: Case, vehicle: str | None) -> str | None:
    """The VIN, or none: CLAIM_VEHICLE_UNNAMED."""
    if not is_placeholder(case.members.get("vin")):
        return fields.vehicle_number(case)
    number = vin.normalise(vehicle or "")
    if len(number) == vin.LENGTH and vin.is_alphabet(number):
        return number
    case.add("CLAIM_VEHICLE_UNNAMED", "vin", None, "VinNo")
    return ""


def _policy(case: Case, name: str) -> str | None:
    """A policy number; no finding shows it."""
    sent = case.members.get(name)
    if is_placeholder(sent):
        return None
    text = clean(sent)
    if not text:
        case.wrong_kind(name, sent, "文本 / a text")
        return None
    most = case.profile.lengths[members.NUMBER_LENGTH]
    if len(text) > most:
        case.add("TOO_LONG", name, None, f"<= {most}")
    return text


def _images(case: Case) -> int:
    sent = case.members.get("images")
    if is_placeholder(sent):
        return 0
    if isinstance(sent, list | tuple):
        return len(sent)
    case.wrong_kind("images", sent, "数组 / an array")
    return 0


def _fit(case: Case, place: str, row: Mapping[str, Any]) -> FittedPart:
    return FittedPart(
        partid=_id(case, f"{place}.partid", row.get("partid")),
        partname=_text(case, f"{place}.partname", row.get("partname")),
        auditcount=_count(case, f"{place}.auditcount", row.get("auditcount")),
        fitbackflag=_flag(case, f"{place}.fitbackflag", row.get("fitbackflag")),
        recheckflag=_flag(case, f"{place}.recheckflag", row.get("recheckflag")),
        **_amounts(case, place, row, PART_PRICES),
    )


def _work(case: Case, place: str, row: Mapping[str, Any]) -> ApprovedWork:
    return ApprovedWork(
        repairid=_id(case, f"{place}.repairid", row.get("repairid")),
        repairname=_text(case, f"{place}.repairname", row.get("repairname")),
        apprhour=_hours(case, f"{place}.apprhour", row.get("apprhour")),
        **_amounts(case, place, row, WORK_PRICES),
    )


def _sum(case: Case, place: str, row: Mapping[str, Any]) -> WorkSum:
    count = row.get("itemcount")
    return WorkSum(
        worktypecode=_id(case, f"{place}.worktypecode", row.get("worktypecode")),
        itemcount=None if is_placeholder(count) else _count(case, f"{place}.itemcount", count),
        **_amounts(case, place, row, ("apprrepairsum",)),
    )


_ROWS: Mapping[str, tuple[Callable[[Case, str, Mapping[str, Any]], Any], type[BaseModel]]] = {
    "fits": (_fit, FittedPart),
    "repairs": (_work, ApprovedWork),
    "repairsums": (_sum, WorkSum),
}
_ROW_PATHS = {
    f"{ours}[].{name}": f"{theirs}[].{name}"
    for theirs, ours in _PACKET.items()
    if ours in _ROWS
    for name in _ROWS[ours][1].model_fields
}


def _damage(case: Case, place: str, row: Mapping[str, Any]) -> Damage:
    names = ("damage_type", "damage_degree", "parts_id", "parts_name")
    texts: dict[str, Any] = {name: _text(case, f"{place}.{name}", row.get(name)) for name in names}
    recycled = _flag(case, f"{place}.old_recycle", row.get("old_recycle"))
    return Damage(**texts, old_recycle=recycled, **_amounts(case, place, row, DAMAGE_PRICES))


def _amounts(case: Case, place: str, row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Optional amounts of a row; what is there must be a number."""
    sent = {name: row.get(name) for name in names}
    return {
        name: None if is_placeholder(value) else _amount(case, f"{place}.{name}", value) for name, value in sent.items()
    }


def _id(case: Case, field: str, value: object) -> str:
    if is_placeholder(value):
        case.add("MANDATORY_MISSING", field, value, "必填 / mandatory")
        return ""
    return fields.text_of(case, field, "parts.code", value) or ""


def _text(case: Case, field: str, value: object) -> str | None:
    return None if is_placeholder(value) else fields.text_of(case, field, members.NAME_LENGTH, value)


def _flag(case: Case, field: str, value: object) -> bool | None:
    if is_placeholder(value):
        return None
    found = value if isinstance(value, bool) else _FLAGS.get(compact(clean(value)))
    if found is None:
        case.add("CODE_NOT_IN_TABLE", field, value, ", ".join(_FLAGS))
    return found


def refusals(findings: Iterable[Finding]) -> list[str]:
    """What an answer says: each reason for a refusal, in Chinese."""
    texts = catalogue()
    refused = [one for one in findings if one.severity == REJECT]
    return [f"{one.wire or one.field or '报文'}：{texts[one.code].zh}" for one in refused]


def answer_assessment(findings: Iterable[Finding] = (), refusal: str = "", *, failed: bool = False) -> bytes:
    """The answer to an assessment, XML in GBK.

    Args:
        findings: what was found; 000 where none of it refuses the packet, else 402 with every reason.
        refusal: why it was not even judged, in Chinese.
        failed: whether that is our own fault, so that it may be sent again: 499 instead of 402.
    """
    return lossxml.answer([refusal] if refusal else refusals(findings), failed=failed)


def answer_estimate(findings: Iterable[Finding] = (), estimate_request_uuid: str = "", refusal: str = "") -> bytes:
    """The answer to an estimate, JSON: code "1", or "0" and a status with every reason.

    Args:
        findings: what was found.
        estimate_request_uuid: as it was sent.
        refusal: why it was not even judged, in Chinese.
    """
    said = [refusal] if refusal else refusals(findings)
    return orjson.dumps(
        {
            "code": "0" if said else "1",
            "status": "；".join(said) or "接收成功",
            "estimate_request_uuid": estimate_request_uuid,
        }
    )


_SPELLED = {
    "lossno": "LossNo",
    "dmgvhclid": "DmgVhclId",
    "reportcode": "ReportCode",
    "insurer": "InsurerCode",
    "vin": "VinNo",
    "plate": "PlateNo",
    "assessedon": "AuditDate",
    "auditsalvagefee": "AuditSalvageFee",
    "auditremnantfee": "AuditRemnantFee",
    "auditpartsum": "AuditPartSum",
    "auditmatesum": "AuditMateSum",
    "totalmanagesum": "TotalManageSum",
    "selfpaysum": "SelfPaySum",
    "outersum": "OuterSum",
    "derogationsum": "DerogationSum",
    "totalsum": "TotalSum",
    "auditrepairsum": "AuditRepiarSum",
    "partid": "PartId",
    "partname": "PartName",
    "auditmaterialfee": "AuditMaterialFee",
    "auditcount": "AuditCount",
    "apprpartsum": "ApprPartSum",
    "selfpayprice": "SelfPayPrice",
    "apprremainsprice": "ApprRemainsPrice",
    "managerate": "ManageRate",
    "fitbackflag": "FitBackFlag",
    "recheckflag": "RecheckFlag",
    "repairid": "RepairId",
    "repairname": "RepairName",
    "auditmanpowerfee": "AuditManpowerFee",
    "apprhour": "ApprHour",
    "apprrepairsum": "ApprRepairSum",
    "worktypecode": "WorkTypeCode",
    "itemcount": "ItemCount",
}
_ROW_NAMES = {"fits": "FitInfo", "repairs": "RepairInfo", "repairsums": "RepairSumInfo"}


def encode_assessment(document: Assessment) -> bytes:
    """An assessment as its insurer sends it: XML in GBK. Reading and judging it gives the same document again."""
    told = document.members()
    rows = "".join(
        f"<{element}>{_elements(row)}</{element}>" for name, element in _ROW_NAMES.items() for row in told[name]
    )
    counted = "<OutRepair></OutRepair>" * document.outrepairs + "<AssistInfo></AssistInfo>" * document.assists
    body = f"<BODY><LossInfo>{_elements(told)}{rows}{counted}</LossInfo></BODY>"
    return lossxml.written({"RequestType": REQUEST_TYPE}, body)


def _elements(row: Mapping[str, Any]) -> str:
    return lossxml.elements(
        {
            _SPELLED[name]: ("1" if value else "0") if isinstance(value, bool) else str(value)
            for name, value in row.items()
            if name in _SPELLED and value is not None and value != ""
        }
    )


def encode_estimate(document: Estimate) -> bytes:
    """An estimate as its insurer sends it: JSON. Reading and judging it gives the same document again."""
    told = {**document.members()}
    for wire, name in _ESTIMATE.items():
        if name in told:
            told[wire] = told.pop(name)
    told["image_list"] = [{} for _ in range(document.images)]
    told["damage_list"] = [_given(row) for row in told["damage_list"]]
    return orjson.dumps(told)


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


LOSS_ASSESSMENT = Form(
    "loss-assessment",
    lambda sent: lossxml.UNREADABLE in sent or ("lossno" in sent or "reportcode" in sent),
    _assessment,
    lossxml.tree,
)
DAMAGE_ESTIMATE = Form(
    "damage-estimate", lambda sent: "estimate_request_uuid" in sent and "report_no" in sent, _estimate
)
