"""A door in the test's own process: its state, its clock, clients for both listeners, and shops that registered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from pipelines import tables
from pipelines.door.app import make_app, make_foshan_app
from pipelines.door.serving import opened
from pipelines.door.settings import DoorSettings
from pipelines.inbox import SEALED_FOR
from pipelines.settings import Exchange
from pipelines.state import State

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)
PAYLOADS = Path(__file__).parents[1] / "payloads"
SAMPLE_TOKEN = b"0123456789ABCDEF" * 4
NATIONAL = "/restservices/lcipprodatarest"
RECORD, TOKEN, REGISTER = (
    f"{NATIONAL}/{method}/query"
    for method in ("lcipprocarfixrecordadd", "lcipprogetaccesstoken", "lcipproaccountcompany")
)
PASSWORD = "Test1234"  # noqa: S105 - that of the samples
ADDED = {"code": "1", "status": "新增成功"}


def exchange(**mapping: Any) -> Exchange:
    return Exchange.model_validate(
        {
            "name": "collect",
            "source": {"connector": "memory"},
            "mapping": {"company": "source", **mapping},
            "versions": {"system": "33"},
        }
    )


def payload(number: str, token: str = "") -> bytes:
    """A sample payload, with a token of ours in place of its own."""
    (path,) = PAYLOADS.glob(f"{number}_*.json")
    body = path.read_bytes()
    return body.replace(SAMPLE_TOKEN, token.encode()) if token else body


def registration(uscc: str = "91310112132259241T", **others: str) -> dict[str, str]:
    return {**json.loads(payload("13")), "companyunifiedsocialcreditidentifier": uscc, **others}


@dataclass
class Kit:
    """What a test has in hand."""

    state: State
    door: Any
    settings: DoorSettings
    client: httpx.AsyncClient
    foshan: httpx.AsyncClient
    now: datetime = NOW

    async def shop(self, **others: str) -> str:
        """Company code of a shop that registered."""
        answer = await self.client.post(REGISTER, json=registration(**others))
        assert answer.json()["code"] == "1", answer.text
        return answer.json()["companycode"]

    async def token(self, company: str = "") -> str:
        """A token of that shop, or of a new one."""
        company = company or await self.shop()
        answer = await self.client.post(TOKEN, json={"companycode": company, "companypassword": PASSWORD})
        return answer.json()["access_token"]

    def rows(self, exchange: str = "collect") -> list[Any]:
        """What lies in the inbox, in order, unsealed (attribute `plain`)."""
        t, sealer = tables.inbox, self.state.sealer()
        with self.state.reading() as connection:
            found = connection.execute(select(t).where(t.c.exchange == exchange).order_by(t.c.id)).all()
        return [_Row(row, sealer.unseal(row.body, SEALED_FOR)) for row in found]


class _Row:
    def __init__(self, row: Any, plain: bytes) -> None:
        self._row, self.plain = row, plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)


@contextmanager
def kit(
    path: Path,
    settings: DoorSettings | None = None,
    of: Exchange | None = None,
    url: str = "",
    claims: Exchange | None = None,
) -> Iterator[Kit]:
    """A door on a fresh state; `claims` is the exchange that what insurers send goes to."""
    settings = settings or DoorSettings()
    moment: list[Kit] = []

    def clock() -> datetime:
        return moment[0].now

    with (
        State(path / "state", own=True, url=url) as state,
        opened(settings, state, of or exchange(), clock, claims=claims) as door,
    ):
        clients = [
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door")
            for app in (make_app(door), make_foshan_app(door))
        ]
        made = Kit(state, door, settings, *clients)
        moment.append(made)
        yield made
        assert door.room.held == 0, "every body gave back its room"
