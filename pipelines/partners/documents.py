"""Systems that take `vingate.document/1` by the plain protocol, each with rules of its own for every kind it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.partners import checks
from pipelines.partners.giving import ROAD_REGISTER
from pipelines.partners.protocol import Came, Judge, Partner, Protocol
from pipelines.partners.rows import plain

_LIST = "records[]"


def taker(name: str, zh: str, en: str, kinds: Mapping[str, Judge]) -> Partner:
    """A system that takes documents of some kinds; one that is withdrawn is taken when it names itself."""
    protocol = plain("documents")

    def read(body: bytes, headers: Mapping[str, str]) -> list[Came]:
        return [one._replace(collection=str(one.members.get("kind"))) for one in protocol.read(body, headers)]

    judges = {kind: _of_document(kind, judge) for kind, judge in kinds.items()}
    return Partner(name, zh, en, [Protocol(protocol.path, read, protocol.answer, protocol.unreadable)], judges)


def _of_document(kind: str, judge: Judge) -> Judge:
    def look(record: Mapping[str, Any]) -> list[str]:
        wrong = [
            f"{name}: 缺少 / missing" for name in ("companycode", "costlistcode", "version") if not record.get(name)
        ]
        if not str(record.get("costlistcode")).startswith(f"{kind}:"):
            wrong.append(f"costlistcode: 应以 {kind}: 开头 / begins with {kind}:")
        if record.get("withdrawn") is not None:
            return wrong
        members = record.get("members")
        if not isinstance(members, Mapping):
            return [*wrong, "members: 应为对象 / an object is needed"]
        return [*wrong, *judge(members)]

    return look


_WASTE = checks.judge(
    {"code": checks.waste_code, "category": checks.text, "unit": checks.one_of("kg", "piece")},
    None,
    checks.suffix_agrees,
)


def _expected(members: Mapping[str, Any]) -> list[str]:
    items = members.get("items")
    if not isinstance(items, list) or not items:
        return ["items: 缺少 / missing"]
    return [f"items[{at}].{why}" for at, one in enumerate(items) for why in _WASTE(one)]


def _books(members: Mapping[str, Any]) -> list[str]:
    names = ("opening", "generated", "received", "handedover", "used", "disposed", "takenout", "closing")
    if wrong := [f"{name}: {why}" for name in names if (why := checks.number(str(members.get(name)).lstrip("-")))]:
        return wrong
    one = {name: float(members[name]) for name in names}
    stock = one["opening"] + one["generated"] + one["received"]
    stock -= one["handedover"] + one["used"] + one["disposed"] + one["takenout"]
    return [] if abs(stock - one["closing"]) < 0.001 else [f"closing: 应为 {stock:g} / should be {stock:g}"]


def _red(members: Mapping[str, Any]) -> list[str]:
    """Only an entry that names what it corrects (冲销) takes something away."""
    negative = str(members.get("quantity", "")).startswith("-")
    if negative == bool(members.get("reverses")):
        return []
    return ["quantity: 为负者须注明被冲销记录，反之亦然 / negative where it names what it corrects, and only there"]


SOLID_WASTE = taker(
    "solid-waste",
    "固体废物追踪系统",
    "solid- and hazardous-waste tracking",
    {
        "waste-event": checks.judge(
            {"event": checks.text, "quantity": checks.signed, "code": checks.waste_code, "category": checks.text},
            None,
            checks.suffix_agrees,
            _red,
        ),
        "waste-order": checks.judge(
            {"status": checks.one_of("1", "2", "3"), "weight": checks.number, "code": checks.waste_code},
            None,
            checks.suffix_agrees,
        ),
        "waste-signature": checks.judge({"order": checks.text, "party": checks.text}),
        "waste-manifest": checks.judge(
            {"state": checks.text, "quantity": checks.number, "code": checks.waste_code}, None, checks.suffix_agrees
        ),
        "waste-expected": _expected,
        "waste-balance": checks.judge({"month": checks.text, "code": checks.waste_code}, None, _books),
        "waste-case": checks.judge({"reason": checks.text, "severity": checks.one_of("breach", "warning")}),
    },
)


def _points(members: Mapping[str, Any]) -> list[str]:
    lines = members.get("lines")
    if not isinstance(lines, list) or not lines:
        return ["lines: 缺少 / missing"]
    total = sum(float(one["points"]) for one in lines)
    said = float(members["score"])
    return [] if abs(total - said) < 0.01 else [f"score: 各项之和为 {total:g} / the lines give {total:g}"]


CREDIT = taker(
    "credit",
    "信用交通",
    "credit-transport",
    {
        "credit-entry": checks.judge(
            {
                "uscc": checks.text,
                "period": checks.text,
                "score": checks.number,
                "first": checks.day,
                "last": checks.day,
            },
            None,
            _points,
            checks.impersonal,
        ),
    },
)

INSURERS = taker(
    "insurers",
    "保险公司直赔平台",
    "insurers' direct settlement",
    {
        "accident-repair": checks.judge(
            {"report_no": checks.text, "vin": checks.vin, "settledate": checks.day, "costlistcode": checks.text}
        ),
        "claim-comparison": checks.judge({"report_no": checks.text, "vin": checks.vin, "differing": checks.number}),
        "old-part-return": checks.judge({"report_no": checks.text, "vin": checks.vin}),
    },
)

_LEAD = checks.judge(
    {
        "model": checks.text,
        "region": checks.text,
        "month": checks.text,
        "fault": checks.text,
        "count": checks.number,
    },
    None,
    checks.without("vin", "plate", "companycode", "companyname", "owner"),
    checks.impersonal,
)
MARKET_REGULATION = taker(
    "market-regulation", "市场监管缺陷线索系统", "market regulation: defect leads", {"defect-lead": _LEAD}
)
MAKER = taker("maker", "生产企业", "vehicle maker: leads on its models", {"defect-lead": _LEAD})

_HISTORY = checks.judge(
    {"vin": checks.vin, "approval": checks.text, "order": checks.text},
    None,
    checks.without("plate", "companycode", "companyname"),
    checks.impersonal,
)
USED_CARS = taker(
    "used-cars", "二手车信息系统", "used-car trade", {"history-report": _HISTORY, "export-certificate": _HISTORY}
)

ROAD_ADMINISTRATION = taker(
    "road-administration",
    "道路运政系统",
    "road administration",
    {
        "operator-notice": checks.judge(
            {
                "companycode": checks.text,
                "notice": checks.one_of("never-uploaded", "silent", "rectification-overdue"),
                "since": checks.day,
            }
        ),
    },
)._replace(gives=ROAD_REGISTER)
