"""Which kinds of documents there are, and in which forms they are written; a module is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from mappings.documents import Document
from mappings.records import Withdrawal
from mappings.rules.case import Case

KINDS: Mapping[str, str] = {
    "waste-event": "waste:WasteEvent",
    "waste-order": "waste:WasteOrder",
    "waste-signature": "waste:WasteSignature",
    "waste-manifest": "waste:WasteManifest",
    "waste-licence": "waste:WasteLicence",
    "waste-plan": "waste:WastePlan",
    "waste-expected": "waste:WasteExpected",
    "waste-balance": "waste:WasteBalance",
    "waste-case": "waste:WasteCase",
    "evaluation": "credit:Evaluation",
    "spot-check": "credit:SpotCheck",
    "complaint": "credit:Complaint",
    "appeal": "credit:Appeal",
    "transmission": "credit:Transmission",
    "credit-subject": "credit:CreditSubject",
    "credit-entry": "credit:CreditEntry",
    "credit-gap": "credit:CreditGap",
    "assessment": "claims:Assessment",
    "estimate": "claims:Estimate",
    "accident-repair": "claims:AccidentRepair",
    "claim-comparison": "claims:ClaimComparison",
    "old-part-return": "claims:OldPartReturn",
    "old-part-disposal": "oldparts:OldPartDisposal",
    "defect-lead": "market:DefectLead",
    "history-order": "usedcars:HistoryOrder",
    "history-report": "usedcars:HistoryReport",
    "export-certificate": "usedcars:ExportCertificate",
    "operator-filing": "roadadmin:OperatorFiling",
    "rectification": "roadadmin:Rectification",
    "operator-notice": "roadadmin:OperatorNotice",
    "inspection": "inspections:Inspection",
    "closure": "closures:Closure",
    "im-case": "imcases:ImCase",
    "im-match": "imcases:Match",
    "m-station": "mstations:MStation",
}
"""Kind -> `module:Class` in `mappings.documents`."""

FORMS: Mapping[str, str] = {
    "document": "interchange:DOCUMENT",
    "waste": "wasteforms:OWN",
    "waste-order": "wasteorders:ORDER",
    "waste-signature": "wasteorders:SIGNATURE",
    "waste-manifest": "wastemanifests:TABLE",
    "waste-ledger": "wasteledger:ROW",
    "waste-ledger-csv": "wasteledger:CSV",
    "evaluation-2021": "creditforms:EVALUATION_2021",
    "evaluation-2017": "creditforms:EVALUATION_2017",
    "evaluation-city": "creditforms:EVALUATION_CITY",
    "evaluation-app": "creditforms:EVALUATION_APP",
    "spot-check": "creditforms:SPOT_CHECK",
    "complaint": "creditforms:COMPLAINT",
    "appeal": "creditforms:APPEAL",
    "loss-assessment": "claimforms:LOSS_ASSESSMENT",
    "damage-estimate": "claimforms:DAMAGE_ESTIMATE",
    "loss-answer": "claimanswers:LOSS_ANSWER",
    "estimate-answer": "claimanswers:ESTIMATE_ANSWER",
    "old-part-disposal": "oldparts:OLD_PART_DISPOSAL",
    "history-order": "usedcars:HISTORY_ORDER",
    "rectification": "roadadmin:RECTIFICATION",
    "operator-filing": "roadadmin:OPERATOR_FILING",
    "repairinfo-m": "closures:REPAIRINFO_M",
    "istation": "inspections:ISTATION",
    "inspection-row": "inspections:INSPECTION_ROW",
    "m-station": "mstations:M_STATION",
    "m-station-csv": "mstations:M_STATION_CSV",
    "im-match": "imcases:IM_MATCH",
}
"""Name of a form (a dialect) -> `module:FORM`, in the order in which a payload is tried against them."""

OWN_SCHEMAS = frozenset({"vingate.document/1", "vingate.waste/1", "vingate.im-match/1"})
"""What our own forms say that they are: whoever says so means no repair, whatever else stands in it."""

Judged = tuple[Document | Withdrawal | None, Mapping[str, Any]]


@dataclass(frozen=True)
class Form:
    """How one partner writes documents of one kind or several."""

    name: str
    """The dialect's name."""
    recognises: Callable[[Mapping[str, Any]], bool]
    """Whether an object with folded member names (`mappings.trees.fold`) is one of these. Cheap; never raises."""
    judge: Callable[[Case], Judged]
    """All findings (added to the case), the document (or the withdrawal of one) where it could be
    built, and the members for display.

    `case.members` is the object as sent, names folded.
    """
    tree: Callable[[bytes], Mapping[str, Any] | None] | None = None
    """Of a form that is no JSON: bytes to such an object, None where they are none of this form. Never raises."""


@cache
def kind(name: str) -> type[Document]:
    """The class of a kind.

    Raises:
        KeyError: no such kind.
    """
    found: type[Document] = _named(KINDS[name])
    return found


@cache
def form(name: str) -> Form:
    """The form of a name.

    Raises:
        KeyError: no such form.
    """
    found: Form = _named(FORMS[name])
    return found


def forms() -> list[Form]:
    """Every form, in the order in which a payload is tried."""
    return [form(name) for name in FORMS]


def _named(place: str) -> Any:  # noqa: ANN401 - a class or a form
    module, _, attribute = place.partition(":")
    return getattr(import_module(f"mappings.documents.{module}"), attribute)
