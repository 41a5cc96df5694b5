"""Rounds on a Spark cluster of this machine in which one part dies: an executor, a worker of the steps, the job server.

Moments are seeded, and told by work that is done, not by the clock: so many items are staged, then a blink. The run is
a process of `vingate run`; after it vingate runs again where it did not end well. What stands there at the end must be
what an embedded run leaves: files, journals, letters, ledger.

    python tests/pipelines/spark_rounds.py ROUNDS [SEED]      `make cluster-crash`, the long form; make test runs three
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from engine_samples import BULK, lines, write
from test_runners import outcome

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "spark"))
from local_cluster import Cluster  # noqa: E402

HOME = Path(os.environ.get("SPARK_CLUSTER") or ROOT / "var" / "spark")
TOLD = ("received_at=2026-09-21T21:30:00+08:00", "source.item_bytes=100000", "batch.block=32")
ITEMS = 20
VICTIMS = ("executor", "sdk worker", "job server")
PATIENCE = 300
"""Seconds that a run may take; one takes about 25."""


class Moment(NamedTuple):
    """When what dies: after so many staged items, and seconds. -1: whatever the job does."""

    victim: str
    staged: int
    seconds: float


def moment(victim: str, seed: int) -> Moment:
    """The same for the same seed; where workers live, enough of the job is left for one to be at work."""
    chance = random.Random(f"{victim} {seed}")  # noqa: S311
    if victim == "job server" and chance.random() < 0.3:
        return Moment(victim, -1, chance.uniform(2.0, 12.0))
    return Moment(victim, chance.randrange(ITEMS * 3 // 5), chance.uniform(0.0, 0.3))


def source(folder: Path) -> Path:
    """An input of some twenty items."""
    return write(folder / "input.ndjson", lines(2_900, broken=40))


def run(place: Path, input_file: Path, *settings: str) -> subprocess.Popen[bytes]:
    """`vingate run`, begun."""
    command = [sys.executable, "-m", "pipelines", "run", str(BULK), "--state", str(place / "state"), "--json"]
    for one in (f"source.path={input_file}", f"sinks.provinces.path={place / 'out'}", *TOLD, *settings):
        command += ["--set", one]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (place / "said").open("ab") as said:
        return subprocess.Popen(command, stdout=said, stderr=said, env=environment)


def embedded(folder: Path, input_file: Path) -> dict:
    """What the embedded runner leaves of the input."""
    folder.mkdir()
    assert run(folder, input_file).wait(PATIENCE) == 0, (folder / "said").read_text()
    return outcome(folder)


class Killer(threading.Thread):
    """Kills the victim at its moment, if the run still goes on then; `killed` is the process that it was."""

    def __init__(self, cluster: Cluster, place: Path, when: Moment, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.cluster, self.staging, self.when, self.process = cluster, place / "state" / "staging", when, process
        self.killed = 0

    def run(self) -> None:
        while self.process.poll() is None and not self._due():
            time.sleep(0.02)
        time.sleep(self.when.seconds)
        while self.process.poll() is None and not self.killed:
            self._kill()
            time.sleep(0.01)

    def _due(self) -> bool:
        return sum(1 for _ in self.staging.glob("*/*.journal")) >= self.when.staged

    def _kill(self) -> None:
        if self.when.victim == "job server":
            self.killed = self.cluster.processes["job-server"].pid
            self.cluster.kill("job-server")
            return
        found = self.cluster.executors() if self.when.victim == "executor" else self.cluster.sdk_workers()
        with suppress(ProcessLookupError):  # it has just ended by itself: another one will do
            for one in found[:1]:
                os.kill(one, signal.SIGKILL)
                self.killed = one


class Round(NamedTuple):
    """What became of a round."""

    killed: int
    """The process that was killed while vingate ran; 0: none."""
    codes: list[int]
    """How vingate ended, each time."""
    differs: list[str]
    """What is not as the embedded run left it."""


def one_round(cluster: Cluster, place: Path, input_file: Path, expected: dict, when: Moment) -> Round:
    """A run in which a part dies, and runs again until one ends well. A job server is started again, as kubelets do."""
    place.mkdir()
    process = run(place, input_file, *cluster.settings())
    killer = Killer(cluster, place, when, process)
    killer.start()
    codes = []
    try:
        codes.append(process.wait(PATIENCE))
        killer.join()
        if when.victim == "job server" and killer.killed:
            cluster.start_job_server()
        while codes[-1] and len(codes) < 3:
            process = run(place, input_file, *cluster.settings())
            codes.append(process.wait(PATIENCE))
    finally:
        process.kill()
        process.wait()
    made = outcome(place)
    return Round(killer.killed, codes, [part for part in expected if made[part] != expected[part]])


def within_a_run(
    cluster: Cluster, place: Path, input_file: Path, expected: dict, when: Moment
) -> tuple[Moment, Path, Round]:
    """A round; where its run was over before the moment came, another one with a moment that comes sooner."""
    done = one_round(cluster, place, input_file, expected, when)
    if done.killed or done.codes[-1] or done.differs or when.seconds < 1:
        return when, place, done
    sooner = when._replace(seconds=when.seconds / 2)
    return within_a_run(cluster, place.with_name(f"{place.name}-sooner"), input_file, expected, sooner)


def main(count: int, seed: int) -> int:
    """Rounds in a row on one cluster; how many were wrong."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="vingate-spark-") as name:
        folder = Path(name)
        input_file = source(folder)
        expected = embedded(folder / "embedded", input_file)
        with Cluster(HOME, folder / "cluster") as cluster:
            for number in range(count):
                when = moment(VICTIMS[number % len(VICTIMS)], seed + number)
                began = time.monotonic()
                when, place, done = within_a_run(cluster, folder / f"round-{number}", input_file, expected, when)
                well = done.killed and not done.codes[-1] and not done.differs
                wrong += not well
                said = "the same" if well else f"WRONG: {done}: {(place / 'said').read_text()[-3_000:]}"
                at = f"after {when.staged} items + {when.seconds:.1f} s"
                ran = f"ran {len(done.codes)} times, {time.monotonic() - began:.0f} s"
                print(f"{number + 1}: {when.victim} {done.killed} killed {at}: {said} ({ran})", flush=True)
    print(f"{count} rounds, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7) else 0)
