"""Accounts of departments and of insurers upload no repair records, by whatever interface."""

from __future__ import annotations

import asyncio
import json

import pytest
from door_kit import ADDED, PASSWORD, RECORD, kit, payload
from test_door_at_once import ask, clean_record
from test_door_signed import APP, INSERT, SECRET, Caller, an_insert

from pipelines.door import applications
from pipelines.door.settings import DoorSettings

SAID = "该账号不是维修企业的账号，不能上传维修记录"
OTHERS = {
    "department": lambda company: DoorSettings(closures={"store": "sqlite:///none.db", "callers": {company: {}}}),
    "insurer": lambda company: DoorSettings(insurers={"callers": {company: "PICC"}}),
}


@pytest.fixture(params=OTHERS)
def told(request, tmp_path):
    """Runs a story with an account that uploads while it is a shop's, and again once it is another's."""

    def run(story):
        company = ""

        async def before(door):
            nonlocal company
            company = await door.shop()
            await story(door, company)

        with kit(tmp_path) as door:
            asyncio.run(before(door))
            kept = len(door.rows())
            assert kept, "a shop's are kept"
        with kit(tmp_path, OTHERS[request.param](company)) as door:
            answers = asyncio.run(story(door, company))
            assert len(door.rows()) == kept, "nothing more"
        return answers

    return run


def test_the_national_interface_refuses_them(told):
    async def story(door, company):
        body = json.loads(payload("15", await door.token(company)))
        body["basicInfo"]["companycode"] = company
        return [(await door.client.post(RECORD, json=body)).json() for _ in range(2)]

    assert told(story) == [{"code": "0", "status": SAID}] * 2


def test_what_is_answered_at_once_is_none_of_theirs(tmp_path):
    async def story(door):
        body, company = await clean_record(door)
        assert (await door.client.post(RECORD, content=body)).json() == ADDED
        assert await ask(door, body) is not None
        door.door.desk._no_shops = frozenset({company})
        assert await ask(door, body) is None, "left to who says why"

    with kit(tmp_path) as door:
        asyncio.run(story(door))


def test_v1_refuses_their_records_corrections_and_withdrawals(told):
    async def story(door, company):
        given = {"companycode": company, "companypassword": PASSWORD}
        token = (await door.client.post("/v1/token", json=given)).json()["access_token"]
        send = door.client
        send.headers["authorization"] = f"Bearer {token}"
        record = json.loads(payload("15"))
        record["basicInfo"]["companycode"] = company
        code = record["basicInfo"]["costlistcode"]
        return [
            await send.post("/v1/records", json=record),
            await send.post("/v1/records", json=[record, record]),
            await send.put(f"/v1/records/{code}", json=record),
            await send.delete(f"/v1/records/{code}", params={"reason": "重复上传"}),
        ]

    for answer in told(story):
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:vingate:problem:not-a-shop"
        assert SAID in answer.json()["title"]


def test_signed_calls_are_refused_too(told):
    async def story(door, company):
        before = len(door.rows())
        if not before:
            with door.state.unit_of_work() as connection:
                applications.enrol(connection, door.state.sealer(), APP, company, SECRET)
        caller = Caller(door)
        caller.nonce += before
        return await caller.call(INSERT, an_insert(f"R{before}"))

    said = told(story)
    assert said["code"] == 102
    assert SAID in said["message"]
