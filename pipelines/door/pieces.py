"""Signed calls of the Shanghai interfaces: application, signature, time, nonce, and the order of a piece."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any

from mappings import uscc
from mappings.findings import REJECT, Finding
from mappings.trees import TreeError, fold
from pipelines.door import nonces, signing
from pipelines.door.applications import Application
from pipelines.door.desk import Desk
from pipelines.door.failures import Failures
from pipelines.door.judging import Verdict
from pipelines.door.moments import storable
from pipelines.door.orders import Orders
from pipelines.door.protocols import calls, secondary
from pipelines.door.protocols.calls import Call, Outcome
from pipelines.door.protocols.unwrapping import problem

_PHOTO_BYTES = 5 << 20
_OF_THE_CALL = frozenset({"appid", "nonce", "timestamp", "sign"})
NONCE_KEPT = 2
"""A nonce is remembered this many timestamp windows."""


@dataclass(frozen=True, slots=True)
class _Proved:
    """A call whose signature holds: for whom, and its members as sent."""

    application: Application
    members: Mapping[str, Any]


class Pieces:
    """Handles signed calls at a desk.

    Args:
        desk: judges and keeps.
        orders: knows which orders were begun.
        failures: knows what was refused.
    """

    def __init__(self, desk: Desk, orders: Orders, failures: Failures) -> None:
        self._desk, self._orders, self._failures = desk, orders, failures
        self._window = timedelta(minutes=desk.settings.timestamp_minutes)

    async def piece(self, call: Call, address: str) -> Outcome:
        """Take a piece of a record."""
        if self._desk.intake.full:
            return self._desk.busy()
        now = self._desk.clock()
        proved = await self._admit(call, address, now)
        if isinstance(proved, Outcome):
            return proved
        verdict = await asyncio.to_thread(self._judged, call, proved, now)
        if verdict.refused and not verdict.keep:
            return Outcome(findings=verdict.faults)
        outcome = await self._desk.keep(verdict, call, proved.application.company, self._guard(call, proved, verdict))
        if outcome.refusal in signing_findings():
            return Outcome(findings=(_found(outcome.refusal),))
        return outcome

    async def query(self, call: Call, address: str) -> Outcome:
        """List what a company sent and was refused."""
        now = self._desk.clock()
        proved = await self._admit(call, address, now)
        if isinstance(proved, Outcome):
            return proved
        rows = await asyncio.to_thread(self._failures.of, proved.application.company)
        return Outcome(rows=tuple(rows))

    async def _admit(self, call: Call, address: str, now: datetime) -> _Proved | Outcome:
        """Who calls, and its members; or why it may not."""
        if call.problems:
            return self._desk.address_hurry(address) or Outcome(findings=call.problems)
        known = call.signed is not None and self._desk.callers.peek_application(call.signed.app) is not None
        if not known and (wait := self._desk.address_wait(address)):
            return wait  # one that makes names up asks the database no more often
        proved = await asyncio.to_thread(self._prove, call, now)
        if isinstance(proved, Outcome):
            return self._desk.address_hurry(address) or proved
        company = proved.application.company
        return self._desk.hurry(company) or self._desk.no_shop(company) or proved

    def _prove(self, call: Call, now: datetime) -> _Proved | Outcome:
        signed = call.signed
        if signed is None or not signed.sign or not signed.app:
            return Outcome(findings=(_found("SIGN_MISSING"),))
        application = self._desk.callers.application_of(signed.app)
        if application is None:
            return Outcome(calls.APP_UNKNOWN, findings=_identity(call, signed.app))
        try:
            members = signing.members_as_sent(call.payload)
        except TreeError as error:
            return Outcome(findings=(problem(error),))
        if not signing.same(signed.sign, self._expected(call, members, application.secret)):
            return Outcome(findings=(_found("SIGN_WRONG"),))
        if not signing.within_window(signed.timestamp, now, self._window):
            return Outcome(findings=(_found("TIMESTAMP_EXPIRED"),))
        if not storable(signed.nonce, nonces.LONGEST):
            code = "STRUCTURE_WRONG" if signed.nonce else "MANDATORY_MISSING"
            return Outcome(findings=(Finding(code, REJECT, "nonce", "", ""),))
        return _Proved(application, members)

    def _expected(self, call: Call, members: Mapping[str, Any], secret: str) -> str:
        if call.dialect == secondary.NAME and call.signed is not None:
            return signing.maintenance_sign(call.signed.app, call.signed.nonce, call.signed.timestamp, secret)
        return signing.sign(members, secret, self._desk.settings.secret_placement)

    def _judged(self, call: Call, proved: _Proved, now: datetime) -> Verdict:
        """The verdict, and what only the door refuses: such a payload is not kept, for the steps would take it."""
        verdict = self._desk.judge.carefully(call.payload, call.dialect, proved.application.company, now, call.step)
        own = _own_rules(proved.members) if call.dialect != secondary.NAME else []
        return replace(verdict, refused=(*verdict.refused, *own), keep=verdict.keep and not own) if own else verdict

    def _guard(self, call: Call, proved: _Proved, verdict: Verdict) -> Any:
        """What must hold in the transaction that keeps the piece."""
        signed, company = call.signed, proved.application.company
        assert signed is not None  # noqa: S101 - `_prove` looked
        content = _content(proved.members)
        whole_orders = call.dialect != secondary.NAME and not verdict.refused

        def guard(connection: Any, now: datetime) -> str:
            kept = NONCE_KEPT * self._window
            if not nonces.remember_nonce(connection, signed.app, signed.nonce, now, kept):
                return "NONCE_REPLAYED"
            if not whole_orders:
                return ""
            if call.step == "insert":
                return self._orders.begin(connection, company, call.order, content, now)
            return "" if self._orders.begun(connection, company, call.order) else "ORDER_UNKNOWN"

        return guard


def signing_findings() -> frozenset[str]:
    """Codes that a guard gives: findings of the door."""
    return frozenset({"NONCE_REPLAYED", "ORDER_UNKNOWN", "ORDER_EXISTS"})


def _identity(call: Call, app: str) -> tuple[Finding, ...]:
    """What is wrong with a name that nobody has: 二级维护 is called under a USCC, which may be mistyped."""
    if call.dialect != secondary.NAME:
        return ()
    wrong = uscc.problems(uscc.normalise(app))
    return tuple(Finding(code, REJECT, "companyIdentity", app[:50], expected) for code, expected in wrong)


def _found(code: str) -> Finding:
    return Finding(code, REJECT, "", "", "")


def _content(members: Mapping[str, Any]) -> str:
    """A digest of what a call says, without what changes at every attempt."""
    text = signing.signed_text({name: value for name, value in members.items() if fold(name) not in _OF_THE_CALL})
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _own_rules(members: Mapping[str, Any]) -> list[Finding]:
    """Rules of the interface that the standard does not have: sizes of photos, quantities from 1 up."""
    named = {fold(name): value for name, value in members.items()}
    found = [
        Finding("TOO_LONG", REJECT, name, "", "5 MB")
        for name in ("carPhoto", "drivingPermitPhoto")
        if isinstance(photo := named.get(fold(name)), str) and len(photo) * 3 // 4 > _PHOTO_BYTES
    ]
    return found + [
        Finding("QUANTITY_BELOW_ONE", REJECT, f"parts[{at}].quantity", str(given), "1", "repairPartList[].partQty")
        for at, given in enumerate(_quantities(named))
        if _below_one(given)
    ]


def _quantities(named: Mapping[str, Any]) -> list[Any]:
    projects = named.get("repairprojectlist")
    found: list[Any] = []
    for project in projects if isinstance(projects, list) else ():
        parts = {fold(name): value for name, value in project.items()} if isinstance(project, dict) else {}
        listed = parts.get("repairpartlist")
        for part in listed if isinstance(listed, list) else ():
            found += (
                [value for name, value in part.items() if fold(name) == "partqty"] if isinstance(part, dict) else []
            )
    return found


def _below_one(given: object) -> bool:
    try:
        return isinstance(given, str) and Decimal(given.strip()) < 1
    except InvalidOperation:
        return False
