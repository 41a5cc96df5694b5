"""Agreements: what a destination may receive, of which kinds, field by field, why, on what ground and for how long.

Deny by default: what no agreement in force lets through does not leave. An agreement is data, one TOML file a version:

    id = "used-cars"
    version = 2
    zh = "二手车脱敏查询"
    en = "desensitised reports for used cars"
    destinations = ["used-cars", "used-cars-*"]
    approval = "粤交办〔2026〕12号"
    basis = ["交办运〔2021〕82号 (十)"]
    purpose = "二手车透明交易 / transparent trade"
    from = 2026-01-01
    until = 2026-12-31               # last day, in China's time; left out: without end
    # revoked = 2026-06-01T12:00:00+08:00

    [kinds.repair]                   # a record kind; "*" stands for every other one
    vin = "pass"
    plate = "province"
    settledate = "month"
    "parts.name" = "pass"            # lists have no place in a path
    faultdescription = "mask"

Paths are those of the canonical JSON: for repairs the members of `mappings.encoding_interchange`, for documents those
of `mappings.documents.interchange`, the content below `members`. The longest path counts: `parts.code` before
`parts.*`, `parts`, `*`; what none names is withheld. `schema`, `kind` and `version` say what a message is, and always
go out; so does that a version is withdrawn, though not why. Treatments: `routing.treatments`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from functools import cache, cached_property
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from mappings.dates import SHANGHAI
from mappings.documents.kinds import KINDS
from mappings.documents.paths import ENVELOPE, member_paths
from mappings.encoding_interchange import MEMBERS
from routing.cases import REPAIR
from routing.errors import TableError
from routing.registers import describe, key_line, parse_toml
from routing.telling import ALWAYS, WITHDRAWN, Place, Telling
from routing.treatments import MASK, MASKLESS, PASS, WITHHOLD, known

STATUTORY = ("collect", "report", "push", "headquarters", "own-store")
"""Shipped agreements of the flows that the notices themselves demand."""
SHIPPED = (
    *STATUTORY, "environment", "solid-waste", "credit", "insurers", "market-regulation", "maker", "used-cars",
    "road-administration",
)  # fmt: skip
"""Names of the agreements in `routing/data/agreements`; all but the statutory ones are patterns to be filled in."""

REST = "*"

REPAIR_PATHS = (
    *(name for name in MEMBERS if name not in ("parts", "projects") and name not in ALWAYS),
    "parts.name", "parts.quantity", "parts.code", "projects.name", "projects.hours", WITHDRAWN,
)  # fmt: skip
"""What a repair has, down to its values."""
_NAMING = {REPAIR: ("system", "companycode", "costlistcode"), "": ("system", "companycode", "costlistcode")}
"""Members that name a record: of a repair, of a document."""

_LANE = re.compile(
    r"(?i)price|fee(?!d)|(apply|paid|claim|total)amount|premium|money|cost(?!list)|sum$"
    r"|wage|policy|owner|phone|mobile|linkman|contact|customer|driver|insured"
)
"""Members of documents that stay in the insurers' lane: prices, owners' names, phones (domain 8.1, rule 22)."""
_KIND = r"^(\*|[a-z][a-z0-9-]{0,63})$"
_PATH = r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?)$"
_EXAMPLE = re.compile(r"(?i)示例|\bexample\b")

Path_ = Annotated[str, StringConstraints(pattern=_PATH)]
Kind = Annotated[str, StringConstraints(pattern=_KIND)]
Said = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Terms:
    """What may leave of records of one kind under one agreement. Immutable."""

    def __init__(self, agreement: str, version: int, kind: str, rules: Mapping[str, str], **about: Any) -> None:  # noqa: ANN401 - texts
        self.agreement, self.version, self.kind, self.rules = agreement, version, kind, dict(rules)
        self.approval: str = about.get("approval", "")
        self.purpose: str = about.get("purpose", "")
        self.basis: tuple[str, ...] = tuple(about.get("basis", ()))
        self.lane: str = about.get("lane", "")
        self._found: dict[str, str] = {}
        everything = set(self.rules.values()) == {PASS} and REST in self.rules
        self.whole = everything and (kind == REPAIR or bool(self.lane))
        """Whether records leave as they are, so that nobody need look at them."""

    @cached_property
    def names(self) -> bool:
        """Whether what names a record (its key) may be told."""
        return all(self.treatment(path) == PASS for path in _NAMING.get(self.kind, _NAMING[""]))

    @cached_property
    def packed(self) -> bytes:
        """Everything that decides what leaves and on what ground, as canonical JSON; `restored` reads it."""
        about = {"approval": self.approval, "purpose": self.purpose, "basis": self.basis, "lane": self.lane}
        told = {"agreement": self.agreement, "version": self.version, "kind": self.kind, "rules": self.rules, **about}
        return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)

    @cached_property
    def digest(self) -> str:
        """Stands for these terms: equal where nothing in them differs."""
        return blake2b(self.packed, digest_size=16).hexdigest()

    @classmethod
    def restored(cls, packed: bytes | str) -> Terms:
        """The terms that `packed` holds."""
        return cls(**orjson.loads(packed))

    def treatment(self, path: str) -> str:
        """What becomes of the value at a path."""
        found = self._found.get(path)
        if found is None:
            found = self._treatment(path)
            if len(self._found) < 1_000:  # paths are ours; a bound all the same
                self._found[path] = found
        return found

    def _treatment(self, path: str) -> str:
        exact = self.rules.get(path)
        if exact is not None:
            return exact
        if not self.lane and self.kind != REPAIR and _of_lane(path):
            return WITHHOLD
        above = path
        while "." in above:
            above = above.rpartition(".")[0]
            for rule in (f"{above}.{REST}", above):
                if rule in self.rules:
                    return self.rules[rule]
        return self.rules.get(REST, WITHHOLD)

    @property
    def fields(self) -> dict[str, str]:
        """What leaves: path -> treatment, for the record of what was disclosed."""
        return {path: treatment for path in self._paths() if (treatment := self.treatment(path)) != WITHHOLD}

    def _paths(self) -> Iterable[str]:
        if self.kind == REPAIR:
            return REPAIR_PATHS
        known = member_paths(self.kind) if self.kind in KINDS else ()
        return dict.fromkeys([*ENVELOPE, *known, *sorted(self.rules, key=lambda rule: REST in rule)])

    def apply(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """The canonical JSON members of a record as they leave. Never raises for what stands in them."""
        if self.whole:
            return dict(members)
        return Telling(self._places, members, amounts=bool(self.lane)).told()

    @cached_property
    def _places(self) -> Place:
        return Place(self.treatment)


class Agreement(BaseModel):
    """One version of an agreement; see the module."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    version: int = Field(ge=1)
    zh: Said
    en: Said
    destinations: tuple[Said, ...] = Field(min_length=1)
    """Globs over destination names."""
    approval: Said
    """Number of the approval, or of the notice that demands the flow."""
    basis: tuple[Said, ...] = Field(min_length=1)
    """Legal basis: the clauses."""
    purpose: Said
    valid_from: date = Field(alias="from")
    valid_until: date | None = Field(default=None, alias="until")
    """Last day."""
    revoked: AwareDatetime | None = None
    """The moment from which on nothing leaves under it, whatever its dates say."""
    lane: Literal["", "insurers", "own"] = ""
    """`insurers`: the only one in which prices, owners' names and phones go out; `own`: our own store and files."""
    kinds: dict[Kind, dict[Path_, str]] = Field(min_length=1)
    """Record kind -> path -> treatment."""

    @model_validator(mode="after")
    def _agrees(self) -> Agreement:
        if self.valid_until is not None and self.valid_until < self.valid_from:
            message = "until 早于 from / until is earlier than from"
            raise ValueError(message)
        for kind, rules in self.kinds.items():
            for path, treatment in rules.items():
                problem = _problem(kind, path, treatment, self.lane)
                if problem:
                    message = f"kinds.{kind}.{path}: {problem}"
                    raise ValueError(message)
        return self

    @property
    def title(self) -> str:
        """What people call it: id and version."""
        return f"{self.id} v{self.version}"

    @property
    def example(self) -> bool:
        """Whether it rests on the approval of a pattern, which nobody gave: `credit-示例-1 / example 1`."""
        return _EXAMPLE.search(self.approval) is not None

    def covers(self, destination: str, kind: str) -> bool:
        """Whether it speaks of this destination and kind, in force or not."""
        there = any(fnmatch.fnmatchcase(destination, glob) for glob in self.destinations)
        return there and (kind in self.kinds or REST in self.kinds)

    def in_force(self, moment: datetime) -> bool:
        """Whether it is in force at a moment (aware): its days are those of China's time."""
        begins = datetime.combine(self.valid_from, time.min, SHANGHAI)
        return begins <= moment and not self.over(moment)

    def over(self, moment: datetime) -> bool:
        """Whether it was in force and never will be again."""
        ended = self.valid_until is not None and moment >= datetime.combine(
            self.valid_until + timedelta(days=1), time.min, SHANGHAI
        )
        return ended or (self.revoked is not None and moment >= self.revoked)

    def why_not(self, moment: datetime) -> str:
        """Why it is not in force at a moment; empty where it is."""
        if self.revoked is not None and moment >= self.revoked:
            return f"已撤销 / revoked {self.revoked.isoformat()}"
        if self.over(moment):
            return f"已过期 / expired after {self.valid_until}"
        return "" if self.in_force(moment) else f"尚未生效 / in force from {self.valid_from}"

    def terms(self, kind: str) -> Terms:
        """What leaves of a kind that it covers."""
        found = self._terms.get(kind)
        if found is None:
            about = {"approval": self.approval, "purpose": self.purpose, "basis": self.basis, "lane": self.lane}
            rules = self.kinds.get(kind) or self.kinds[REST]
            found = self._terms[kind] = Terms(self.id, self.version, kind, rules, **about)
        return found

    @cached_property
    def _terms(self) -> dict[str, Terms]:
        """By kind, as they are asked for: there are no more kinds than those of records."""
        return {}


def _problem(kind: str, path: str, treatment: str, lane: str) -> str:
    """What is wrong with one rule; empty: nothing."""
    name = path.rpartition(".")[2]
    if not known(treatment):
        return f"没有这种处理 / no such treatment: {treatment}"
    if REST in path and treatment not in (PASS, WITHHOLD):
        return "通配只能 pass 或 withhold / what stands for many is passed or withheld"
    if treatment == MASK and name in MASKLESS:
        return "该项没有脱敏形式，请 pass 或 withhold / it has no masked form: pass or withhold it"
    if kind == REPAIR and not _among(path, REPAIR_PATHS):
        return "维修记录没有该项 / a repair record has no such member"
    if not lane and kind != REPAIR and treatment != WITHHOLD and _of_lane(path):
        return "价格、车主与电话只在保险通道 / prices, owners and phones stay in the insurers' lane"
    if kind in KINDS and not _among(path, (*ENVELOPE, *member_paths(kind))):
        return f"{kind} 没有该项 / a document of this kind has no such member"
    return ""


def _of_lane(path: str) -> bool:
    """Whether a member, or one that it stands in, belongs to the insurers' lane."""
    return path.startswith("members.") and any(map(_LANE.search, path.split(".")[1:]))


def _among(path: str, paths: Iterable[str]) -> bool:
    head = path.removesuffix(f".{REST}")
    return path == REST or any(one == head or one.startswith(f"{head}.") for one in (*paths, *ALWAYS))


def parse_agreement(text: str, source: str = "agreement") -> Agreement:
    """Read one agreement.

    Raises:
        TableError: with the line, what is wrong with it, and the remedy.
    """
    document = parse_toml(text, source)
    try:
        return Agreement.model_validate(document)
    except ValidationError as error:
        problem, remedy = describe(error)
        path = [str(step) for step in error.errors(include_url=False, include_input=False)[0]["loc"]]
        raise TableError(source, key_line(text, 0, path), problem, remedy) from None


def load_agreement(name: str) -> Agreement:
    """A shipped agreement by its name, or the one in the TOML file that `name` is the path of.

    Raises:
        TableError: no such agreement, or one that is wrong.
    """
    if name in SHIPPED:
        return _shipped(name)
    path = Path(name)
    if path.suffix != ".toml":
        problem = f"没有协议 / there is no agreement {name!r}"
        remedy = f"可用 / use one of {', '.join(SHIPPED)}, 或 .toml 文件路径 / or the path of a .toml file"
        raise TableError(name, 0, problem, remedy)
    try:
        return parse_agreement(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        problem = f"协议无法读取 / the agreement cannot be read: {type(error).__name__}"
        raise TableError(name, 0, problem, "请检查路径、权限与 UTF-8 编码 / check path, rights and UTF-8") from None


@cache
def _shipped(name: str) -> Agreement:
    return parse_agreement(files("routing").joinpath(f"data/agreements/{name}.toml").read_text("utf-8"), f"{name}.toml")


class Agreements:
    """Agreements in order: of several that cover a flow the first one that is in force counts."""

    def __init__(self, agreements: Iterable[Agreement]) -> None:
        self._all = tuple(agreements)

    @classmethod
    def load(cls, names: Iterable[str]) -> Agreements:
        """Those of some names (`load_agreement`).

        Raises:
            TableError: one of them cannot be used.
        """
        return cls(load_agreement(name) for name in names)

    def matching(self, destination: str, kind: str) -> list[Agreement]:
        """Those that cover a destination and kind, in order, in force or not."""
        return [one for one in self._all if one.covers(destination, kind)]

    def in_force(self, destination: str, kind: str, moment: datetime) -> Terms | None:
        """What may leave at a moment (aware); None: nothing."""
        for one in self.matching(destination, kind):
            if one.in_force(moment):
                return one.terms(kind)
        return None
