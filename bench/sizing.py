"""The sizing model against the machine: the bulk job at three sizes, predicted and measured, bytes on disk, disk speed.

    python bench/sizing.py [--counts N N N] [--workers N] [--keep FOLDER] [--dry]

The hand-written loop runs before and after each size and tells how fast the machine is at that moment, other work on
it included; the model's prediction (`pipelines.sizing`, from figures of earlier runs) is for a machine of that speed.
Writes its section of bench/RESULTS.md, and keeps the figures in bench/sizing.json: a test holds the model against them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from run import Bench, write_results  # noqa: E402

from pipelines.sizing import FIGURES, bulk_seconds, loop_seconds  # noqa: E402

TITLE = "Sizing, predicted against measured"
WRITTEN_MB = 512


def one(bench: Bench, count: int, workers: int) -> dict[str, Any]:
    """One size: the loop, then the product; what both took, and what lies on disk afterwards."""
    source = bench.generate(count)
    before = bench.loop(source)
    ours = bench.ours(source, options=(f"batch.workers={workers}",))
    loop_s = (before.wall + bench.loop(source).wall) / 2
    speed = loop_seconds(FIGURES, count) / loop_s
    predicted = bulk_seconds(FIGURES, count, cores=workers, speed=speed)
    return {
        "records": count,
        "workers": workers,
        "loop_s": round(loop_s, 2),
        "speed": round(speed, 3),  # beside the machine and day of the model's figures
        "cpu_s": round(ours.cpu, 2),
        "wall_s": round(ours.wall, 2),
        "predicted_s": round(predicted, 2),
        "bytes": {
            "source": round(source.stat().st_size / count, 1),
            "parts": round(size(bench.folder / "out") / count, 1),
            "state": round(size(bench.folder / "state") / count, 1),
        },
    }


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def disk_speed(folder: Path) -> float:
    """MB/s of one sequential write that is synced at its end."""
    path, block = folder / "written", os.urandom(1 << 20)
    started = time.perf_counter()
    with path.open("wb") as out:
        for _ in range(WRITTEN_MB):
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    taken = time.perf_counter() - started
    path.unlink()
    return WRITTEN_MB / taken


def section(rows: list[dict[str, Any]], disk: float, command: str) -> str:
    """The section of bench/RESULTS.md."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE, check=False
    ).stdout.strip()
    table = "".join(
        f"| {row['records']:,} | {row['loop_s']:.2f} | {row['speed']:.2f} | {row['records'] / row['predicted_s']:,.0f} "
        f"| {row['records'] / row['wall_s']:,.0f} | **{row['predicted_s'] / row['wall_s'] - 1:+.0%}** "
        f"| {row['cpu_s']:.2f} | {row['wall_s']:.2f} |\n"
        for row in rows
    )
    last = rows[-1]
    places_told = ", ".join(f"{name} {told}" for name, told in last["bytes"].items())
    return (
        f"## {TITLE}\n\nMade by `{command}` on {datetime.now(UTC):%Y-%m-%d} at commit {commit}: one run of each size, "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}.\n\n"
        "Prediction by `pipelines.sizing` for a machine as quick as the loop before and after each run says, by wall "
        "clock, other work included (speed 1: as on the day of the model's figures).\n\n"
        "| records | loop wall s | speed | predicted records/s | measured records/s | measured over predicted "
        "| CPU s | wall s |\n|---|---|---|---|---|---|---|---|\n"
        f"{table}\nBytes a record at {last['records']:,}: {places_told}. "
        f"A sequential write of {WRITTEN_MB} MB, synced at its end: {disk:,.0f} MB/s.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs="+", type=int, default=[50_000, 200_000, 300_000], help="sizes, in records")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default 1)")
    parser.add_argument("--keep", type=Path, help="folder for inputs and outputs; kept")
    parser.add_argument("--dry", action="store_true", help="print the figures, and write nothing")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="vingate-sizing-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        bench = Bench(folder, 1)
        disk = disk_speed(folder)
        rows = []
        for count in given.counts:
            rows.append(one(bench, count, given.workers))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    told = json.dumps({"disk_mb_s": round(disk), "runs": rows}, indent=1)
    print(told)
    if not given.dry:
        (HERE / "sizing.json").write_text(told + "\n", "utf-8")
        counts = " ".join(map(str, given.counts))
        write_results([section(rows, disk, f"python bench/sizing.py --counts {counts} --workers {given.workers}")])


if __name__ == "__main__":
    main()
