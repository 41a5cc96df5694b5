"""Old parts meet the waste ledger: what went back to insurer or owner is no waste of the shop, what stays is.

A claim's `old-part-return` and the shop's own word (`old-part-disposal`) say where the old parts of a visit went. What
an oil change or a paint job leaves stays in the shop whatever they say: only rules by the piece are about old parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from mappings.documents.claims import OldPartReturn
from mappings.documents.oldparts import NONE, OWNER, OldPartDisposal
from mappings.documents.waste import Evidence, ExpectedWaste, WasteCase
from mappings.records import RepairRow
from routing.cases.wastebooks import Account, Entry
from routing.cases.wastematching import Expectation
from routing.cases.wastesettings import Settings, case, evidence
from routing.wasterules import WasteRules, plain

_ALL = Decimal("Infinity")
_HALF = Decimal("0.5")
_ZERO = Decimal()


@dataclass(frozen=True)
class OldParts:
    """What is told of the old parts of one visit, each with its record key."""

    returned: tuple[str, OldPartReturn] | None = None
    disposal: tuple[str, OldPartDisposal] | None = None

    def gone(self, codes: Iterable[str]) -> dict[str, Decimal]:
        """Code -> pieces that did not stay in the shop; `codes` are all there are."""
        if self.disposal is not None and self.disposal[1].disposal in (OWNER, NONE):
            return dict.fromkeys(codes, _ALL)
        return self._pieces("insurer", "owner", "none")

    def stays(self) -> dict[str, Decimal]:
        """Code -> pieces that the insurer left in the shop."""
        return self._pieces("shop")

    def _pieces(self, *holders: str) -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for part in self.returned[1].parts if self.returned else ():
            if part.wastecode and part.holder in holders:
                count = Decimal(1) if part.count is None else part.count
                found[part.wastecode] = found.get(part.wastecode, _ZERO) + count
        return {code: pieces for code, pieces in found.items() if pieces > 0}

    def shown(self) -> list[Evidence]:
        """The records as evidence."""
        told = [("old-part-return", self.returned), ("old-part-disposal", self.disposal)]
        return [Evidence(key=one[0], day=one[1].settledate, what=what) for what, one in told if one is not None]

    def disputed(self) -> bool:
        """Whether insurer and shop name different holders of a part."""
        return self.returned is not None and not all(part.agrees for part in self.returned[1].parts)


class Visit(NamedTuple):
    """A repair, what it lets expect, and what of that went with its old parts."""

    key: str
    repair: RepairRow
    items: tuple[ExpectedWaste, ...]
    """What stays expected."""
    old: OldParts | None
    went: Mapping[Account, Decimal]
    """What would be expected beside it, had every old part stayed."""


def visits(
    repairs: Iterable[tuple[str, RepairRow]], old_parts: Mapping[str, OldParts], rules: WasteRules
) -> list[Visit]:
    """The repairs of a shop, with what of their waste went away with old parts."""
    codes = rules.codes(_ZERO)
    found = []
    for key, repair in repairs:
        items = rules.expect(repair)
        old = old_parts.get(repair.costlistcode)
        if old is None or not items:
            found.append(Visit(key, repair, items, old, {}))
            continue
        kept = rules.kept(items, old.gone(codes))
        whole, rest = sums(items, rules), sums(kept, rules)
        went = {account: amount - rest.get(account, _ZERO) for account, amount in whole.items()}
        found.append(Visit(key, repair, kept, old, {one: amount for one, amount in went.items() if amount}))
    return found


def sums(items: Iterable[ExpectedWaste], rules: WasteRules) -> dict[Account, Decimal]:
    """Expected waste by what is accounted together."""
    found: dict[Account, Decimal] = {}
    for item in items:
        unit, quantity = rules.account(item.code, item.unit, item.quantity)
        account = Account(item.code, item.category, unit)
        found[account] = found.get(account, _ZERO) + quantity
    return found


def disputed(shop: str, told: Mapping[str, OldParts]) -> Iterator[WasteCase]:
    """Insurer and shop do not agree on who has an old part."""
    for number, old in sorted(told.items()):
        if old.returned is not None and old.disputed():
            details = tuple(sorted({part.partid for part in old.returned[1].parts if not part.agrees}))
            day = old.returned[1].settledate
            yield case(shop, "old-part-disputed", number, day, old.shown(), severity="warning", details=details)


def returned(
    shop: str, account: Account, known: Iterable[Visit], declared: Iterable[Entry], rules: WasteRules
) -> Iterator[WasteCase]:
    """The ledger has an old part of a visit that went back to insurer or owner."""
    of_visit: dict[str, list[Entry]] = {}
    for entry in declared:
        if entry.costlistcode:
            of_visit.setdefault(entry.costlistcode, []).append(entry)
    for visit in known:
        went, entries = visit.went.get(account, _ZERO), of_visit.get(visit.repair.costlistcode, [])
        if visit.old is None or not went:
            continue
        wanted = sums(visit.items, rules).get(account, _ZERO)
        found = sum((entry.quantity for entry in entries), _ZERO)
        if found - wanted > went * _HALF:
            shown = [*visit.old.shown(), *map(evidence, entries)]
            amounts = {"expected": plain(wanted), "found": plain(found), "tolerance": plain(went * _HALF)}
            yield _of_visit(shop, "old-part-returned", account, visit, shown, amounts, "warning")


def undeclared(
    shop: str,
    account: Account,
    known: Iterable[Visit],
    matched: Iterable[Expectation],
    rules: WasteRules,
    settings: Settings,
    today: date,
) -> Iterator[WasteCase]:
    """An old part stays in the shop by the insurer's word, and no entry of the ledger met it in time."""
    unmet: dict[str, Decimal] = {}  # several rules may have one code
    for one in matched:
        if one.day < today - timedelta(settings.days_before):
            unmet[one.key] = unmet.get(one.key, _ZERO) + one.unmet
    for visit in known:
        pieces = visit.old.stays().get(account.code, _ZERO) if visit.old else _ZERO
        if visit.old is None or not pieces:
            continue
        wanted = sums(visit.items, rules).get(account, _ZERO)
        missing = unmet.get(visit.key, _ZERO)
        if wanted and missing > wanted * _HALF:
            repair = Evidence(
                key=visit.key, day=visit.repair.settledate, what="repair", quantity=plain(missing), unit=account.unit
            )
            amounts = {"expected": plain(wanted), "found": plain(wanted - missing), "tolerance": plain(wanted * _HALF)}
            shown = [*visit.old.shown(), repair]
            yield _of_visit(shop, "old-part-undeclared", account, visit, shown, amounts, "breach")


def _of_visit(
    shop: str,
    reason: str,
    account: Account,
    visit: Visit,
    shown: Iterable[Evidence],
    amounts: Mapping[str, Decimal],
    severity: str,
) -> WasteCase:
    about = f"{account.code}:{account.unit}:{visit.repair.costlistcode}"
    day = visit.repair.settledate
    members = {**account._asdict(), **amounts, "month": day.isoformat()[:7], "severity": severity}
    return case(shop, reason, about, day, shown, **members)
