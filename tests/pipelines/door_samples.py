"""What tests of the door's callers share: a shop's registration, moments, a state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mappings.records import Operator
from pipelines.door.passwords import Cost

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)
CHEAP = Cost(ln=4)
"""Hashing that costs tests nothing."""
USCC = "91310112132259241T"


def operator(**changes: Any) -> Operator:
    """A registration; `changes` replace its members."""
    members = {
        "companyname": "某某汽车维修有限公司",
        "companyunifiedsocialcreditidentifier": USCC,
        "companyaddress": "某某路1号",
        "companypostalcode": "310000",
        "companyeconomiccategory": "150",
        "companycategory": "02",
        "companylinkmanname": "张某",
        "companylinkmantel": "13800000000",
        "companysuperintendentname": "张某",
        "companysuperintendenttel": "13800000000",
        "companybusinessscope": "机动车维修",
        "companyoperationstate": "1",
        "companyadministrativedivisioncode": "330106",
        "companyemail": "shop@example.com",
    }
    return Operator(**{**members, **changes})
