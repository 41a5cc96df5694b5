"""The same job on a Spark cluster of this machine, also when parts of it die: files, letters, ledger as embedded.

Needs what `make cluster` fills (`scripts/cluster`): skipped by name where it is not. The long form is a command:

    python tests/pipelines/test_spark.py ROUNDS [SEED]
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from engine_samples import lines, payload, write
from test_runners import both, outcome, run

from pipelines.errors import PipelineError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "spark"))
from local_cluster import Cluster  # noqa: E402

HOME = Path(os.environ.get("SPARK_CLUSTER") or ROOT / "var" / "spark")
pytestmark = pytest.mark.skipif(not (HOME / ".ready").exists(), reason="no Spark: scripts/cluster fills var/spark")
VICTIMS = ("executor", "sdk worker", "job server")
LATEST = 30.0
"""Seconds after a run began in which something dies: a job of this size takes about as long."""


def inputs(folder):
    first, more = lines(120, broken=4), lines(10, first=500, broken=2)
    corrected = [payload(seed, faultdescription="更换机油") for seed in range(5, 15)]
    return write(folder / "first.ndjson", first), write(folder / "second.ndjson", first[20:40] + corrected + more)


def kill(cluster, victim):
    """End one part at once. The job server is started again, as an operator or the kubelet would."""
    if victim == "job server":
        cluster.kill("job-server")
        cluster.start_job_server()
        return
    found = cluster.executors() if victim == "executor" else cluster.sdk_workers()
    if found:
        with suppress(ProcessLookupError):
            os.kill(found[0], signal.SIGKILL)


def one_round(cluster, folder, sources, expected, victim, after):
    """A run in which a part dies, then runs until there is nothing left to do: the end state is the embedded one's."""
    folder.mkdir()
    settings = cluster.settings()
    killer = threading.Timer(after, kill, (cluster, victim))
    killer.start()
    left = sources[1:]
    try:
        run(folder, sources[0], *settings)
    except PipelineError:
        left = sources  # what ended well is not run again: that would be a batch of duplicates, on any runner
    finally:
        killer.join()
    for source in left:
        run(folder, source, *cluster.settings())
    made = outcome(folder)
    return [part for part in expected if made[part] != expected[part]]


def test_the_job_on_spark_is_the_embedded_one_and_stays_it_when_an_executor_dies(tmp_path):
    sources = inputs(tmp_path)
    expected = both(tmp_path / "embedded", sources)
    with Cluster(HOME, tmp_path / "cluster") as cluster:
        assert one_round(cluster, tmp_path / "killed", sources, expected, "executor", 12.0) == []


def rounds(count, seed):
    chance, wrong = random.Random(seed), 0  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="vingate-spark-") as name:
        folder = Path(name)
        sources = inputs(folder)
        expected = both(folder / "embedded", sources)
        with Cluster(HOME, folder / "cluster") as cluster:
            for number in range(count):
                victim, after = VICTIMS[number % len(VICTIMS)], chance.uniform(2, LATEST)
                began = time.monotonic()
                differs = one_round(cluster, folder / f"round-{number}", sources, expected, victim, after)
                wrong += bool(differs)
                said = f"differs in {', '.join(differs)}" if differs else "the same"
                print(
                    f"{number + 1}: {victim} after {after:.1f} s: {said} ({time.monotonic() - began:.0f} s)", flush=True
                )
    return wrong


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(1 if rounds(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7) else 0)
