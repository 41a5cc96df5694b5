"""The version index: which content, version and destinations each record key has, for hundreds of millions of keys.

Keys are digests, so inserts into one B-tree would touch a page each and cost more with every million keys. Here
entries lie in immutable sorted *runs* (one file each, by columns) that are merged when several of a
size have gathered, as log-structured stores do; a table in front takes small additions. The catalogue of runs is a
table, so an addition counts when its transaction commits and not before; run files that no catalogue row names are
swept.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, insert, select

from pipelines import tables
from pipelines.errors import NumbersUsedUp
from pipelines.versionruns import ENTRY, Entries, Run, merged, newest, sync_folder, write_run

SMALL = 2_000
"""Additions up to this size go to the table in front."""
FRONT_LIMIT = 50_000
FAN_IN = 4
"""So many runs of similar size are merged to one."""


_OF_PLACES, _HALF = 1 << 62, 31
_MOST = (1 << _HALF) - 1


def pack_intake(batch: int, place: int) -> int:
    """An intake number: batch (31 bits), place (31 bits: how many of the batch came before); compares in intake order.

    Raises:
        NumbersUsedUp: there is no such number.
    """
    if not 0 <= batch <= _MOST or not 0 <= place <= _MOST:
        raise NumbersUsedUp(batch, place)
    return _OF_PLACES | (batch << _HALF) | place


def unpack_intake(intake: int) -> tuple[int, int | None, int]:
    """Batch, no item, and place (`pipelines.places`); of older numbers, which are less, batch, item and ordinal."""
    if intake & _OF_PLACES:
        return intake >> _HALF & _MOST, None, intake & _MOST
    return intake >> 36, intake >> 24 & 0xFFF, intake & 0xFFFFFF


class VersionIndex:
    """Look-up and addition of entries on a connection that the caller commits.

    Raises OSError where the disk is full: nothing is then catalogued.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _runs(self, connection: Connection) -> list[tuple[str, int]]:
        t = tables.version_runs
        return [(r.name, r.rows) for r in connection.execute(select(t.c.name, t.c.rows).order_by(t.c.sequence))]

    def opened(self, connection: Connection) -> list[Run]:
        """The runs, oldest first, opened: the caller closes them."""
        return [Run(self._folder / name, rows) for name, rows in self._runs(connection)]

    def front(self, connection: Connection) -> Entries:
        """The entries that stand in front of the runs, and count before theirs."""
        rows = connection.execute(select(tables.version_front))
        return np.array([(*key_halves(r.key), _unsigned(r.content), r.intake, r.version, r.held) for r in rows], ENTRY)

    def find(
        self, connection: Connection, hi: NDArray[np.uint64], lo: NDArray[np.uint64]
    ) -> tuple[NDArray[np.intp], Entries]:
        """Positions of the given keys that are known, and their entries, in the order of the positions."""
        order = np.argsort(hi)
        sorted_hi, sorted_lo = hi[order], lo[order]
        entries = np.zeros(len(hi), ENTRY)
        known = np.zeros(len(hi), bool)
        for name, rows in self._runs(connection):
            with Run(self._folder / name, rows) as run:
                for hits, found in run.find(sorted_hi, sorted_lo):
                    known[order[hits]] = True
                    entries[order[hits]] = found
        self._find_front(connection, hi, lo, known, entries)
        positions = np.flatnonzero(known)
        return positions, entries[positions]

    def _find_front(
        self,
        connection: Connection,
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        known: NDArray[np.bool_],
        entries: Entries,
    ) -> None:
        t = tables.version_front
        if connection.execute(select(t.c.key).limit(1)).first() is None:
            return
        wanted: dict[bytes, list[int]] = {}
        for index, (high, low) in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
            wanted.setdefault(key_bytes(high, low), []).append(index)
        keys = list(wanted)
        for start in range(0, len(keys), 500):
            for row in connection.execute(select(t).where(t.c.key.in_(keys[start : start + 500]))):
                for index in wanted[row.key]:
                    known[index] = True
                    entries[index] = (*key_halves(row.key), _unsigned(row.content), row.intake, row.version, row.held)

    def add(self, connection: Connection, entries: Entries) -> None:
        """Add entries, in intake order; of equal keys the last one counts."""
        if not len(entries):
            return
        entries = newest(entries)
        t = tables.version_front
        front = connection.execute(select(func.count()).select_from(t)).scalar_one()
        if len(entries) <= SMALL and front + len(entries) <= FRONT_LIMIT:
            rows = [
                {
                    "key": key_bytes(hi, lo),
                    "content": signed(content),
                    "intake": intake,
                    "version": version,
                    "held": held,
                }
                for hi, lo, content, intake, version, held in entries.tolist()
            ]
            for start in range(0, len(rows), 500):
                chunk = rows[start : start + 500]
                connection.execute(delete(t).where(t.c.key.in_([r["key"] for r in chunk])))
                connection.execute(insert(t), chunk)
            return
        if front:
            entries = newest(np.concatenate((self.front(connection), entries)))
            connection.execute(delete(t))
        self._catalogue(connection, entries)

    def _catalogue(self, connection: Connection, entries: Entries) -> None:
        name = f"{secrets.token_hex(8)}.run"
        write_run(self._folder / name, entries)
        sync_folder(self._folder)
        connection.execute(insert(tables.version_runs), {"name": name, "rows": len(entries)})

    def mergeable(self, connection: Connection) -> list[tuple[str, int]]:
        """Neighbouring runs that have become too many of a size, oldest first; empty when none are."""
        runs = self._runs(connection)
        for start in range(len(runs)):
            tail = runs[start:]
            if len(tail) >= FAN_IN and tail[0][1] <= FAN_IN * sum(rows for _, rows in tail[1:]) / (FAN_IN - 1):
                return tail
        return []

    def merge(self, connection: Connection, runs: Sequence[tuple[str, int]]) -> list[str]:
        """Merge the newest runs to one; returns the file names that may go once the caller has committed."""
        name = f"{secrets.token_hex(8)}.run"
        with ExitStack() as stack:
            opened = [stack.enter_context(Run(self._folder / old, rows)) for old, rows in runs]
            files = {c: stack.enter_context((self._folder / f"{name}.{c}").open("xb")) for c in ENTRY.names or ()}
            total = 0
            for piece in merged(opened):
                total += len(piece)
                for column, file in files.items():
                    file.write(np.ascontiguousarray(piece[column]).tobytes())
        self._assemble(name)
        t = tables.version_runs
        sequence = connection.execute(
            select(func.min(t.c.sequence)).where(t.c.name.in_([n for n, _ in runs]))
        ).scalar_one()
        connection.execute(delete(t).where(t.c.name.in_([n for n, _ in runs])))
        connection.execute(insert(t), {"sequence": sequence, "name": name, "rows": total})
        return [n for n, _ in runs]

    def _assemble(self, name: str) -> None:
        with (self._folder / name).open("xb") as out:
            for column in ENTRY.names or ():
                part = self._folder / f"{name}.{column}"
                with part.open("rb") as source:
                    while chunk := source.read(1 << 20):
                        out.write(chunk)
                part.unlink()
            out.flush()
            os.fsync(out.fileno())
        sync_folder(self._folder)

    def drop(self, names: Iterable[str]) -> None:
        """Remove run files that are no longer catalogued."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def sweep(self, connection: Connection) -> int:
        """Remove files that the catalogue does not name; how many went. Only the gateway's owner may call it."""
        named = {name for name, _ in self._runs(connection)}
        stray = [p for p in self._folder.iterdir() if p.name not in named]
        for path in stray:
            path.unlink()
        return len(stray)

    def size(self, connection: Connection) -> int:
        """Entries held, superseded ones included."""
        front = connection.execute(select(func.count()).select_from(tables.version_front)).scalar_one()
        return sum(rows for _, rows in self._runs(connection)) + int(front)


def key_bytes(hi: int, lo: int) -> bytes:
    """The 16 bytes of a key digest, of its halves."""
    return hi.to_bytes(8, "big") + lo.to_bytes(8, "big")


def key_halves(key: bytes) -> tuple[int, int]:
    """The halves of a 16-byte key digest."""
    return int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")


def signed(value: int) -> int:
    """64 unsigned bits as the database's signed integer."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _unsigned(value: int) -> int:
    return value & ((1 << 64) - 1)
