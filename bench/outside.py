"""CPU seconds of a province's exchanges with the systems outside, beside those of collecting the same records.

    python bench/outside.py FOLDER SCALE

Prints one JSON object. All records are those of one province's own shops, so both sides work on the same repairs. Each
exchange runs as in `vingate nation`, in this process, children counted; the stand-ins run in another one. `outside-in`
takes in what others send and passes the waste events among it on. What passing on costs is a small difference: three
times, in turn and by states of their own, it takes in and passes on (`taken-in-and-passed-on`) and only takes in
(`taken-in`); the medians are told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from shutil import rmtree
from statistics import median

from sqlalchemy import select

from pipelines import ledger, nation, tables
from pipelines.coordinator import Coordinator
from pipelines.sample import generate
from pipelines.sample.outside import REGISTERS, write_outside
from pipelines.settings import load
from pipelines.state import State

PROVINCE = "44"
DATA = Path(__file__).parents[1] / "routing" / "data"


def cpu(work: Callable[[], object]) -> float:
    """User and system seconds of this process and its children."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def prepare(folder: Path, scale: float) -> str:
    """Write the sample and keep one province's shops; the moment at which it counts as received."""
    place = folder / nation.PARTNERS
    generate(place, 7, scale, judged_by=str(nation.DEPLOY / "profiles" / "nation.toml"))
    for shops in (place / "shops").iterdir():
        if shops.name != PROVINCE:
            rmtree(shops)
    return str(json.loads((place / "expected.json").read_bytes())["received_at"])


def run(folder: Path, scale: float) -> dict[str, object]:
    """CPU of each exchange, the repairs that were collected, and whether the ledger balances."""
    received_at = prepare(folder, scale)
    told: dict[str, float] = {}
    with State(folder, own=True) as state:
        for name in ("registrations", "operators", "collect"):
            settings = nation.settings(nation.Step(name), folder, received_at)
            told[name] = cpu(Coordinator(state, settings).run)
        day = date.fromisoformat(received_at[:10])
        write_outside(folder / "stores" / f"province-{PROVINCE}.db", folder / nation.PARTNERS, day)
        told |= passing_on(folder, received_at)
        with standing_in(folder / "stand-ins") as urls:
            for name, overrides in outside(folder, received_at, urls):
                settings = load(nation.DEPLOY / "exchanges" / f"{name}.toml", overrides)
                began = time.perf_counter()
                told[name] = cpu(Coordinator(state, settings).run)
                print(f"{name}: {told[name]:.2f} s CPU, {time.perf_counter() - began:.2f} s", file=sys.stderr)
        problems = ledger.prove(state).problems
        t = tables.batch_destinations
        with state.reading() as connection:
            rows = connection.execute(select(t.c.destination, t.c.delivered)).all()
    delivered: dict[str, int] = {}
    for row in rows:
        delivered[row.destination] = delivered.get(row.destination, 0) + row.delivered
    return {"cpu": told, "delivered": delivered, "balanced": not problems}


@contextmanager
def standing_in(folder: Path) -> Iterator[dict[str, str]]:
    """Stand-ins in a process of their own; their addresses by name."""
    command = [sys.executable, "-m", "pipelines", "partner", "all", "--folder", str(folder), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as partners:
        assert partners.stdout is not None
        yield json.loads(partners.stdout.readline())["partners"]
        partners.send_signal(signal.SIGTERM)


def passing_on(folder: Path, received_at: str) -> dict[str, float]:
    """CPU of `outside-in` where nothing is passed on, and where it is."""
    table = (DATA / "outside.toml").read_text("utf-8")
    passing = 'to = ["documents", "solid-waste"]'
    assert table.count(passing) == 1
    (folder / "table.toml").write_text(table.replace(passing, 'to = "documents"'), "utf-8")
    found: dict[str, list[float]] = {"taken-in": [], "taken-in-and-passed-on": []}
    for turn in range(3):
        for name, into in found.items():
            place = folder / f"{name}-{turn}"
            place.mkdir()
            with standing_in(place / "stand-ins") as urls, State(place, own=True) as state:
                overrides = [
                    f"received_at={received_at}",
                    f"source.path={folder / nation.PARTNERS / 'outside'}",
                    f"routing.table={folder / 'table.toml'}"
                    if name == "taken-in"
                    else f"sinks.solid-waste.url={urls['solid-waste']}",
                ]
                settings = load(nation.DEPLOY / "exchanges" / "outside-in.toml", overrides)
                into.append(cpu(Coordinator(state, settings).run))
            rmtree(place)
    return {name: median(some) for name, some in found.items()}


def outside(folder: Path, received_at: str, urls: dict[str, str]) -> list[tuple[str, list[str]]]:
    """The exchanges with the systems outside, and what is set over their settings."""
    made = []
    for step in nation.OUTSIDE:
        name = step.exchange
        if name in nation.REGISTERED:  # registers, as those before collecting
            continue
        set_ = [f"received_at={received_at}"]
        if name not in nation.INTAKE:
            set_.append(f"source.today={nation.month_after(received_at)}")
        registers = nation.WITH.get(name, {}).items()
        set_ += [f"source.with.{of}={folder / nation.PARTNERS / REGISTERS / file}" for of, file in registers]
        sink = "solid-waste" if name == "outside-in" else name
        set_ += [f"sinks.{sink}.url={urls[sink]}"] if sink in urls else []
        made.append((name, set_))
    return made


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), float(sys.argv[2]))))
