"""Shop software as a vendor would write it from domain.md alone: `python vendor.py DOOR FOSHAN STEP...`.

An ordinary program with an ordinary HTTP library; nothing of this repository is imported. Each step prints one JSON
line of what the next ones need, and ends with an error where the door answers otherwise than the document says.
"""

# ruff: noqa: S310 - the addresses are those of the test's own service

from __future__ import annotations

import hashlib
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

DOOR, FOSHAN = sys.argv[1], sys.argv[2]
NATIONAL = "/restservices/lcipprodatarest"
PASSWORD = "Wx-20240318"  # noqa: S105 - of an invented shop
SHOP = {
    "companyname": "上海某某汽车维修有限公司",
    "companypassword": PASSWORD,
    "companyroadtransportationlicense": "310112000001",
    "companyunifiedsocialcreditidentifier": "91330100799655058B",
    "companyaddress": "上海市闵行区某某路1号",
    "companypostalcode": "201100",
    "companyeconomiccategory": "150",
    "companycategory": "02",
    "companylinkmanname": "李某",
    "companylinkmantel": "13800000000",
    "companysuperintendentname": "王某",
    "companysuperintendenttel": "13900000000",
    "companybusinessscope": "二类机动车维修",
    "roadtransportationlicensestartdate": "20180101",
    "roadtransportationlicenseenddate": "99990909",
    "companyoperationstate": "1",
    "companyadministrativedivisioncode": "330106",
    "companyemail": "shop@example.com",
}
BASIC = {
    "vehicleplatenumber": "沪A12345",
    "companyname": SHOP["companyname"],
    "vin": "WP1AG2923CLA64129",
    "repairdate": "20240318",
    "repairmileage": "21560",
    "settledate": "20240319",
    "faultdescription": "空调不制冷",
}
PARTS = [{"partsname": "空调滤芯", "partsquantity": "1", "partscode": "1107681-00-A"}]
PROJECTS = [{"repairproject": "更换空调滤芯", "workinghours": "0.5"}]


def ask(url: str, body: bytes | None = None, kind: str = "application/json;charset=UTF-8", **headers: str) -> Any:
    """HTTP status and body of an answer; the body is JSON, or text."""
    request = urllib.request.Request(url, body, {"Content-Type": kind, **headers} if body is not None else headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    return status, json.loads(text) if text.startswith(("{", "[")) else text


def post(path: str, value: Any, kind: str = "application/json;charset=UTF-8") -> Any:
    """What is answered, always with 200: those clients know nothing else."""
    status, answer = ask(DOOR + path, json.dumps(value).encode(), kind)
    assert status == 200, (path, status, answer)
    return answer


def fails(answer: dict[str, Any], *said: str) -> None:
    """A refusal of the national family: no "1", and every fault in one text."""
    assert answer["code"] != "1", answer
    assert all(part in answer["status"] for part in said), answer


def record(token: str, code: str, **changes: Any) -> dict[str, Any]:
    """A record of the national interface."""
    basic = {**BASIC, "costlistcode": code, **changes}
    return {"access_token": token, "basicInfo": basic, "vehiclepartslist": PARTS, "repairprojectlist": PROJECTS}


def flat(token: str, code: str, vin: str) -> dict[str, Any]:
    """The same with its members beside the lists (Chengdu, Foshan)."""
    said = {"access_token": token, **BASIC, "costlistcode": code, "vin": vin}
    return {**said, "vehiclepartslist": PARTS, "repairprojectlist": PROJECTS}


def national() -> dict[str, Any]:
    """1.2 and 1.3: registration, token, records; what goes wrong in between."""
    register, login, add = (
        f"{NATIONAL}/{method}/query"
        for method in ("lcipproaccountcompany", "lcipprogetaccesstoken", "lcipprocarfixrecordadd")
    )
    fails(post(register, {**SHOP, "companyunifiedsocialcreditidentifier": "91330100799655058C", "companyname": ""}))
    made = post(register, SHOP)
    assert made["code"] == "1", made
    company = made["companycode"]
    assert len(company) == 15, company
    assert company.startswith("330106"), company
    assert post(register, SHOP)["companycode"] == company
    wrong = post(login, {"companycode": company, "companypassword": "guess"})
    fails(wrong)
    assert "access_token" not in wrong
    token = post(login, {"companycode": company, "companypassword": PASSWORD})["access_token"]
    ok = {"code": "1", "status": "新增成功"}
    assert post(add, record(token, "N1")) == ok
    assert post(add, record(token, "N1")) == ok, "clients try again blindly"
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda _: post(add, record(token, "N1")), range(20))) == [ok] * 20
    texts = {name: json.dumps(value) for name, value in record(token, "N2", vin="LVSHCAMB1CE054249").items()}
    assert post(add, {**texts, "access_token": token}) == ok, "members as JSON strings"
    fails(post(add, record(token, "N3", vin="SHORT", repairdate="20240231", costlistcode="")), "车辆识别代号", "日期")
    fails(post(add, record("0" * 64, "N4")), "access_token")
    fails(post(add, {"basicInfo": BASIC}))
    status, answer = ask(DOOR + add, b"[" * (10 << 20))
    assert (status, answer["code"]) == (413, "0")
    return {"company": company, "token": token}


def chengdu() -> dict[str, Any]:
    """1.4: in an envelope, declared text/html, answered in respInfo."""

    def call(name: str, said: Any) -> Any:
        header = {"date": "20240319", "time": "101500"}
        wrapped = {"transaction": {"header": header, "body": {"reqInfo": said}}}
        answer = post(f"/carhealth/{name}", wrapped, "text/html")
        assert set(answer) == {"respInfo"}, answer
        return answer["respInfo"]

    shop = {**SHOP, "companyunifiedsocialcreditidentifier": "91310112132259241T", "companyname": "成都某某汽修"}
    company = call("register", {**shop, "companyadministrativedivisioncode": "510104"})["companycode"]
    token = call("token", {"companycode": company, "companypassword": PASSWORD})["access_token"]
    assert "新增成功" in str(call("record", flat(token, "C1", "LRW3E7FS6PC834425")))
    fails(call("record", flat(token, "C2", "LRW3E7FS6PC83442")), "车辆识别代号")
    status, clock = ask(DOOR + "/time")
    assert status == 200
    assert abs(int(clock) - time.time() * 1000) < 600_000
    return {}


def foshan(company: str) -> dict[str, Any]:
    """1.4: everything by GET, as URL-encoded JSON, at an address of its own."""

    def call(name: str, member: str, said: Any) -> Any:
        whole = {"header": {"date": "20240319", "time": "101500"}, "body": said}
        status, answer = ask(f"{FOSHAN}/api/{name}.ashx?{urllib.parse.urlencode({member: json.dumps(whole)})}")
        assert status == 200, answer
        return answer

    login = {"companycode": company, "companypassword": PASSWORD}
    fails(call("getAccessToken", "companydata", {**login, "companypassword": "guess"}))
    token = call("getAccessToken", "companydata", login)["access_token"]
    assert call("upRepairInfo", "repairdata", flat(token, "F1", "LFV2A21K8G4043336"))["code"] == "1"
    fails(call("upRepairInfo", "repairdata", flat(token, "F2", "")), "车辆识别代号")
    return {}


def md5(text: str) -> str:
    """32 lower-case digits."""
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what the interface prescribes


def text(value: Any) -> str:
    """1.6: sorted key=value joined by &, null as nothing, objects recursed, items of lists joined by &."""
    if isinstance(value, dict):
        return "&".join(f"{name}={text(value[name])}" for name in sorted(value))
    if isinstance(value, list):
        return "&".join(map(text, value))
    return "" if value is None else str(value)


def shanghai(app: str, secret: str) -> dict[str, Any]:
    """1.6: three signed steps and a correction, and its numeric errors."""
    nonces = iter(range(int(time.time() * 1000), 1 << 62))

    def signed(said: Any, ahead: float = 0.0) -> Any:
        whole = {**said, "appId": app, "nonce": next(nonces), "timestamp": str(int((time.time() + ahead) * 1000))}
        return {**whole, "sign": md5(text(whole) + secret)}

    def call(name: str, said: Any) -> int:
        answer = post(f"/repairRecord/{name}", said)
        assert set(answer) == {"code", "message", "data"}, answer
        return int(answer["code"])

    pick = {
        "vin": "WVWLJ57N4FV028811",
        "vpn": "沪A12345",
        "orderCode": "R1",
        "repairTime": "2023-02-03 09:12:44",
        "repairMileage": "66666.00",
        "serviceType": "一般维修",
        "fuelType": "A",
        "requirement": None,
        "faultDesc": "更换刹车片",
        "natureOfUse": 2,
        "carPhoto": "",
        "drivingPermitPhoto": "",
    }
    part = {
        "partName": "刹车片",
        "brandName": "",
        "partType": "",
        "partCode": "8E0698151",
        "partQty": "2.00",
        "unit": "副",
    }
    project = {"projectName": "更换刹车片", "projectType": "", "workingHours": "1.50", "repairPartList": [part]}
    items = {"orderCode": "R1", "repairProjectList": [project]}
    once = signed(pick)
    assert call("insert", once) == 0
    assert call("insert", once) == 114, "a nonce counts once"
    assert call("insert", signed({**pick, "faultDesc": "另一件事"})) == 2004
    assert call("insert", {**signed(pick), "sign": "0" * 32}) == 104
    assert call("insert", signed({**pick, "orderCode": "R2"}, ahead=3600)) == 105, "a clock that is off by an hour"
    assert call("insert", signed({**pick, "orderCode": "R2", "vin": "SHORT"})) == 2001
    assert call("insert", {**signed(pick), "appId": "nobody"}) == 3025
    assert call("updateRepairItemByOrderCode", signed({**items, "orderCode": "R9"})) == 2003
    assert call("updateRepairItemByOrderCode", signed(items)) == 0
    settle = {"orderCode": "R1", "payTime": "2023-02-03 18:00:00", "totalCost": "350.50"}
    assert call("updateSettleInfoByOrderCode", signed(settle)) == 0
    listed = post("/repairRecord/queryCompanyErrRepairRecord", signed({}))
    assert (listed["code"], isinstance(listed["data"], list)) == (0, True)
    return {}


def secondary(identity: str, secret: str) -> dict[str, Any]:
    """1.7: nested objects as JSON strings; the signature is over identity, nonce and seconds."""

    def call(name: str, nonce: str, said: Any, ahead: int = 0) -> int:
        stamp = str(int(time.time()) + ahead)
        sign = md5(f"{secret}companyIdentity={identity}&nonce={nonce}&timestamp={stamp}")
        about = {"companyIdentity": identity, "nonce": nonce, "timestamp": stamp, "sign": sign}
        return int(post(f"/repair/{name}/upload", {**said, **about})["code"])

    came = {"incomingInspectionId": "20201222106036"}
    car = {
        **came,
        "licensePlate": "沪A099E8",
        "vin": "WP0ZZZ99ZTS392124",
        "vehicleType": "K33",
        "engineNum": "x1",
        "vehicleOwner": "某某",
        "entrustRepair": "某某",
        "contact": "王某",
        "contactDetails": "13800000000",
        "obd": "1",
        "carType": "轻型汽油车",
        "vehicleClassCode": "A",
        "drivingLicenseImg": "http://img.example.com/1",
        "color": "黑色",
        "brand": "保时捷",
    }
    done = {
        "itemSeq": "1",
        "itemName": "二级维护",
        "settlementTime": "2",
        "workHoursUnitPrice": "1",
        "workHoursFee": "2",
    }
    oil = {"partSeq": "1", "partName": "机油", "partBrand": "", "partNo": "M1", "productSeq": "", "partUnitPrice": "1"}
    order = {
        **came,
        "deliveryDate": "2020-12-22",
        "repairMileage": "66000",
        "settlementDate": "2020-12-23",
        "settlementSeq": "JS1",
        "repairItems": json.dumps({"subtotal": "2", "items": [done]}),
        "repairParts": json.dumps(
            {"subtotal": "4", "parts": [{**oil, "partUnitNumber": "4", "partMoney": "4", "oneselfPart": "0"}]}
        ),
        "otherFee": "[]",
        "total": "6",
        "oldPartDisposal": "3",
    }
    assert call("car", "n1", car, ahead=3600) == 105
    assert call("car", "n2", car) == 0
    assert call("car", "n2", car) == 114
    assert call("order", "n3", order) == 0
    assert call("car", "n4", {**car, "vin": "SHORT"}) == 100
    return {}


def modern(company: str) -> dict[str, Any]:
    """`/v1`, by what its OpenAPI document says."""

    def call(path: str, said: Any = None, method: str = "", **headers: str) -> Any:
        body = None if said is None else json.dumps(said).encode()
        request = urllib.request.Request(DOOR + path, body, headers, method=method or None)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    assert call("/v1/openapi.json")["openapi"].startswith("3.1")
    token = call("/v1/token", {"companycode": company, "companypassword": PASSWORD})["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    said = {
        "companyname": SHOP["companyname"],
        "plate": "沪A12345",
        "vin": "LSVAB12C1DE000001",
        "repairdate": "2024-03-18",
        "settledate": "2024-03-19",
        "mileage": 100,
        "faultdescription": "保养",
        "costlistcode": "V1",
        "parts": [],
        "projects": [{"name": "保养", "hours": "1"}],
    }
    good = {**said, "vin": "WP1AG2923CLA64129"}
    told = call("/v1/records", {"records": [good, {**said, "vin": "SHORT"}]}, **bearer)
    assert (told["accepted"], told["refused"]) == (1, 1), told
    until = time.monotonic() + 60
    while call(f"/v1/receipts/{told['records'][0]['receipt']}", **bearer)["state"] != "delivered":
        assert time.monotonic() < until
        time.sleep(0.1)
    return {}


if __name__ == "__main__":
    step = globals()[sys.argv[3]]
    print(json.dumps(step(*sys.argv[4:])))
