"""Rate limits: a token bucket for each company, and one for each address that has not said who it is.

Pure: the clock is handed in. A bucket holds at most `burst` calls and gains `rate` a second; who was quiet longest is
forgotten first when there are too many buckets (a bucket at rest is full, so nothing is lost by that).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple


class Buckets:
    """Token buckets by key, safe to use from several threads of one process.

    Args:
        rate: calls a second, more than 0.
        burst: calls at once after a rest, at least 1; by default one second's.
        most: how many buckets are kept.
        clock: seconds, monotonic.

    >>> moment = [0.0]
    >>> buckets = Buckets(rate=2, burst=2, clock=lambda: moment[0])
    >>> [buckets.take("a") for _ in range(3)]
    [0.0, 0.0, 0.5]
    """

    def __init__(
        self, rate: float = 100.0, burst: float = 0.0, most: int = 50_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if rate <= 0:
            msg = "速率须大于 0 / the rate must be more than 0"
            raise ValueError(msg)
        self._rate, self._burst, self._most, self._clock = rate, max(burst or rate, 1.0), most, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, calls: float = 1.0) -> float:
        """Take calls from a bucket: 0.0 if they are free, else the seconds after which they will be (none is taken).

        More calls than the burst are taken from a full bucket, which then is in debt: a batch is paid for afterwards.
        """
        moment = self._clock()
        with self._alone(key) as bucket:
            level, wait = self._asked(self._read(bucket), calls, moment)
            self._write(bucket, level if wait else level - calls, moment)
        return wait

    def give_back(self, key: str, calls: float = 1.0) -> None:
        """Put back what `take` took, for calls that will be counted again."""
        with self._alone(key) as bucket:
            level, at = self._read(bucket) or (self._burst, 0.0)
            self._write(bucket, min(level + calls, self._burst), at)

    def wait(self, key: str, calls: float = 1.0) -> float:
        """What `take` would answer; nothing is taken."""
        with self._alone(key) as bucket:
            return self._asked(self._read(bucket), calls, self._clock())[1]

    def _asked(self, held: tuple[float, float] | None, calls: float, moment: float) -> tuple[float, float]:
        """What is in a bucket now, and the seconds until so many calls are."""
        level, at = held or (self._burst, moment)
        level = min(self._burst, level + max(moment - at, 0.0) * self._rate)
        return level, max((min(calls, self._burst) - level) / self._rate, 0.0)

    def _alone(self, key: str) -> AbstractContextManager[Any]:
        """A bucket, which nobody else changes inside."""
        return _Alone(self._lock, key)

    def _read(self, bucket: Any) -> tuple[float, float] | None:
        """What was in it, and when."""
        return self._buckets.get(bucket)

    def _write(self, bucket: Any, level: float, at: float) -> None:
        self._buckets[bucket] = (level, at)
        self._buckets.move_to_end(bucket)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)

    def __len__(self) -> int:
        return len(self._buckets)


class _Alone:
    """A key, under a lock."""

    __slots__ = ("_key", "_lock")

    def __init__(self, lock: threading.Lock, key: str) -> None:
        self._lock, self._key = lock, key

    def __enter__(self) -> str:
        self._lock.acquire()
        return self._key

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def address_key(address: str) -> str:
    """The key of an address: an IPv6 network of 64 bits counts as one caller, as one IPv4 address does."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "?"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))


class AddressLimiter:
    """Limits calls of callers that are not known yet (registration, token, wrong tokens), by address.

    Args:
        buckets: one for each address.
    """

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    def take(self, address: str, calls: float = 1.0) -> float:
        """0.0 if the address may call, else the seconds to wait."""
        return self._buckets.take(address_key(address), calls)

    def wait(self, address: str) -> float:
        """What `take` would answer; nothing is taken."""
        return self._buckets.wait(address_key(address))

    def __len__(self) -> int:
        return len(self._buckets)


class Limiters(NamedTuple):
    """How often a door lets callers call."""

    companies: Buckets
    addresses: AddressLimiter
