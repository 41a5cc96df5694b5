"""Workers elsewhere: one build, settings' files that travel, and a pool that listens on this machine alone."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from engine_samples import BULK
from test_runners import TOLD, job_service, outcome, run, sources

from mappings.profiles import InvalidProfile
from pipelines import builds
from pipelines.baggage import packed, unpacked
from pipelines.crew import crew
from pipelines.errors import RunnerFailed, SettingsError, WrongBuild
from pipelines.settings import load
from pipelines.work import Job
from pipelines.workbench import Workbench
from pipelines.workerpool import pool

__all__ = ["sources"]


def job(exchange, folder):
    plain = exchange.placed(folder).model_dump(mode="json", by_alias=True)
    return Job(plain, "b", 1, "2026-09-21T21:30:00+08:00", str(folder), str(folder / "key"))


def test_a_build_is_told_by_every_file_of_it(tmp_path, monkeypatch):
    place = tmp_path / "pipelines" / "builds.py"
    place.parent.mkdir()
    place.write_text("a = 1\n", "utf-8")
    monkeypatch.setattr(builds, "__file__", str(place))
    first = builds.build.__wrapped__()
    assert builds.build.__wrapped__() == first
    place.write_text("a = 2\n", "utf-8")
    assert builds.build.__wrapped__() != first


def test_a_step_of_another_build_is_refused_before_it_is_unpacked():
    with pytest.raises(WrongBuild, match=r"job is of 0\.0\.1\+old, the worker has"):
        builds.taken("0.0.1+old", b"no pickle of this build")


@pytest.fixture
def spawned():
    """A pool of this process, on a port of its own."""
    heard = []
    with pool("127.0.0.1:0", heard.append) as place:
        yield place, heard


def test_a_job_on_workers_of_a_pool_is_the_embedded_one(tmp_path, sources, spawned):
    place, heard = spawned
    (tmp_path / "pooled").mkdir()
    (tmp_path / "embedded").mkdir()
    run(tmp_path / "embedded", sources[0])
    with job_service(tmp_path) as told:
        run(tmp_path / "pooled", sources[0], *told, "environment_type=EXTERNAL", f"environment_config={place}")
    assert outcome(tmp_path / "pooled") == outcome(tmp_path / "embedded")
    assert any(one.startswith("+") for one in heard)


def test_workers_of_another_build_stop_the_run_with_words_and_change_nothing(tmp_path, sources, spawned, monkeypatch):
    place, _ = spawned
    (tmp_path / "run").mkdir()
    with job_service(tmp_path) as told:
        on_pool = (*told, "environment_type=EXTERNAL", f"environment_config={place}")
        with monkeypatch.context() as patch:
            patch.setattr(builds, "build", lambda: "9.9.9+other")
            with pytest.raises((WrongBuild, RunnerFailed), match=r"(?s)job is of 9\.9\.9\+other"):
                run(tmp_path / "run", sources[0], *on_pool)
        assert not outcome(tmp_path / "run")["files"]
        run(tmp_path / "run", sources[0], *on_pool)
    assert len(outcome(tmp_path / "run")["files"]) > 20


def test_files_that_settings_name_travel_in_the_job(tmp_path):
    table = tmp_path / "own.toml"
    table.write_text((BULK.parents[1] / "tables" / "own-store.toml").read_text("utf-8"), "utf-8")
    made = packed(job(load(BULK, [f"routing.table={table}", *TOLD], {}), tmp_path))
    assert list(made.files) == [str(table)]
    table.unlink()
    there = unpacked(made)
    assert there.exchange["routing"]["table"] != str(table)
    assert there.files == {}
    assert Workbench(there).router is not None
    assert unpacked(made).exchange == there.exchange, "what is made of a file is made once"


def test_a_profile_travels_with_what_it_extends_and_letters_name_it_as_the_settings_do(tmp_path):
    (tmp_path / "national").mkdir()
    (tmp_path / "base.toml").write_text('extends = "strict"\n[limits]\ndays_ahead = 3\n', "utf-8")
    own = tmp_path / "national" / "own.toml"
    own.write_text('extends = "../base.toml"\n', "utf-8")
    made = packed(job(load(BULK, [f"mapping.profile={own}", *TOLD], {}), tmp_path))
    assert sorted(made.files) == [str(tmp_path / "base.toml"), str(own)]
    own.unlink()
    (tmp_path / "base.toml").unlink()
    bench = Workbench(unpacked(made))
    assert bench.profile.limits["days_ahead"] == 3
    assert bench.origin("in.ndjson", "", "").profile == str(own)


def test_profiles_that_extend_each_other_in_a_circle_are_told_before_the_job_begins(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('extends = "own.toml"\n', "utf-8")
    with pytest.raises(InvalidProfile, match="in a circle"):
        packed(job(load(BULK, [f"mapping.profile={own}", *TOLD], {}), tmp_path))


def test_a_file_that_cannot_be_read_is_named_before_the_job_begins(tmp_path):
    told = job(load(BULK, [f"routing.dealers={tmp_path / 'none.csv'}", *TOLD], {}), tmp_path)
    with pytest.raises(SettingsError, match=r"none\.csv"):
        packed(told)


def test_a_pool_listens_where_it_is_told_and_ends_when_it_is_told():
    command = [sys.executable, "-m", "pipelines", "workers", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), 10):
                pass
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


UNHEARD = """
import signal, sys, threading, time
from pipelines.workerpool import for_ever
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
def tell():
    time.sleep(0.2)  # so that the other one waits
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=tell).start()
for_ever()
"""


def test_a_signal_that_wakes_nobody_ends_a_pool_too():
    """As one does that comes just before the wait: the handler runs only when the main thread does something."""
    assert subprocess.run([sys.executable, "-c", UNHEARD], check=False, timeout=30).returncode == 7


def test_a_worker_that_is_killed_before_it_has_come_is_started_again_a_few_times(tmp_path):
    """Beam waits for ever for the worker that it asked for."""
    heard = queue.Queue()
    with socket.socket() as silent, pool("127.0.0.1:0", heard.put) as place, grpc.insecure_channel(place) as channel:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        told = beam_fn_api_pb2.StartWorkerRequest(worker_id="1-1")
        told.control_endpoint.url = address
        beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel).StartWorker(told)
        for _ in range(4):
            assert heard.get(timeout=60) == f"+ 1-1 {address}"
            while not (found := forks()):
                time.sleep(0.01)
            os.kill(found[0], signal.SIGKILL)
            assert heard.get(timeout=60) == f"- 1-1 {address}: -9"
        assert heard.empty(), "it is given up"
        assert forks() == []


def forks():
    """Processes of the workers of this process."""
    host = crew()._process.pid
    return [int(one) for one in Path(f"/proc/{host}/task/{host}/children").read_text().split()]


def test_workers_of_a_pool_leave_nothing_in_the_temporary_folder(tmp_path, sources):
    scratch, table = tmp_path / "scratch", tmp_path / "own.toml"
    scratch.mkdir()
    table.write_text((BULK.parents[1] / "tables" / "own-store.toml").read_text("utf-8"), "utf-8")
    command = [sys.executable, "-m", "pipelines", "workers", "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            place = process.stdout.readline().split()[-1]
            with job_service(tmp_path) as told:
                on_pool = (*told, "environment_type=EXTERNAL", f"environment_config={place}")
                run(tmp_path, sources[0], *on_pool, f"routing.table={table}", "sinks.provinces.for=*")
            while not (line := process.stdout.readline()).startswith("-"):
                assert line, "the pool ended before its worker did"
            assert list(scratch.glob("vingate-workers-*/*")) == []
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert list(scratch.iterdir()) == []


def test_a_place_where_nobody_can_listen_is_said():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(SettingsError, match="cannot listen there"):
            pool(f"127.0.0.1:{held.getsockname()[1]}", print).__enter__()
