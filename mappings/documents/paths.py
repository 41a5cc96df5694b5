"""Where the values of a kind of document stand: every path down to a value, read off its model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from mappings.documents.kinds import kind

ENVELOPE = ("system", "companycode", "costlistcode", "vin", "day", "dialect", "received_at", "findings", "withdrawn")
"""What a document has beside its members and beside what says what it is (`mappings.documents.interchange`)."""


@cache
def member_paths(name: str) -> tuple[str, ...]:
    """Paths of all values below `members` in documents of a kind, lists without a place: `members.parts.name`.

    Raises:
        KeyError: no such kind.
    """
    return tuple(_below(kind(name), "members"))


def _below(model: type[BaseModel], at: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = next(_models(field.annotation), None)
        path = f"{at}.{name}"
        if inner is None:
            yield path
        else:
            yield from _below(inner, path)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    """Models that an annotation names, within lists, options and annotated types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from _models(one)
