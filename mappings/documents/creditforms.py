"""Forms in which the items of the credit file come in: owners' evaluations, spot checks, complaints, appeals. JSON.

Public are the names of the evaluated items (四套: 82号 of 2021, the guide of 2017, a city's platform, another app);
everything else is our own schema, and this module is the boundary to a partner's:

| form | known by | other members |
|---|---|---|
| evaluation-2021 | 维修质量 维修效率 维修收费 服务态度 服务环境 | (a) |
| evaluation-2017 | 服务态度 维修质量 维修效率 价格透明度 店面环境 | (a) |
| evaluation-city | quality efficiency price environment grade | (a) |
| evaluation-app | skill attitude efficiency environment overallEvaluation | (a) |
| spot-check | checkno | companycode, checkdate, result, items (O: item, result), rectifyby (O), rectifieddate (O) |
| complaint | complaintno | companycode, receiveddate, subject, outcome, closeddate (O), costlistcode (O), vin (O) |
| appeal | appealno | companycode, fileddate, about, aboutno, decision, decideddate, corrections (O: member, value) |

(a) is companycode, costlistcode, vin, evaluationdate, evaluationno (O). An accepted appeal has its decideddate. An
evaluation without a number gets one made of what it says, so that the same again is the same and another one is not a
correction of the first: of a visit only the first counts (domain 8.4).

Transmissions are told by our own ledger and travel as `vingate.document/1`. Comments, replies and pictures of an
evaluation are left out (UNKNOWN_MEMBER, by name): free text holds names and phones, and no figure needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from mappings.documents import members
from mappings.documents.credit import (
    ACCEPTED,
    CORRECTABLE,
    COUNTS,
    EVALUATION,
    ITEMS,
    TRANSMISSION,
    Appeal,
    CheckedItem,
    Complaint,
    Correction,
    Evaluation,
    SpotCheck,
    number_of,
    span,
)
from mappings.documents.kinds import Form, Judged
from mappings.numbers import number
from mappings.rules import fields
from mappings.rules.case import Case
from mappings.tables import table


class Edition(NamedTuple):
    """One naming of the items: wire name -> item, and the names that no other edition has."""

    name: str
    items: Mapping[str, str]
    own: frozenset[str]


EDITIONS = {
    "evaluation-2021": Edition(
        "82-2021",
        {
            "维修质量": "quality",
            "维修效率": "efficiency",
            "维修收费": "charge",
            "服务态度": "attitude",
            "服务环境": "environment",
        },
        frozenset({"维修收费", "服务环境"}),
    ),
    "evaluation-2017": Edition(
        "guide-2017",
        {
            "服务态度": "attitude",
            "维修质量": "quality",
            "维修效率": "efficiency",
            "价格透明度": "charge",
            "店面环境": "environment",
        },
        frozenset({"价格透明度", "店面环境"}),
    ),
    "evaluation-city": Edition(
        "city",
        {
            "quality": "quality",
            "efficiency": "efficiency",
            "price": "charge",
            "environment": "environment",
            "grade": "overall",
        },
        frozenset({"grade"}),
    ),
    "evaluation-app": Edition(
        "app",
        {
            "skill": "quality",
            "attitude": "attitude",
            "efficiency": "efficiency",
            "environment": "environment",
            "overallevaluation": "overall",
        },
        frozenset({"overallevaluation", "skill"}),
    ),
}
"""Form -> its edition."""

_FEWEST = 3
"""Items by which an evaluation is known, one of them the edition's own."""

_DIGITS = 9
"""Most digits of a corrected count."""

_VISIT = ("companycode", "costlistcode", "vin", "evaluationno", "evaluatedon")


def _known_by(edition: Edition, sent: Mapping[str, Any]) -> bool:
    names = edition.items.keys() & sent.keys()
    return len(names) >= _FEWEST and bool(names & edition.own)


def _evaluation(edition: Edition, case: Case) -> Judged:
    members.rename(case, {**edition.items, "evaluationdate": "evaluatedon"})
    members.leave_out(case, {*_VISIT, *edition.items.values()})
    values: dict[str, Any] = {
        "companycode": fields.company_code(case),
        "costlistcode": members.required_text(case, "costlistcode"),
        "vin": fields.vehicle_number(case),
        "evaluationno": members.optional_text(case, "evaluationno"),
        "evaluatedon": members.past_day(case, "evaluatedon"),
        "edition": edition.name,
    }
    asked = set(edition.items.values())
    for item in (*ITEMS, "overall"):
        values[item] = _stars(case, item) if item in asked else None
    if values["evaluationno"] is None and values["costlistcode"] and values["vin"]:
        values["evaluationno"] = number_of(values["costlistcode"], values["vin"], list(values.values()))
    return members.built(Evaluation, values)


def _stars(case: Case, item: str) -> int | None:
    """A whole number from 1 to 5, mandatory; SCORE_OUT_OF_RANGE for every other value."""
    value = fields.required(case, item)
    if value is None:
        return None
    found = number(value)
    if found is None or found != int(found) or not 1 <= found <= 5:
        case.add("SCORE_OUT_OF_RANGE", item, value, "1, 2, 3, 4, 5")
        return None
    return int(found)


def _spot_check(case: Case) -> Judged:
    members.rename(case, {"checkdate": "checkedon", "rectifieddate": "rectifiedon"})
    members.leave_out(case, SpotCheck.model_fields)
    values: dict[str, Any] = {
        "companycode": fields.company_code(case),
        "checkno": members.required_text(case, "checkno"),
        "checkedon": members.past_day(case, "checkedon"),
        "result": members.required_code(case, "result", "check-results"),
        "rectifyby": fields.optional_day(case, "rectifyby"),
        "rectifiedon": fields.optional_day(case, "rectifiedon"),
    }
    items = [_item(case, place, row) for place, row in members.rows(case, "items", CheckedItem.model_fields)]
    values["items"] = tuple(item for item in items if item is not None)
    for name in ("rectifyby", "rectifiedon"):
        members.in_order(case, "checkedon", values["checkedon"], values[name])
    return members.built(SpotCheck, values)


def _item(case: Case, place: str, row: Mapping[str, Any]) -> CheckedItem | None:
    item, result = (
        _coded(case, f"{place}.{name}", codes, row.get(name))
        for name, codes in (("item", "filing-items"), ("result", "check-results"))
    )
    return None if item is None or result is None else CheckedItem(item=item, result=result)


def _coded(case: Case, field: str, codes: str, value: object) -> str | None:
    if value is None:
        case.add("MANDATORY_MISSING", field, None, "必填 / mandatory")
        return None
    return fields.coded(case, field, codes, value)


def _complaint(case: Case) -> Judged:
    members.rename(case, {"receiveddate": "receivedon", "closeddate": "closedon"})
    members.leave_out(case, Complaint.model_fields)
    values: dict[str, Any] = {
        "companycode": fields.company_code(case),
        "complaintno": members.required_text(case, "complaintno"),
        "receivedon": members.past_day(case, "receivedon"),
        "subject": members.required_code(case, "subject", "complaint-subjects"),
        "outcome": members.required_code(case, "outcome", "complaint-outcomes"),
        "closedon": fields.optional_day(case, "closedon"),
        "costlistcode": members.optional_text(case, "costlistcode"),
        "vin": None if fields.optional_text(case, "vin") is None else fields.vehicle_number(case),
    }
    members.in_order(case, "receivedon", values["receivedon"], values["closedon"])
    return members.built(Complaint, values)


def _appeal(case: Case) -> Judged:
    members.rename(case, {"fileddate": "filedon", "decideddate": "decidedon"})
    members.leave_out(case, Appeal.model_fields)
    values: dict[str, Any] = {
        "companycode": fields.company_code(case),
        "appealno": members.required_text(case, "appealno"),
        "filedon": members.past_day(case, "filedon"),
        "about": members.required_text(case, "about"),
        "aboutno": members.required_text(case, "aboutno"),
        "decision": members.required_code(case, "decision", "appeal-decisions"),
        "decidedon": fields.optional_day(case, "decidedon"),
    }
    about = values["about"]
    if about is not None and about not in CORRECTABLE:
        case.add("CODE_NOT_IN_TABLE", "about", about, ", ".join(CORRECTABLE))
    if values["decision"] == ACCEPTED and values["decidedon"] is None:
        fields.required(case, "decidedon")
    members.in_order(case, "filedon", values["filedon"], values["decidedon"])
    sent = members.rows(case, "corrections", Correction.model_fields)
    corrections = [_correction(case, about, place, row) for place, row in sent]
    values["corrections"] = tuple(filter(None, corrections))
    return members.built(Appeal, values)


def _correction(case: Case, about: str | None, place: str, row: Mapping[str, Any]) -> Correction | None:
    member, value = row.get("member"), row.get("value")
    allowed = CORRECTABLE.get(about or "", ())
    if not isinstance(member, str) or member not in allowed:
        case.add("CORRECTION_UNUSABLE", f"{place}.member", member, ", ".join(allowed))
        return None
    text = fields.text_of(case, f"{place}.value", members.NUMBER_LENGTH, value) if value is not None else None
    if not text or not _fits(about, member, text):
        case.add("CORRECTION_UNUSABLE", f"{place}.value", value, _EXPECTED.get(member, "1, 2, 3, 4, 5"))
        return None
    return Correction(member=member, value=text)


_EXPECTED = {
    "result": "check-results",
    "outcome": "complaint-outcomes",
    "rectifiedon": "yyyy-MM-dd",
    **dict.fromkeys(COUNTS, ">= 0"),
}


def _fits(about: str | None, member: str, text: str) -> bool:
    if member == "rectifiedon":
        try:
            return len(text) == len("yyyy-MM-dd") and span(text)[0] == span(text)[1]
        except ValueError:
            return False
    if member in ("result", "outcome"):
        return text in table(_EXPECTED[member])
    whole = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    return whole and (about == TRANSMISSION or (about == EVALUATION and 1 <= int(text) <= 5))


EVALUATION_2021, EVALUATION_2017, EVALUATION_CITY, EVALUATION_APP = (
    Form(name, partial(_known_by, edition), partial(_evaluation, edition)) for name, edition in EDITIONS.items()
)
SPOT_CHECK = Form("spot-check", lambda sent: "checkno" in sent and "checkdate" in sent, _spot_check)
COMPLAINT = Form("complaint", lambda sent: "complaintno" in sent and "receiveddate" in sent, _complaint)
APPEAL = Form("appeal", lambda sent: "appealno" in sent and "about" in sent, _appeal)
