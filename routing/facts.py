"""Facts: what rules see of one record. Values only; where they came from is the caller's business."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple, Protocol

from mappings import divisions, plates

NOTHING_HELD: frozenset[str] = frozenset()


class Facts(NamedTuple):
    """What the rules of a table may ask about one version of one record."""

    vin: str
    plate: str
    """Normalised plate (GA 36 without separators), empty when the record has none."""
    company: str
    """Company code of the shop."""
    settledate: date
    system: str
    """Collecting system: province key (`44`, `bt`) or `oem-` and an OEM id."""
    shop_province: str = ""
    """Province key of the shop by its company code, empty when the code names none."""
    repaircomefrom: int = 1
    """1 同步 (collected here), 2 上级下发 (came down from the ministry)."""
    dealer_of: str = ""
    """OEM id that the shop is a dealer of on the settle date, by register and list; empty when of none."""
    held: frozenset[str] = NOTHING_HELD
    """Destinations that hold this version, or that headquarters' distribution addressed with it."""
    kind: str = "repair"
    """Record kind."""


class DealerRegister(Protocol):
    """Who is a dealer of whom, and when (see `routing.dealers.Dealers`)."""

    def oem_of(self, company: str, day: date) -> str:
        """OEM id of the company on that day, or ''."""


def facts_of(
    vin: str,
    plate: str,
    company: str,
    settledate: date,
    system: str,
    repaircomefrom: int = 1,
    *,
    dealers: DealerRegister | None = None,
    held: Iterable[str] = NOTHING_HELD,
    kind: str = "repair",
) -> Facts:
    """The facts of one record, derived ones included (normalised plate, shop's province, dealer)."""
    return Facts(
        vin=vin,
        plate=plates.normalise(plate),
        company=company,
        settledate=settledate,
        system=system,
        shop_province=divisions.of_company(company) or "",
        repaircomefrom=repaircomefrom,
        dealer_of=dealers.oem_of(company, settledate) if dealers is not None else "",
        held=frozenset(held),
        kind=kind,
    )
