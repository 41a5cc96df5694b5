"""Waste of repair shops: orders, ledger events, manifests, licences and plans, and what is derived from them.

Issuer is everywhere the company code of the shop whose waste it is; of a licence, whoever filed it. Amounts are in kg
or pieces, exact. Names of persons and phones, which several forms carry, stand in no member. Codes are those of the
2025 catalogue; where a partner wrote one of an earlier edition, `oldcode` keeps it. Ground: domain section 4.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from mappings.documents import Document, Identity
from mappings.waste.manifests import State

Unit = Literal["kg", "piece"]
EventKind = Literal[
    "generated", "stored", "taken-out", "handed-over", "transported", "received", "used", "disposed", "counted"
]
Standing = Literal["ACTIVE", "SUSPENDED", "REVOKED", "EXPIRED"]
PlanState = Literal["SUBMITTED", "APPROVED", "REJECTED"]
Party = Literal["transporter", "consumer"]

Amount = Annotated[Decimal, Field(max_digits=16, decimal_places=4)]
"""An amount as partners may state it (`mappings.numbers`); sums of them in derived documents have no such bound."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class WasteDocument(Document):
    """What every document about a shop's waste has."""

    issuer: str
    """Company code of the shop; of a licence, of whoever filed it."""
    number: str
    day: date

    @property
    def identity(self) -> Identity:
        """Issuer, number and day; none of them tells of a vehicle."""
        return Identity(self.issuer, self.number, self.day)


class _OfWaste(WasteDocument):
    category: str
    """`HW08`; always the one that the code's end names."""
    code: str
    """`900-214-08`."""
    oldcode: str | None = None
    """The code of an earlier edition that was written."""
    name: str | None = None


class WasteEvent(_OfWaste):
    """One entry of a shop's waste ledger (HJ 1259-2022): what became of how much.

    `taken-out` (出库) and `counted` (盘点: what lies there at the end of that day) stand beside the seven of the
    waste's way.
    """

    KIND: ClassVar[str] = "waste-event"

    event: EventKind
    quantity: Amount
    """Below zero in a red entry (冲销), never zero but in a count."""
    unit: Unit
    reverses: str | None = None
    """Of a red entry: number of the entry that it corrects. Nothing else corrects one."""
    batch: str | None = None
    """Its own batch code: HWCS (产生), HWRK (入库), HWCK (出库), day and serial."""
    ofbatches: tuple[str, ...] = ()
    """Batch codes that it was taken from."""
    manifest: str | None = None
    """Number of the manifest or app order under which it left."""
    costlistcode: str | None = None
    """Settlement list of the repair that it comes from."""
    counterpart: str | None = None
    """Code of who took it over or gave it."""
    counterpartname: str | None = None
    licence: str | None = None
    """Licence number of the receiver."""
    method: str | None = None
    """利用处置方式: R and D codes."""
    destination: str | None = None
    """去向, as written."""
    facility: str | None = None
    containercode: str | None = None
    containertype: str | None = None
    containers: Amount | None = None


class OrderParty(_Row):
    """A company of an app order, without its people."""

    id: str
    """The platform's own."""
    name: str | None = None
    kind: str | None = None
    province: str | None = None
    city: str | None = None
    area: str | None = None


class TransportSigning(_Row):
    """What the transporter signs."""

    vehicle: str
    licence: str | None = None
    emergency: str | None = None
    ingredient: str | None = None
    passby: str | None = None
    purpose: str | None = None
    form: str | None = None
    features: str | None = None
    package: str | None = None


class ConsumptionSigning(_Row):
    """What the consumer (接收单位) signs."""

    finalweight: Amount
    certificate: str | None = None
    disposal: str | None = None
    storage: str | None = None
    usage: str | None = None


class WasteOrder(_OfWaste):
    """A collection order of the app flow: order -> transporter signs -> consumer signs."""

    KIND: ClassVar[str] = "waste-order"

    status: Literal["1", "2", "3"]
    """1 未签, 2 已签, 3 完成."""
    unit: Unit
    preweight: Amount | None = None
    weight: Amount
    producer: OrderParty
    transporter: OrderParty | None = None
    consumer: OrderParty | None = None
    device: str | None = None
    transport: TransportSigning | None = None
    consumption: ConsumptionSigning | None = None


class WasteSignature(WasteDocument):
    """A follow-up call of an app order: the transporter's or the consumer's signature."""

    KIND: ClassVar[str] = "waste-signature"

    order: str
    party: Party
    transport: TransportSigning | None = None
    consumption: ConsumptionSigning | None = None


class ManifestStep(_Row):
    """A state that a manifest came to, and when; a rejection with its reason."""

    state: State
    day: date
    reason: str | None = None


class WasteManifest(_OfWaste):
    """A manifest (危险废物转移联单): one vehicle's trip with one class of waste."""

    KIND: ClassVar[str] = "waste-manifest"

    state: State
    steps: tuple[ManifestStep, ...]
    quantity: Amount
    """Sent."""
    received: Amount | None = None
    """Weighed by the receiver."""
    unit: Unit
    plan: str | None = None
    """转移计划编号."""
    producername: str | None = None
    origin: str | None = None
    """Division of departure (GB/T 2260)."""
    destination: str | None = None
    shipped: date | None = None
    vehicle: str | None = None
    transporter: str | None = None
    transporterlicence: str | None = None
    receiver: str | None = None
    """The receiver's code, or where none is known its name."""
    receivername: str | None = None
    licence: str | None = None
    """The receiver's licence number."""
    form: str | None = None
    features: str | None = None
    ingredient: str | None = None
    package: str | None = None
    packages: Amount | None = None
    method: str | None = None

    @property
    def hauled(self) -> date:
        """The day of the trip, planned where it has not begun."""
        return self.shipped or self.day


class LicenceScope(_Row):
    """What a licence allows of one category: some codes or all, so much a year."""

    category: str
    codes: tuple[str, ...] = ()
    """Empty: every code of the category."""
    quantity: Amount | None = None
    """kg a year; None without a bound."""


class WasteLicence(WasteDocument):
    """A licence (危险废物经营许可证) to take hazardous waste; `number` is the licence number."""

    KIND: ClassVar[str] = "waste-licence"

    holder: str
    holdername: str | None = None
    standing: Standing
    validfrom: date
    validto: date
    scopes: tuple[LicenceScope, ...]
    division: str | None = None

    def valid(self, day: date) -> bool:
        """Whether it is in force on that day, both bounds included."""
        return self.validfrom <= day <= self.validto

    def scope(self, code: str, category: str) -> LicenceScope | None:
        """The scope that a code falls under."""
        fitting = (one for one in self.scopes if one.category == category and (not one.codes or code in one.codes))
        return next(fitting, None)


class WastePlan(WasteDocument):
    """An annual plan (unit, category, year): what the producer may hand over."""

    KIND: ClassVar[str] = "waste-plan"

    year: int
    category: str
    quantity: Amount
    unit: Literal["kg"]
    state: PlanState


class ExpectedWaste(_Row):
    """Waste that a repair lets expect, and why."""

    code: str
    category: str
    name: str
    quantity: Decimal
    unit: Unit
    confidence: Decimal
    """0 to 1, of the rule."""
    rule: str
    because: tuple[str, ...]
    """Rows of the repair by their places (`parts[0]`), not by their texts, which are free."""


class WasteExpected(WasteDocument):
    """What one repair lets expect; `number` is its settlement list code."""

    KIND: ClassVar[str] = "waste-expected"

    items: tuple[ExpectedWaste, ...]


class WasteBalance(WasteDocument):
    """A shop's month of one code: in = out + stock, and declared against expected. `day` is the month's first."""

    KIND: ClassVar[str] = "waste-balance"

    month: str
    """`2024-05`."""
    code: str
    category: str
    unit: Unit
    opening: Decimal
    generated: Decimal
    received: Decimal
    handedover: Decimal
    used: Decimal
    disposed: Decimal
    takenout: Decimal
    """Taken out of store with no later entry that says where to; counts as out."""
    closing: Decimal
    """Book stock at the month's end."""
    counted: Decimal | None = None
    """By the month's last count."""
    countdifference: Decimal | None = None
    """Counted less booked on the day of that count."""
    expected: Decimal
    undeclared: Decimal
    """Expected in this month and met by no entry within the window."""
    unexplained: Decimal
    """Declared in this month and met by no expectation."""
    balanced: bool


Reason = Literal[
    "overdrawn",
    "count-differs",
    "stored-exceeds",
    "undeclared",
    "unexplained",
    "storage-due",
    "storage-overdue",
    "silence",
    "licence-expiring",
    "licence-expired",
    "receiver-unlicensed",
    "red-unfounded",
    "manifest-gates",
    "manifest-weight",
    "manifest-late",
    "manifest-same-trip",
    "manifest-without-entry",
    "manifest-differs",
    "entry-without-manifest",
    "old-part-returned",
    "old-part-undeclared",
    "old-part-disputed",
]


class Evidence(_Row):
    """A record that a case rests on."""

    key: str
    """Record key: system|issuer|number."""
    day: date
    what: str
    """`repair`, an event's kind, `manifest`, ..."""
    quantity: Decimal | None = None
    unit: Unit | None = None


class WasteCase(WasteDocument):
    """An imbalance of a shop, with the records that show it."""

    KIND: ClassVar[str] = "waste-case"

    reason: Reason
    severity: Literal["breach", "warning"]
    month: str | None = None
    code: str | None = None
    category: str | None = None
    unit: Unit | None = None
    expected: Decimal | None = None
    """What should stand there by the rule of the reason."""
    found: Decimal | None = None
    """What stands there."""
    tolerance: Decimal | None = None
    due: date | None = None
    """Last day on which it would have been in order."""
    details: tuple[str, ...] = ()
    """Finding codes of failed gates, numbers of licences."""
    records: int
    """How many records it rests on; at most the first 100 are listed."""
    evidence: tuple[Evidence, ...]
