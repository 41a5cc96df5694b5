"""What one machine or process gets done: the side of the model that a measurement can be held against."""

from __future__ import annotations

from pipelines.sizing.figures import Figures
from pipelines.sizing.parts import Part

__all__ = ["bulk_seconds", "bulk_share", "loop_seconds", "records_per_second"]


def bulk_share(figures: Figures, cores: int) -> float:
    """The part of one core's time that a record takes on a machine of so many cores: what is serial stays (Amdahl)."""
    serial = figures["bulk_serial_share"]
    return serial + (1 - serial) / cores


def bulk_seconds(figures: Figures, records: int, *, cores: int = 1, speed: float = 1.0) -> float:
    """Wall-clock seconds of one run of the bulk job, its start included.

    Args:
        figures: what was measured.
        records: how many records it takes in.
        cores: worker processes, each with a core of its own.
        speed: of a core, beside one of the machine that was measured.
    """
    return (figures["bulk_fixed_s"] + records * figures["bulk_us"] * bulk_share(figures, cores) / 1e6) / speed


def loop_seconds(figures: Figures, records: int) -> float:
    """Processor seconds of the hand-written loop on the machine that was measured: tells the speed of another one."""
    return figures["loop_fixed_s"] + records * figures["loop_us"] / 1e6


def records_per_second(part: Part, *, speed: float = 1.0) -> float:
    """What one process of a part gets done, with a core for itself and another one for its database."""
    return speed * 1e6 / part.busy_us
