"""A Spark cluster of this machine: parts of it die and change nothing, and all of it listens on loopback.

Needs what `scripts/cluster` fills, as `make test` does: skipped by name where it is not. That what runs on Spark is
what runs embedded, and on every other runner, is in `test_runners_nation.py`; the long form is `make cluster-crash`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

import pytest
from spark_rounds import HOME, PATIENCE, ROOT, VICTIMS, Cluster, embedded, moment, one_round, run, source

pytestmark = pytest.mark.skipif(not (HOME / ".ready").exists(), reason="no Spark: scripts/cluster fills var/spark")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(HOME, tmp_path_factory.mktemp("spark") / "cluster") as started:
        yield started


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """An input, and what an embedded run leaves of it."""
    folder = tmp_path_factory.mktemp("job")
    input_file = source(folder)
    return input_file, embedded(folder / "embedded", input_file)


def test_every_server_of_a_cluster_listens_on_loopback_alone(cluster, job, tmp_path):
    seen: set[str] = set()
    over = threading.Event()

    def look():
        while not over.wait(0.2):
            seen.update(cluster.listening())

    watching = threading.Thread(target=look)
    watching.start()
    code = run(tmp_path, job[0], *cluster.settings()).wait()
    over.set()
    watching.join()
    assert code == 0, (tmp_path / "said").read_text()
    assert len(seen) > 20, "master, workers, driver, executors, job server, pool, what executors open for workers"
    assert [place for place in seen if not place.startswith(("127.0.0.1:", "::ffff:7f00:1:"))] == []


def test_workers_of_another_build_refuse_in_words_and_at_once(cluster, job, tmp_path):
    """At once: Beam would wait three minutes for each of four tries."""
    for package in ("connectors", "dlq", "mappings", "pipelines", "routing"):
        shutil.copytree(ROOT / package, tmp_path / "old" / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "old" / "pipelines" / "work.py").open("a") as file:
        file.write("# another build\n")
    command = [sys.executable, "-m", "pipelines", "workers", "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "old"), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path / "old", stdout=subprocess.PIPE, text=True, env=environment) as old:
        try:
            place = old.stdout.readline().split()[-1]
            process = run(tmp_path, job[0], *cluster.settings(), f"environment_config={place}")
            assert process.wait(PATIENCE) == 3
        finally:
            old.terminate()
    assert "another build of vingate: the job is of" in (tmp_path / "said").read_text()
    assert list((tmp_path / "out").glob("*.avro")) == []


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_part_that_dies_changes_nothing(cluster, job, tmp_path, victim):
    input_file, expected = job
    done = one_round(cluster, tmp_path / "run", input_file, expected, moment(victim, 7))
    assert done.killed, "the run ended before anything could die"
    assert done.codes[-1] == 0, (tmp_path / "run" / "said").read_text()[-3_000:]
    assert done.differs == []
    if victim == "job server":
        assert done.codes == [3, 0], "without it the run fails in words, and the next one does what there is to do"
