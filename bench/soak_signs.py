"""What of a long run must stay flat: signs of processes and tables, and the rule that says whether they did.

The samples of a run are cut into thirds. A sign is flat where the median of its last third lies at most its allowance
over the median of the second one: the first third is for warming up, and a median knows no single peak.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

Sign = tuple[str, str]
"""Whose it is, and its kind (a key of `ALLOWED`)."""
Sample = Mapping[Sign, float]

_MEGABYTE = 1 << 20


class Allowance(NamedTuple):
    """By how much a sign may grow from the second third to the last: the larger of the two."""

    unit: str
    share: float
    plain: float


ALLOWED: Mapping[str, Allowance | None] = {
    "memory": Allowance("MB", 0.05, 20),
    "handles": Allowance("", 0.05, 4),
    "threads": Allowance("", 0.0, 2),
    "sessions": Allowance("", 0.05, 4),
    "passing rows": Allowance("MB", 0.05, 20),
    "folder": Allowance("MB", 0.05, 20),
    "backlog": Allowance("records", 0.05, 1_000),
    "kept": None,
}
"""Kind -> what is allowed; None: grows with what is kept, and is told only.

`passing rows` are tables whose rows come and go (inbox, waiting, staged), `folder` is a state's, with what is staged,
`sessions` are those at the database server, `backlog` is counted in records.
"""


class Judged(NamedTuple):
    """One sign over the run: the medians of its thirds, in its unit."""

    sign: Sign
    start: float
    middle: float
    end: float

    @property
    def most(self) -> float | None:
        """What the last third may have; None: no bound."""
        allowed = ALLOWED[self.sign[1]]
        return None if allowed is None else self.middle + max(allowed.share * self.middle, allowed.plain)

    @property
    def flat(self) -> bool:
        """Whether it is within what is allowed."""
        return self.most is None or self.end <= self.most


def judge(samples: Sequence[Sample]) -> list[Judged]:
    """Every sign that was seen in each third, in the order in which they were first seen.

    Raises:
        ValueError: fewer than three samples, or a sign that a whole third lacks (a process that was not there).
    """
    if len(samples) < 3:
        message = f"{len(samples)} samples make no thirds"
        raise ValueError(message)
    cuts = [round(len(samples) * part / 3) for part in range(4)]
    thirds = [samples[begin:end] for begin, end in pairwise(cuts)]
    found = []
    for sign in dict.fromkeys(sign for sample in samples for sign in sample):
        values = [[sample[sign] for sample in third if sign in sample] for third in thirds]
        if not all(values):
            message = f"{' '.join(sign)} was not there for a third of the run"
            raise ValueError(message)
        found.append(Judged(sign, *(float(median(one)) for one in values)))
    return found


def of_process(pid: int) -> dict[str, float]:
    """Memory that is resident (MB), open handles and threads of a process; empty where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
        fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        handles = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - counts only
        memory = int(fields["VmRSS"][0]) * 1024 / _MEGABYTE
        return {"memory": memory, "handles": handles, "threads": int(fields["Threads"][0])}
    except (OSError, KeyError):  # it ended, or was about to
        return {}


def of_folder(folder: Path) -> float:
    """Megabytes of all files below a folder; 0 where there is none. Files that go meanwhile count for nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total / _MEGABYTE


def tables(judged: Sequence[Judged]) -> str:
    """The medians as tables, one for all that have the same signs: start / middle / end, bold where it grew."""
    by_owner: dict[str, dict[str, Judged]] = {}
    for one in judged:
        by_owner.setdefault(one.sign[0], {})[one.sign[1]] = one
    groups: dict[tuple[str, ...], list[str]] = {}
    for owner, signs in by_owner.items():
        cells = " | ".join(_said(one) for one in signs.values())
        groups.setdefault(tuple(signs), []).append(f"| {owner} | {cells} |")
    return "\n".join(_head(kinds) + "\n".join(rows) + "\n" for kinds, rows in groups.items())


def leaks(judged: Sequence[Judged]) -> list[str]:
    """What grew though the work did not. The backlog does not count, which also grows where a host is too slow."""
    return [" ".join(one.sign) for one in judged if not one.flat and one.sign[1] != "backlog"]


def verdict(judged: Sequence[Judged]) -> str:
    """Flat or not, what was not, and whether the work was kept up with."""
    grew = leaks(judged)
    flat = f"**Not flat**: {', '.join(grew)}." if grew else "**Flat.**"
    behind = [one.sign[0] for one in judged if not one.flat and one.sign[1] == "backlog"]
    late = f" More came in than was done meanwhile: the backlog grew ({', '.join(behind)})." if behind else ""
    return flat + late


RULE = (
    "Medians of the thirds of the run. Flat is what in its last third lies over the second one by no more than "
    + "; ".join(
        f"{kind}: {' or '.join([*([f'{one.share:.0%}'] if one.share else []), f'{one.plain:g} {one.unit}'.strip()])}"
        for kind, one in ALLOWED.items()
        if one
    )
    + " (the larger). What is kept (stores, journals, versions) grows with the records."
)


def _head(kinds: Sequence[str]) -> str:
    named = [f"{kind}, {unit}" if (unit := _unit(kind)) else kind for kind in kinds]
    return f"| start / middle / end | {' | '.join(named)} |\n|---|{'---|' * len(kinds)}\n"


def _unit(kind: str) -> str:
    allowed = ALLOWED[kind]
    return "MB" if allowed is None else allowed.unit


def _said(one: Judged) -> str:
    text = " / ".join(f"{value:,.0f}" for value in one[1:])
    return text if one.flat else f"**{text}**"
