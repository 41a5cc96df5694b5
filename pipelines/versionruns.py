"""Runs of the version index: immutable files of sorted entries, by columns; reading, searching and merging them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import StateDamaged

ENTRY = np.dtype(
    [("hi", "<u8"), ("lo", "<u8"), ("content", "<u8"), ("intake", "<u8"), ("version", "<u4"), ("held", "<u4")]
)
"""One key: digest (two halves), content digest, intake number, version, and the set of destinations that hold it."""

Entries = NDArray[np.void]

_REGION = 1 << 14
"""So many rows of a run are read at a time, so that memory does not grow with the index."""
_COLUMNS = ENTRY.names or ()
_BEFORE = {name: sum(ENTRY[before].itemsize for before in _COLUMNS[:i]) for i, name in enumerate(_COLUMNS)}
"""Column -> bytes that a row has in the columns before it."""


class Run:
    """One sorted file of columns. It is read region by region and never mapped: nothing of it stays resident."""

    def __init__(self, path: Path, rows: int) -> None:
        self.rows = rows
        self._path = path
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            gone = f"{path.parent.name}/{path.name}"
            raise StateDamaged(gone) from None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def column(self, name: str, start: int, stop: int) -> NDArray[np.uint64]:
        """Values of a column. Raises OSError where the file is shorter than its catalogue row says."""
        width = ENTRY[name].itemsize
        size = (stop - start) * width
        read = os.pread(self._handle, size, _BEFORE[name] * self.rows + start * width)
        if len(read) != size:
            message = f"版本索引文件不完整 / file of the version index is cut: {self._path.name}"
            raise OSError(message)
        return np.frombuffer(read, ENTRY[name])

    def slice(self, start: int, stop: int, chosen: NDArray[np.intp] | None = None) -> Entries:
        """Entries of a range of rows, or the chosen ones of it."""
        entries = np.zeros(stop - start if chosen is None else len(chosen), ENTRY)
        for name in _COLUMNS:
            column = self.column(name, start, stop)
            entries[name] = column if chosen is None else column[chosen]
        return entries

    def fences(self) -> NDArray[np.uint64]:
        """The first `hi` of each region."""
        return np.array([self.column("hi", at, at + 1)[0] for at in range(0, self.rows, _REGION)], np.uint64)

    def until(self, start: int, bound: np.uint64 | None) -> int:
        """The first row from `start` on whose `hi` is not below the bound."""
        while start < self.rows:
            column = self.column("hi", start, min(start + _REGION, self.rows))
            below = len(column) if bound is None else int(np.searchsorted(column, bound))
            start += below
            if below < len(column):
                break
        return start

    def find(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], Entries]]:
        """Indexes of the needles found and their entries, region by region. Needles come sorted by `hi`."""
        fences = self.fences()
        lowest = np.searchsorted(hi, fences, "left")
        highest = np.append(np.searchsorted(hi, fences[1:], "right"), len(hi))
        for region in np.flatnonzero(lowest < highest).tolist():
            start, lower, upper = region * _REGION, int(lowest[region]), int(highest[region])
            stop = min(start + _REGION, self.rows)
            column, needles = self.column("hi", start, stop), hi[lower:upper]
            at = np.minimum(np.searchsorted(column, needles), stop - start - 1)
            hits = np.flatnonzero(column[at] == needles)
            if len(hits):
                rows = _matching(column, self.column("lo", start, stop), at[hits], lo[lower:upper][hits])
                kept = rows >= 0
                yield lower + hits[kept], self.slice(start, stop, rows[kept])


def _matching(
    column: NDArray[np.uint64], low: NDArray[np.uint64], rows: NDArray[np.intp], wanted: NDArray[np.uint64]
) -> NDArray[np.intp]:
    """Rows where the second half fits too: of several rows with one `hi` the right one; -1 where there is none."""
    for index in np.flatnonzero(low[rows] != wanted).tolist():
        row = first = int(rows[index])
        while row < len(column) and column[row] == column[first] and low[row] != wanted[index]:
            row += 1
        rows[index] = row if row < len(column) and column[row] == column[first] else -1
    return rows


def write_run(path: Path, entries: Entries) -> None:
    """Write sorted entries by columns and sync them."""
    with path.open("xb") as file:
        for name in _COLUMNS:
            file.write(np.ascontiguousarray(entries[name]).tobytes())
        file.flush()
        os.fsync(file.fileno())


def newest(entries: Entries) -> Entries:
    """Entries sorted by `hi`, one for each key: of equal keys the one that comes last."""
    ordered = entries[np.argsort(entries["hi"])]
    if len(entries) < 2 or not (ordered["hi"][1:] == ordered["hi"][:-1]).any():
        return ordered
    entries = entries[np.argsort(entries["hi"], kind="stable")]
    repeated = entries["hi"][1:] == entries["hi"][:-1]
    suspects = np.flatnonzero(np.append(False, repeated) | np.append(repeated, False))
    order = suspects[np.lexsort((entries["lo"][suspects], entries["hi"][suspects]))]
    same = (entries["hi"][order][1:] == entries["hi"][order][:-1]) & (
        entries["lo"][order][1:] == entries["lo"][order][:-1]
    )
    keep = np.ones(len(entries), bool)
    keep[order[:-1][same]] = False
    kept: Entries = entries[keep]
    return kept


def merged(runs: Sequence[Run]) -> Iterator[Entries]:
    """The entries of several runs, oldest first, as one: a region of the largest run at a time, whatever their size."""
    largest = max(runs, key=lambda run: run.rows)
    places = [0] * len(runs)
    for bound in (*largest.fences()[1:], None):
        ends = [run.until(place, bound) for run, place in zip(runs, places, strict=True)]
        yield newest(np.concatenate([run.slice(a, b) for run, a, b in zip(runs, places, ends, strict=True)]))
        places = ends


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
