"""The journal: one fixed-width line for every envelope of a batch, and what of it cannot be fixed-width beside it.

A worker writes the lines of an item as it stages it; the coordinator completes them (version, outcome). They are what
the ledger is recomputed from and what `vingate trace` searches.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LINE = np.dtype(
    [
        ("ordinal", "<u4"),  # place of the envelope in its item, from 0
        ("offset", "<u8"),  # byte offset (or row number) in its source
        ("fate", "u1"),
        ("key_hi", "<u8"),
        ("key_lo", "<u8"),
        ("content", "<u8"),
        ("vin", "<u8"),
        ("version", "<u4"),
        ("routes", "<u4"),  # index into Journal.routes
        ("findings", "<u4"),  # index into Journal.findings
    ]
)
"""One line. `fate` is one of the constants below; key, content and vin are 0 where no record was read."""

_DIGESTS = ("key_hi", "key_lo", "content", "vin")
_SMALL = tuple(name for name in LINE.names or () if name not in _DIGESTS)

ADDRESSED, DEAD, DUPLICATE, FRAGMENT, FILTERED, UNPLACED, SUPERSEDED, KNOWN = range(1, 9)
"""What became of an envelope. SUPERSEDED and FILTERED count as filtered, KNOWN (a known source key) as duplicate."""

FATES = {
    ADDRESSED: "addressed",
    DEAD: "dead",
    DUPLICATE: "duplicate",
    FRAGMENT: "fragment",
    FILTERED: "filtered",
    UNPLACED: "unplaced",
    SUPERSEDED: "superseded",
    KNOWN: "known",
}

RECEIVED = frozenset(("delivered", "merged", "duplicate"))
"""Outcomes of deliveries that their destination has."""

Lines = NDArray[np.void]


@dataclass
class Journal:
    """The lines of one item, with the small tables that they point into."""

    lines: Lines
    routes: list[tuple[str, ...]] = field(default_factory=lambda: [()])
    """Distinct sets of destinations; line 0 is none."""
    findings: list[tuple[str, ...]] = field(default_factory=lambda: [()])
    """Distinct tuples of finding codes (flags); line 0 is none."""
    outcomes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Ordinal -> destination -> outcome, where it is not `delivered`."""
    notes: dict[str, str] = field(default_factory=dict)
    """Ordinal -> why a record was filtered or waits."""
    names: list[str] = field(default_factory=list)
    """Sealed names of the records, where they are derived (`pipelines.toldnames`)."""

    def pack(self) -> bytes:
        """Compressed bytes, the same for the same journal."""
        told: dict[str, object] = {
            "routes": self.routes,
            "findings": self.findings,
            "outcomes": self.outcomes,
            "notes": self.notes,
            "lines": len(self.lines),
        }
        head = json.dumps(
            told | {"names": self.names} if self.names else told,
            ensure_ascii=False,
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        small = b"".join(np.ascontiguousarray(self.lines[name]).tobytes() for name in _SMALL)
        # isal, though faster, was seen to write the same input in two ways on one machine.
        packed = zlib.compress(small, 1)
        digests = b"".join(np.ascontiguousarray(self.lines[name]).tobytes() for name in _DIGESTS)
        return b"".join((len(head).to_bytes(4, "big"), len(packed).to_bytes(4, "big"), head, packed, digests))

    @classmethod
    def unpack(cls, packed: bytes) -> Journal:
        """The journal of packed bytes."""
        size, small = int.from_bytes(packed[:4], "big"), int.from_bytes(packed[4:8], "big")
        head = json.loads(packed[8 : 8 + size])
        lines = np.zeros(head["lines"], LINE)
        for names, columns in (
            (_SMALL, zlib.decompress(packed[8 + size : 8 + size + small])),
            (_DIGESTS, packed[8 + size + small :]),
        ):
            at = 0
            for name in names:
                width = LINE[name].itemsize * head["lines"]
                lines[name] = np.frombuffer(columns[at : at + width], LINE[name])
                at += width
        return cls(
            lines,
            [tuple(r) for r in head["routes"]],
            [tuple(f) for f in head["findings"]],
            head["outcomes"],
            head["notes"],
            head.get("names", []),
        )

    def counts(self) -> dict[str, int]:
        """How many envelopes met each fate, by name."""
        fates, numbers = np.unique(self.lines["fate"], return_counts=True)
        return {FATES[int(f)]: int(n) for f, n in zip(fates, numbers, strict=True)}

    def addressed(self) -> dict[str, int]:
        """How many records each destination was addressed with."""
        chosen = self.lines["routes"][self.lines["fate"] == ADDRESSED]
        totals: dict[str, int] = {}
        for index, number in zip(*np.unique(chosen, return_counts=True), strict=True):
            for destination in self.routes[int(index)]:
                totals[destination] = totals.get(destination, 0) + int(number)
        return totals


def digest_column(packed: bytes, name: str) -> NDArray[np.uint64]:
    """`key_hi`, `key_lo`, `content` or `vin` of a packed journal, in order: what a search reads of it."""
    begin = 8 + int.from_bytes(packed[:4], "big") + int.from_bytes(packed[4:8], "big")
    width = LINE[name].itemsize
    count = (len(packed) - begin) // (width * len(_DIGESTS))
    return np.frombuffer(packed, LINE[name], count, begin + width * count * _DIGESTS.index(name))


class Interned(dict[tuple[str, ...], int]):
    """Distinct tuples with their index, in order of first appearance."""

    def __init__(self, known: Sequence[tuple[str, ...]] = ((),)) -> None:
        super().__init__({value: i for i, value in enumerate(known)})

    def __missing__(self, value: tuple[str, ...]) -> int:
        index = self[value] = len(self)
        return index

    @property
    def table(self) -> list[tuple[str, ...]]:
        """The tuples by index."""
        return list(self)


def join(pieces: Sequence[Journal]) -> Journal:
    """One journal of several pieces of the same item, in order of ordinals: the same, in whatever order they come."""
    if len(pieces) == 1 and (np.diff(pieces[0].lines["ordinal"].astype(np.int64)) > 0).all():
        return pieces[0]
    routes, findings = Interned(), Interned()
    parts: list[Lines] = []
    outcomes: dict[str, dict[str, str]] = {}
    notes: dict[str, str] = {}
    names: list[str] = []
    for piece in pieces:
        lines = piece.lines.copy()
        lines["routes"] = np.array([routes[r] for r in piece.routes], "<u4")[piece.lines["routes"]]
        lines["findings"] = np.array([findings[f] for f in piece.findings], "<u4")[piece.lines["findings"]]
        parts.append(lines)
        outcomes.update(piece.outcomes)
        notes.update(piece.notes)
        names += piece.names
    lines = np.concatenate(parts)
    lines = lines[np.argsort(lines["ordinal"], kind="stable")]
    ordered = _renumbered(lines, "routes", routes.table), _renumbered(lines, "findings", findings.table)
    return Journal(lines, *ordered, outcomes, notes, names)


def _renumbered(lines: Lines, column: str, table: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The table in order of first appearance among the lines, as a single piece has it; the column follows."""
    used, first = np.unique(lines[column], return_index=True)
    ordered = Interned()
    numbers = np.zeros(len(table), "<u4")
    for index in used[np.argsort(first)].tolist():
        numbers[index] = ordered[table[index]]
    lines[column] = numbers[lines[column]]
    return ordered.table
