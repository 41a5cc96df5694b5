"""Canonical records of closed batches, read again from their source by the same steps.

What was delivered is not kept here; where the source can be read again (a file in its folder or archive, a table), its
items go through the steps once more into a folder of their own, and a record counts only when its key and content are
those that the journal wrote down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from connectors.contracts import ConnectorError, WorkItem
from connectors.folders import from_name
from dlq.sealing import Sealer
from mappings.encoding import content_digest, key_digest
from pipelines import flow, tables
from pipelines.journal import Journal
from pipelines.knownitems import unpacked_items
from pipelines.reconciling.scratch import scratch
from pipelines.registering import snapshot
from pipelines.rowform import content_of_record
from pipelines.segments import RECORD, read_rows
from pipelines.settings import Connector, Exchange
from pipelines.sources import PART, SEVERAL
from pipelines.state import State
from pipelines.versions import key_halves
from pipelines.work import Job, Task
from pipelines.workbench import is_part_sink

Wanted = Mapping[int, Collection[int]]
"""Item -> ordinals."""


_Made = tuple[int, int, bytes]


class Reread:
    """Reads records of one exchange again."""

    def __init__(self, state: State, exchange: Exchange, sealer: Sealer) -> None:
        alone = {"runner": "embedded", "batch": exchange.batch.model_copy(update={"workers": 1})}
        self._state, self._exchange, self._sealer = state, exchange.model_copy(update=alone), sealer
        self._in_files = all(is_part_sink(exchange, name) for name in exchange.sinks)

    def records(self, batch: str, wanted: Wanted) -> dict[tuple[int, int], bytes]:
        """(item, ordinal) -> canonical record, of those that could be read again.

        Args:
            batch: id of a batch that is decided or closed.
            wanted: which of its records.
        """
        b, j = tables.batches, tables.journals
        with self._state.reading() as connection:
            row = connection.execute(select(b).where(b.c.id == batch)).one()
            packed = connection.execute(select(j.c.item, j.c.lines).where(j.c.batch == batch)).all()
        if row.kind != "source" or self._in_files:  # its envelopes are gone, or its records went as whole files
            return {}
        books = {number: Journal.unpack(lines) for number, lines in packed if number in wanted}
        items = unpacked_items(row._mapping["items"])
        found: dict[tuple[int, int], bytes] = {}
        for exchange, tasks in self._placed([(number, items[number]) for number in sorted(wanted)]):
            with self._staged(exchange, row, tasks) as staged:
                for number, ordinal, body in staged:
                    if ordinal in wanted[number] and self._is_it(books[number], ordinal, body):
                        found[number, ordinal] = body
        return found

    @contextmanager
    def _staged(self, exchange: Exchange, row: Any, tasks: Sequence[Task]) -> Iterator[Iterator[_Made]]:
        """Item, ordinal and body of the records that the steps made of some items."""
        with scratch(self._state.path) as folder:
            known = snapshot(self._state, folder / "registrations.ndjson") if exchange.routing.registrations else ""
            job = Job(
                exchange=exchange.model_dump(mode="json", by_alias=True),
                batch=row.id,
                number=row.number,
                received_at=row.received_at,
                staging=str(folder),
                key=str(self._state.key_path),
                registrations=known,
            )
            try:
                receipts = flow.run(exchange, job, tasks)
            except ConnectorError:  # the source is away, or what it held is gone
                receipts = []
            yield (
                (receipt.number, staged.ordinal, staged.body)
                for receipt in receipts
                if receipt.rows
                for staged in read_rows(receipt.rows, self._sealer)
                if staged.kind == RECORD
            )

    def _is_it(self, book: Journal, ordinal: int, body: bytes) -> bool:
        """Whether a record is the one that the journal wrote down."""
        line, record = book.lines[ordinal], orjson.loads(body)
        if int(line["ordinal"]) != ordinal:
            return False
        key = key_digest(self._exchange.scope, record["system"], record["companycode"], record["costlistcode"])
        content = int.from_bytes(content_digest(content_of_record(record)), "big")
        return key_halves(key) == (int(line["key_hi"]), int(line["key_lo"])) and content == int(line["content"])

    # -- where files lie now -------------------------------------------------------------------------------------------

    def _placed(self, items: Sequence[tuple[int, WorkItem]]) -> Iterator[tuple[Exchange, list[Task]]]:
        """Items by the settings under which they are read: as they stand, and with archives in place of folders."""
        source = self._exchange.source
        moved = _archived(source)
        here = [Task(number, item) for number, item in items if not _is_moved(source, moved, item)]
        gone = [Task(number, item) for number, item in items if _is_moved(source, moved, item)]
        if here:
            yield self._exchange, here
        if gone:
            yield self._exchange.model_copy(update={"source": moved}), gone


def _archived(source: Connector) -> Connector:
    """The source with the archive of each folder in place of it."""
    options = source.options
    if source.connector == SEVERAL:
        parts = {name: _archived(Connector.model_validate(part)) for name, part in options["of"].items()}
        return Connector.model_validate(
            {"connector": SEVERAL, "of": {name: part.model_dump(mode="json") for name, part in parts.items()}}
        )
    if "path" not in options:
        return source
    archive = options.get("archive") or Path(str(options["path"])) / ".archive"
    plain = {**source.model_dump(mode="json"), "path": str(archive), "finished": "keep"}
    plain.pop("archive", None)
    return Connector.model_validate(plain)


def _is_moved(source: Connector, moved: Connector, item: WorkItem) -> bool:
    """Whether an item's file lies in the archive and no longer in its folder."""
    here, there, inside = source.options, moved.options, item.source
    if source.connector == SEVERAL:
        part = str(item.extra[PART])
        here, there, inside = here["of"].get(part, {}), there["of"].get(part, {}), item.source.removeprefix(f"{part}/")
    if "path" not in here:
        return False
    relative = from_name(inside)
    return not (Path(str(here["path"])) / relative).is_file() and (Path(str(there["path"])) / relative).is_file()
