"""Receipts of what a peer accepted, for peers that cannot be asked later: what `verify` of their sinks counts.

One file a batch below a folder, one line a delivery: its id and fingerprint. Lines are appended and synced before the
outcomes are given, so nothing counts as accepted without its receipt; a line that a crash cut is no receipt, and the
delivery is sent again. An id counts once. A line `ID -` takes a receipt back: the peer says that it does not hold it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from connectors.contracts import Delivery, Tally, fingerprint
from connectors.parts import disk_error, safe, sync_folder

_LINE = re.compile(rb"^(\S+) ([0-9a-f]{16}|-)$", re.MULTILINE)
_BACK = "-"


class ReceiptFiles:
    """The receipts of one sink."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, batch: str) -> Path:
        return self.folder / f"{safe(batch) or '%'}.receipts"

    def add(self, accepted: Sequence[Delivery]) -> None:
        """Keep receipts, durable when this returns.

        Raises:
            Unavailable: no room.
            Misconfigured: the folder cannot be written.
        """
        self._note(accepted, lambda one: f"{fingerprint(one):016x}")

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        """Take receipts back, durable when this returns; those of later deliveries count again.

        Raises:
            Unavailable: no room.
            Misconfigured: the folder cannot be written.
        """
        self._note(deliveries, lambda _: _BACK)

    def _note(self, deliveries: Sequence[Delivery], mark: Callable[[Delivery], str]) -> None:
        by_batch: dict[str, list[str]] = {}
        for one in deliveries:
            by_batch.setdefault(one.batch, []).append(f"{one.id} {mark(one)}")
        for batch, lines in by_batch.items():
            # A line break first: what a crash cut before must not begin this line.
            self._append(self._file(batch), ("\n" + "\n".join(lines) + "\n").encode())

    def _append(self, file: Path, data: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            fresh = not file.exists()
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            if fresh:
                sync_folder(str(self.folder))
        except OSError as error:
            raise disk_error(error, str(file)) from error

    def tally(self, batch: str) -> Tally:
        """Count and digest of the receipts of a batch."""
        found = self._standing(batch)
        return Tally(len(found), sum(found.values()) % 2**64)

    def among(self, deliveries: Sequence[Delivery]) -> frozenset[str]:
        """Ids of those deliveries of which a receipt stands, for their batch and with their content."""
        stand = {batch: self._standing(batch) for batch in {one.batch for one in deliveries}}
        return frozenset(one.id for one in deliveries if stand[one.batch].get(one.id.encode()) == fingerprint(one))

    def ids(self, batch: str) -> set[str]:
        """Ids of the deliveries of a batch that have a receipt."""
        return {identity.decode() for identity in self._standing(batch)}

    def _standing(self, batch: str) -> dict[bytes, int]:
        """Id -> fingerprint of the receipts that were not taken back."""
        found: dict[bytes, int] = {}
        try:
            data = self._file(batch).read_bytes()
        except FileNotFoundError:
            return found
        except OSError as error:
            raise disk_error(error, str(self._file(batch))) from error
        for identity, mark in _LINE.findall(data):
            if mark == _BACK.encode():
                found.pop(identity, None)
            else:
                found[identity] = int(mark, 16)
        return found
