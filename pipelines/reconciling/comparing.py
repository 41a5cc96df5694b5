"""Compares the two sides of an exchange: our ledger, and each destination as it answers now.

A record is the same on both sides when key and content digest are. Versions are not compared: a platform that collects
numbers its own. Where a destination calls our collecting system by another name, its name counts as ours.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

from connectors import registry
from connectors.contracts import ConnectorError, Held, Lists, Misconfigured, Unverifiable
from dlq.masking import masked_text
from dlq.sealing import Sealer
from mappings.encoding import delivery_id, key_digest
from pipelines.agreeing import Agreed, record_kinds
from pipelines.lookup import Name
from pipelines.reconciling.books import STANDS, Book, Key, Sent, read_books, sent_ever
from pipelines.reconciling.report import (
    DIFFERS,
    LISTED,
    MISSING,
    RECEIPTS,
    REFUSED,
    UNKNOWN,
    VERIFIED,
    WAITING,
    Difference,
    Place,
    Report,
    Side,
)
from pipelines.settings import Exchange
from pipelines.sinks import OWN, Sinks
from pipelines.state import State
from pipelines.verifying import Verifier
from pipelines.versions import key_halves

SKEW = timedelta(hours=1)
"""The other side's clock may be behind ours by so much."""
MOST_STRANGERS = 100_000
"""A destination that tells more records than this that we do not know of is not compared record by record."""


class Stopped(Exception):
    """The comparison was given up, as its caller asked."""


def compare(
    state: State,
    exchange: Exchange,
    sealer: Sealer,
    since: datetime,
    until: datetime,
    only: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Compare what was received in [since, until) with what its destinations hold now.

    Args:
        state: the state; need not be owned.
        exchange: the exchange, placed on the state.
        sealer: the state's sealer.
        since: from when, aware.
        until: to when, aware.
        only: destinations; empty: all of them.
        stopped: asked now and then; where it is true the comparison is given up.

    Raises:
        Stopped: as asked.
    """
    report = Report(exchange.name, since, until)
    with state.reading() as connection:
        books = read_books(connection, exchange.name, since, until)
    with closing(Sinks(exchange, state, make=False)) as sinks:
        for destination, book in sorted(books.items()):
            wanted = (not only or destination in only) and sinks.name(destination) != OWN
            if wanted and book.sent:
                _Comparison(state, exchange, sealer, sinks, destination, books, report, stopped).run(since)
    return report


class _Comparison:
    """One destination."""

    def __init__(
        self,
        state: State,
        exchange: Exchange,
        sealer: Sealer,
        sinks: Sinks,
        destination: str,
        books: Mapping[str, Book],
        report: Report,
        stopped: Callable[[], bool],
    ) -> None:
        self._state, self._exchange, self._sealer, self._sinks = state, exchange, sealer, sinks
        self._destination, self._book, self._report = destination, books[destination], report
        self._stopped = stopped
        self._others = [name for name in books if name != destination]
        self._side = report.sides[destination] = Side()

    def run(self, since: datetime) -> None:
        """Compare; what cannot be asked is told, and stops nothing else."""
        every = [one for sent in self._book.sent.values() for one in sent]
        self._side.sent = len(every)
        self._side.accepted = sum(one.outcome in (*STANDS, "duplicate") for one in every)
        self._unaccepted(every)
        try:
            with _asked(self._exchange, self._sinks, self._destination) as sink:
                if _can_list(sink) and self._named():
                    self._listed(sink.held(since - SKEW, self._book.batches))
                    self._side.how = LISTED
                else:
                    self._side.how = self._verified(sink)
        except ConnectorError as error:
            self._side.why = masked_text(str(error))

    def _named(self) -> bool:
        """Whether the other side knows records by the names that we know them by: else it cannot be asked for each."""
        agreements, kinds = Agreed(self._exchange.agreements).standing(), record_kinds(self._exchange.mapping.kinds)
        covering = [(kind, one) for kind in kinds for one in agreements.matching(self._destination, kind)]
        return all(one.terms(kind).names for kind, one in covering)

    def _unaccepted(self, every: Iterable[Sent]) -> None:
        kinds = {"waiting": WAITING, "dead": REFUSED}
        for one in every:
            if one.outcome in kinds:
                self._differs(kinds[one.outcome], one)

    def _differs(self, kind: str, sent: Sent | None, key: str = "", found: str = "") -> None:
        place, source = (sent.place, sent.source) if sent else (None, "")
        expected = f"{sent.content:016x}" if sent else ""
        one = Difference(kind, self._destination, place, source, masked_text(key)[:200], expected, found[:64])
        self._report.differences.append(one)

    # -- record by record ----------------------------------------------------------------------------------------------

    def _listed(self, held: Iterable[Held]) -> None:
        there: dict[Key, set[int]] = {}
        strangers: list[tuple[Key, Held]] = []
        for one in held:
            if self._stopped():
                raise Stopped
            if self._of_another(one):
                continue
            key, content = self._known(one)
            known = {sent.content for sent in self._book.sent.get(key, ())} | self._book.later.get(key, set())
            if content in known:
                there.setdefault(key, set()).add(content)
            else:
                strangers.append((key, one))
            if len(strangers) > MOST_STRANGERS:
                message = "对方列出的未知记录过多 / the other side tells too many records that were not sent"
                raise Misconfigured(message, "请核对双方是否为同一系统 / see that both mean the same systems")
        told = self._strange(strangers, there)
        for key, sent in self._book.sent.items():
            for mine in sent:
                if mine.outcome in STANDS and mine.content in there.get(key, ()):
                    self._side.held += 1
                elif mine.outcome in STANDS and mine.place not in told:
                    self._differs(MISSING, mine)

    def _strange(self, strangers: Sequence[tuple[Key, Held]], there: Mapping[Key, set[int]]) -> set[Place]:
        """Tell what the other side holds and was not sent since: sent earlier, of another content, or never.

        The journals are read after the answer, so that what was sent meanwhile is known. Our
        deliveries that are told as different are the answer: they are not missing besides.
        """
        told = set()
        with self._state.reading() as connection:
            ever = sent_ever(connection, self._exchange.name, self._destination, {key for key, _ in strangers})
        for key, one in strangers:
            if int(one.content, 16) in ever.get(key, ()):
                continue
            if key not in ever:
                self._differs(UNKNOWN, None, one.key, one.content)
                continue
            sent = self._book.sent.get(key, [])
            lost = [mine for mine in sent if mine.outcome in STANDS and mine.content not in there.get(key, ())]
            ours = next(reversed(lost or sent), None)
            self._differs(DIFFERS, ours, one.key, one.content)
            told |= {ours.place} if ours else set()
        return told

    def _of_another(self, one: Held) -> bool:
        """Whether a row of a store that serves several destinations is another one's."""

        def fits(destination: str) -> bool:
            return delivery_id(one.key, one.version, one.content, destination) == one.id

        return bool(one.id) and not fits(self._destination) and any(map(fits, self._others))

    def _known(self, one: Held) -> tuple[Key, int]:
        """Our key digest and content digest of a record that the other side tells.

        Raises:
            Misconfigured: it is told in a way that cannot be read.
        """
        try:
            name, content = Name.of(one.key), int(one.content, 16)
        except ValueError:
            message = "对方的记录键或摘要无法读取 / a key or digest of the other side cannot be read"
            raise Misconfigured(message, "请检查 held / check held") from None
        own = self._exchange.versions.system if self._exchange.versions.mode == "assign" else ""
        systems = [name.system, *([own] if own and "{" not in own else [])]
        keys = [
            key_halves(key_digest(self._exchange.scope, system, name.companycode, name.costlistcode))
            for system in dict.fromkeys(systems)
        ]
        known = [key for key in keys if key in self._book.sent or key in self._book.later]
        return (known or keys[-1:])[0], content

    # -- batch by batch ------------------------------------------------------------------------------------------------

    def _verified(self, sink: Any) -> str:
        """Let the ledger prove the batches; whose destination cannot be read is proved by its answers."""
        try:
            sink.verify(self._book.batches[0])
        except Unverifiable:
            self._side.why = "对方不能查询，以其答复为准 / it cannot be asked: its answers are the proof"
            return RECEIPTS
        verifier = Verifier(self._state, self._sealer)
        try:
            problems = [one for some in verifier.batches(self._book.batches).values() for one in some]
        finally:
            verifier.close()
        mine = [one for one in problems if self._destination in one.destination.split(",")]
        for one in mine:
            told = str(one.expected), str(one.found)
            self._report.differences.append(
                Difference(one.kind, self._destination, None, one.batch, masked_text(one.record), *told)
            )
        if not mine:
            self._side.held = sum(one.outcome in STANDS for sent in self._book.sent.values() for one in sent)
        return RECEIPTS if getattr(getattr(sink, "settings", None), "receipts", None) else VERIFIED


def _can_list(sink: Any) -> bool:
    """Whether a sink can be asked for records; that of an HTTP peer only where its settings say how."""
    return isinstance(sink, Lists) and getattr(getattr(sink, "settings", None), "held", True) is not None


@contextmanager
def _asked(exchange: Exchange, sinks: Sinks, destination: str) -> Iterator[Any]:
    """Who is asked for a destination: what `reconcile.ask` names, else its own sink.

    Raises:
        ConnectorError: it cannot be made.
    """
    for asked in exchange.reconcile.ask.values():
        if fnmatch.fnmatchcase(destination, asked.for_):
            made: Any = registry.sink(asked.connector, asked.options)
            try:
                yield made
            finally:
                made.close()
            return
    name = sinks.name(destination)
    if name and sinks.is_part_sink(name):
        yield sinks.part_sink(name)
        return
    yield sinks.row_sink(destination)[1]
