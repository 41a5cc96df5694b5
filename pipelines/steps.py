"""The life of a record as functions over loads: receive, decode, judge, address, encode, deliver.

Each takes a workbench and a load and gives the load on, and the dead of its stage. Beam only wires them
(`pipelines.flow`), so that they can be tested in microseconds and without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.contracts import Block, WorkItem
from dlq import reasons
from dlq.reasons import Reason
from mappings.encoding import company_bytes, content_bytes, provenance_bytes
from mappings.encoding_interchange import encode_interchange
from mappings.findings import FLAG
from mappings.judging import STEP, TOKEN, Draft, Judgement
from mappings.reading import judge as judge_draft
from mappings.reading import read
from mappings.records import Operator, RepairRow, VehicleRegistration
from pipelines import journal
from pipelines.segments import read_rows
from pipelines.work import Addressed, Dead, Encoded, Judged, Load, Task
from pipelines.workbench import Workbench

__all__ = ["address", "decode", "encode", "judge", "receive"]

SEALED = "sealed"
"""Member of a work item's `extra`: path of a sealed segment that holds its envelopes."""
REGISTRATIONS, OPERATORS = "registrations", "operators"
"""Destinations of reference records: the registers of the state itself."""


def receive(bench: Workbench, task: Task) -> Iterator[tuple[Load, Dead | None]]:
    """The envelopes of an item, block by block; the last load says how many there were.

    What could not even be read as one payload is dead. A source that changed under our hands stops the work: Unreadable.
    """
    item, count = task.item, 0
    for block in _blocks(bench, item):
        ordinals = list(range(count, count + len(block.bodies)))
        count += len(block.bodies)
        dead = None
        if block.problems:
            numbers = list(range(count, count + len(block.problems)))
            count += len(block.problems)
            dead = Dead(
                task,
                "receive",
                numbers,
                [offset for offset, _, _ in block.problems],
                [body for _, body, _ in block.problems],
                [(reasons.from_text(why),) for _, _, why in block.problems],
                [None] * len(numbers),
            )
        yield Load(task, ordinals, block.offsets, block.bodies, []), dead
    yield Load(task, [], [], [], [], total=count), None


def _blocks(bench: Workbench, item: WorkItem) -> Iterator[Block]:
    """Blocks of the source; or of a sealed segment, for letters that are replayed and orders that were assembled."""
    if SEALED not in item.extra:
        yield from bench.source.read(item, bench.exchange.batch.block)
        return
    rows = list(read_rows(item.extra[SEALED], bench.sealer))
    size = bench.exchange.batch.block
    for at in range(0, len(rows), size):
        chosen = rows[at : at + size]
        yield Block(item, [row.body for row in chosen], [row.ordinal for row in chosen], [])


def _split(load: Load, stage: str, values: list[Any], died: dict[int, tuple[tuple[Reason, ...], Judgement | None]]) -> tuple[Load, Dead | None]:
    """The load without those that died, and the dead; `died` goes by position."""
    if not died:
        return load._replace(values=values), None
    alive = [i for i in range(len(load.ordinals)) if i not in died]
    gone = list(died)
    kept = Load(
        load.task,
        [load.ordinals[i] for i in alive],
        [load.offsets[i] for i in alive],
        [load.bodies[i] for i in alive],
        [values[i] for i in alive],
        load.total,
    )
    dead = Dead(
        load.task,
        stage,
        [load.ordinals[i] for i in gone],
        [load.offsets[i] for i in gone],
        [load.bodies[i] for i in gone],
        [died[i][0] for i in gone],
        [died[i][1] for i in gone],
    )
    return kept, dead


def decode(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Payload bytes -> raw members (quick path) or a draft (careful path)."""
    quick, dialect, limits = bench.quick_read, dialect_of(bench, load.task.item), bench.limits
    values: list[Any] = [quick(body) for body in load.bodies] if quick else [None] * len(load.bodies)
    died: dict[int, tuple[tuple[Reason, ...], Judgement | None]] = {}
    for i, value in enumerate(values):
        if value is None:
            draft = values[i] = read(load.bodies[i], dialect, limits)
            if not draft.kind:
                died[i] = (_why(bench, draft, load.task.item), None)
            elif draft.kind == TOKEN or (draft.kind == "registration" and draft.kind not in bench.exchange.mapping.kinds):
                died[i] = ((reasons.reason("CREDENTIALS_IN_FILE"),), None)
    return _split(load, "decode", values, died)


def dialect_of(bench: Workbench, item: WorkItem) -> str:
    """The dialect that an item is read in."""
    return str(item.extra.get("dialect") or bench.exchange.mapping.dialect)


def _why(bench: Workbench, draft: Draft, item: WorkItem) -> tuple[Reason, ...]:
    judged = judge_draft(draft, bench.context_for(item.company))
    return reasons.from_findings(judged.findings)


def judge(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Raw members or drafts -> judged records; all findings of a payload at once."""
    item = load.task.item
    values: list[Any] = list(load.values)
    places = [i for i, value in enumerate(values) if type(value) is tuple]
    rows = bench.quick_judge([values[i] for i in places], item.company, bench.latest) if places else []
    for i, row in zip(places, rows, strict=True):
        values[i] = row
    died: dict[int, tuple[tuple[Reason, ...], Judgement | None]] = {}
    context = bench.context_for(item.company)
    kinds = bench.exchange.mapping.kinds
    for i, value in enumerate(values):
        if type(value) is RepairRow:
            if item.company and value.companycode != item.company:
                died[i] = ((_foreign(value.companycode, item.company),), None)
            else:
                values[i] = Judged(value, (), None)
            continue
        draft = value if value is not None else read(load.bodies[i], dialect_of(bench, item), bench.limits)
        judgement = judge_draft(draft, context)
        wrong = reasons.from_findings(judgement.findings)
        if not wrong and judgement.kind != STEP and judgement.kind not in kinds:
            wrong = (reasons.reason("KIND_NOT_TAKEN", value=judgement.kind, expected=", ".join(kinds)),)
        row = judgement.record if isinstance(judgement.record, RepairRow) else None
        if not wrong and row is not None and item.company and row.companycode != item.company:
            wrong = (_foreign(row.companycode, item.company),)
        if wrong:
            died[i] = (wrong, judgement)
        else:
            flags = tuple(dict.fromkeys(f.code for f in judgement.findings if f.severity == FLAG))
            values[i] = Judged(row, flags, judgement)
    return _split(load, "judge", values, died)


def _foreign(said: str, authenticated: str) -> Reason:
    return reasons.reason("COMPANY_CODE_MISMATCH", field="companycode", value=said, expected=authenticated)


def address(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Judged records -> destinations, or why there is none now; directives of a second run are obeyed here."""
    directives = bench.directives.get(load.task.number, {})
    system_of_item = load.task.item.system or bench.exchange.versions.system
    origin = bench.exchange.versions.repaircomefrom
    route = bench.router.route_row
    values: list[Any] = []
    died: dict[int, tuple[tuple[Reason, ...], Judgement | None]] = {}
    for i, judged in enumerate(load.values):
        row, _, judgement = judged
        if row is None:
            values.append(_addressed_other(judged, judgement))
            continue
        system, comefrom = system_of_item, origin
        if judgement is not None and judgement.provenance:
            system = judgement.provenance.get("system", system)
            comefrom = judgement.provenance.get("repaircomefrom", comefrom)
        found = route(row.plate, row.vin, row.companycode, row.settledate, system, comefrom)
        if found.hole is not None:
            died[i] = ((reasons.from_error(found.hole),), judgement)
            values.append(None)
        elif found.routes:
            destinations = tuple([r.destination for r in found.routes])
            directive = directives.get(load.ordinals[i])
            if directive is None:
                values.append(Addressed(judged, destinations, journal.ADDRESSED))
            else:
                values.append(
                    Addressed(
                        judged,
                        tuple(dict.fromkeys((*destinations, *directive.destinations))),
                        directive.fate,
                        "",
                        directive.version,
                    )
                )
        elif found.filtered:
            values.append(Addressed(judged, (), journal.FILTERED, found.filtered))
        else:
            values.append(Addressed(judged, (), journal.UNPLACED, found.waiting or "home unknown"))
    return _split(load, "address", values, died)


def _addressed_other(judged: Judged, judgement: Judgement | None) -> Addressed:
    """Pieces of records wait as fragments; reference records go to the state's registers."""
    record = judgement.record if judgement else None
    if isinstance(record, VehicleRegistration):
        return Addressed(judged, (REGISTRATIONS,), journal.ADDRESSED)
    if isinstance(record, Operator):
        return Addressed(judged, (OPERATORS,), journal.ADDRESSED)
    return Addressed(judged, (), journal.FRAGMENT)


class Encoder:
    """Encodes the records of one item: whole Avro or JSON records for parts, canonical JSON for rows."""

    def __init__(self, bench: Workbench, task: Task) -> None:
        self._received = bench.received_at
        self._system = task.item.system or bench.exchange.versions.system
        self._comefrom = bench.exchange.versions.repaircomefrom
        self._dialect = bench.exchange.mapping.dialect
        self._companies: dict[str, bytes] = {}
        self._tails: dict[tuple[str, int, tuple[str, ...]], bytes] = {}

    def avro(self, addressed: Addressed, content: bytes) -> bytes:
        """One Avro-encoded record."""
        judged = addressed.judged
        row = judged.row
        assert row is not None  # noqa: S101 - only repair records go to part sinks
        head = self._companies.get(row.companycode)
        if head is None:
            head = self._companies[row.companycode] = company_bytes(row.companycode)
        dialect = judged.judgement.dialect if judged.judgement else self._dialect
        name = (dialect, addressed.version, judged.flags)
        tail = self._tails.get(name)
        if tail is None:
            tail = self._tails[name] = provenance_bytes(
                self._system, addressed.version, self._comefrom, dialect, self._received, judged.flags
            )
        return head + content + tail

    def canonical(self, addressed: Addressed, _: bytes) -> bytes:
        """One canonical JSON record, as rows are staged, kept and encoded again from."""
        judged = addressed.judged
        record = judged.judgement.record if judged.judgement else None
        if judged.row is None:
            return record.model_dump_json().encode() if isinstance(record, VehicleRegistration | Operator) else b""
        return encode_interchange(judged.row, self.provenance(addressed), "report")

    def provenance(self, addressed: Addressed) -> dict[str, Any]:
        """What a record carries beside its content."""
        judged = addressed.judged
        own = {
            "system": self._system,
            "version": addressed.version,
            "repaircomefrom": self._comefrom,
            "dialect": judged.judgement.dialect if judged.judgement else self._dialect,
            "received_at": self._received,
            "findings": judged.flags,
        }
        if judged.judgement is not None and judged.judgement.provenance:
            carried = dict(judged.judgement.provenance)
            flags = tuple(dict.fromkeys((*carried.get("findings", ()), *judged.flags)))
            own = {**own, **carried, "findings": flags}
        return own


def encode(bench: Workbench, encoder: Encoder, load: Load) -> Load:
    """Addressed records -> bytes to stage: content, then a whole record for part sinks or canonical JSON for row sinks."""
    encoded: list[Encoded] = []
    add = encoded.append
    stage = encoder.avro if bench.in_parts else encoder.canonical
    for addressed in load.values:
        row = addressed.judged.row
        content = content_bytes(row[1:]) if row is not None else b""
        add(Encoded(addressed, content, stage(addressed, content)))
    return load._replace(values=encoded)
