"""Documents of every kind with a value in each member that occurs nowhere else, and with what nobody may be told."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import numpy as np
from pydantic import AwareDatetime, BaseModel

from mappings.dates import SHANGHAI
from mappings.documents import Document
from mappings.documents.kinds import kind
from mappings.vin import check_digit
from routing.agreements import Terms
from routing.treatments import MASK

OF_LANE = ("ownername", "ownerphone", "price", "totalsum", "linkman")
"""Members that no kind has, and that belong to the insurers' lane."""


def chance(*seed: object) -> random.Random:
    """The same numbers for the same seed."""
    return random.Random(repr(seed))  # noqa: S311 - test data


class Made(NamedTuple):
    """A document, as the JSON of a record, and what stands in it."""

    members: dict[str, Any]
    values: dict[str, list[str]]
    """Path -> the values there, as text; of texts, without what is personal in them."""
    personal: list[str]
    """Phones, ID numbers, plates, VINs, names of owners that stand in free text."""
    amounts: list[str]
    """Amounts of money in free text."""


def vin(chance: random.Random) -> str:
    tail = f"K{chance.randrange(10**7):07d}"
    return f"LSVAL41Z{check_digit(f'LSVAL41Z0{tail}')}{tail}"


class Maker:
    """Makes documents of one kind, with personal data in every text that its terms mask."""

    def __init__(self, name: str, terms: Terms, chance: random.Random) -> None:
        self.name, self._terms, self._chance = name, terms, chance

    def made(self) -> Made:
        self._values: dict[str, list[str]] = {}
        self._personal: list[str] = []
        self._amounts: list[str] = []
        members = self._object(kind(self.name), "members")
        return Made(members, self._values, self._personal, self._amounts)

    def document(self) -> tuple[Document, Made]:
        made = self.made()
        return kind(self.name).of_members(made.members), made

    def _object(self, model: type[BaseModel], at: str) -> dict[str, Any]:
        return {
            name: self._value(field.annotation, field.metadata, f"{at}.{name}")
            for name, field in model.model_fields.items()
        }

    def _value(self, annotation: Any, metadata: list[Any], at: str) -> Any:
        arguments = [one for one in get_args(annotation) if one not in (NoneType, Ellipsis)]
        if get_origin(annotation) is Literal:
            return self._chance.choice(arguments)
        if get_origin(annotation) is tuple:
            return [self._value(arguments[0], metadata, at) for _ in range(2)]
        if arguments:  # an option, or an annotated type
            return self._value(arguments[0], [*arguments[1:], *metadata], at)
        if issubclass(annotation, BaseModel):
            return self._object(annotation, at)
        if annotation is bool:
            return self._chance.random() < 0.5
        return self._scalar(annotation, metadata, at)

    def _scalar(self, annotation: type, metadata: list[Any], at: str) -> Any:
        number = self._chance.randrange(10**8, 10**9)
        if annotation is int:
            bounds = [one for part in metadata for one in getattr(part, "metadata", [part])]
            least = max((one.ge for one in bounds if getattr(one, "ge", None) is not None), default=0)
            most = min((one.le for one in bounds if getattr(one, "le", None) is not None), default=number)
            return self._noted(at, min(max(least, number), most))
        if annotation is Decimal:
            return self._noted(at, f"{number}.{self._chance.randrange(1, 10)}")
        if annotation in (datetime, AwareDatetime):
            moment = datetime(2026, 9, 1, tzinfo=SHANGHAI) + timedelta(seconds=number % 10**6)
            return self._noted(at, moment.isoformat())
        if annotation is date:
            return self._noted(at, (date(2026, 1, 1) + timedelta(days=number % 200)).isoformat())
        assert annotation is str, (at, annotation)
        return self._text(at, at.rpartition(".")[2], number)

    def _text(self, at: str, name: str, number: int) -> str:
        month = f"20{number % 70 + 10}-0{number % 8 + 1}"
        forms = {
            "vin": vin(self._chance), "plate": f"粤B{number % 10**5:05d}", "month": month, "period": month,
            "model": f"LSV{number % 10**5:05d}",
            "evidence": f"{number:064x}", "lastmaintaintime": "2026-03", "lastrepairtime": "2026-04",
            "first": "2026-05-01", "mileageestimate": f"{number}", "uscc": f"91440300MA{number % 10**8:08d}",
        }  # fmt: skip
        text = self._noted(at, forms.get(name, f"词{number}"))
        return f"{text} {self._gossip()}" if self._terms.treatment(at) == MASK and name not in forms else text

    def _gossip(self) -> str:
        """What whoever typed a text may have put into it."""
        chance = self._chance
        phone, other = (f"13{chance.randrange(10**8, 10**9)}" for _ in range(2))
        card, owner = f"11010519491231{chance.randrange(1000, 9999)}", f"王{chance.randrange(10**5)}"
        plate, car = f"粤C{chance.randrange(10**5):05d}", vin(chance)
        amount = f"{chance.randrange(10**11, 10**12)}"
        parted = f"{other[:3]}-{other[3:7]}-{other[7:]}"
        self._personal += [phone, other, parted, card, owner, plate, car]
        self._amounts.append(amount)
        return (
            f"电话{phone} 身份证{card} 车主：{owner} {other[:3]}-{other[3:7]}-{other[7:]} {plate} {car} 收费{amount}元"
        )

    def _noted(self, at: str, value: Any) -> Any:
        self._values.setdefault(at, []).append(str(value))
        return value


def with_more(value: Any, chance: random.Random, found: list[str]) -> Any:
    """The same with members at every level that no kind has: a name, a phone, a price, and one that nobody knows."""
    if isinstance(value, list):
        return [with_more(one, chance, found) for one in value]
    if not isinstance(value, Mapping):
        return value
    more = {name: f"禁{chance.randrange(10**9)}" for name in (*OF_LANE, "neuesfeld")}
    more |= {"owner": {"name": f"禁{chance.randrange(10**9)}", "sum": [f"禁{chance.randrange(10**9)}"]}}
    found += texts(more)
    return {name: with_more(one, chance, found) for name, one in value.items()} | more


class Haystack:
    """A long text in which many are looked for: all at once by their first bytes, then those that may be there."""

    _BEGIN = 8

    def __init__(self, text: str) -> None:
        self._text = text
        data = np.frombuffer(text.encode(), np.uint8).astype(np.uint64)
        places = max(0, len(data) - self._BEGIN + 1)
        parts = (data[at : at + places] << np.uint64(8 * at) for at in range(self._BEGIN))
        self._begins = np.unique(sum(parts, np.zeros(places, np.uint64)))

    def holding(self, values: Iterable[str]) -> set[str]:
        """Those of some texts that stand in this one."""
        wanted = {one.encode(): one for one in values}
        short = {one for raw, one in wanted.items() if len(raw) < self._BEGIN}
        long = [raw for raw in wanted if len(raw) >= self._BEGIN]
        begins = np.array([int.from_bytes(raw[: self._BEGIN], "little") for raw in long], np.uint64)
        likely = np.flatnonzero(np.isin(begins, self._begins)).tolist()
        return {one for one in (*short, *(wanted[long[at]] for at in likely)) if one in self._text}


def texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, Mapping):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value
