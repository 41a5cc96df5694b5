"""What road administration and parts traceability hand out: their registers of operators and vehicles, as files.

Most operators are those that the province's own register has; two never uploaded, and only road administration has
them. The vehicles were never repaired here, so nothing that is held moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import orjson

from mappings.uscc import check_char, org_check_char
from mappings.vin import check_digit

UNSEEN = ("440100000009901", "440300000009902")
"""Company codes of shops that are filed and never upload."""
_ROAD, _PARTS = "road-administration", "parts-traceability"


def write_feeds(partners: Path, operators: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Write both registers below `partners`, in place of any that are there; how many records each has.

    Args:
        partners: the folder.
        operators: rows of the province's own register of operators.
    """
    road = [{"schema": "vingate.road-operator/1", **one} for one in (*operators, *map(_unseen, UNSEEN))]
    road += [
        {
            "schema": "vingate.road-vehicle/1",
            "vin": _vin("LZYTBTE6", number),
            "vehicleplatenumber": f"粤A{number:05d}",
            "authority": "20",
            "registrationdate": _day(number),
            "cancellationdate": None,
            "roadtransportcertificate": f"440100{number:06d}",
        }
        for number in range(1, 21)
    ]
    parts = [{"schema": "vingate.parts-enterprise/1", **one} for one in operators[::4]]
    parts += [
        {
            "schema": "vingate.parts-vehicle/1",
            "vin": _vin("LGXC16DF", number),
            "vehicleplatenumber": f"粤B{number:05d}",
            "home": "44",
            "registrationdate": _day(number),
            "tracecode": f"TC{number:06d}",
            "partscode": f"B-{number}",
            "partsname": "蓄电池",
            "fitteddate": "2026-09-03",
        }
        for number in range(1, 11)
    ]
    for name, rows in ((_ROAD, road), (_PARTS, parts)):
        _write(partners / name, rows)
    return {_ROAD: len(road), _PARTS: len(parts)}


def _unseen(code: str) -> dict[str, Any]:
    organisation = f"MA9{code[-4:]}X"
    head = f"91{code[:6]}{organisation}{org_check_char(organisation)}"
    return {
        "companycode": code,
        "companyname": f"备案企业{code[-4:]}",
        "companyunifiedsocialcreditidentifier": head + check_char(head),
        "companyaddress": "某某路9号",
        "companypostalcode": f"{code[:4]}00",
        "companyeconomiccategory": "有限责任",
        "companycategory": "三类",
        "companylinkmanname": "何某",
        "companylinkmantel": f"1380000{code[-4:]}",
        "companysuperintendentname": "何某",
        "companysuperintendenttel": f"1380000{code[-4:]}",
        "companybusinessscope": "机动车维修",
        "companyoperationstate": "营业",
        "companyadministrativedivisioncode": code[:6],
        "companyemail": f"shop{code[-4:]}@example.com",
    }


def _vin(head: str, number: int) -> str:
    tail = f"K9{number:06d}"
    return f"{head}{check_digit(f'{head}0{tail}')}{tail}"


def _day(number: int) -> str:
    return (date(2020, 1, 1) + timedelta(days=31 * number)).isoformat()


def _write(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "register.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
