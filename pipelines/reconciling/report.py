"""What a reconciliation found, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

MISSING, DIFFERS, UNKNOWN, WAITING, REFUSED = "missing", "differs", "unknown", "waiting", "refused"
LISTED, VERIFIED, RECEIPTS, UNASKED = "listed", "verified", "receipts", "unasked"

KINDS: Mapping[str, tuple[str, str]] = {
    MISSING: ("已送达，对方没有", "accepted by our ledger, and the other side does not hold it"),
    DIFFERS: ("对方内容与发送的不同", "the other side holds another content than was sent"),
    UNKNOWN: ("对方有，我方从未发送", "the other side holds what was never sent"),
    WAITING: ("已发送，尚未被接收（等待）", "not accepted yet: it waits"),
    REFUSED: ("已发送，被对方拒绝（死信）", "refused: a letter"),
}
"""Kind of a difference -> Chinese, English. A part or store that only counts is told in the ledger's words."""


class Place(NamedTuple):
    """Where a delivery stands in our ledger."""

    batch: str
    item: int
    ordinal: int
    destination: str

    @property
    def name(self) -> str:
        """As one text, the one that rows of `waiting` bear."""
        return f"{self.batch}/{self.item}/{self.ordinal}/{self.destination}"


class Difference(NamedTuple):
    """One record on which the two sides do not agree."""

    kind: str
    destination: str
    place: Place | None = None
    """Of our delivery; None where there is none."""
    source: str = ""
    """Where its envelope came from: path or queue, and offset."""
    key: str = ""
    """Record key, where a side tells it."""
    expected: str = ""
    """Digest of the content that was sent."""
    found: str = ""
    """Digest of the content that the other side holds."""

    def as_dict(self) -> dict[str, Any]:
        """The stable form (docs/json.md)."""
        zh, en = KINDS.get(self.kind, (self.kind, self.kind))
        return {
            "kind": self.kind,
            "problem": f"{zh} / {en}",
            "destination": self.destination,
            "batch": self.place.batch if self.place else "",
            "source": self.source,
            "record": self.key,
            "expected": self.expected,
            "found": self.found,
        }


@dataclass
class Side:
    """One destination: what each side says."""

    how: str = UNASKED
    """`listed` (record by record), `verified` (count and digest of batches), `receipts` (it cannot be asked: what it
    answered is the proof), `unasked` (it could not be asked: `why`)."""
    why: str = ""
    sent: int = 0
    """Deliveries of the range."""
    accepted: int = 0
    """Of them, those that the ledger counts as delivered, merged or duplicate."""
    held: int = 0
    """Of those, the ones that the other side tells."""

    def as_dict(self, differences: list[Difference]) -> dict[str, Any]:
        """The stable form."""
        kinds = [one.kind for one in differences]
        return {
            "how": self.how,
            "why": self.why,
            "sent": self.sent,
            "accepted": self.accepted,
            "held": self.held,
            **{kind: kinds.count(kind) for kind in KINDS},
        }


@dataclass
class Report:
    """One exchange over a range of days."""

    exchange: str
    since: datetime
    until: datetime
    sides: dict[str, Side] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    backfill: dict[str, int] = field(default_factory=dict)
    """What became of what was missing, where it was sent again: outcome -> how many."""

    @property
    def agreed(self) -> bool:
        """Whether both sides hold the same, as far as they could be asked."""
        open_ = [one for one in self.differences if one.kind not in (WAITING, REFUSED)]
        return not open_ and self.asked

    @property
    def asked(self) -> bool:
        """Whether every destination could be asked, as far as it ever can be."""
        return all(side.how != UNASKED for side in self.sides.values())

    def missing(self) -> list[Difference]:
        """What a backfill sends again."""
        return [one for one in self.differences if one.kind == MISSING]

    def as_dict(self) -> dict[str, Any]:
        """The stable form (docs/json.md)."""
        return {
            "exchange": self.exchange,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "agreed": self.agreed,
            "destinations": {
                name: side.as_dict([one for one in self.differences if one.destination == name])
                for name, side in self.sides.items()
            },
            "differences": [one.as_dict() for one in self.differences],
            "backfill": self.backfill,
        }
