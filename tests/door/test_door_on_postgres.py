"""The door on a state in PostgreSQL: the same answers, and the same envelopes in the inbox."""

from __future__ import annotations

import asyncio
import json

import pytest
from door_kit import ADDED, RECORD, kit, payload
from servers import postgres
from test_door_signed import APP, INSERT, SECRET, Caller, an_insert
from test_door_v1 import RECORD as CANONICAL

from pipelines.door import applications
from pipelines.vinhash import vin_hash


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return postgres.start(tmp_path_factory.getbasetemp())


def test_calls_of_all_kinds_at_once(server, tmp_path):
    async def story(door):
        company = await door.shop()
        token = await door.token(company)
        with door.state.unit_of_work() as connection:
            applications.enrol(connection, door.state.sealer(), APP, company, SECRET)
        caller = Caller(door)
        keyed = {"authorization": f"Bearer {token}", "idempotency-key": "k"}
        body, signed = payload("15", token), caller.signed(an_insert())
        records = [door.client.post(RECORD, content=body) for _ in range(20)]
        pieces = [caller.send(INSERT, signed) for _ in range(3)]
        modern = [door.client.post("/v1/records", json=[CANONICAL, 7], headers=keyed) for _ in range(3)]
        answers = await asyncio.gather(*records, *pieces, *modern)
        assert [answer.json() for answer in answers[:20]] == [ADDED] * 20
        assert sorted(answer["code"] for answer in answers[20:23]) == [0, 114, 114]
        assert {answer.text for answer in answers[23:]} == {answers[-1].text}
        rows = door.rows()
        assert [row.plain for row in rows].count(body) == 20
        assert sorted(row.source for row in rows)[-3:] == ["door:shanghai", "door:v1", "door:v1"]
        assert {row.vin % 2**64 for row in rows if row.plain == body} == {vin_hash("WP1AG2923CLA64129")}
        assert all(json.loads(row.verdict)["verdict"] in ("accept", "reject") for row in rows)
        assert {row.batch for row in rows} == {None}

    with server.shared(), server.database() as url, kit(tmp_path, url=url) as door:
        asyncio.run(story(door))
