"""The figures of a credit entry: the items of one period -> `scoring.MEASURES`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from mappings.documents.credit import ITEMS, Complaint, Correctable, Evaluation, SpotCheck, Transmission
from routing.cases.scoring import TEN_THOUSANDTH, rounded

PASSED = "1"
"""Of the table `check-results`."""
OPEN, UPHELD = "0", frozenset({"1", "2"})
"""Of the table `complaint-outcomes`."""


class Items(NamedTuple):
    """What one period has."""

    evaluations: list[Evaluation]
    checks: list[SpotCheck]
    complaints: list[Complaint]
    transmissions: list[Transmission]

    @classmethod
    def within(cls, items: Iterable[Correctable], first: date, last: date) -> Items:
        """Those of the days from first to last; of a month told whole, its days are left out."""
        own = [item for item in items if first <= item.identity.day <= last]
        told = [item for item in own if isinstance(item, Transmission)]
        months = {item.period for item in told if len(item.period) == len("yyyy-MM")}
        return cls(
            [item for item in own if isinstance(item, Evaluation)],
            [item for item in own if isinstance(item, SpotCheck)],
            [item for item in own if isinstance(item, Complaint)],
            [item for item in told if item.period in months or item.period[: len("yyyy-MM")] not in months],
        )


def measures(items: Items, first: date, last: date) -> dict[str, Decimal | None]:
    """Every figure by its name; None where nothing tells it."""
    received, accepted, late, dead, flagged, corrected, silent = (
        sum(getattr(one, name) for one in items.transmissions)
        for name in ("received", "accepted", "late", "dead", "flagged", "corrected", "silentdays")
    )
    told = sum((until - since).days + 1 for since, until in (one.span for one in items.transmissions))
    upheld = sum(one.outcome in UPHELD for one in items.complaints)
    counts = {
        "received": received,
        "accepted": accepted,
        "silent_days": silent,
        "untold_days": (last - first).days + 1 - told,
        "evaluations": len(items.evaluations),
        "checks": len(items.checks),
        "checks_failed": sum(one.result != PASSED for one in items.checks),
        "checks_overdue": sum(_overdue(one, last) for one in items.checks),
        "complaints": len(items.complaints),
        "complaints_upheld": upheld,
        "complaints_open": sum(one.outcome == OPEN for one in items.complaints),
    }
    ratios = {
        "late_share": _ratio(late, accepted),
        "dead_share": _ratio(dead, received),
        "flagged_share": _ratio(flagged, accepted),
        "corrected_share": _ratio(corrected, accepted),
        "silent_share": _ratio(silent, told),
        "upheld_per_thousand": _ratio(upheld * 1000, accepted) if upheld else Decimal(0),
    }
    stars = {item: _mean(_stars(items.evaluations, item)) for item in ITEMS}
    means = [mean for one in items.evaluations if (mean := _mean(_stars([one], *ITEMS))) is not None]
    return {
        **{name: Decimal(count) for name, count in counts.items()},
        **ratios,
        **{name: _shown(mean) for name, mean in stars.items()},
        "evaluation_mean": _shown(_mean(means)),
    }


def _overdue(check: SpotCheck, last: date) -> bool:
    """Whether what had to be put right by the end of the period was not, or too late."""
    if check.rectifyby is None or check.rectifyby > last:
        return False
    return check.rectifiedon is None or check.rectifiedon > check.rectifyby


def _stars(evaluations: Iterable[Evaluation], *items: str) -> list[Decimal]:
    given = (getattr(one, item) for one in evaluations for item in items)
    return [Decimal(stars) for stars in given if stars is not None]


def _mean(values: Sequence[Decimal]) -> Decimal | None:
    return sum(values, Decimal(0)) / len(values) if values else None


def _shown(value: Decimal | None) -> Decimal | None:
    return None if value is None else rounded(value, TEN_THOUSANDTH)


def _ratio(part: int, whole: int) -> Decimal | None:
    return rounded(Decimal(part) / whole, TEN_THOUSANDTH) if whole else None
