"""The one way in: bytes -> draft -> judgement. Everything else in this package serves these functions."""

from __future__ import annotations

from dataclasses import dataclass

from mappings.judge import judge
from mappings.judging import Draft

__all__ = ["DEFAULT_LIMITS", "Limits", "judge", "read"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on untrusted input."""

    payload_bytes: int = 64 * 1024 * 1024
    depth: int = 64
    rows: int = 10_000
    """Most parts or projects in one record."""
    members: int = 2_000
    """Most members of one object."""


DEFAULT_LIMITS = Limits()


def read(body: bytes, dialect: str = "auto", limits: Limits = DEFAULT_LIMITS) -> Draft:
    """Recognise the dialect of one payload by its content, unwrap it and rename its members.

    Never raises for bad input: a payload that cannot be read gives a Draft of kind `""` whose notes say why
    (NOT_JSON, DIALECT_UNKNOWN, STRUCTURE_WRONG).
    """
    raise NotImplementedError
