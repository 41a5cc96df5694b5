"""The reference job on a Spark cluster of this machine: `make cluster`.

    python bench/cluster.py [--home var/spark] [--records 1000000] [--workers 2] [--item-mb 16] [--keep FOLDER]
                            [--source FILE] [--embedded]

Says on stderr how far it is, and prints the ledger and the speed; the very last line is one JSON object: records,
delivered, dead, balanced, workers, work_s (the work stage, from the first file that a worker opens to the last one
that it ends), wall_s (the whole of `vingate run`). Where nothing moves any more it says what every server wrote last,
and ends.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "deploy" / "spark"))
from local_cluster import Cluster  # noqa: E402

SETTINGS = ROOT / "deploy" / "exchanges" / "bulk-files.toml"
PATIENCE = 300.0
"""Seconds without any progress after which the run is given up."""
EVERY = 5.0
BEGAN = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the beginning."""
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", file=sys.stderr, flush=True)


class Watch(threading.Thread):
    """Tells how many items are staged, sees when the first file is opened and the last one ended, and gives up.

    Parts lie beside their final folder, journals in the state's: a worker opens the first part of an item as it begins,
    and writes its journal at the end.
    """

    def __init__(self, cluster: Cluster, staging: Path, out: Path, items: int, process: subprocess.Popen) -> None:
        super().__init__(daemon=True)
        self.cluster, self.staging, self.out, self.items, self.process = cluster, staging, out, items, process
        self.first, self.last, self.over, self.stuck = 0.0, 0.0, threading.Event(), False

    def run(self) -> None:
        done, moved, told = 0, time.monotonic(), 0.0
        while not self.over.wait(0.1):
            now = time.monotonic()
            if not self.first and any(self.out.glob(".staging/*")):
                self.first = moved = now
            count = sum(1 for _ in self.staging.glob("*/*.journal"))  # they go when the batch is closed
            if count > done:
                self.last, done, moved = now, count, now
            if now - told > EVERY:
                told = now
                self.tell(done)
            if now - moved > PATIENCE and not self.stuck:
                self.stuck = True
                self.process.terminate()

    def tell(self, done: int) -> None:
        alive = f"{len(self.cluster.executors())} executors, {len(self.cluster.sdk_workers())} workers of steps"
        what = f"{done}/{self.items} items staged" if self.first else "the job begins"
        say(f"{'accounted and delivered' if done == self.items else what}; {alive}")


def embedded(source: Path, folder: Path, item_mb: int) -> int:
    """The same job in one process, to compare what it costs; its exit code."""
    before, began = waited_cpu(), time.monotonic()
    code = subprocess.run(command(source, folder, item_mb), cwd=ROOT, stdout=subprocess.DEVNULL).returncode
    cost = round(waited_cpu() - before, 2)
    print(json.dumps({"embedded": True, "cpu_s": cost, "wall_s": round(time.monotonic() - began, 2)}))
    return code


def waited_cpu() -> float:
    """Processor seconds of the processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(used.ru_utime + used.ru_stime, 2)


def command(source: Path, folder: Path, item_mb: int, settings: Sequence[str] = ()) -> list[str]:
    """`vingate run` of the reference job."""
    told = [f"source.path={source}", f"sinks.provinces.path={folder / 'out'}", f"source.item_bytes={item_mb << 20}"]
    told += [f"batch.bytes={1 << 31}", *settings]
    words = [sys.executable, "-m", "pipelines", "run", str(SETTINGS), "--state", str(folder / "state"), "--json"]
    return words + [part for one in told for part in ("--set", one)]


def cpu_told(cluster: Cluster, before: dict[str, float], coordinator: float, records: int) -> str:
    """Processor time of a run, by part."""
    used = {name: after - before.get(name, 0.0) for name, after in cluster.cpu_seconds().items()}
    total = sum(used.values()) + coordinator
    steps = used.pop("pool")
    parts = f"coordinator {coordinator:.1f}, steps {steps:.1f}, Java {sum(used.values()):.1f}"
    return f"CPU {total:.1f} s ({parts}), {total / records * 1e6:.1f} us a record"


def run(cluster: Cluster, source: Path, folder: Path, item_mb: int) -> dict:
    """One run of the product on the cluster."""
    state, out = folder / "state", folder / "out"
    before, waited, began = cluster.cpu_seconds(), waited_cpu(), time.monotonic()
    told = command(source, folder, item_mb, cluster.settings())
    process = subprocess.Popen(told, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    watch = Watch(cluster, state / "staging", out, -(-source.stat().st_size // (item_mb << 20)), process)
    watch.start()
    printed, _ = process.communicate()
    wall = time.monotonic() - began
    watch.over.set()
    if process.returncode not in (0, 1) or watch.stuck:
        say("nothing moved any more" if watch.stuck else f"vingate run ended with {process.returncode}")
        for name in cluster.processes:
            print(f"--- {name}\n{cluster.said(name)[-3_000:]}", file=sys.stderr)
        sys.exit(3)
    found = json.loads(printed)
    totals = found["totals"]
    cost = cpu_told(cluster, before, waited_cpu() - waited, totals["received"])
    say("done; the ledger is proved")
    subprocess.run([sys.executable, "-m", "pipelines", "ledger", "--state", str(state)], cwd=ROOT)
    print(cost)
    return {
        "records": totals["received"], "delivered": totals["delivered"], "dead": totals["dead"],
        "balanced": found["balanced"], "workers": cluster.workers,
        "work_s": round(watch.last - watch.first, 2), "wall_s": round(wall, 2),
    }  # fmt: skip


@contextmanager
def generated(records: int, source: Path):
    """The input, made while the cluster starts."""
    say(f"{records:,} records are made ({records * 710 / 1e6:,.0f} MB), and the cluster started")
    generate = [sys.executable, str(ROOT / "bench" / "reference" / "gen.py"), str(records), str(source), "7"]
    process = subprocess.Popen(generate, stdout=subprocess.DEVNULL)

    def wait() -> None:
        while process.poll() is None:
            size = source.stat().st_size if source.exists() else 0
            say(f"{size / 1e6:,.0f} MB of records made")
            try:
                process.wait(EVERY)
            except subprocess.TimeoutExpired:
                continue
        if process.returncode:
            sys.exit(process.returncode)

    try:
        yield wait
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """Start the cluster, run the job, end every process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=ROOT / "var" / "spark")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--item-mb", type=int, default=16)
    parser.add_argument("--keep", type=Path, help="where files and logs stay; without it they are removed")
    parser.add_argument("--source", type=Path, help="an input as `gen.py` makes it; without it one is made")
    parser.add_argument("--embedded", action="store_true", help="no cluster: the same job in one process, and its cost")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = told.keep or Path(tempfile.mkdtemp(prefix="vingate-cluster-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        source = told.source or folder / "reference.ndjson"
        making = nullcontext(lambda: None) if told.source else generated(told.records, source)
        if told.embedded:
            with making as wait:
                wait()
            return embedded(source, folder, told.item_mb)
        with making as wait, Cluster(told.home, folder / "cluster", told.workers) as cluster:
            say(f"the cluster is up: {cluster.master}, job server {cluster.endpoint}, pool {cluster.pool}")
            wait()
            result = run(cluster, source, folder, told.item_mb)
    finally:
        if not told.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if result["work_s"]:
        print(f"{result['records'] / result['work_s']:,.0f} records/s in the work stage, {told.workers} workers")
    print(json.dumps(result))
    return 0 if result["balanced"] else 1


if __name__ == "__main__":
    sys.exit(main())
