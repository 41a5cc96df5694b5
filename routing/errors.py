"""What routing raises: a record that no rule decides, and data (tables, registers) that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RoutingError(Exception):
    """Base of what this package raises."""


class NoRoute(RoutingError):
    """No rule of a table decides about a record: a hole in the configuration, and therefore a letter.

    The message names the table and the facts that its rules can ask for, but neither VIN nor plate: it is shown in
    places where those are masked.
    """

    def __init__(self, table: str, facts: Mapping[str, str]) -> None:
        shown = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        super().__init__(
            f"路由表 {table} 没有规则决定该记录的去向（{shown}）：请补充规则或登记表"
            f" / no rule of routing table {table} fits this record ({shown}): add a rule or complete the registers"
        )
        self.table, self.facts = table, dict(facts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoRoute) and (self.table, self.facts) == (other.table, other.facts)

    def __hash__(self) -> int:
        return hash((self.table, tuple(sorted(self.facts.items()))))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.table, self.facts)


class TableError(RoutingError):
    """A routing table or a register cannot be used: where (source, line), what is wrong, and the remedy."""

    def __init__(self, source: str, line: int, problem: str, remedy: str) -> None:
        place = f"{source}:{line}" if line else source
        super().__init__(f"{place}: {problem} - {remedy}")
        self.source, self.line, self.problem, self.remedy = source, line, problem, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.line, self.problem, self.remedy)
