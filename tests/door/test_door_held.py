"""`/v1/held`: a caller's own records in the store, page by page, and nobody else's."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from door_kit import PASSWORD, kit
from test_door_to_store import COLLECT
from test_door_v1 import RECORD

from pipelines.door.settings import DoorSettings
from pipelines.live import Live
from pipelines.settings import load

SINCE = {"since": "2020-01-01T00:00:00+08:00"}


@pytest.fixture
def run(tmp_path):
    """Runs a coroutine function (door, headers of two shops, drain) on a door with a store behind it."""

    def runner(story, text=COLLECT, **settings):
        (tmp_path / "collect.toml").write_text(text, "utf-8")
        collect = load(tmp_path / "collect.toml", (), {}).placed(tmp_path / "state")

        async def admitted(door, drain):
            headers = []
            for uscc in ("91310112132259241T", "91440300MA5H0HLK5U"):
                company = await door.shop(companyunifiedsocialcreditidentifier=uscc)
                given = {"companycode": company, "companypassword": PASSWORD}
                token = (await door.client.post("/v1/token", json=given)).json()["access_token"]
                headers.append({"authorization": f"Bearer {token}"})
            return await story(door, headers, drain)

        with kit(tmp_path, DoorSettings(**settings), of=collect) as door:
            door.now = datetime.now(UTC)
            (door.state.path / "partners" / "shops").mkdir(parents=True)
            live = Live(door.state, collect, milliseconds=0)

            def drain():
                live.recover()
                while live.step(0):
                    pass

            asyncio.run(admitted(door, drain))
            live.close()

    return runner


def records(*numbers, **changes):
    return [{**RECORD, "costlistcode": f"L{n:03d}", **changes} for n in numbers]


async def held(door, headers, **query):
    answer = await door.client.get("/v1/held", params={**SINCE, **query}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_caller_sees_its_own_records_page_by_page(run):
    async def story(door, shops, drain):
        for headers, numbers in zip(shops, (range(7), range(3)), strict=True):
            await door.client.post("/v1/records", json=records(*numbers), headers=headers)
        assert (await held(door, shops[0]))["records"] == [], "what lies in the inbox does not stand in the store yet"
        drain()
        await door.client.post("/v1/records", json=records(6, mileage=30_000), headers=shops[0])
        drain()
        found, cursor = [], ""
        while True:
            page = await held(door, shops[0], limit=3, cursor=cursor)
            assert len(page["records"]) <= 3
            found += page["records"]
            cursor = page["next"]
            if not cursor:
                break
        assert [(one["key"].split("|")[2], one["version"]) for one in found] == [
            *((f"L{n:03d}", 1) for n in range(7)),
            ("L006", 2),
        ]
        assert found[6]["content"] != found[7]["content"]
        assert {one["key"].split("|")[1] for one in found} == {"330106000000001"}
        text = json.dumps(found)
        assert RECORD["vin"] not in text
        assert RECORD["plate"] not in text
        other = await held(door, shops[1])
        assert len(other["records"]) == 3
        assert {one["key"].split("|")[1] for one in other["records"]} == {"330106000000002"}
        foreign = await held(door, shops[1], cursor="0:1:33|330106000000001|L002")
        assert [one["key"].split("|")[1] for one in foreign["records"]] == ["330106000000002"] * 3
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert (await held(door, shops[0], since=later))["records"] == []

    run(story)


def test_a_sender_lists_a_system_that_the_operator_gave_to_it(run, root):
    text = COLLECT.replace('system = "33"', 'system = "oem-SVW"').replace('"province-*"', '"store"')
    text = text.replace('table = "collect"', f'table = "{root}/deploy/tables/own-store.toml"')

    async def story(door, shops, drain):
        await door.client.post("/v1/records", json=records(1, 2), headers=shops[0])
        drain()
        assert len((await held(door, shops[1]))["records"]) == 2

    run(story, text, senders={"330106000000002": "oem-SVW"})


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "0001-01-01T00:00:00+00:00"},
        {"since": "9999-12-31T23:59:59-23:59"},
        {"limit": "0"},
        {"limit": "5001"},
        {"limit": "many"},
        {"cursor": "x"},
        {"cursor": "0:-1:k"},
        {"cursor": "0:1:" + "k" * 600},
        {"cursor": "0:1:a\x00b"},
    ],
)
def test_a_request_that_is_none_is_refused(run, query):
    async def story(door, shops, drain):
        answer = await door.client.get("/v1/held", params={**SINCE, **query}, headers=shops[0])
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:vingate:problem:wrong-request")

    run(story)


def test_without_a_token_or_a_store_nothing_is_listed(run):
    async def story(door, shops, drain):
        assert (await door.client.get("/v1/held", params=SINCE)).status_code == 401
        answer = await door.client.get("/v1/held", params=SINCE, headers=shops[0])
        assert answer.status_code == 501

    run(story, COLLECT.partition("[sinks")[0] + '[sinks.out]\nconnector = "memory"\n')


def test_another_company_cannot_be_named_by_its_code(run):
    async def story(door, shops, drain):
        code = {"costlistcode": "330106000000001|L001"}
        await door.client.post("/v1/records", json=[{**RECORD, **code}], headers=shops[1])
        drain()
        assert (await held(door, shops[0]))["records"] == []
        (only,) = (await held(door, shops[1]))["records"]
        assert only["key"].endswith("|330106000000001%7CL001")

    run(story)
