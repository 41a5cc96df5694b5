"""One shop's uploads: its visits through its software into files of days or weeks, with retries and corrections."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from pipelines.sample import sheets
from pipelines.sample.broken import ACCEPTED, CALL, Broken, maybe_broken
from pipelines.sample.broken import REJECTED as BROKEN_REJECTED
from pipelines.sample.chance import between, odds, stream
from pipelines.sample.content import Content, Visit, calendar, content_of
from pipelines.sample.faults import Misfortune
from pipelines.sample.orders import tell
from pipelines.sample.registry import homes
from pipelines.sample.shops import Shop
from pipelines.sample.tally import CALL as CALLS
from pipelines.sample.tally import COLLECT, CORRECTION, RECORD, REJECTED, REPEAT, Tally
from pipelines.sample.wire import DIALECT_OF, WRITERS, compact

RETRIED, CORRECTED, SENT_AGAIN = 0.012, 0.016, 0.35
_BASE_CODES = {"tuhu": "HOURS_OUTLIER", "chengdu-tuhu": "HOURS_OUTLIER", "liquanchun": "PLACEHOLDER_FAULT"}
_PRICES = ("50.0", "80.0", "128.0", "199.0", "260.0")
_OUTCOME = {ACCEPTED: RECORD, BROKEN_REJECTED: REJECTED, CALL: CALLS}
_ENDINGS = {"csv-gbk": "csv", "csv-utf8": "csv"}


@dataclass(slots=True)
class Upload:
    """A file as it lies in the shop's folder."""

    name: str
    body: bytes
    codes: list[tuple[str, ...]]
    """Finding codes of each payload."""
    sound: bool
    """Whether it holds neither letters nor corrections, so that a second copy brings nothing but duplicates."""


@dataclass(slots=True)
class Window:
    """What is collected for one file."""

    lines: list[bytes] = field(default_factory=list)
    codes: list[tuple[str, ...]] = field(default_factory=list)
    sound: bool = True


class Desk:
    """The desk of one shop: takes visits, gives files."""

    def __init__(self, seed: int, shop: Shop, first_day: date, days: int, tally: Tally) -> None:
        self._rng = stream(seed, f"shop:{shop.code}")
        self._shop, self._first_day, self._days, self._tally = shop, first_day, days, tally
        self._misfortune = Misfortune(shop.software)
        self._windows: dict[int, Window] = {}
        self._dialect = DIALECT_OF[shop.software]
        self._sheet = self._dialect == "csv"
        self._steps = self._dialect == "shanghai"
        self.accepted: dict[int, Content] = {}
        """Accepted records by the index of their visit: what headquarters' records may be merged with."""
        self.clean: dict[int, Content] = {}
        """Records as they should have been, by the index of their visit."""
        self.unknown: dict[str, str] = {}
        """VIN -> true province of vehicles whose plate was typed so that no home can be told."""

    def take(self, visits: list[Visit]) -> None:
        """Upload every visit, in the order of days."""
        for index, visit in enumerate(visits):
            clean = self._clean(visit)
            content = clean.twin()
            self._misfortune.befall(self._rng, content)
            if content.plate_kind == "unknown":
                self.unknown[content.vin] = visit.vehicle.province
            if self._steps:
                if tell(self._rng, self._shop, clean, content, visit.day, self._post, self._tally):
                    self._settle_home(clean if self._tally.rejects(content.codes) else content, visit)
                continue
            self._maybe_broken(clean, visit)
            self.clean[index] = clean
            accepted = self._send(content, visit, clean)
            if accepted is not None:
                self.accepted[index] = accepted

    def _clean(self, visit: Visit) -> Content:
        rng, software = self._rng, self._shop.software
        clean = content_of(rng, visit, self._first_day)
        base = _BASE_CODES.get(software)
        if base:
            clean.codes += (base,)
        if software in ("tuhu", "chengdu-tuhu"):
            clean.fault = "车主自行保养"
            clean.repair = clean.settle
            clean.projects = [(name, _PRICES[between(rng, 0, 4)]) for name, _ in clean.projects]
        if self._sheet and odds(rng, 0.08):
            clean.fault += '\n客户要求：检查底盘, 确认"异响"来源'
            clean.quirks += ("csv-line-break",)
        return clean

    def _body(self, content: Content) -> bytes:
        if self._sheet:
            return sheets.rows(content).encode("gb18030" if self._shop.software == "csv-gbk" else "utf-8")
        return WRITERS[self._shop.software](self._shop, content)

    def _send(self, content: Content, visit: Visit, clean: Content) -> Content | None:
        """Send a record and what follows it; answers what was accepted of the visit first, None if nothing was."""
        rng, day = self._rng, visit.day
        body = self._body(content)
        if self._tally.rejects(content.codes):
            self._put(day, body, REJECTED, content)
            if odds(rng, SENT_AGAIN) and self._put_later(day, self._body(clean), RECORD, clean, "sent-again"):
                self._settle_home(clean, visit)
                return clean
            return None
        self._put(day, body, RECORD, content)
        self._settle_home(content, visit)
        if odds(rng, RETRIED):
            if self._sheet or odds(rng, 0.3):
                self._put_later(day, body, REPEAT, content, "blind-retry")
            else:
                self._put(day, body, REPEAT, content, "blind-retry")
        elif odds(rng, CORRECTED):
            other = _corrected(clean)
            self._put_later(day, self._body(other), CORRECTION, other, "corrected")
        return content

    def _maybe_broken(self, clean: Content, visit: Visit) -> None:
        broken = None if self._sheet else maybe_broken(self._rng)
        if broken is None:
            return
        line = broken.make(self._rng, self._shop, clean)
        codes = broken.codes + _codes_of_copy(broken, clean)
        self._post(visit.day, line)
        outcome = _OUTCOME[broken.outcome]
        self._window(visit.day).sound &= outcome == RECORD
        self._window(visit.day).codes.append(codes)
        dialect = broken.dialect or self._dialect
        self._tally.envelope(COLLECT, self._shop.system, dialect, outcome, codes, (broken.name,))
        if outcome == RECORD:
            self._settle_home(clean, visit)

    def _settle_home(self, content: Content, visit: Visit) -> None:
        system = self._shop.system
        self._tally.homes(system, content.plate_kind, homes(content, visit.vehicle, visit.day, system))

    def _put(self, day: int, body: bytes, outcome: str, content: Content, quirk: str = "") -> None:
        self._post(day, body)
        self._window(day).codes.append(content.codes)
        if outcome in (REJECTED, CORRECTION):
            self._window(day).sound = False
        quirks = (quirk,) if quirk else content.quirks
        self._tally.envelope(COLLECT, self._shop.system, self._dialect, outcome, content.codes, quirks)

    def _put_later(self, day: int, body: bytes, outcome: str, content: Content, quirk: str) -> bool:
        """Put it one to four days later; in sheets only in another file, since equal list codes would be one record."""
        later = min(day + between(self._rng, 1, 4), self._days - 1)
        if self._sheet:
            later = max(later, (day // self._shop.span + 1) * self._shop.span)
            if later >= self._days:
                return False
        self._put(later, body, outcome, content, quirk)
        return True

    def _window(self, day: int) -> Window:
        return self._windows.setdefault(min(day, self._days - 1) // self._shop.span, Window())

    def _post(self, day: int, line: bytes) -> None:
        self._window(day).lines.append(line)

    def files(self) -> Iterator[Upload]:
        """The shop's files, oldest first."""
        for number, window in sorted(self._windows.items()):
            yield self._file(number, window)

    def _file(self, number: int, window: Window) -> Upload:
        rng, shop = self._rng, self._shop
        name = f"{_stamp(self._first_day, number, shop.span, self._days)}.{_ending(shop)}"
        if self._steps:
            rng.shuffle(window.lines)
        if self._sheet:
            encoding = "gb18030" if shop.software == "csv-gbk" else ("utf-8-sig" if odds(rng, 0.3) else "utf-8")
            body = sheets.header().encode(encoding) + b"".join(window.lines)
        else:
            end = b"\r\n" if shop.software == "vbnet" else b"\n"
            body = end.join(window.lines) + end
            if shop.software != "foshan" and odds(rng, 0.02):
                body = b"\xef\xbb\xbf" + body
                self._tally.files["bom"] += 1
            if shop.software == "webform" and odds(rng, 0.015):
                name, body = name + ".gz", gzip.compress(body, 6, mtime=0)
                self._tally.files["gz"] += 1
        return Upload(name, body, window.codes, window.sound and not self._steps)


def _ending(shop: Shop) -> str:
    """How the shop's software names its files; lines of URL-encoded JSON have no ending of their own."""
    if shop.software == "foshan":
        return "urlencoded" if int(shop.code[-4:]) % 3 == 0 else "txt"
    return _ENDINGS.get(shop.software, "ndjson")


def _stamp(first_day: date, number: int, span: int, days: int) -> str:
    first, last = number * span, min((number + 1) * span, days) - 1
    begin = compact(calendar(first_day, first))
    return begin if span == 1 else f"{begin}-{compact(calendar(first_day, last))}"


def _codes_of_copy(broken: Broken, clean: Content) -> tuple[str, ...]:
    """Codes of the record itself, where it can be read: those of its VIN, and of prices where projects are kept."""
    if not broken.readable:
        return ()
    kept = ("VIN_", "HOURS_") if broken.name == "line-gbk" else ("VIN_",)
    return tuple(code for code in clean.codes if code.startswith(kept))


def _corrected(clean: Content) -> Content:
    """The record once more with something put right: hours, a quantity, or the complaint. The mileage stays."""
    other = clean.twin()
    other.fault = f"{clean.fault}(已修正)" if clean.fault != "车主自行保养" else clean.fault
    name, hours = other.projects[0]
    other.projects[0] = (name, "2.5" if hours == "2" else "2") if float(hours) < 20 else (name, "88.0")
    return other
