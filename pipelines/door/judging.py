"""Payloads judged as they arrive, by the very functions and settings that the exchange's batches use.

What is plainly clean takes the quick path (national shape); everything else is found out carefully. What this refuses,
the batch refuses too, so that a kept refusal becomes a letter with the same reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import orjson

from mappings import dates, quick, quickjudge
from mappings.documents import Document
from mappings.findings import FLAG, REJECT, Finding, Profile, profile
from mappings.judging import REGISTRATION, REPAIR, STEP, TOKEN, WITHDRAWAL, Context, Draft, Judgement, taken_as
from mappings.reading import Limits, read, read_step
from mappings.reading import judge as judge_draft
from mappings.records import Operator, RepairRow, Withdrawal
from pipelines.settings import Exchange

QUICK = "national"
"""The dialect that has a quick path."""
_FAMILY = ("national", "root", "chengdu", "foshan")
_CLEAN = '{"verdict":"accept","findings":[]}'


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one payload."""

    refused: tuple[Finding, ...] = ()
    """Why it is refused, all at once; empty: accepted."""
    found: tuple[Finding, ...] = ()
    """Every finding, also those that do not refuse it."""
    vin: str = ""
    dialect: str = QUICK
    """The dialect that it was read in."""
    told: str = _CLEAN
    """JSON of what is said of it, kept in the inbox."""
    keep: bool = True
    """Whether its bytes may be kept: not those of calls with credentials, which are always refused."""
    operator: Operator | None = None
    """What an accepted registration says."""
    row: RepairRow | None = None
    """The record, where it was carefully judged and accepted."""
    withdrawal: Withdrawal | None = None
    """The withdrawal, where it was accepted."""
    document: Document | None = None
    """The document, where it was accepted."""
    members: Mapping[str, Any] = field(default_factory=dict)
    """What a carefully judged payload says, as far as it could be read."""

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What a refused payload is answered with: why, then what else would be flagged, to be mended at once."""
        if not self.refused:
            return ()
        return (*self.refused, *(finding for finding in self.found if finding.severity == FLAG))


class Judge:
    """Judges payloads for one exchange. Pure but for what it memorises; safe in several threads."""

    def __init__(self, exchange: Exchange) -> None:
        bounds = exchange.limits
        self.limits = Limits(bounds.payload_bytes, bounds.depth, bounds.rows, bounds.members)
        self._kinds = exchange.mapping.kinds
        self._profile: Profile = profile(exchange.mapping.profile)
        self._read = quick.compile_reader(quick.NATIONAL, self.limits)
        self._judge = quickjudge.compile_judge(self._profile, remarks=True)
        self._latest: tuple[date, date] = date.min, date.min

    def quickly(self, payload: bytes, dialect: str, company: str, now: datetime) -> Verdict | None:
        """The verdict on a record with nothing to remark; None: `carefully` must say."""
        if dialect != QUICK or REPAIR not in self._kinds:
            return None
        raw = self._read(payload)
        if raw is None:
            return None
        row = self._judge([raw], company, self._last_day(now))[0]
        return Verdict(vin=row.vin) if row is not None and row.companycode == company else None

    def carefully(self, payload: bytes, dialect: str, company: str, now: datetime, step: str = "") -> Verdict:
        """The verdict on a record, or on a piece of one whose step is known.

        Clients of one dialect are pointed at the address of another: what the national interface's relatives can read
        is taken. Never what systems exchange, which says of itself where it comes from.
        """
        draft = read_step(payload, step, self.limits) if step else self._draft(payload, dialect)
        judgement = judge_draft(draft, Context(self._profile, now, company, company_required=True))
        refused = [finding for finding in judgement.findings if finding.severity == REJECT]
        refused += self._not_taken(draft, judgement, company, bool(refused))
        found = list(judgement.findings) + [finding for finding in refused if finding not in judgement.findings]
        return Verdict(
            tuple(refused),
            tuple(found),
            str(judgement.members.get("vin") or ""),
            step_dialect(judgement.dialect or dialect, step),
            told(found),
            not _about_credentials(draft, payload),
            row=judgement.record if isinstance(judgement.record, RepairRow) else None,
            withdrawal=judgement.record if isinstance(judgement.record, Withdrawal) else None,
            document=judgement.record if isinstance(judgement.record, Document) and not refused else None,
            members=judgement.members,
        )

    def registration(self, payload: bytes, dialect: str, now: datetime) -> Verdict:
        """The verdict on the registration of a shop. It holds a password: nothing of it is kept."""
        draft = read(payload, dialect, self.limits)
        if draft.kind not in (REGISTRATION, ""):
            draft = replace(draft, kind=REGISTRATION)
        judgement = judge_draft(draft, Context(self._profile, now))
        refused = tuple(finding for finding in judgement.findings if finding.severity == REJECT)
        operator = judgement.record if isinstance(judgement.record, Operator) else None
        return Verdict(refused, tuple(judgement.findings), keep=False, operator=operator)

    def _draft(self, payload: bytes, dialect: str) -> Draft:
        draft = read(payload, dialect, self.limits)
        for other in _FAMILY if dialect in _FAMILY and _unknown(draft) else ():
            if other != dialect and not _unknown(found := read(payload, other, self.limits)):
                return found
        return draft

    def _not_taken(self, draft: Draft, judgement: Judgement, company: str, refused: bool) -> list[Finding]:
        """What the steps add to the findings: another company's record, a kind that this exchange does not take."""
        found: list[Finding] = []
        named = judgement.kind in (REPAIR, WITHDRAWAL)
        code = str(judgement.members.get("companycode") or "") if named else ""
        if company and code and code != company:
            found.append(Finding("COMPANY_CODE_MISMATCH", REJECT, "companycode", code, company))
        if draft.kind in (TOKEN, REGISTRATION):
            found.append(Finding("CREDENTIALS_IN_FILE", REJECT, "", "", ""))
        elif draft.kind and not refused and judgement.kind != STEP and taken_as(judgement) not in self._kinds:
            found.append(Finding("KIND_NOT_TAKEN", REJECT, "", judgement.kind, ", ".join(self._kinds)))
        return found

    def _last_day(self, now: datetime) -> date:
        """The latest settle date that is not in the future (rule 13)."""
        today = dates.day_in_shanghai(now)
        if self._latest[0] != today:
            self._latest = today, today + timedelta(days=self._profile.limits["days_ahead"])
        return self._latest[1]


def _unknown(draft: Draft) -> bool:
    return any(note.code == "DIALECT_UNKNOWN" for note in draft.notes)


def _about_credentials(draft: Draft, payload: bytes) -> bool:
    """Whether this is a registration or a token request, or may be one that is too broken to tell.

    A record is none whatever it says: its sealed bytes are kept as of all others, and a password in it shows nowhere.
    """
    return draft.kind in (TOKEN, REGISTRATION) or (not draft.kind and b"companypassword" in payload.lower())


def step_dialect(dialect: str, step: str) -> str:
    """The name by which a piece is read again as the step that it came as (`shanghai:correction`)."""
    return f"{dialect}:{step}" if step else dialect


def told(findings: list[Finding]) -> str:
    """What is said of a payload, as the inbox keeps it: verdict and findings without the values that were seen."""
    verdict = "reject" if any(finding.severity == REJECT for finding in findings) else "accept"
    listed: list[dict[str, Any]] = [
        {"code": finding.code, "severity": finding.severity, "field": finding.field} for finding in findings
    ]
    return orjson.dumps({"verdict": verdict, "findings": listed}).decode()
