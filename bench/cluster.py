"""The reference job on a Spark cluster of this machine: `make cluster`.

    python bench/cluster.py [--home var/spark] [--records 1000000] [--workers 2] [--item-mb 16]

Prints the ledger and the speed; the very last line is one JSON object: records, delivered, dead, balanced, workers,
work_s (the work stage, from the first staged file to the last), wall_s (the whole of `vingate run`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "deploy" / "spark"))
from local_cluster import Cluster  # noqa: E402

SETTINGS = ROOT / "deploy" / "exchanges" / "bulk-files.toml"


class Watch(threading.Thread):
    """Sees when the first and the last file of an item are staged."""

    def __init__(self, staging: Path) -> None:
        super().__init__(daemon=True)
        self.staging, self.first, self.last, self.over = staging, 0.0, 0.0, threading.Event()

    def run(self) -> None:
        seen = 0
        while not self.over.wait(0.1):
            count = sum(1 for _ in self.staging.glob("*/*.*")) if self.staging.exists() else 0
            if count > seen:
                self.last, self.first = time.monotonic(), self.first or time.monotonic()
            seen = max(seen, count)


def run(cluster: Cluster, source: Path, folder: Path, item_mb: int) -> dict:
    """One run of the product on the cluster."""
    state, out = folder / "state", folder / "out"
    command = [sys.executable, "-m", "pipelines", "run", str(SETTINGS), "--state", str(state), "--json"]
    told = [f"source.path={source}", f"sinks.provinces.path={out}", f"source.item_bytes={item_mb << 20}"]
    told += [f"batch.bytes={1 << 30}", *cluster.settings()]
    command += [part for one in told for part in ("--set", one)]
    watch = Watch(state / "staging")
    watch.start()
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wall = time.monotonic() - began
    watch.over.set()
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)
    subprocess.run([sys.executable, "-m", "pipelines", "ledger", "--state", str(state)], cwd=ROOT)
    found = json.loads(done.stdout)
    totals = found["totals"]
    return {
        "records": totals["received"], "delivered": totals["delivered"], "dead": totals["dead"],
        "balanced": found["balanced"], "workers": cluster.workers,
        "work_s": round(watch.last - watch.first, 2), "wall_s": round(wall, 2),
    }  # fmt: skip


def main() -> int:
    """Start the cluster, run the job, end every process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=ROOT / "var" / "spark")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--item-mb", type=int, default=16)
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="vingate-cluster-"))
    try:
        source = folder / "reference.ndjson"
        generate = [sys.executable, str(ROOT / "bench" / "reference" / "gen.py"), str(told.records), str(source), "7"]
        subprocess.run(generate, check=True, stdout=subprocess.DEVNULL)
        with Cluster(told.home, folder / "cluster", told.workers) as cluster:
            result = run(cluster, source, folder, told.item_mb)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if result["work_s"]:
        print(f"{result['records'] / result['work_s']:,.0f} records/s in the work stage, {told.workers} workers")
    print(json.dumps(result))
    return 0 if result["balanced"] else 1


if __name__ == "__main__":
    sys.exit(main())
