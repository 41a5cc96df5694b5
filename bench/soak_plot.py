"""The samples of a long run as one SVG that needs nothing else: a panel for each kind of sign, a line for each sign."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from soak_signs import Sample

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _GAP = 640, 150, 60, 260, 24, 26
_COLOURS = (
    "#1f77b4",
    "#d62728",
    "#2ca02c",
    "#9467bd",
    "#ff7f0e",
    "#17becf",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
)


def draw(moments: Sequence[float], samples: Sequence[Sample], title: str) -> str:
    """The text of the picture.

    Args:
        moments: of each sample, in seconds since the run began.
        samples: at least one.
        title: above all panels.
    """
    kinds = list(dict.fromkeys(kind for sample in samples for _, kind in sample))
    height = _TOP + len(kinds) * (_HEIGHT + _GAP)
    panels = [
        _panel(kind, moments, samples, _TOP + number * (_HEIGHT + _GAP) + _GAP // 2)
        for number, kind in enumerate(kinds)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{height + _GAP}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="16" font-size="14">{escape(title)}</text>{"".join(panels)}</svg>\n'
    )


def write(path: Path, moments: Sequence[float], samples: Sequence[Sample], title: str) -> None:
    """Write the picture to a file."""
    path.write_text(draw(moments, samples, title), "utf-8")


def _panel(kind: str, moments: Sequence[float], samples: Sequence[Sample], top: float) -> str:
    whose = list(dict.fromkeys(name for sample in samples for name, of in sample if of == kind))
    most = max([1.0, *(sample[name, kind] for sample in samples for name in whose if (name, kind) in sample)])
    length = max([1.0, *moments])
    parts = [
        f'<text x="{_LEFT}" y="{top - 3:g}">{escape(kind)}</text>'
        f'<rect x="{_LEFT}" y="{top:g}" width="{_WIDTH}" height="{_HEIGHT - _GAP}" fill="none" stroke="#ccc"/>'
        f'<text x="{_LEFT - 4}" y="{top + 9:g}" text-anchor="end">{most:,.0f}</text>'
        f'<text x="{_LEFT - 4}" y="{top + _HEIGHT - _GAP:g}" text-anchor="end">0</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{top + _HEIGHT - _GAP + 12:g}" text-anchor="end">{length / 60:.1f} min</text>'
    ]
    for number, name in enumerate(whose):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + at / length * _WIDTH:.1f},{top + (1 - sample[name, kind] / most) * (_HEIGHT - _GAP):.1f}"
            for at, sample in zip(moments, samples, strict=True)
            if (name, kind) in sample
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        parts.append(
            f'<text x="{_LEFT + _WIDTH + 8}" y="{top + 10 + number * 12:g}" fill="{colour}">{escape(name)}</text>'
        )
    return "".join(parts)
