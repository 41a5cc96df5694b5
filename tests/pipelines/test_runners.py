"""One job on every runner: the same files, letters and ledger, byte for byte.

The runners are the embedded one with one process and with two, Beam's local job service with workers in this process
and with a worker pool, and prism where its binary is named by $PRISM or on PATH. The second input repeats and corrects
records of the first, so that steps run a second time under directives.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_samples import BULK, lines, payload, write
from sqlalchemy import select

from connectors.contracts import Unreadable
from dlq.letters import LetterStore
from pipelines import steps, tables
from pipelines.coordinator import Coordinator
from pipelines.errors import RunnerFailed, SettingsError
from pipelines.ledger import prove
from pipelines.prism import serving
from pipelines.runnable import runnable
from pipelines.settings import load
from pipelines.state import State

TOLD = ("received_at=2026-09-21T21:30:00+08:00", "source.item_bytes=20000", "batch.block=32")
PRISM = os.environ.get("PRISM") or shutil.which("prism") or ""
needs_prism = pytest.mark.skipif(not PRISM, reason="no prism: name its binary by $PRISM, or put it on PATH")


@contextmanager
def started(folder, module, *arguments):
    """A process of Beam's that listens on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    # A worker pool starts its workers by the name `python`.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PATH": path}
    command = [sys.executable, "-m", module, *(argument.format(port=port) for argument in arguments)]
    with (folder / f"{module}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(1_200):
            with socket.socket() as probe:
                if probe.connect_ex(("localhost", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"localhost:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:  # how Beam's own programs end is not what is tested
            process.kill()
            process.wait()


@contextmanager
def job_service(folder):
    with started(folder, "apache_beam.runners.portability.local_job_service_main", "--job_port", "{port}") as endpoint:
        yield ("runner=portable", f"job_endpoint={endpoint}")


@contextmanager
def worker_pool(folder):
    pool = started(folder, "apache_beam.runners.worker.worker_pool_main", "--service_port", "{port}")
    with job_service(folder) as told, pool as place:
        yield (*told, "environment_type=EXTERNAL", f"environment_config={place}")


@contextmanager
def told(*settings):
    yield settings


RUNNERS = {
    "again": lambda _: told(),
    "two-processes": lambda _: told("batch.workers=2"),
    "job-service": job_service,
    "worker-pool": worker_pool,
    "prism": lambda _: told("runner=prism", f"prism={PRISM}"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two inputs: the second one repeats and corrects records of the first."""
    folder = tmp_path_factory.mktemp("in")
    first, more = lines(120, broken=4), lines(10, first=500, broken=2)
    corrected = [payload(seed, faultdescription="更换机油") for seed in range(5, 15)]
    return write(folder / "first.ndjson", first), write(folder / "second.ndjson", first[20:40] + corrected + more)


def run(place, source, *settings):
    told = [f"source.path={source}", f"sinks.provinces.path={place / 'out'}", *TOLD, *settings]
    with State(place / "state", own=True) as state:
        Coordinator(state, load(BULK, told, {})).run()


def outcome(place):
    """All that runs leave behind that another runner must leave too; what a state's own key made is left out."""
    with State(place / "state", own=False) as state:
        proof = prove(state)
        with state.reading() as connection:
            store = LetterStore(connection, state.sealer())
            letters = [(letter._replace(vin="", sealed=None), store.body(letter)) for letter in store.search()]
            journals = connection.execute(select(tables.journals.c.lines).order_by(tables.journals.c.lines)).scalars()
            return {
                "files": {path.name: path.read_bytes() for path in (place / "out").glob("*.avro")},
                "left": [p.name for p in place.rglob("*") if p.is_file() and p.parent.name == ".staging"],
                "letters": sorted(letters, key=lambda found: found[0].id),
                "journals": list(journals),
                "totals": proof.totals,
                "destinations": proof.destinations,
                "problems": list(proof.problems),
            }


def both(place, sources, *settings):
    place.mkdir()
    for source in sources:
        run(place, source, *settings)
    return outcome(place)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, sources):
    """What the embedded runner makes of them."""
    return both(tmp_path_factory.mktemp("embedded") / "run", sources)


def test_the_job_has_something_of_everything(embedded):
    totals = {name: n for name, n in embedded["totals"].items() if n}
    assert totals == {"received": 160, "delivered": 134, "dead": 6, "duplicate": 20}
    assert len(embedded["files"]) > 30
    assert len(embedded["letters"]) == 6
    assert embedded["problems"] == embedded["left"] == []


@pytest.mark.parametrize(
    "runner", [pytest.param(name, marks=[needs_prism] if name == "prism" else []) for name in RUNNERS]
)
def test_every_runner_makes_the_same(tmp_path, sources, embedded, runner):
    with RUNNERS[runner](tmp_path) as settings:
        made = both(tmp_path / "run", sources, *settings)
    for part, expected in embedded.items():
        assert made[part] == expected, part


# -- prism -------------------------------------------------------------------------------------------------------------

ON_PRISM = ("runner=prism", f"prism={PRISM}")


@needs_prism
def test_a_step_that_breaks_on_prism_leaves_the_batch_open(tmp_path, sources, embedded, monkeypatch, capfd):
    def broken(bench, load):
        raise Unreadable("变短 / it shrank", "deliver it again")

    place = tmp_path / "run"
    place.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(steps, "judge", broken)
        with pytest.raises(Unreadable) as found:
            run(place, sources[0], *ON_PRISM)
    assert str(found.value) == "变短 / it shrank - deliver it again"
    with State(place / "state", own=False) as state, state.reading() as connection:
        assert connection.execute(select(tables.batches.c.state)).scalars().all() == ["open"]
    assert "Traceback" not in capfd.readouterr().err
    for source in sources:
        run(place, source, *ON_PRISM)
    assert outcome(place)["files"] == embedded["files"]


SLEEPING = """
import sys, time
from pathlib import Path
from pipelines import steps

def judge(bench, load):
    Path(sys.argv[1]).touch()
    time.sleep(600)

steps.judge = judge
from pipelines.cli import main
sys.exit(main(sys.argv[2:]))
"""


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(condition):
    for _ in range(1_200):
        if condition():
            return True
        time.sleep(0.05)
    return False


@needs_prism
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    ("number", "to", "code", "said"),
    [
        (signal.SIGINT, "vingate", 130, "the state is safe"),
        (signal.SIGTERM, "vingate", -signal.SIGTERM, ""),
        (signal.SIGKILL, "vingate", -signal.SIGKILL, ""),
        (signal.SIGKILL, "prism", 3, "ended unexpectedly (-9)"),
    ],
    ids=["interrupted", "terminated", "killed", "prism-killed"],
)
def test_prism_ends_with_the_run_and_the_run_with_prism(tmp_path, sources, embedded, number, to, code, said):
    place, mark = tmp_path / "run", tmp_path / "judging"
    place.mkdir()
    command = ["run", BULK, "--state", place / "state", "--runner", "prism", "--prism", PRISM]
    for one in (f"source.path={sources[0]}", f"sinks.provinces.path={place / 'out'}", *TOLD):
        command += ["--set", one]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPING, str(mark), *map(str, command)], stderr=subprocess.PIPE, env=environment
    )
    assert _until(mark.exists)
    prism = _children(process.pid)
    assert len(prism) == 1
    os.kill(process.pid if to == "vingate" else prism[0], number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert said in told.decode()
    assert "Traceback" not in told.decode()
    assert _until(lambda: not _lives(prism[0]))
    for source in sources:
        run(place, source, *ON_PRISM)
    assert outcome(place)["files"] == embedded["files"]


@pytest.mark.parametrize(
    ("text", "patience", "said"),
    [
        ("echo no such port; exit 3", 60, "ended unexpectedly (3): no such port"),
        ("exec sleep 600", 1, "did not get ready"),
    ],
    ids=["ends", "is-silent"],
)
def test_a_prism_that_does_not_serve_is_told_and_ended(tmp_path, text, patience, said):
    program = tmp_path / "prism"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{text}\n", "utf-8")
    program.chmod(0o700)
    with pytest.raises(RunnerFailed) as found, serving(str(program), patience):
        pass
    assert said in str(found.value)
    if (tmp_path / "pid").exists():
        assert not _lives(int((tmp_path / "pid").read_text()))


@needs_prism
def test_workers_that_cannot_be_started_fail_the_run_and_no_step(tmp_path, sources):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        place = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(RunnerFailed, match="unable to start sdk worker"):
            run(tmp_path, sources[0], *ON_PRISM, "environment_type=EXTERNAL", f"environment_config={place}")


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["runner=flink"], "embedded, prism, portable, spark"),
        (["runner=spark"], "job_endpoint"),
        (["runner=prism"], "go/cmd/prism@v"),
        (["runner=prism", "prism=/no/such/prism"], "/no/such/prism"),
        (["runner=portable"], "job_endpoint"),
        (["runner=portable", "job_endpoint=here"], "host:port"),
        (["runner=portable", "job_endpoint=localhost:1", "environment_type=CLOUD"], "LOOPBACK, EXTERNAL, PROCESS"),
        (["runner=portable", "job_endpoint=localhost:1", "environment_type=EXTERNAL"], "worker pool"),
        (["runner=portable", "job_endpoint=localhost:1", "environment_type=PROCESS"], '"command"'),
    ],
)
def test_a_runner_that_cannot_run_is_named_with_its_remedy(monkeypatch, settings, words):
    monkeypatch.setenv("PATH", "/no/such/folder")
    with pytest.raises(SettingsError) as found:
        runnable(load(BULK, settings, {}))
    assert words in str(found.value)


def test_a_job_service_that_cannot_start_workers_is_told(tmp_path, sources):
    with job_service(tmp_path) as told, socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        place = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(RunnerFailed, match=f"(?s)UNAVAILABLE.*{place}"):
            run(tmp_path, sources[0], *told, "environment_type=EXTERNAL", f"environment_config={place}")


def test_a_job_service_that_nobody_runs_is_told(tmp_path, sources, monkeypatch):
    monkeypatch.setattr("pipelines.portable._CONNECTING", 0.5)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(RunnerFailed, match=f"{endpoint}: 无人应答 / nobody answers there"):
            run(tmp_path, sources[0], "runner=portable", f"job_endpoint={endpoint}")
