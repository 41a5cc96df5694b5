"""Limits of the waste derivation, and how its cases are made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from mappings.documents.waste import Evidence, Unit, WasteCase
from routing.cases.wastebooks import Entry
from routing.wasterules import plain

EVIDENCE_MOST = 100


class Settings(BaseModel):
    """Where the lines are drawn. Days are calendar days; kg and pieces stand for the two units of account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_confidence: Decimal = Decimal("0.6")
    """Expectations of less confidence are told and counted against nobody."""
    days_before: int = 31
    """So long after the repair its waste may be declared (a container is declared when it is filled)."""
    days_after: int = 3
    """So long before the settlement it may be declared."""
    undeclared_share: Decimal = Decimal("0.3")
    """Of a month's expectation that may be undeclared."""
    undeclared_kg: Decimal = Decimal("0.5")
    undeclared_pieces: Decimal = Decimal(0)
    """Or so much of it, if that is more."""
    unexplained_share: Decimal = Decimal(1)
    """Of a month's expectation that may be declared beyond it."""
    unexplained_kg: Decimal = Decimal(20)
    unexplained_pieces: Decimal = Decimal(4)
    balance_share: Decimal = Decimal("0.02")
    """Of what went through that in and out + stock may differ by."""
    balance_kg: Decimal = Decimal(1)
    balance_pieces: Decimal = Decimal(0)
    storage_days: int = 365
    """固废法 article 81."""
    storage_warning_days: int = 30
    silence_days: int = 60
    licence_warning_days: int = 30
    weight_percent: int = 5
    weight_kg: int = 100
    """Weights sent and received that differ by more than both."""
    receipt_days: int = 7
    """From departure to confirmed receipt: five working days (from memory, unverified), so only a warning."""
    entry_days: int = 7
    """From departure to the ledger entry that tells of it."""
    licence_use_days: int = 365
    """Licences of receivers that a shop used so long ago still concern it."""
    exempt: frozenset[str] = frozenset({"900-052-31"})
    """Codes that may be handed over without a manifest (豁免管理; from memory, unverified)."""
    closed: frozenset[str] = frozenset()
    """Categories that are not open for transfer."""
    kept: frozenset[str] = frozenset()
    """Categories and codes that may not leave their province."""

    def undeclared(self, unit: Unit, expected: Decimal) -> Decimal:
        """How much of a month's expectation may be undeclared."""
        return plain(
            max(self.undeclared_share * expected, self.undeclared_kg if unit == "kg" else self.undeclared_pieces)
        )

    def unexplained(self, unit: Unit, expected: Decimal) -> Decimal:
        """How much may be declared beyond a month's expectation."""
        least = self.unexplained_kg if unit == "kg" else self.unexplained_pieces
        return plain(max(self.unexplained_share * expected, least))

    def imbalance(self, unit: Unit, through: Decimal) -> Decimal:
        """How much in and out + stock may differ where so much went through."""
        return plain(max(self.balance_share * through, self.balance_kg if unit == "kg" else self.balance_pieces))


def evidence(entry: Entry, quantity: Decimal | None = None) -> Evidence:
    """An entry as evidence."""
    amount = entry.quantity if quantity is None else quantity
    return Evidence(key=entry.key, day=entry.day, what=entry.event, quantity=plain(amount), unit=entry.unit)


def case(shop: str, reason: str, about: str, day: date, shown: Iterable[Evidence], **members: Any) -> WasteCase:  # noqa: ANN401 - members of a case
    """A case of a shop: a breach unless said otherwise, numbered by its reason and what it is about."""
    records = sorted(shown, key=lambda one: (one.day, one.key))
    return WasteCase.model_validate(
        {
            "issuer": shop,
            "number": f"{reason}:{about}",
            "day": day,
            "reason": reason,
            "severity": "breach",
            "records": len(records),
            "evidence": tuple(records[:EVIDENCE_MOST]),
            **members,
        }
    )
