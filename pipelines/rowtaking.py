"""What deciding takes from the staged rows of a batch: history, merging, what waits for a home, pieces, receipts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, insert

from dlq.letter import Letter
from dlq.sealing import Sealer
from mappings.encoding import record_key
from mappings.findings import FLAG, Finding, profile
from mappings.history import batch_findings
from mappings.records import RepairRow
from pipelines import tables, withdrawing
from pipelines.journal import ADDRESSED, DEAD, FILTERED, UNPLACED, Journal
from pipelines.memory import StateHistory, forget, remember
from pipelines.merging import Coming, Merger
from pipelines.places import starts
from pipelines.receipts import ReceiptWriter
from pipelines.rowform import row_of
from pipelines.sealedrows import seal_piece, seal_waiting
from pipelines.segments import PIECE, RECORD, REMARKS, WITHDRAWAL, StagedWithdrawal, read_rows
from pipelines.settings import Exchange
from pipelines.stagedrows import Staged
from pipelines.versions import pack_intake, signed
from pipelines.vinhash import vin_hash
from pipelines.work import Job, Receipt, Task
from pipelines.workbench import register
from routing.dealers import Dealers

_AT_ONCE = 2_000
"""Records that the state is asked about at once; the items of a group begin below it, a large item is one alone."""

FEW = 10_000
"""Records of a batch that are held from the decision until they are delivered: about 2 KB each."""

Pairs = dict[str, dict[str, dict[str, str]]]
"""Item -> ordinal -> destination -> key of the record that this one was merged into."""


class _Chosen(NamedTuple):
    """A record that history rules and merging look at; its row without parts, or None where it is withdrawn."""

    task: Task
    ordinal: int
    row: RepairRow | None
    record: dict[str, Any]

    @property
    def key(self) -> str:
        return record_key(self.record["system"], self.record["companycode"], self.record["costlistcode"])


class _Item:
    """What the staged rows of one item say."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.remarks: dict[int, Any] = {}
        self.pieces: list[tuple[int, bytes]] = []
        self.waiting: list[tuple[int, bytes]] = []
        self.chosen: list[_Chosen] = []
        self.found: dict[int, list[Finding]] = {}


class RowTaking:
    """The staged rows of one batch, in the transaction that decides it."""

    def __init__(
        self,
        exchange: Exchange,
        sealer: Sealer,
        job: Job,
        receipts: Mapping[int, Sequence[Receipt]],
        journals: Mapping[int, Journal],
    ) -> None:
        self._exchange, self._sealer, self._job = exchange, sealer, job
        self._receipts, self._journals = receipts, journals
        self._begins = starts({number: len(book.lines) for number, book in sorted(journals.items())})
        self.refused: dict[int, list[Letter]] = {}
        """Letters of withdrawals that found no record, by item."""
        few = sum(len(book.lines) for book in journals.values()) <= FEW
        self.staged: dict[int, list[Staged]] | None = {} if few else None
        """Item -> its records, which closing need not read again; None where they are too many to be held."""

    def take(self, connection: Connection, tasks: Iterable[Task], writer: ReceiptWriter) -> Pairs:
        """Take the rows of every item, in intake order; flags go into the journals, receipts to the writer."""
        wanted, pairs = self._exchange.rules, Pairs()
        for items in self._groups(tasks):
            chosen = [one for item in items for one in item.chosen]
            if wanted.history:
                self._history(connection, chosen, {item.task.number: item.found for item in items})
            if wanted.merge and self._dealers is not None:
                self._merge(Merger(connection, self._dealers), chosen, pairs)
            self._keep(connection, items)
            if wanted.receipts:
                for item in items:
                    writer.item(item.task, self._journals[item.task.number], item.remarks, item.found)
        return pairs

    def _groups(self, tasks: Iterable[Task]) -> Iterator[list[_Item]]:
        """Items of which the state is asked together."""
        group: list[_Item] = []
        size = 0
        for task in tasks:
            item = self._read(task)
            group.append(item)
            size += len(item.chosen)
            if size >= _AT_ONCE:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _read(self, task: Task) -> _Item:
        item, fates = _Item(task), self._journals[task.number].lines["fate"].tolist()
        held = self.staged.setdefault(task.number, []) if self.staged is not None else None
        for receipt in self._receipts.get(task.number, ()):
            for row in read_rows(receipt.rows, self._sealer) if receipt.rows else ():
                if row.kind == REMARKS:
                    item.remarks[row.ordinal] = orjson.loads(row.body)
                elif row.kind == PIECE:
                    item.pieces.append((row.ordinal, row.body))
                elif row.kind == WITHDRAWAL:
                    if fates[row.ordinal] == DEAD:
                        item.found[row.ordinal] = [self._refuse(task, row.ordinal, row.body)]
                elif row.kind == RECORD:
                    record = self._record(item, row.ordinal, row.body, fates[row.ordinal])
                    if held is not None and fates[row.ordinal] == ADDRESSED:
                        held.append(Staged(row.ordinal, row.body, orjson.loads(row.body) if record is None else record))
        return item

    def _record(self, item: _Item, ordinal: int, body: bytes, fate: int) -> Mapping[str, Any] | None:
        """Take note of one record; what it says, where that had to be looked at."""
        wanted = self._exchange.rules
        if fate == UNPLACED:
            item.waiting.append((ordinal, body))
        if not (wanted.history or wanted.merge) or fate not in (ADDRESSED, UNPLACED, FILTERED):
            return None
        record: dict[str, Any] = orjson.loads(body)
        if "withdrawn" in record:
            item.chosen.append(_Chosen(item.task, ordinal, None, record))
        elif fate != FILTERED and (wanted.history or self._concerned(record)):
            item.chosen.append(_Chosen(item.task, ordinal, row_of(record, parts=False), record))
        return record

    @cached_property
    def _dealers(self) -> Dealers | None:
        return register(self._exchange)

    def _concerned(self, record: Mapping[str, Any]) -> bool:
        """Whether visits of a record's company may come by two ways."""
        day = date.fromisoformat(record["settledate"])
        return self._dealers is not None and bool(self._dealers.oem_of(record["companycode"], day))

    def _history(
        self, connection: Connection, chosen: Sequence[_Chosen], found: Mapping[int, dict[int, list[Finding]]]
    ) -> None:
        """Findings of the history rules, in intake order: what is withdrawn is no history of what comes after it."""
        scope, codes = self._exchange.scope, set(self._exchange.rules.history)
        received = datetime.fromisoformat(self._job.received_at)
        rules = profile(self._exchange.mapping.profile)
        for records, withdrawn in _runs(chosen):
            rows = [one.row for one in records if one.row is not None]
            if rows:
                remarks = batch_findings(rows, StateHistory(connection, scope), received, rules, codes)
                remember(connection, scope, rows)
                for one, extra in zip(records, remarks, strict=True):
                    if extra:
                        found[one.task.number][one.ordinal] = extra
                        _add_flags(self._journals[one.task.number], one.ordinal, extra)
            if withdrawn is not None:
                forget(connection, scope, withdrawn.record["companycode"], withdrawn.record["costlistcode"])

    def _merge(self, merger: Merger, chosen: Sequence[_Chosen], pairs: Pairs) -> None:
        for records, withdrawn in _runs(chosen):
            coming = [
                (one, one.row, self._destinations(one))
                for one in records
                if one.row is not None and merger.concerns(one.row.companycode, one.row.settledate)
            ]
            merger.expect(Coming(to, one.key, row.vin) for one, row, destinations in coming for to in destinations)
            for one, row, destinations in coming:
                for destination in destinations:
                    into = merger.merged_into(destination, one.key, one.record["system"], row)
                    if into:
                        of_item = pairs.setdefault(str(one.task.number), {})
                        of_item.setdefault(str(one.ordinal), {})[destination] = into
            merger.keep()
            if withdrawn is not None:
                merger.part(self._destinations(withdrawn), withdrawn.key)

    def _destinations(self, one: _Chosen) -> Sequence[str]:
        book = self._journals[one.task.number]
        line = book.lines[one.ordinal]
        return book.routes[int(line["routes"])] if line["fate"] == ADDRESSED else ()

    def _keep(self, connection: Connection, items: Sequence[_Item]) -> None:
        """Keep what waits: records without a home, pieces of orders that are not whole."""
        waiting = [self._unplaced(item.task, *one) for item in items for one in item.waiting]
        if waiting:
            connection.execute(insert(tables.waiting), waiting)
        pieces = [self._piece(item.task, *one) for item in items for one in item.pieces]
        if pieces:
            connection.execute(insert(tables.fragments), pieces)

    def _refuse(self, task: Task, ordinal: int, packed: bytes) -> Finding:
        """A withdrawal that found no record: its letter is kept for the commit, its finding is for the receipt."""
        book = self._journals[task.number]
        withdrawing.refuse(book, ordinal)
        offset = int(book.lines["offset"][ordinal])
        letter = withdrawing.letter(self._exchange, self._sealer, self._job, task, ordinal, offset, packed)
        self.refused.setdefault(task.number, []).append(letter)
        return withdrawing.finding(StagedWithdrawal.unpack(packed))

    def _unplaced(self, task: Task, ordinal: int, body: bytes) -> dict[str, Any]:
        record = orjson.loads(body)
        name = f"{self._job.batch}/{task.number}/{ordinal}/"
        row = {
            "id": name,
            "exchange": self._exchange.name,
            "batch": self._job.batch,
            "item": task.number,
            "ordinal": ordinal,
            "destination": "",
            "reason": self._journals[task.number].notes.get(str(ordinal), ""),
            "vin": signed(vin_hash(record["vin"])),
            "version": int(self._journals[task.number].lines["version"][ordinal]),
            "merged_into": "",
            "next_attempt": "",
        }
        return seal_waiting(self._sealer, row, body)

    def _piece(self, task: Task, ordinal: int, body: bytes) -> dict[str, Any]:
        size = int.from_bytes(body[:4], "big")
        order, step, company = orjson.loads(body[4 : 4 + size])
        item = task.item
        name = f"{self._job.batch}/{task.number}/{ordinal}"
        row = {
            "id": name,
            "exchange": self._exchange.name,
            "system": item.system or self._exchange.versions.system,
            "company": company,
            "order": order,
            "step": step,
            "intake": pack_intake(self._job.number, self._begins[task.number] + ordinal),
            "source": item.source,
            "offset": int(self._journals[task.number].lines["offset"][ordinal]),
            "received_at": self._job.received_at,
            "batch": self._job.batch,
        }
        return seal_piece(self._sealer, row, body[4 + size :])


def _runs(chosen: Sequence[_Chosen]) -> Iterator[tuple[Sequence[_Chosen], _Chosen | None]]:
    """Records up to each withdrawal, with it; the last ones with None."""
    begun = 0
    for at, one in enumerate(chosen):
        if one.row is None:
            yield chosen[begun:at], one
            begun = at + 1
    yield chosen[begun:], None


def _add_flags(book: Journal, ordinal: int, extra: Sequence[Finding]) -> None:
    flags = tuple(finding.code for finding in extra if finding.severity == FLAG)
    if not flags:
        return
    line = book.lines[ordinal]
    wanted = tuple(dict.fromkeys((*book.findings[int(line["findings"])], *flags)))
    if wanted not in book.findings:
        book.findings.append(wanted)
    line["findings"] = book.findings.index(wanted)
