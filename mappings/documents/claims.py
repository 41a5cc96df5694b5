"""Kinds of the insurer lane: estimates and assessments that come in, accident repairs and comparisons that go out.

Public are the members of an estimate (Alipay's auto damage) and of an assessment (精友 核损返回), domain section 8.1;
the rules of direct settlement (直赔) are not, so what goes out is our own schema. Prices and policy numbers stand in
the two incoming kinds alone and leave the lane in none: what we send compares counts and hours.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import ClassVar

import orjson
from pydantic import BaseModel, ConfigDict

from mappings.documents import Document, Identity
from mappings.documents.oldparts import NONE, OWNER, SHOP

SCHEMA = "vingate.claim/1"

LANE = frozenset({"assessment", "estimate", "accident-repair", "claim-comparison", "old-part-return"})
"""Kinds that go to insurers, and beside them to our own store alone."""

SUMS = (
    "auditsalvagefee",
    "auditremnantfee",
    "auditpartsum",
    "auditmatesum",
    "totalmanagesum",
    "selfpaysum",
    "outersum",
    "derogationsum",
    "totalsum",
    "auditrepairsum",
)
"""施救费, 残值, 配件, 辅料, 管理费, 自付, 外修, 减损, 合计, 工时费: sums of an assessment, all mandatory."""

PART_PRICES = ("auditmaterialfee", "apprpartsum", "selfpayprice", "apprremainsprice", "managerate")
WORK_PRICES = ("auditmanpowerfee", "apprrepairsum")
DAMAGE_PRICES = ("parts_cost", "parts_manage_fee", "hourly_wage")
POLICIES = ("commercial_policy_no", "compulsory_policy_no")

CONFIDENTIAL = frozenset({*SUMS, *PART_PRICES, *WORK_PRICES, *DAMAGE_PRICES, *POLICIES})
"""Members that stand in `assessment` and `estimate` and in no other kind."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FittedPart(_Part):
    """FitInfo: a part as the insurer approved it."""

    partid: str
    partname: str | None = None
    """Our own extension: the public packet names a part by its id alone."""
    auditcount: Decimal | None = None
    auditmaterialfee: Decimal | None = None
    apprpartsum: Decimal | None = None
    selfpayprice: Decimal | None = None
    apprremainsprice: Decimal | None = None
    managerate: Decimal | None = None
    fitbackflag: bool | None = None
    """回收标志: whether the insurer takes the old part."""
    recheckflag: bool | None = None


class ApprovedWork(_Part):
    """RepairInfo: work and its hours as the insurer approved them."""

    repairid: str
    repairname: str | None = None
    """Our own extension, as with parts."""
    apprhour: Decimal | None = None
    auditmanpowerfee: Decimal | None = None
    apprrepairsum: Decimal | None = None


class WorkSum(_Part):
    """RepairSumInfo: work of one trade in all."""

    worktypecode: str
    itemcount: Decimal | None = None
    apprrepairsum: Decimal | None = None


class Assessment(Document):
    """An insurer's assessment of one damaged vehicle (核损返回, RequestType 006)."""

    KIND: ClassVar[str] = "assessment"

    insurer: str
    """Who is authenticated to send it, else what the packet says."""
    lossno: str
    """定损单号: its number."""
    dmgvhclid: str
    reportcode: str
    """报案号: what holds a claim together."""
    vin: str
    """From the packet's own extension or from `dmgvhclid` where that is a VIN; empty where neither is."""
    plate: str | None = None
    assessedon: date
    """Our own extension; the day of receipt where the packet says none."""
    auditsalvagefee: Decimal
    auditremnantfee: Decimal
    auditpartsum: Decimal
    auditmatesum: Decimal
    totalmanagesum: Decimal
    selfpaysum: Decimal
    outersum: Decimal
    derogationsum: Decimal
    totalsum: Decimal
    auditrepairsum: Decimal
    """On the wire `AuditRepiarSum`."""
    fits: tuple[FittedPart, ...] = ()
    repairs: tuple[ApprovedWork, ...] = ()
    repairsums: tuple[WorkSum, ...] = ()
    outrepairs: int = 0
    """How many OutRepair rows there were; what they hold is not public."""
    assists: int = 0
    """How many AssistInfo rows there were."""

    @property
    def identity(self) -> Identity:
        """Insurer, 定损单号, day, vehicle."""
        return Identity(self.insurer, self.lossno, self.assessedon, self.vin)


class Damage(_Part):
    """One damaged part of an estimate's result."""

    damage_type: str | None = None
    damage_degree: str | None = None
    parts_id: str | None = None
    parts_name: str | None = None
    parts_cost: Decimal | None = None
    parts_manage_fee: Decimal | None = None
    hourly_wage: Decimal | None = None
    old_recycle: bool | None = None


class Estimate(Document):
    """An estimate of a vehicle's damage; `estimate_request_uuid` makes the same request one, however often it comes."""

    KIND: ClassVar[str] = "estimate"

    insurer: str
    estimate_request_uuid: str
    report_no: str
    survey_no: str | None = None
    estimate_no: str | None = None
    commercial_policy_no: str | None = None
    compulsory_policy_no: str | None = None
    vin: str
    engine_no: str | None = None
    plate: str | None = None
    model_brand: str | None = None
    requestedon: date
    images: int = 0
    """How many pictures it names; none is kept."""
    damages: tuple[Damage, ...] = ()

    @property
    def identity(self) -> Identity:
        """Insurer, request, day, vehicle."""
        return Identity(self.insurer, self.estimate_request_uuid, self.requestedon, self.vin)


class RepairedPart(_Part):
    """A part of the repair record."""

    name: str
    quantity: Decimal | None = None
    code: str


class RepairedWork(_Part):
    """Work of the repair record."""

    name: str
    hours: Decimal | None = None


class AccidentRepair(Document):
    """A repair record of a direct-settlement shop, with the claim that it belongs to."""

    KIND: ClassVar[str] = "accident-repair"

    companycode: str
    companyname: str
    costlistcode: str
    vin: str
    plate: str
    repairdate: date
    settledate: date
    mileage: Decimal
    faultdescription: str
    parts: tuple[RepairedPart, ...] = ()
    projects: tuple[RepairedWork, ...] = ()
    insurer: str
    report_no: str
    estimate_nos: tuple[str, ...] = ()
    loss_nos: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        """Shop, list code, settlement, vehicle."""
        return Identity(self.companycode, self.costlistcode, self.settledate, self.vin)


class ComparedLine(_Part):
    """One part or one piece of work: what was done against what was approved."""

    what: str
    """`part` (counts) or `work` (hours)."""
    code: str | None = None
    name: str | None = None
    repaired: Decimal | None = None
    approved: Decimal | None = None
    remark: str
    """`equal`, `more` or `less` (repaired than approved), `only-repaired`, `only-approved`, `unread` (no number)."""


class ClaimComparison(Document):
    """An accident repair held against its assessments, line by line."""

    KIND: ClassVar[str] = "claim-comparison"

    companycode: str
    costlistcode: str
    insurer: str
    report_no: str
    loss_nos: tuple[str, ...]
    vin: str
    settledate: date
    differing: int
    """Lines that are not `equal`."""
    repairedhours: Decimal | None = None
    """Hours in all; None where one of them could not be read."""
    approvedhours: Decimal | None = None
    lines: tuple[ComparedLine, ...] = ()

    @property
    def identity(self) -> Identity:
        """Shop, list code, settlement, vehicle."""
        return Identity(self.companycode, self.costlistcode, self.settledate, self.vin)

    @property
    def differences(self) -> tuple[ComparedLine, ...]:
        """The lines that differ."""
        return tuple(line for line in self.lines if line.remark != "equal")


class OldPart(_Part):
    """One old part: who keeps it, and which waste it is where it stays in the shop."""

    partid: str
    name: str | None = None
    count: Decimal | None = None
    holder: str
    """`insurer`, `owner`, `shop`, `none` (there is no old part) or `unknown`."""
    agrees: bool
    """False where 回收标志 and 旧件处理 name different holders."""
    wastecode: str | None = None
    """The waste that the part's name leads one to expect; None where it is no waste that is accounted for."""
    inledger: bool
    """Whether the shop's waste ledger is expected to show it."""


class OldPartReturn(Document):
    """The old parts of an accident repair, as insurer and waste ledger have to see them."""

    KIND: ClassVar[str] = "old-part-return"

    companycode: str
    costlistcode: str
    insurer: str
    report_no: str
    vin: str
    settledate: date
    parts: tuple[OldPart, ...]

    @property
    def identity(self) -> Identity:
        """Shop, list code, settlement, vehicle."""
        return Identity(self.companycode, self.costlistcode, self.settledate, self.vin)


_HOLDERS = {OWNER: "owner", SHOP: "shop", NONE: "none"}


def holder(fitback: bool | None, disposal: str | None) -> tuple[str, bool]:
    """Who keeps an old part by 回收标志 and 旧件处理, and whether the two agree; the insurer's word comes first."""
    kept = _HOLDERS.get(disposal or "")
    if fitback:
        return "insurer", kept in (None, "shop")
    if kept is not None:
        return kept, True
    return ("shop" if fitback is False else "unknown"), True


def encode_claim(document: AccidentRepair | ClaimComparison | OldPartReturn) -> bytes:
    """What an insurer gets, as JSON: `schema` (`vingate.claim/1`), `kind`, and the members. Our own schema."""
    return orjson.dumps({"schema": SCHEMA, "kind": document.KIND, **document.members()})
