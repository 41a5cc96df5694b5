"""Documents: every record kind beside repairs and registers: inspections, closures, waste events, claims and so on.

A document is one frozen value of one kind. Whoever issued it numbers it, so (issuer, kind, number) is its key and a
later document of the same key is its next version. The pipeline knows nothing else of it: the same steps, versions,
letters and ledger serve every kind. How partners write a kind is a *form* (`mappings.documents.forms`); our own
exchange form is `mappings.documents.interchange`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict

T = TypeVar("T")

_MOST_PLACES = 60
"""Places before or behind the point of a number that is written out: `1E+300000000` has few characters and many."""

DIALECT = "document"
"""Name of our own form: the only one in which a document is withdrawn."""


class Identity(NamedTuple):
    """What the pipeline asks of a document."""

    issuer: str
    """Who numbers it: company code of a shop, code of a station or system. Takes the place of a company code."""
    number: str
    """Its number with the issuer."""
    day: date
    """The day that it tells of: agreements are asked for it, and periods count it there."""
    vin: str = ""
    """Vehicle; empty where it tells of none."""


class Document(BaseModel, ABC):
    """A record of one kind; each kind is a frozen subclass with `KIND` and `identity`.

    Members are JSON values, `date`, `datetime` with a zone, or `Decimal`, and tuples of such models. A member that may
    be absent is `None`. Never a password or token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    __slots__ = ("_content", "_listed", "_members")  # what is asked for several times; `model_copy` leaves slots behind

    KIND: ClassVar[str] = ""

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """Issuer, number, day and vehicle."""

    @property
    def listed(self) -> str:
        """The code that stands in the place of the list code in record keys: kind and number."""
        return _once(self, "_listed", _listed)

    def members(self) -> Mapping[str, Any]:
        """The members as JSON has them: decimals plain text, dates ISO text, absent ones left out. Never change it.

        Raises:
            ValueError: a number of more than 60 places.
        """
        return _once(self, "_members", _members)

    def content(self) -> bytes:
        """Canonical bytes of the content (its members as JSON): what decides whether a version is new.

        Raises:
            ValueError: a number of more than 60 places.
        """
        return _once(self, "_content", _content)

    @classmethod
    def of_members(cls, members: Mapping[str, Any]) -> Self:
        """The document with these members, as `members()` gives them.

        Raises:
            pydantic.ValidationError: they are none of this kind.
        """
        return cls.model_validate_json(orjson.dumps(members))


def _once(document: Document, slot: str, made: Callable[[Document], T]) -> T:
    """What is in a slot; made when it is first asked for."""
    try:
        found: T = object.__getattribute__(document, slot)
    except AttributeError:
        found = made(document)
        object.__setattr__(document, slot, found)
    return found


def _listed(document: Document) -> str:
    return f"{document.KIND}:{document.identity.number}"


def _members(document: Document) -> Mapping[str, Any]:
    found: Mapping[str, Any] = orjson.loads(document.content())
    return found


def _content(document: Document) -> bytes:
    members = {name: value for name, value in document.__dict__.items() if value is not None}
    try:
        return orjson.dumps(members, default=_plain)
    except TypeError as error:
        raise error.__cause__ or error from None


def _plain(value: Any) -> Any:  # noqa: ANN401 - a member that JSON has no form for
    if isinstance(value, BaseModel):
        return value.__dict__
    if abs(value.adjusted()) > _MOST_PLACES:
        message = f"数值超出 {_MOST_PLACES} 位 / a number beyond {_MOST_PLACES} places"
        raise ValueError(message)
    return format(value, "f")
