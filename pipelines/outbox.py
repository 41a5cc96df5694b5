"""The effects of a decided batch on row sinks: deliveries by destination, written, and their outcomes gathered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from connectors.contracts import (
    ACCEPTED,
    DUPLICATE,
    REFUSED,
    UNAVAILABLE,
    ConnectorError,
    Delivery,
    KeepsReceipts,
    Outcome,
    Sink,
    fingerprint,
)
from pipelines.accounts import Account
from pipelines.queues import Queues
from pipelines.sinks import OWN
from routing.cases import REPAIR

if TYPE_CHECKING:
    from pipelines.leaving import Leaving
    from routing.agreements import Terms


_RECEIVED = frozenset((ACCEPTED, DUPLICATE))


class Sent(NamedTuple):
    """A delivery on its way, with its place in the batch and the canonical record that it was encoded from."""

    number: int
    ordinal: int
    delivery: Delivery
    record: bytes
    kind: str = REPAIR
    """Kind of the record."""


class Unusual(NamedTuple):
    """A delivery that did not simply succeed."""

    sent: Sent
    outcome: Outcome
    tried: bool = True
    """Whether its destination was called: a queue or a pause may have held it back."""


@dataclass
class Disclosed:
    """What a destination received of one kind under the same terms."""

    terms: Terms
    moment: str
    """When the first of it was sent."""
    count: int = 0
    """Deliveries that are told together, as the batch's."""
    each: list[tuple[str, int, int, str]] = field(default_factory=list)
    """Those that are told one by one: batch, item, ordinal, moment."""


@dataclass
class Outcomes:
    """What became of deliveries: counts by destination, and each one that is not delivered."""

    tried_before: bool = False
    """Whether an attempt without an answer may have gone before: what was not tried now counts as tried."""
    accounts: dict[str, Account] = field(default_factory=dict)
    exceptions: list[Unusual] = field(default_factory=list)
    standing: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """(batch, destination) -> count and fingerprints of what is there now."""
    disclosed: dict[tuple[str, str, str], Disclosed] = field(default_factory=dict)
    """(destination, kind, digest of the terms) -> what was received."""
    _first: dict[tuple[str, str], str] = field(default_factory=dict)

    def disclose(
        self, queue: Sequence[Sent], answers: Sequence[Outcome], terms: Mapping[str, Terms], moment: str, *, each: bool
    ) -> None:
        """Remember what a destination has received of a call.

        Under the first terms of a batch they are counted; under any later ones, and with `each`, they are told one by
        one, so that it can be said of every delivery under which it went.
        """
        destination = queue[0].delivery.destination
        took = None if each or len(terms) > 1 else sum(one.status in _RECEIVED for one in answers)
        for kind, one in terms.items():
            alone = each or self._first.setdefault((destination, kind), one.digest) != one.digest
            if took is not None and not alone:
                if took:
                    self.disclosed.setdefault((destination, kind, one.digest), Disclosed(one, moment)).count += took
                continue
            there = [
                sent
                for sent, answer in zip(queue, answers, strict=True)
                if sent.kind == kind and answer.status in _RECEIVED
            ]
            if there:
                told = self.disclosed.setdefault((destination, kind, one.digest), Disclosed(one, moment))
                if alone:
                    told.each += [(sent.delivery.batch, sent.number, sent.ordinal, moment) for sent in there]
                else:
                    told.count += len(there)

    def take(self, sent: Sent, outcome: Outcome, sink: str, *, tried: bool = True) -> None:
        """Count one outcome; it leaves flight."""
        delivery = sent.delivery
        account = self.accounts.get(delivery.destination)
        if account is None:
            account = self.accounts[delivery.destination] = Account(sink)
        account.counts["in_flight"] -= 1
        status = _end(delivery, outcome)
        account.counts[status] += 1
        if outcome.status == ACCEPTED:
            account.stands += 1
            mark = fingerprint(delivery)
            account.digest += mark
            place = (delivery.batch, delivery.destination)
            count, digest = self.standing.get(place, (0, 0))
            self.standing[place] = (count + 1, digest + mark)
        if status != "delivered":
            self.exceptions.append(Unusual(sent, outcome, tried))


def _end(delivery: Delivery, outcome: Outcome) -> str:
    if outcome.status == ACCEPTED:
        return "merged" if delivery.merged_into else "delivered"
    if outcome.status == DUPLICATE:
        return "duplicate"
    return "dead" if outcome.status == REFUSED else "waiting"


Tell = Callable[[str, str, int, int], None]
"""Is told of a call before and after it: `sending` or `sent`, destination, how many it took, of how many."""


class Outbox:
    """Collects deliveries by destination and writes them `size` at a time. One destination's trouble is its own.

    `leaving` applies the agreements, just before each call; `each`: what was received is told delivery by delivery.
    """

    def __init__(
        self,
        sink_for: Callable[[str], tuple[str, Sink]],
        size: int,
        tried_before: bool = False,
        queues: Queues | None = None,
        tell: Tell = lambda *_: None,
        leaving: Leaving | None = None,
        each: bool = False,
    ) -> None:
        self._tell, self._leaving, self._each = tell, leaving, each
        self._sink_for, self._size, self._tried, self._queues = sink_for, size, tried_before, queues
        self._waiting: dict[str, list[Sent]] = {}
        self.outcomes = Outcomes(tried_before)

    def put(self, sent: Sent) -> None:
        """Add a delivery; writes when enough of its destination have gathered."""
        queue = self._waiting.setdefault(sent.delivery.destination, [])
        queue.append(sent)
        if len(queue) >= self._size:
            self._write(sent.delivery.destination)

    def hold(self, sent: Sent, reason: str) -> None:
        """Add a delivery that joins its destination's queue without being tried."""
        name, _ = self._sink_for(sent.delivery.destination)
        self.outcomes.take(sent, Outcome(UNAVAILABLE, reason), name, tried=False)

    def flush(self) -> Outcomes:
        """Write what is left; all outcomes."""
        for destination in list(self._waiting):
            self._write(destination)
        return self.outcomes

    def _write(self, destination: str) -> None:
        queue = self._waiting.pop(destination, [])
        if not queue:
            return
        name, sink = self._sink_for(destination)
        closed = _closed(sink) if self._queues is not None else ""
        terms: Mapping[str, Terms] = {}
        if self._leaving is not None and not closed and name != OWN:
            queue, stopped, terms = self._leaving.look(destination, queue)
            for sent, outcome in stopped:
                self.outcomes.take(sent, outcome, name, tried=False)
        if not queue:
            return
        closed = closed or (self._queues.admit(destination) if self._queues is not None else "")
        moment = datetime.now(UTC).isoformat()
        if closed:
            answers = [Outcome(UNAVAILABLE, closed)] * len(queue)
        else:
            self._tell("sending", destination, 0, len(queue))
            try:
                answers = sink.write([sent.delivery for sent in queue])
            except ConnectorError as error:  # only a person can mend it: what is for it waits, the others go on
                answers = [Outcome(UNAVAILABLE, str(error))] * len(queue)
            self._tell("sent", destination, sum(one.status in (ACCEPTED, DUPLICATE) for one in answers), len(queue))
            if self._queues is not None:
                self._queues.answered(destination, there=any(one.status != UNAVAILABLE for one in answers))
        if self._tried and not getattr(sink, "exact", False):
            answers = _of_the_attempt_before(sink, queue, answers)
        if terms:
            self.outcomes.disclose(queue, answers, terms, moment, each=self._each)
        for sent, outcome in zip(queue, answers, strict=True):
            self.outcomes.take(sent, outcome, name, tried=not closed)


def _of_the_attempt_before(sink: Sink, queue: Sequence[Sent], answers: Sequence[Outcome]) -> list[Outcome]:
    """An attempt without an answer went before: what is a duplicate now that attempt delivered."""
    there = [sent.delivery for sent, one in zip(queue, answers, strict=True) if one.status == DUPLICATE]
    taken = Outcome(ACCEPTED)
    if there and isinstance(sink, KeepsReceipts):
        try:
            sink.note(there)
        except ConnectorError as error:  # there and not provable here: it is sent again with the same id
            taken = Outcome(UNAVAILABLE, str(error))
    return [taken if one.status == DUPLICATE else one for one in answers]


def _closed(sink: Sink) -> str:
    """Why a sink would send nothing now: a maintenance window, a stop, its own breaker; empty where it would."""
    pause = getattr(sink, "pause", None)
    held = pause() if pause is not None else None
    return held.reason if held is not None and held.seconds else ""


def status_of(exception: Unusual) -> str:
    """The ledger's word for an exceptional outcome."""
    return _end(exception.sent.delivery, exception.outcome)
