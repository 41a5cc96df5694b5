"""Documents: every record kind beside repairs and registers: inspections, closures, waste events, claims and so on.

A document is one frozen value of one kind. Whoever issued it numbers it, so (issuer, kind, number) is its key and a
later document of the same key is its next version. The pipeline knows nothing else of it: the same steps, versions,
letters and ledger serve every kind. How partners write a kind is a *form* (`mappings.documents.forms`); our own
exchange form is `mappings.documents.interchange`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, Self

import orjson
from pydantic import BaseModel, ConfigDict

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

    KIND: ClassVar[str] = ""

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """Issuer, number, day and vehicle."""

    @property
    def listed(self) -> str:
        """The code that stands in the place of the list code in record keys: kind and number."""
        return f"{self.KIND}:{self.identity.number}"

    def members(self) -> dict[str, Any]:
        """The members as JSON has them: decimals plain text, dates ISO text, absent ones left out."""
        return {name: value for name, value in _json(self).items() if value is not None}

    def content(self) -> bytes:
        """Canonical bytes of the content: what decides whether a version is new."""
        return orjson.dumps(self.members())

    @classmethod
    def of_members(cls, members: Mapping[str, Any]) -> Self:
        """The document with these members, as `members()` gives them.

        Raises:
            pydantic.ValidationError: they are none of this kind.
        """
        return cls.model_validate_json(orjson.dumps(members))


def _json(value: Any) -> Any:  # noqa: ANN401 - any member
    if value is None or isinstance(value, str | int):  # most members: told first
        return value
    if isinstance(value, BaseModel):
        return {name: _json(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_json(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _json(one) for name, one in value.items()}
    return value
