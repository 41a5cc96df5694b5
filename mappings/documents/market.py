"""Defect leads (缺陷线索) for the market regulator and the maker: what many vehicles of one model have in common.

82号 (8): the archive finds technical problems that occur often and tells maker and regulator. The regulator's own form
of a lead is not public (domain 10); it takes one in three blocks: owner, vehicle, defect (domain 8.3). Ours has no
owner block, since a lead tells of no single vehicle.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar

import orjson
from pydantic import Field, StringConstraints

from mappings.divisions import PROVINCES
from mappings.documents import Document, Identity

Month = Annotated[str, StringConstraints(pattern=r"^\d{4}-(?:0[1-9]|1[0-2])$")]
"""`2026-09`."""

SCHEMA = "vingate.defect-lead/1"


class DefectLead(Document):
    """Equal faults of one model in one province and month (domain 8.3).

    No VIN, plate, owner or shop stands in it: texts are those of `mappings.symptoms`, and at least k vehicles and k
    shops have all of it in common (`routing.cases.defects`).
    """

    KIND: ClassVar[str] = "defect-lead"

    issuer: str
    """Who tells: the system that holds the archive."""
    number: str
    """Digest of model, region, month, part and fault: the same cluster keeps its number while it grows."""
    model: Annotated[str, StringConstraints(pattern=r"^[0-9A-HJ-NPR-Z]{8}$")]
    """WMI and VDS without its check digit: the first 8 of the VIN."""
    maker: str | None = None
    """By WMI (GB 16737), in Chinese; None where the table does not know it."""
    region: str
    """Province key of the shops: two digits of GB/T 2260, or `bt`."""
    month: Month
    """Month of the repairs (送修日期)."""
    mileagefrom: Annotated[int, Field(ge=0)]
    """Band that holds the vehicles' median mileage: from this on, km."""
    mileageto: Annotated[int, Field(gt=0)]
    """... and below this."""
    fault: Annotated[str, StringConstraints(min_length=1)]
    part: str | None = None
    """Name of the part that was used; None of a lead on the fault alone."""
    partcode: str | None = None
    """Its code, where at least k vehicles and k shops have the same."""
    count: Annotated[int, Field(gt=1)]
    """Vehicles."""
    evidence: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 over the keys and versions of the records that it rests on: the archive can prove them, nobody else."""

    @property
    def identity(self) -> Identity:
        """The first day of its month stands for it; it has no vehicle."""
        return Identity(self.issuer, self.number, date.fromisoformat(f"{self.month}-01"))


def encode_defect_lead(lead: DefectLead) -> bytes:
    """A lead for regulator and maker: `vingate.defect-lead/1`, our own schema.

    `schema`, `leadNo`, `issuer`; `vehicle`: `model`, `maker`, `mileageFrom`, `mileageTo` (km); `defect`: `description`,
    `part`, `partCode`, `region`, `regionName`, `month`, `count`; `evidence`. What is not known is null.
    """
    province = PROVINCES.get(lead.region)
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "leadNo": lead.number,
            "issuer": lead.issuer,
            "vehicle": {
                "model": lead.model,
                "maker": lead.maker,
                "mileageFrom": lead.mileagefrom,
                "mileageTo": lead.mileageto,
            },
            "defect": {
                "description": lead.fault,
                "part": lead.part,
                "partCode": lead.partcode,
                "region": lead.region,
                "regionName": province.name_zh if province else None,
                "month": lead.month,
                "count": lead.count,
            },
            "evidence": lead.evidence,
        }
    )
