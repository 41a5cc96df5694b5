"""What comes out of evaluating a table: steps, one for each rule, and the routing that they come to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from routing.errors import NoRoute
from routing.rules import Check, Rule

CHOSEN_BEFORE = "chosen-before"
"""Why a rule leaves out a destination that an earlier rule chose."""


class Route(NamedTuple):
    """One destination of a record, and why."""

    destination: str
    mapping: str
    """Outbound mapping to encode it with."""
    rule: str
    """The first rule that chose the destination."""
    repaircomefrom: int
    """What the record carries at the destination: 1 同步, 2 上级下发."""


class Routing(NamedTuple):
    """What a table decides about one record: routes, or the reason why it is filtered or waits, or a hole."""

    routes: tuple[Route, ...] = ()
    filtered: str = ""
    waiting: str = ""
    hole: NoRoute | None = None
    """Set when no rule decides."""

    @property
    def outcome(self) -> str:
        """`routed`, `filtered`, `waiting` or `no-route`."""
        if self.routes:
            return "routed"
        return "filtered" if self.filtered else "waiting" if self.waiting else "no-route"


class LeftOut(NamedTuple):
    """A destination that a rule named and did not choose, with the reason's code."""

    destination: str
    reason: str


class Step(NamedTuple):
    """What became of one rule for one record."""

    rule: Rule
    reached: bool
    failed: tuple[Check, ...] = ()
    unusable: str = ""
    """The fact that a destination needs as a province and that names none."""
    routes: tuple[Route, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    filtered: str = ""
    waiting: str = ""

    @property
    def matched(self) -> bool:
        """Whether the rule's conditions hold and its destinations can be named."""
        return self.reached and not self.failed and not self.unusable


def conclude(steps: Iterable[Step]) -> Routing:
    """What the steps of one record come to; empty when no rule decides."""
    routes: list[Route] = []
    left_out = ""
    for step in steps:
        if step.filtered and not routes:
            return Routing(filtered=step.filtered)
        if step.waiting and not routes:
            return Routing(waiting=step.waiting)
        routes += step.routes
        if step.left_out and not left_out:
            left_out = step.left_out[0].reason
    return Routing(tuple(routes)) if routes else Routing(filtered=left_out)
