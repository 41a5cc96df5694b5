"""Signed calls of the Shanghai interfaces, by a client written from domain tables 1.6 and 1.7 alone."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from hashlib import md5

import pytest
from door_kit import NOW, kit, payload
from sqlalchemy import insert

from pipelines import tables
from pipelines.door import applications
from pipelines.door.limits import AddressLimiter, Buckets
from pipelines.door.settings import DoorSettings

APP, SECRET, USCC = "app-1", "s3cret", "91310112132259241T"
INSERT, ITEMS, SETTLE, CORRECT, ERRORS = (
    f"/repairRecord/{name}"
    for name in (
        "insert",
        "updateRepairItemByOrderCode",
        "updateSettleInfoByOrderCode",
        "updateRepairInfoByOrderCode",
        "queryCompanyErrRepairRecord",
    )
)
PROJECTS = [
    {
        "projectName": "更换机油机滤",
        "workingHours": "1.5",
        "repairPartList": [{"partName": "机油机滤", "partCode": "1024", "partQty": "1"}],
    }
]


def text(value):
    """The signed text of a value: null is empty, objects are sorted and recursed, items of lists joined."""
    if isinstance(value, dict):
        return "&".join(f"{name}={text(value[name])}" for name in sorted(value))
    if isinstance(value, list):
        return "&".join(text(item) for item in value)
    return "" if value is None else str(value)


class Caller:
    """A client with a clock and a counter of nonces."""

    def __init__(self, door, form="{text}{secret}"):
        self.door, self.form, self.nonce, self.ahead = door, form, 1000, timedelta()

    def signed(self, body, nonce=None):
        self.nonce += 1
        stamp = str(int((NOW + self.ahead).timestamp() * 1000))
        body = {**body, "appId": APP, "nonce": self.nonce if nonce is None else nonce, "timestamp": stamp}
        whole = self.form.format(text=text(body), secret=SECRET)
        return {**body, "sign": md5(whole.encode(), usedforsecurity=False).hexdigest()}

    async def send(self, path, body):
        return (await self.door.client.post(path, json=body)).json()

    async def call(self, path, body):
        return await self.send(path, self.signed(body))


def an_insert(order="R1", **others):
    body = json.loads(payload("19"))
    for name in ("appId", "sign", "nonce", "timestamp"):
        del body[name]
    return {**body, "orderCode": order, **others}


@pytest.fixture
def run(tmp_path):
    """Runs a coroutine function on a door of its own with an enrolled application."""

    def runner(story, settings=None, form="{text}{secret}"):
        async def enrolled(door):
            company = await door.shop()
            with door.state.unit_of_work() as connection:
                for app in (APP, USCC):
                    applications.enrol(connection, door.state.sealer(), app, company, SECRET)
            await story(Caller(door, form))

        with kit(tmp_path, settings) as door:
            asyncio.run(enrolled(door))

    return runner


def test_three_steps_and_a_correction(run):
    async def story(caller):
        ok = {"code": 0, "message": "成功", "data": None}
        assert await caller.call(INSERT, an_insert()) == ok
        assert await caller.call(ITEMS, {"orderCode": "R1", "repairProjectList": PROJECTS}) == ok
        settle = {"orderCode": "R1", "payTime": "2023-02-03 18:00:00", "totalCost": "350.50"}
        assert await caller.call(SETTLE, settle) == ok
        correction = {
            "orderCode": "R1",
            "vin": "LVSHCAMB1CE054249",
            "vpn": "沪B12345",
            "repairTime": "2023-02-03 09:12:44",
        }
        assert await caller.call(CORRECT, {**correction, "repairMileage": "7", "faultDesc": "异响"}) == ok
        rows = caller.door.rows()
        steps = ["insert", "items", "settle", "correction"]
        assert [row.dialect for row in rows] == [f"shanghai:{step}" for step in steps], "read again as what it came as"
        assert {row.company for row in rows} == {"330106000000001"}

    run(story)


def test_a_piece_that_holds_a_password_is_kept_and_guarded_like_any_other(run):
    async def story(caller):
        call = caller.signed(an_insert(companyPassword="Test1234"))
        assert (await caller.send(INSERT, call))["code"] == 0
        assert len(caller.door.rows()) == 1
        assert (await caller.send(INSERT, call))["code"] == 114
        assert (await caller.call(INSERT, an_insert(faultDesc="companypassword")))["code"] == 2004
        assert (await caller.call(ITEMS, {"orderCode": "R9", "repairProjectList": PROJECTS, "companyPassword": "x"}))[
            "code"
        ] == 2003

    run(story)


def test_signatures(run):
    async def story(caller):
        good = caller.signed(an_insert())
        for changed, code in (
            ({"sign": None}, 104),
            ({"sign": "0" * 32}, 104),
            ({"vpn": "沪A12346"}, 104),
            ({"appId": ""}, 104),
            ({"appId": "nobody"}, 3025),
        ):
            answer = await caller.send(INSERT, {**good, **changed})
            assert answer["code"] == code, answer
            assert answer["data"] is None
        assert (await caller.send(INSERT, json.loads(payload("16"))))["code"] == 104, "the sample leaves the sign out"
        assert caller.door.rows() == []
        assert (await caller.send(INSERT, {**good, "sign": good["sign"].upper()}))["code"] == 0

    run(story)


def test_the_clock_may_be_minutes_off_and_not_an_hour(run):
    async def story(caller):
        for minutes, code in ((60, 105), (-60, 105), (9, 0), (-9, 0)):
            caller.ahead = timedelta(minutes=minutes)
            answer = await caller.call(INSERT, an_insert(f"R{minutes}"))
            assert answer["code"] == code
            assert code == 0 or answer["message"].startswith("调用时间过期")
        assert len(caller.door.rows()) == 2

    run(story)


@pytest.mark.parametrize(("nonce", "code"), [("", 107), ("n" * 65, 108), ("a\tb", 108)])
def test_a_nonce_that_cannot_be_one_is_a_wrong_parameter(run, nonce, code):
    async def story(caller):
        assert (await caller.send(INSERT, caller.signed(an_insert(), nonce)))["code"] == code
        assert caller.door.rows() == []

    run(story)


def test_a_nonce_counts_once(run):
    async def story(caller):
        body = caller.signed(an_insert())
        answers = await asyncio.gather(*[caller.send(INSERT, body) for _ in range(5)])
        assert sorted(answer["code"] for answer in answers) == [0, 114, 114, 114, 114]
        assert len(caller.door.rows()) == 1

    run(story)


def test_orders(run):
    async def story(caller):
        items = {"orderCode": "R1", "repairProjectList": PROJECTS}
        assert (await caller.call(ITEMS, items))["code"] == 2003
        assert (await caller.call(CORRECT, {"orderCode": "R1", "vpn": "沪A12345"}))["code"] == 2003
        assert caller.door.rows() == [], "what the steps would take and the door refuses is not kept"
        assert (await caller.call(INSERT, an_insert()))["code"] == 0
        assert (await caller.call(INSERT, an_insert()))["code"] == 0, "the same content again is success again"
        other = await caller.call(INSERT, an_insert(vpn="沪A54321"))
        assert other == {"code": 2004, "message": "维修记录已存在", "data": None}
        assert (await caller.call(ITEMS, items))["code"] == 0

    run(story)


def test_orders_that_a_batch_took_before(run):
    async def story(caller):
        row = dict.fromkeys([column.name for column in tables.fragments.c], "")
        row |= {"id": "1", "exchange": "collect", "system": "33", "company": "330106000000001", "order": "R9"}
        with caller.door.state.unit_of_work() as connection:
            connection.execute(
                insert(tables.fragments), {**row, "step": "insert", "intake": 1, "offset": 0, "body": b"x"}
            )
        assert (await caller.call(ITEMS, {"orderCode": "R9", "repairProjectList": PROJECTS}))["code"] == 0
        assert (await caller.call(INSERT, an_insert("R9")))["code"] == 2004

    run(story)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"vin": "qw1231"}, 2001),
        ({"vpn": ""}, 2000),
        ({"orderCode": ""}, 2002),
        ({"fuelType": "??"}, 2009),
        ({"natureOfUse": 7}, 2010),
        ({"repairTime": "yesterday"}, 108),
        ({"repairTime": ""}, 107),
        ({"repairTime": "", "vin": "x"}, 2001),
        ({"repairTime": "yesterday", "vpn": "沪A1"}, 108),  # a plate that is only flagged refuses nothing
        ({"carPhoto": "A" * 7_000_000}, 2007),
        ({"drivingPermitPhoto": "A" * 7_000_000}, 2008),
    ],
)
def test_numbers_of_faults_in_an_insert(run, changed, code):
    async def story(caller):
        answer = await caller.call(INSERT, an_insert(**changed))
        assert answer["code"] == code
        kept = caller.door.rows()
        assert len(kept) == (code not in (2007, 2008))
        assert all(json.loads(row.verdict)["verdict"] == "reject" for row in kept)

    run(story)


def test_photos_of_five_megabytes_are_taken(run):
    async def story(caller):
        photo = "A" * (5 << 20) + "A" * (5 << 20) + "AA"
        photos = {"carPhoto": photo[: 4 * (5 << 20) // 3], "drivingPermitPhoto": photo[: 4 * (5 << 20) // 3]}
        assert (await caller.call(INSERT, an_insert(**photos)))["code"] == 0
        assert (await caller.send(INSERT, an_insert(carPhoto="A" * (17 << 20))))["code"] == 112

    run(story)


@pytest.mark.parametrize(("quantity", "code"), [("0.5", 2006), (0, 2006), ("N/A", 2006), ("1", 0), (2.5, 0)])
def test_quantities_below_one(run, quantity, code):
    async def story(caller):
        await caller.call(INSERT, an_insert())
        part = {"partName": "机油", "partCode": "1", "partQty": quantity}
        projects = [{"projectName": "保养", "workingHours": 1, "repairPartList": [part]}]
        assert (await caller.call(ITEMS, {"orderCode": "R1", "repairProjectList": projects}))["code"] == code
        assert (await caller.call(ITEMS, {"orderCode": "R1", "repairProjectList": []}))["code"] == 2005

    run(story)


def test_where_the_secret_stands_is_a_setting(run):
    async def story(caller):
        assert (await caller.call(INSERT, an_insert()))["code"] == 0
        caller.form = "{text}{secret}"
        assert (await caller.call(INSERT, an_insert("R2")))["code"] == 104

    run(story, DoorSettings(secret_placement="{secret}{text}"), "{secret}{text}")  # noqa: S106 - a place, no secret


def test_garbage(run):
    async def story(caller):
        for body, code in ((b"", 106), (b"  ", 106), (b"{", 108), (b"[1]", 108), (b"\xff\x00", 108)):
            answer = await caller.door.client.post(INSERT, content=body)
            assert (answer.status_code, answer.json()["code"]) == (200, code)

    run(story)


def test_the_list_of_errors(run):
    async def story(caller):
        answer = await caller.call(ERRORS, {})
        assert answer == {"code": 0, "message": "成功", "data": []}
        assert (await caller.send(ERRORS, {}))["code"] == 104

    run(story)


def maintenance(body, nonce, identity=USCC):
    stamp = str(int(NOW.timestamp()))
    body = {**body, "companyIdentity": identity, "nonce": nonce, "timestamp": stamp}
    signed = f"{SECRET}companyIdentity={identity}&nonce={nonce}&timestamp={stamp}"
    return {**body, "sign": md5(signed.encode(), usedforsecurity=False).hexdigest()}


def test_secondary_maintenance(run):
    async def story(caller):
        car = json.loads(payload("20"))
        assert await caller.send("/repair/car/upload", maintenance(car, "n1")) == {
            "code": 0,
            "message": "成功",
            "data": None,
        }
        order = {
            "incomingInspectionId": car["incomingInspectionId"],
            "deliveryDate": "2020-12-22",
            "repairMileage": "66000",
            "settlementDate": "2020-12-23",
            "settlementSeq": "JS1",
            "repairItems": json.dumps({"subtotal": "1", "items": [{"itemName": "二级维护", "settlementTime": "2"}]}),
            "repairParts": json.dumps(
                {"subtotal": "1", "parts": [{"partName": "机油", "partNo": "1", "partUnitNumber": "4"}]}
            ),
        }
        assert (await caller.send("/repair/order/upload", maintenance(order, "n2")))["code"] == 0
        assert [row.dialect for row in caller.door.rows()] == ["secondary:car", "secondary:order"]
        again = await caller.send("/repair/order/upload", maintenance(order, "n2"))
        assert again["code"] == 114
        bad = await caller.send("/repair/car/upload", maintenance({**car, "vin": "x"}, "n3"))
        assert bad["code"] == 100
        assert "车辆识别代号" in bad["message"]

    run(story)


def test_a_mistyped_social_credit_code_is_named(run):
    async def story(caller):
        answer = await caller.send("/repair/car/upload", json.loads(payload("20")))
        assert answer["code"] == 100
        assert "统一社会信用代码不是 18 位" in answer["message"]

    run(story)


def test_made_up_applications_reach_the_database_no_more_often_than_their_address_may_call(run, monkeypatch):
    async def story(caller):
        desk = caller.door.door.desk
        desk._addresses = AddressLimiter(Buckets(1, 3, clock=lambda: 0.0))
        asked, ask = [], applications.application_of
        monkeypatch.setattr(applications, "application_of", lambda *given: (asked.append(given[-1]), ask(*given))[1])
        assert (await caller.call(INSERT, an_insert()))["code"] == 0
        bodies = [{**caller.signed(an_insert()), "appId": f"made-up-{at}"} for at in range(10)]
        answers = [await caller.door.client.post(INSERT, json=body) for body in bodies]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 7
        assert asked == [APP, "made-up-0", "made-up-1", "made-up-2"]
        assert (await caller.call(INSERT, an_insert("R2")))["code"] == 0, "who is known goes on"
        assert len(asked) == 4

    run(story)
