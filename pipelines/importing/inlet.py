"""Where imported payloads go in: the inbox, by keys made of their content, so that an import can be run again.

From there they take the way of every other payload: same mappings, same ledger; what is refused becomes a letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import select

from connectors.contracts import Arrival
from mappings.findings import REJECT, profile
from mappings.judging import Context, Judgement
from mappings.reading import judge, read
from pipelines import tables
from pipelines.door.judging import told
from pipelines.errors import PipelineError
from pipelines.importing.remarks import Reason, Remarks
from pipelines.inbox import Inbox, Judged
from pipelines.state import State
from pipelines.versions import signed
from pipelines.vinhash import vin_hash

AT_ONCE = 500
"""Payloads of one commit."""
_LOOK_EVERY = 20


class InboxFull(PipelineError):
    """So much waits in the inbox that the import stops; what was put stays."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(
            f"收件箱中已有 {waiting:,} 条等待处理；请运行 vingate serve 处理后再次执行本命令，将从断点继续"
            f" / {waiting:,} payloads wait in the inbox: let vingate serve take them, then run this again"
        )

    def __reduce__(self) -> tuple[type[InboxFull], tuple[int]]:
        return type(self), (self.waiting,)


class Payload(NamedTuple):
    """One payload on its way in."""

    body: bytes
    place: str
    """Where it stood, for the report."""
    key: str = ""
    """What names it for people: list code, VIN."""
    company: str = ""
    """The company that it is of; empty: it says so itself."""
    reasons: tuple[Reason, ...] = ()
    """What was remarked already."""


class Inlet:
    """Puts payloads into the inbox of one exchange.

    Args:
        state: where the inbox is; another process may work on it meanwhile.
        exchange: name of the exchange.
        kind: `records`, `registrations` or `operators`: part of the source's name.
        dialect: dialect of the payloads, or `auto`.
        rules: profile by which the report is made; the exchange judges by its own.
        now: the moment of the import.
        remarks: what is counted.
        most: payloads that may wait in the inbox.
    """

    def __init__(
        self,
        state: State,
        exchange: str,
        kind: str,
        dialect: str,
        rules: str,
        now: datetime,
        remarks: Remarks,
        most: int = 1_000_000,
    ) -> None:
        self._state, self._dialect, self._now, self._remarks, self._most = state, dialect, now, remarks, most
        self._exchange, self._source = exchange, f"import:{kind}"
        self._inbox = Inbox(exchange, state.sealer())
        self._profile = profile(rules)
        self._chunks = 0

    def put(self, payloads: Sequence[Payload]) -> None:
        """Put payloads in one commit, and remark what does not fit.

        Raises:
            InboxFull: too much waits; nothing of these is put.
        """
        if self._chunks % _LOOK_EVERY == 0:
            self._look()
        self._chunks += 1
        judged = [self._judged(one) for one in payloads]
        with self._state.unit_of_work() as connection:
            fresh = self._inbox.put(connection, [envelope for envelope, _ in judged], self._now)
        for one, (_, judgement), new in zip(payloads, judged, fresh, strict=True):
            reasons = [Reason(f.code, f.field) for f in judgement.findings if f.severity == REJECT]
            outcome = "refused" if new and reasons else "new" if new else "known"
            self._remarks.note(one.place, one.key, outcome, (*one.reasons, *reasons))

    def _judged(self, one: Payload) -> tuple[Judged, Judgement]:
        draft = read(one.body, self._dialect)
        judgement = judge(draft, Context(self._profile, self._now, one.company, company_required=True))
        company = one.company or str(judgement.members.get("companycode") or "")
        vin = str(judgement.members.get("vin") or "")
        key = sha256(one.company.encode() + b"\0" + one.body).hexdigest()
        arrival = Arrival(one.body, self._source, key, company if self._source.endswith("records") else "")
        dialect = "" if self._dialect == "auto" else self._dialect
        hashed = signed(vin_hash(vin)) if vin else 0
        return Judged(arrival, dialect, hashed, told(list(judgement.findings))), judgement

    def _look(self) -> None:
        t = tables.inbox
        beyond = select(t.c.id).where(t.c.exchange == self._exchange, t.c.batch.is_(None)).offset(self._most).limit(1)
        with self._state.reading() as connection:
            if connection.execute(beyond).first() is not None:
                raise InboxFull(self._most)
