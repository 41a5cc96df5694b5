"""What workers leave behind for one item: parts or a segment of rows, letters, a journal; synced, not counted yet."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from connectors.contracts import PartWriter
from dlq import reasons
from dlq.letter import INLINE_BYTES, Letter, Origin, compose
from dlq.segments import Segment, write_segment
from mappings.documents import Document
from mappings.encoding import content_digests, key_digest, key_digests, record_key
from mappings.findings import REJECT
from mappings.judging import Judgement
from pipelines.bodies import by_reference, too_long
from pipelines.errors import SettingsError
from pipelines.journal import ADDRESSED, DEAD, FRAGMENT, LINE, UNPLACED, Interned, Journal, Lines
from pipelines.segments import PIECE, RECORD, REMARKS, WITHDRAWAL, RowWriter, StagedRow, StagedWithdrawal
from pipelines.sources import DERIVED
from pipelines.steps import Encoder, company_of, dialect_of, documents, withdrawals
from pipelines.toldnames import Named, sealed_names
from pipelines.vinhash import vin_hashes
from pipelines.work import Dead, Load, Receipt, Task
from pipelines.workbench import Workbench

_LETTERS_AT_ONCE = 2_000
_NO_KEY = bytes(16)


class JournalWriter:
    """Collects journal lines of one item and writes them as one staged file."""

    def __init__(self) -> None:
        self._routes, self._findings = Interned(), Interned()
        self._pieces: list[Lines] = []
        self._notes: dict[str, str] = {}
        self._names: dict[int, Named] = {}

    def add(self, bench: Workbench, system: str, load: Load) -> None:
        """Lines for the records of a load."""
        rows = load.values
        if not rows:
            return
        lines = np.zeros(len(rows), LINE)
        lines["ordinal"] = load.ordinals
        lines["offset"] = load.offsets
        lines["fate"] = ADDRESSED
        lines["version"] = 1
        lines["routes"] = list(map(self._routes.__getitem__, load.destinations))
        scope = bench.exchange.scope
        companies, codes, vins = _known_by(rows)
        for i, told in withdrawals(load).items():
            companies[i], codes[i] = told.companycode, told.costlistcode
        for i, document in documents(load).items():
            companies[i], codes[i], vins[i] = document.identity.issuer, document.listed, document.identity.vin
        if load.judgements or None in companies:
            systems = [_system(load.judgements.get(o), system) for o in load.ordinals]
            keys = [
                key_digest(scope, s, company, code) if company is not None else _NO_KEY
                for s, company, code in zip(systems, companies, codes, strict=True)
            ]
            vins = [vin or "" for vin in vins]
        else:
            keys = key_digests(scope, system, companies, codes)
        if bench.exchange.source.connector == DERIVED:
            named = zip(load.ordinals, companies, codes, strict=True)
            self._names.update({o: (company, code) for o, company, code in named if company is not None})
        halves = np.frombuffer(b"".join(keys), ">u8").reshape(-1, 2)
        lines["key_hi"], lines["key_lo"] = halves[:, 0], halves[:, 1]
        lines["content"] = np.frombuffer(b"".join(content_digests(load.contents)), ">u8")
        lines["vin"] = vin_hashes(vins)
        self._exceptions(load, lines)
        self._pieces.append(lines)
        self._notes.update({str(ordinal): note for ordinal, note in load.notes.items()})

    def _exceptions(self, load: Load, lines: Lines) -> None:
        """What differs from the rule: fates, versions, flags; carried versions come with the record."""
        carried = {
            o: int(j.provenance["version"]) for o, j in load.judgements.items() if "version" in (j.provenance or {})
        }
        if not (load.fates or load.versions or load.flags or carried):
            return
        place = {ordinal: i for i, ordinal in enumerate(load.ordinals)}
        for column, told in (("fate", load.fates), ("version", {**carried, **load.versions})):
            for ordinal, value in told.items():
                if ordinal in place:
                    lines[column][place[ordinal]] = value
        for ordinal, flags in load.flags.items():
            if ordinal in place:
                lines["findings"][place[ordinal]] = self._findings[flags]

    def add_dead(self, dead: Dead) -> None:
        """Lines for the dead."""
        lines = np.zeros(len(dead.ordinals), LINE)
        lines["ordinal"] = dead.ordinals
        lines["offset"] = dead.offsets
        lines["fate"] = DEAD
        findings = self._findings
        lines["findings"] = [findings[(dead.stage,)] for _ in dead.ordinals]
        self._pieces.append(lines)

    def write(self, bench: Workbench, path: Path) -> str:
        """Write the lines; returns the path. The decision copies them into the state, so they are not synced."""
        lines = np.concatenate(self._pieces) if self._pieces else np.zeros(0, LINE)
        names = [sealed_names(bench.sealer, bench.job.batch, self._names)] if self._names else []
        packed = Journal(lines, self._routes.table, self._findings.table, {}, self._notes, names).pack()
        with path.open("xb") as file:
            file.write(packed)
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
        self._encoder = Encoder(bench, task)

    def add(self, load: Load) -> None:
        """Stage the records of a load."""
        if load.total >= 0:
            self._total = load.total
        if not load.values:
            return
        self._journal.add(self._bench, self._system, load)
        if self._bench.in_parts:
            self._stage_parts(load)
        self._stage_rows(load)

    def _stage_parts(self, load: Load) -> None:
        groups: dict[tuple[str, ...], list[bytes]] = defaultdict(list)
        if load.fates:
            fates = load.fates
            for ordinal, destinations, staged in zip(load.ordinals, load.destinations, load.staged, strict=True):
                if fates.get(ordinal, ADDRESSED) == ADDRESSED:
                    groups[destinations].append(staged)
        else:
            for destinations, staged in zip(load.destinations, load.staged, strict=True):
                groups[destinations].append(staged)
        by_destination: dict[str, list[bytes]] = defaultdict(list)
        for destinations, records in groups.items():
            for destination in destinations:
                by_destination[destination] += records
        for destination, records in by_destination.items():
            writer = self._parts.get(destination)
            if writer is None:
                sink = self._bench.part_sinks.get(self._bench.sink_of(destination))
                if sink is None:
                    message = (
                        f"没有为 {destination} 配置 sink：请在 [sinks] 中加一个 for 与之相符的"
                        f" / no sink serves {destination}: add one to [sinks] whose `for` fits it"
                    )
                    raise SettingsError(message)
                writer = self._parts[destination] = sink.open(destination, self._bench.job.batch, item_name(self._task))
            writer.add(records)

    def _stage_rows(self, load: Load) -> None:
        in_parts, remarks = self._bench.in_parts, bool(self._bench.exchange.rules.receipts)
        if in_parts and not load.fates and not remarks:
            return
        rows: list[StagedRow] = []
        withdrawn = withdrawals(load)
        for i, (ordinal, row, body, staged) in enumerate(
            zip(load.ordinals, load.values, load.bodies, load.staged, strict=True)
        ):
            fate = load.fates.get(ordinal, ADDRESSED)
            judgement = load.judgements.get(ordinal)
            if fate == FRAGMENT and judgement is not None:
                head = orjson.dumps([judgement.order, judgement.step, company_of(load, i)])
                rows.append(StagedRow(ordinal, PIECE, len(head).to_bytes(4, "big") + head + body))
            elif not in_parts:
                rows.append(StagedRow(ordinal, RECORD, staged))
            elif fate == UNPLACED:
                rows.append(StagedRow(ordinal, RECORD, self._encoder.canonical(_only(load, ordinal))[0]))
            if i in withdrawn and judgement is not None:
                named = StagedWithdrawal(*withdrawn[i][:2], company_of(load, i), judgement.dialect, body)
                rows.append(StagedRow(ordinal, WITHDRAWAL, named.pack()))
            if remarks:
                found = [list(f) for f in judgement.findings] if judgement else []
                order = judgement.order if judgement else ""
                company, code = (row[0], row[8]) if row is not None else (company_of(load, i), order)
                if i in withdrawn:
                    company, code, _ = withdrawn[i]
                elif judgement is not None and isinstance(judgement.record, Document):
                    company, code = judgement.record.identity.issuer, judgement.record.listed
                rows.append(StagedRow(ordinal, REMARKS, remark(company, code, found)))
        if rows:
            if self._rows is None:
                self._rows = RowWriter(self._folder / f"{self._name}.rows", self._bench.sealer)
            self._rows.add(rows)

    def finish(self) -> Receipt:
        """Close everything that was staged; the receipt."""
        parts = tuple(writer.close() for _, writer in sorted(self._parts.items()))
        rows = self._rows.close() if self._rows is not None else ""
        path = self._journal.write(self._bench, self._folder / f"{self._name}.journal")
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
        origins: dict[str, Origin] = {}
        self._journals.setdefault(task.number, JournalWriter()).add_dead(dead)
        letters = self._letters.setdefault(task.number, [])
        remarks: list[StagedRow] = []
        senders = dead.companies or repeat(item.company)
        for ordinal, offset, body, whys, about, sender in zip(
            dead.ordinals, dead.offsets, dead.bodies, dead.whys, dead.about, senders, strict=False
        ):
            origin = origins.get(sender) or origins.setdefault(sender, bench.origin(item.source, sender, system))
            company, code = about.companycode or sender, about.costlistcode
            found = tuple([reasons.reason(c, field=f, value=v, expected=e) for c, f, v, e in whys])
            withheld = any(r.code == "CREDENTIALS_IN_FILE" for r in found)
            large = len(body) > INLINE_BYTES or withheld
            ref, measured = (by_reference(item, offset, len(body)) if large else None), None
            if about.measured is not None:
                ref, measured = too_long(item, offset, about.measured)
            letters.append(
                compose(
                    origin,
                    bench.sealer,
                    stage=dead.stage,
                    reasons=found,
                    body=body,
                    source_key=envelope_key(task, offset, bench.exchange.versions.system),
                    offset=offset,
                    dialect=about.dialect or bench.exchange.mapping.dialect,
                    mapping=dialect_of(bench, item),
                    record_key=record_key(system, company, code) if code or about.companycode else "",
                    vin=about.vin,
                    intake=ordinal,  # its batch numbers it when it is decided
                    ref=ref,
                    measured=measured,
                )
            )
            if bench.exchange.rules.receipts:
                findings = [list(f) for f in about.findings]
                if not any(f[1] == REJECT for f in findings):
                    findings += [[r.code, REJECT, r.field, r.value, r.expected, ""] for r in found]
                remarks.append(StagedRow(ordinal, REMARKS, remark(company, code, findings)))
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
            path = lines.write(self._bench, Path(self._bench.job.staging) / f"{number:05d}-{self._name}.dead")
            rows = self._rows[number].close() if number in self._rows else ""
            yield Receipt(number, -1, path, (), rows, tuple(self._segments.get(number, ())))


def _known_by(rows: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Company codes, list codes and VINs of records; None of what is no repair record."""
    if not isinstance(rows, list):
        return rows.column("companycode"), rows.column("costlistcode"), rows.column("vin")
    if None in rows:
        codes, lists, vins = ([row and row[i] for row in rows] for i in (0, 8, 3))
        return codes, lists, vins
    return [row[0] for row in rows], [row[8] for row in rows], [row[3] for row in rows]


def _system(judgement: Judgement | None, system: str) -> str:
    """The collecting system of a record: its own where it carries one."""
    return str(judgement.provenance.get("system", system)) if judgement and judgement.provenance else system


def _only(load: Load, ordinal: int) -> Load:
    """The load of one record."""
    i = load.ordinals.index(ordinal)
    return load._replace(ordinals=[ordinal], values=[load.values[i]])


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
