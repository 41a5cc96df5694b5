"""Waste: what repairs let expect, whether a shop's ledger balances, and a case for each imbalance with its evidence.

One shop's facts are its repairs, ledger events, manifests, app orders, licences and plans; from them follow, per repair
what waste it lets expect (`waste-expected`), per code and month a balance (`waste-balance`), and cases (`waste-case`):

| reason | what is wrong |
|---|---|
| overdrawn, count-differs, stored-exceeds | in is not out + stock |
| undeclared, unexplained | expected is not declared |
| storage-due, storage-overdue | lies there too long (FIFO over batches) |
| silence | no entry for too long, though there is something to enter |
| red-unfounded | a red entry that corrects nothing, another waste, or more than there was |
| old-part-... | old parts that insurer, owner and shop have, and the ledger, do not fit |
| manifest-..., entry-without-manifest | manifests, their gates and the ledger do not fit |
| receiver-unlicensed, licence-expiring, licence-expired | who takes the waste may not, or soon not |

A day outside 1950-2200, which only a document made by hand can have, is left out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from mappings.documents import Document
from mappings.documents.claims import OldPartReturn
from mappings.documents.oldparts import OldPartDisposal
from mappings.documents.waste import (
    Evidence,
    ExpectedWaste,
    Unit,
    WasteBalance,
    WasteCase,
    WasteEvent,
    WasteExpected,
    WasteLicence,
    WasteManifest,
    WasteOrder,
    WastePlan,
    WasteSignature,
)
from mappings.records import RepairRow
from mappings.waste.codes import category_of
from routing.cases import REPAIR, Fact, Subject, wasteoldparts
from routing.cases.wastebooks import (
    Account,
    Entry,
    Month,
    accounts,
    entered,
    lots,
    months,
    residues,
)
from routing.cases.wastefacts import Known, sorted_out
from routing.cases.wastematching import Expectation, Matched, match
from routing.cases.wastesettings import Settings, case, evidence
from routing.cases.wastestock import count_difference, first_of, stock_cases, storage_cases
from routing.cases.wastetransfers import transfer_cases
from routing.wastereference import WasteReference
from routing.wasterules import WasteRules, plain, shipped_waste_rules

__all__ = ["Settings", "Waste"]

_ZERO = Decimal()
_Expected = tuple[str, RepairRow, tuple[ExpectedWaste, ...]]
"""A repair with its key, and what of its waste is the shop's."""
_NOTHING = Matched((), {})


class Waste:
    """The derivation `waste`, by the company code of the shop."""

    name = "waste"
    by: Subject = "issuer"
    takes = frozenset(
        {
            REPAIR,
            WasteEvent.KIND,
            WasteOrder.KIND,
            WasteSignature.KIND,
            WasteManifest.KIND,
            WasteLicence.KIND,
            WastePlan.KIND,
            OldPartReturn.KIND,
            OldPartDisposal.KIND,
        }
    )
    needs = frozenset[str]()
    words: tuple[str, ...] = ()
    gives = frozenset({WasteExpected.KIND, WasteBalance.KIND, WasteCase.KIND})
    skims = False
    daily = True
    """Storage, silence and licences depend on the day."""

    def __init__(
        self, settings: Settings, reference: WasteReference | None = None, rules: WasteRules | None = None
    ) -> None:
        self._settings = settings
        self._reference = reference or WasteReference()
        self._rules = rules or shipped_waste_rules()
        self._expectable = self._rules.codes(settings.min_confidence)

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[Document]:
        """Expectations, balances and cases of one shop, each key once."""
        known = sorted_out(facts)
        found: dict[str, Document] = {}
        for document in self._derived(subject, known, today):
            found.setdefault(document.listed, document)
        return list(found.values())

    def _derived(self, shop: str, known: Known, today: date) -> Iterator[Document]:
        visits = wasteoldparts.visits(known.repairs, known.old_parts, self._rules)
        expected = [(one.key, one.repair, one.items) for one in visits]
        for _, repair, items in expected:
            if items:
                yield WasteExpected(issuer=shop, number=repair.costlistcode, day=repair.settledate, items=items)
        entries, unfounded = entered(known.events, self._rules)
        for red in unfounded:
            account = _account(red.entry)
            shown = [evidence(red.entry)]
            members = {**account._asdict(), "found": plain(red.excess)}
            yield case(shop, "red-unfounded", red.entry.number, red.entry.day, shown, **members)
        stock = yield from self._accounts(shop, entries, visits, today)
        yield from wasteoldparts.disputed(shop, known.old_parts)
        yield from transfer_cases(shop, entries, known.transfers, self._reference, self._rules, self._settings, today)
        yield from self._silence(shop, known, expected, today, stock=stock)

    def _accounts(
        self,
        shop: str,
        entries: Sequence[Entry],
        visits: Sequence[wasteoldparts.Visit],
        today: date,
    ) -> Generator[Document, None, bool]:
        """Balances and cases of every account; returns whether hazardous waste lies there."""
        expected = [(one.key, one.repair, one.items) for one in visits]
        old = [one for one in visits if one.old is not None]
        wanted = self._expectations(expected)
        booked = accounts(entries)
        stock = False
        for account in sorted({*wanted, *booked}):
            own = booked.get(account, [])
            left = residues(own)
            by_month = months(own, left)
            declared = [entry for entry in own if entry.event == "generated"]
            matched = _NOTHING
            if account.code in self._expectable:
                window = (self._settings.days_before, self._settings.days_after)
                matched = match(wanted.get(account, ()), declared, *window)
                yield from self._undeclared(shop, account, matched, today)
                yield from wasteoldparts.undeclared(
                    shop, account, old, matched.expectations, self._rules, self._settings, today
                )
                since = min((repair.settledate for _, repair, _ in expected), default=date.max)
                told = [entry for entry in declared if entry.day >= since]
                yield from self._unexplained(shop, account, matched, told)
            yield from wasteoldparts.returned(shop, account, old, declared, self._rules)
            yield from _balances(shop, account, by_month, left, matched, self._settings)
            yield from stock_cases(shop, account, by_month, left, self._settings)
            lying = lots(own, left)
            stock = stock or any(lot.entry.hazardous for lot in lying)
            yield from storage_cases(shop, lying, self._settings, today)
        return stock

    def _expectations(self, expected: Iterable[_Expected]) -> dict[Account, list[Expectation]]:
        """What counts against the shop: expectations of enough confidence, in units of account."""
        found: dict[Account, list[Expectation]] = {}
        for key, repair, items in expected:
            for item in items:
                if item.confidence < self._settings.min_confidence:
                    continue
                unit, quantity = self._rules.account(item.code, item.unit, item.quantity)
                account = Account(item.code, category_of(item.code), unit)
                one = Expectation(key, repair.costlistcode, repair.settledate, quantity, quantity)
                found.setdefault(account, []).append(one)
        return found

    def _undeclared(self, shop: str, account: Account, matched: Matched, today: date) -> Iterator[WasteCase]:
        """Expected, and met by no entry though the window is over."""
        over = today - timedelta(self._settings.days_before)
        for month in sorted({one.month for one in matched.expectations}):
            of_month = [one for one in matched.expectations if one.month == month]
            missing = [one for one in of_month if one.unmet > 0 and one.day < over]
            amount = sum((one.unmet for one in missing), _ZERO)
            whole = sum((one.quantity for one in of_month), _ZERO)
            tolerance = self._settings.undeclared(account.unit, whole)
            if amount > tolerance:
                shown = [_repair(one.key, one.day, one.unmet, account.unit) for one in missing]
                amounts = {"expected": plain(whole), "found": plain(whole - amount), "tolerance": tolerance}
                yield _of_month(shop, "undeclared", account, month, shown, amounts)

    def _unexplained(
        self, shop: str, account: Account, matched: Matched, declared: Sequence[Entry]
    ) -> Iterator[WasteCase]:
        """Declared since the first repair known, and explained by none: a lead to repairs not uploaded, no breach."""
        for month in sorted({entry.month for entry in declared}):
            beyond = {one.key: matched.unexplained[one.key] for one in declared if one.month == month}
            amount = sum(beyond.values(), _ZERO)
            whole = sum((one.quantity for one in matched.expectations if one.month == month), _ZERO)
            tolerance = self._settings.unexplained(account.unit, whole)
            if amount > tolerance:
                shown = [evidence(one, beyond[one.key]) for one in declared if beyond.get(one.key)]
                amounts = {"expected": plain(whole), "found": plain(whole + amount), "tolerance": tolerance}
                yield _of_month(shop, "unexplained", account, month, shown, amounts, severity="warning")

    def _silence(
        self,
        shop: str,
        known: Known,
        expected: Sequence[_Expected],
        today: date,
        *,
        stock: bool,
    ) -> Iterator[WasteCase]:
        """No entry for longer than the limit, though repairs let expect some or hazardous waste lies there."""
        least = self._settings.min_confidence
        due_ones = [
            (repair.settledate, key) for key, repair, items in expected if any(one.confidence >= least for one in items)
        ]
        said: dict[str, tuple[date, str]] = {key: (event.day, event.event) for key, event in known.events}
        for key, manifest in known.transfers.manifests.items():
            said[key] = manifest.steps[-1].day, "manifest"
        for key, order in known.transfers.orders.items():
            said[key] = order.day, "order"
        last = max(((day, key, what) for key, (day, what) in said.items()), default=None)
        since = last[0] if last else min((day for day, _ in due_ones), default=None)
        if since is None:
            return
        due = since + timedelta(self._settings.silence_days)
        if today <= due:
            return
        waiting = [_repair(key, day, None, None) for day, key in due_ones if day >= since]
        if waiting or stock:
            shown = [*([Evidence(key=last[1], day=last[0], what=last[2])] if last else ()), *waiting]
            yield case(shop, "silence", since.isoformat(), due, shown, severity="warning", due=due)


def _balances(
    shop: str,
    account: Account,
    by_month: Mapping[str, Month],
    left: Mapping[str, Decimal],
    matched: Matched,
    settings: Settings,
) -> Iterator[WasteBalance]:
    """A balance of every month in which something was entered or expected."""
    own = [entry for month in by_month.values() for entry in month.entries]
    stock = _ZERO
    for month in sorted({*by_month, *(one.month for one in matched.expectations)}):
        book = by_month.get(month, Month(opening=stock, closing=stock))
        stock = book.closing
        counts = [entry for entry in book.entries if entry.event == "counted"]
        difference = count_difference(own, left, counts[-1]) if counts else None
        of_month = [one for one in matched.expectations if one.month == month]
        through = max(book.opening, _ZERO) + book.sums["generated"] + book.sums["received"]
        tolerance = settings.imbalance(account.unit, through)
        yield WasteBalance(
            issuer=shop,
            number=f"{account.code}:{account.unit}:{month}",
            day=first_of(month),
            month=month,
            code=account.code,
            category=account.category,
            unit=account.unit,
            opening=plain(book.opening),
            generated=plain(book.sums["generated"]),
            received=plain(book.sums["received"]),
            handedover=plain(book.sums["handed-over"]),
            used=plain(book.sums["used"]),
            disposed=plain(book.sums["disposed"]),
            takenout=plain(book.sums["taken-out"]),
            closing=plain(book.closing),
            counted=plain(counts[-1].quantity) if counts else None,
            countdifference=difference,
            expected=plain(sum((one.quantity for one in of_month), _ZERO)),
            undeclared=plain(sum((one.unmet for one in of_month), _ZERO)),
            unexplained=plain(sum((matched.unexplained.get(one.key, _ZERO) for one in book.entries), _ZERO)),
            balanced=book.closing >= -tolerance and abs(difference or _ZERO) <= tolerance,
        )


def _account(entry: Entry) -> Account:
    return Account(entry.code, entry.category, entry.unit)


def _repair(key: str, day: date, quantity: Decimal | None, unit: Unit | None) -> Evidence:
    return Evidence(key=key, day=day, what=REPAIR, quantity=None if quantity is None else plain(quantity), unit=unit)


def _of_month(
    shop: str,
    reason: str,
    account: Account,
    month: str,
    shown: Sequence[Evidence],
    amounts: Mapping[str, Decimal],
    severity: str = "breach",
) -> WasteCase:
    about = f"{account.code}:{account.unit}:{month}"
    members = {**account._asdict(), **amounts, "month": month, "severity": severity}
    return case(shop, reason, about, first_of(month), shown, **members)
