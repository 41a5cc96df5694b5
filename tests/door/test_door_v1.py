"""`/v1`: tokens, records and batches, problems, idempotency keys, receipts, and its OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import numpy as np
import pytest
from door_kit import PASSWORD, exchange, kit
from sqlalchemy import delete, insert

from mappings.encoding import content_bytes, content_digest, key_digest
from pipelines import tables
from pipelines.door.judging import Judge
from pipelines.door.limits import Buckets
from pipelines.door.v1 import receipts
from pipelines.journal import ADDRESSED, FILTERED, LINE, Journal
from pipelines.versions import key_halves

RECORD = {
    "companyname": "杭州某某汽车维修有限公司",
    "plate": "浙AD12345",
    "vin": "LRW3E7FS6PC834425",
    "repairdate": "2024-03-18",
    "settledate": "2024-03-18",
    "mileage": 21560,
    "faultdescription": "空调不制冷",
    "costlistcode": "WX240318007",
    "parts": [{"name": "空调滤芯", "quantity": 1, "code": "1107681-00-A"}],
    "projects": [{"name": "更换空调滤芯", "hours": "0.5"}],
}


@pytest.fixture
def run(tmp_path):
    """Runs a coroutine function (door, headers with a token) on a door of its own."""

    def runner(story):
        async def admitted(door):
            body = {"companycode": await door.shop(), "companypassword": PASSWORD}
            answer = await door.client.post("/v1/token", json=body)
            assert answer.json()["expires_in"] == 86_400
            return await story(door, {"authorization": f"Bearer {answer.json()['access_token']}"})

        with kit(tmp_path) as door:
            return asyncio.run(admitted(door))

    return runner


def test_one_record(run):
    async def story(door, headers):
        body = json.dumps(RECORD, ensure_ascii=False).encode()
        answer = await door.client.post("/v1/records", content=body, headers=headers)
        assert answer.status_code == 202
        assert answer.json()["accepted"] == 1
        (row,) = door.rows()
        assert (row.plain, row.dialect, row.source) == (body, "record", "door:v1")

    run(story)


@pytest.mark.parametrize("wrap", [lambda records: records, lambda records: {"records": records}])
def test_a_batch_stands_record_by_record(run, wrap):
    async def story(door, headers):
        records = [RECORD, {**RECORD, "vin": "short"}, {**RECORD, "costlistcode": "2"}, 7]
        answer = await door.client.post("/v1/records", json=wrap(records), headers=headers)
        assert answer.status_code == 202
        told = answer.json()
        assert [one["status"] for one in told["records"]] == ["accepted", "refused", "accepted", "refused"]
        assert (told["accepted"], told["refused"]) == (2, 2)
        assert told["records"][1]["findings"][0]["code"] == "VIN_LENGTH"
        assert [json.loads(row.plain) for row in door.rows()] == records

    run(story)


def test_limits_of_a_batch(run):
    async def story(door, headers):
        for body, status in (([], 400), ([RECORD] * 1001, 400), ("x", 400)):
            answer = await door.client.post("/v1/records", json=body, headers=headers)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
        for body in (b"", b"{", b"\xff", b'[{"a":1}', b"[" * 100_000):
            assert (await door.client.post("/v1/records", content=body, headers=headers)).status_code == 400
        full = [{**RECORD, "costlistcode": str(at)} for at in range(1_000)]
        assert (await door.client.post("/v1/records", json=full, headers=headers)).json()["accepted"] == 1_000

    run(story)


def test_a_batch_costs_a_call_for_each_hundred_of_its_records(run):
    async def story(door, headers):
        full = [{**RECORD, "costlistcode": str(at)} for at in range(1_000)]
        keyed = {**headers, "idempotency-key": "night-1"}
        first, again = [await door.client.post("/v1/records", json=full, headers=keyed) for _ in range(2)]
        assert (first.status_code, again.status_code) == (202, 202), "a repetition can be afforded"
        assert first.json() == again.json()
        assert len(door.rows()) == 1_000
        slow = door.door.desk
        slow._companies = Buckets(rate=1, burst=3, clock=lambda: 0.0)
        answers = [await door.client.post("/v1/records", json=full[:101], headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 429], "two calls, then one is left"
        assert answers[1].headers["retry-after"] == "1"
        assert (await door.client.post("/v1/records", json=full[:100], headers=headers)).status_code == 202

    run(story)


def test_a_refused_record_is_a_problem_with_every_finding(run):
    async def story(door, headers):
        bad = {**RECORD, "vin": "", "parts": [{"name": "x", "quantity": "N/A", "code": "1"}]}
        answer = await door.client.post("/v1/records", json=bad, headers=headers)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        codes = {one["code"] for one in answer.json()["findings"]}
        assert codes == {"VIN_MISSING", "QUANTITY_NOT_NUMERIC"}
        assert len(door.rows()) == 1, "kept, so that it is a letter"

    run(story)


def test_who_may_call(run):
    async def story(door, headers):
        for given in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic " + headers["authorization"][7:]}):
            answer = await door.client.post("/v1/records", json=RECORD, headers=given)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        for body in ({"companycode": "1", "companypassword": "x"}, {"companycode": "1"}, []):
            assert (await door.client.post("/v1/token", json=body)).status_code in (400, 401)
        assert door.rows() == []

    run(story)


def test_idempotency_keys(run):
    async def story(door, headers):
        keyed = {**headers, "idempotency-key": "order-1"}
        batch = [RECORD, {**RECORD, "costlistcode": "2"}]
        first, again = [await door.client.post("/v1/records", json=batch, headers=keyed) for _ in range(2)]
        assert first.json() == again.json(), "receipts included"
        assert len(door.rows()) == 2
        other = await door.client.post("/v1/records", json=RECORD, headers=keyed)
        assert other.status_code == 422
        assert other.json()["type"].endswith("key-reused")
        too_long = {**headers, "idempotency-key": "x" * 256}
        assert (await door.client.post("/v1/records", json=RECORD, headers=too_long)).status_code == 400
        for _ in range(2):
            await door.client.post("/v1/records", json=RECORD, headers=headers)
        assert len(door.rows()) == 4, "without a key each is an envelope of its own: A, B, A are three versions"

    run(story)


def test_wrong_addresses_and_methods_are_problems(run):
    async def story(door, headers):
        for method, path, status in (("GET", "/v1/nothing", 404), ("PATCH", "/v1/records", 405), ("GET", "/v1", 404)):
            answer = await door.client.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["status"]) == (status, status)
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await door.client.get("/v1/token")).headers["allow"] == "POST"
        elsewhere = await door.client.get("/nothing")
        assert (elsewhere.status_code, elsewhere.text) == (404, "Not Found")

    run(story)


def test_corrections(run):
    async def story(door, headers):
        path = "/v1/records/WX240318007"
        assert (await door.client.put(path, json={**RECORD, "mileage": 5}, headers=headers)).status_code == 202
        other = await door.client.put(path, json={**RECORD, "costlistcode": "9"}, headers=headers)
        assert other.status_code == 422
        assert (await door.client.put(path, json=[RECORD], headers=headers)).status_code == 400
        back = {"costlistcode": "WX240318007", "withdrawn": "重复上传"}
        assert (await door.client.put(path, json=back, headers=headers)).status_code == 422
        assert len(door.rows()) == 1

    run(story)


WHY = {"reason": "重复上传，以另一单为准"}


def test_withdrawals(run):
    """A withdrawal is an envelope like a record: durable before its answer, with a receipt."""

    async def story(door, headers):
        path = "/v1/records/WX/2403 18%25007"
        answer = await door.client.request("DELETE", path, json=WHY, headers=headers)
        assert answer.status_code == 202
        assert answer.json()["accepted"] == 1
        receipt = answer.json()["records"][0]["receipt"]
        (row,) = door.rows()
        assert json.loads(row.plain) == {"costlistcode": "WX/2403 18%007", "withdrawn": WHY["reason"]}
        assert (row.dialect, row.source, row.vin) == ("record", "door:v1", 0)
        told = (await door.client.get(f"/v1/receipts/{receipt}", headers=headers)).json()
        assert (told["state"], told["version"]) == ("waiting", 0)
        by_address = await door.client.delete(path, params={"reason": "重复"}, headers=headers)
        assert by_address.status_code == 202
        assert json.loads(door.rows()[1].plain)["withdrawn"] == "重复"

    run(story)


def test_withdrawals_that_are_refused(run):
    async def story(door, headers):
        path, ask = "/v1/records/WX240318007", door.client.request
        assert (await ask("DELETE", path, json=WHY)).status_code == 401
        for body in (b"{", b"[]", b'"why"', b'{"reason": 1}', b'{"why": "x"}', b'{"reason": "x", "more": 1}'):
            answer = await ask("DELETE", path, content=body, headers=headers)
            assert answer.status_code == 400, body
            assert answer.headers["content-type"] == "application/problem+json"
        twice = await ask("DELETE", path, json=WHY, params={"reason": "y"}, headers=headers)
        assert twice.status_code == 400
        assert (await ask("DELETE", path, content=b" " * 10_000, headers=headers)).status_code == 413
        assert door.rows() == []
        for given, code in (({}, "MANDATORY_MISSING"), ({"json": {"reason": "无"}}, "MANDATORY_MISSING"),
                            ({"json": {"reason": "x" * 201}}, "TOO_LONG")):  # fmt: skip
            answer = await ask("DELETE", path, headers=headers, **given)
            assert answer.status_code == 422
            assert [(one["code"], one["field"]) for one in answer.json()["findings"]] == [(code, "withdrawn")]
            assert "/" in answer.json()["findings"][0]["message"]
        assert len(door.rows()) == 3, "kept, so that each is a letter"

    run(story)


def test_a_withdrawal_under_an_idempotency_key_is_kept_once(run):
    async def story(door, headers):
        keyed = {**headers, "idempotency-key": "back-1"}
        ask = door.client.request
        first, again = [await ask("DELETE", "/v1/records/1", json=WHY, headers=keyed) for _ in range(2)]
        assert first.json() == again.json()
        assert len(door.rows()) == 1
        other = await ask("DELETE", "/v1/records/2", json=WHY, headers=keyed)
        assert (other.status_code, other.json()["type"]) == (422, "urn:vingate:problem:key-reused")

    run(story)


def journalled(door, body, fate, outcomes, after=timedelta()):
    """Let a batch have taken what waits, by a clock that is so much ahead: no inbox row, one journal line."""
    now = (door.now + after).isoformat()
    row = Judge(exchange()).carefully(json.dumps(body).encode(), "record", "330106000000001", door.now).row
    line = np.zeros(1, LINE)
    high, low = key_halves(key_digest("collect", "33", row.companycode, row.costlistcode))
    line["fate"], line["version"], line["routes"] = fate, 3, 1
    line["key_hi"], line["key_lo"] = high, low
    line["content"] = int.from_bytes(content_digest(content_bytes(row[1:])), "big")
    book = Journal(line, [(), ("province-33", "receipts")], outcomes={"0": outcomes})
    with door.state.unit_of_work() as connection:
        connection.execute(delete(tables.inbox))
        connection.execute(insert(tables.runs), {"id": 1, "exchange": "collect", "started_at": now})
        batch = {"id": "b1", "exchange": "collect", "number": 1, "run": 1, "kind": "inbox", "state": "closed"}
        connection.execute(insert(tables.batches), {**batch, "received_at": now, "items": b"[]"})
        connection.execute(insert(tables.journals), {"batch": "b1", "item": 0, "source": "x", "lines": book.pack()})


@pytest.mark.parametrize(
    ("fate", "outcomes", "state"),
    [
        (ADDRESSED, {}, "delivered"),
        (ADDRESSED, {"province-33": "waiting"}, "pending"),
        (ADDRESSED, {"province-33": "dead"}, "partly"),
        (ADDRESSED, {"province-33": "dead", "receipts": "dead"}, "dead"),
        (FILTERED, {}, "filtered"),
    ],
)
def test_receipts(run, fate, outcomes, state):
    async def story(door, headers):
        answer = await door.client.post("/v1/records", json=RECORD, headers=headers)
        path = f"/v1/receipts/{answer.json()['records'][0]['receipt']}"
        assert (await door.client.get(path, headers=headers)).json()["state"] == "waiting"
        journalled(door, RECORD, fate, outcomes)
        told = (await door.client.get(path, headers=headers)).json()
        assert told["state"] == state
        if fate == ADDRESSED:
            assert told["version"] == 3
            assert told["destinations"][0] == {
                "name": "province-33",
                "outcome": outcomes.get("province-33", "delivered"),
            }
        assert (await door.client.get(path)).status_code == 401
        stranger = await door.token(await door.shop(uscc="91440300MA5H0HLK5U"))
        theirs = {"authorization": f"Bearer {stranger}"}
        assert (await door.client.get(path, headers=theirs)).status_code == 404
        for wrong in ("x", "A" * 64, "é" * 64, path[13:-1] + "_"):
            assert (await door.client.get(f"/v1/receipts/{wrong}", headers=headers)).status_code == 404

    run(story)


def test_a_receipt_is_found_though_the_clocks_of_door_and_gateway_differ(run):
    async def story(door, headers):
        answer = await door.client.post("/v1/records", json=RECORD, headers=headers)
        path = f"/v1/receipts/{answer.json()['records'][0]['receipt']}"
        journalled(door, RECORD, ADDRESSED, {}, after=timedelta(seconds=-90))
        assert (await door.client.get(path, headers=headers)).json()["state"] == "delivered"

    run(story)


def test_asking_for_receipts_counts_as_calls(run):
    async def story(door, headers):
        answer = await door.client.post("/v1/records", json=RECORD, headers=headers)
        path = f"/v1/receipts/{answer.json()['records'][0]['receipt']}"
        door.door.desk._companies = Buckets(0.001, 2)
        told = [await door.client.get(path, headers=headers) for _ in range(3)]
        assert [one.status_code for one in told] == [200, 200, 429]
        assert told[-1].headers["retry-after"]

    run(story)


def test_only_some_journals_are_looked_through_for_a_receipt(run, monkeypatch):
    async def story(door, headers):
        answer = await door.client.post("/v1/records", json=RECORD, headers=headers)
        path = f"/v1/receipts/{answer.json()['records'][0]['receipt']}"
        journalled(door, RECORD, ADDRESSED, {})
        monkeypatch.setattr(receipts, "MOST_JOURNALS", 0)
        assert (await door.client.get(path, headers=headers)).json()["state"] == "unknown"

    run(story)


def test_the_openapi_document_describes_what_is_there(run):
    async def story(door, headers):
        document = (await door.client.get("/v1/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        schemas = document["components"]["schemas"]
        assert set(schemas["Record"]["properties"]) == set(RECORD)
        for path, operations in document["paths"].items():
            for method in set(operations) - {"parameters"}:
                url = path.replace("{costlistcode}", "1").replace("{receipt}", "1")
                answer = await door.client.request(method.upper(), url)
                assert answer.status_code in (400, 401), "served, and guarded"
        answer = (await door.client.post("/v1/records", json=RECORD, headers=headers)).json()
        assert set(answer) == set(schemas["RecordsReply"]["properties"])
        assert set(answer["records"][0]) == set(schemas["Taken"]["properties"])

    run(story)
