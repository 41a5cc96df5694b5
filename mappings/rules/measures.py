"""What the emission tests measure: per method the items, the members that tell them, and how a judgement follows.

The members are those of the I-station upload interface (domain section 3.3 and the public client that it names).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from mappings.numbers import number
from mappings.placeholders import is_placeholder
from mappings.rules import fields
from mappings.rules.case import SCALARS, Case
from mappings.rules.messages import Names

DIDLE, LIGHTPROOF, ASM, VMAS, LUGDOWN, RINGELMANN, OBD = (
    *("didle", "lightproof", "asm", "vmas", "lugdown", "ringelmann", "obd"),
)
"""Methods: 双怠速, 不透光烟度, 稳态工况, 简易瞬态工况, 加载减速, 林格曼, and the check of the on-board diagnosis."""

SPARK = frozenset({DIDLE, ASM, VMAS})
"""Methods of GB 18285, for engines with spark ignition."""
COMPRESSION = frozenset({LIGHTPROOF, LUGDOWN, RINGELMANN})
"""Methods of GB 3847, for engines with compression ignition."""


class Item(NamedTuple):
    """One thing that is measured, by the names of its members on the wire (folded)."""

    name: str
    value: tuple[str, ...]
    upper: tuple[str, ...] = ()
    """Most that passes."""
    lower: tuple[str, ...] = ()
    """Least that passes."""
    judge: tuple[str, ...] = ()
    needed: bool = True
    """Whether all of its members are mandatory."""

    @property
    def members(self) -> Names:
        """Our name of each of its members -> the partner's."""
        named = {"value": self.value, "upper": self.upper, "lower": self.lower, "passed": self.judge}
        return {f"measures.{self.name}.{member}": theirs for member, theirs in named.items() if theirs}


class Measure(NamedTuple):
    """What was found of one item."""

    item: str
    value: Decimal | None
    upper: Decimal | None
    lower: Decimal | None
    passed: bool | None


def _gas(name: str) -> Item:
    return Item(name, (f"{name}result",), upper=(f"{name}limit",), judge=(f"{name}judge",))


def _driven(name: str) -> Item:
    return Item(name, (name, f"{name}result"), (f"{name}limit",), judge=(f"{name}judge",), needed=False)


def _smoke(name: str) -> Item:
    return Item(name, (name,), (f"smoke{name}limit", f"{name}limit"), judge=(f"smoke{name}judge", f"{name}judge"))


def _plain(*names: str, needed: bool = False) -> tuple[Item, ...]:
    return tuple(Item(name, (name,), needed=needed) for name in names)


_LAMBDA = Item("lambda", ("lambda",), ("lambdaup",), ("lambdadown",), ("lambdajudge",))
_AIR = (*_plain("temperature", "humidity", "atpressure", needed=True), *_plain("samplingdepth"))

ITEMS: Mapping[str, tuple[Item, ...]] = {
    DIDLE: (
        *(_gas(name) for name in ("lsco", "lshc", "hsco", "hshc")),
        _LAMBDA,
        *_plain("gdszs", "dszs", needed=True),
        *_AIR,
    ),
    LIGHTPROOF: (
        Item("smokek", ("smokeavg",), ("smokeklimit",), judge=("smokekjudge",)),
        *_plain("smokek1", "smokek2", "smokek3", needed=True),
        *_plain("smokek4", "idlerev", "rpm"),
        *_AIR,
    ),
    LUGDOWN: (
        Item("maxhp", ("actmaxhp", "maxhp"), lower=("maxhplimit",), judge=("maxhpjudge",)),
        _smoke("k100"),
        _smoke("k80"),
        Item("nox80", ("nox80",), ("nox80limit",), judge=("nox80judge",)),
        Item("maxrpm", ("maxrpm",), ("raterevup",), ("raterevdown",), ("maxrpmjudge",), needed=False),
        *_plain("rpm", "cormaxhp", "minhp", "corvelmaxhp", "actvelmaxhp", "pcf"),
        *_AIR,
    ),
    VMAS: (*(_driven(name) for name in ("hc", "co", "nox", "hcnox")), _LAMBDA._replace(needed=False), *_AIR),
}
"""Method -> its items. 10^-6 for HC and NOx80, % for CO, g/km under vmas, m^-1 for smoke, kW for power."""


def measures(case: Case, method: str) -> tuple[Measure, ...]:
    """What a result tells of its method's items: those of which anything is there.

    Findings: MANDATORY_MISSING, MEASURE_NOT_NUMERIC, CODE_NOT_IN_TABLE, and JUDGE_AGAINST_LIMIT where a value lies
    outside of its limits and passed, or inside and failed.
    """
    found = [_measure(case, item) for item in ITEMS[method]]
    if method == VMAS and not any(one.passed is not None for one in found):
        case.add("MANDATORY_MISSING", "measures.co.passed", None, "至少一个分项判定 / at least one single result")
    return tuple(one for one in found if any(value is not None for value in one[1:]))


def judgement(case: Case, field: str, *, needed: bool) -> bool | None:
    """Whether a result passed: 1 or 0 (table judgements)."""
    value = fields.required(case, field) if needed else case.members.get(field)
    if is_placeholder(value):
        return None
    return {"1": True, "0": False}.get(fields.coded(case, field, "judgements", value) or "")


def figure(case: Case, field: str, *, needed: bool) -> Decimal | None:
    """A measured value or a limit."""
    value = fields.required(case, field) if needed else case.members.get(field)
    if is_placeholder(value):
        return None
    found = number(value)
    if found is None and (not isinstance(value, SCALARS) or isinstance(value, bool)):
        case.wrong_kind(field, value, "数字 / a number")
    elif found is None:
        case.add("MEASURE_NOT_NUMERIC", field, value, "数字 / a number")
    return found


def _measure(case: Case, item: Item) -> Measure:
    at = f"measures.{item.name}"
    value, upper, lower = (
        figure(case, f"{at}.{member}", needed=item.needed) if theirs else None
        for member, theirs in (("value", item.value), ("upper", item.upper), ("lower", item.lower))
    )
    passed = judgement(case, f"{at}.passed", needed=item.needed) if item.judge else None
    one = Measure(item.name, value, upper, lower, passed)
    if passed is not None and value is not None and (upper is not None or lower is not None):
        outside = (upper is not None and value > upper) or (lower is not None and value < lower)
        if passed == outside:
            least, most = ("" if bound is None else str(bound) for bound in (lower, upper))
            expected = f"{'0' if outside else '1'} ({value}; {least}..{most})"
            case.add("JUDGE_AGAINST_LIMIT", f"{at}.passed", "1" if passed else "0", expected)
    return one
