"""How each shop software puts one record on the wire (domain table 1.4): content in, one line of bytes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

from pipelines.sample.content import Content
from pipelines.sample.shops import Shop

Writer = Callable[[Shop, Content], bytes]

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

DIALECT_OF = {
    "webform": "national",
    "xklc": "national",
    "tuhu": "national",
    "vbnet": "national",
    "comhs": "national",
    "liquanchun": "root",
    "chengdu": "chengdu",
    "chengdu-tuhu": "chengdu",
    "foshan": "foshan",
    "shanghai": "shanghai",
    "csv-gbk": "csv",
    "csv-utf8": "csv",
}
"""Software -> the dialect that it speaks, in the words of the sample (the mappings package may name forms apart)."""


def compact(day: tuple[int, int, int]) -> str:
    """A day as yyyyMMdd."""
    return f"{day[0]:04d}{day[1]:02d}{day[2]:02d}"


def dashed(day: tuple[int, int, int]) -> str:
    """A day as yyyy-MM-dd."""
    return f"{day[0]:04d}-{day[1]:02d}-{day[2]:02d}"


def clock(seconds: int, separator: str = "") -> str:
    """A time of day as HHmmss, or with a separator."""
    return separator.join((f"{seconds // 3600:02d}", f"{seconds // 60 % 60:02d}", f"{seconds % 60:02d}"))


def whole(text: str) -> int | str:
    """A JSON number where the text is one: typed clients cannot send anything else, but pass oddities on as text."""
    return int(text) if text.isdigit() else text


def double(text: str) -> float | str:
    """A JSON double where the text is a number."""
    try:
        return float(text)
    except ValueError:
        return text


def basic(content: Content, **more: Any) -> dict[str, Any]:
    """Member basicInfo of the national interface."""
    return {
        "vehicleplatenumber": content.plate,
        "companyname": content.companyname,
        "vin": content.vin,
        "repairdate": compact(content.repair),
        "repairmileage": content.mileage,
        "settledate": compact(content.settle),
        "faultdescription": content.fault,
        "costlistcode": content.listcode,
        **more,
    }


def parts(content: Content, quantity: Callable[[str], Any] = str) -> list[dict[str, Any]]:
    """Member vehiclepartslist."""
    return [{"partsname": n, "partsquantity": quantity(q), "partscode": c} for n, q, c in content.parts]


def projects(content: Content, hours: Callable[[str], Any] = str) -> list[dict[str, Any]]:
    """Member repairprojectlist."""
    return [{"repairproject": name, "workinghours": hours(worked)} for name, worked in content.projects]


def _national(shop: Shop, *members: Any) -> bytes:
    names = ("access_token", "basicInfo", "vehiclepartslist", "repairprojectlist")
    return encode_json(dict(zip(names, (shop.token, *members), strict=True))).encode()


def webform(shop: Shop, content: Content) -> bytes:
    """Plain national record, as the web form builds it."""
    return _national(shop, basic(content), parts(content), projects(content))


def xklc(shop: Shop, content: Content) -> bytes:
    """xklc: `gd_id` in basicInfo, plates with their dash, numbers with two places."""
    plate = content.plate
    if content.plate_kind in ("normal", "nev-small") and len(plate) > 4:
        plate = f"{plate[:2]}-{plate[2:]}"
    members = basic(content, gd_id=str(10_000 + shop.serial), vehicleplatenumber=plate)
    return _national(shop, members, parts(content), projects(content))


def tuhu(shop: Shop, content: Content) -> bytes:
    """Tuhu in Shanghai: JSON numbers, and the price of the service where its hours belong."""
    members = basic(content, repairmileage=whole(content.mileage), costlistcode=whole(content.listcode))
    return _national(shop, members, parts(content, whole), projects(content, double))


def vbnet(shop: Shop, content: Content) -> bytes:
    """VB.NET client: the three members are JSON strings that hold JSON; doubles."""
    members = (basic(content), parts(content, double), projects(content, double))
    return _national(shop, *(encode_json(member) for member in members))


def comhs(shop: Shop, content: Content) -> bytes:
    """com.hs: a constant plate colour, members in hash order."""
    members = dict(sorted(basic(content, vehicleplatecolor="黑").items(), key=lambda pair: pair[0][::-1]))
    lists = {"repairprojectlist": projects(content), "vehiclepartslist": parts(content)}
    return encode_json({**lists, "basicInfo": members, "access_token": shop.token}).encode()


def liquanchun(shop: Shop, content: Content) -> bytes:
    """liquanchun: the members of basicInfo at the root, a fault that is always empty."""
    lists = {"vehiclepartslist": parts(content, double), "repairprojectlist": projects(content, double)}
    return encode_json({"access_token": shop.token, **basic(content, faultdescription=""), **lists}).encode()


def chengdu(shop: Shop, content: Content) -> bytes:
    """Chengdu envelope: transaction of header and body, the record inside reqInfo."""
    members = basic(content, repairmileage=whole(content.mileage))
    request = {
        "access_token": shop.token,
        "basicInfo": members,
        "vehiclepartslist": parts(content, double),
        "repairprojectlist": projects(content, double),
    }
    header = {"date": compact(content.header), "time": clock(content.clock)}
    return encode_json({"transaction": {"header": header, "body": {"reqInfo": request}}}).encode()


def foshan(shop: Shop, content: Content) -> bytes:
    """Foshan: a flat body in camel case, as the query string of a GET."""
    body = basic(content, vehicleplatecolor="绿" if content.plate_kind == "nev-small" else "蓝")
    body["vehiclePartsList"] = parts(content)
    body["repairProjectList"] = projects(content)
    header = {"date": compact(content.header), "time": clock(content.clock)}
    return form(encode_json({"access_token": shop.token, "header": header, "body": body}).encode())


def form(body: bytes) -> bytes:
    """A JSON body as Foshan's client sends it: URL-encoded in the parameter `repairdata`."""
    return b"repairdata=" + quote_plus(body).encode()


WRITERS: dict[str, Writer] = {
    "webform": webform,
    "xklc": xklc,
    "tuhu": tuhu,
    "vbnet": vbnet,
    "comhs": comhs,
    "liquanchun": liquanchun,
    "chengdu": chengdu,
    "chengdu-tuhu": chengdu,
    "foshan": foshan,
}
"""Software -> its writer, for those that send one line a record."""
