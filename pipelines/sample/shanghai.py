"""Shanghai's three-step interface (domain 1.6): 接车 -> 配件 -> 结算, and the correction, as signed NDJSON lines."""

from __future__ import annotations

from typing import Any

from pipelines.sample.content import Content
from pipelines.sample.shops import Shop
from pipelines.sample.wire import clock, dashed, encode_json

STEPS = ("insert", "items", "settle")
_FIRST_MOMENT = 1_788_192_000_000
"""2026-09-01T00:00:00+08:00 in milliseconds; the signature's timestamp only has to look right."""


def steps(shop: Shop, content: Content) -> list[bytes]:
    """The three steps of one order."""
    return [
        _signed(shop, content, 0, _vehicle(content)),
        _signed(shop, content, 1, {"orderCode": content.listcode, "repairProjectList": _projects(content)}),
        _signed(shop, content, 2, {"orderCode": content.listcode, "payTime": _moment(content.settle, content.clock)}),
    ]


def correction(shop: Shop, content: Content) -> bytes:
    """A correction: everything once more, hours and quantities as they now are."""
    members = {**_vehicle(content), "payTime": _moment(content.settle, content.clock)}
    return _signed(shop, content, 3, {**members, "repairProjectList": _projects(content)})


def _moment(day: tuple[int, int, int], seconds: int) -> str:
    return f"{dashed(day)} {clock(seconds, ':')}"


def _vehicle(content: Content) -> dict[str, Any]:
    electric = content.plate_kind.startswith("nev")
    return {
        "vin": content.vin,
        "vpn": content.plate,
        "orderCode": content.listcode,
        "repairTime": _moment(content.repair, 8 * 3600 + content.clock % 3600),
        "repairMileage": content.mileage,
        "serviceType": "一般维修",
        "fuelType": "C" if electric else "A",
        "requirement": "",
        "faultDesc": content.fault,
        "natureOfUse": 2,
        "carPhoto": "",
        "drivingPermitPhoto": "",
    }


def _projects(content: Content) -> list[dict[str, Any]]:
    """Projects with the parts under them: the first project bears all parts that the bill lists."""
    found = []
    for index, (name, hours) in enumerate(content.projects):
        rows = content.parts if index == 0 else []
        spares = [
            {"partName": n, "brandName": "原厂", "partType": "原厂件", "partCode": c, "partQty": q, "unit": "个"}
            for n, q, c in rows
        ]
        found.append({"projectName": name, "projectType": "维修", "workingHours": hours, "repairPartList": spares})
    return found


def _signed(shop: Shop, content: Content, step: int, members: dict[str, Any]) -> bytes:
    nonce = 1_000_000_000 + int(shop.code[-4:]) * 100_000 + shop.serial * 10 + step
    moment = _FIRST_MOMENT + (content.settle[2] * 86_400 + content.clock) * 1000 + step
    sign = f"{nonce * 2_654_435_761 + moment:032x}"[-32:]
    return encode_json(
        {**members, "appId": f"demo-{shop.code}", "sign": sign, "nonce": nonce, "timestamp": str(moment)}
    ).encode()
