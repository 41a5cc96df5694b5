"""What stand-ins hand out: the registers of road administration and of parts traceability, polled page by page.

    GET /v1/operators?after=17&limit=200        {"rows": [{"id": 18, "record": {...}}]}
    PUT /v1/operators                           lines of JSON: further records, handed out after all before

Ids rise, so whoever asks goes on after the last one that he has. Records are in the schemas that
`deploy/mappings/road-register.toml` and `parts-traceability.toml` describe; the first ones are invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.partners.protocol import Given, Partner, UnreadableError

OPERATORS, VEHICLES = "operators", "vehicles"
_CODES = ("91440300MA5H0HLK5U", "91310112132259241T", "91133100MA0D8N1J7G")


def _operator(schema: str, number: int) -> dict[str, Any]:
    code = f"4401030000009{number:02d}"
    return {
        "schema": schema,
        "companycode": code,
        "companyname": f"广州示例{number}号汽车维修有限公司",
        "companyroadtransportationlicense": f"440103{number:06d}",
        "companyunifiedsocialcreditidentifier": _CODES[number % len(_CODES)],
        "companyaddress": f"广州市某某路{number}号",
        "companypostalcode": "510000",
        "companyeconomiccategory": "有限责任",
        "companycategory": "二类",
        "companylinkmanname": "陈某",
        "companylinkmantel": f"1380000{number:04d}",
        "companysuperintendentname": "陈某",
        "companysuperintendenttel": f"1380000{number:04d}",
        "companybusinessscope": "机动车维修",
        "roadtransportationlicensestartdate": "2020-01-01",
        "roadtransportationlicenseenddate": "99990909",
        "companyoperationstate": "营业",
        "companyadministrativedivisioncode": "440103",
        "companyemail": f"shop{number}@example.com",
    }


_ROAD = "vingate.road-vehicle/1"
_PARTS = "vingate.parts-vehicle/1"
ROAD_REGISTER: Given = {
    OPERATORS: [_operator("vingate.road-operator/1", number) for number in (1, 2)],
    VEHICLES: [
        {"schema": _ROAD, "vin": "LZYTBTE69G1037563", "vehicleplatenumber": "粤A10001D", "authority": "20",
         "registrationdate": "2019-04-02", "cancellationdate": None, "roadtransportcertificate": "440100000000"},
        {"schema": _ROAD, "vin": "LGXC16DF1A0069957", "vehicleplatenumber": "宁A12345", "authority": "31",
         "registrationdate": "2010-11-30", "cancellationdate": "2026-08-31",
         "roadtransportcertificate": "640100000000"},
    ],
}  # fmt: skip
PARTS_TRACEABILITY: Given = {
    OPERATORS: [_operator("vingate.parts-enterprise/1", number) for number in (3,)],
    VEHICLES: [
        {"schema": _PARTS, "vin": "LGBH52E01HY349442", "vehicleplatenumber": "粤B23456", "home": "44",
         "registrationdate": "2017-06-01", "tracecode": "TC0001", "partscode": "B-1", "partsname": "蓄电池",
         "fitteddate": "2026-09-03"},
    ],
}  # fmt: skip


def lines_of(body: bytes) -> list[Mapping[str, Any]]:
    """The objects of a body, one a line.

    Raises:
        UnreadableError: a line is none.
    """
    found: list[Mapping[str, Any]] = []
    for number, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            message = f"第 {number} 行不是 JSON 对象 / line {number} is no JSON object"
            raise UnreadableError(message)
        found.append(value)
    return found


def giver(name: str, zh: str, en: str, given: Given) -> Partner:
    """A system that hands out its registers and takes nothing."""
    return Partner(name, zh, en, (), {}, given)


def rows(found: Sequence[tuple[int, str]]) -> bytes:
    """A page of an answer."""
    return orjson.dumps({"rows": [{"id": number, "record": orjson.loads(record)} for number, record in found]})
