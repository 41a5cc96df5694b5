"""Effects and close: what was decided is done, and what came of it is accounted, in one commit a batch.

Everything here can be done again after a crash: parts by name and hash, rows by delivery id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from sqlalchemy import bindparam, insert, select, update

from connectors.contracts import ConnectorError, Misconfigured, PartSink, StagedPart
from dlq import reasons
from dlq.letter import Letter, Origin, compose
from dlq.letters import LetterStore
from dlq.sealing import Sealer
from pipelines import accounts, tables
from pipelines.accounts import Account
from pipelines.agreeing import Agreed
from pipelines.disclosures import Notes
from pipelines.journal import ADDRESSED, Journal
from pipelines.knownitems import batch_id
from pipelines.leaving import Leaving, kind_of
from pipelines.outbox import Outbox, Outcomes, Sent, Unusual, status_of
from pipelines.progress import Event, Observer
from pipelines.queues import Holding, Queues
from pipelines.registers import reference
from pipelines.sealedrows import seal_waiting
from pipelines.segments import read_rows, rows_in
from pipelines.settings import Exchange
from pipelines.sinks import OWN, Sinks
from pipelines.stagedrows import Staged, drop_rows, kept_rows, records_of
from pipelines.state import State
from pipelines.storeform import deliver
from pipelines.version import BUILD
from pipelines.versions import pack_intake, signed
from pipelines.waits import next_try
from routing.agreements import Terms

_CLOSE = update(tables.batches).where(tables.batches.c.id == bindparam("batch")).values(state="closed", plan=None)


class Decided(NamedTuple):
    """What closing a batch needs to know of its decision."""

    number: int
    received_at: str
    received: int
    plan: Mapping[str, Any]
    books: Mapping[int, Journal]
    parts: bool = True
    """Whether files may have been staged."""
    counts: Mapping[str, int] | None = None
    """What was counted at intake, where that is at hand."""
    opened: Mapping[str, Account] = {}
    """The accounts of its destinations as they were opened, where those are at hand."""
    staged: Mapping[int, Sequence[Staged]] | None = None
    """Item -> its staged records, where they are few enough to be at hand."""

    def begin(self, item: int) -> int:
        """How many envelopes of the batch come before an item's first one."""
        return sum(len(book.lines) for number, book in self.books.items() if number < item)


class _Held(dict[str, Holding | None]):
    """Destination -> what holds deliveries back, found when it is first asked for."""

    def __init__(self, find: Callable[[str], Holding | None]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, destination: str) -> Holding | None:
        found = self[destination] = self._find(destination)
        return found


class Closer:
    """Does the effects of decided batches and closes them."""

    def __init__(self, state: State, exchange: Exchange, sinks: Sinks, sealer: Sealer, observer: Observer) -> None:
        self._state, self._exchange, self._sinks, self._sealer = state, exchange, sinks, sealer
        self._observer = observer
        self.queues = Queues(state, exchange)
        self.leaving = Leaving(Agreed(exchange.agreements), sealer.pseudonym, sinks.form)
        self.notes = Notes()
        self._handed: dict[str, dict[str, Terms]] = {}
        """Destination of files -> kind -> the terms under which they were handed over last."""

    # -- a batch -------------------------------------------------------------------------------------------------------

    def finish(self, batch: str, *, redo: bool, decided: Decided | None = None) -> None:
        """Do the effects of a decided batch, then close it. `redo`: they may have been done in part before.

        `decided` is given by who has just decided the batch; else it is read.
        """
        row = decided or self._read(batch)
        plan, books = row.plan, row.books
        promoted, failed = self._promote(batch) if row.parts else ([], [])
        self._tell("effect", batch)
        outbox = self.outbox(batch, tried_before=redo)
        held = _Held(self._held)
        for number, rows in self._staged(batch, row):
            vins, merged = books[number].lines["vin"].view(np.int64), plan["merged"].get(str(number), {})
            for sent in self._deliveries(row, number, merged, rows):
                holding, vin = held[sent.delivery.destination], int(vins[sent.ordinal])
                # What may have gone out before a crash is tried again. What stood behind an earlier record of its
                # vehicle did not go out, and stands there still.
                reason = (holding.behind_of(vin) if redo else holding.of(vin)) if holding else ""
                if reason:
                    outbox.hold(sent, reason)
                else:
                    outbox.put(sent)
        outcomes = outbox.flush()
        self._tell("effect", batch, done=1)
        with self._state.unit_of_work() as connection:
            self._account_parts(connection, batch, promoted, failed)
            # What stood when it was opened stands still, where no file was accounted meanwhile.
            self._account_rows(connection, batch, row, outcomes, {} if row.parts else row.opened)
            self.notes.deliveries(connection, batch, outcomes)
            connection.execute(_CLOSE, {"batch": batch})
            if plan.get("kept"):
                drop_rows(connection, batch)
        self._observer(Event("closed", self._exchange.name, batch, 0, row.received, counts=row.counts))
        self._state.merge_versions()

    def _read(self, batch: str) -> Decided:
        with self._state.reading() as connection:
            row = connection.execute(select(tables.batches).where(tables.batches.c.id == batch)).one()
            books = {r.item: Journal.unpack(r.lines) for r in _journals(connection, batch)}
        return Decided(row.number, row.received_at, row.received, orjson.loads(row.plan), books)

    def _staged(self, batch: str, decided: Decided) -> Iterator[tuple[int, Iterable[Staged]]]:
        """The staged records of a batch, a segment at a time with the number of its item."""
        if decided.staged is not None:
            yield from decided.staged.items()
            return
        plan = decided.plan
        for number, paths in plan["rows"].items():
            for path in paths:
                yield int(number), records_of(read_rows(path, self._sealer))
        if plan.get("kept"):
            with self._state.reading() as connection:
                for item, segment in kept_rows(connection, batch):
                    yield item, records_of(rows_in(segment, self._sealer, batch))

    def outbox(self, batch: str, *, tried_before: bool) -> Outbox:
        """What takes deliveries to their destinations; `batch` is empty where they are of several."""

        def tell(name: str, destination: str, done: int, total: int) -> None:
            self._observer(Event(name, self._exchange.name, batch, done, total, destination))

        size, each = self._exchange.batch.write, not batch
        return Outbox(self._sinks.row_sink, size, tried_before, self.queues, tell, self.leaving, each)

    def _held(self, destination: str) -> Holding | None:
        """What holds deliveries back; what goes to the state's own registers never waits its turn."""
        return None if self._sinks.name(destination) == OWN else self.queues.holding(destination)

    def _deliveries(
        self,
        decided: Decided,
        number: int,
        merged: Mapping[str, Mapping[str, str]],
        rows: Iterable[Staged],
    ) -> Iterator[Sent]:
        """The deliveries of one segment of staged records, as decided."""
        book, batch = decided.books[number], batch_id(self._exchange.name, decided.number)
        begin, routes, found = decided.begin(number), book.routes, book.findings
        fates, ways, versions, contents, flags = (
            book.lines[name].tolist() for name in ("fate", "routes", "version", "content", "findings")
        )
        for ordinal, body, record in rows:
            if fates[ordinal] != ADDRESSED:
                continue
            into = merged.get(str(ordinal), {}) if merged else {}
            for destination in routes[ways[ordinal]]:
                yield self.send(
                    record,
                    body,
                    destination,
                    number=number,
                    ordinal=ordinal,
                    version=versions[ordinal],
                    content=contents[ordinal],
                    findings=found[flags[ordinal]],
                    batch=batch,
                    merged_into=into.get(destination, ""),
                    intake=pack_intake(decided.number, begin + ordinal),
                )

    def send(
        self,
        record: Mapping[str, Any],
        body: bytes,
        destination: str,
        *,
        number: int,
        ordinal: int,
        version: int,
        content: int,
        findings: Sequence[str],
        batch: str,
        merged_into: str,
        intake: int = 0,
    ) -> Sent:
        """One delivery on its way, encoded for its destination. `intake`: its number, for the state's own registers."""
        name = self._sinks.name(destination)
        if name == OWN:
            made = reference(record, body, destination, intake, batch)
        else:
            made = deliver(
                record,
                destination,
                version=version,
                content=content,
                findings=findings,
                repaircomefrom=self._sinks.repaircomefrom(name),
                batch=batch,
                merged_into=merged_into,
                as_row=self._sinks.as_row(name),
            )
        return Sent(number, ordinal, made, body, kind_of(record))

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _promote(self, batch: str) -> tuple[list[Any], list[tuple[Any, str]]]:
        """Promote a batch's parts, destination by destination; what could not be promoted waits as it is staged."""
        t = tables.parts
        with self._state.reading() as connection:
            rows = connection.execute(
                select(t).where(t.c.batch == batch, t.c.promoted.is_(False)).order_by(t.c.final)
            ).all()
        return self._promote_rows(rows)

    def _promote_rows(self, rows: Sequence[Any]) -> tuple[list[Any], list[tuple[Any, str]]]:
        by_sink: dict[tuple[str, str], list[Any]] = {}
        for row in rows:
            by_sink.setdefault((row.sink, row.destination), []).append(row)
        done: list[Any] = []
        failed: list[tuple[Any, str]] = []
        wrong: list[Misconfigured] = []
        for (sink, destination), group in by_sink.items():
            held = self._withheld(destination) or self.queues.admit(destination)
            if held:
                failed += [(row, held) for row in group]
                continue
            staged = [StagedPart(r.destination, r.temporary, r.final, r.sha256, r.count) for r in group]
            total = sum(r.count for r in group)
            self._observer(Event("sending", self._exchange.name, group[0].batch, 0, total, destination))
            took, there = 0, True
            try:
                self._part_sink(sink, group).promote(staged)
                done += group
                took = total
            except Misconfigured as error:
                wrong.append(error)
            except ConnectorError as error:
                failed += [(row, str(error)) for row in group]
                there = False
            self.queues.answered(destination, there=there)
            self._observer(Event("sent", self._exchange.name, group[0].batch, took, total, destination))
        if wrong:  # a person must act: until then the batch stays as it was decided, and every run says so
            raise wrong[0]
        return done, failed

    def _withheld(self, destination: str) -> str:
        """Why files may not be handed to a destination now: they were staged in the hope that all of them may leave.

        Receipts answer who sent, and are under no agreement.
        """
        if destination == self._exchange.rules.receipts:
            return ""
        told = self.leaving.agreed.whole(destination, self._exchange.mapping.kinds)
        if isinstance(told, str):
            return told
        self._handed[destination] = told
        return ""

    def _part_sink(self, name: str, rows: Sequence[Any]) -> PartSink:
        """The sink that staged some parts. Raises Misconfigured: the settings have it no more."""
        try:
            return self._sinks.part_sink(name)
        except Misconfigured as error:
            held = ", ".join(sorted({row.batch for row in rows}))
            remedy = (
                f"批次 {held} 还有文件要交给它：请改回这个 sink，完成后再更名或删除"
                f" / batch {held} has files for it still: put it back, and rename or remove it once they are delivered"
            )
            raise Misconfigured(str(error), remedy) from None

    def _account_parts(
        self, connection: Any, batch: str, promoted: Sequence[Any], failed: Sequence[tuple[Any, str]]
    ) -> None:
        changes: dict[str, Account] = {}
        for row in promoted:
            account = changes.setdefault(row.destination, Account(row.sink))
            account.counts.update(delivered=row.count, in_flight=-row.count)
            account.stands += row.count
            account.digest += int(row.sha256[:16], 16)
        for row, _ in failed:
            account = changes.setdefault(row.destination, Account(row.sink))
            account.counts.update(waiting=row.count, in_flight=-row.count)
        for destination, account in changes.items():
            accounts.change(connection, batch, destination, account)
        if promoted:
            t = tables.parts
            connection.execute(
                update(t).where(t.c.batch == batch, t.c.final.in_([r.final for r in promoted])).values(promoted=True)
            )
            self.notes.parts(connection, promoted, self._handed, late=False)

    def promote_waiting(self) -> None:
        """Try parts again whose folder could not be written when their batch was closed."""
        p, b = tables.parts, tables.batches
        with self._state.reading() as connection:
            rows = connection.execute(
                select(p)
                .join(b, b.c.id == p.c.batch)
                .where(b.c.exchange == self._exchange.name, b.c.state == "closed", p.c.promoted.is_(False))
            ).all()
        if not rows:
            return
        done, _ = self._promote_rows(rows)
        with self._state.unit_of_work() as connection:
            for row in done:
                account = Account(row.sink)
                account.counts.update(delivered=row.count, waiting=-row.count)
                account.stands, account.digest = row.count, int(row.sha256[:16], 16)
                accounts.change(connection, row.batch, row.destination, account)
                connection.execute(update(p).where(p.c.final == row.final).values(promoted=True))
            self.notes.parts(connection, done, self._handed, late=True)

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _account_rows(
        self,
        connection: Any,
        batch: str,
        decided: Decided,
        outcomes: Outcomes,
        opened: Mapping[str, Account],
    ) -> None:
        for destination, account in outcomes.accounts.items():
            accounts.change(connection, batch, destination, account, opened.get(destination))
        if not outcomes.exceptions:
            return
        books = decided.books
        touched = set()
        letters: list[Letter] = []
        waiting: list[dict[str, Any]] = []
        for unusual in outcomes.exceptions:
            sent, status = unusual.sent, status_of(unusual)
            ordinal = str(sent.ordinal)
            books[sent.number].outcomes.setdefault(ordinal, {})[sent.delivery.destination] = status
            touched.add(sent.number)
            if status == "dead":
                place = decided.begin(sent.number) + sent.ordinal
                letters.append(self.letter(unusual, batch, pack_intake(decided.number, place), decided.received_at))
            elif status == "waiting":
                vin = int(books[sent.number].lines[sent.ordinal]["vin"])
                waiting.append(self._waiting(unusual, batch, vin, tried_before=outcomes.tried_before))
        for number in touched:
            _rewrite(connection, batch, number, books[number])
        if waiting:
            connection.execute(insert(tables.waiting), waiting)
            self.queues.joined([(row["destination"], row["vin"], len(row["record"])) for row in waiting])
        add_letters(connection, self._sealer, batch, letters)

    def letter(self, unusual: Unusual, batch: str, intake: int, received_at: str) -> Letter:
        """The letter of a delivery that its destination refused; it keeps the canonical record."""
        sent = unusual.sent
        record = orjson.loads(sent.record)
        origin = Origin(
            exchange=self._exchange.name,
            batch=batch,
            source=batch,
            company=str(record.get("companycode", "")),
            system=str(record.get("system", "")),
            profile=self._exchange.mapping.profile,
            build=BUILD,
            received_at=received_at,
        )
        return compose(
            origin,
            self._sealer,
            stage="deliver",
            reasons=(reasons.from_outcome(unusual.outcome, sent.delivery.destination),),
            body=sent.record,
            source_key=f"{batch}|{sent.number}|{sent.ordinal}",
            offset=sent.ordinal,
            dialect="report",
            mapping="report",
            destination=sent.delivery.destination,
            record_key=sent.delivery.key,
            vin=str(record.get("vin", "")),
            intake=intake,
        )

    def _waiting(self, unusual: Unusual, batch: str, vin: int, *, tried_before: bool) -> dict[str, Any]:
        sent = unusual.sent
        name = f"{batch}/{sent.number}/{sent.ordinal}/{sent.delivery.destination}"
        row = {
            "id": name,
            "exchange": self._exchange.name,
            "batch": batch,
            "item": sent.number,
            "ordinal": sent.ordinal,
            "destination": sent.delivery.destination,
            "reason": unusual.outcome.reason,
            "vin": signed(vin),
            "version": sent.delivery.version,
            "merged_into": sent.delivery.merged_into,
            "attempts": int(unusual.tried or tried_before),
            "next_attempt": next_try(self._exchange, sent.delivery.id, 1),
        }
        return seal_waiting(self._sealer, row, sent.record)

    # -- attempts that began -------------------------------------------------------------------------------------------

    def resume_attempts(self) -> None:
        """Finish retries that a crash interrupted: their deliveries are tried again before anything else."""
        from pipelines.retrying import resume

        resume(self._state, self._exchange, self._sinks, self._sealer, self)

    def _tell(self, name: str, batch: str, done: int = 0, total: int = 0) -> None:
        self._observer(Event(name, self._exchange.name, batch, done, total))


def add_letters(connection: Any, sealer: Sealer, batch: str, letters: Sequence[Letter]) -> None:
    """Keep letters and count them for their batch."""
    if not letters:
        return
    tally = LetterStore(connection, sealer).put_many(letters)
    t = tables.batches
    row = connection.execute(select(t.c.letters, t.c.letters_digest).where(t.c.id == batch)).one()
    connection.execute(
        update(t)
        .where(t.c.id == batch)
        .values(
            letters=row.letters + tally.count,
            letters_digest=str((int(row.letters_digest) + tally.digest) & accounts.MASK),
        )
    )


def _journals(connection: Any, batch: str) -> list[Any]:
    t = tables.journals
    return list(connection.execute(select(t).where(t.c.batch == batch).order_by(t.c.item)))


def _rewrite(connection: Any, batch: str, number: int, book: Journal) -> None:
    t = tables.journals
    connection.execute(update(t).where(t.c.batch == batch, t.c.item == number).values(lines=book.pack()))


def amend(connection: Any, batch: str, number: int, change: Any) -> None:
    """Change one journal in place: `change(book)` edits it."""
    t = tables.journals
    packed = connection.execute(select(t.c.lines).where(t.c.batch == batch, t.c.item == number)).scalar_one()
    book = Journal.unpack(packed)
    change(book)
    _rewrite(connection, batch, number, book)
