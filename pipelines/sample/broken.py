"""Lines that are no record at all: cut, garbled, hostile, or meant for another system (domain 1.7, 4, and 9).

Each stands beside the good line that the client sent in the end, so that no visit is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from pipelines.sample.chance import Random, between
from pipelines.sample.content import Content
from pipelines.sample.shops import Shop
from pipelines.sample.wire import WRITERS, encode_json, form

ACCEPTED, REJECTED, CALL = "accepted", "rejected", "call"
"""What a broken line must become; `call` is a token or registration call, no record and no fault of a record."""


class Broken(NamedTuple):
    """One kind of broken line."""

    name: str
    share: float
    """Of a thousand visits."""
    make: Callable[[Random, Shop, Content], bytes]
    outcome: str
    codes: tuple[str, ...] = ()
    readable: bool = False
    """Whether the record in it can be judged besides."""
    dialect: str = ""
    """Its own dialect; empty: the shop's."""


_CHECK = [{"repairproject": "检查", "workinghours": "1"}]


def _good(shop: Shop, content: Content) -> bytes:
    return WRITERS[shop.software](shop, content)


def _again_as(shop: Shop, body: bytes) -> bytes:
    return form(body) if shop.software == "foshan" else body


def _truncated(rng: Random, shop: Shop, content: Content) -> bytes:
    line = _good(shop, content)
    return line[: len(line) * between(rng, 30, 85) // 100]


def _not_json(rng: Random, shop: Shop, content: Content) -> bytes:
    texts = ("<html><body>502 Bad Gateway</body></html>", "上传失败: 连接超时", "ORA-01034: ORACLE not available")
    return texts[between(rng, 0, len(texts) - 1)].encode()


def _nul(rng: Random, shop: Shop, content: Content) -> bytes:
    line = _good(shop, content)
    return line[:40] + b"\0\0\0" + line[40:] if shop.software != "foshan" else line[:40] + b"%00" + line[40:]


def _gbk(rng: Random, shop: Shop, content: Content) -> bytes:
    body: dict[str, Any] = {
        "access_token": shop.token,
        "basicInfo": _basic(content),
        "vehiclepartslist": [],
        "repairprojectlist": [],
    }
    body["repairprojectlist"] = [{"repairproject": n, "workinghours": h} for n, h in content.projects]
    return _again_as(shop, encode_json(body).encode("gbk"))


def _basic(content: Content) -> dict[str, str]:
    year, month, day = content.settle
    settled = f"{year:04d}{month:02d}{day:02d}"
    return {
        "vehicleplatenumber": content.plate,
        "companyname": content.companyname,
        "vin": content.vin,
        "repairdate": settled,
        "repairmileage": content.mileage,
        "settledate": settled,
        "faultdescription": content.fault,
        "costlistcode": content.listcode + "G",
    }


def _with(extra: str) -> Callable[[Random, Shop, Content], bytes]:
    def make(rng: Random, shop: Shop, content: Content) -> bytes:
        basic = encode_json(_basic(content))
        lists = '"vehiclepartslist":[],"repairprojectlist":[{"repairproject":"检查","workinghours":"1"}]'
        text = f'{{"access_token":"{shop.token}","basicInfo":{basic[:-1]},{extra}}},{lists}}}'
        return _again_as(shop, text.encode())

    return make


def _surrogate(rng: Random, shop: Shop, content: Content) -> bytes:
    """Half of an emoji, cut by a client that counts UTF-16 units."""
    body = {"basicInfo": {**_basic(content), "faultdescription": "异响\ud83d"}, "vehiclepartslist": []}
    return _again_as(shop, json.dumps({**body, "repairprojectlist": _CHECK}).encode())


def _nested(rng: Random, shop: Shop, content: Content) -> bytes:
    depth = between(rng, 400, 4_000)
    return _again_as(shop, b'{"basicInfo":' + b"[" * depth + b"]" * depth + b"}")


def _maintenance(rng: Random, shop: Shop, content: Content) -> bytes:
    """A 二级维护 payload (domain 1.7): another interface of the same software, with a mistyped USCC (payload 20)."""
    body = {
        "sign": "0" * 32,
        "nonce": str(between(rng, 10**8, 10**9)),
        "timestamp": "1788192000",
        "companyIdentity": "913101121322592441T",
        "incomingInspectionId": content.listcode,
        "licensePlate": "沪A099E8",
        "vin": "WAUAYD4LXAD021549",
        "vehicleType": "630",
        "engineNum": "xxxxxxyyyy",
        "vehicleOwner": "某某汽修",
        "entrustRepair": "某某汽修",
        "contact": "王某",
        "contactDetails": "13800000000",
        "obd": "1",
        "carType": "轻型汽油车",
        "vehicleClassCode": "A",
        "drivingLicenseImg": "http://img.example.com/dev/1",
        "color": "黑色",
        "brand": "宝骏",
    }
    return _again_as(shop, encode_json(body).encode())


def _waste(rng: Random, shop: Shop, content: Content) -> bytes:
    """A hazardous waste order (domain 4)."""
    body = {"deviceId": f"SDV{between(rng, 10**5, 10**6)}", "wasteType": "HW08", "wasteCode": "900-214-08"}
    return _again_as(shop, encode_json({**body, "preWeight": between(rng, 100, 900), "weight": 300}).encode())


def _token(rng: Random, shop: Shop, content: Content) -> bytes:
    body = {"companycode": shop.code, "companypassword": f"Demo{between(rng, 1000, 9999)}"}
    return _again_as(shop, encode_json(body).encode())


def _registration(rng: Random, shop: Shop, content: Content) -> bytes:
    """A registration of the shop itself with a mistyped USCC (payload 13)."""
    body = {
        "companyname": shop.name,
        "companypassword": f"Demo{between(rng, 1000, 9999)}",
        "companyroadtransportationlicense": "",
        "companyunifiedsocialcreditidentifier": "94630106MA2CDCP98B",
        "companyaddress": f"{shop.place.city}某某路1号",
        "companypostalcode": "310000",
        "companyeconomiccategory": "150",
        "companycategory": "03",
        "companylinkmanname": "李某",
        "companylinkmantel": "13800000000",
        "companysuperintendentname": "李某",
        "companysuperintendenttel": "13800000000",
        "companybusinessscope": "三类机动车维修",
        "companyoperationstate": "1",
        "companyadministrativedivisioncode": shop.place.division,
        "companyemail": "test@example.com",
    }
    return _again_as(shop, encode_json(body).encode())


_SECONDARY = ("USCC_LENGTH", "ENGINE_PLACEHOLDER", "BRAND_WMI_MISMATCH")

BROKEN: tuple[Broken, ...] = (
    Broken("line-truncated", 1.6, _truncated, REJECTED, ("NOT_JSON",)),
    Broken("line-not-json", 0.8, _not_json, REJECTED, ("NOT_JSON",)),
    Broken("line-nul", 0.4, _nul, REJECTED, ("NOT_JSON",)),
    Broken("line-nan", 0.3, _with('"kmrate":NaN'), REJECTED, ("NOT_JSON",)),
    Broken("line-gbk", 0.8, _gbk, ACCEPTED, readable=True),
    Broken(
        "line-duplicate-key", 0.5, _with('"vin":"LSVAL41Z882104202"'), REJECTED, ("STRUCTURE_WRONG",), readable=True
    ),
    Broken("line-surrogate", 0.3, _surrogate, REJECTED, ("STRUCTURE_WRONG",), readable=True),
    Broken("line-huge-number", 0.3, _with('"kmrate":1e400'), ACCEPTED, readable=True),
    Broken("line-nested", 0.3, _nested, REJECTED, ("STRUCTURE_WRONG",)),
    Broken("line-maintenance", 0.5, _maintenance, REJECTED, _SECONDARY, dialect="secondary"),
    Broken("line-waste", 0.3, _waste, REJECTED, ("DIALECT_UNKNOWN",)),
    Broken("line-token", 0.3, _token, CALL),
    Broken("line-registration", 0.3, _registration, CALL, ("USCC_CHECK_CHAR", "USCC_DEPARTMENT")),
)
"""Every kind of broken line."""

_TOTAL = sum(one.share for one in BROKEN) / 1000


def maybe_broken(rng: Random) -> Broken | None:
    """The kind of broken line that comes with a visit; seldom any."""
    chance = rng.random()
    if chance >= _TOTAL:
        return None
    for one in BROKEN:
        chance -= one.share / 1000
        if chance < 0:
            return one
    return None
