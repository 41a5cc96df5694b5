"""Road administration (道路运政): filings and rectifications in, shops to look after out (82号 (2), (3)).

The field tables of the provincial 运政 interfaces are not public (domain 2), so both forms are ours.
*Filing* (备案): `filingno`, `operatorcode` (the company code), `operatorname`, `uscc` (optional), `division` (optional,
GB/T 2260), `state` (optional, table `operating-states`), `fileddate`.
*Rectification* (限期整改): `rectificationno`, `authority`, `companycode`, `matter` (table `rectification-matters`),
`ordereddate`, `deadline`, `completeddate` (optional: absent until the authority saw it done).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, ClassVar, Literal

import orjson

from mappings.documents import Document, Identity
from mappings.documents.kinds import Form, Judged
from mappings.documents.members import (
    NAME_LENGTH,
    built,
    in_order,
    leave_out,
    optional_text,
    rename,
    required_code,
    required_text,
)
from mappings.placeholders import is_placeholder
from mappings.rules import fields, registration
from mappings.rules.case import Case

NOTICE_SCHEMA = "vingate.operator-notices/1"

_USCC, _DIVISION = "companyunifiedsocialcreditidentifier", "companyadministrativedivisioncode"


class OperatorFiling(Document):
    """A shop as road administration has it on file: the shop is what it tells of, so the shop stands as its issuer."""

    KIND: ClassVar[str] = "operator-filing"

    companycode: str
    number: str
    """备案编号."""
    companyname: str
    companyunifiedsocialcreditidentifier: str | None = None
    companyadministrativedivisioncode: str | None = None
    companyoperationstate: str | None = None
    """Code of the table `operating-states`; absent counts as open."""
    filed: date

    @property
    def identity(self) -> Identity:
        """A shop may be filed anew."""
        return Identity(self.companycode, self.number, self.filed)


class Rectification(Document):
    """A deadline that an authority gave to a shop. The shop stands as its issuer: so its facts are gathered."""

    KIND: ClassVar[str] = "rectification"

    companycode: str
    authority: str
    number: str
    """Its number with the authority."""
    matter: str
    """Code of the table `rectification-matters`."""
    day: date
    """When it was ordered."""
    deadline: date
    """The last day of it."""
    completed: date | None = None

    @property
    def identity(self) -> Identity:
        """Authorities number each for themselves."""
        return Identity(self.companycode, f"{self.authority}:{self.number}", self.day)


class OperatorNotice(Document):
    """One line of the list for road administration: a shop that never uploaded, is silent, or is overdue.

    Whom to speak to at the shop is in the administration's own files: no person stands here.
    """

    KIND: ClassVar[str] = "operator-notice"

    issuer: str
    companycode: str
    companyname: str | None = None
    companyunifiedsocialcreditidentifier: str | None = None
    companyadministrativedivisioncode: str | None = None
    notice: Literal["never-uploaded", "silent", "rectification-overdue"]
    since: date
    """Filed on (never-uploaded), last upload (silent), deadline (rectification-overdue)."""
    day: date
    """The first day on which it was due."""
    authority: str | None = None
    """Of an overdue rectification: who ordered it, its number there, and on what."""
    rectification: str | None = None
    matter: str | None = None

    @property
    def identity(self) -> Identity:
        """One notice of a kind a shop, and one a rectification."""
        about = f":{self.authority}:{self.rectification}" if self.rectification else ""
        return Identity(self.issuer, f"{self.notice}:{self.companycode}{about}", self.day)


_FILING_NAMES = {
    "filingno": "number",
    "operatorcode": "companycode",
    "operatorname": "companyname",
    "uscc": _USCC,
    "division": _DIVISION,
    "state": "companyoperationstate",
    "fileddate": "filed",
}


def _is_filing(members: Mapping[str, Any]) -> bool:
    return members.keys() >= {"filingno", "operatorcode"}


def _judge_filing(case: Case) -> Judged:
    rename(case, _FILING_NAMES)
    leave_out(case, OperatorFiling.model_fields)
    code, state = optional_text(case, _USCC), case.members.get("companyoperationstate")
    values: dict[str, Any] = {
        "companycode": required_text(case, "companycode"),
        "number": required_text(case, "number"),
        "companyname": required_text(case, "companyname", "companyname"),
        _USCC: None if code is None else registration.social_credit(case, _USCC, code),
        _DIVISION: optional_text(case, _DIVISION),
        "companyoperationstate": None
        if is_placeholder(state)
        else fields.coded(case, "companyoperationstate", "operating-states", state),
        "filed": fields.required_day(case, "filed"),
    }
    if values[_DIVISION] is not None:
        registration.division(case, _DIVISION, values[_DIVISION])
    return built(OperatorFiling, values)


def _is_rectification(members: Mapping[str, Any]) -> bool:
    return members.keys() >= {"rectificationno", "companycode", "deadline"}


def _judge_rectification(case: Case) -> Judged:
    rename(case, {"rectificationno": "number", "ordereddate": "day", "completeddate": "completed"})
    leave_out(case, Rectification.model_fields)
    values: dict[str, Any] = {
        "companycode": required_text(case, "companycode"),
        "authority": required_text(case, "authority", NAME_LENGTH),
        "number": required_text(case, "number"),
        "matter": required_code(case, "matter", "rectification-matters"),
        "day": fields.required_day(case, "day"),
        "deadline": fields.required_day(case, "deadline"),
        "completed": fields.optional_day(case, "completed"),
    }
    in_order(case, "day", values["day"], values["deadline"])
    in_order(case, "day", values["day"], values["completed"])
    return built(Rectification, values)


OPERATOR_FILING = Form("operator-filing", _is_filing, _judge_filing)
RECTIFICATION = Form("rectification", _is_rectification, _judge_rectification)


def encode_operator_notices(notices: Iterable[OperatorNotice]) -> bytes:
    """The list: `vingate.operator-notices/1`, its `notices` by number, so that order of coming does not matter.

    Each has `noticeNo`, `notice`, `companycode`, `companyname`, `companyunifiedsocialcreditidentifier`,
    `companyadministrativedivisioncode`, `since`, `day` (ISO) and, of a rectification, `authority`, `rectificationno`
    and `matter`; what is not known is null.
    """
    lines = {notice.identity.number: _line(notice) for notice in notices}
    return orjson.dumps({"schema": NOTICE_SCHEMA, "notices": [lines[number] for number in sorted(lines)]})


def _line(notice: OperatorNotice) -> dict[str, object]:
    return {
        "noticeNo": notice.identity.number,
        "notice": notice.notice,
        "companycode": notice.companycode,
        "companyname": notice.companyname,
        _USCC: notice.companyunifiedsocialcreditidentifier,
        _DIVISION: notice.companyadministrativedivisioncode,
        "since": notice.since.isoformat(),
        "day": notice.day.isoformat(),
        "authority": notice.authority,
        "rectificationno": notice.rectification,
        "matter": notice.matter,
    }
