"""Small exchanges that run on the real engine, for tests of what is told about them afterwards."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

from mappings.vin import check_digit
from pipelines.coordinator import Coordinator
from pipelines.settings import load
from pipelines.state import State

logging.getLogger("root").setLevel(logging.ERROR)


class Killed(BaseException):
    """Stands for a kill."""


BULK = Path(__file__).parents[2] / "deploy" / "exchanges" / "bulk-files.toml"

TO_STORES = """
name = "to-stores"
[source]
connector = "files"
path = "{source}"
format = "ndjson"
finished = "keep"
[mapping]
dialect = "national"
profile = "strict"
[versions]
system = "shops"
[routing]
table = "home"
[sinks.provinces]
connector = "sql"
for = "province-*"
url = "sqlite:///{stores}/{store}.db"
"""

_PLATES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"


def vin_of(serial: str, year: str = "K") -> str:
    """A VIN whose check digit is right."""
    raw = f"LSVAA2180{year}2{serial}"
    return raw[:8] + check_digit(raw) + raw[9:]


def payload(seed: int, **changes: str) -> dict[str, Any]:
    """One national record, the same for the same seed; `changes` replace members of basicInfo."""
    rnd = random.Random(seed)  # noqa: S311 - test data
    serial = "".join(rnd.choice("0123456789") for _ in range(6))
    basic = {
        "companycode": f"4401{seed % 7:04d}",
        "companyname": f"某某汽车维修有限公司{seed % 7}",
        "vehicleplatenumber": rnd.choice(_PLATES) + "A" + f"{rnd.randrange(10**5):05d}",
        "vin": vin_of(serial, rnd.choice("HJKLMN")),
        "repairdate": "20250610",
        "repairmileage": str(10_000 + seed),
        "settledate": "20250612",
        "faultdescription": "保养及异响检查",
        "costlistcode": f"JS20250612{seed:06d}",
    } | changes
    return {
        "basicInfo": basic,
        "vehiclepartslist": [{"partsname": "机油", "partsquantity": "4", "partscode": "P000001"}],
        "repairprojectlist": [{"repairproject": "更换机油机滤", "workinghours": "1.5"}],
    }


def write(path: Path, records: list[Any]) -> Path:
    """Records as NDJSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")
    return path


def lines(count: int, first: int = 0, broken: int = 0) -> list[Any]:
    """Records with consecutive seeds; the last `broken` of them have a VIN that cannot be."""
    good = [payload(first + i) for i in range(count - broken)]
    return good + [payload(first + count + i, vin="LSVAA218XXX") for i in range(broken)]


def run_bulk(folder: Path, records: list[Any], name: str = "in.ndjson", *more: str) -> None:
    """Run `bulk-files` on records; state, output and input lie under `folder`."""
    source = write(folder / name, records)
    exchange = load(BULK, [f"source.path={source}", f"sinks.provinces.path={folder / 'out'}", *more], {})
    with State(folder / "state", own=True) as state:
        Coordinator(state, exchange).run()


def run_stores(folder: Path, records: list[Any], name: str = "in.ndjson", store: str = "{destination}") -> None:
    """Run an exchange into SQLite stores, one a province by default."""
    source = write(folder / name, records)
    (folder / "stores").mkdir(exist_ok=True)
    text = TO_STORES.replace("{source}", str(source)).replace("{stores}", str(folder / "stores"))
    settings = folder / "to-stores.toml"
    settings.write_text(text.replace("{store}", store), "utf-8")
    with State(folder / "state", own=True) as state:
        Coordinator(state, load(settings, [], {})).run()
