"""A circuit breaker: a destination that keeps failing is left alone for a while, and longer each time.

Closed: calls go out. After so many failures in a row it opens: nothing goes out until a moment that moves away
exponentially, with jitter, up to a cap. Then it is half open: one call tries; its success closes the breaker, its
failure opens it again. Pure: the clock and the dice come from outside.

    >>> now = [0.0]
    >>> breaker = Breaker(BreakerSettings(failures=2, open_seconds=10, jitter=0), clock=lambda: now[0])
    >>> breaker.failed(); breaker.failed(); breaker.state, breaker.wait()
    ('open', 10.0)
    >>> now[0] = 10.0
    >>> breaker.wait(), breaker.state
    (0.0, 'half-open')
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Lock
from typing import Literal

from pydantic import Field

from connectors.settings import ConnectorSettings

Clock = Callable[[], float]
State = Literal["closed", "open", "half-open"]


class BreakerSettings(ConnectorSettings):
    """When a breaker opens, and for how long."""

    failures: int = Field(default=3, ge=1)
    """Failures in a row that open it."""
    open_seconds: float = Field(default=5.0, gt=0)
    """How long it stays open the first time; doubled each time that the try after it fails."""
    most_seconds: float = Field(default=300.0, gt=0)
    """It never stays open longer than this."""
    jitter: float = Field(default=0.2, ge=0, le=1)
    """Share of the time that dice may take away, so that many gateways do not come back at one moment."""
    probe_seconds: float = Field(default=120.0, gt=0)
    """A try that reported neither success nor failure counts as lost after this; the next one may go."""


class Breaker:
    """The breaker of one destination; safe to share among threads."""

    def __init__(
        self, settings: BreakerSettings, *, clock: Clock = time.monotonic, dice: Clock = random.random
    ) -> None:
        self._settings, self._clock, self._dice = settings, clock, dice
        self._lock = Lock()
        self._failures = self._openings = 0
        self._until = self._probing = 0.0
        """Moments on the clock: open until; a try is under way until. 0: not."""

    @property
    def state(self) -> State:
        """`closed`, `open` or `half-open` at this moment."""
        with self._lock:
            return self._state(self._clock())

    def _state(self, now: float) -> State:
        if not self._openings:
            return "closed"
        return "open" if now < self._until else "half-open"

    def wait(self) -> float:
        """Seconds until a call may go out; 0: it may go now. Does not claim the try of a half-open breaker."""
        with self._lock:
            return self._wait(self._clock())

    def _wait(self, now: float) -> float:
        if not self._openings:
            return 0.0
        return max(self._until - now, self._probing - now, 0.0)

    def claim(self) -> float:
        """As `wait`, and where it is 0 and the breaker half open, this caller has the one try."""
        with self._lock:
            now = self._clock()
            seconds = self._wait(now)
            if self._openings and not seconds:
                self._probing = now + self._settings.probe_seconds
            return seconds

    def release(self) -> None:
        """The try that was claimed was not made: another one may be."""
        with self._lock:
            self._probing = 0.0

    def succeeded(self) -> None:
        """A call was answered: the breaker is closed and forgets."""
        with self._lock:
            self._failures = self._openings = 0
            self._until = self._probing = 0.0

    def failed(self) -> None:
        """A call was not answered, or with a fault of the peer."""
        with self._lock:
            now, settings = self._clock(), self._settings
            self._failures += 1
            if self._state(now) == "open" or (not self._openings and self._failures < settings.failures):
                return
            seconds = min(settings.open_seconds * 2 ** min(self._openings, 60), settings.most_seconds)
            self._openings += 1
            self._until = now + seconds * (1 - settings.jitter * self._dice())
            self._probing = 0.0
