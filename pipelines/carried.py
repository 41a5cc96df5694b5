"""What records between systems carry beside their content, checked before anything relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mappings.rules.case import shown
from pipelines.work import Why

_MOST = (1 << 31) - 1
_LONGEST = 64


def problems(provenance: Mapping[str, Any]) -> tuple[Why, ...]:
    """Why carried members cannot be used, a reason each; a member that is not there is no problem."""
    return tuple(
        ("STRUCTURE_WRONG", name, shown(provenance[name]), expected)
        for name, (right, expected) in _RULES.items()
        if name in provenance and not right(provenance[name])
    )


def _number(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MOST


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _moment(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


_WHOLE = "1 以上的整数 / a whole number from 1 on"
_RULES = {
    "system": (_text, "归集系统 / a collecting system"),
    "version": (_number, _WHOLE),
    "repaircomefrom": (_number, _WHOLE),
    "dialect": (_text, "方言名 / the name of a dialect"),
    "received_at": (_moment, "带时区的 ISO 8601 时刻 / an ISO 8601 moment with its zone"),
}
