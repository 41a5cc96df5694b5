"""What the sample knows about itself: the numbers that a run must arrive at, written to `expected.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mappings.findings import FLAG, REJECT, profile

COLLECT, HEADQUARTERS = "collect", "headquarters"

RECORD, REPEAT, CORRECTION, REJECTED, FRAGMENT, CALL = (
    "records",
    "repeats",
    "corrections",
    "rejected",
    "fragments",
    "calls",
)
"""What becomes of an envelope: a record with a new key, the same content again, a new version, a letter, a step of an
order, or a token or registration call that lies among records."""


@dataclass(slots=True)
class Source:
    """Counts of one exchange's source, or of one system in it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    flagged: int = 0
    """Of the records and corrections those that bear a flag which content alone explains."""

    def add(self, outcome: str, *, flagged: bool) -> None:
        """Count an envelope of one outcome."""
        self.outcomes[outcome] += 1
        if flagged and outcome in (RECORD, CORRECTION):
            self.flagged += 1

    def table(self) -> dict[str, int]:
        """Every count, envelopes first."""
        names = (RECORD, REPEAT, CORRECTION, REJECTED, FRAGMENT, CALL)
        counts = {name: self.outcomes[name] for name in names}
        return {"envelopes": sum(counts.values()), **counts, "flagged": self.flagged}


class Tally:
    """Counts while files are written. Findings are weighed by the profile that is named."""

    def __init__(self, judged_by: str = "lenient") -> None:
        severities = profile(judged_by).severities
        self._rejects = frozenset(code for code, severity in severities.items() if severity == REJECT)
        self._flags = frozenset(code for code, severity in severities.items() if severity == FLAG)
        self.sources: dict[str, dict[str, Source]] = {COLLECT: {}, HEADQUARTERS: {}}
        self.totals: dict[str, Source] = {COLLECT: Source(), HEADQUARTERS: Source()}
        self.dialects: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.quirks: Counter[str] = Counter()
        self.away: Counter[str] = Counter()
        self.at_home = 0
        self.homeless: Counter[str] = Counter()
        self.plates: Counter[str] = Counter()
        self.unknown_homes = 0
        self.shanghai: Counter[str] = Counter()
        self.merged: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.repeated_files: dict[str, int] = {}

    def rejects(self, codes: Iterable[str]) -> bool:
        """Whether any of the codes rejects a payload."""
        return not self._rejects.isdisjoint(codes)

    def flags(self, codes: Iterable[str]) -> bool:
        """Whether any of the codes flags a payload."""
        return not self._flags.isdisjoint(codes)

    def envelope(
        self,
        exchange: str,
        system: str,
        dialect: str,
        outcome: str,
        codes: tuple[str, ...] = (),
        quirks: tuple[str, ...] = (),
    ) -> None:
        """Count one envelope: its outcome, its finding codes (each once) and what is odd about it."""
        flagged = bool(codes) and self.flags(codes)
        self.totals[exchange].add(outcome, flagged=flagged)
        self.sources[exchange].setdefault(system, Source()).add(outcome, flagged=flagged)
        self.dialects[dialect] += 1
        if codes:
            self.findings.update(set(codes))
        if quirks:
            self.quirks.update(quirks)

    def repeat_file(self, system: str, dialect: str, path: str, codes: list[tuple[str, ...]]) -> None:
        """Count the envelopes of a whole file that lies there twice, given the codes of each."""
        for one in codes:
            self.envelope(COLLECT, system, dialect, REPEAT, one)
        self.repeated_files[path] = len(codes)

    def homes(self, system: str, kind: str, homes: tuple[str, ...]) -> None:
        """Count where one accepted record (or whole order) belongs: `homes` are its vehicle's, in order."""
        self.plates[kind] += 1
        if not homes:
            if kind == "unknown":
                self.unknown_homes += 1
            else:
                self.homeless[kind] += 1
            return
        elsewhere = [home for home in homes if home != system]
        if elsewhere:
            self.away.update(elsewhere)
            self.away["records"] += 1
        else:
            self.at_home += 1

    def report(self) -> dict[str, Any]:
        """Everything as JSON-able values, keys sorted."""
        exchanges = {
            name: {**total.table(), "by_system": {key: s.table() for key, s in sorted(self.sources[name].items())}}
            for name, total in self.totals.items()
        }
        away = dict(sorted(self.away.items()))
        return {
            "exchanges": exchanges,
            "dialects": _sorted(self.dialects),
            "findings": _sorted(self.findings),
            "quirks": _sorted(self.quirks),
            "plates": _sorted(self.plates),
            "homes": {
                "at_home": self.at_home,
                "away": away.pop("records", 0),
                "away_by_home": away,
                "homeless": _sorted(self.homeless),
                "unknown": self.unknown_homes,
                "unreadable_plates": self.quirks["plate-unreadable"],
            },
            "shanghai": _sorted(self.shanghai),
            "merged": {"pairs": sum(self.merged.values()), "by_system": _sorted(self.merged)},
            "special_files": {**_sorted(self.files), "repeated": dict(sorted(self.repeated_files.items()))},
        }


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items()))
