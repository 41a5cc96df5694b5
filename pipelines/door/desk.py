"""What is done with a call, in no dialect: who calls, how often, what the payload is worth, and where it is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from math import ceil
from typing import Any, TypeVar

import orjson

from connectors.contracts import Arrival
from mappings.records import Operator
from pipelines.door import accounts
from pipelines.door.callers import Callers
from pipelines.door.counting import LOGINS
from pipelines.door.intake import Guard, Intake, Item, Kept, NotDurable
from pipelines.door.judging import QUICK, Judge, Verdict
from pipelines.door.limits import AddressLimiter, Buckets, Limiters
from pipelines.door.protocols import calls
from pipelines.door.protocols.calls import Call, Outcome
from pipelines.door.protocols.unwrapping import quick_token
from pipelines.door.settings import DoorSettings
from pipelines.door.tracing import COMMITS
from pipelines.inbox import Judged

T = TypeVar("T")

IN_LOOP = 16 * 1024
"""Payloads up to this size are judged where they stand; longer ones in a thread."""
_KEPT = Outcome()
_PASSWORD_THREADS, _PASSWORDS_WAITING = 4, 200
_REFUSED = {
    accounts.CREDENTIALS_WRONG: calls.PASSWORD_WRONG,
    accounts.COMPANY_PENDING: calls.PENDING,
    accounts.COMPANY_CLOSED: calls.CLOSED,
    accounts.COMPANY_EXISTS: calls.REGISTERED_BEFORE,
    accounts.PASSWORD_UNFIT: calls.PASSWORD_UNFIT,
}


class Desk:
    """Handles calls for one exchange.

    Args:
        exchange: name of the exchange that records go to.
        judge: judges payloads as that exchange does.
        callers: knows who calls.
        intake: keeps envelopes.
        settings: limits.
        clock: the moment.
        limiters: how often callers may call, where processes have that in common; by default as the settings say.
    """

    def __init__(
        self,
        exchange: str,
        judge: Judge,
        callers: Callers,
        intake: Intake,
        settings: DoorSettings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        limiters: Limiters | None = None,
    ) -> None:
        self.exchange, self.judge, self.callers, self.intake = exchange, judge, callers, intake
        self.settings, self.clock = settings, clock
        self._no_shops = settings.no_shops
        self._companies, self._addresses = limiters or _alone(settings)
        self._passwords = ThreadPoolExecutor(_PASSWORD_THREADS, "door-password")
        self._hashing = 0

    def close(self) -> None:
        """End the threads."""
        self._passwords.shutdown()

    async def record(self, call: Call, address: str) -> Outcome:
        """Take a record: token, rate, judgement, inbox."""
        if self.intake.full:
            return self.busy()
        now = self.clock()
        company = await self.company(call, address, now)
        if isinstance(company, Outcome):
            return company
        if refused := self.hurry(company) or self.no_shop(company):
            return refused
        verdict = self.judge.quickly(call.payload, call.dialect, company, now)
        if verdict is None:
            verdict = await self.carefully(call, company, now)
        return await self.keep(verdict, call, company)

    def record_at_once(self, payload: bytes, told: Callable[[Outcome], None]) -> bool:
        """Take a record in the dialect that has a quick path, from a remembered sender, with nothing to remark.

        Whatever needs more than that is left to `record`, which answers it as if this had not been called.

        Args:
            payload: as it arrived.
            told: is called in the loop, once the record is durable or cannot be.

        Returns:
            False: nothing was done, and `told` will not be called.
        """
        if self.intake.full:
            return False
        now = self.clock()
        _, holder = self.callers.peek(quick_token(payload), now)
        if holder is None or holder.company in self._no_shops or self._companies.take(holder.company):
            return False
        verdict = self.judge.quickly(payload, QUICK, holder.company, now)
        if verdict is None:
            self._companies.give_back(holder.company)
            return False
        item = self._item(verdict, payload, QUICK, holder.company)
        try:
            self.intake.hand_over((item,), None, asyncio.get_running_loop(), lambda kept: told(self._said(kept)))
        except NotDurable:
            self._companies.give_back(holder.company)
            return False
        return True

    async def token(self, call: Call, address: str) -> Outcome:
        """Give a token for company code and password."""
        if refused := self._unknown(call, address):
            return refused
        login = await self._with_password(self.callers.login, call.company, call.password, self.clock())
        if login is None:
            return self.busy()
        LOGINS.labels(login.cause or login.refusal.lower() or "ok").inc()
        return Outcome(token=login.token) if login.token else Outcome(_REFUSED[login.refusal])

    async def register(self, call: Call, address: str) -> Outcome:
        """Make an account; what the shop said of itself goes to the register of operators, without its password."""
        if refused := self._unknown(call, address):
            return refused
        if self.intake.full:
            return self.busy()
        now = self.clock()
        verdict = await asyncio.to_thread(self.judge.registration, call.payload, call.dialect, now)
        if verdict.refused or verdict.operator is None:
            return Outcome(findings=verdict.faults)
        made = await self._with_password(self.callers.register, verdict.operator, call.password, now)
        if made is None:
            return self.busy()
        if made.refusal:
            return Outcome(_REFUSED[made.refusal])
        if self.settings.operators:
            body = operator_form(verdict.operator, made.company)
            arrival = Arrival(body, "door:register", "", "", "")
            kept = await self.put([Item(self.settings.operators, Judged(arrival))])
            if kept.refusal:
                return kept
        return Outcome(company=made.company, pending=made.state == accounts.PENDING)

    async def company(self, call: Call, address: str, now: datetime) -> str | Outcome:
        """Who calls, by its token; or why it may not."""
        known, holder = self.callers.peek(call.token, now)
        if not known:
            if wait := self.address_wait(address):  # one that makes tokens up asks the database no more often
                return wait
            holder = await asyncio.to_thread(self.callers.company_of, call.token, now)
        return self._stranger(call, address) if holder is None else holder.company

    def _stranger(self, call: Call, address: str) -> Outcome:
        """The answer to a call that no valid token came with; what cannot be read is told before that."""
        if wait := self.address_hurry(address):
            return wait
        if call.problems:
            return Outcome(findings=call.problems)
        return Outcome(calls.TOKEN_WRONG if call.token else calls.TOKEN_MISSING)

    def no_shop(self, company: str) -> Outcome | None:
        """The answer to an upload of repair records by an account that is another's: a department's, an insurer's."""
        return Outcome(calls.NOT_A_SHOP) if company in self._no_shops else None

    def hurry(self, company: str, count: int = 1) -> Outcome | None:
        """The answer to a company that calls too often."""
        wait = self._companies.take(company, count)
        return _too_many(wait) if wait else None

    def address_hurry(self, address: str) -> Outcome | None:
        """The answer to an address that calls too often without saying who it is."""
        wait = self._addresses.take(address)
        return _too_many(wait) if wait else None

    def address_wait(self, address: str) -> Outcome | None:
        """The answer to an address that has called too often; this call is not counted."""
        wait = self._addresses.wait(address)
        return _too_many(wait) if wait else None

    def busy(self) -> Outcome:
        """The answer while too much waits."""
        return Outcome(calls.BUSY, retry_after=self.settings.backlog.retry_after)

    async def carefully(self, call: Call, company: str, now: datetime) -> Verdict:
        """Judge a payload with every rule, beside the loop if it is long."""
        asked = (call.payload, call.dialect, company, now, call.step)
        if len(call.payload) <= IN_LOOP:
            return self.judge.carefully(*asked)
        return await asyncio.to_thread(self.judge.carefully, *asked)

    async def keep(self, verdict: Verdict, call: Call, company: str, guard: Guard | None = None) -> Outcome:
        """Keep a judged payload, also a refused one, and say what was found."""
        if verdict.keep:
            item = self._item(verdict, call.payload, call.dialect, company)
            kept = await self.put([item], guard)
            if not kept.accepted:
                return kept
        return Outcome(findings=verdict.faults)

    async def put(self, items: list[Item], guard: Guard | None = None) -> Outcome:
        """Keep envelopes durably; accepted, or why none of them is kept."""
        commits = COMMITS.get()
        begun = time.time_ns() if commits is not None else 0
        try:
            return self._said(await self.intake.put(items, guard))
        except NotDurable:
            return self._said(None)
        finally:
            if commits is not None:
                commits.append((begun, time.time_ns(), len(items)))

    def _item(self, verdict: Verdict, payload: bytes, dialect: str, company: str) -> Item:
        arrival = Arrival(payload, f"door:{dialect}", "", company, "")
        return Item(self.exchange, Judged(arrival, verdict.dialect, 0, verdict.told), verdict.vin)

    def _said(self, kept: Kept | None) -> Outcome:
        if kept is None:
            return Outcome(calls.NOT_DURABLE, retry_after=self.settings.backlog.retry_after)
        return Outcome(kept.against) if kept.against else _KEPT

    def _unknown(self, call: Call, address: str) -> Outcome | None:
        if wait := self.address_hurry(address):
            return wait
        return Outcome(findings=call.problems) if call.problems else None

    async def _with_password(self, work: Callable[..., T], *given: Any) -> T | None:
        """Run what hashes passwords in threads of its own; None where too many wait for them."""
        if self._hashing >= _PASSWORDS_WAITING:
            return None
        self._hashing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._passwords, work, *given)
        finally:
            self._hashing -= 1


def _alone(settings: DoorSettings) -> Limiters:
    """The limiters of a door of one process."""
    rate = settings.address_per_second
    return Limiters(Buckets(settings.requests_per_second), AddressLimiter(Buckets(rate, rate * 10)))


def _too_many(wait: float) -> Outcome:
    return Outcome(calls.TOO_MANY, retry_after=ceil(wait))


def operator_form(operator: Operator, company: str) -> bytes:
    """What the register of operators takes: the members of a registration, its issued code, and no password."""
    members = operator.model_dump(exclude_none=True) | {"companycode": company}
    return orjson.dumps(
        {name: value if isinstance(value, str) else f"{value:%Y%m%d}" for name, value in members.items()}
    )
