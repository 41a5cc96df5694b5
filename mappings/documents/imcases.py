"""Cases of the emission loop: what is still due for a vehicle that failed, and what a person decided about a repair.

`im-case` is derived (`routing.cases.emissions`) and comes in from outside only in our own exchange form. `im-match` is
a person's decision that a repair belongs to a report, in our own form `vingate.im-match/1`:

| member | M/O | meaning |
|---|---|---|
| schema | M | `vingate.im-match/1` |
| office | M | code of the office that decides |
| repair | M | record key of the repair as the case shows it: system, company code, list code, separated by a bar |
| vin | M | the vehicle in whose file the decision stands |
| repairvin | M | the vehicle that the repair names |
| reportvin | O | the vehicle that was tested; absent where the repair belongs to no report |
| reportno | O | the report that it answers; absent where it belongs to none |
| companyuniquecode | M | the M station |
| repairdate, settledate | M | days of the repair |
| decidedby, decidedat, reason | M | who (a number of staff, not a name), when, why |

A decision about a repair that names the wrong vehicle concerns two files: it is sent once for each (`both_sides`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from mappings.documents import Document, Identity
from mappings.documents.kinds import Form, Judged
from mappings.documents.moments import Moment
from mappings.reportnumbers import folded
from mappings.rules import fields
from mappings.rules.case import Case
from mappings.rules.inspection import moment_of
from mappings.rules.messages import Body, Message, Names
from mappings.vin import normalise

State = Literal["failed", "repaired", "failed-again", "closed", "to-match", "no-test"]
"""Where a case stands.

| state | meaning | goes on by |
|---|---|---|
| failed | a test failed, and no repair is known | a repair, a test |
| repaired | an M station repaired it after the last failed test | a test |
| failed-again | the last of several tests failed, and no repair since is known | a repair, a test |
| closed | passed | - |
| to-match | a repair names a report that is none of this vehicle | the report, a correction, a person |
| no-test | an emission repair of a vehicle that no test had failed | a failed test |
"""

FINDINGS: Mapping[str, tuple[str, str]] = {
    "NOT_AN_M_STATION": ("维修单位不是汽车排放性能维护（维修）站", "The repair was not done at an M station"),
    "PASSED_WITHOUT_REPAIR": ("未经维修即复检合格", "The vehicle passed without a repair"),
    "REPAIR_WITHOUT_FAILED_TEST": ("没有不合格检验的排放维修", "An emission repair without a failed test"),
    "TESTNO_VIN_MISMATCH": (
        "检验报告编号与车辆识别代号不符",
        "The report that the repair names is none of this vehicle",
    ),
}
"""What a case may remark, in Chinese and English."""

SCHEMA = "vingate.im-match/1"


class Event(BaseModel):
    """One step of a case, which is its evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    what: Literal["failed", "passed", "repaired"]
    day: date
    ref: str
    """Report number (or the result's number) of a test; record key of a repair."""
    by: str
    """I station, or the repairing shop's code: `companyuniquecode` of an M station."""
    counts: bool = True
    """Whether it moves the case: false for a repair that was not done at an M station."""


class ImCase(Document):
    """One case: from a first failed test to the pass that ends it; or one repair that fits no test."""

    KIND: ClassVar[str] = "im-case"

    vin: str
    state: State
    issuer: str
    """Station of the first failed test; of a repair that fits none the shop."""
    number: str
    opened: date
    due: date | None = None
    """Last day for what comes next: the repair, or the test after it. None where nothing is due."""
    closed: date | None = None
    area: str | None = None
    """Division of the first failed test."""
    named: str | None = None
    """The report that a repair names which fits no test."""
    candidates: tuple[str, ...] = ()
    """Reports of failed tests of this vehicle that such a repair may be meant for."""
    events: tuple[Event, ...] = ()
    findings: tuple[str, ...] = ()
    """Codes of `FINDINGS`, in alphabetical order."""

    @property
    def identity(self) -> Identity:
        """Issued by the station of its first failed test, or by the shop whose repair fits none; for one vehicle."""
        return Identity(self.issuer, self.number, self.opened, self.vin)


class Match(Document):
    """A person's decision about one repair, as it stands in the file of one vehicle."""

    KIND: ClassVar[str] = "im-match"

    office: str
    repair: str
    vin: str
    repairvin: str
    reportvin: str | None = None
    reportno: str | None = None
    companyuniquecode: str
    repairdate: date
    settledate: date
    decidedby: str
    decidedat: Moment
    reason: str

    @property
    def identity(self) -> Identity:
        """One decision of an office about a repair in each file; a changed decision is its next version."""
        return Identity(self.office, f"{self.repair}/{self.vin}", self.decidedat.date(), self.vin)


def both_sides(match: Match) -> tuple[Match, ...]:
    """The decision for each file that it concerns: that of the vehicle repaired as told, and that of the one tested."""
    vins = dict.fromkeys((match.repairvin, match.reportvin or match.repairvin))
    return tuple(match.model_copy(update={"vin": vin}) for vin in vins)


_TEXTS = ("office", "repair", "companyuniquecode", "decidedby", "reason")
_VINS = ("vin", "repairvin", "reportvin")
_NAMES: Names = {name: (name,) for name in Match.model_fields}


def _recognises(members: Mapping[str, Any]) -> bool:
    return members.get("schema") == SCHEMA


def _judge(case: Case) -> Judged:
    Message(case).rename(Body(case.members), _NAMES, ("schema",))
    values: dict[str, Any] = {name: fields.required_text(case, name) for name in _TEXTS}
    for name in _VINS:  # no rule on VINs: a decision may be about one that is wrong
        text = fields.optional_text(case, name) if name == "reportvin" else fields.required_text(case, name)
        values[name] = normalise(text) if text else None
    report = fields.optional_text(case, "reportno")
    values["reportno"] = folded(report) if report else None
    if (values["reportno"] is None) != (values["reportvin"] is None):
        missing = "reportno" if values["reportno"] is None else "reportvin"
        case.add("MANDATORY_MISSING", missing, None, "reportno + reportvin")
    if values["vin"] not in (None, values["repairvin"], values["reportvin"]):
        case.add("CODE_NOT_IN_TABLE", "vin", values["vin"], "repairvin, reportvin")
    values |= {name: fields.required_day(case, name) for name in ("repairdate", "settledate")}
    values["decidedat"] = moment_of(case, "decidedat", needed=True)
    if any(values[name] is None for name, info in Match.model_fields.items() if info.is_required()):
        return None, {}
    found = Match(**values)
    return found, found.members()


IM_MATCH = Form("im-match", _recognises, _judge)
