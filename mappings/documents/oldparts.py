"""Old parts of a visit (旧件处理): what the shop says became of them.

Public is the code alone: `oldPartDisposal` of the 二级维护 order (domain section 1.7). The repair record has no member
for it and may get none (各省不得自行增减), so it is a message of its own, in our own form: `companycode`, `vin`,
and from that order `settlementSeq`, `settlementDate` and `oldPartDisposal` (table `old-part-disposals`). Of an order
that came by that interface the source `old-parts` makes it; a shop without it may send it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar

from mappings.documents import Document, Identity
from mappings.documents.kinds import Form, Judged
from mappings.documents.members import built, leave_out, rename, required_code, required_text
from mappings.rules import fields
from mappings.rules.case import Case

OWNER, SHOP, NONE = "1", "2", "3"
"""托修方收回, 承修方收回, 无旧件."""


class OldPartDisposal(Document):
    """The shop's word on the old parts of one visit."""

    KIND: ClassVar[str] = "old-part-disposal"

    companycode: str
    costlistcode: str
    vin: str
    settledate: date
    disposal: str
    """Code of the table `old-part-disposals`."""

    @property
    def identity(self) -> Identity:
        """Shop, list code, settlement, vehicle."""
        return Identity(self.companycode, self.costlistcode, self.settledate, self.vin)


OF_ORDER = {"settlementSeq": "costlistcode", "settlementDate": "settledate", "oldPartDisposal": "disposal"}
"""Member of the 二级维护 order -> what it is here."""
_NAMES = {wire.lower(): name for wire, name in OF_ORDER.items()}


def _recognises(members: Mapping[str, Any]) -> bool:
    return members.keys() >= {"companycode", "settlementseq", "oldpartdisposal"}


def _judge(case: Case) -> Judged:
    rename(case, _NAMES)
    leave_out(case, OldPartDisposal.model_fields)
    return built(
        OldPartDisposal,
        {
            "companycode": required_text(case, "companycode"),
            "costlistcode": required_text(case, "costlistcode"),
            "vin": fields.vehicle_number(case),
            "settledate": fields.required_day(case, "settledate"),
            "disposal": required_code(case, "disposal", "old-part-disposals"),
        },
    )


OLD_PART_DISPOSAL = Form("old-part-disposal", _recognises, _judge)
