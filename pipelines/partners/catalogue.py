"""The stand-ins there are, by the names of the destinations that they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.partners.protocol import Partner

PARTNERS: Mapping[str, Partner] = {}
"""Name -> stand-in."""
