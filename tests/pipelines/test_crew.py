"""Worker processes: forked from one, told by the runner, missed when they die, gone with whoever started them."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_samples import BULK, lines, write

from pipelines import steps
from pipelines.coordinator import Coordinator
from pipelines.crew import Crew, crew
from pipelines.errors import RunnerFailed
from pipelines.ledger import prove
from pipelines.settings import load
from pipelines.state import State

NOBODY = "127.0.0.1:1"
"""An address that nobody serves: a worker sent there waits for it."""


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def host_of(made: Crew) -> int:
    return made._process.pid


def wait(condition):
    for _ in range(6_000):
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail("it did not come about")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def made():
    one = Crew()
    yield one
    if not one.lost:
        one.close()


def test_a_worker_that_is_killed_is_told_of(made):
    ends = queue.Queue()
    made.start("worker-1", NOBODY, ends.put)
    made.start("worker-2", NOBODY, ends.put)
    first, second = wait(lambda: (c := children(host_of(made))) and len(c) == 2 and c)
    os.kill(first, signal.SIGKILL)
    assert ends.get(timeout=60) == -signal.SIGKILL
    os.kill(second, signal.SIGTERM)
    assert ends.get(timeout=60) == -signal.SIGTERM


def test_workers_end_with_the_crew(made):
    ends = queue.Queue()
    made.start("worker-1", NOBODY, ends.put)
    (worker,) = wait(lambda: children(host_of(made)))
    made.close()
    assert ends.get(timeout=60) == -1
    wait(lambda: gone(worker))


def test_whoever_asks_a_crew_that_was_killed_hears_of_it(made):
    ends = queue.Queue()
    made.start("worker-1", NOBODY, ends.put)
    (worker,) = wait(lambda: children(host_of(made)))
    os.kill(host_of(made), signal.SIGKILL)
    assert ends.get(timeout=60) == -1
    wait(lambda: gone(worker))
    wait(lambda: made.lost)
    made.start("worker-2", NOBODY, ends.put)
    assert ends.get(timeout=60) == -1


def test_a_crew_that_was_lost_is_replaced():
    first = crew()
    assert crew() is first
    os.kill(host_of(first), signal.SIGKILL)
    wait(lambda: first.lost)
    second = crew()
    assert second is not first
    assert not second.lost


def test_nobody_is_left_when_its_process_is_killed():
    program = (
        "import sys, time\n"
        "from pipelines.crew import Crew\n"
        "made = Crew()\n"
        f"made.start('worker-1', '{NOBODY}', print)\n"
        "print(made._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        host = int(process.stdout.readline())
        (worker,) = wait(lambda: children(host))
        process.kill()
    wait(lambda: gone(host))
    wait(lambda: gone(worker))


@pytest.fixture
def exchange(tmp_path):
    source = write(tmp_path / "in.ndjson", lines(60))
    told = [f"source.path={source}", f"sinks.provinces.path={tmp_path / 'out'}"]
    return load(BULK, [*told, "batch.workers=2", "source.item_bytes=5000", "received_at=2026-09-21T21:30:00+08:00"])


def test_a_worker_that_dies_in_a_batch_fails_the_run_and_the_next_run_goes_on(tmp_path, exchange, monkeypatch):
    """Beam itself waits for ever for a worker that is gone."""
    decode = steps.decode
    mark = tmp_path / "die"
    mark.touch()

    def dying(bench, load):
        if mark.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(bench, load)

    # What is put in its place goes to the workers by value, being of a test; they are forked with the rest in them.
    monkeypatch.setattr(steps, "decode", dying)
    with State(tmp_path / "state", own=True) as state, pytest.raises(RunnerFailed, match="-9"):
        Coordinator(state, exchange).run()
    mark.unlink()
    with State(tmp_path / "state", own=True) as state:
        Coordinator(state, exchange).run()
    with State(tmp_path / "state", own=False) as state:
        assert prove(state).balanced
