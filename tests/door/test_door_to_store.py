"""From the door to the store: what was answered is what the batches do, for every dialect."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest
from door_kit import ADDED, PASSWORD, RECORD, kit, payload
from sqlalchemy import select
from test_door_signed import APP, CORRECT, INSERT, ITEMS, PROJECTS, SECRET, SETTLE, Caller, an_insert
from test_door_v1 import RECORD as CANONICAL

from dlq.masking import masked
from pipelines import tables
from pipelines.door import applications
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.replaying import prepare
from pipelines.settings import load
from pipelines.trace import trace

COLLECT = """
name = "collect"
[source]
connector = "files"
path = "{state}/partners/shops"
[mapping]
company = "source"
[versions]
system = "33"
[routing]
table = "collect"
[sinks.provinces]
connector = "sql"
for = "province-*"
url = "sqlite:///{state}/stores/{destination}.db"
"""


@pytest.fixture
def run(tmp_path, root):
    """Runs a coroutine function (door, drain) on a door whose inboxes are emptied by `drain`."""

    def runner(story):
        (tmp_path / "collect.toml").write_text(COLLECT, "utf-8")
        collect = load(tmp_path / "collect.toml", (), {})
        operators = load(root / "deploy" / "exchanges" / "operators.toml", (), {})
        with kit(tmp_path, of=collect) as door:
            (door.state.path / "partners" / "shops").mkdir(parents=True)
            running = [Live(door.state, one, milliseconds=0) for one in (operators, collect)]

            def drain():
                for live in running:
                    live.recover()
                    while live.step(0):
                        pass

            drain.collect = collect
            asyncio.run(story(door, drain))
            drain()
            proof = prove(door.state)
            assert proof.problems == []
            assert proof.balanced
            for live in running:
                live.close()

    return runner


def traced(door, vin):
    return trace(door.state, door.state.sealer(), vin)["versions"]


def letters(door):
    t = tables.letters.letters
    with door.state.reading() as connection:
        return connection.execute(select(t.c.id, t.c.dialect, t.c.codes, t.c.company).order_by(t.c.offset)).all()


def test_every_dialect_arrives_and_every_refusal_is_a_letter(run):
    async def story(door, drain):
        token = await door.token()
        bodies = [payload(number, token) for number in ("02", "04", "15", "15", "25")]
        told = [(await door.client.post(RECORD, content=body)).json()["code"] for body in bodies]
        assert told == ["0", "1", "1", "1", "1"]
        answer = await door.client.post("/carhealth/record", content=payload("06", token))
        assert answer.json() == {"respInfo": ADDED}
        bad = payload("10", token)
        for body in (bad, bad.replace(b"4454465656565", b"WP0ZZZ99ZTS392124").replace(b"20180830", b"20180826")):
            await door.foshan.get("/api/upRepairInfo.ashx", params={"repairdata": body.decode()})
        drain()
        for vin, dialects in (
            ("LVSHCAMB1CE054249", 1),
            ("WP1AG2923CLA64129", 2),
            ("LRW3E7FS6PC834425", 1),
            ("LFV2A21K8G4043336", 1),
            ("WP0ZZZ99ZTS392124", 1),
        ):
            found = traced(door, vin)
            assert len(found) == dialects, vin
            assert found[0]["destinations"] == [{"name": "province-33", "outcome": "delivered"}]
        assert [one["fate"] for one in traced(door, "WP1AG2923CLA64129")] == ["addressed", "duplicate"]
        assert sorted(letter.dialect for letter in letters(door)) == ["foshan", "national"]
        assert {letter.company for letter in letters(door)} == {"330106000000001"}
        assert door.rows() == []

    run(story)


def test_a_record_that_holds_a_password_is_kept_and_delivered_and_shows_it_nowhere(run):
    async def story(door, drain):
        token = await door.token()
        good, bad = ({**json.loads(payload(number, token)), "companypassword": PASSWORD} for number in ("15", "02"))
        assert (await door.client.post(RECORD, json=good)).json() == ADDED
        refused = (await door.client.post(RECORD, json=bad)).json()
        assert (refused["code"], PASSWORD in refused["status"]) == ("0", False)
        headers = {"authorization": f"Bearer {token}"}
        said = {**CANONICAL, "faultdescription": f"companypassword={PASSWORD}", "companypassword": PASSWORD}
        answer = await door.client.post("/v1/records", json=said, headers=headers)
        assert (answer.status_code, PASSWORD in answer.text) == (202, False)
        assert answer.json()["records"][0]["receipt"], "accepted: there is something to ask for"
        rows = door.rows()
        assert len(rows) == 3, "accepted or refused: all of it is kept"
        for row in rows:
            shown = str(masked(row.plain))
            assert ("companypassword" in shown, PASSWORD in shown) == (True, False)
        drain()
        for vin in ("WP1AG2923CLA64129", CANONICAL["vin"]):
            assert traced(door, vin)[0]["destinations"] == [{"name": "province-33", "outcome": "delivered"}]
        assert [letter.dialect for letter in letters(door)] == ["national"]

    run(story)


def test_what_the_door_refused_is_taken_for_nothing_else(run):
    async def story(door, drain):
        forged = {
            **{name: value for name, value in CANONICAL.items() if name not in ("parts", "projects")},
            "schema": "vingate.repair/1",
            "kind": "report",
            "system": "11",
            "companycode": "330106000000001",
            "dialect": "national",
            "received_at": "2026-09-30T20:00:00+08:00",
            "findings": [],
            "version": 7,
            "repaircomefrom": 2,
            "parts": [{"name": "x", "quantity": "1", "code": "1"}],
            "projects": [],
            "access_token": await door.token(),
        }
        assert (await door.client.post(RECORD, json=forged)).json()["code"] == "0"
        drain()
        assert [one["fate"] for one in traced(door, CANONICAL["vin"])] in ([], ["dead"])
        (letter,) = letters(door)
        items, _ = prepare(door.state, drain.collect, door.state.sealer(), [letter.id])
        assert items[0].extra["dialect"] == "root", "nor when its letter is replayed"

    run(story)


def test_receipts_of_v1_follow_a_record(run):
    async def story(door, drain):
        door.now = datetime.now(UTC)  # the inbox forgets keys by the clock
        headers = {"authorization": f"Bearer {await door.token()}"}
        batch = [CANONICAL, {**CANONICAL, "vin": "ABC"}, CANONICAL]
        told = (await door.client.post("/v1/records", json=batch, headers=headers)).json()["records"]

        async def states():
            urls = [f"/v1/receipts/{one['receipt']}" for one in told]
            return [(await door.client.get(url, headers=headers)).json() for url in urls]

        assert [one["state"] for one in await states()] == ["waiting"] * 3
        drain()
        first, second, _ = await states()
        assert (first["state"], first["version"]) == ("delivered", 1)
        assert first["destinations"] == [{"name": "province-33", "outcome": "delivered"}]
        assert second["state"] == "dead"
        assert [one["code"] for one in second["reasons"]] == ["VIN_LENGTH"]

    run(story)


def test_three_steps_become_one_record_under_the_registered_name(run):
    async def story(door, drain):
        company = await door.shop(companyname="上海某某汽修")
        with door.state.unit_of_work() as connection:
            applications.enrol(connection, door.state.sealer(), APP, company, SECRET)
        caller = Caller(door)
        settle = {"orderCode": "R1", "payTime": "2023-02-03 18:00:00"}
        items = {"orderCode": "R1", "repairProjectList": PROJECTS}
        correction = {**an_insert(), "vpn": "沪B54321", "repairMileage": "70000"}
        for path, body in ((INSERT, an_insert()), (ITEMS, items), (SETTLE, settle), (CORRECT, correction)):
            assert (await caller.call(path, body))["code"] == 0
        drain()
        found = traced(door, "WVWLJ57N4FV028811")
        assert [one["fate"] for one in found][-1] == "addressed"
        assert found[-1]["costlistcode"] == "R1"
        assert await plates(door) == [("沪B54321", "上海某某汽修")], "a correction that looks like an insert is none"

    run(story)


async def plates(door):
    (store,) = (door.state.path / "stores").glob("*.db")
    with closing(sqlite3.connect(store)) as connection:
        (table,) = [
            name
            for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
            if "plate" in [column[1] for column in connection.execute(f"pragma table_info({name})")]
        ]
        return connection.execute(f"select plate, companyname from {table} where current").fetchall()


def test_the_register_gets_shops_without_their_passwords(run):
    async def story(door, drain):
        company = await door.shop()
        drain()
        with door.state.reading() as connection:
            (row,) = connection.execute(select(tables.operators)).all()
        assert row.companycode == company
        assert json.loads(row.record)["companyname"] == row.companyname
        database = (door.state.path / "vingate.db").read_bytes()
        assert PASSWORD.encode() not in database

    run(story)
