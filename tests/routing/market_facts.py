"""Facts for the derivations of the market: repairs of one model, orders, filings."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from mappings import vin
from mappings.records import Part, Project, RepairRow
from routing.cases import Fact

MODEL = "LSVAL41Z"
TODAY = date(2026, 11, 1)
RECEIVED = datetime(2026, 9, 20, 2, 0, tzinfo=UTC)


def vehicle(number: int) -> str:
    """A VIN of the model."""
    return f"{MODEL}8821{number:05d}"


def shop(number: int, division: str = "440106") -> str:
    return f"{division}{number:09d}"


def repair(number: int, shop_number: int, **changes: Any) -> RepairRow:
    row = RepairRow(
        companycode=shop(shop_number),
        companyname=f"宏图{shop_number}号汽修",
        plate=f"粤B{10000 + number}",
        vin=vehicle(number),
        repairdate=date(2026, 9, 10),
        settledate=date(2026, 9, 11),
        mileage=Decimal(41_000 + number),
        faultdescription="发动机异响",
        costlistcode=f"JS2026{number:06d}",
        parts=(Part("正时链条", Decimal(1), "06A-109-503"),),
        projects=(Project("更换正时链条", Decimal("3.5")),),
    )
    return row._replace(**changes)


def fact(row: Any, version: int = 1, received_at: datetime = RECEIVED, system: str = "44") -> Fact:
    if isinstance(row, RepairRow):
        return Fact("repair", f"{system}|{row.companycode}|{row.costlistcode}", version, system, received_at, row)
    issuer, number, *_ = row.identity
    return Fact(row.KIND, f"{system}|{issuer}|{row.KIND}:{number}", version, system, received_at, row)


def many(vehicles: int, shops: int, **changes: Any) -> list[Fact]:
    """A fact a vehicle, its shop one of so many."""
    return [fact(repair(number, number % shops, **changes)) for number in range(vehicles)]


assert vin.is_alphabet(MODEL)
