"""Scoring of credit entries: measures -> points, by rules that are data (`routing/data/credit.toml`)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from routing.registers import whole

MEASURES: Mapping[str, str] = {
    "received": "报送数 / payloads received",
    "accepted": "接收记录数 / records accepted",
    "late_share": "迟报比例 / share of accepted records that came late",
    "dead_share": "不合格比例 / share of payloads that ended as dead letters",
    "flagged_share": "特异值比例 / share of accepted records with a flag",
    "corrected_share": "更正比例 / share of accepted records that correct an earlier one",
    "silent_days": "静默天数 / days without any payload",
    "silent_share": "静默天数比例 / share of the days told that were silent",
    "untold_days": "无统计天数 / days of the period that no ledger tells of",
    "evaluations": "评价数 / evaluations counted",
    "quality": "维修质量均分 / mean of quality",
    "efficiency": "维修效率均分 / mean of efficiency",
    "charge": "维修收费均分 / mean of charge",
    "attitude": "服务态度均分 / mean of attitude",
    "environment": "服务环境均分 / mean of environment",
    "evaluation_mean": "评价均分 / mean over evaluations of the mean of their items",
    "checks": "抽查数 / spot checks",
    "checks_failed": "抽查未合格数 / spot checks not passed",
    "checks_overdue": "逾期未整改数 / spot checks not put right in time",
    "complaints": "投诉数 / complaints",
    "complaints_upheld": "投诉属实数 / complaints upheld, wholly or in part",
    "complaints_open": "投诉处理中 / complaints not decided yet",
    "upheld_per_thousand": "每千次维修投诉属实数 / complaints upheld per 1,000 accepted records",
}
"""Figures that an entry holds and rules may weigh."""

HUNDREDTH, TEN_THOUSANDTH = Decimal("0.01"), Decimal("0.0001")


def rounded(value: Decimal, step: Decimal) -> Decimal:
    """Rounded half up to the step, written without trailing zeros or exponent."""
    found = value.quantize(step, ROUND_HALF_UP).normalize()
    return found.quantize(Decimal(1)) if found == found.to_integral_value() else found


def _exact(value: object) -> object:
    """TOML's doubles by their shortest text, so that 0.1 is a tenth."""
    return Decimal(repr(value)) if isinstance(value, float) else value


Number = Annotated[Decimal, BeforeValidator(_exact), Field(allow_inf_nan=False)]
Percent = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=100)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Band(_Frozen):
    """A measure up to `upto`, included, gives `percent` of the weight."""

    upto: Number
    percent: Percent


class Rule(_Frozen):
    """One line of the scoring: a measure, and what share of the weight it gives."""

    name: str
    measure: str
    zh: str
    en: str
    weight: Annotated[Number, Field(gt=0)]
    bands: tuple[Band, ...]
    beyond: Percent
    """Over the last band."""
    without: Percent
    """Where there is no figure."""

    @model_validator(mode="after")
    def _sound(self) -> Any:  # noqa: ANN401 - pydantic wants the model itself back
        if self.measure not in MEASURES:
            message = f"没有此指标 / no such measure; one of {', '.join(MEASURES)}"
            raise ValueError(message)
        if any(low.upto >= high.upto for low, high in pairwise(self.bands)):
            message = "bands 应按 upto 递增 / bands must rise by upto"
            raise ValueError(message)
        return self

    def weigh(self, value: Decimal | None) -> tuple[str, Decimal]:
        """The band that a figure falls into, in words, and its percentage."""
        if value is None:
            return "-", self.without
        for band in self.bands:
            if value <= band.upto:
                return f"<= {band.upto}", band.percent
        return (f"> {self.bands[-1].upto}" if self.bands else "*"), self.beyond


class Level(_Frozen):
    """A level and the score from which it is reached."""

    level: str
    least: Number = Field(alias="from")


class Weighed(NamedTuple):
    """What one rule gives."""

    rule: Rule
    bound: str
    percent: Decimal
    points: Decimal


class Scoring(_Frozen):
    """A whole scoring."""

    edition: str
    period: Literal["month", "quarter", "year"] = "month"
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] = Field(alias="rule")
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = Field(alias="level")
    """From the highest to the lowest, which starts at 0."""

    @model_validator(mode="after")
    def _sound(self) -> Any:  # noqa: ANN401 - pydantic wants the model itself back
        if len({rule.name for rule in self.rules}) < len(self.rules):
            message = "规则重名 / two rules bear one of the names"
            raise ValueError(message)
        if any(high.least <= low.least for high, low in pairwise(self.levels)) or self.levels[-1].least != 0:
            message = "等级应由高到低，最低为 0 / levels must fall, and end at 0"
            raise ValueError(message)
        return self

    @property
    def full(self) -> Decimal:
        """The most that can be reached."""
        return sum((rule.weight for rule in self.rules), Decimal(0))

    def weigh(self, measures: Mapping[str, Decimal | None]) -> list[Weighed]:
        """Every rule with what it gives, in order."""
        found = []
        for rule in self.rules:
            bound, percent = rule.weigh(measures.get(rule.measure))
            found.append(Weighed(rule, bound, percent, rounded(rule.weight * percent / 100, HUNDREDTH)))
        return found

    def level_of(self, score: Decimal) -> str:
        """The highest level that a score reaches."""
        return next((one.level for one in self.levels if score >= one.least), self.levels[-1].level)


def load_scoring(text: str, source: str = "credit.toml") -> Scoring:
    """Read a scoring from TOML.

    Raises:
        TableError: with what is wrong and the remedy.
    """
    return whole(Scoring, text, source)


@cache
def shipped() -> Scoring:
    """The scoring that comes with the package."""
    return load_scoring(files("routing").joinpath("data/credit.toml").read_text("utf-8"))
