"""The values that reading and judging exchange: drafts, contexts and judgements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mappings.documents import DIALECT, Document
from mappings.findings import REJECT, Finding, Profile
from mappings.records import Operator, RepairRow, VehicleRegistration, Withdrawal

REPAIR, REGISTRATION, TOKEN, STEP, VEHICLE = "repair", "registration", "token", "step", "vehicle"
WITHDRAWAL, DOCUMENT = "withdrawal", "document"


@dataclass(frozen=True, slots=True)
class Draft:
    """One payload, unwrapped and renamed but not yet typed.

    `members` holds canonical names with the scalars exactly as sent (str, int, Decimal, bool, None); `parts` and
    `projects` are lists of such dicts. A member that was not sent is absent. `wire` gives the partner's path where it
    differs, and of a row (`parts[2]`) where its number does. `notes` are findings of unwrapping itself (UNKNOWN_MEMBER,
    STRUCTURE_WRONG, SIGN_NOT_CHECKED), their severities not yet weighed by a profile.
    """

    kind: str
    dialect: str
    members: Mapping[str, Any]
    wire: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Finding, ...] = ()
    header_date: str | None = None
    """The message's own date (Chengdu and Foshan headers), as sent."""
    step: str = ""
    """For pieces of a record: `insert`, `items`, `settle` or `correction`."""
    order: str = ""
    """For pieces of a record: the orderCode that holds them together."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What records between systems carry beside the 13 elements: version, system, repaircomefrom, dialect, findings."""


@dataclass(frozen=True, slots=True)
class Context:
    """What judging knows beside the payload."""

    profile: Profile
    received_at: datetime
    """When the payload came (aware); dates are compared in Asia/Shanghai."""
    company: str = ""
    """Company code that the envelope was authenticated for; fills an absent companycode."""
    company_required: bool = False
    """True in an exchange whose source does not supply the company: an absent companycode is MANDATORY_MISSING."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What judging one payload found: every finding, and the record where it could be built."""

    kind: str
    dialect: str
    findings: tuple[Finding, ...]
    record: RepairRow | Withdrawal | Operator | VehicleRegistration | Document | None = None
    """Typed content; None when rejected or when the payload is a piece (`step`) or carries credentials (`token`)."""
    members: Mapping[str, Any] = field(default_factory=dict)
    """For display: the typed members that could be read, without token or password (a single step shows its own)."""
    step: str = ""
    order: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rejected(self) -> bool:
        """Whether any finding rejects the payload."""
        return any(f.severity == REJECT for f in self.findings)


def taken_as(judgement: Judgement) -> str:
    """The kind of record that an exchange must take to take a payload: who takes records takes their withdrawals."""
    record = judgement.record
    if not isinstance(record, Withdrawal):
        return judgement.kind
    return record.costlistcode.partition(":")[0] if judgement.dialect == DIALECT else REPAIR
