"""Token buckets that the processes of one door have in common: a table in memory, and locks that die with their holder.

A bucket has one of the `_WAYS` slots of the row that its key hashes to; where all are taken, the one that was quiet
longest makes room. A slot is 16 bytes of the key's hash, the level, and the moment (both float64).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from hashlib import blake2b

from pipelines.door.limits import AddressLimiter, Buckets, Limiters
from pipelines.door.settings import DoorSettings

_ROWS, _WAYS = 8_192, 8
_SLOT = struct.Struct("<16sdd")
_ROW = _SLOT.size * _WAYS
_LEVEL = struct.Struct("<dd")
SIZE = _ROWS * _ROW
"""Bytes of a table."""


def memory() -> int:
    """A file descriptor of the memory of one door's tables, to be inherited by its processes."""
    made = os.memfd_create("vingate-door-limits", 0)
    os.ftruncate(made, 2 * SIZE)
    return made


def shared(settings: DoorSettings, fd: int) -> Limiters:
    """The limiters of a door whose processes all have this memory."""
    return Limiters(
        SharedBuckets(fd, 0, settings.requests_per_second),
        AddressLimiter(SharedBuckets(fd, SIZE, settings.address_per_second, settings.address_per_second * 10)),
    )


class SharedBuckets(Buckets):
    """Token buckets by key, safe to use from several threads of several processes.

    Args:
        fd: of `memory`.
        begin: where in it the table is.
        rate: calls a second, more than 0.
        burst: calls at once after a rest, at least 1; by default one second's.
        clock: seconds, monotonic, the same in all processes.
    """

    def __init__(
        self, fd: int, begin: int, rate: float, burst: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(rate, burst, clock=clock)
        self._fd, self._begin = fd, begin
        self._table = mmap.mmap(fd, SIZE, offset=begin)

    def _alone(self, key: str) -> _Bucket:
        return _Bucket(self._lock, self._fd, self._begin, self._table, key)

    def _read(self, bucket: _Bucket) -> tuple[float, float] | None:
        return _LEVEL.unpack_from(self._table, bucket.slot + 16) if bucket.slot >= 0 else None

    def _write(self, bucket: _Bucket, level: float, at: float) -> None:
        slot = bucket.slot
        if slot < 0:
            slots = range(bucket.row, bucket.row + _ROW, _SLOT.size)
            slot = min(slots, key=lambda one: _LEVEL.unpack_from(self._table, one + 16)[1])
        _SLOT.pack_into(self._table, slot, bucket.digest, level, at)

    def __len__(self) -> int:
        slots = range(0, SIZE, _SLOT.size)
        return sum(_SLOT.unpack_from(self._table, one)[2] > 0 for one in slots)


class _Bucket:
    """Where a bucket is in the table; no other thread or process changes its row inside."""

    __slots__ = ("_begin", "_fd", "_lock", "_table", "digest", "row", "slot")

    def __init__(self, lock: threading.Lock, fd: int, begin: int, table: mmap.mmap, key: str) -> None:
        self._lock, self._fd, self._begin, self._table = lock, fd, begin, table
        self.digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self.row = int.from_bytes(self.digest[:4], "little") % _ROWS * _ROW
        self.slot = -1
        """-1: it has none yet."""

    def __enter__(self) -> _Bucket:
        self._lock.acquire()  # first: the kernel's lock is the process's, whichever thread asks
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, self._begin + self.row)
        except BaseException:
            self._lock.release()
            raise
        end = self.row + _ROW
        at = self._table.find(self.digest, self.row, end)
        while at >= 0 and at % _SLOT.size:
            at = self._table.find(self.digest, at + 1, end)
        self.slot = at
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._begin + self.row)
        self._lock.release()
