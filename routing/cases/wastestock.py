"""What a shop's books show against themselves: out of what is not there, counts that differ, storage over the limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from mappings.documents.waste import Evidence, WasteCase
from routing.cases.wastebooks import INTO, Account, Entry, Lot, Month, moved, stock_at
from routing.cases.wastesettings import Settings, case, evidence
from routing.wasterules import plain


def first_of(month: str) -> date:
    """The first day of a month."""
    return date.fromisoformat(f"{month}-01")


def stock_cases(
    shop: str, account: Account, by_month: Mapping[str, Month], left: Mapping[str, Decimal], settings: Settings
) -> Iterator[WasteCase]:
    """In = out + stock, month by month. What a month inherits is no case of its own: only what it adds is."""
    entries = [entry for month in by_month.values() for entry in month.entries]
    yield from _overdrawn(shop, account, by_month, left, settings)
    yield from _stored(shop, account, by_month, settings)
    yield from _counts(shop, account, entries, left, settings)


def count_difference(entries: Sequence[Entry], left: Mapping[str, Decimal], count: Entry) -> Decimal:
    """What was counted less what the books have at that day's end."""
    return plain(count.quantity - stock_at(entries, left, count.day))


def _overdrawn(
    shop: str, account: Account, by_month: Mapping[str, Month], left: Mapping[str, Decimal], settings: Settings
) -> Iterator[WasteCase]:
    """More went out than had come in."""
    worst, brought = Decimal(), Decimal()
    for month, sums in by_month.items():
        brought += sum((sums.sums[event] for event in INTO), Decimal())
        lacking = max(-sums.closing, Decimal())
        tolerance = settings.imbalance(account.unit, brought)
        if lacking - worst > tolerance:
            shown = [evidence(one, moved(one, left)) for one in sums.entries if moved(one, left)]
            gone = plain(sums.opening - sums.closing)
            yield _monthly(shop, "overdrawn", account, month, shown, plain(sums.opening), gone, tolerance)
        worst = max(worst, lacking)


def _stored(shop: str, account: Account, by_month: Mapping[str, Month], settings: Settings) -> Iterator[WasteCase]:
    """More was put into store than had come into being."""
    worst, brought, stored = Decimal(), Decimal(), Decimal()
    for month, sums in by_month.items():
        brought += sum((sums.sums[event] for event in INTO), Decimal())
        stored += sums.sums["stored"]
        tolerance = settings.imbalance(account.unit, brought)
        if stored - brought - worst > tolerance:
            shown = [evidence(one) for one in sums.entries if one.event in {"stored", *INTO}]
            yield _monthly(shop, "stored-exceeds", account, month, shown, plain(brought), plain(stored), tolerance)
        worst = max(worst, stored - brought)


def _counts(
    shop: str, account: Account, entries: Sequence[Entry], left: Mapping[str, Decimal], settings: Settings
) -> Iterator[WasteCase]:
    """A count differs from the books, and not by what the count before it differed by."""
    before, since = Decimal(), date.min
    for count in (entry for entry in entries if entry.event == "counted"):
        booked = stock_at(entries, left, count.day)
        difference = count_difference(entries, left, count)
        span = [one for one in entries if since < one.day <= count.day and moved(one, left)]
        through = max(booked, sum((abs(moved(one, left)) for one in span), Decimal()))
        tolerance = settings.imbalance(account.unit, through)
        if abs(difference) > tolerance and abs(difference - before) > tolerance:
            shown = [evidence(count), *(evidence(one, moved(one, left)) for one in span)]
            about = f"{account.code}:{account.unit}:{count.number}"
            yield case(
                shop,
                "count-differs",
                about,
                count.day,
                shown,
                **_of(account),
                month=count.month,
                expected=plain(booked),
                found=plain(count.quantity),
                tolerance=tolerance,
            )
        before, since = difference, count.day


def _monthly(
    shop: str,
    reason: str,
    account: Account,
    month: str,
    shown: Sequence[Evidence],
    expected: Decimal,
    found: Decimal,
    tolerance: Decimal,
) -> WasteCase:
    about = f"{account.code}:{account.unit}:{month}"
    amounts = {"expected": expected, "found": found, "tolerance": tolerance}
    return case(shop, reason, about, first_of(month), shown, **_of(account), month=month, **amounts)


def storage_cases(shop: str, lots: Sequence[Lot], settings: Settings, today: date) -> Iterator[WasteCase]:
    """Hazardous waste that lies there longer than the limit, or will soon; of one account.

    What is left of weighing alone, which is no more than in and out may differ by, is none.
    """
    warned = today - timedelta(settings.storage_days - settings.storage_warning_days)
    old = [lot for lot in lots if lot.entry.hazardous and lot.entry.day < warned]
    total = sum((lot.quantity for lot in old), Decimal())
    if not old or total <= settings.imbalance(old[0].entry.unit, total):
        return
    for lot in old:
        due = lot.entry.day + timedelta(settings.storage_days)
        over = today > due
        account = Account(lot.entry.code, lot.entry.category, lot.entry.unit)
        yield case(
            shop,
            "storage-overdue" if over else "storage-due",
            f"{account.code}:{account.unit}:{lot.entry.number}",
            due,
            [evidence(lot.entry, lot.quantity)],
            **_of(account),
            severity="breach" if over else "warning",
            found=lot.quantity,
            due=due,
        )


def _of(account: Account) -> dict[str, str]:
    return {"code": account.code, "category": account.category, "unit": account.unit}
