"""Rules on the pieces of Shanghai's 二级维护 interface (domain 1.7): the shop's USCC, engine, brand, names of work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mappings import uscc, vin
from mappings.folding import compact, half_width
from mappings.placeholders import clean, is_placeholder
from mappings.rules import fields, repair, rows
from mappings.rules.case import Case

STEPS = frozenset({"car", "order"})
"""The pieces: car upload and order upload."""

_USCC = "companyunifiedsocialcreditidentifier"
_GLUED = re.compile(r"[^\d\s]\s*[*×]\s*\d{1,6}(\.\d{1,4})?\s*[^\d\s]{0,2}\Z")
_FEW = 2


def step(case: Case, name: str) -> Mapping[str, Any]:
    """Judge a piece by its own members.

    Returns:
        Its members for display.
    """
    fields.required_text(case, "inspection")
    identity = fields.required_text(case, _USCC)
    if identity is not None:
        code = uscc.normalise(identity)
        for problem, expected in uscc.problems(code):
            case.add(problem, _USCC, code, expected)
    members = repair.step(case, name)
    _engine(case)
    _brand(case)
    if name == "order":
        rows.empty_content(case)
        _names(case)
    return members


def _engine(case: Case) -> None:
    """ENGINE_PLACEHOLDER: a number made of one or two characters, or a word for nothing; an empty one says nothing."""
    text = fields.optional_text(case, "engine")
    sent = clean(case.members.get("engine"))
    if sent and (text is None or len(set(compact(text))) <= _FEW):
        case.add("ENGINE_PLACEHOLDER", "engine", sent, "发动机号 / an engine number")


def _brand(case: Case) -> None:
    """BRAND_WMI_MISMATCH: another maker's brand than the VIN's WMI belongs to, where both are known."""
    brand, number = fields.optional_text(case, "brand"), case.members.get("vin")
    if brand is None or is_placeholder(number):
        return
    own = vin.brand_words(vin.normalise(clean(number)))
    written = half_width(brand).upper()
    if own and not any(word in written for word in own):
        case.add("BRAND_WMI_MISMATCH", "brand", brand, ", ".join(own))


def _names(case: Case) -> None:
    """NAME_WITH_QUANTITY: a name of work or of a part that ends with a count (`二级维护*1`)."""
    for section in ("projects", "parts"):
        given = case.members.get(section)
        for i, row in enumerate(given if isinstance(given, list) else ()):
            name = row.get("name") if isinstance(row, Mapping) else None
            if isinstance(name, str) and _GLUED.search(half_width(name.strip())):
                case.add("NAME_WITH_QUANTITY", f"{section}[{i}].name", name, "名称不含数量 / a name without a count")
