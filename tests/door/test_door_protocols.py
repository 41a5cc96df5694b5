"""The dialects of the door, by the payloads of real clients: what they are answered, and what is kept of them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from urllib.parse import quote, quote_plus

import pytest
from door_kit import ADDED, PASSWORD, RECORD, REGISTER, TOKEN, exchange, kit, payload, registration
from sqlalchemy.exc import OperationalError

from pipelines.door.counting import LOGINS
from pipelines.door.settings import Backlog, DoorSettings
from pipelines.vinhash import vin_hash


@pytest.fixture
def run(tmp_path):
    """Runs a coroutine function on a door of its own."""

    def runner(story, settings=None, of=None):
        with kit(tmp_path, settings, of) as door:
            return asyncio.run(story(door))

    return runner


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        ("02", ["缺少车辆识别代号", "basicInfo.vin", "配件数量不是数字", "维修工时不是数字"]),
        ("04", []),
        ("06", []),
        ("10", ["车辆识别代号不是 17 位", "4454465656565", "结算日期晚于报送日期"]),
        ("15", []),
        ("25", []),
    ],
)
def test_records_at_the_national_interface(run, number, parts):
    async def story(door):
        body = payload(number, await door.token())
        answer = await door.client.post(RECORD, content=body)
        assert answer.status_code == 200
        if parts:
            assert answer.json()["code"] == "0"
            assert all(part in answer.json()["status"] for part in parts), answer.text
        else:
            assert answer.json() == ADDED
        (row,) = door.rows()
        assert row.plain == body, "byte for byte as it arrived"
        assert (row.source, row.company) == ("door:national", "330106000000001")
        assert json.loads(row.verdict)["verdict"] == ("reject" if parts else "accept")

    run(story)


@pytest.mark.parametrize("number", ["01", "05", "07", "09", "13", "16", "17", "19", "20", "23", "24", "27"])
def test_what_is_no_record_is_refused_and_not_kept(run, number):
    async def story(door):
        token = await door.token()
        given = json.loads(payload(number))
        for body in (given, {**given, "access_token": token}):
            answer = (await door.client.post(RECORD, json=body)).json()
            assert answer["code"] == "0"
            assert answer["status"]
        kept = door.rows()
        assert all(b"password" not in row.plain for row in kept)
        assert len(kept) == (number in ("16", "17", "19", "20", "23", "24", "27"))
        assert all(json.loads(row.verdict)["verdict"] == "reject" for row in kept)

    run(story)


def test_vin_hash_and_dialect_are_kept_beside(run):
    async def story(door):
        token = await door.token()
        await door.client.post(RECORD, content=payload("15", token))
        await door.client.post("/carhealth/record", content=payload("06", token))
        first, second = door.rows()
        assert first.vin % 2**64 == vin_hash("WP1AG2923CLA64129")
        assert (first.dialect, second.dialect, second.source) == ("national", "chengdu", "door:chengdu")

    run(story)


def test_token_request_and_its_refusals(run):
    async def story(door):
        company = await door.shop()
        ok = await door.client.post(TOKEN, json={"companycode": company, "companypassword": PASSWORD})
        assert ok.json()["code"] == "1"
        assert len(ok.json()["access_token"]) == 64
        for code, password in ((company, "wrong"), ("330106999999999", PASSWORD), (company, ""), ("", "")):
            refused = await door.client.post(TOKEN, json={"companycode": code, "companypassword": password})
            assert refused.status_code == 200
            assert refused.json()["code"] == "0"
            assert "access_token" not in refused.json()
        for body in (b"", b"{", b"[]", b"\xff\xfe\x00"):
            assert (await door.client.post(TOKEN, content=body)).json()["code"] == "0"

    run(story)


def test_five_wrong_passwords_lock_and_time_unlocks(run):
    async def story(door):
        company = await door.shop()

        async def login(password):
            body = {"companycode": company, "companypassword": password}
            return (await door.client.post(TOKEN, json=body)).json()["code"]

        def counted():
            return [LOGINS.labels(outcome)._value.get() for outcome in ("ok", "wrong", "locked")]

        before = counted()
        assert [await login("wrong") for _ in range(4)] == ["0"] * 4
        assert await login(PASSWORD) == "1", "not before five"
        assert [await login("wrong") for _ in range(5)] == ["0"] * 5
        assert await login(PASSWORD) == "0"
        assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 9, 1]
        door.now += timedelta(minutes=2)
        assert await login(PASSWORD) == "1"

    run(story)


def test_wrong_and_expired_tokens(run):
    async def story(door):
        token = await door.token()
        for body in (payload("15"), payload("15", "ABC"), payload("15").replace(b"access_token", b"x")):
            answer = await door.client.post(RECORD, content=body)
            assert answer.status_code == 200
            assert answer.json()["code"] == "0"
            assert "access_token" in answer.json()["status"]
        door.now += timedelta(hours=25)
        late = (await door.client.post(RECORD, content=payload("15", token))).json()
        assert late["code"] == "0"
        assert "过期" in late["status"]
        assert door.rows() == []

    run(story)


def test_chengdu_speaks_in_resp_info(run):
    async def story(door):
        html = {"content-type": "text/html"}
        refused = await door.client.post("/carhealth/register", content=payload("07"), headers=html)
        assert set(refused.json()) == {"respInfo"}
        said = refused.json()["respInfo"]["status"]
        for field in ("companyunifiedsocialcreditidentifier", "companyeconomiccategory", "companycategory"):
            assert field in said, "every fault in one text"
        info = registration()
        wrapped = {"transaction": {"header": {"date": "20260930", "time": "101500"}, "body": {"reqInfo": info}}}
        made = (await door.client.post("/carhealth/register", json=wrapped)).json()["respInfo"]
        assert made["code"] == "1"
        assert made["companycode"] == "330106000000001"
        asked = json.loads(payload("05"))
        asked["transaction"]["body"]["reqInfo"]["companycode"] = made["companycode"]
        token = (await door.client.post("/carhealth/token", json=asked, headers=html)).json()["respInfo"]
        assert token["code"] == "1"
        body = payload("06", token["access_token"])
        answer = await door.client.post("/carhealth/record", content=body, headers=html)
        assert answer.json() == {"respInfo": ADDED}
        (row,) = door.rows()
        assert row.plain == body

    run(story)


def test_chengdu_tells_the_time(run):
    async def story(door):
        answer = await door.client.get("/time")
        assert answer.headers["content-type"].startswith("text/plain")
        assert len(answer.text) == 13
        assert answer.text.isdigit()

    run(story)


@pytest.mark.parametrize("encode", [quote, quote_plus])
def test_foshan_by_get(run, encode):
    async def story(door):
        asked = json.loads(payload("09"))
        asked["body"] |= {"companycode": await door.shop(), "companypassword": PASSWORD}
        url = f"/api/getAccessToken.ashx?companydata={encode(json.dumps(asked))}"
        token = (await door.foshan.get(url)).json()
        assert token["code"] == "1"
        assert len(token["access_token"]) == 64
        bad = payload("10", token["access_token"])
        answer = await door.foshan.get(f"/api/upRepairInfo.ashx?repairdata={encode(bad)}")
        assert answer.json()["code"] == "0"
        good = bad.replace(b"4454465656565", b"WP1AG2923CLA64129").replace(b"20180830", b"20180826")
        answer = await door.foshan.get(f"/api/upRepairInfo.ashx?RepairData={encode(good)}")
        assert answer.json() == ADDED
        assert [row.plain for row in door.rows()] == [bad, good], "the decoded value, nothing of the address"
        assert {row.dialect for row in door.rows()} == {"foshan"}
        for url in ("/api/upRepairInfo.ashx", "/api/upRepairInfo.ashx?repairdata=", "/api/getAccessToken.ashx?x=1"):
            assert (await door.foshan.get(url)).json()["code"] == "0"
        assert (await door.client.get("/api/getAccessToken.ashx")).status_code == 404, "on its own listener only"
        assert (await door.foshan.post(RECORD, content=good)).status_code == 404

    run(story)


def test_registration_and_what_the_register_gets(run):
    async def story(door):
        bad = await door.client.post(REGISTER, content=payload("13"))
        assert bad.json()["code"] == "0"
        assert "统一社会信用代码校验码错误" in bad.json()["status"]
        company = await door.shop()
        again = await door.client.post(REGISTER, json=registration())
        assert again.json()["companycode"] == company, "the same registration again is the same shop"
        other = await door.client.post(REGISTER, json=registration(companypassword="Other9876"))
        assert other.json()["code"] == "0"
        rows = door.rows("operators")
        assert len(rows) == 2
        kept = json.loads(rows[0].plain)
        assert kept["companycode"] == company
        assert kept["companyunifiedsocialcreditidentifier"] == "91310112132259241T"
        assert not [name for name in kept if "password" in name]
        assert all(PASSWORD.encode() not in row.plain for row in rows)
        assert door.rows() == []

    run(story)


def test_registration_that_waits_for_approval(run):
    async def story(door):
        answer = (await door.client.post(REGISTER, json=registration())).json()
        assert answer["code"] == "1"
        assert "待审核" in answer["status"]
        body = {"companycode": answer["companycode"], "companypassword": PASSWORD}
        refused = (await door.client.post(TOKEN, json=body)).json()
        assert refused == {"code": "0", "status": "企业注册尚未审核通过"}

    run(story, DoorSettings(registration="approve"))


def test_quirks_of_clients_are_taken(run):
    async def story(door):
        token = await door.token()
        record = json.loads(payload("15", token))
        twice = {k: json.dumps(v, ensure_ascii=False) if k != "access_token" else v for k, v in record.items()}
        flat = {**record["basicInfo"], **{k: v for k, v in record.items() if k != "basicInfo"}}
        upper = json.loads(json.dumps(record).replace("basicInfo", "BASICINFO").replace("access_token", "Access_Token"))
        bodies = [
            (json.dumps(twice).encode(), "text/plain"),
            (json.dumps(flat).encode(), "text/plain"),
            (json.dumps(upper).encode(), "text/html"),
            (json.dumps(record, ensure_ascii=False).encode("gb18030"), "application/json"),
            (b"\xef\xbb\xbf" + json.dumps(record, indent=3).encode(), ""),
        ]
        for body, media in bodies:
            answer = await door.client.post(RECORD, content=body, headers={"content-type": media})
            assert answer.json() == ADDED, answer.text
        assert [row.dialect for row in door.rows()] == ["national", "root", "national", "national", "national"]

    run(story)


def test_what_systems_exchange_is_not_taken_from_shops(run):
    async def story(door):
        token = await door.token()
        body = {"schema": "vingate.repair/1", "kind": "report", "system": "11", "version": 7, "access_token": token}
        answer = (await door.client.post(RECORD, json={**body, "vin": "WP1AG2923CLA64129"})).json()
        assert answer["code"] == "0"
        assert all(row.dialect != "report" for row in door.rows())

    run(story)


def test_another_companys_code_is_refused(run):
    async def story(door):
        record = json.loads(payload("15", await door.token()))
        for code, accepted in (("330106000000001", True), ("440106000000001", False)):
            record["basicInfo"]["companycode"] = code
            answer = (await door.client.post(RECORD, json=record)).json()
            assert (answer["code"] == "1") == accepted
        assert "企业编码与上报身份不符" in answer["status"]

    run(story)


def test_the_profile_is_the_exchanges(run):
    async def story(door):
        body = payload("02", await door.token()).replace(b'"vin": ""', b'"vin": "WP1AG2923CLA64129"')
        assert (await door.client.post(RECORD, content=body)).json() == ADDED

    run(story, of=exchange(profile="lenient"))


def test_a_refusal_names_also_what_would_only_be_flagged(run):
    async def story(door):
        body = payload("02", await door.token())
        refused = (await door.client.post(RECORD, content=body)).json()
        first, _, then = refused["status"].partition("；另请核对：")
        assert first == "缺少车辆识别代号（basicInfo.vin，应为 17 位）"
        assert "配件数量不是数字" in then
        assert "维修工时不是数字" in then
        assert "UNKNOWN" not in then
        assert "gd_id" not in then, "what is left out is no fault"
        refused = (await door.client.post("/carhealth/register", content=payload("07"))).json()["respInfo"]
        assert refused["code"] == "0"
        for member in ("companyunifiedsocialcreditidentifier", "companyoperationstate", "companyeconomiccategory"):
            assert member in refused["status"]

    run(story, of=exchange(profile="lenient"))


def test_too_large(run):
    async def story(door):
        body = payload("15", await door.token()) + b" " * 5_000
        answer = await door.client.post(RECORD, content=body)
        assert answer.status_code == 413
        assert answer.json() == {"code": "0", "status": "报文过大"}
        assert door.rows() == []

    run(story, DoorSettings(body_bytes=4_000))


def test_token_requests_are_short(run):
    async def story(door):
        for path in (TOKEN, REGISTER, "/carhealth/token", "/carhealth/register"):
            answer = await door.client.post(path, content=b"{" * 100_000)
            assert answer.status_code == 413
            assert "报文过大" in answer.text

    run(story)


def test_no_room_for_another_long_body(run):
    async def story(door):
        token = await door.token()

        async def pieces():
            for _ in range(3):
                yield b" " * (500 << 10)

        answer = await door.client.post(RECORD, content=pieces())
        assert answer.status_code == 503
        assert answer.json()["code"] == "0"
        assert answer.headers["connection"] == "close"
        assert (await door.client.post(RECORD, content=payload("15", token))).json() == ADDED
        assert (await door.client.post("/v1/records", content=pieces())).status_code == 401
        headers = {"authorization": f"Bearer {token}"}
        assert (await door.client.post("/v1/records", content=pieces(), headers=headers)).status_code == 503

    run(story, DoorSettings(body_room_bytes=1 << 20))


@pytest.mark.parametrize(("overload", "status"), [("status", 429), ("dialect", 200)])
def test_too_many(run, overload, status):
    async def story(door):
        body = payload("15", await door.token())
        answers = [await door.client.post(RECORD, content=body) for _ in range(4)]
        assert [answer.json()["code"] for answer in answers] == ["1", "1", "0", "0"]
        assert answers[-1].status_code == status
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert len(door.rows()) == 2

    run(story, DoorSettings(requests_per_second=2, overload=overload))


def test_a_full_inbox_sends_callers_away(run):
    async def story(door):
        body = payload("15", await door.token())
        answers = [await door.client.post(RECORD, content=body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 503]
        assert answers[2].json()["code"] == "0"
        assert answers[2].headers["retry-after"] == "30"
        assert len(door.rows()) == 2

    run(story, DoorSettings(backlog=Backlog(rows=2), operators=""))


def test_what_cannot_be_made_durable_is_said_so(run, monkeypatch):
    async def story(door):
        body = payload("15", await door.token())
        unit = type(door.state).unit_of_work

        def broken(_):
            raise OperationalError("insert secret words", {}, OSError("disk full"))

        monkeypatch.setattr(type(door.state), "unit_of_work", broken)
        answer = await door.client.post(RECORD, content=body)
        assert answer.status_code == 503
        assert answer.json()["code"] == "0"
        assert "secret words" not in answer.text
        token = await door.client.post(TOKEN, json={"companycode": "1", "companypassword": "x"})
        assert (token.status_code, token.json()["code"]) == (503, "0")
        monkeypatch.setattr(type(door.state), "unit_of_work", unit)
        assert door.rows() == [], "nothing half accepted"
        assert (await door.client.post(RECORD, content=body)).json() == ADDED

    run(story)


def test_our_own_errors_are_answered_in_the_dialect(run, monkeypatch):
    async def story(door):
        body = payload("06", await door.token())

        def broken(*_):
            raise RuntimeError("words that quote a password")

        monkeypatch.setattr(door.door.desk.judge, "carefully", broken)
        answer = await door.client.post("/carhealth/record", content=body)
        assert answer.status_code == 500
        assert answer.json()["respInfo"]["code"] == "0"
        assert "Traceback" not in answer.text
        assert "password" not in answer.text

    run(story)


def test_the_same_record_twenty_times_at_once(run):
    async def story(door):
        body = payload("15", await door.token())
        intake, groups = door.door.desk.intake, []
        commit = intake._commit
        intake._commit = lambda group: (groups.append(len(group)), commit(group))
        answers = await asyncio.gather(*[door.client.post(RECORD, content=body) for _ in range(20)])
        assert [answer.json() for answer in answers] == [ADDED] * 20
        assert len(door.rows()) == 20, "each is an envelope; the batch finds the duplicates"
        assert sum(groups) == 20
        assert len(groups) < 20, "they share commits"

    run(story)
