"""The sample payloads, renamed by hand, get the verdicts that their README asks of a gateway."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import judge_samples as s
import pytest

PAYLOADS = Path(__file__).parent.parent / "payloads"
NATIONAL = {"vehicleplatenumber": "plate", "repairmileage": "mileage"}
SHANGHAI = {
    "vpn": "plate",
    "orderCode": "costlistcode",
    "repairTime": "repairdate",
    "repairMileage": "mileage",
    "faultDesc": "faultdescription",
    "fuelType": "fuel",
    "natureOfUse": "use",
}
ROWS = {
    "partsname": "name",
    "partsquantity": "quantity",
    "partscode": "code",
    "repairproject": "name",
    "workinghours": "hours",
    "projectName": "name",
    "workingHours": "hours",
    "partName": "name",
    "partQty": "quantity",
    "partCode": "code",
}


def renamed(given, names):
    return {names.get(key, key): value for key, value in given.items()}


def payload(number):
    (path,) = PAYLOADS.glob(f"{number}_*.json")
    return json.loads(path.read_text("utf-8"), parse_float=Decimal)


def national(number):
    """Kind, members and header date of a payload in the national shape, whatever is around it."""
    tree = payload(number)
    tree = tree.get("transaction", tree)
    header = tree.get("header", {}).get("date")
    tree = tree.get("body", tree)
    tree = tree.get("reqInfo", tree)
    if "companypassword" in tree:
        return "registration" if "companyname" in tree else "token", tree, header
    members = renamed(tree.get("basicInfo", tree), NATIONAL)
    lists = {key.lower(): value for key, value in tree.items()}
    members["parts"] = [renamed(row, ROWS) for row in lists["vehiclepartslist"]]
    members["projects"] = [renamed(row, ROWS) for row in lists["repairprojectlist"]]
    return "repair", members, header


@pytest.mark.parametrize(
    ("number", "strict", "lenient"),
    [
        ("01", "", ""),
        (
            "02",
            "!VIN_MISSING !QUANTITY_NOT_NUMERIC PLACEHOLDER_PARTSCODE !HOURS_NOT_NUMERIC",
            "!VIN_MISSING QUANTITY_NOT_NUMERIC PLACEHOLDER_PARTSCODE HOURS_NOT_NUMERIC",
        ),
        ("04", "HOURS_OUTLIER", "HOURS_OUTLIER"),
        ("05", "", ""),
        ("06", "HOURS_OUTLIER", "HOURS_OUTLIER"),
        (
            "07",
            "!MANDATORY_MISSING !CODE_NOT_IN_TABLE !CODE_NOT_IN_TABLE !CODE_NOT_IN_TABLE",
            "!MANDATORY_MISSING CODE_MAPPED CODE_MAPPED CODE_MAPPED",
        ),
        ("09", "", ""),
        ("10", "!VIN_LENGTH !SETTLEDATE_IN_FUTURE", "!VIN_LENGTH !SETTLEDATE_IN_FUTURE"),
        ("13", "!USCC_CHECK_CHAR USCC_DEPARTMENT", "!USCC_CHECK_CHAR USCC_DEPARTMENT"),
        ("15", "", ""),
        ("25", "", ""),
    ],
)
def test_national_payloads(number, strict, lenient):
    kind, members, header = national(number)
    for name, wanted in (("strict", strict), ("lenient", lenient)):
        found = s.judged(kind, members, name, header_date=header)
        assert " ".join(("!" if f.severity == "reject" else "") + f.code for f in found.findings) == wanted


@pytest.mark.parametrize(
    ("number", "step", "wanted"),
    [
        ("16", "insert", "!VIN_LENGTH !VIN_ALPHABET"),
        ("17", "items", "ORDER_NOT_CHECKED"),
        ("19", "insert", ""),
    ],
)
def test_shanghai_steps(number, step, wanted):
    members = renamed(payload(number), SHANGHAI)
    if "repairProjectList" in members:
        given = members.pop("repairProjectList")
        members["projects"] = [renamed(row, ROWS) for row in given]
        members["parts"] = [renamed(part, ROWS) for row in given for part in row["repairPartList"]]
    for name in ("strict", "lenient"):
        found = s.judged("step", members, name, step=step)
        assert " ".join(("!" if f.severity == "reject" else "") + f.code for f in found.findings) == wanted
