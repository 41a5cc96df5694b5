"""What a repair lets expect of waste, by rules that are data (`routing/data/waste.toml`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mappings.documents.waste import ExpectedWaste, Unit
from mappings.folding import compact
from mappings.numbers import number
from mappings.records import RepairRow
from mappings.waste.codes import PIECE, category_of, name_of, read_code
from routing.errors import TableError
from routing.registers import read

_STEP = Decimal("0.0001")
_TEXT_MOST = 200
"""So much of a part's or a job's name is looked at."""
_NAMED_MOST = 20
_MOST_KNOWN = 65_536
"""Names of which the rules are remembered."""


def _exact(value: object) -> object:
    return number(value) if isinstance(value, int | float | str) else value


def _code(value: object) -> object:
    found = read_code(value) if isinstance(value, str) else None
    if found is None or found.old or found.text != value:
        message = f"{value!r} 不是现行废物代码 / is no waste code in force"
        raise ValueError(message)
    return value


def _pattern(value: object) -> object:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        message = "应为一个或多个正则表达式 / one regular expression or several are wanted"
        raise ValueError(message)
    try:
        return re.compile("|".join(f"(?:{text})" for text in texts))
    except re.error as error:
        message = f"正则表达式有误 / no regular expression: {error}"
        raise ValueError(message) from None


_Amount = Annotated[Decimal, BeforeValidator(_exact), Field(gt=0)]
_Share = Annotated[Decimal, BeforeValidator(_exact), Field(gt=0, le=1)]
_Words = Annotated[re.Pattern[str], BeforeValidator(_pattern)]
_Code = Annotated[str, BeforeValidator(_code)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class WasteRule(_Data):
    """One rule: words of parts and jobs -> a code, and how much of it."""

    rule: str
    code: _Code
    unit: Unit
    per: Literal["visit", "piece", "job"]
    """Once a visit, per piece of the parts that fit, or per job that fits."""
    quantity: _Amount
    confidence: _Share
    job_confidence: _Share | None = None
    """Where only a job fits; the same where it is not given."""
    most: _Amount | None = None
    """Most pieces a visit that are believed."""
    parts: _Words | None = None
    jobs: _Words | None = None
    excluded: _Words | None = Field(default=None, alias="not")

    def of_part(self, name: str) -> bool:
        """Whether a part of this folded name is what the rule tells of."""
        return self._fits(self.parts, name)

    def of_job(self, name: str) -> bool:
        """Whether a job of this folded name is what the rule tells of."""
        return self._fits(self.jobs, name)

    def _fits(self, words: re.Pattern[str] | None, name: str) -> bool:
        return bool(words and words.search(name)) and not (self.excluded and self.excluded.search(name))

    def expect(self, parts: Mapping[int, Decimal], jobs: Sequence[int]) -> ExpectedWaste:
        """What a visit lets expect by this rule: of parts that fit, place and pieces, of jobs their places.

        At least one fits.
        """
        times = Decimal(1)
        if self.per == "piece" and parts:
            times = sum(parts.values(), Decimal())
            times = min(times, self.most) if self.most is not None else times
        elif self.per == "job" and jobs:
            times = Decimal(len(jobs))
        because = (*(f"parts[{place}]" for place in parts), *(f"projects[{place}]" for place in jobs))
        return ExpectedWaste(
            code=self.code,
            category=category_of(self.code),
            name=name_of(self.code),
            quantity=plain(times * self.quantity),
            unit=self.unit,
            confidence=self.confidence if parts else self.job_confidence or self.confidence,
            rule=self.rule,
            because=because[:_NAMED_MOST],
        )


class AccountedCode(_Data):
    """The unit in which a code is accounted, and what a piece of it weighs."""

    code: _Code
    unit: Unit
    kg_per_piece: _Amount | None = None


class PartWaste(NamedTuple):
    """The waste that a replaced part becomes."""

    code: str
    leaves: bool
    """Whether it goes where the old part goes; what was filled in or painted on (a rule per visit or job) stays."""


class Accounted(NamedTuple):
    """An amount in the unit in which its code is accounted."""

    unit: Unit
    quantity: Decimal


class _Fitting(dict[str, tuple[int, ...]]):
    """Name of a part or a job -> numbers of the rules that tell of it: few names make up most rows."""

    def __init__(self, rules: Sequence[WasteRule], fits: Callable[[WasteRule, str], bool]) -> None:
        super().__init__()
        self._rules, self._fits = rules, fits

    def __missing__(self, name: str) -> tuple[int, ...]:
        folded = compact(name[:_TEXT_MOST])
        found = tuple(number for number, rule in enumerate(self._rules) if self._fits(rule, folded))
        if len(self) >= _MOST_KNOWN:
            self.clear()
        self[name] = found
        return found


class _Fit(NamedTuple):
    """What of a visit a rule tells of."""

    rule: int
    parts: tuple[tuple[int, Decimal], ...]
    """Place and pieces."""
    jobs: tuple[int, ...]
    """Places."""


class _Expected(dict[_Fit, ExpectedWaste]):
    """What is expected where a rule fits: names make no difference any more, so few values make up most visits."""

    def __init__(self, rules: Sequence[WasteRule]) -> None:
        super().__init__()
        self._rules = rules

    def __missing__(self, fit: _Fit) -> ExpectedWaste:
        found = self._rules[fit.rule].expect(dict(fit.parts), fit.jobs)
        if len(self) >= _MOST_KNOWN:
            self.clear()
        self[fit] = found
        return found


class WasteRules:
    """All rules, and the units of account."""

    def __init__(self, rules: Iterable[WasteRule], codes: Iterable[AccountedCode] = ()) -> None:
        self._rules = tuple(rules)
        self._named = {rule.rule: rule for rule in self._rules}
        self._codes = {one.code: one for one in codes}
        self._part_rules = _Fitting(self._rules, WasteRule.of_part)
        self._job_rules = _Fitting(self._rules, WasteRule.of_job)
        self._expected = _Expected(self._rules)

    def expect(self, repair: RepairRow) -> tuple[ExpectedWaste, ...]:
        """What a repair lets expect, in the order of the rules."""
        parts: dict[int, dict[int, Decimal]] = {}
        for place, part in enumerate(repair.parts):
            for rule in self._part_rules[part.name]:
                parts.setdefault(rule, {})[place] = _pieces(part.quantity)
        jobs: dict[int, list[int]] = {}
        for place, project in enumerate(repair.projects):
            for rule in self._job_rules[project.name]:
                jobs.setdefault(rule, []).append(place)
        return tuple(
            self._expected[_Fit(rule, tuple(parts.get(rule, {}).items()), tuple(jobs.get(rule, ())))]
            for rule in sorted({*parts, *jobs})
        )

    def kept(self, items: Iterable[ExpectedWaste], gone: Mapping[str, Decimal]) -> tuple[ExpectedWaste, ...]:
        """What stays expected where so many old parts of a code (pieces) did not stay in the shop."""
        left, found = dict(gone), []
        for item in items:
            rule = self._named[item.rule]
            if rule.per == "piece" and item.code in left:
                pieces = item.quantity / rule.quantity
                stay = max(pieces - left[item.code], Decimal())
                left[item.code] -= pieces - stay
                item = item.model_copy(update={"quantity": plain(stay * rule.quantity)})
            if item.quantity:
                found.append(item)
        return tuple(found)

    def of_part(self, name: str) -> PartWaste | None:
        """The waste that a part of this name becomes when it is replaced; None where it becomes none."""
        found = [self._rules[rule] for rule in self._part_rules[name]]
        likely = max(found, key=lambda rule: rule.confidence, default=None)
        return PartWaste(likely.code, likely.per == "piece") if likely is not None else None

    def codes(self, least: Decimal) -> frozenset[str]:
        """Codes that a rule of at least that confidence expects."""
        return frozenset(rule.code for rule in self._rules if rule.confidence >= least)

    def account(self, code: str, unit: Unit, quantity: Decimal) -> Accounted:
        """An amount in the code's unit of account; as it is, where the code has none or no weight of a piece."""
        one = self._codes.get(code)
        if one is None or one.unit == unit or one.kg_per_piece is None:
            return Accounted(unit, plain(quantity))
        if unit == PIECE:
            return Accounted(one.unit, plain(quantity * one.kg_per_piece))
        return Accounted(one.unit, plain(quantity / one.kg_per_piece))


def plain(quantity: Decimal) -> Decimal:
    """An amount as documents hold it: at most four places, neither exponent nor trailing zeros."""
    whole = quantity.quantize(_STEP, ROUND_HALF_UP)
    return Decimal(int(whole)) if whole == int(whole) else whole.normalize()


def load_waste_rules(rules: str, units: str = "", source: str = "waste") -> WasteRules:
    """Read rules (`[[waste]]`) and units of account (`[[code]]`), each from a TOML text.

    Raises:
        TableError: with the line and the remedy; also for a name or a code that stands twice.
    """
    named = read(WasteRule, rules, "toml", "waste", source)
    codes = read(AccountedCode, units, "toml", "code", source)
    for names in ([one.rule for one in named], [one.code for one in codes]):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            problem = f"重复 / twice: {', '.join(twice)}"
            raise TableError(source, 0, problem, "请只保留一条 / keep one of them")
    return WasteRules(named, codes)


@cache
def shipped_waste_rules() -> WasteRules:
    """The rules that come with the package."""
    data = files("routing").joinpath("data")
    return load_waste_rules(
        data.joinpath("waste.toml").read_text("utf-8"), data.joinpath("waste-units.toml").read_text("utf-8")
    )


def _pieces(quantity: Decimal | None) -> Decimal:
    """Pieces of a part row; what says none, or less, is one."""
    return quantity if quantity is not None and quantity > 0 else Decimal(1)
