"""Clean drafts and small helpers for the tests of the judge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mappings.findings import Profile, profile
from mappings.judge import judge
from mappings.judging import Context, Draft, Judgement

RECEIVED = datetime(2024, 6, 1, 2, 0, tzinfo=UTC)
DROP = object()

REPAIR: dict[str, Any] = {
    "companycode": "310000010001",
    "companyname": "上海某某汽车维修有限公司",
    "plate": "沪BL7806",
    "vin": "WP1AG2923CLA64129",
    "repairdate": "20180412",
    "settledate": "20180413",
    "mileage": "52000",
    "faultdescription": "发动机异响",
    "costlistcode": "20180413-01",
    "parts": [{"name": "火花塞", "quantity": "6", "code": "99917022190"}],
    "projects": [{"name": "更换火花塞", "hours": "2"}],
}
REGISTRATION: dict[str, Any] = {
    "companyname": "杭州某某汽车维修有限公司",
    "companypassword": "Geheim-4711",
    "companyroadtransportationlicense": "330106000001",
    "companyunifiedsocialcreditidentifier": "91330100799655058B",
    "companyaddress": "杭州市西湖区某某路1号",
    "companypostalcode": "310000",
    "companyeconomiccategory": "150",
    "companycategory": "03",
    "companylinkmanname": "李某",
    "companylinkmantel": "13800000000",
    "companysuperintendentname": "李某",
    "companysuperintendenttel": "13800000000",
    "companybusinessscope": "三类机动车维修",
    "roadtransportationlicensestartdate": "20180101",
    "roadtransportationlicenseenddate": "99990909",
    "companyoperationstate": "1",
    "companyadministrativedivisioncode": "330106",
    "companyemail": "test@example.com",
}
INSERT: dict[str, Any] = {
    "vin": "WVWLJ57N4FV028811",
    "plate": "沪A12345",
    "costlistcode": "R20230203001",
    "repairdate": "2023-02-03 09:12:44",
    "mileage": "66666",
    "faultdescription": "更换刹车片",
    "fuel": "A",
    "use": 2,
}
ITEMS: dict[str, Any] = {
    "costlistcode": "1",
    "projects": [{"name": "更换机油机滤", "hours": "8"}],
    "parts": [{"name": "机油机滤", "quantity": "9", "code": "1024"}],
}
SETTLE: dict[str, Any] = {"costlistcode": "1", "settledate": "2021-05-28 10:00:00"}
VEHICLE: dict[str, Any] = {
    "vin": "LVSHCAMB1CE054249",
    "plate": "沪A12345",
    "home": "31",
    "valid_from": "2013-01-01",
    "valid_to": "2020-12-31",
}


def context(name: str | Profile = "strict", **kwargs: Any) -> Context:
    chosen = profile(name) if isinstance(name, str) else name
    return Context(chosen, kwargs.pop("received_at", RECEIVED), **kwargs)


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with members replaced or dropped; `parts.quantity` changes the first row."""
    members = {**base}
    for path, value in changes.items():
        name, _, inner = path.partition(".")
        if inner:
            row = {**members[name][0], inner: value}
            members[name] = [{k: v for k, v in row.items() if v is not DROP}, *members[name][1:]]
        elif value is DROP:
            members.pop(name)
        else:
            members[name] = value
    return members


def judged(kind: str, members: Any, name: str | Profile = "strict", step: str = "", **kwargs: Any) -> Judgement:
    ctx = context(name, **{k: kwargs.pop(k) for k in ("received_at", "company", "company_required") if k in kwargs})
    return judge(Draft(kind, "test", members, step=step, **kwargs), ctx)


def seen(judgement: Judgement) -> list[tuple[str, str]]:
    return [(finding.code, finding.field) for finding in judgement.findings]
