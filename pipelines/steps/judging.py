"""The decode and judge steps: bytes to raw members or drafts, and those to rows, by columns where that can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mappings.documents import Document
from mappings.documents.quickinterchange import Written
from mappings.findings import REJECT, Finding
from mappings.judging import REGISTRATION, REPAIR, STEP, TOKEN, WITHDRAWAL, Draft, Judgement, taken_as
from mappings.quickinterchange import Carried
from mappings.quickinterchange import judgement as quick_judgement
from mappings.reading import judge as judge_draft
from mappings.reading import read
from mappings.records import RepairRow
from pipelines import carried
from pipelines.steps.common import Died, company_of, dialect_of, reason, split
from pipelines.work import Dead, Load, Why
from pipelines.workbench import Workbench

TOO_OLD, FAILING = "too-old", "failing"
"""Members of a work item's `extra`: that its envelopes are pieces too old; that the steps break on them."""

_QUICKLY = (tuple, Carried)
"""What quick readers give."""


def decode(bench: Workbench, load: Load) -> tuple[Load, Dead | None]:
    """Payload bytes -> raw members (quick path) or a draft (careful path)."""
    item = load.task.item
    if item.extra.get(TOO_OLD):
        gone: Died = {i: ((reason("FRAGMENT_TOO_OLD"),), None) for i in range(len(load.bodies))}
        return split(bench, load, "assemble", [], {}, gone)
    if item.extra.get(FAILING):
        broken: Died = {i: ((reason("STEPS_FAILED"),), None) for i in range(len(load.bodies))}
        return split(bench, load, "decode", [], {}, broken)
    by_columns = bench.sheet_read and load.bodies and bench.is_quick(dialect_of(bench, item))
    sheet = bench.sheet_read(load.bodies) if by_columns else None
    if sheet is None:
        values, died = _taken_apart(bench, load, range(len(load.bodies)))
        return split(bench, load, "decode", [values[i] for i in range(len(load.bodies))], {}, died)
    odd, died = _taken_apart(bench, load, sheet.odd)
    return split(bench, load, "decode", sheet.with_odd(odd), {}, died)


def _taken_apart(bench: Workbench, load: Load, places: Iterable[int]) -> tuple[dict[int, Any], Died]:
    """Raw members or drafts of the payloads at these positions, and which of them cannot be passed on to judge."""
    dialect, limits, chosen = dialect_of(bench, load.task.item), bench.limits, list(places)
    quick = bench.quick_read if bench.is_quick(dialect) else None
    raws = quick([load.bodies[i] for i in chosen]) if quick and chosen else [None] * len(chosen)
    values: dict[int, Any] = dict(zip(chosen, raws, strict=True))
    died: Died = {}
    for i, value in values.items():
        if value is None:
            draft = values[i] = read(load.bodies[i], dialect, limits)
            why = _undecoded(bench, draft, company_of(load, i))
            if why:
                died[i] = why, None
    return values, died


def _rejecting(findings: Sequence[Finding]) -> tuple[Why, ...]:
    return tuple([(f.code, f.field, f.value, f.expected) for f in findings if f.severity == REJECT])


def _undecoded(bench: Workbench, draft: Draft, company: str) -> tuple[Why, ...]:
    """Why a payload cannot be passed on to judge; nothing when it can."""
    if not draft.kind:
        return _rejecting(judge_draft(draft, bench.context_for(company)).findings)
    if draft.kind == TOKEN or (draft.kind == REGISTRATION and draft.kind not in bench.exchange.mapping.kinds):
        return (reason("CREDENTIALS_IN_FILE"),)
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
    if bench.exchange.mapping.company == "source":
        for i in range(len(load.ordinals)):
            if not company_of(load, i):
                _unnamed(bench, load, i, found)
    return split(bench, load, "judge", rows, found.judgements, found.died)


class _Found(NamedTuple):
    """What judging records by themselves found: rows by position, None where there is none; judgements by ordinal."""

    rows: dict[int, Any]
    judgements: dict[int, Judgement]
    died: Died


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
    places = [i for i, value in values.items() if type(value) in _QUICKLY]
    companies = [load.companies[i] for i in places] if load.companies else load.task.item.company
    raws = [value.raw if type(value) is Carried else value for value in map(values.__getitem__, places)]
    for i, row in zip(places, _quickly(bench, raws, companies), strict=True):
        found.rows[i] = row
    for i, row in found.rows.items():
        if row is None or type(values[i]) is Carried:
            judgement = _judged(bench, load, i, values[i], row)
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
    judgement = _judgement(bench, load, i, found)
    code = judgement.members.get("companycode") if judgement.kind in (REPAIR, WITHDRAWAL) else ""
    if isinstance(judgement.record, Document):
        code = judgement.record.identity.issuer
    if code and code != company:
        foreign = reason("COMPANY_CODE_MISMATCH", "companycode", str(code), company)
        found.died[i] = (*(found.died[i][0] if i in found.died else ()), foreign), judgement


def _unnamed(bench: Workbench, load: Load, i: int, found: _Found) -> None:
    """A record without a sender is dead where the source has to name it: by its own word it could be anybody's."""
    judgement = _judgement(bench, load, i, found)
    if judgement.kind in (REPAIR, WITHDRAWAL, STEP) or isinstance(judgement.record, Document):
        unnamed = reason("COMPANY_NOT_NAMED", "companycode", str(judgement.members.get("companycode") or ""))
        found.died[i] = (*(found.died[i][0] if i in found.died else ()), unnamed), judgement


def _judgement(bench: Workbench, load: Load, i: int, found: _Found) -> Judgement:
    """The judgement of a payload, made now where it was judged quickly."""
    judgement = found.judgements.get(load.ordinals[i])
    return judgement if judgement is not None else _judged(bench, load, i, _sent(bench, load, [i])[i], None)


def _quickly(bench: Workbench, raws: Sequence[Any], companies: str | Sequence[str]) -> list[Any]:
    return bench.quick_judge(raws, companies, bench.latest) if raws else []


def _judged(bench: Workbench, load: Load, i: int, value: Any, row: RepairRow | None) -> Judgement:
    """The judgement of raw members or a draft, with the row where the quick path gave one."""
    if type(value) is Written:
        return value.judgement()
    if type(value) is Carried:
        dialect = dialect_of(bench, load.task.item)
        if row is not None:
            return quick_judgement(dialect, row, value.provenance)
        value = read(load.bodies[i], dialect, bench.limits)
    draft = bench.draft_of(value) if type(value) is tuple else value
    return judge_draft(draft, bench.context_for(company_of(load, i)))


def _rejected(bench: Workbench, judgement: Judgement) -> tuple[Why, ...]:
    wrong = (*_rejecting(judgement.findings), *carried.problems(judgement.provenance))
    kinds = bench.exchange.mapping.kinds
    if not wrong and judgement.kind != STEP and taken_as(judgement) not in kinds:
        return (reason("KIND_NOT_TAKEN", "", judgement.kind, ", ".join(kinds)),)
    return wrong
