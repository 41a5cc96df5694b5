"""The measured figures that the model rests on, read from `measured.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from pipelines.errors import PipelineError

__all__ = ["FIGURES", "Basis", "Figure", "Figures", "weakest"]

Basis = Literal["measured", "derived", "modelled"]
_BASES: tuple[Basis, ...] = ("measured", "derived", "modelled")


class FigureWrong(PipelineError):
    """A figure lacks what would let somebody find it again."""


@dataclass(frozen=True)
class Figure:
    """One figure and where it comes from."""

    name: str
    """Ends in its unit: `_us` a record on one core, `_bytes` a record, `_s`, `_mb`, `_mb_s`; none is a bare number."""
    value: float
    basis: Basis
    section: str = ""
    """Of bench/RESULTS.md; empty where nothing was measured."""
    commit: str = ""
    command: str = ""
    how: str = ""
    """How it was derived, or what was assumed."""


class Figures:
    """All figures by name, and the machine that they were measured on.

    Args:
        document: the parsed `measured.toml`.

    Raises:
        FigureWrong: a figure that was measured has no source, or one that was not does not say how it came about.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.cores = int(document["machine"]["cores"])
        self._by_name = {name: _figure(name, told) for name, told in document.items() if name != "machine"}

    def __getitem__(self, name: str) -> float:
        """The value of a figure."""
        return self._by_name[name].value

    def __iter__(self) -> Iterator[Figure]:
        """The figures, in the order of the file."""
        return iter(self._by_name.values())

    def figure(self, name: str) -> Figure:
        """A figure with its source."""
        return self._by_name[name]


def weakest(figures: Iterable[Figure]) -> Basis:
    """What rests on several figures is as good as the weakest of them."""
    return max((figure.basis for figure in figures), key=_BASES.index, default="modelled")


def _figure(name: str, told: Mapping[str, Any]) -> Figure:
    figure = Figure(name, **told)
    sourced = figure.section and figure.commit and figure.command
    if figure.basis not in _BASES or (figure.basis == "modelled") == bool(sourced):
        message = f"数据 {name} 没有来源 / the figure {name} says not where it comes from"
        raise FigureWrong(message)
    if figure.basis != "measured" and not figure.how:
        message = f"数据 {name} 未说明如何得出 / the figure {name} says not how it came about"
        raise FigureWrong(message)
    return figure


FIGURES = Figures(tomllib.loads(resources.files(__package__).joinpath("measured.toml").read_text("utf-8")))
"""What was measured, as shipped."""
