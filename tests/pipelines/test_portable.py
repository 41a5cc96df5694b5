"""The same steps on a portable runner: Beam's own local job service, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_samples import lines, run_bulk

from pipelines.ledger import prove
from pipelines.state import State


@pytest.fixture
def endpoint(tmp_path):
    """Where a job service listens."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--job_port", str(port)]
    with (tmp_path / "service.log").open("wb") as log:
        service = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("localhost", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"localhost:{port}"
    finally:
        service.terminate()
        service.wait(10)


def test_a_portable_runner_makes_the_same_files_and_letters(tmp_path, endpoint):
    told = ("received_at=2026-09-21T21:30:00+08:00", "source.item_bytes=20000")
    portable = (*told, "runner=portable", f"job_endpoint={endpoint}")
    made = []
    for name, settings in (("embedded", told), ("portable", portable)):
        run_bulk(tmp_path / name, lines(120, broken=4), "in.ndjson", *settings)
        with State(tmp_path / name / "state", own=False) as state:
            proof = prove(state)
        assert (proof.problems, proof.totals["delivered"], proof.totals["dead"]) == ([], 116, 4)
        made.append({path.name: path.read_bytes() for path in Path(tmp_path / name / "out").glob("*.avro")})
    assert made[0] == made[1]
    assert len(made[0]) > 30
