"""The work and the decision of one batch: from receipts to the commit that makes them count."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from connectors.contracts import StagedPart
from connectors.copying import together
from dlq.letter import Letter
from dlq.letters import LetterStore
from dlq.sealing import Sealer
from dlq.segments import read_segment
from mappings.encoding import key_digest
from pipelines import accounts, closing, flow, journal, tables, vinplaces
from pipelines.accounts import Account
from pipelines.deciding import Decided, Item, Rule, apply, decide
from pipelines.errors import Incomplete
from pipelines.inbox import Inbox
from pipelines.journal import KNOWN, Journal
from pipelines.knownitems import account_known, sender, stop
from pipelines.places import starts
from pipelines.planning import remember
from pipelines.receipts import ReceiptWriter
from pipelines.rowtaking import RowTaking
from pipelines.segments import RECORD, read_rows
from pipelines.settings import Exchange
from pipelines.sinks import Sinks
from pipelines.stagedrows import keep_rows
from pipelines.state import State
from pipelines.versions import VersionIndex, key_halves, pack_intake
from pipelines.work import Job, Receipt, Task

if TYPE_CHECKING:
    from pipelines.replaying import Died

_ASKED = 500
"""Letters asked for at a time."""
_TRIES = 10
"""Decisions of one batch that other gateways may come between."""


_COUNTED = ("plan", "state", "letters", "letters_digest", *accounts.INTAKE)
_DECIDE = (
    update(tables.batches)
    .where(tables.batches.c.id == bindparam("batch"))
    .values({name: bindparam(name) for name in _COUNTED})
)
_JOURNAL, _TAKEN = insert(tables.journals), insert(tables.items)
_TAKEN_BEFORE = delete(tables.items).where(
    *(tables.items.c[name] == bindparam(f"of_{name}") for name in ("exchange", "sender", "digest", "start"))
)


class BatchWork:
    """One batch between open and decided."""

    def __init__(
        self,
        state: State,
        exchange: Exchange,
        sinks: Sinks,
        sealer: Sealer,
        job: Job,
        tasks: Sequence[Task],
        run: int,
        extra: Mapping[str, Any],
        steps: Callable[[Exchange, Job, Sequence[Task]], list[Receipt]] = flow.run,
    ) -> None:
        self._state, self._exchange, self._sinks, self._sealer, self._steps = state, exchange, sinks, sealer, steps
        self._job, self._tasks, self._run, self._extra = job, tasks, run, extra
        self._receipts: dict[int, list[Receipt]] = {}
        self._journals: dict[int, Journal] = {}
        self._parts: dict[int, tuple[StagedPart, ...]] = {}
        self._in_parts = bool(exchange.sinks) and all(sinks.is_part_sink(name) for name in exchange.sinks)

    def stage(self) -> None:
        """Run the work stage; every item must come back complete."""
        self._receipts = _by_item(self._steps(self._exchange, self._job, self._tasks))
        self._journals = self._read_journals()
        self._parts = {n: tuple(p for r in rs for p in r.parts) for n, rs in self._receipts.items()}

    @property
    def envelopes(self) -> int:
        """How many envelopes the batch has, once it is staged."""
        return sum(len(book.lines) for book in self._journals.values())

    def _read_journals(self) -> dict[int, Journal]:
        return {task.number: _journal(self._receipts.get(task.number, [])) for task in self._tasks}

    def _items(self) -> list[Item]:
        return [Item(n, self._journals[n], self._extra.get("intakes", {}).get(n, {})) for n in sorted(self._journals)]

    def decide(self) -> closing.Decided:
        """Versions first; items with known keys are staged again where files were staged; then the one commit."""
        if self._state.share is not None:
            return self._decide_beside_others()
        items = self._items()
        if not self._in_parts:  # nothing is staged again: one transaction does
            with self._state.unit_of_work() as connection:
                return self._commit(connection, items, decide(connection, self._state, items, self._rule(connection)))
        with self._state.unit_of_work() as connection:
            decided = decide(connection, self._state, items, self._rule(connection))
        if decided.directives:
            self._stage_again(decided)
        with self._state.unit_of_work() as connection:
            return self._commit(connection, items, decided)

    def _decide_beside_others(self) -> closing.Decided:
        """Decide and commit in one transaction; again, from the receipts, where another gateway came between.

        Nothing is staged again: exchanges of gateways that share a state write no files.
        """
        from pipelines.lease import is_given_up  # late, as all of PostgreSQL
        from pipelines.versiontable import Raced

        attempt = 0
        while True:
            attempt += 1
            items = self._items()
            try:
                with self._state.unit_of_work() as connection:
                    decided = decide(connection, self._state, items, self._rule(connection))
                    # Others may change what is accounted of it before it is closed: then it is read again.
                    return self._commit(connection, items, decided)._replace(opened={})
            except Raced:
                if attempt == _TRIES:
                    raise
            except DBAPIError as error:
                if attempt == _TRIES or not is_given_up(error):
                    raise
            self._journals = self._read_journals()

    def _rule(self, connection: Any) -> Rule:
        carried = self._exchange.versions.mode == "carried"
        held = self._also_held(connection) if self._exchange.versions.also_held else {}
        if self._state.share is None:
            return Rule(self._job.number, carried, held)
        from pipelines.arrivals import Arrivals

        own = self._journals if "inbox" in self._extra else {}
        return Rule(self._job.number, carried, held, Arrivals(connection, self._exchange.name, self._job.number, own))

    def _also_held(self, connection: Any) -> dict[tuple[int, int], frozenset[str]]:
        """What other scopes gave away of this batch's records: asked by their key in that scope."""
        own: dict[tuple[str, str, str], tuple[int, int]] = {}
        for rows in self._rows(RECORD):
            for _, record in rows:
                name = (record["system"], record["companycode"], record["costlistcode"])
                own[name] = key_halves(key_digest(self._exchange.scope, *name))
        held: dict[tuple[int, int], frozenset[str]] = {}
        if self._state.versions is None:
            return held
        names = list(own)
        for scope in self._exchange.versions.also_held:
            keys = [key_halves(key_digest(scope, *name)) for name in names]
            hi = np.array([k[0] for k in keys], np.uint64)
            lo = np.array([k[1] for k in keys], np.uint64)
            at, entries = self._state.versions.find(connection, hi, lo)
            sets = self._state.destination_sets(connection)
            for position, entry in zip(at.tolist(), entries, strict=True):
                key = own[names[position]]
                held[key] = held.get(key, frozenset()) | frozenset(sets[int(entry["held"])])
        return held

    def _rows(self, kind: int) -> Iterable[Iterable[tuple[int, dict[str, Any]]]]:
        for number in sorted(self._receipts):
            yield (
                (row.ordinal, orjson.loads(row.body))
                for receipt in self._receipts[number]
                if receipt.rows
                for row in read_rows(receipt.rows, self._sealer)
                if row.kind == kind
            )

    def _stage_again(self, decided: Decided) -> None:
        """Stage items with known keys once more, told what to leave out and how to number the rest."""
        staging = Path(self._job.staging) / f"again-{secrets.token_hex(4)}"
        staging.mkdir()
        told = {
            str(n): {str(o): [d.fate, d.version, d.destinations] for o, d in ds.items()}
            for n, ds in decided.directives.items()
        }
        path = staging / "directives.json"
        path.write_bytes(orjson.dumps(told))
        tasks = [task for task in self._tasks if task.number in decided.directives]
        job = replace(self._job, staging=str(staging), directives=str(path))
        again = _by_item(self._steps(self._exchange, job, tasks))
        for task in tasks:
            lines, before = _journal(again.get(task.number, [])).lines, self._journals[task.number].lines
            same = all(np.array_equal(lines[c], before[c]) for c in ("key_hi", "key_lo", "content", "offset"))
            if not same:
                message = (
                    f"{task.item.source} 在处理期间被改动；请勿改动已投放的文件，然后重新运行"
                    f" / {task.item.source} was changed while it was worked on; leave delivered files alone, run again"
                )
                raise Incomplete(message)
            self._parts[task.number] = tuple(p for r in again[task.number] for p in r.parts)

    # -- the commit ----------------------------------------------------------------------------------------------------

    def _commit(self, connection: Any, items: Sequence[Item], decided: Decided) -> closing.Decided:
        batch = self._job.batch
        for item in items:
            apply(item, decided.directives.get(item.number, {}))
        receipts = ReceiptWriter(self._exchange, self._sinks, self._job.batch)
        rows = RowTaking(self._exchange, self._sealer, self._job, self._receipts, self._journals)
        merged = rows.take(connection, self._tasks, receipts)
        parts = [p for n in sorted(self._parts) for p in self._parts[n]] + receipts.parts
        opened = self._accounts(parts, receipts)
        letters = self._letters(connection, rows.refused)
        counts = accounts.intake(self._journals)
        self._number(connection, decided)
        staged = {n: [r.rows for r in rs if r.rows] for n, rs in self._receipts.items()} if not self._in_parts else {}
        plan: dict[str, Any] = {"rows": {str(n): paths for n, paths in staged.items()}, "merged": merged}
        if self._state.share is not None:  # who finishes the batch may be another, on another host
            keep_rows(connection, batch, staged)
            plan |= {"rows": {}, "kept": True}
        told = {"letters": letters[0], "letters_digest": str(letters[1]), **counts}
        with together(connection):
            for task in self._tasks:
                self._keep(connection, task)
            if parts:
                connection.execute(insert(tables.parts), [self._part_row(p) for p in parts])
            accounts.open_accounts(connection, batch, opened)
            connection.execute(_DECIDE, {"batch": batch, "plan": orjson.dumps(plan), "state": "decided", **told})
            if "inbox" in self._extra:
                Inbox(self._exchange.name, self._sealer).remove(connection, self._job.number)
            remember(connection, self._exchange.name, dict(self._extra.get("marks", ())))
        self._consume(connection)
        return closing.Decided(
            self._job.number,
            self._job.received_at,
            counts["received"],
            plan,
            self._journals,
            bool(parts),
            counts,
            opened,
            None if self._in_parts else rows.staged,
        )

    def _number(self, connection: Any, decided: Decided) -> None:
        """Tell the index of the versions that were decided."""
        versions = self._state.versions
        if versions is None:
            return
        if self._state.share is None or isinstance(versions, VersionIndex):
            versions.add(connection, decided.entries)
        else:
            versions.add_exactly(connection, decided.entries, decided.known)

    def _accounts(self, parts: Sequence[StagedPart], receipts: ReceiptWriter) -> dict[str, Account]:
        opened: dict[str, Account] = {}
        for book in self._journals.values():
            for destination, number in book.addressed().items():
                account = opened.setdefault(destination, Account(self._sinks.name(destination)))
                account.counts["addressed"] += number
                account.counts["in_flight"] += number
        if receipts.count:
            opened[self._exchange.rules.receipts] = Account(receipts.sink)
            opened[self._exchange.rules.receipts].counts.update(addressed=receipts.count, in_flight=receipts.count)
        staged: dict[str, int] = defaultdict(int)
        for part in parts:
            staged[part.destination] += part.count
        for destination, number in staged.items():
            if destination in opened and opened[destination].counts["addressed"] != number:
                message = f"{destination}: {number} staged, {opened[destination].counts['addressed']} addressed"
                raise Incomplete(message)
        return opened

    def _letters(self, connection: Any, refused: Mapping[int, Sequence[Letter]]) -> tuple[int, int]:
        """Keep the letters of this batch. Of a replay only deaths of another kind are letters of their own."""
        store = LetterStore(connection, self._sealer)
        died: Died = {}
        begins = starts({number: len(book.lines) for number, book in sorted(self._journals.items())})
        count = digest = 0
        for number in sorted(self._receipts):
            for letters in self._died(number, refused):
                if "letters" in self._extra:
                    from pipelines.replaying import settle

                    letters = settle(self._extra, number, letters, died)
                elif self._seen(connection, number):
                    letters = self._unknown(connection, number, letters)
                begin = pack_intake(self._job.number, begins[number])
                tally = store.put_many(letter._replace(intake=begin + letter.intake) for letter in letters)
                count, digest = count + tally.count, digest + tally.digest
        if "letters" in self._extra:
            from pipelines.replaying import resolve_rest

            again = resolve_rest(store, self._job, self._extra, died)
            count, digest = count + again[0], digest + again[1]
        return count, digest & accounts.MASK

    def _died(self, number: int, refused: Mapping[int, Sequence[Letter]]) -> Iterator[Iterable[Letter]]:
        """Letters of one item: those that its workers left, and those of withdrawals that found nothing."""
        for receipt in self._receipts[number]:
            yield from (read_segment(segment.path) for segment in receipt.letters)
        if number in refused:
            yield refused[number]

    def _seen(self, connection: Any, number: int) -> bool:
        """Whether other ranges of an item's bytes were worked on before, so that some of its envelopes are known."""
        t, item = tables.items, self._tasks[number].item
        where = (t.c.exchange == self._exchange.name) & (t.c.sender == sender(item)) & (t.c.digest == item.digest)
        return connection.execute(select(t.c.batch).where(where).limit(1)).first() is not None

    def _unknown(self, connection: Any, number: int, letters: Iterable[Letter]) -> Iterator[Letter]:
        """Letters that are not kept already; the envelopes of the others are known, so they are duplicates."""
        t, lines = tables.letters.letters, self._journals[number].lines
        flow = iter(letters)
        while chunk := list(islice(flow, _ASKED)):
            ids = [letter.id for letter in chunk]
            kept = set(connection.execute(select(t.c.id).where(t.c.id.in_(ids))).scalars())
            for letter in chunk:
                if letter.id not in kept:
                    kept.add(letter.id)
                    yield letter
                else:
                    line = lines[letter.intake]
                    line["fate"], line["findings"] = KNOWN, 0

    def _keep(self, connection: Any, task: Task) -> None:
        book, item = self._journals[task.number], task.item
        connection.execute(
            _JOURNAL,
            {"batch": self._job.batch, "item": task.number, "source": item.source, "lines": book.pack()},
        )
        vinplaces.keep(connection, self._job.number, task.number, book)
        if "inbox" in self._extra:  # its keys are remembered by the inbox
            return
        name = {
            "exchange": self._exchange.name,
            "sender": sender(item),
            "digest": item.digest,
            "start": item.offset,
        }
        connection.execute(_TAKEN_BEFORE, {f"of_{member}": value for member, value in name.items()})
        connection.execute(
            _TAKEN,
            {
                **name,
                "stop": stop(item),
                "envelopes": len(book.lines),
                "run": self._run,
                "batch": self._job.batch,
            },
        )

    def _part_row(self, part: StagedPart) -> dict[str, Any]:
        sink = self._sinks.name(part.destination)
        return {"batch": self._job.batch, "sink": sink, **part._asdict()}

    def _consume(self, connection: Any) -> None:
        """Tick off what this batch was for: pieces that it took, items known before, registrations that it served."""
        taken = self._extra.get("fragments", ())
        t = tables.fragments
        for at in range(0, len(taken), 500):
            connection.execute(update(t).where(t.c.id.in_(taken[at : at + 500])).values(assembled=self._job.number))
        if self._extra.get("repeated"):
            number = int(connection.execute(select(func.max(tables.batches.c.number))).scalar() or 0) + 1
            of_this = self._exchange.name, number, self._run, self._job.received_at
            account_known(connection, *of_this, self._extra["repeated"])
        if "mark" in self._extra:
            name = f"registrations-served:{self._exchange.name}"
            connection.execute(delete(tables.meta).where(tables.meta.c.name == name))
            connection.execute(insert(tables.meta), {"name": name, "value": str(self._extra["mark"])})


def _by_item(receipts: Iterable[Receipt]) -> dict[int, list[Receipt]]:
    by_item: dict[int, list[Receipt]] = {}
    for receipt in receipts:
        by_item.setdefault(receipt.number, []).append(receipt)
    return by_item


def _journal(receipts: Sequence[Receipt]) -> Journal:
    """One item's whole journal; every envelope that was received must have exactly one line."""
    totals = {receipt.total for receipt in receipts if receipt.total >= 0}
    if len(totals) != 1:
        message = f"工作阶段的回执不完整 / receipts of an item are incomplete: totals {sorted(totals)}"
        raise Incomplete(message)
    joined = journal.join([Journal.unpack(Path(receipt.journal).read_bytes()) for receipt in receipts])
    if not np.array_equal(joined.lines["ordinal"], np.arange(totals.pop(), dtype=np.uint32)):
        message = "工作阶段的回执与信封数不符 / receipts do not cover every envelope exactly once"
        raise Incomplete(message)
    return joined
