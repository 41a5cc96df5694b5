"""The reference job beside the hand-written loop: CPU seconds, slope, growth of the state, workers, memory, store sink.

    python bench/run.py [--runs N] [--only NAME ...]

Writes bench/RESULTS.md, section by section. Figures are user+sys CPU of whole processes, children included, as the
operating system counts them; runs alternate with the loop's, and ratios of medians are what is quoted: seconds differ
from machine to machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REFERENCE = HERE / "reference"
SETTINGS = ROOT / "deploy" / "exchanges" / "bulk-files.toml"
PYTHON = sys.executable


class Run(NamedTuple):
    """One whole-process run."""

    cpu: float
    wall: float
    peak_mb: float


_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Modules are compiled once, as on any machine, and not at every start."""


def measured(command: list[str], log: Path) -> Run:
    """Run a command: CPU with its children, wall time, and the most memory that its processes held together."""
    started = time.perf_counter()
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=_ENVIRONMENT)
        peak = [0.0]
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(child.pid, peak, stop), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        stop.set()
        watcher.join()
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text('utf-8', 'replace')[-3000:]}")
    return Run(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, max(peak[0], usage.ru_maxrss / 1024))


def _watch(pid: int, peak: list[float], stop: threading.Event) -> None:
    while not stop.wait(0.25):
        peak[0] = max(peak[0], _resident(pid))


def _resident(pid: int) -> float:
    """Memory of a process and its descendants, in MB; pages that several of them share count once (PSS)."""
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        try:
            rolled = Path(f"/proc/{one}/smaps_rollup").read_text()
            todo += [int(c) for c in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue
        total += next((int(line.split()[1]) / 1024 for line in rolled.splitlines() if line.startswith("Pss:")), 0.0)
    return total


class Bench:
    """The benchmark's folder and inputs."""

    def __init__(self, folder: Path, runs: int, made: str = "") -> None:
        self.folder, self.runs, self.made = folder, runs, made
        self.sections: list[str] = []
        self.figures: dict[str, float] = {}

    def generate(self, count: int, seed: int = 7) -> Path:
        path = self.folder / f"rj-{count}-{seed}.ndjson"
        if not path.exists():
            subprocess.run([PYTHON, REFERENCE / "gen.py", str(count), str(path), str(seed)], check=True)
        return path

    def ours(self, source: Path, *, state: Path | None = None, options: tuple[str, ...] = ()) -> Run:
        """One run of the product on fresh folders, or on a given state."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        own = state or self.folder / "state"
        if state is None:
            shutil.rmtree(own, ignore_errors=True)
        command = [PYTHON, "-m", "pipelines", "run", str(SETTINGS), "--set", f"source.path={source}"]
        command += ["--set", f"sinks.provinces.path={out}", "--state", str(own), "--json"]
        for option in options:
            command += ["--set", option]
        log = self.folder / "ours.log"
        run = measured(command, log)
        result = json.loads([line for line in log.read_text("utf-8").splitlines() if line.startswith("{")][-1])
        if not result["balanced"]:
            sys.exit(f"not balanced: {result}")
        return run

    def loop(self, source: Path) -> Run:
        """One run of the hand-written loop."""
        out = self.folder / "loop"
        shutil.rmtree(out, ignore_errors=True)
        return measured([PYTHON, str(REFERENCE / "peer_orjson.py"), str(source), str(out)], self.folder / "loop.log")

    def alternate(
        self, one: Callable[[], Run], other: Callable[[], Run], most: int = 100
    ) -> tuple[list[Run], list[Run]]:
        """Both in turn, so that a drifting machine treats them alike; the first pair is warm-up and dropped."""
        one(), other()
        pairs = [(one(), other()) for _ in range(min(self.runs, most))]
        return [a for a, _ in pairs], [b for _, b in pairs]

    def say(self, text: str) -> None:
        """A section, with the line that says when, where and how it was made below its title."""
        title, _, rest = text.partition("\n\n")
        print(text, flush=True)
        self.sections.append(f"{title}\n\n{self.made}\n\n{rest}")


def cpu(runs: list[Run]) -> float:
    return statistics.median(run.cpu for run in runs)


def spread(runs: list[Run]) -> str:
    values = [run.cpu for run in runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def reference_job(bench: Bench) -> None:
    small, large = bench.generate(200_000), bench.generate(1_000_000)
    ours, loop = bench.alternate(lambda: bench.ours(small), lambda: bench.loop(small))
    ratio = cpu(ours) / cpu(loop)
    big, big_loop = bench.alternate(lambda: bench.ours(large), lambda: bench.loop(large), most=3)
    slope = (cpu(big) - cpu(ours)) / 800_000 * 1e6
    loop_slope = (cpu(big_loop) - cpu(loop)) / 800_000 * 1e6
    peak = max(run.peak_mb for run in ours), max(run.peak_mb for run in big)
    bench.figures |= {
        "ratio_200k": ratio,
        "ratio_1m": cpu(big) / cpu(big_loop),
        "slope_ratio": slope / loop_slope,
        "peak_mb_200k": peak[0],
        "peak_mb_1m": peak[1],
    }
    bench.say(
        "## Reference job, whole path (duplicates, ledger, all reasons, letters encrypted, durable), one worker\n\n"
        "| records | vingate CPU s, median (min-max) | loop CPU s | ratio | target |\n|---|---|---|---|---|\n"
        f"| 200,000 | {spread(ours)} | {spread(loop)} | **{ratio:.2f}** | 0.85 |\n"
        f"| 1,000,000 | {spread(big)} | {spread(big_loop)} | **{cpu(big) / cpu(big_loop):.2f}** | |\n"
        f"| per further record | {slope:.1f} us | {loop_slope:.1f} us | **{slope / loop_slope:.2f}** | 0.70 |\n\n"
        f"Peak memory, sum over processes: {peak[0]:.0f} MB at 200,000 records, {peak[1]:.0f} MB at 1,000,000 "
        "(target: under 300 MB, flat).\n"
    )


def growth(bench: Bench) -> None:
    """CPU per record while the state grows from 1 to 5 million keys."""
    state = bench.folder / "grown"
    shutil.rmtree(state, ignore_errors=True)
    rows = []
    for million in range(1, 7):
        run = bench.ours(bench.generate(1_000_000, 100 + million), state=state)
        rows.append((million, run))
    first, last = rows[1][1], rows[5][1]
    bench.figures["growth_1m_to_5m"] = last.cpu / first.cpu
    bench.say(
        "## State growing\n\nEach run adds 1,000,000 records to the same state.\n\n"
        "| keys before | CPU s | us a record | peak MB |\n|---|---|---|---|\n"
        + "\n".join(f"| {million - 1} M | {run.cpu:.2f} | {run.cpu:.1f} | {run.peak_mb:.0f} |" for million, run in rows)
        + "\n\nFrom 1 M to 5 M keys the cost of a record rises by "
        + f"{(last.cpu / first.cpu - 1) * 100:.0f} % (target: a tenth).\n"
    )


def workers(bench: Bench) -> None:
    """Two worker processes against one, wall time."""
    source = bench.generate(2_000_000)
    one, two = bench.alternate(
        lambda: bench.ours(source), lambda: bench.ours(source, options=("batch.workers=2",)), most=3
    )
    wall = statistics.median(r.wall for r in one), statistics.median(r.wall for r in two)
    peak = max(r.peak_mb for r in one), max(r.peak_mb for r in two)
    bench.figures |= {"two_workers": wall[0] / wall[1], "peak_mb_2m": peak[0], "peak_mb_2m_two_workers": peak[1]}
    bench.say(
        "## Two workers\n\n"
        f"2,000,000 records: {wall[0]:.1f} s wall with one worker, {wall[1]:.1f} s with two: "
        f"**{wall[0] / wall[1]:.2f}** times the speed (target 1.5). "
        f"Peak memory, sum over processes: {peak[0]:.0f} MB with one worker, {peak[1]:.0f} MB with two.\n"
    )


def store(bench: Bench) -> None:
    """The SQL store sink alone: deliveries of the reference job's records into SQLite, versions kept.

    A rate says as much of the machine as of the sink, so that of the bare driver and the loop's stand beside it.
    """
    log, source = bench.folder / "store.log", bench.generate(200_000)
    rates, bares, loops = [], [], []
    for _ in range(bench.runs):
        path = bench.folder / "store.db"
        for left in bench.folder.glob("store.db*"):
            left.unlink()
        measured([PYTHON, str(HERE / "store.py"), str(source), str(path)], log)
        ours, driver, *_ = map(float, log.read_text().split())
        rates.append(ours)
        bares.append(driver)
        loops.append(200_000 / bench.loop(source).wall)
    rate, driver, loop = map(statistics.median, (rates, bares, loops))
    bench.figures |= {"store_records_per_second": rate, "store_to_driver": rate / driver, "store_to_loop": rate / loop}
    bench.say(
        "## SQL store sink\n\n"
        f"SQLite, versions kept, lists as JSON columns, one durable commit every 2,000 rows: "
        f"**{rate:,.0f} records/s** wall (target 25,000) where the bare driver, given mapped rows for the same table, "
        f"makes {driver:,.0f} ({rate / driver:.2f} of it) and the loop {loop:,.0f} ({rate / loop:.2f}).\n"
    )


OUTSIDE_SCALE = 24.0
"""Of the sample whose province 44 the exchanges with the systems outside are measured with: a province's day."""
SYSTEMS = ("environment", "solid-waste", "transmissions", "credit", "insurers", "market-regulation", "used-cars")
"""What derives for the six systems outside, and delivers to them."""


def outside(bench: Bench) -> None:
    """Derivation and delivery for the systems outside, beside the collect exchange of the same repairs."""
    log, place = bench.folder / "outside.log", bench.folder / "outside"
    found = []
    for _ in range(min(bench.runs, 3)):
        shutil.rmtree(place, ignore_errors=True)
        measured([PYTHON, str(HERE / "outside.py"), str(place), str(OUTSIDE_SCALE)], log)
        found.append(json.loads([line for line in log.read_text("utf-8").splitlines() if line.startswith("{")][-1]))
    if not all(one["balanced"] for one in found):
        sys.exit(f"not balanced: {found}")
    names = [name for name in found[0]["cpu"] if name not in ("registrations", "operators")]
    seconds = {name: statistics.median(one["cpu"][name] for one in found) for name in names}
    shares = [outside_share(one["cpu"]) for one in found]
    bench.figures["outside_to_collect"] = ratio = statistics.median(shares)
    delivered = found[0]["delivered"]
    rows = "".join(f"| {name} | {told:.2f} | {told / seconds['collect']:.3f} |\n" for name, told in seconds.items())
    bench.say(
        "## Systems outside\n\n"
        f"Province 44 of a sample of scale {OUTSIDE_SCALE:g}: {delivered['province-44']:,} repairs collected, then "
        "every exchange with a system outside once, stand-ins in a process of their own (not counted).\n\n"
        f"| exchange | CPU s, median | of collect |\n|---|---|---|\n{rows}\n"
        f"Derivation and delivery for the six systems (what `outside-in` passes on counted, as what it costs more than "
        f"the same without, each three times in turn; a list for road administration is none of the six): "
        f"**{ratio:.3f}** of the collect exchange's CPU (target: at most 0.60), "
        f"in the runs {', '.join(f'{one:.3f}' for one in shares)}.\n"
    )


def outside_share(cpu: dict[str, float]) -> float:
    """What derivation and delivery for the six systems take, of what collecting takes."""
    passed_on = max(0.0, cpu["taken-in-and-passed-on"] - cpu["taken-in"])
    return (passed_on + sum(cpu[name] for name in SYSTEMS)) / cpu["collect"]


PARTS = {"reference": reference_job, "growth": growth, "workers": workers, "store": store, "outside": outside}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command (default 5)")
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=sorted(PARTS), help="parts to measure")
    parser.add_argument("--figures", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument("--keep", type=Path, help="folder for inputs and outputs; kept")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="vingate-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, given.runs, made_by(given.runs, given.only))
    try:
        for name, part in PARTS.items():
            if name in given.only:
                part(bench)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if given.figures:
        given.figures.write_text(json.dumps(bench.figures), "utf-8")
    write_results(bench.sections)


def made_by(runs: int, only: list[str]) -> str:
    """The line that says of a section by what it was made, when, at which commit, of how many runs, and where."""
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    parts = "" if sorted(only) == sorted(PARTS) else f" --only {' '.join(only)}"
    return (
        f"Made by `python bench/run.py --runs {runs}{parts}` on {datetime.now(UTC):%Y-%m-%d} at commit "
        f"{told.stdout.strip() or '-'}: medians of {runs} runs ({min(runs, 3)} of large inputs), {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}."
    )


def write_results(sections: list[str], path: Path = HERE / "RESULTS.md") -> None:
    """Put new sections in place of those of the same title; the others, and the head, stay as they are."""
    first, *before = path.read_text("utf-8").split("\n## ") if path.exists() else ["# Results\n"]
    made = {_title(text): text for text in sections}
    kept = [f"## {text.rstrip()}\n" for text in before]
    told = [made.pop(_title(text), "") if _title(text) in {_title(one) for one in sections} else text for text in kept]
    path.write_text("\n".join([first, *filter(None, told), *made.values()]), "utf-8")


def _title(section: str) -> str:
    return section[3:].split("\n", 1)[0]


if __name__ == "__main__":
    main()
