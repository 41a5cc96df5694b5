"""`vingate check` of a role: every exchange, feed and sink of it, and the queues that they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.cli.out import console, emit
from pipelines.serving.checking import Said, check_role
from pipelines.serving.roles import load
from pipelines.settings import read


def is_role(path: Path) -> bool:
    """Whether a settings file is that of a role: it holds exchanges, and is none."""
    return isinstance(read(path)[1].get("exchanges"), dict)


def check(path: Path, overrides: Sequence[str], state: Path, *, declare: bool, as_json: bool) -> int:
    """Check a role; the exit code: 0, or 1 where a part of it cannot be used."""
    role = load(path, overrides).role
    said = list(check_role(role, state, declare=declare))
    if as_json:
        emit(as_object(role.name, said))
    else:
        _show(role.name, said)
    return int(any(one.problem for one in said))


def as_object(role: str, said: Sequence[Said]) -> dict[str, Any]:
    """The stable form of `--json`."""
    return {
        "role": role,
        "usable": not any(one.problem for one in said),
        "parts": [
            {"exchange": one.exchange, "part": one.part, "said": one.lines, "problem": one.problem} for one in said
        ],
    }


def _show(role: str, said: Sequence[Said]) -> None:
    screen = console()
    screen.print(f"[bold]{role}[/bold]  设置有效 / the settings are valid")
    for one in said:
        where = f"{one.exchange} {one.part}".strip()
        for line in one.lines:
            mark, style = ("!", "yellow") if one.warns else ("✓", None)
            screen.print(f"  {mark} {where}: {line}", markup=False, style=style)
        if one.problem:
            screen.print(f"  ✗ {where}: {one.problem}", markup=False, style="red")
