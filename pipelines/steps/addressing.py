"""The address step: rows to destinations, or why there is none now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dlq import reasons
from mappings import dates
from mappings.documents import Document
from mappings.judging import WITHDRAWAL, Judgement
from mappings.records import Operator, RepairRow, VehicleRegistration
from pipelines import journal
from pipelines.steps.common import Died, reason, split
from pipelines.work import Dead, Load
from pipelines.workbench import Workbench
from routing.steps import Routing

if TYPE_CHECKING:
    from mappings.sheet import Sheet  # it takes pyarrow along, which only bulk work needs

REGISTRATIONS, OPERATORS = "registrations", "operators"
"""Destinations of reference records: the registers of the state itself."""


def address(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Rows -> destinations, or why there is none now; directives of a second run are obeyed here."""
    names, judgements, directed = bench.names, load.judgements, load.task.number in bench.directives
    routings = _routings(bench, load)
    destinations = [names[found.routes] if found is not None else () for found in routings]
    if all(destinations) and not directed:
        return load._replace(destinations=destinations), None
    fates: dict[int, int] = {}
    notes: dict[int, str] = {}
    died: Died = {}
    for i, found in enumerate(routings):
        if destinations[i]:
            continue
        ordinal, judgement = load.ordinals[i], judgements.get(load.ordinals[i])
        if found is None:
            destinations[i] = _register(judgement)
            if judgement is not None and judgement.kind == WITHDRAWAL:
                fates[ordinal], notes[ordinal] = journal.FILTERED, WITHDRAWAL
            elif not destinations[i]:
                fates[ordinal] = journal.FRAGMENT
        elif found.hole is not None:
            hole = reasons.from_error(found.hole)
            died[i] = (reason(hole.code, hole.field, hole.value, hole.expected),), judgement
        else:
            fates[ordinal] = journal.FILTERED if found.filtered else journal.UNPLACED
            notes[ordinal] = found.filtered or found.waiting
    load = load._replace(destinations=destinations, fates=fates, notes=notes)
    if directed:
        load = _directed(bench, load)
    if not died:
        return load, None
    kept, dead = split(bench, load, "address", load.values, dict(judgements), died)
    return kept._replace(destinations=[d for i, d in enumerate(load.destinations) if i not in died]), dead


def _routings(bench: Workbench, load: Load) -> list[Routing | None]:
    """Where each record goes; None for what is no repair record."""
    versions = bench.exchange.versions
    values: Any = load.values
    system, comefrom = load.task.item.system or versions.system, versions.repaircomefrom
    if not isinstance(values, list):
        return _routed_by_columns(bench, load, system, comefrom)
    senders = {_comes(judgement, system, comefrom) for judgement in load.judgements.values()}
    if len(load.judgements) < len(values):
        senders.add((system, comefrom))
    if len(senders) == 1 and values and None not in values:
        return [*bench.router.block(values, *senders.pop())]
    return [
        _routed(bench, row, load.judgements.get(ordinal), system, comefrom)
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


def _routed(
    bench: Workbench, row: RepairRow | None, judgement: Judgement | None, system: str, comefrom: int
) -> Routing | None:
    """The routing of one record, by the provenance that it carries itself where it carries any; None of others."""
    come = _comes(judgement, system, comefrom)
    if row is None:
        record = judgement.record if judgement is not None else None
        return bench.router.route_document(record, come[0]) if isinstance(record, Document) else None
    return bench.router.route_row(row.plate, row.vin, row.companycode, row.settledate, *come)


def _comes(judgement: Judgement | None, system: str, comefrom: int) -> tuple[str, int]:
    """Collecting system and origin of a record: its own where it carries them."""
    own = judgement.provenance if judgement is not None else {}
    return own.get("system", system), own.get("repaircomefrom", comefrom)


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
