"""Records, corrections and withdrawals by `/v1` and an older dialect, from the door to store, receipt and trace."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
from door_kit import RECORD as NATIONAL
from door_kit import kit
from servers import postgres
from test_door_to_store import COLLECT, letters, traced
from test_door_v1 import RECORD, WHY

from pipelines import inboxitems
from pipelines.ledger import prove
from pipelines.lettering import replay_letters
from pipelines.live import Live
from pipelines.settings import load

PATH = f"/v1/records/{RECORD['costlistcode']}"
WANTED = "SELECT version, vin, mileage, withdrawn, current FROM repairs ORDER BY seq"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return postgres.start(tmp_path_factory.getbasetemp())


def runner(tmp_path, root, *overrides, url=""):
    """Runs a coroutine function (door, caller, drain) on a door whose inboxes are emptied by `drain`."""

    def run(story):
        (tmp_path / "collect.toml").write_text(COLLECT, "utf-8")
        collect = load(tmp_path / "collect.toml", overrides, {})
        operators = load(root / "deploy" / "exchanges" / "operators.toml", (), {})
        with kit(tmp_path, of=collect, url=url) as door:
            door.now = datetime.now(UTC)  # batches forget keys by the clock on the wall
            (door.state.path / "partners" / "shops").mkdir(parents=True)
            running = [Live(door.state, one, milliseconds=0) for one in (operators, collect)]

            def drain():
                for live in running:
                    live.recover()
                    while live.step(0):
                        pass
                assert prove(door.state).problems == []

            async def begun():
                company = await door.shop()
                await story(door, Caller(door, company, await door.token(company)), drain)

            asyncio.run(begun())
            drain()
            for live in running:
                live.close()

    return run


@pytest.fixture
def run(tmp_path, root):
    return runner(tmp_path, root)


class Caller:
    """A shop's software."""

    def __init__(self, door, company, token):
        self.client, self.company, self.token = door.client, company, token
        self.headers = {"authorization": f"Bearer {token}"}

    async def v1(self, method, path, body=None):
        answer = await self.client.request(method, path, json=body, headers=self.headers)
        assert answer.status_code < 400, answer.text
        return answer.json()

    async def receipt(self, told, index=0):
        return await self.v1("GET", f"/v1/receipts/{told['records'][index]['receipt']}")

    async def national(self, **changes):
        one = {**RECORD, **changes}
        basic = {
            "companycode": self.company,
            "companyname": one["companyname"],
            "vehicleplatenumber": one["plate"],
            "vin": one["vin"],
            "repairdate": "20240318",
            "settledate": "20240318",
            "repairmileage": str(one["mileage"]),
            "faultdescription": one["faultdescription"],
            "costlistcode": one["costlistcode"],
        }
        parts = [{"partsname": "空调滤芯", "partsquantity": "1", "partscode": "1107681-00-A"}]
        projects = [{"repairproject": "更换空调滤芯", "workinghours": "0.5"}]
        body = {
            "access_token": self.token,
            "basicInfo": basic,
            "vehiclepartslist": parts,
            "repairprojectlist": projects,
        }
        answer = await self.client.post(NATIONAL, json=body)
        assert answer.json()["code"] == "1", answer.text


def stored(door):
    with closing(sqlite3.connect(door.state.path / "stores" / "province-33.db")) as connection:
        return [tuple(row) for row in connection.execute(WANTED)]


def lives(door):
    return [(row[0], row[3], bool(row[4])) for row in stored(door)]


def test_record_correction_withdrawal_and_again_from_door_to_store(run):
    async def story(door, shop, drain):
        told = [
            await shop.v1("POST", "/v1/records", RECORD),
            await shop.v1("PUT", PATH, {**RECORD, "mileage": 21_561}),
            await shop.v1("DELETE", PATH, WHY),
            await shop.v1("DELETE", PATH, {"reason": "再说一次"}),
            await shop.v1("POST", "/v1/records", RECORD),
        ]
        drain()
        vin, why = RECORD["vin"], WHY["reason"]
        assert stored(door) == [
            (1, vin, "21560", None, 0), (2, vin, "21561", None, 0), (3, None, None, why, 0), (4, vin, "21560", None, 1),
        ]  # fmt: skip
        found = [(one["version"], one["withdrawn"], one["fate"]) for one in traced(door, vin)]
        assert found == [
            (1, False, "addressed"), (2, False, "addressed"), (3, True, "addressed"), (3, True, "duplicate"),
            (4, False, "addressed"),
        ]  # fmt: skip
        receipts = [await shop.receipt(one) for one in told]
        assert [(one["state"], one["version"]) for one in receipts] == [
            ("delivered", 1), ("delivered", 2), ("delivered", 3), ("delivered", 3), ("delivered", 1),
        ]  # fmt: skip
        assert letters(door) == []

    run(story)


def test_one_batch_after_the_other_ends_the_same(run):
    async def story(door, shop, drain):
        for method, path, body in (
            ("POST", "/v1/records", RECORD),
            ("PUT", PATH, {**RECORD, "mileage": 21_561}),
            ("DELETE", PATH, WHY),
        ):
            told = await shop.v1(method, path, body)
            drain()
            assert (await shop.receipt(told))["state"] == "delivered"
        assert lives(door) == [(1, None, False), (2, None, False), (3, WHY["reason"], True)]
        assert (await shop.receipt(await shop.v1("DELETE", PATH, WHY)))["state"] == "waiting"
        drain()
        assert len(stored(door)) == 3

    run(story)


def test_a_batch_holds_withdrawals_in_their_turn(run):
    async def story(door, shop, drain):
        back = {"costlistcode": RECORD["costlistcode"], "withdrawn": "录入错误"}
        told = await shop.v1("POST", "/v1/records", [RECORD, back, {**RECORD, "mileage": 7}, {"withdrawn": "x"}])
        assert [one["status"] for one in told["records"]] == ["accepted", "accepted", "accepted", "refused"]
        drain()
        assert lives(door) == [(1, None, False), (2, "录入错误", False), (3, None, True)]
        assert (await shop.receipt(told, 1))["version"] == 2

    run(story)


def test_withdrawing_what_is_not_known_is_answered_by_the_receipt_and_a_letter(run):
    async def story(door, shop, drain):
        await shop.v1("POST", "/v1/records", RECORD)
        other = Caller(door, *(await _another(door)))
        told = await other.v1("DELETE", PATH, WHY)
        mine = await shop.v1("DELETE", "/v1/records/unknown", WHY)
        drain()
        for caller, one in ((other, told), (shop, mine)):
            found = await caller.receipt(one)
            assert found["state"] == "dead"
            assert [reason["code"] for reason in found["reasons"]] == ["WITHDRAWAL_UNKNOWN"]
            assert "没有可撤回的记录" in found["reasons"][0]["message"]
        assert {one.company for one in letters(door)} == {other.company, shop.company}
        assert lives(door) == [(1, None, True)], "the other shop's record stands"

    run(story)


async def _another(door):
    company = await door.shop(uscc="91440300MA5H0HLK5U")
    return company, await door.token(company)


def test_a_letter_of_a_withdrawal_is_replayed_by_the_same_door(run):
    async def story(door, shop, drain):
        await shop.v1("DELETE", PATH, WHY)
        drain()
        await shop.v1("POST", "/v1/records", RECORD)
        drain()
        (letter,) = letters(door)
        (outcome,) = replay_letters(door.state, [letter.id]).letters
        assert outcome.outcome == "resolved"
        assert lives(door) == [(1, None, True)], "it came before the record: that one stands"
        assert [one.codes.strip() for one in letters(door)] == ["WITHDRAWAL_UNKNOWN"]

    run(story)


@pytest.mark.parametrize("first", ["national", "v1"])
def test_dialects_mixed_in_one_batch_are_decided_in_the_order_in_which_they_came(run, first):
    """What another shop sent before must not bring a withdrawal before its record, nor a correction before it."""

    async def story(door, shop, drain):
        other = Caller(door, *(await _another(door)))
        if first == "v1":
            await other.v1("POST", "/v1/records", {**RECORD, "costlistcode": "Z1"})
        await shop.national()
        await shop.v1("PUT", PATH, {**RECORD, "mileage": 5})
        await shop.v1("DELETE", PATH, WHY)
        await shop.national(mileage=6)
        await shop.v1("DELETE", PATH, WHY)
        drain()
        mine = stored(door)[first == "v1" :]  # behind the other shop's record
        assert [(row[0], row[2], row[3] is not None) for row in mine] == [
            (1, "21560", False), (2, "5", False), (3, None, True), (4, "6", False), (5, None, True),
        ]  # fmt: skip
        assert letters(door) == []

    run(story)


def test_a_company_that_changes_its_dialect_all_the_time_costs_a_bounded_number_of_items(run, monkeypatch):
    monkeypatch.setattr(inboxitems, "MOST_TURNS", 3)

    async def story(door, shop, drain):
        for mileage in range(1, 7):
            await shop.national(mileage=mileage)
            await shop.v1("PUT", PATH, {**RECORD, "mileage": mileage * 100})
        drain()
        assert [row[2] for row in stored(door)] == [str(n) for i in range(1, 7) for n in (i, i * 100)]
        assert door.rows() == []

    run(story)


def test_the_whole_on_postgresql(server, tmp_path, root):
    """State and store on PostgreSQL: the same versions, the same trace."""

    async def story(door, shop, drain):
        await shop.v1("POST", "/v1/records", RECORD)
        drain()
        told = await shop.v1("DELETE", PATH, WHY)
        await shop.v1("DELETE", PATH, WHY)
        await shop.v1("DELETE", "/v1/records/unknown", WHY)
        drain()
        await shop.v1("POST", "/v1/records", RECORD)
        drain()
        assert (await shop.receipt(told))["state"] == "delivered"
        found = [(one["version"], one["withdrawn"], one["fate"]) for one in traced(door, RECORD["vin"])]
        assert found == [
            (1, False, "addressed"),
            (2, True, "addressed"),
            (2, True, "duplicate"),
            (3, False, "addressed"),
        ]
        assert [one.codes.strip() for one in letters(door)] == ["WITHDRAWAL_UNKNOWN"]

    with server.shared(), server.database() as url, server.database() as store:
        runner(tmp_path, root, f"sinks.provinces.url={store}", url=url)(story)
        with psycopg.connect(store.replace("+psycopg", "")) as connection:
            rows = connection.execute(WANTED).fetchall()
    assert [(row[0], row[3], row[4]) for row in rows] == [(1, None, False), (2, WHY["reason"], False), (3, None, True)]


def test_the_openapi_document_describes_corrections_and_withdrawals(run):
    async def story(door, shop, drain):
        document = (await door.client.get("/v1/openapi.json")).json()
        operations = document["paths"]["/v1/records/{costlistcode}"]
        assert "202" in operations["put"]["responses"]
        assert {"202", "400", "401", "422"} <= set(operations["delete"]["responses"])
        for operation, path in ((operations["delete"], PATH), (operations["put"], PATH)):
            (content,) = operation["requestBody"]["content"].values()
            for example in content["examples"].values():
                method = "DELETE" if operation is operations["delete"] else "PUT"
                answer = await door.client.request(method, path, json=example["value"], headers=shop.headers)
                assert answer.status_code == 202, answer.text
        problem = operations["delete"]["responses"]["422"]["content"]["application/problem+json"]
        assert problem["examples"]
        for example in problem["examples"].values():
            assert set(example["value"]) == set(document["components"]["schemas"]["Problem"]["properties"])
        assert json.dumps(document["components"]["schemas"]["Batch"]).count("#/components/schemas/") == 2

    run(story)
