"""Rules of routing tables as data: what TOML may say, held to it strictly, and the checks that come of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from mappings import divisions
from routing.texts import Text

READABLE = (
    "system",
    "shop_province",
    "repaircomefrom",
    "dealer_of",
    "kind",
    "home",
    "home_reason",
    "company",
    "vin",
    "plate",
)
"""What conditions and templates may name: members of `Facts`, and `home` (a province key, `none` or `unknown`) with
`home_reason`."""

View = Mapping[str, str | int]
"""The readable facts of one record, by name."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_PROVINCE_FACTS = frozenset({"home", "system", "shop_province"})

Scalar = str | int
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Several = Annotated[tuple[Scalar, ...], BeforeValidator(_as_list), Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Strict):
    """What one fact must be; several members must all hold. A string may name other facts: `oem-{dealer_of}`."""

    any_of: Several | None = Field(default=None, alias="in")
    """One of these. A bare value or list in the table means this."""
    none_of: Several | None = Field(default=None, alias="not")
    """None of these."""
    prefix: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)] | None = None
    """Begins with one of these."""
    province: bool | None = None
    """Whether it is a province key (11 ... 65, bt)."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        return value if isinstance(value, dict | Condition) else {"in": value}

    @model_validator(mode="after")
    def _something(self) -> Condition:
        if not self.model_fields_set:
            message = "条件为空，可用 in, not, prefix, province / empty condition: use in, not, prefix or province"
            raise ValueError(message)
        return self


class Rule(_Strict):
    """One rule: when its conditions hold it sends to destinations, filters with a reason, or waits with one."""

    name: Slug
    zh: Annotated[str, StringConstraints(min_length=1)]
    en: Annotated[str, StringConstraints(min_length=1)]
    when: dict[str, Condition] = {}
    to: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)] | None = None
    """Destinations. `{home}` stands for each home in turn; `{home}`, `{system}` and `{shop_province}` must name
    provinces, otherwise the rule does not match."""
    unless: tuple[Literal["held", "system", "shop_province"], ...] = ()
    """Destinations left out: which hold the version, are the collecting system's, are the shop's province."""
    stop: bool = False
    """After this rule none is looked at."""
    filter: str | None = None
    """Reason for which the record goes nowhere; may name facts (`{home_reason}`)."""
    wait: Slug | None = None
    """Reason for which it waits."""
    mapping: Slug | None = None
    """Outbound mapping; the table's when absent."""
    repaircomefrom: Literal[1, 2] | None = None
    """What the record carries there; as it is when absent."""

    @field_validator("when")
    @classmethod
    def _known_facts(cls, value: dict[str, Condition]) -> dict[str, Condition]:
        for name, condition in value.items():
            _known(name)
            for text in (*(condition.any_of or ()), *(condition.none_of or ()), *(condition.prefix or ())):
                _known(*placeholders(text))
        return value

    @field_validator("to", "filter")
    @classmethod
    def _known_placeholders(cls, value: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        for text in (value,) if isinstance(value, str) else value or ():
            _known(*placeholders(text))
        return value

    @model_validator(mode="after")
    def _one_end(self) -> Rule:
        if sum(end is not None for end in (self.to, self.filter, self.wait)) != 1:
            message = "to, filter, wait 须且只须一个 / exactly one of to, filter, wait is needed"
            raise ValueError(message)
        if self.to is None and (self.unless or self.mapping or self.repaircomefrom):
            message = (
                "unless, mapping, repaircomefrom 只用于 to / unless, mapping and repaircomefrom belong to 'to' only"
            )
            raise ValueError(message)
        return self

    def reads(self) -> frozenset[str]:
        """Names of the facts that decide what the rule does."""
        texts: list[Scalar] = [*(self.to or ()), self.filter or ""]
        for condition in self.when.values():
            texts += [*(condition.any_of or ()), *(condition.none_of or ()), *(condition.prefix or ())]
        named = {name for text in texts for name in placeholders(text)}
        return frozenset(named | set(self.when) | (set(self.unless) - {"held"}))


class TableModel(_Strict):
    """A routing table as TOML says it."""

    name: Slug
    zh: Annotated[str, StringConstraints(min_length=1)]
    en: Annotated[str, StringConstraints(min_length=1)]
    mapping: Slug
    """Outbound mapping of rules that name none."""
    origin: Literal["province", "oem"] = "province"
    """Whose records it routes: those that a province collected, or an OEM's headquarters (for explanations)."""
    rule: Annotated[tuple[Rule, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique_names(self) -> TableModel:
        names = [rule.name for rule in self.rule]
        for name in names:
            if names.count(name) > 1:
                message = f"规则名重复 / two rules are named {name}"
                raise ValueError(message)
        return self


class Check(NamedTuple):
    """One compiled condition: the fact, the test, and what it wants, in words."""

    fact: str
    test: Callable[[View], bool]
    wanted: Text

    def why(self, view: View) -> Text:
        """Why it holds or does not: the value seen, and what is wanted."""
        seen, zh, en = view[self.fact], fill(self.wanted.zh, view), fill(self.wanted.en, view)
        return Text(f"{self.fact} = {seen!r}，要求 {zh}", f"{self.fact} is {seen!r}, wanted {en}")


def checks(when: Mapping[str, Condition]) -> tuple[Check, ...]:
    """Compile the conditions of a rule."""
    found: list[Check] = []
    for fact, condition in when.items():
        if condition.any_of is not None:
            found.append(_membership(fact, condition.any_of, wanted=True))
        if condition.none_of is not None:
            found.append(_membership(fact, condition.none_of, wanted=False))
        if condition.prefix is not None:
            found.append(_prefix(fact, condition.prefix))
        if condition.province is not None:
            found.append(_province(fact, wanted=condition.province))
    return tuple(found)


def placeholders(text: Scalar) -> tuple[str, ...]:
    """Names of the facts that a text names in braces."""
    return tuple(_PLACEHOLDER.findall(text)) if isinstance(text, str) else ()


def fill(text: str, view: View) -> str:
    """The text with each `{fact}` replaced by its value."""
    return _PLACEHOLDER.sub(lambda found: str(view[found[1]]), text)


def unusable(template: str, view: View) -> str:
    """The first fact of a destination template that must name a province (or anything at all) and does not, else ''."""
    for name in placeholders(template):
        value = view[name]
        if value == "" or (name in _PROVINCE_FACTS and value not in divisions.PROVINCES):
            return name
    return ""


def _membership(fact: str, values: tuple[Scalar, ...], *, wanted: bool) -> Check:
    plain = frozenset(value for value in values if not placeholders(value))
    templates = tuple(value for value in values if isinstance(value, str) and placeholders(value))

    def test(view: View) -> bool:
        seen = view[fact]
        return (seen in plain or any(seen == fill(text, view) for text in templates)) is wanted

    shown = " | ".join(repr(value) for value in values)
    return Check(fact, test, Text(shown, shown) if wanted else Text(f"不是 {shown}", f"none of {shown}"))


def _prefix(fact: str, prefixes: tuple[str, ...]) -> Check:
    def test(view: View) -> bool:
        return str(view[fact]).startswith(tuple(fill(text, view) for text in prefixes))

    shown = " | ".join(repr(value) for value in prefixes)
    return Check(fact, test, Text(f"以 {shown} 开头", f"a value that begins with {shown}"))


def _province(fact: str, *, wanted: bool) -> Check:
    def test(view: View) -> bool:
        return (view[fact] in divisions.PROVINCES) is wanted

    return Check(
        fact, test, Text("是省份代码", "a province key") if wanted else Text("不是省份代码", "no province key")
    )


def _known(*names: str) -> None:
    for name in names:
        if name not in READABLE:
            message = f"没有事实 / there is no fact {name!r}; 可用 / known: {', '.join(READABLE)}"
            raise ValueError(message)
