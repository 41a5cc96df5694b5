"""Who calls an address that systems use: by the certificate that it showed, or by its token (Authorization: Bearer)."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from pipelines.door import accounts
from pipelines.door.asgi import address_of
from pipelines.door.desk import Desk
from pipelines.door.httpproto import PEER
from pipelines.door.protocols import calls
from pipelines.door.protocols.calls import Call, Outcome

_NOT_ACTIVE = {accounts.CLOSED: calls.CLOSED, accounts.PENDING: calls.PENDING}


async def company_of(request: Request, desk: Desk, protocol: str) -> str | Outcome:
    """Company code of the caller; or why it may not call.

    Args:
        request: as it came.
        desk: knows tokens, and which certificate stands for whom.
        protocol: what is called.
    """
    peer = request.scope.get("state", {}).get(PEER, "")
    if peer and (company := desk.settings.tls.systems.get(peer)):
        refusal = _NOT_ACTIVE.get(await asyncio.to_thread(desk.callers.state_of, company))
        return Outcome(refusal) if refusal else company
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    call = Call(calls.RECORD, protocol, b"", token)
    return await desk.company(call, address_of(request.scope), desk.clock())
