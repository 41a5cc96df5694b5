"""The agreements of an exchange as they stand at this moment: read again when their files change, and asked.

Whoever revokes an agreement, or puts another version in its place, edits its file: within `LOOK_SECONDS` nothing more
leaves under the old one, also in a service that runs. A file that cannot be read stops what its last version covered
until it can be: nobody knows what it says now.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from connectors.contracts import REFUSED, UNAVAILABLE, Outcome
from routing.agreements import SHIPPED, Agreement, Agreements, Terms, load_agreement
from routing.errors import TableError

LOG = logging.getLogger("vingate.agreements")

LOOK_SECONDS = 1.0
"""How often the files are looked at."""
NOT_IN_FORCE, UNREADABLE = "AGREEMENT_NOT_IN_FORCE", "AGREEMENT_UNREADABLE"
_REFERENCE = frozenset({"registration", "vehicle"})
"""Kinds that go to the state's own registers, and nowhere else."""

Stamp = tuple[int, int, int] | None


def record_kinds(kinds: Collection[str]) -> list[str]:
    """Of the kinds that an exchange takes those that leave it."""
    return [kind for kind in kinds if kind not in _REFERENCE]


@dataclass
class _Listed:
    """One agreement of the list."""

    name: str
    stamp: Stamp = None
    agreement: Agreement | None = None
    """As it was read last."""
    problem: str = ""

    def covers(self, destination: str, kind: str) -> bool:
        """Whether it speaks of this flow; one that was never read might."""
        return self.agreement is None or self.agreement.covers(destination, kind)


class Agreed:
    """What may leave now.

    Args:
        names: names or paths of agreements, in order.
        now: the present moment, aware: what is in force is decided by it.
        clock: seconds, by which the files are looked at again.
    """

    def __init__(
        self,
        names: Sequence[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now, self._clock = now, clock
        self._listed = [_Listed(name) for name in names]
        self._look_at = -1.0

    def terms(self, destination: str, kind: str) -> Terms | Outcome:
        """What may leave to a destination of a kind at this moment, or what becomes of it instead.

        `refused` where no agreement is in force, `unavailable` where nobody can tell.
        """
        self._look()
        moment, passed = self._now(), ""
        for one in self._listed:
            if not one.covers(destination, kind):
                continue
            if one.problem or one.agreement is None:
                return Outcome(UNAVAILABLE, f"{UNREADABLE}: {one.problem}")
            if one.agreement.in_force(moment):
                return one.agreement.terms(kind)
            passed = passed or f"{one.agreement.title} {one.agreement.why_not(moment)}"
        passed = passed or "没有协议 / no agreement covers it"
        return Outcome(REFUSED, f"{NOT_IN_FORCE}: {kind} -> {destination}: {passed}")

    def whole(self, destination: str, kinds: Collection[str]) -> dict[str, Terms] | str:
        """The terms of each kind where all of it may leave as it is, for whole files; else why it may not."""
        found: dict[str, Terms] = {}
        for kind in record_kinds(kinds):
            terms = self.terms(destination, kind)
            if isinstance(terms, Outcome):
                return terms.reason
            if not terms.whole:
                title = f"{terms.agreement} v{terms.version}"
                return f"{NOT_IN_FORCE}: {kind} -> {destination}: {title} 未放行全部字段 / does not pass all fields"
            found[kind] = terms
        return found

    def standing(self) -> Agreements:
        """Those that can be read."""
        self._look()
        return Agreements(one.agreement for one in self._listed if one.agreement is not None)

    def _look(self) -> None:
        if self._clock() < self._look_at:
            return
        self._look_at = self._clock() + LOOK_SECONDS
        for one in self._listed:
            stamp = None if one.name in SHIPPED else _stamp(Path(one.name))
            if one.agreement is None or one.problem or stamp != one.stamp:
                one.stamp = stamp
                self._read(one)

    def _read(self, one: _Listed) -> None:
        before, known = one.problem, one.agreement
        try:
            one.agreement, one.problem = load_agreement(one.name), ""
        except TableError as error:
            one.problem = str(error)
            if one.problem != before:
                LOG.error("agreement cannot be read, what it covers waits: %s", one.problem)
            return
        if known is not None and (before or known != one.agreement):
            LOG.warning("agreement read anew: %s from %s", one.agreement.title, one.name)


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
