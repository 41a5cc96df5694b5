"""The life of a record as functions over loads: receive, decode, judge, address, encode.

Each takes a workbench and a load and gives the load on, and the dead of its stage. Beam only wires them
(`pipelines.flow`), so that they can be tested in microseconds and without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from connectors.contracts import Block, WorkItem
from connectors.lines import measure
from dlq import reasons
from mappings import dates
from mappings.encoding import company_bytes, contents_of, provenance_bytes
from mappings.encoding_interchange import encode_interchange
from mappings.findings import FLAG, REJECT, Finding
from mappings.judging import REGISTRATION, REPAIR, STEP, TOKEN, Draft, Judgement
from mappings.reading import AUTO, read
from mappings.reading import judge as judge_draft
from mappings.records import Operator, RepairRow, VehicleRegistration
from pipelines import carried, journal
from pipelines.segments import ENVELOPE, read_rows, unpack_envelope
from pipelines.work import About, Dead, Load, Task, Why
from pipelines.workbench import QUICK_DIALECT, Workbench
from routing.steps import Routing

if TYPE_CHECKING:
    from mappings.sheet import Sheet  # it takes pyarrow along, which only bulk work needs

SEALED, TOO_OLD, FAILING = "sealed", "too-old", "failing"
"""Members of a work item's `extra`: path of a sealed segment that holds its envelopes; that they are pieces too old;
that the steps break on them."""
REGISTRATIONS, OPERATORS = "registrations", "operators"
"""Destinations of reference records: the registers of the state itself."""

_Died = dict[int, tuple[tuple[Why, ...], Judgement | None]]
_UNKNOWN = About()


def receive(bench: Workbench, task: Task) -> Iterator[tuple[Load, Dead | None]]:
    """The envelopes of an item, block by block; the last load says how many there were.

    What could not even be read as one payload is dead. A source that changed under our hands stops the work:
    Unreadable.
    """
    count = 0
    for block, companies in _blocks(bench, task.item):
        ordinals = list(range(count, count + len(block.bodies)))
        count += len(block.bodies)
        dead = None
        if block.problems:
            numbers = list(range(count, count + len(block.problems)))
            count += len(block.problems)
            offsets, bodies, whys = zip(*block.problems, strict=True)
            words, measured = zip(*map(measure, whys), strict=True)
            died: list[tuple[Why, ...]] = [(_said(why),) for why in words]
            about = [About(measured=one) if one else _UNKNOWN for one in measured]
            dead = Dead(task, "receive", numbers, list(offsets), list(bodies), died, about)
        yield Load(task, ordinals, block.offsets, block.bodies, companies=companies), dead
    yield Load(task, [], [], [], total=count), None


def _blocks(bench: Workbench, item: WorkItem) -> Iterator[tuple[Block, list[str]]]:
    """Blocks of the source, and from whom each envelope is where the item does not say.

    Or of a sealed segment: letters that are replayed, orders that were assembled, envelopes of the inbox.
    """
    size = bench.block
    if SEALED not in item.extra:
        for block in bench.source.read(item, size):
            yield block, []
        return
    rows = list(read_rows(item.extra[SEALED], bench.sealer))
    for at in range(0, len(rows), size):
        chosen = rows[at : at + size]
        if chosen[0].kind == ENVELOPE:
            places, companies, bodies = zip(*[unpack_envelope(row.body) for row in chosen], strict=True)
            yield Block(item, list(bodies), list(places), []), list(companies)
        else:
            yield Block(item, [row.body for row in chosen], [row.ordinal for row in chosen], []), []


def company_of(load: Load, i: int) -> str:
    """The company that an envelope was authenticated for; empty where only the payload says."""
    return load.companies[i] if load.companies else load.task.item.company


def decode(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Payload bytes -> raw members (quick path) or a draft (careful path)."""
    item = load.task.item
    if item.extra.get(TOO_OLD):
        gone: _Died = {i: ((_why("FRAGMENT_TOO_OLD"),), None) for i in range(len(load.bodies))}
        return _split(bench, load, "assemble", [], {}, gone)
    if item.extra.get(FAILING):
        broken: _Died = {i: ((_why("STEPS_FAILED"),), None) for i in range(len(load.bodies))}
        return _split(bench, load, "decode", [], {}, broken)
    by_columns = bench.sheet_read and load.bodies and bench.is_quick(dialect_of(bench, item))
    sheet = bench.sheet_read(load.bodies) if by_columns else None
    if sheet is None:
        values, died = _taken_apart(bench, load, range(len(load.bodies)))
        return _split(bench, load, "decode", [values[i] for i in range(len(load.bodies))], {}, died)
    odd, died = _taken_apart(bench, load, sheet.odd)
    return _split(bench, load, "decode", sheet.with_odd(odd), {}, died)


def _taken_apart(bench: Workbench, load: Load, places: Iterable[int]) -> tuple[dict[int, Any], _Died]:
    """Raw members or drafts of the payloads at these positions, and which of them cannot be passed on to judge."""
    dialect, limits, chosen = dialect_of(bench, load.task.item), bench.limits, list(places)
    quick = bench.quick_read if bench.is_quick(dialect) else None
    raws = quick([load.bodies[i] for i in chosen]) if quick and chosen else [None] * len(chosen)
    values: dict[int, Any] = dict(zip(chosen, raws, strict=True))
    died: _Died = {}
    for i, value in values.items():
        if value is None:
            draft = values[i] = read(load.bodies[i], dialect, limits)
            why = _undecoded(bench, draft, company_of(load, i))
            if why:
                died[i] = why, None
    return values, died


def dialect_of(bench: Workbench, item: WorkItem) -> str:
    """The dialect that an item is read in."""
    return str(item.extra.get("dialect") or bench.exchange.mapping.dialect)


def _why(code: str, field: str = "", value: str = "", expected: str = "") -> Why:
    return code, field, value, expected


def _said(words: str) -> Why:
    """The reason that a connector gave in words."""
    found = reasons.from_text(words)
    return found.code, found.field, found.value, found.expected


def _rejecting(findings: Sequence[Finding]) -> tuple[Why, ...]:
    return tuple([(f.code, f.field, f.value, f.expected) for f in findings if f.severity == REJECT])


def _undecoded(bench: Workbench, draft: Draft, company: str) -> tuple[Why, ...]:
    """Why a payload cannot be passed on to judge; nothing when it can."""
    if not draft.kind:
        return _rejecting(judge_draft(draft, bench.context_for(company)).findings)
    if draft.kind == TOKEN or (draft.kind == REGISTRATION and draft.kind not in bench.exchange.mapping.kinds):
        return (_why("CREDENTIALS_IN_FILE"),)
    return ()


def judge(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Raw members or drafts -> rows; all findings of a payload at once."""
    values: Any = load.values
    if isinstance(values, list):
        found = _rows(bench, load, dict(enumerate(values)))
        rows: Any = [found.rows[i] for i in range(len(values))]
        companies = [row and row[0] for row in rows]
    else:
        clean, doubtful = bench.sheet_judge(values, load.companies or load.task.item.company, bench.latest)
        found = _rows(bench, load, _sent(bench, load, doubtful))
        rows = clean.with_odd(found.rows)
        companies = rows.column("companycode") if load.companies or load.task.item.company else []
    if load.companies or load.task.item.company:
        for i, code in enumerate(companies):
            company = company_of(load, i)
            if company and code != company:
                _foreign(bench, load, i, found)
    return _split(bench, load, "judge", rows, found.judgements, found.died)


class _Found(NamedTuple):
    """What judging records by themselves found: rows by position, None where there is none; judgements by ordinal."""

    rows: dict[int, Any]
    judgements: dict[int, Judgement]
    died: _Died


def _sent(bench: Workbench, load: Load, chosen: Sequence[int]) -> dict[int, Any]:
    """Raw members or drafts of payloads of a load that was not judged yet, by position."""
    values: Any = load.values
    if isinstance(values, list):
        return {i: values[i] for i in chosen}
    found = {i: values.odd[i] for i in chosen if i in values.odd}
    for i, members in values.members([i for i in chosen if i not in values.odd]).items():
        # A member that is null and one that is not there look alike in a sheet.
        draft = bench.draft_of_members(members)
        found[i] = draft or read(load.bodies[i], dialect_of(bench, load.task.item), bench.limits)
    return {i: found[i] for i in chosen}


def _rows(bench: Workbench, load: Load, values: Mapping[int, Any]) -> _Found:
    """Judge the records at these positions by themselves."""
    found = _Found(dict.fromkeys(values), {}, {})
    places = [i for i, value in values.items() if type(value) is tuple]
    companies = [load.companies[i] for i in places] if load.companies else load.task.item.company
    for i, row in zip(places, _quickly(bench, [values[i] for i in places], companies), strict=True):
        found.rows[i] = row
    for i, row in found.rows.items():
        if row is None:
            judgement = _carefully(bench, values[i], company_of(load, i))
            found.judgements[load.ordinals[i]] = judgement
            why = _rejected(bench, judgement)
            if why:
                found.died[i] = why, judgement
            elif isinstance(judgement.record, RepairRow):
                found.rows[i] = judgement.record
    return found


def _foreign(bench: Workbench, load: Load, i: int, found: _Found) -> None:
    """A record of another company than it came from is dead, beside whatever else is wrong with it."""
    company = company_of(load, i)
    judgement = found.judgements.get(load.ordinals[i])
    if judgement is None:
        judgement = _carefully(bench, _sent(bench, load, [i])[i], company)
    code = judgement.members.get("companycode") if judgement.kind == REPAIR else ""
    if code and code != company:
        foreign = _why("COMPANY_CODE_MISMATCH", "companycode", str(code), company)
        found.died[i] = (*(found.died[i][0] if i in found.died else ()), foreign), judgement


def _quickly(bench: Workbench, raws: Sequence[Any], companies: str | Sequence[str]) -> list[Any]:
    return bench.quick_judge(raws, companies, bench.latest) if raws else []


def _carefully(bench: Workbench, value: Any, company: str) -> Judgement:
    draft = bench.draft_of(value) if type(value) is tuple else value
    return judge_draft(draft, bench.context_for(company))


def _rejected(bench: Workbench, judgement: Judgement) -> tuple[Why, ...]:
    wrong = (*_rejecting(judgement.findings), *carried.problems(judgement.provenance))
    kinds = bench.exchange.mapping.kinds
    if not wrong and judgement.kind != STEP and judgement.kind not in kinds:
        return (_why("KIND_NOT_TAKEN", "", judgement.kind, ", ".join(kinds)),)
    return wrong


def _split(
    bench: Workbench, load: Load, stage: str, values: Any, judgements: dict[int, Judgement], died: _Died
) -> tuple[Load, Dead | None]:
    """The load without those that died, and the dead; `died` goes by position."""
    gone_ordinals = {load.ordinals[i] for i in died}
    judgements = {o: j for o, j in judgements.items() if o not in gone_ordinals}
    flags: dict[int, tuple[str, ...]] = {}
    for ordinal, judgement in judgements.items():
        found = tuple(dict.fromkeys([f.code for f in judgement.findings if f.severity == FLAG]))
        if found:
            flags[ordinal] = found
    if not died:
        return load._replace(values=values, judgements=judgements, flags=flags), None
    alive = [True] * len(load.ordinals)
    gone = list(died)
    for i in gone:
        alive[i] = False
    kept = load._replace(
        ordinals=list(compress(load.ordinals, alive)),
        offsets=list(compress(load.offsets, alive)),
        bodies=list(compress(load.bodies, alive)),
        values=list(compress(values, alive)) if isinstance(values, list) else values.taken(alive),
        companies=list(compress(load.companies, alive)),
        judgements=judgements,
        flags=flags,
    )
    dead = Dead(
        load.task,
        stage,
        [load.ordinals[i] for i in gone],
        [load.offsets[i] for i in gone],
        [load.bodies[i] for i in gone],
        [died[i][0] for i in gone],
        [_about(bench, died[i][1]) for i in gone],
        [load.companies[i] for i in gone] if load.companies else [],
    )
    return kept, dead


def _about(bench: Workbench, judgement: Judgement | None) -> About:
    if judgement is None:
        return _UNKNOWN
    members = judgement.members
    company, code, vin = (str(members.get(name) or "") for name in ("companycode", "costlistcode", "vin"))
    found = tuple(map(tuple, judgement.findings)) if bench.exchange.rules.receipts else ()
    return About(judgement.dialect, company, code, vin, found)


def address(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Rows -> destinations, or why there is none now; directives of a second run are obeyed here."""
    names, judgements, directed = bench.names, load.judgements, load.task.number in bench.directives
    routings = _routings(bench, load)
    destinations = [names[found.routes] if found is not None else () for found in routings]
    if all(destinations) and not directed:
        return load._replace(destinations=destinations), None
    fates: dict[int, int] = {}
    notes: dict[int, str] = {}
    died: _Died = {}
    for i, found in enumerate(routings):
        if destinations[i]:
            continue
        ordinal, judgement = load.ordinals[i], judgements.get(load.ordinals[i])
        if found is None:
            destinations[i] = _register(judgement)
            if not destinations[i]:
                fates[ordinal] = journal.FRAGMENT
        elif found.hole is not None:
            hole = reasons.from_error(found.hole)
            died[i] = (_why(hole.code, hole.field, hole.value, hole.expected),), judgement
        else:
            fates[ordinal] = journal.FILTERED if found.filtered else journal.UNPLACED
            notes[ordinal] = found.filtered or found.waiting
    load = load._replace(destinations=destinations, fates=fates, notes=notes)
    if directed:
        load = _directed(bench, load)
    if not died:
        return load, None
    kept, dead = _split(bench, load, "address", load.values, dict(judgements), died)
    return kept._replace(destinations=[d for i, d in enumerate(load.destinations) if i not in died]), dead


def _routings(bench: Workbench, load: Load) -> list[Routing | None]:
    """Where each record goes; None for what is no repair record."""
    versions = bench.exchange.versions
    values: Any = load.values
    system, comefrom = load.task.item.system or versions.system, versions.repaircomefrom
    if not isinstance(values, list):
        return _routed_by_columns(bench, load, system, comefrom)
    if not load.judgements and values:
        return [*bench.router.block(values, system, comefrom)]
    return [
        _routed(bench, row, load.judgements.get(ordinal), system, comefrom) if row is not None else None
        for ordinal, row in zip(load.ordinals, values, strict=True)
    ]


def _routed_by_columns(bench: Workbench, load: Load, system: str, comefrom: int) -> list[Routing | None]:
    """The routings of a load whose records are a sheet."""
    sheet, router = cast("Sheet", load.values), bench.router
    batch, codes = sheet.batch, list(range(len(sheet.places)))
    if router.by_character and codes:  # plates in a sheet are ordinary ones
        chosen, codes = sheet.by_first("plate")
        batch = batch.take(chosen)
    plates, vins, companies, settled = (
        batch.column(name).to_pylist() for name in ("plate", "vin", "companycode", "settledate")
    )
    days: dict[str, Any] = {sent: dates.day(sent) for sent in {*settled}}
    routed = router.columns(plates, vins, companies, [days[sent] for sent in settled], system, comefrom)
    if not sheet.odd:
        return [routed[code] for code in codes]
    found: list[Routing | None] = [None] * len(sheet)
    for i, code in zip(sheet.places.tolist(), codes, strict=True):
        found[i] = routed[code]
    for i, row in sheet.odd.items():
        if row is not None:
            found[i] = _routed(bench, row, load.judgements.get(load.ordinals[i]), system, comefrom)
    return found


def _routed(bench: Workbench, row: RepairRow, judgement: Judgement | None, system: str, comefrom: int) -> Routing:
    """The routing of one row, by the provenance that it carries itself where it carries any."""
    own = judgement.provenance if judgement is not None else {}
    come = own.get("system", system), own.get("repaircomefrom", comefrom)
    return bench.router.route_row(row.plate, row.vin, row.companycode, row.settledate, *come)


def _register(judgement: Judgement | None) -> tuple[str, ...]:
    """Reference records go to the state's registers; pieces of records nowhere yet."""
    record = judgement.record if judgement else None
    if isinstance(record, VehicleRegistration):
        return (REGISTRATIONS,)
    return (OPERATORS,) if isinstance(record, Operator) else ()


def _directed(bench: Workbench, load: Load) -> Load:
    """Obey what the coordinator said of records whose keys it knew."""
    told = bench.directives[load.task.number]
    fates, versions, destinations = dict(load.fates), {}, list(load.destinations)
    for i, ordinal in enumerate(load.ordinals):
        directive = told.get(ordinal)
        if directive is not None:
            destinations[i] = directive.destinations
            fates[ordinal], versions[ordinal] = directive.fate, directive.version
    return load._replace(fates=fates, versions=versions, destinations=destinations)


class _Companies(dict[str, bytes]):
    def __missing__(self, code: str) -> bytes:
        encoded = self[code] = company_bytes(code)
        return encoded


class Encoder:
    """Encodes the records of one item: whole Avro records for parts, canonical JSON for rows."""

    def __init__(self, bench: Workbench, task: Task) -> None:
        self._received = bench.received_at
        self._system = task.item.system or bench.exchange.versions.system
        self._comefrom = bench.exchange.versions.repaircomefrom
        named = dialect_of(bench, task.item)
        self._dialect = QUICK_DIALECT if named == AUTO else named  # what has no judgement came by the quick path
        self._companies = _Companies()

    def by_columns(self, load: Load) -> tuple[list[bytes], list[bytes]]:
        """Contents and Avro-encoded records of a load whose records are a sheet."""
        from mappings.sheetencoding import records_of  # imported late: it takes pyarrow along

        tail = provenance_bytes(self._system, 1, self._comefrom, self._dialect, self._received, ())
        contents, staged = records_of(cast("Sheet", load.values), tail)
        place = {ordinal: i for i, ordinal in enumerate(load.ordinals)} if load.judgements or load.versions else {}
        for ordinal in place.keys() & {*load.judgements, *load.versions}:
            i = place[ordinal]
            own = self._tail(self.provenance(load, ordinal, load.judgements.get(ordinal)))
            staged[i] = staged[i][: len(staged[i]) - len(tail)] + own if staged[i] else b""
        return contents, staged

    def avro(self, load: Load, contents: list[bytes]) -> list[bytes]:
        """Avro-encoded records of a load."""
        companies = self._companies
        tail = provenance_bytes(self._system, 1, self._comefrom, self._dialect, self._received, ())
        staged = [companies[row[0]] + content + tail for row, content in zip(load.values, contents, strict=True)]
        if load.judgements or load.versions:
            for i, ordinal in enumerate(load.ordinals):
                judgement = load.judgements.get(ordinal)
                if judgement is not None or ordinal in load.versions:
                    own = self._tail(self.provenance(load, ordinal, judgement))
                    staged[i] = companies[load.values[i][0]] + contents[i] + own
        return staged

    def mixed(self, load: Load, contents: list[bytes]) -> list[bytes]:
        """As `avro`; nothing for what is no repair record."""
        records = [i for i, row in enumerate(load.values) if row is not None]
        ordinals, rows = [load.ordinals[i] for i in records], [load.values[i] for i in records]
        encoded = self.avro(load._replace(ordinals=ordinals, values=rows), [contents[i] for i in records])
        staged = [b""] * len(load.values)
        for i, record in zip(records, encoded, strict=True):
            staged[i] = record
        return staged

    def _tail(self, own: Mapping[str, Any]) -> bytes:
        received = own["received_at"]
        return provenance_bytes(
            own["system"],
            int(own["version"]),
            int(own["repaircomefrom"]),
            own["dialect"],
            received if isinstance(received, datetime) else datetime.fromisoformat(received),
            own["findings"],
        )

    def canonical(self, load: Load) -> list[bytes]:
        """Canonical JSON of the records of a load, as rows are staged, kept and encoded again from."""
        staged: list[bytes] = []
        for ordinal, row in zip(load.ordinals, load.values, strict=True):
            judgement = load.judgements.get(ordinal)
            if row is not None:
                staged.append(encode_interchange(row, self.provenance(load, ordinal, judgement), "report"))
            elif judgement is not None and isinstance(judgement.record, VehicleRegistration | Operator):
                staged.append(judgement.record.model_dump_json().encode())
            else:
                staged.append(b"")
        return staged

    def provenance(self, load: Load, ordinal: int, judgement: Judgement | None) -> dict[str, Any]:
        """What a record carries beside its content."""
        flags = load.flags.get(ordinal, ())
        own: dict[str, Any] = {
            "system": self._system,
            "version": load.versions.get(ordinal, 1),
            "repaircomefrom": self._comefrom,
            "dialect": judgement.dialect if judgement else self._dialect,
            "received_at": self._received,
            "findings": flags,
        }
        if judgement is not None and judgement.provenance:
            brought = judgement.provenance
            own = {**own, **brought, "findings": tuple(dict.fromkeys((*brought.get("findings", ()), *flags)))}
            if ordinal in load.versions:
                own["version"] = load.versions[ordinal]
        return own


def encode(bench: Workbench, encoder: Encoder, load: Load) -> Load:
    """Rows -> bytes to stage: content, then a whole record for Avro files, canonical JSON for everything else."""
    if not isinstance(load.values, list):
        contents, staged = encoder.by_columns(load)
    elif not bench.in_avro:
        contents, staged = contents_of(load.values), encoder.canonical(load)
    else:
        contents = contents_of(load.values)
        staged = encoder.mixed(load, contents) if None in load.values else encoder.avro(load, contents)
    return load._replace(contents=contents, staged=staged)
