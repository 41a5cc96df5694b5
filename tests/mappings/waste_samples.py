"""Clean waste payloads in our own form, and strategies for generated documents of every waste kind."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import judge_samples as s
import orjson
from hypothesis import strategies as st

from mappings.documents import waste as w
from mappings.reading import judge, read
from mappings.tables import table
from mappings.waste.codes import category_of
from mappings.waste.manifests import FOLLOWS

SHOP = "330106000000001"
EVENT: dict[str, Any] = {
    "schema": "vingate.waste/1",
    "kind": "waste-event",
    "companycode": SHOP,
    "number": "E-1",
    "event": "generated",
    "day": "2024-05-20",
    "category": "HW08",
    "code": "900-214-08",
    "quantity": "4.5",
    "unit": "kg",
    "batch": "HWCS20240520001",
}
MANIFEST: dict[str, Any] = {
    "schema": "vingate.waste/1",
    "kind": "waste-manifest",
    "companycode": SHOP,
    "number": "20243301000001",
    "day": "2024-05-02",
    "category": "HW08",
    "code": "900-214-08",
    "quantity": "1.2",
    "received": "1.18",
    "unit": "吨",
    "shipped": "2024-05-04",
    "vehicle": "浙A12345",
    "receiver": "330109000000009",
    "licence": "浙危废经第1号",
    "origin": "330106",
    "destination": "330109",
    "steps": [
        {"state": "SUBMITTED", "day": "2024-05-02"},
        {"state": "已批准", "day": "20240503"},
        {"state": "IN_TRANSIT", "day": "2024-05-04"},
        {"state": "RECEIVED", "day": "2024-05-05"},
    ],
}
LICENCE: dict[str, Any] = {
    "schema": "vingate.waste/1",
    "kind": "waste-licence",
    "companycode": SHOP,
    "number": "浙危废经第1号",
    "holder": "330109000000009",
    "standing": "ACTIVE",
    "validfrom": "2022-01-01",
    "validto": "2026-12-31",
    "scopes": [{"category": "HW08", "quantity": 50000}, {"category": "HW49", "codes": ["900-041-49"]}],
}
PLAN: dict[str, Any] = {
    "schema": "vingate.waste/1",
    "kind": "waste-plan",
    "companycode": SHOP,
    "number": "P-2024-HW08",
    "year": 2024,
    "category": "HW08",
    "quantity": "3",
    "unit": "t",
    "state": "APPROVED",
}
SAMPLES = {one["kind"]: one for one in (EVENT, MANIFEST, LICENCE, PLAN)}


def judged(payload: Any, name: str = "strict", dialect: str = "auto", **context: Any) -> Any:
    body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return judge(read(body, dialect), s.context(name, **context))


def found(payload: Any, name: str = "strict", **kwargs: Any) -> list[tuple[str, str]]:
    return [(f.code, f.field) for f in judged(payload, name, **kwargs).findings]


_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=12).filter(
    lambda text: text.strip().lower() not in {"-", "无", "n/a", "null", "undefined"}
)
_maybe = st.none() | _texts
_numbers = st.from_regex(r"[A-Z0-9]{4,16}", fullmatch=True)
_days = st.dates(date(2021, 1, 1), date(2024, 5, 31))
_amounts = st.integers(1, 99_999_999).map(lambda n: Decimal(n) / 10 if n % 10 else Decimal(n // 10))
_codes = st.sampled_from([*table("waste-hazardous").entries, *table("waste-general").entries])
_units = st.sampled_from(["kg", "piece"])


@st.composite
def events(draw: Any, **fixed: Any) -> w.WasteEvent:
    code = draw(_codes)
    red = draw(st.booleans())
    quantity = draw(_amounts)
    given = {
        "issuer": SHOP,
        "number": draw(_numbers),
        "day": draw(_days),
        "event": draw(st.sampled_from([*table("waste-events").entries])),
        "category": category_of(code),
        "code": code,
        "name": draw(_texts),
        "unit": draw(_units),
        "quantity": -quantity if red else quantity,
        "reverses": "R-" + draw(_numbers) if red else None,
        "ofbatches": tuple(dict.fromkeys(draw(st.lists(_numbers, max_size=3)))),
        **{name: draw(_maybe) for name in ("manifest", "counterpart", "counterpartname", "licence", "method")},
        **{name: draw(_maybe) for name in ("destination", "facility", "containercode", "containertype")},
        "containers": draw(st.none() | st.integers(0, 99).map(Decimal)),
    }
    return w.WasteEvent(**{**given, **fixed})


@st.composite
def manifests(draw: Any) -> w.WasteManifest:
    code, day = draw(_codes), draw(_days)
    state, steps = "", []
    while FOLLOWS[state] and (not steps or draw(st.booleans())):
        state = draw(st.sampled_from(FOLLOWS[state]))
        steps.append(w.ManifestStep(state=state, day=day, reason=draw(_maybe)))
    return w.WasteManifest(
        issuer=SHOP,
        number=draw(_numbers),
        day=day,
        category=category_of(code),
        code=code,
        name=draw(_texts),
        state=state,
        steps=tuple(steps),
        quantity=draw(_amounts),
        received=draw(st.none() | _amounts),
        unit=draw(_units),
        shipped=draw(st.none() | _days),
        vehicle=draw(_maybe),
        origin=draw(st.sampled_from([None, "330106", "310000"])),
        receiver=draw(_maybe),
    )


@st.composite
def licences(draw: Any) -> w.WasteLicence:
    first, last = sorted((draw(_days), draw(_days)))
    scopes = st.builds(
        w.LicenceScope,
        category=st.sampled_from(["HW08", "HW31", "HW49"]),
        codes=st.lists(_codes, max_size=2, unique=True).map(tuple),
        quantity=st.none() | _amounts,
    )
    return w.WasteLicence(
        issuer=SHOP,
        number=draw(_numbers),
        day=first,
        holder=draw(_numbers),
        holdername=draw(_maybe),
        standing=draw(st.sampled_from(["ACTIVE", "SUSPENDED", "REVOKED", "EXPIRED"])),
        validfrom=first,
        validto=last,
        scopes=tuple(draw(st.lists(scopes, min_size=1, max_size=3))),
        division=draw(st.sampled_from([None, "330100"])),
    )


def plans() -> st.SearchStrategy[w.WastePlan]:
    return st.builds(
        lambda year, **rest: w.WastePlan(issuer=SHOP, year=year, day=date(year, 1, 1), **rest),
        year=st.integers(2021, 2025),
        number=_numbers,
        category=st.sampled_from(["HW08", "HW49"]),
        quantity=_amounts,
        unit=st.just("kg"),
        state=st.sampled_from(["SUBMITTED", "APPROVED", "REJECTED"]),
    )
