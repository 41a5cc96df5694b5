"""Headquarters feeds: what OEMs tell of their dealers' visits, a file a day, in Avro or NDJSON."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import fastavro

from pipelines.sample.chance import Random, between, odds, stream
from pipelines.sample.content import Content, Visit, calendar, content_of
from pipelines.sample.faults import BY_NAME
from pipelines.sample.oemfeed import SCHEMA, as_avro, as_json
from pipelines.sample.registry import homes
from pipelines.sample.shops import OEMS, Shop
from pipelines.sample.tally import CORRECTION, HEADQUARTERS, RECORD, REJECTED, REPEAT, Tally
from pipelines.sample.wire import compact, encode_json

REPORTED = 0.85
OWN_NUMBER = 0.3
"""Share of records that bear headquarters' own list code instead of the shop's."""
REPEATED, CORRECTED = 0.012, 0.015
_AVRO_DAYS = {"SVW": range(0, 10_000), "FAWVW": range(0), "TESLA-SH": range(10)}
"""OEM -> the days on which its feed is Avro; on the others it is NDJSON."""
_FAULTS = (
    ("vin-14", 1.5),
    ("vin-letters", 1.5),
    ("plate-missing", 3.0),
    ("plate-unreadable", 1.0),
    ("content-empty", 1.0),
    ("vin-check-digit", 4.0),
    ("plate-syntax", 3.0),
    ("mileage-zero", 4.0),
    ("partscode-none", 8.0),
    ("fault-none", 8.0),
    ("hours-zero", 3.0),
)
"""Fault and how many of a thousand records have it."""


@dataclass(slots=True)
class Told:
    """A visit at a dealer, and what the dealer's own upload said of it."""

    visit: Visit
    own: Content | None
    """The record as it was accepted from the shop; None when none was."""
    clean: Content | None
    """The record as it should have been; None when the shop does not upload."""


class Feed:
    """The feed of one OEM."""

    def __init__(self, seed: int, oem: str, first_day: date, days: int, tally: Tally) -> None:
        self._rng = stream(seed, f"oem:{oem}")
        self._oem, self._first_day, self._days, self._tally = oem, first_day, days, tally
        self._windows: dict[int, list[Content]] = {day: [] for day in range(days)}
        self._companies: dict[int, str] = {}
        self._number = 0
        self._system = f"oem-{oem}"

    def take(self, told: Told) -> None:
        """Tell a visit, or not."""
        rng, visit = self._rng, told.visit
        shop = visit.shop
        if shop.dealer_until is not None and visit.day >= shop.dealer_until:
            return
        if not visit.vehicle.vin.startswith(OEMS[self._oem][1]) or not odds(rng, REPORTED):
            return
        content, day = self._content(told)
        codes, quirks = content.codes, content.quirks
        rejected = self._tally.rejects(codes)
        self._put(day, shop, content, REJECTED if rejected else RECORD, codes, quirks)
        if rejected:
            return
        self._tally.homes(shop.system, content.plate_kind, homes(content, visit.vehicle, day, self._system))
        if told.own is not None and same_visit(told.own, content):
            self._tally.merged[shop.system] += 1
        self._follow(day, shop, content)

    def _content(self, told: Told) -> tuple[Content, int]:
        rng, visit = self._rng, told.visit
        content = told.clean.twin() if told.clean is not None else content_of(rng, visit, self._first_day)
        content.codes = content.quirks = ()
        day = visit.day
        if odds(rng, 0.2) and day + 1 < self._days:
            day += 1
        content.settle = calendar(self._first_day, day)
        if odds(rng, OWN_NUMBER) or told.clean is None:
            self._number += 1
            content.listcode = f"{self._oem}{content.settle[0] % 100}{self._number:06d}"
        self._befall(content)
        return content, day

    def _befall(self, content: Content) -> None:
        chance = self._rng.random() * 1000
        for name, share in _FAULTS:
            chance -= share
            if chance < 0:
                if BY_NAME[name].change(self._rng, content):
                    content.codes += BY_NAME[name].codes
                    content.quirks += (name,)
                return

    def _follow(self, day: int, shop: Shop, content: Content) -> None:
        rng = self._rng
        later = min(day + between(rng, 0, 3), self._days - 1)
        if odds(rng, REPEATED):
            self._put(later, shop, content, REPEAT, content.codes, ("blind-retry",))
        elif odds(rng, CORRECTED):
            other = content.twin()
            other.fault = f"{content.fault}(已修正)"
            self._put(later, shop, other, CORRECTION, _without_fault(content.codes), ("corrected",))

    def _put(
        self, day: int, shop: Shop, content: Content, outcome: str, codes: tuple[str, ...], quirks: tuple[str, ...]
    ) -> None:
        self._windows[day].append(content)
        self._companies[id(content)] = shop.code
        self._tally.envelope(HEADQUARTERS, self._system, "oem", outcome, codes, quirks)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each day's file."""
        for day, contents in self._windows.items():
            if not contents:
                continue
            stamp = compact(calendar(self._first_day, day))
            pairs = [(self._companies[id(content)], content) for content in contents]
            if day in _AVRO_DAYS[self._oem]:
                yield f"{stamp}.avro", self._avro(stamp, pairs)
            else:
                yield f"{stamp}.ndjson", self._ndjson(pairs)

    def _avro(self, stamp: str, pairs: list[tuple[str, Content]]) -> bytes:
        records: list[dict[str, Any]] = [as_avro(self._oem, code, content) for code, content in pairs]
        out = io.BytesIO()
        marker = f"{self._oem:<8.8}{stamp}".encode()
        fastavro.writer(out, SCHEMA, records, codec="deflate", sync_marker=marker)
        return out.getvalue()

    def _ndjson(self, pairs: list[tuple[str, Content]]) -> bytes:
        lines = (encode_json(as_json(self._oem, code, content)).encode() for code, content in pairs)
        return b"".join(line + b"\n" for line in lines)


def same_visit(own: Content, other: Content) -> bool:
    """Whether both records tell of one visit (domain table 7.3): same VIN, equal list code or mileage.

    The company is the same and the settle days are at most one apart, by the way they were made.
    """
    if own.vin != other.vin:
        return False
    return own.listcode == other.listcode or (own.mileage == other.mileage and own.mileage != "0")


def _without_fault(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code for code in codes if code != "PLACEHOLDER_FAULT")


def order(rng: Random, visits: list[Told]) -> list[Told]:
    """Visits as a headquarters collects them from its dealers: by day, dealers in no order."""
    return sorted(visits, key=lambda told: (told.visit.day, rng.random()))
