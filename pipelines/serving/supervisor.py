"""The parent process: starts the children, starts them again when they crash, reloads and stops them in order.

One thread and one loop over pipes and signals; it does no work of its own that could stall it. Whatever becomes of it,
the children end with it (`pipelines.serving.link`).
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipelines.errors import PipelineError
from pipelines.serving import link
from pipelines.serving.children import EARLY_CRASHES, EARLY_SECONDS, Child
from pipelines.serving.logs import log

_TICK = 0.25
ECHO_SECONDS = 0.5
"""A signal to stop so soon behind another is the same one, sent to the process and to its group."""


class GaveUp(PipelineError):
    """A child cannot run: it said so itself, or it crashed again and again before it could be used."""

    def __init__(self, message: str, exit_code: int = 3) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.exit_code)


class Supervisor:
    """Keeps children running until it is told to stop.

    `on_ready` is called once, when all children can be used for the first time; `on_beat` with a child and its beat;
    `tick` some times a second; `reload` when SIGHUP asks for it; `on_stop` when the end begins, so many seconds
    (`drain_seconds`) before children are told. Children are started in order, each after the one that its `after` names
    is ready, and are stopped together.
    """

    def __init__(
        self,
        children: Sequence[Child],
        stop_seconds: float,
        on_ready: Callable[[], None],
        on_beat: Callable[[Child, Mapping[str, Any]], None] = lambda _child, _beat: None,
        tick: Callable[[], None] = lambda: None,
        reload: Callable[[], None] = lambda: None,
        on_stop: Callable[[], None] = lambda: None,
        drain_seconds: float = 0.0,
    ) -> None:
        self.children = list(children)
        self._stop_seconds, self.drain_seconds = stop_seconds, drain_seconds
        self._on_ready, self._on_beat, self._on_stop = on_ready, on_beat, on_stop
        self._tick, self._reload = tick, reload
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._stop_told = -ECHO_SECONDS
        self._told_ready = False
        self._unclean = False
        self.stopping = False

    def run(self) -> int:
        """Run until a signal says stop; the exit code: 0, or 1 where a child had to be killed.

        Raises:
            GaveUp: a child cannot run. All others were stopped.
        """
        wake, poke = os.pipe()
        for end in (wake, poke):
            os.set_blocking(end, False)
        before = signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._note) for number in _HANDLED}
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            while not self._asked_to_stop():
                self._round()
            self._drain()
            return self._stop()
        except BaseException:
            self._stop()
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._selector.close()
            for end in (wake, poke):
                os.close(end)

    def _round(self) -> None:
        self._start_due()
        self._turn(_TICK)
        self._end_overdue()
        self._tick()

    def _drain(self) -> None:
        """Go on for a while, so that who sends calls hears that no more are wanted; a second signal ends it."""
        self._on_stop()
        until = time.monotonic() + self.drain_seconds
        while time.monotonic() < until and not self._hurried():
            self._round()

    def restart(self, child: Child, task: Mapping[str, Any]) -> None:
        """Have a child finish what it does and begin again with another task; one that hangs is killed in the end."""
        child.task = task
        if child.running:
            child.leave_by = time.monotonic() + self._stop_seconds
            child.tell({"order": link.STOP})

    def _note(self, number: int, _frame: object) -> None:
        if number in _STOPS:
            now = time.monotonic()
            if now - self._stop_told < ECHO_SECONDS:
                return
            self._stop_told = now
        self._signals.append(number)

    def _asked_to_stop(self) -> bool:
        while self._signals:
            number = self._signals.pop(0)
            if number in _STOPS or (number == signal.SIGHUP and _deserted()):
                log.info("stop", extra={"text": signal.Signals(number).name})
                return True
            if number == signal.SIGHUP:
                self._reload()
        return False

    # -- running -------------------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        now, ready = time.monotonic(), {child.name for child in self.children if child.ready is not None}
        for child in self.children:
            # One that was ready before does not wait again: the door goes on while the gateway starts anew.
            waits = child.after and child.after not in ready and not child.was_ready
            if not child.running and child.due <= now and not waits:
                child.start()
                self._selector.register(child.reports, selectors.EVENT_READ, child)
                log.info("child-started", extra={"child": child.name, "counts": {"starts": child.starts}})

    def _end_overdue(self) -> None:
        for child in self.children:
            if child.running and not child.killed and child.leave_by < time.monotonic():
                child.killed = True
                log.error("child-killed", extra={"child": child.name})
                child.kill()

    def _turn(self, seconds: float) -> None:
        """Wait for reports, signals or so many seconds, and take note of what came."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(key.fd, 4_096)
                continue
            child: Child = key.data
            self._hear(child)
            if child.deaf:
                self._selector.unregister(key.fd)
        for child in self.children:
            if child.gone:  # though something that it started may still hold its pipe
                self._hear(child)
                self._bury(child)

    def _hear(self, child: Child) -> None:
        for report in child.hear():
            self._take(child, report)

    def _take(self, child: Child, report: Mapping[str, Any]) -> None:
        kind = report.get("report")
        child.said_at = time.monotonic()
        if kind == link.BEAT:
            child.said = report
            self._on_beat(child, report)
        elif kind == link.READY:
            child.became_ready(report)
            log.info("child-ready", extra={"child": child.name})
            if not self._told_ready and all(one.ready is not None for one in self.children):
                self._told_ready = True
                self._on_ready()
        elif kind == link.FAILED:
            child.failure = report

    def _bury(self, child: Child) -> None:
        """A child ended: on purpose, hopelessly, or to be started again after a while."""
        was_ready, leaving = child.ready is not None, child.leave_by < float("inf")
        with suppress(KeyError):
            self._selector.unregister(child.reports)
        code = child.ended()
        if self.stopping:
            self._unclean = self._unclean or code != 0
            return
        if leaving:
            child.due = 0.0
            log.info("child-restarts", extra={"child": child.name})
            return
        said = str(child.failure.get("text", ""))
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        if child.failure.get("waits"):
            log.warning("child-waits", extra={"child": child.name, "text": said})
            return
        log.error("child-crashed", extra={"child": child.name, "text": f"{how} {said}".strip()})
        if child.failure.get("final") and not child.was_ready:
            raise GaveUp(said, int(child.failure.get("code", 3)))
        if not was_ready and child.hopeless:
            message = (
                f"{child.name}: {EARLY_SECONDS:.0f} 秒内启动失败 {EARLY_CRASHES} 次，服务停止；最后一次：{how} {said}"
                f" / failed to start {EARLY_CRASHES} times within {EARLY_SECONDS:.0f} s, the service stops; see the log"
            )
            raise GaveUp(message)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Tell all children to finish what they do; kill what is left when time is up, or at a second signal."""
        self.stopping = True
        self._on_stop()
        deadline = time.monotonic() + self._stop_seconds
        self._signals.clear()
        for child in self.children:
            child.tell({"order": link.STOP})
        while any(child.running for child in self.children) and time.monotonic() < deadline and not self._hurried():
            self._turn(min(_TICK, max(deadline - time.monotonic(), 0)))
        late = [child for child in self.children if child.running]
        for child in late:
            log.error("child-killed", extra={"child": child.name})
            child.kill()
        while any(child.running for child in self.children):
            self._turn(_TICK)
        log.info("stopped")
        return 1 if late or self._unclean else 0

    def _hurried(self) -> bool:
        """Whether a second signal asks to stop at once."""
        return any(number in _STOPS for number in self._signals)


def _deserted() -> bool:
    """Whether the terminal that we were started from is gone: then SIGHUP means that, and no reload."""
    try:
        os.tcgetpgrp(sys.stderr.fileno())
    except OSError as error:
        return error.errno == errno.EIO
    return False


_STOPS = (signal.SIGTERM, signal.SIGINT)
_HANDLED = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)
