"""Worker processes: forked from one, told by the runner, missed when they die, gone with whoever started them."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine_samples import BULK, lines, payload, write
from sqlalchemy import select

from pipelines import crew as crews
from pipelines import crewenv, flow, steps, tables
from pipelines.ahead import Ahead
from pipelines.coordinator import Coordinator
from pipelines.crew import Crew, crew
from pipelines.errors import RunnerFailed
from pipelines.ledger import prove
from pipelines.settings import load
from pipelines.state import State
from pipelines.work import Job

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


def test_two_who_ask_at_once_get_one_crew(monkeypatch):
    started, both = [], threading.Barrier(2)

    class Slow:
        lost = False

        def __init__(self):
            started.append(self)
            with suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # for the other one to begin one too, if nothing keeps it from that

    monkeypatch.setattr(crews, "Crew", Slow)
    monkeypatch.setattr(crews, "_kept", [])
    found = []
    askers = [threading.Thread(target=lambda: found.append(crew())) for _ in range(2)]
    for one in askers:
        one.start()
    for one in askers:
        one.join()
    assert len(started) == 1
    assert found == started * 2


def test_what_the_runner_takes_back_meanwhile_is_not_answered():
    class Taken(dict):
        def __iter__(self):
            return iter(["of-the-runner", "asked"])

    answered, rounds = [], iter((False, True))
    handler = object.__new__(crewenv._Handler)
    handler.control_conn = SimpleNamespace(_futures_by_id=Taken(asked=SimpleNamespace(set=answered.append)))
    handler._over = SimpleNamespace(wait=lambda _: next(rounds))
    handler._answer(-9)
    assert [(one.instruction_id, one.error) for one in answered] == [("asked", "ended: -9")]


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


def test_batches_that_begin_ahead_of_their_turn_make_the_same(tmp_path, monkeypatch):
    """The second input repeats and corrects records of the first: its items are staged again, beside the next batch."""
    first = lines(60, broken=2)
    corrected = [payload(seed, faultdescription="更换机油") for seed in range(5, 15)]
    write(tmp_path / "in" / "a.ndjson", first)
    write(tmp_path / "in" / "b.ndjson", [*first[20:40], *corrected])
    write(tmp_path / "in" / "c.ndjson", lines(20, first=100))
    write(tmp_path / "in" / "d.ndjson", first)
    begun = []
    begin = Ahead.begin
    monkeypatch.setattr(Ahead, "begin", lambda self, *given: (begun.append(given[1].batch), begin(self, *given)))

    def outcome(name, workers):
        place = tmp_path / name
        told = [f"source.path={tmp_path / 'in'}", f"sinks.provinces.path={place / 'out'}", "batch.items=1"]
        told += [f"batch.workers={workers}", "received_at=2026-09-21T21:30:00+08:00"]
        with State(place / "state", own=True) as state:
            Coordinator(state, load(BULK, told)).run()
            proof = prove(state)
            with state.reading() as connection:
                journals = select(tables.journals.c.batch, tables.journals.c.lines).order_by(tables.journals.c.batch)
                kept = [tuple(row) for row in connection.execute(journals)]
        assert list((place / "state" / "staging").iterdir()) == []
        return proof.totals, kept, {path.name: path.read_bytes() for path in (place / "out").glob("*.avro")}

    alone = outcome("one", 1)
    assert begun == []
    assert outcome("two", 2) == alone
    assert begun == ["bulk-files-000002", "bulk-files-000003"]
    assert alone[0]["duplicate"] > 0


def test_who_is_interrupted_does_not_wait_for_the_batch_begun_ahead(tmp_path, monkeypatch):
    write(tmp_path / "in" / "a.ndjson", [payload(1)])
    write(tmp_path / "in" / "b.ndjson", [payload(2)])
    whole, release, waited = flow.run, threading.Event(), []

    def run(exchange, job, tasks):
        if job.number == 1:
            return whole(exchange, job, tasks)
        waited.append(not release.wait(30))
        return []

    def interrupted(event):
        if event.name == "decided":
            raise KeyboardInterrupt

    monkeypatch.setattr(flow, "run", run)
    told = [f"source.path={tmp_path / 'in'}", f"sinks.provinces.path={tmp_path / 'out'}", "batch.items=1"]
    exchange = load(BULK, [*told, "batch.workers=2"], {})
    with State(tmp_path / "state", own=True) as state, pytest.raises(KeyboardInterrupt):
        Coordinator(state, exchange, interrupted, run).run()
    release.set()
    assert waited in ([], [False])
    monkeypatch.undo()
    with State(tmp_path / "state", own=True) as state:
        Coordinator(state, exchange).run()
        assert prove(state).totals["delivered"] == 2
        assert list((tmp_path / "state" / "staging").iterdir()) == []


def job(folder, batch, received_at="2026-09-21T21:30:00+08:00"):
    place = folder / batch
    place.mkdir(exist_ok=True)
    return Job({}, batch, 1, received_at, str(place), "", "")


@pytest.fixture
def ahead(tmp_path):
    did = []

    def work(_, job, tasks):
        did.append((job.batch, len(tasks)))
        (Path(job.staging) / "made").touch()
        return []

    return Ahead(work), did


def test_what_was_begun_is_taken_in_its_turn(tmp_path, ahead):
    made, did = ahead
    made.begin(None, job(tmp_path, "two"), [])
    assert made.received_at("two") == "2026-09-21T21:30:00+08:00"
    assert made.received_at("one") == ""
    made.steps(None, job(tmp_path, "one"), [])
    made.steps(None, job(tmp_path, "two"), [])
    assert sorted(did) == [("one", 0), ("two", 0)]
    made.steps(None, job(tmp_path, "two"), [])
    assert len(did) == 3


def test_what_was_begun_for_another_is_dropped(tmp_path, ahead):
    made, did = ahead
    made.begin(None, job(tmp_path, "two"), [])
    changed = job(tmp_path, "two", "2026-09-22T08:00:00+08:00")
    made.steps(None, changed, [])
    assert did == [("two", 0), ("two", 0)]
    made.begin(None, job(tmp_path, "three"), [])
    made.drop()
    assert not (tmp_path / "three").exists()


def test_what_failed_ahead_of_its_turn_is_heard_of_in_its_turn(tmp_path):
    def fail(*_):
        raise RunnerFailed("broken")

    made = Ahead(fail)
    made.begin(None, job(tmp_path, "two"), [])
    with pytest.raises(RunnerFailed, match="broken"):
        made.steps(None, job(tmp_path, "two"), [])
