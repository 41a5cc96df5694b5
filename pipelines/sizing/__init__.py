"""How many machines a network needs: a pure model over what was measured, each figure with its source.

`plan` answers for a load; `bulk_seconds` and `records_per_second` are what measurements are held against.
"""

from __future__ import annotations

from pipelines.sizing.figures import FIGURES, Figure, Figures
from pipelines.sizing.model import Kind, Load, Phase, Plan, Resource, plan
from pipelines.sizing.parts import Machine, Part, parts
from pipelines.sizing.throughput import bulk_seconds, loop_seconds, records_per_second

__all__ = [
    "FIGURES",
    "Figure",
    "Figures",
    "Kind",
    "Load",
    "Machine",
    "Part",
    "Phase",
    "Plan",
    "Resource",
    "bulk_seconds",
    "loop_seconds",
    "parts",
    "plan",
    "records_per_second",
]
