"""Two `vingate serve` with a door each, on one shared state: whichever of them a shop calls, it is one door to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path

import httpx
import pytest
from door_kit import ADDED, PASSWORD, RECORD, REGISTER, TOKEN, payload, registration
from servers import postgres
from sqlalchemy import func, select
from test_door_signed import INSERT, SECRET, an_insert, text
from test_door_v1 import RECORD as CANONICAL

from pipelines import tables
from pipelines.door import accounts, applications
from pipelines.ledger import prove
from pipelines.nation import DEPLOY
from pipelines.state import State

ROOT = Path(__file__).parents[2]
PATIENCE = 120
KEY = "keys/sealing.key"
ROLE = """
name = "doors"
drain_seconds = 0
[state]
url = "{url}"
share = true
[door]
port = 0
exchange = "collect"
operators = ""
foshan = true
token_hours = 24
[exchanges.collect]
file = "{folder}/collect.toml"
milliseconds = 5
"""
COLLECT = """
name = "collect"
[source]
connector = "memory"
[mapping]
dialect = "auto"
company = "source"
[versions]
mode = "assign"
system = "33"
[routing]
table = "{table}"
[sinks.store]
connector = "sql"
for = "store"
url = "{url}"
"""


class Member:
    """One `vingate serve`, and a client of its door."""

    def __init__(self, folder, role, key="", root=ROOT):
        more = ["--set", f"state.key=file:{key}"] if key else []
        command = [sys.executable, "-m", "pipelines", "serve", str(role), "--state", str(folder)]
        self.log = folder.with_suffix(".log")
        environment = {**os.environ, "PYTHONPATH": str(root)}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--set", "health.port=0", *more],
                cwd=root, env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(PATIENCE)
            self.process.stdout.close()
            raise AssertionError(self.log.read_text())
        told = json.loads(line)
        self.health = told["health"]
        self.client = httpx.Client(base_url=told["door"], timeout=PATIENCE)
        self.foshan = httpx.Client(base_url=told["foshan"], timeout=PATIENCE)

    def post(self, path, body):
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        return self.client.post(path, **given).json()

    def login(self, company, password=PASSWORD):
        return self.post(TOKEN, {"companycode": company, "companypassword": password})

    def stop(self):
        self.client.close()
        self.foshan.close()
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """Two members, and the state that they share."""
    folder = tmp_path_factory.mktemp("doors")
    server = postgres.start(tmp_path_factory.getbasetemp())
    with server.shared(), server.database() as url:
        (folder / "collect.toml").write_text(COLLECT.format(table=DEPLOY / "tables/own-store.toml", url=url), "utf-8")
        role = folder / "role.toml"
        role.write_text(ROLE.format(url=url, folder=folder), "utf-8")
        members = [Member(folder / "one", role)]
        try:
            members.append(Member(folder / "two", role, folder / "one" / KEY))
            with State(folder / "one", own=False, url=url) as state:
                yield (*members, state)
        finally:
            codes = [one.stop() for one in members]
        assert codes == [0, 0]


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shop(door, uscc="91310112132259241T"):
    return door.post(REGISTER, registration(uscc))["companycode"]


def signed(body, app, nonce):
    body = {**body, "appId": app, "nonce": nonce, "timestamp": str(int(datetime.now(UTC).timestamp() * 1000))}
    return {**body, "sign": md5((text(body) + SECRET).encode(), usedforsecurity=False).hexdigest()}


def counted(state, table, *where):
    with state.reading() as connection:
        return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


def test_a_token_of_one_door_counts_at_the_other_and_a_retry_there_doubles_nothing(doors):
    one, two, state = doors
    company = shop(one)
    assert shop(two) == company, "the same registration has the same code everywhere"
    body = payload("15", one.login(company)["access_token"])
    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(lambda at: (one, two)[at % 2].post(RECORD, body), range(20)))
    assert told == [ADDED] * 20
    mine = tables.inbox.c.exchange == "collect"
    wait_for(lambda: counted(state, tables.inbox, mine) == 0)
    wait_for(lambda: prove(state).balanced)
    with state.reading() as connection:
        rows = connection.exec_driver_sql("SELECT record_key, version FROM repairs").all()
    assert [row.version for row in rows] == [1], "one record, though it came twenty times by two doors"


def test_each_call_of_every_dialect_may_go_to_the_other_door(doors):
    """Registered at one, a token of the other, an upload at the first again: no door keeps anything of its own."""
    one, two, state = doors
    before = counted(state, tables.inbox_keys)
    company = shop(one)
    token = two.login(company)["access_token"]
    assert one.post(RECORD, payload("25", token)) == ADDED
    assert two.post("/carhealth/record", payload("06", token))["respInfo"]["code"] == "1"

    asked = json.loads(payload("09"))
    asked["body"] |= {"companycode": company, "companypassword": PASSWORD}
    told = one.foshan.get("/api/getAccessToken.ashx", params={"companydata": json.dumps(asked)}).json()
    good = payload("10", told["access_token"]).replace(b"4454465656565", b"WP1AG2923CLA64129")
    good = good.replace(b"20180830", b"20180826").decode()
    assert two.foshan.get("/api/upRepairInfo.ashx", params={"RepairData": good}).json() == ADDED

    given = {"companycode": company, "companypassword": PASSWORD}
    modern = {"authorization": f"Bearer {one.post('/v1/token', given)['access_token']}", "idempotency-key": "side"}
    first, again = (door.client.post("/v1/records", json=[CANONICAL], headers=modern) for door in (two, one))
    assert (first.status_code, first.json()["accepted"]) == (202, 1)
    assert again.json() == first.json(), "the key of one door is known at the other"
    other = one.client.post("/v1/records", json=[{**CANONICAL, "mileage": 1}], headers=modern)
    assert other.status_code >= 400, "the same key with other content"
    del modern["idempotency-key"]
    place = f"/v1/records/{CANONICAL['costlistcode']}"
    corrected = two.client.put(place, json={**CANONICAL, "faultdescription": "异响"}, headers=modern)
    assert corrected.json()["records"][0]["status"] == "accepted"
    receipt = corrected.json()["records"][0]["receipt"]
    wait_for(lambda: one.client.get(f"/v1/receipts/{receipt}", headers=modern).json()["state"] == "delivered")
    withdrawn = one.client.request("DELETE", place, json={"reason": "重复"}, headers=modern)
    assert withdrawn.json()["records"][0]["status"] == "accepted"

    with state.unit_of_work() as connection:
        applications.enrol(connection, state.sealer(), "every-app", company, SECRET)
    for door, nonce in ((two, "e-1"), (one, "e-2")):
        assert door.post(INSERT, signed(an_insert(f"E{nonce}"), "every-app", nonce))["code"] == 0
    wait_for(lambda: counted(state, tables.inbox) == 0)
    wait_for(lambda: prove(state).balanced)
    assert counted(state, tables.inbox_keys) > before


def test_what_the_operator_ends_is_ended_at_both_doors(doors):
    one, two, state = doors
    company = shop(one)
    body = payload("15", two.login(company)["access_token"])
    assert [one.post(RECORD, body), two.post(RECORD, body)] == [ADDED] * 2
    with state.unit_of_work() as connection:
        accounts.reset_password(connection, company, datetime.now(UTC), PASSWORD)
    for door in (one, two):
        wait_for(lambda door=door: door.post(RECORD, body)["code"] == "0")
    assert one.post(RECORD, payload("15", two.login(company)["access_token"])) == ADDED
    with state.unit_of_work() as connection:
        accounts.close(connection, company, datetime.now(UTC))
    assert [one.login(company)["code"], two.login(company)["code"]] == ["0", "0"]
    with state.unit_of_work() as connection:
        accounts.approve(connection, company, datetime.now(UTC))


def test_wrong_passwords_are_counted_over_both_doors(doors):
    one, two, state = doors
    company = shop(one, "91350100M000100Y43")
    wrong = [door.login(company, "Wrong-99")["code"] for door in (one, two, one, two)]
    assert wrong == ["0"] * 4
    assert two.login(company)["code"] == "1", "four do not lock, and a right one begins anew"
    for door in (one, two, one, two, one):
        door.login(company, "Wrong-99")
    assert [one.login(company)["code"], two.login(company)["code"]] == ["0", "0"], "the fifth locks, for both"
    with state.unit_of_work() as connection:
        accounts.unlock(connection, company, datetime.now(UTC))
    assert [one.login(company)["code"], two.login(company)["code"]] == ["1", "1"]


def test_a_nonce_counts_once_over_both_doors(doors):
    one, two, state = doors
    company = shop(one)
    with state.unit_of_work() as connection:
        applications.enrol(connection, state.sealer(), "side-app", company, SECRET)
    first = signed(an_insert("S1"), "side-app", "n-1")
    assert [one.post(INSERT, first)["code"], two.post(INSERT, first)["code"]] == [0, 114]
    raced = signed(an_insert("S2"), "side-app", "n-2")
    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(lambda at: (one, two)[at % 2].post(INSERT, raced)["code"], range(8)))
    assert told == [0] + [114] * 7
    assert two.post(INSERT, signed(an_insert("S2"), "side-app", "n-3"))["code"] == 0, "a retry with a new nonce"
    other = signed(an_insert("S2", vin="LVSHCAMB1CE054249"), "side-app", "n-4")
    assert one.post(INSERT, other)["code"] == 2004, "another insert of an order that the other door took"
