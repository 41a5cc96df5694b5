"""Chance that repeats: every part of the sample draws from a stream of its own, named after what it makes."""

from __future__ import annotations

from random import Random

__all__ = ["Random", "between", "odds", "stream"]


def stream(seed: int, name: str) -> Random:
    """A stream of chance that depends on nothing but the seed and its name.

    Separate streams keep one shop's files unchanged when another shop's making changes.
    """
    return Random(f"{seed}:{name}")  # noqa: S311 - invented data must repeat, not be secret


def odds(rng: Random, share: float) -> bool:
    """True with the given share."""
    return rng.random() < share


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included; a third of the cost of `randint`."""
    return low + int(rng.random() * (high - low + 1))
