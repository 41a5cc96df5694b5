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

    def post(self, path, body):
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        return self.client.post(path, **given).json()

    def login(self, company, password=PASSWORD):
        return self.post(TOKEN, {"companycode": company, "companypassword": password})

    def stop(self):
        self.client.close()
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
