"""What workers leave behind for one item: parts or a segment of rows, letters, a journal; all synced, none counted yet."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson

from connectors.contracts import PartWriter
from dlq.letter import INLINE_BYTES, BodyRef, Letter, compose
from dlq.segments import Segment, write_segment
from mappings.encoding import content_digest, key_digest, record_key

from pipelines.journal import ADDRESSED, DEAD, FRAGMENT, LINE, UNPLACED, Interned, Journal
from pipelines.segments import PIECE, RECORD, REMARKS, RowWriter, StagedRow
from pipelines.versions import pack_intake
from pipelines.vinhash import vin_hashes
from pipelines.work import Dead, Encoded, Load, Receipt, Task
from pipelines.workbench import Workbench

_LETTERS_AT_ONCE = 2_000


class JournalWriter:
    """Collects journal lines of one item and writes them as one staged file."""

    def __init__(self) -> None:
        self._routes, self._findings = Interned(), Interned()
        self._pieces: list[np.ndarray] = []
        self._notes: dict[str, str] = {}

    def add(self, bench: Workbench, system: str, load: Load) -> None:
        """Lines for the records of a load."""
        encoded: list[Encoded] = load.values
        if not encoded:
            return
        lines = np.zeros(len(encoded), LINE)
        lines["ordinal"] = load.ordinals
        lines["offset"] = load.offsets
        routes, findings, scope = self._routes, self._findings, bench.exchange.scope
        keys, contents, vins = [], [], []
        for addressed, content, _ in encoded:
            row = addressed.judged.row
            if row is None:
                keys.append(bytes(16))
                contents.append(bytes(8))
                vins.append("")
                continue
            judgement = addressed.judged.judgement
            own = judgement.provenance.get("system", system) if judgement and judgement.provenance else system
            keys.append(key_digest(scope, own, row[0], row[8]))
            contents.append(content_digest(content))
            vins.append(row[3])
        lines["fate"] = [e[0][2] for e in encoded]
        lines["version"] = [e[0][4] for e in encoded]
        lines["routes"] = [routes[e[0][1]] for e in encoded]
        lines["findings"] = [findings[e[0][0][1]] for e in encoded]
        halves = np.frombuffer(b"".join(keys), ">u8").reshape(-1, 2)
        lines["key_hi"], lines["key_lo"] = halves[:, 0], halves[:, 1]
        lines["content"] = np.frombuffer(b"".join(contents), ">u8")
        lines["vin"] = vin_hashes(vins)
        self._pieces.append(lines)
        for addressed, ordinal in zip((e[0] for e in encoded), load.ordinals, strict=True):
            if addressed.note:
                self._notes[str(ordinal)] = addressed.note

    def add_dead(self, dead: Dead) -> None:
        """Lines for the dead."""
        lines = np.zeros(len(dead.ordinals), LINE)
        lines["ordinal"] = dead.ordinals
        lines["offset"] = dead.offsets
        lines["fate"] = DEAD
        findings = self._findings
        lines["findings"] = [findings[(dead.stage,)] for _ in dead.ordinals]
        self._pieces.append(lines)

    def write(self, path: Path) -> str:
        """Write the lines, synced; returns the path."""
        lines = np.concatenate(self._pieces) if self._pieces else np.zeros(0, LINE)
        packed = Journal(lines, self._routes.values, self._findings.values, {}, self._notes).pack()
        with path.open("xb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        return str(path)


class Stager:
    """The deliver step for one item: stages its records and journals what became of every envelope that came here."""

    def __init__(self, bench: Workbench, task: Task) -> None:
        self._bench, self._task = bench, task
        self._system = task.item.system or bench.exchange.versions.system
        self._name = f"{task.number:05d}-{secrets.token_hex(4)}"
        self._folder = Path(bench.job.staging)
        self._journal = JournalWriter()
        self._parts: dict[str, PartWriter] = {}
        self._rows: RowWriter | None = None
        self._total = -1

    def add(self, load: Load) -> None:
        """Stage the records of a load."""
        if load.total >= 0:
            self._total = load.total
        if not load.values:
            return
        self._journal.add(self._bench, self._system, load)
        if self._bench.in_parts:
            self._stage_parts(load.values)
        self._stage_rows(load)

    def _stage_parts(self, encoded: list[Encoded]) -> None:
        by_destination: dict[str, list[bytes]] = {}
        for addressed, _, staged in encoded:
            if addressed.fate == ADDRESSED:
                for destination in addressed.destinations:
                    by_destination.setdefault(destination, []).append(staged)
        for destination, records in by_destination.items():
            writer = self._parts.get(destination)
            if writer is None:
                sink = self._bench.part_sinks[self._bench.sink_of(destination)]
                writer = self._parts[destination] = sink.open(destination, self._bench.job.batch, item_name(self._task))
            writer.add(records)

    def _stage_rows(self, load: Load) -> None:
        rows: list[StagedRow] = []
        in_parts, remarks = self._bench.in_parts, bool(self._bench.exchange.rules.receipts)
        for (addressed, _, staged), ordinal, body in zip(load.values, load.ordinals, load.bodies, strict=True):
            if addressed.fate == FRAGMENT:
                judgement = addressed.judged.judgement
                assert judgement is not None  # noqa: S101 - only the careful path knows pieces
                head = orjson.dumps([judgement.order, judgement.step])
                rows.append(StagedRow(ordinal, PIECE, len(head).to_bytes(4, "big") + head + body))
            elif not in_parts or addressed.fate == UNPLACED:
                rows.append(StagedRow(ordinal, RECORD, staged))
            if remarks:
                judgement = addressed.judged.judgement
                found = [list(f) for f in judgement.findings] if judgement else []
                row = addressed.judged.row
                named = (row.companycode, row.costlistcode) if row else (self._task.item.company, judgement.order if judgement else "")
                rows.append(StagedRow(ordinal, REMARKS, remark(*named, found)))
        if rows:
            if self._rows is None:
                self._rows = RowWriter(self._folder / f"{self._name}.rows", self._bench.sealer)
            self._rows.add(rows)

    def finish(self) -> Receipt:
        """Close everything that was staged; the receipt."""
        parts = tuple(writer.close() for _, writer in sorted(self._parts.items()))
        rows = self._rows.close() if self._rows is not None else ""
        path = self._journal.write(self._folder / f"{self._name}.journal")
        return Receipt(self._task.number, self._total, path, parts, rows)

    def abort(self) -> None:
        """Remove what was staged; what the process leaves behind otherwise is swept."""
        for writer in self._parts.values():
            writer.abort()


class LetterStager:
    """The letters step: seals the dead of all stages and journals them."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._letters: dict[int, list[Letter]] = {}
        self._segments: dict[int, list[Segment]] = {}
        self._journals: dict[int, JournalWriter] = {}
        self._rows: dict[int, RowWriter] = {}
        self._name = secrets.token_hex(4)

    def add(self, dead: Dead) -> None:
        """Make letters of the dead of one load."""
        bench, task, item = self._bench, dead.task, dead.task.item
        system = item.system or bench.exchange.versions.system
        origin = bench.origin(item.source, item.company, system)
        self._journals.setdefault(task.number, JournalWriter()).add_dead(dead)
        letters = self._letters.setdefault(task.number, [])
        remarks: list[StagedRow] = []
        for ordinal, offset, body, why, judgement in zip(
            dead.ordinals, dead.offsets, dead.bodies, dead.reasons, dead.judgements, strict=True
        ):
            members = judgement.members if judgement else {}
            company = str(members.get("companycode") or item.company)
            code = str(members.get("costlistcode") or "")
            withheld = any(r.code == "CREDENTIALS_IN_FILE" for r in why)
            large = len(body) > INLINE_BYTES or withheld
            letters.append(
                compose(
                    origin,
                    bench.sealer,
                    stage=dead.stage,
                    reasons=why,
                    body=body,
                    source_key=envelope_key(task, offset, bench.exchange.versions.system),
                    offset=offset,
                    dialect=judgement.dialect if judgement else bench.exchange.mapping.dialect,
                    mapping=bench.exchange.mapping.dialect,
                    record_key=record_key(system, company, code) if code else "",
                    vin=str(members.get("vin") or ""),
                    intake=pack_intake(bench.job.number, task.number, ordinal),
                    ref=BodyRef(item.source, offset, len(body)) if large else None,
                )
            )
            if bench.exchange.rules.receipts:
                found = [list(f) for f in judgement.findings] if judgement else [
                    [r.code, "reject", r.field, r.value, r.expected, ""] for r in why
                ]
                remarks.append(StagedRow(ordinal, REMARKS, remark(company, code, found)))
        if remarks:
            self._row_writer(task).add(remarks)
        if len(letters) >= _LETTERS_AT_ONCE:
            self._flush(task.number)

    def _row_writer(self, task: Task) -> RowWriter:
        writer = self._rows.get(task.number)
        if writer is None:
            path = Path(self._bench.job.staging) / f"{task.number:05d}-{self._name}.remarks"
            writer = self._rows[task.number] = RowWriter(path, self._bench.sealer)
        return writer

    def _flush(self, number: int) -> None:
        letters = self._letters.pop(number, [])
        if letters:
            segments = self._segments.setdefault(number, [])
            path = Path(self._bench.job.staging) / f"{number:05d}-{self._name}-{len(segments)}.letters"
            segments.append(write_segment(path, letters))

    def finish(self) -> Iterator[Receipt]:
        """One receipt for each item that had dead."""
        for number, lines in sorted(self._journals.items()):
            self._flush(number)
            path = lines.write(Path(self._bench.job.staging) / f"{number:05d}-{self._name}.dead")
            rows = self._rows[number].close() if number in self._rows else ""
            yield Receipt(number, -1, path, (), rows, tuple(self._segments.get(number, ())))


def item_name(task: Task) -> str:
    """An item's name in part files: place in the batch, content, offset; the same in every attempt."""
    return f"{task.number:05d}-{task.item.digest[:12]}"


def envelope_key(task: Task, offset: int, system: str) -> str:
    """What makes an envelope known: from whom, content of its file, place in it."""
    item = task.item
    return f"{item.system or system}|{item.company}|{item.digest}|{offset}"


def remark(company: str, code: str, findings: list[list[str]]) -> bytes:
    """What a receipt says of one envelope, before the coordinator adds what it knows."""
    return orjson.dumps([company, code, findings], default=str)


