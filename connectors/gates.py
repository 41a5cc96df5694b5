"""The gate before a destination: whether a call may go out now, and if not, for how long not and why.

It puts together what holds calls back: a maintenance window, a pause that the peer asked for (`Retry-After`), a stop
because it refused our credentials, the circuit breaker, and the rate budget. One gate stands before one peer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import NamedTuple
from weakref import WeakSet

from connectors.breakers import Breaker, BreakerSettings, Clock, State
from connectors.budgets import Budget
from connectors.windows import Window, closed_for

AUTH_FAILED = "AUTH_FAILED"
"""Begins the reason of everything that waits because the peer refused our credentials."""


_GATES: WeakSet[Gate] = WeakSet()
_LISTED = Lock()


class Pause(NamedTuple):
    """Why nothing goes out, and for how many seconds; 0 seconds: it may."""

    seconds: float = 0.0
    reason: str = ""
    stopped: bool = False
    """Only a person can end it sooner: the credentials were refused."""


class Gate:
    """What stands before one peer; safe to share among threads."""

    def __init__(
        self,
        *,
        breaker: Breaker | None = None,
        budget: Budget | None = None,
        windows: Sequence[Window] = (),
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        peer: str = "",
    ) -> None:
        self.peer = peer
        """Host and port of the peer, for metrics; empty: it is not shown there."""
        self._breaker = breaker or Breaker(BreakerSettings(), clock=clock)
        self._budget, self._windows, self._clock, self._now = budget, tuple(windows), clock, now
        self._lock = Lock()
        self._until, self._held = 0.0, Pause()
        with _LISTED:
            _GATES.add(self)

    @property
    def breaker(self) -> State:
        """The breaker's state, for metrics."""
        return self._breaker.state

    def pause(self) -> Pause:
        """What holds calls back at this moment; takes nothing from the budget."""
        window = closed_for(self._windows, self._now())
        if window:
            return Pause(window, f"对方维护时段 / the peer's maintenance window: {window:.0f} s")
        with self._lock:
            left = self._until - self._clock()
            if left > 0:
                return self._held._replace(seconds=left)
        left = self._breaker.wait()
        if left:
            return Pause(left, f"对方连续失败，暂停呼叫 / the peer kept failing, it is left alone: {left:.1f} s")
        return Pause()

    def admit(self) -> Pause:
        """Ask for one call. 0 seconds: it may go out, and `succeeded`, `failed` or `release` must follow."""
        held = self.pause()
        if held.seconds:
            return held
        left = self._breaker.claim()
        if left:
            return Pause(left, "对方恢复探测中 / another call is trying whether the peer is back")
        try:
            left = self._budget.take() if self._budget else 0.0
        except BaseException:
            self._breaker.release()
            raise
        if left:
            self._breaker.release()
            return Pause(left, f"呼叫额度用尽 / the call budget is used up: {left:.1f} s")
        return Pause()

    def succeeded(self) -> None:
        """The peer answered."""
        self._breaker.succeeded()

    def failed(self) -> None:
        """The peer did not answer, or with a fault of its own."""
        self._breaker.failed()

    def release(self) -> None:
        """The call that was admitted was not made after all."""
        self._breaker.release()

    def hold(self, seconds: float, reason: str) -> None:
        """The peer asked for a pause: nothing goes out for so long, or longer where it asked for more before."""
        with self._lock:
            until = self._clock() + seconds
            if until > self._until:
                self._until, self._held = until, Pause(seconds, reason)

    def stop(self, seconds: float, reason: str) -> None:
        """The peer refused our credentials: nothing goes out for so long, and a person is to be told."""
        with self._lock:
            self._until, self._held = self._clock() + seconds, Pause(seconds, f"{AUTH_FAILED}: {reason}", stopped=True)

    def resume(self) -> None:
        """Forget a pause or stop: what caused it was mended."""
        with self._lock:
            self._until, self._held = 0.0, Pause()


def gates() -> list[Gate]:
    """The gates of this process that know their peer."""
    with _LISTED:
        return [gate for gate in _GATES if gate.peer]
