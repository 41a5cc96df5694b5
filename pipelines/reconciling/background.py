"""A reconciliation beside a running exchange: compared in a thread that only reads, settled by who owns the state."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

from pipelines.coordinator import Coordinator
from pipelines.reconciling.commanding import keep_reports, missing_places, name_missing
from pipelines.reconciling.comparing import Stopped, compare
from pipelines.reconciling.report import Report
from pipelines.settings import Exchange
from pipelines.state import State


class Background:
    """One comparison under way."""

    def __init__(self, state: State, exchange: Exchange, since: datetime, until: datetime) -> None:
        self._state, self._exchange, self._range = state, exchange, (since, until)
        self._report: Report | None = None
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._compare, daemon=True, name="reconcile")
        self._thread.start()

    def _compare(self) -> None:
        try:
            sealer = self._state.sealer()
            self._report = compare(self._state, self._exchange, sealer, *self._range, stopped=self._stopping.is_set)
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by who waits for it
            self._error = error

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def settle(self, coordinator: Coordinator) -> Report | None:
        """Name what is missing, queue it where the settings say so, and keep the report; None where it was stopped.

        A report of destinations that could not be asked is not kept: the comparison is to be done again.

        Raises what the comparison raised.
        """
        if self._error is not None:
            raise self._error
        report = self._report
        if report is None:
            return None
        name_missing(self._state, self._exchange, self._state.sealer(), report)
        if self._exchange.reconcile.backfill and report.missing():
            report.backfill = dict(Counter(coordinator.queue_again(missing_places(report)).values()))
        if report.asked:
            keep_reports(self._state.path, [report])
        return report

    def stop(self) -> None:
        """Give it up, as soon as the call that is under way has ended."""
        self._stopping.set()
        self._thread.join(20)
