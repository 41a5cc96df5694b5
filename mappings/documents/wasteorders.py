"""The app flow of a waste collection platform: order, then signatures of transporter and consumer (domain 4.2).

The calls are those that a public client makes: `POST /bc/orders`, then `/app/wld/{proxyNo}/transporter` and
`/app/wld/{proxyNo}/consumer`.
The follow-up calls bear the order's number in their path only; who receives them puts it into the body as `proxyNo`.

An order has no number before the platform gave it one. One without is numbered by its own content, so that the same
order sent again is the same. People and phones of the companies are never kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson

from mappings.dates import day, day_in_shanghai
from mappings.documents.kinds import Form, Judged
from mappings.documents.waste import (
    ConsumptionSigning,
    OrderParty,
    TransportSigning,
    WasteOrder,
    WasteSignature,
)
from mappings.documents.wasterules import (
    CODE,
    Inner,
    amount,
    built,
    differs,
    display,
    needed,
    of_waste,
    rename,
    text,
    unit,
)
from mappings.placeholders import is_placeholder
from mappings.rules import fields
from mappings.rules.case import Case
from mappings.waste.codes import KG, Unit
from mappings.waste.manifests import CONSUMER, TRANSPORTER, order_status

_TRANSPORT: Mapping[str, tuple[str, ...]] = {
    "vehicle": ("vehiclenumber1", "vehiclenumber", "vehicle"),
    "licence": ("licensenumber1", "licensenumber", "licence"),
    "emergency": ("forbiddenemergency",),
    "ingredient": ("mainingredient",),
    "passby": ("passby1", "passby"),
    "purpose": ("transportpurpose",),
    "form": ("wasteform",),
    "features": ("wastefeatures",),
    "package": ("wastepackagetype",),
}
_CONSUMPTION: Mapping[str, tuple[str, ...]] = {
    "finalweight": ("finalweight",),
    "certificate": ("certnumber",),
    "disposal": ("disposetype",),
    "storage": ("storetype",),
    "usage": ("usagetype",),
}
_NUMBER = ("proxyno", "orderno", "ordercode")
_ORDER: Mapping[str, tuple[str, ...]] = {
    "companycode": ("companycode",),
    "number": _NUMBER,
    "day": ("orderday", "ordertime", "createtime"),
    "status": ("status",),
    "device": ("deviceid",),
    "category": ("wastetype",),
    "code": ("wastecode",),
    "name": ("wastename",),
    "unit": ("wasteunit", "unit"),
    "preweight": ("preweight",),
    "weight": ("weight",),
    "producer": ("producerinfo",),
    "transporter": ("transporterinfo",),
    "consumer": ("consumerinfo",),
    **_TRANSPORT,
    **_CONSUMPTION,
}
_PARTY: Mapping[str, str] = {
    "id": "id",
    "name": "companyname",
    "kind": "companytype",
    "province": "provincecode",
    "city": "citycode",
    "area": "areacode",
}
_EPOCH_MS = range(10**11, 10**13)


def _is_order(members: Mapping[str, Any]) -> bool:
    return "producerinfo" in members and "wastecode" in members


def _order(case: Case) -> Judged:
    rename(case, _ORDER)
    measure = unit(case)
    signed = _signed(case)
    values: dict[str, Any] = {
        **of_waste(case),
        "day": _day(case),
        "device": text(case, "device", CODE),
        "unit": measure.base if measure else None,
        "preweight": amount(case, "preweight", measure, mandatory=False, zero=True),
        "weight": amount(case, "weight", measure),
        "producer": _party(case, "producer", mandatory=True),
        "transporter": _party(case, TRANSPORTER),
        "consumer": _party(case, CONSUMER),
        "transport": _transport(case) if TRANSPORTER in signed else None,
        "consumption": _consumption(case, measure) if CONSUMER in signed else None,
    }
    values["issuer"] = fields.company_code(case) or (values["producer"].id if values["producer"] else "")
    values["number"] = text(case, "number", CODE) or _number(values)
    values["status"] = _status(case, signed)
    if values["consumption"] is not None and values["unit"] == KG:
        differs(case, "finalweight", values["weight"], values["consumption"].finalweight)
    document = built(case, WasteOrder, values)
    return document, document.members() if document else display(values)


def _signed(case: Case) -> frozenset[str]:
    """Who has signed: a part of the order that is filled in."""
    parts = {TRANSPORTER: _TRANSPORT, CONSUMER: _CONSUMPTION}
    return frozenset(
        party for party, names in parts.items() if any(not is_placeholder(case.members.get(name)) for name in names)
    )


def _status(case: Case, signed: frozenset[str]) -> str:
    """The status as sent, or by the signatures that the order itself bears."""
    written = text(case, "status", CODE)
    if written is None:
        return order_status(signed)
    if written not in ("1", "2", "3"):
        case.add("CODE_NOT_IN_TABLE", "status", written, "1 未签, 2 已签, 3 完成")
    return written


def _day(case: Case) -> date:
    """The order's day: its own where it bears one (epoch milliseconds too), else that of its receipt."""
    value = case.members.get("day")
    if not is_placeholder(value):
        if isinstance(value, int | Decimal) and not isinstance(value, bool) and int(value) in _EPOCH_MS:
            return day_in_shanghai(datetime.fromtimestamp(int(value) // 1000, UTC))
        found = day(value)
        if found is not None:
            return found
        fields.day_of(case, "day", value)
    return day_in_shanghai(case.context.received_at)


def _party(case: Case, field: str, *, mandatory: bool = False) -> OrderParty | None:
    row = case.members.get(field)
    if row is None:
        if mandatory:
            fields.required(case, field)
        return None
    if not isinstance(row, Mapping):
        case.wrong_kind(field, row, "对象 / an object")
        return None
    inner = Inner(case, {name: row.get(written) for name, written in _PARTY.items()}, field)
    values = {name: text(inner, name) for name in _PARTY if name != "id"}
    return built(inner, OrderParty, {"id": needed(inner, "id"), **values})


def _number(values: Mapping[str, Any]) -> str:
    """A number of an order that has none: the digest of what makes it this order, whoever receives it and when."""
    producer: OrderParty | None = values["producer"]
    named = [producer.id if producer else "", *(str(values[n]) for n in ("device", "code", "preweight", "weight"))]
    return hashlib.sha256(orjson.dumps(named)).hexdigest()[:24]


def _transport(case: Case) -> TransportSigning | None:
    values = {name: text(case, name) for name in _TRANSPORT if name != "vehicle"}
    return built(case, TransportSigning, {"vehicle": needed(case, "vehicle"), **values})


def _consumption(case: Case, measure: Unit | None) -> ConsumptionSigning | None:
    """The consumer's part; its weight is in the unit of the order, which a follow-up call does not repeat."""
    weight = amount(case, "finalweight", measure, zero=True)
    values = {name: text(case, name) for name in _CONSUMPTION if name != "finalweight"}
    return built(case, ConsumptionSigning, {"finalweight": weight, **values})


def _is_signature(members: Mapping[str, Any]) -> bool:
    if "producerinfo" in members:
        return False
    return ("vehiclenumber1" in members and "transportpurpose" in members) or (
        "finalweight" in members and "disposetype" in members
    )


def _signature(case: Case) -> Judged:
    transported = "vehiclenumber1" in case.members
    party = TRANSPORTER if transported else CONSUMER
    own = {"companycode": ("companycode",), "order": _NUMBER, "day": ("signday", "signtime", "createtime")}
    rename(case, {**own, **(_TRANSPORT if transported else _CONSUMPTION)})
    order = case.members.get("order")
    if is_placeholder(order):
        case.add("MANDATORY_MISSING", "order", order, "调用路径中的单号 / the number in the call's path (proxyNo)")
    else:
        order = text(case, "order", CODE)
    values: dict[str, Any] = {
        "issuer": fields.company_code(case),
        "number": f"{order}:{party}",
        "day": _day(case),
        "order": order,
        "party": party,
        "transport": _transport(case) if transported else None,
        "consumption": None if transported else _consumption(case, None),
    }
    document = built(case, WasteSignature, values)
    return document, document.members() if document else display(values)


ORDER = Form("waste-order", _is_order, _order)
SIGNATURE = Form("waste-signature", _is_signature, _signature)
