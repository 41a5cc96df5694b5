"""What became of rounds: a line of JSON each in a file, so that a long run can be gone on with, and a table of all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Line:
    """One round."""

    seed: str
    number: int
    faults: list[str]
    """Kinds, one for each thing that was done."""
    answers: dict[str, int]
    healed: float
    """Seconds until everything ran again, then until everything had arrived, then for the proof."""
    drained: float
    proved: float
    wrong: list[str]


def recorded(path: Path | None, seed: str) -> list[Line]:
    """The rounds of a seed that stand in a file; the newest of each number, and none where there is no file."""
    if path is None or not path.exists():
        return []
    lines = [Line(**json.loads(text)) for text in path.read_text("utf-8").splitlines()]
    return list({line.number: line for line in lines if line.seed == seed}.values())


def record(path: Path | None, line: Line) -> None:
    """Add a round to a file."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")


def left(seconds: Sequence[float], rounds: int) -> str:
    """How long so many rounds will take, by what those before took, in words."""
    if not seconds:
        return "?"
    whole = round(sum(seconds) / len(seconds) * rounds / 60)
    return f"{whole // 60} h {whole % 60} min" if whole >= 60 else f"{whole} min"


def table(lines: Sequence[Line]) -> str:
    """All rounds in a few rows of Markdown."""
    faults = Counter(fault for line in lines for fault in line.faults)
    answers: Counter[str] = sum((Counter(line.answers) for line in lines), Counter())
    failed = sorted(line.number for line in lines if line.wrong)
    accepted = sum(answers[kind] for kind in ("new", "corrected", "repeated"))
    rows = [
        ("rounds", f"{len(lines)} (numbers {_ranges(line.number for line in lines)})"),
        ("ended well: lost 0, doubled 0, ledgers balanced", f"**{len(lines) - len(failed)}**"),
        ("failed", ", ".join(map(str, failed)) or "none"),
        ("accepted: new, corrected, repeated", f"{accepted:,}"),
        ("refused, each with its letter", f"{answers['refused']:,}"),
        ("without an answer, sent again", f"{answers['unanswered']:,}"),
        *((f"fault: {kind}", str(count)) for kind, count in faults.most_common()),
        *(
            (f"seconds until {what}, median / most", f"{median(took):.1f} / {max(took):.1f}")
            for what, took in (
                ("everything ran again", [line.healed for line in lines]),
                ("everything had arrived", [line.drained for line in lines]),
            )
        ),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _ranges(numbers) -> str:
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{begin}-{end}" if begin != end else str(begin) for begin, end in found)
