"""Answers of the insurer lane, as they come back to who sent a packet: judged, and no document.

`loss-answer` is the answer to a 核损返回 (domain section 8.1), XML in GBK: ResponseCode 000, 402 or 499, and
ErrorMessage where it is not 000. `estimate-answer` is the answer to an estimate, JSON of our own as
`claimforms.answer_estimate` writes it: code "1" or "0", status, estimate_request_uuid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mappings.documents import lossxml, members
from mappings.documents.kinds import Form, Judged
from mappings.rules import fields
from mappings.rules.case import Case

TAKEN, REFUSED, FAILED = "000", "402", "499"
"""ResponseCode: ok; validation, with all messages in one; exception."""
_CODES = (TAKEN, REFUSED, FAILED)
_LOSS = frozenset(
    {"responsecode", "errormessage", "requesttype", "packet", "head", "body", lossxml.MISDECLARED, lossxml.UNREADABLE}
)
_ESTIMATE = frozenset({"code", "status", "estimate_request_uuid"})


def _loss_tree(body: bytes) -> Mapping[str, Any] | None:
    return lossxml.tree(body, (b"responsecode",))


def _loss(case: Case) -> Judged:
    if lossxml.UNREADABLE in case.members:
        case.add("XML_UNREADABLE", "", case.members[lossxml.UNREADABLE], "GBK")
        return None, {}
    if lossxml.MISDECLARED in case.members:
        case.add("CHARSET_MISMATCH", "", None, str(case.members[lossxml.MISDECLARED]))
    members.leave_out(case, _LOSS)
    code = members.required_text(case, "responsecode")
    if code is not None and code not in _CODES:
        case.add("CODE_NOT_IN_TABLE", "responsecode", code, ", ".join(_CODES))
    told = fields.optional_text(case, "errormessage") if code == TAKEN else fields.required_text(case, "errormessage")
    return None, {"responsecode": code, "errormessage": told}


def _estimate(case: Case) -> Judged:
    members.leave_out(case, _ESTIMATE)
    code = members.required_text(case, "code")
    if code is not None and code not in ("1", "0"):
        case.add("CODE_NOT_IN_TABLE", "code", code, "1, 0")
    return None, {
        "code": code,
        "status": fields.required_text(case, "status"),
        "estimate_request_uuid": members.required_text(case, "estimate_request_uuid"),
    }


LOSS_ANSWER = Form("loss-answer", lambda sent: lossxml.UNREADABLE in sent or "responsecode" in sent, _loss, _loss_tree)
ESTIMATE_ANSWER = Form(
    "estimate-answer",
    lambda sent: sent.keys() >= {"estimate_request_uuid", "code"} and "report_no" not in sent,
    _estimate,
)
