"""A Spark cluster of this machine: parts of it die and change nothing, and all of it listens on loopback.

Needs what `scripts/cluster` fills, as `make test` does: skipped by name where it is not. That what runs on Spark is
what runs embedded, and on every other runner, is in `test_runners_nation.py`; the long form is `make cluster-crash`.
"""

from __future__ import annotations

import threading

import pytest
from spark_rounds import HOME, VICTIMS, Cluster, embedded, moment, one_round, run, source

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


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_part_that_dies_changes_nothing(cluster, job, tmp_path, victim):
    input_file, expected = job
    done = one_round(cluster, tmp_path / "run", input_file, expected, moment(victim, 7))
    assert done.killed, "the run ended before anything could die"
    assert done.codes[-1] == 0, (tmp_path / "run" / "said").read_text()[-3_000:]
    assert done.differs == []
    if victim == "job server":
        assert done.codes == [3, 0], "without it the run fails in words, and the next one does what there is to do"
