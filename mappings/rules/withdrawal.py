"""Rules on a withdrawal (撤回): which record, and why."""

from __future__ import annotations

from mappings.records import Withdrawal
from mappings.rules import fields
from mappings.rules.case import Case
from mappings.rules.repair import Display


def withdrawal(case: Case) -> tuple[Withdrawal | None, Display]:
    """Judge a withdrawal. Whether there is such a record only the index of versions can tell (WITHDRAWAL_UNKNOWN).

    Returns:
        The withdrawal, or None where a member that it cannot be without was unreadable, and the members for display.
    """
    company = fields.company_code(case)
    code, reason = fields.required_text(case, "costlistcode"), fields.required_text(case, "withdrawn")
    shown = Display({"companycode": company, "costlistcode": code, "withdrawn": reason})
    if company is None or code is None or reason is None:
        return None, shown
    return Withdrawal(company, code, reason), shown
