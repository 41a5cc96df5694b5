"""What a stand-in is: what it takes, how it judges that, and how it words its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

Judge = Callable[[Mapping[str, Any]], Sequence[str]]
"""A record as it came -> everything that is wrong with it; nothing where it is taken."""


Given = Mapping[str, Sequence[Mapping[str, Any]]]
"""Collection -> records that a stand-in hands out."""


class Came(NamedTuple):
    """One record of a message."""

    id: str
    """What makes it known when it comes again."""
    collection: str
    members: Mapping[str, Any]


class Answered(NamedTuple):
    """What became of one record."""

    came: Came
    known: bool
    wrong: Sequence[str]


class Protocol(NamedTuple):
    """How a stand-in is spoken to."""

    path: str
    """Where it is called."""
    read: Callable[[bytes, Mapping[str, str]], Sequence[Came]]
    """Body and headers (names lower case) -> its records. Raises `Unreadable` for what is no message."""
    answer: Callable[[Sequence[Answered]], bytes]
    """What it says to them."""
    unreadable: Callable[[str], bytes]
    """What it says to what is no message."""
    content_type: str = "application/json; charset=UTF-8"


class Partner(NamedTuple):
    """A stand-in."""

    name: str
    """As destinations are named."""
    zh: str
    en: str
    protocols: Sequence[Protocol]
    judges: Mapping[str, Judge]
    """Collection -> its rules; a collection that is not here is not taken."""
    gives: Given = MappingProxyType({})
    """What it hands out to those who ask, to begin with (`pipelines.partners.giving`)."""


class UnreadableError(Exception):
    """A message that cannot be read; the text says why."""
