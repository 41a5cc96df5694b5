"""The stand-ins there are, by the names of the destinations that they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.partners.documents import (
    CREDIT,
    INSURERS,
    MAKER,
    MARKET_REGULATION,
    ROAD_ADMINISTRATION,
    SOLID_WASTE,
    USED_CARS,
)
from pipelines.partners.environment import ENVIRONMENT
from pipelines.partners.giving import PARTS_TRACEABILITY, giver
from pipelines.partners.protocol import Partner

PARTNERS: Mapping[str, Partner] = {
    one.name: one
    for one in (
        ENVIRONMENT,
        SOLID_WASTE,
        CREDIT,
        INSURERS,
        MARKET_REGULATION,
        MAKER,
        USED_CARS,
        ROAD_ADMINISTRATION,
        giver("parts-traceability", "零配件质量追溯平台", "parts traceability", PARTS_TRACEABILITY),
    )
}
"""Name -> stand-in."""
