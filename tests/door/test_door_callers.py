"""Who calls: made-up tokens, systems with a certificate, and shops behind a proxy."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import httpx
import pytest
from door_kit import ADDED, RECORD, kit, payload
from test_door_v1 import RECORD as CANONICAL

from pipelines.door import accounts
from pipelines.door.app import make_app
from pipelines.door.httpproto import PEER
from pipelines.door.limits import AddressLimiter, Buckets
from pipelines.door.proxies import behind, caller
from pipelines.door.settings import DoorSettings

SYSTEM = DoorSettings.model_validate(
    {"tls": {"certificate": "c", "key": "k", "authorities": "a", "systems": {"hq": "330106000000001", "oem": "OEM-1"}}}
)


def test_made_up_tokens_ask_the_database_no_more_often_than_their_address_may(tmp_path, monkeypatch):
    async def story(door):
        token = await door.token()
        good = payload("15", token)
        assert (await door.client.post(RECORD, content=good)).json() == ADDED
        asked = []
        load = door.door.desk.callers._cache._loader
        monkeypatch.setattr(
            door.door.desk.callers._cache, "_loader", lambda token, now: (asked.append(token), load(token, now))[1]
        )
        door.door.desk._addresses = AddressLimiter(Buckets(0.001, 5))
        for at in range(20):
            made_up = f"{at:064d}"
            v1 = {"authorization": f"Bearer {made_up}"}
            ask = door.client.post("/v1/records", json=CANONICAL, headers=v1) if at % 2 else None
            answer = await (ask or door.client.post(RECORD, content=payload("15", made_up)))
            assert answer.status_code in ((200, 401) if at < 5 else (429,))
        assert len(asked) == 5
        assert (await door.client.post(RECORD, content=good)).json() == ADDED, "who is known goes on"

    with kit(tmp_path) as door:
        asyncio.run(story(door))


def test_a_system_whose_account_is_closed_is_let_in_no_more(tmp_path):
    async def story(door):
        await door.shop()
        inner = make_app(door.door)

        def shown(name):
            async def app(scope, receive, send):
                await inner({**scope, "state": {PEER: name}}, receive, send)

            return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door")

        async def status(name):
            return (await shown(name).post("/v1/records", json=CANONICAL)).status_code

        assert [await status(name) for name in ("hq", "oem", "stranger")] == [202, 202, 401]
        with door.state.unit_of_work() as connection:
            accounts.close(connection, "330106000000001", door.now)
        door.door.desk.callers._states.clear()  # after some seconds
        assert [await status(name) for name in ("hq", "oem")] == [403, 202]

    with kit(tmp_path, SYSTEM) as door:
        asyncio.run(story(door))


OURS = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 10.9.9.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:2::7]:4711"], "2001:db8:2::7"),
        ("2001:db8:1::1", ["2001:db8:2::7"], "2001:db8:2::7"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_behind_a_proxy_the_caller_is_the_first_that_is_none_of_ours(peer, forwarded, found):
    assert caller(peer, [line.encode() for line in forwarded], OURS) == found


def test_shops_behind_a_trusted_proxy_are_limited_apart(tmp_path):
    async def story(door, proxies, seen):
        door.door.desk._addresses = AddressLimiter(Buckets(0.001, 1))
        app = behind(make_app(door.door), proxies)
        transport = httpx.ASGITransport(app, client=("10.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            told = [
                (await client.post(RECORD, content=payload("15"), headers={"x-forwarded-for": shop})).status_code
                for shop in ("198.51.100.1", "198.51.100.2", "198.51.100.2")
            ]
        assert told == seen

    for proxies, seen in ((("10.0.0.0/8",), [200, 200, 429]), (("192.0.2.1",), [200, 429, 429])):
        with kit(tmp_path / str(seen[1])) as door:
            asyncio.run(story(door, proxies, seen))


def test_a_proxy_that_is_no_address_is_refused():
    assert DoorSettings(trusted_proxies=["10.0.0.5", "10.1.2.3/16"]).trusted_proxies == ("10.0.0.5", "10.1.2.3/16")
    with pytest.raises(ValueError, match="trusted_proxies"):
        DoorSettings(trusted_proxies=["proxy.example"])
