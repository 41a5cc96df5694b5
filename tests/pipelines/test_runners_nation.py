"""Conformance: one small nation on every runner leaves the same stores, receipts, letters, journals and ledger.

Collect, headquarters, report and push run on the runner; registers before them are read embedded, always. The runners:
two processes, Beam's local job service with workers of our pool, prism where it is named by $PRISM or on PATH, and
Spark where `make test` has set it up. Every runner works in the same folder and with the same sealing key, so that
paths and hashes are equal too; what the one before left is read, and cleared away.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager

import pytest
from spark_rounds import HOME, Cluster
from test_runners import PRISM, job_service, needs_prism, outcome, told

from dlq.sealing import Sealer
from pipelines.coordinator import Coordinator
from pipelines.nation import DEPLOY
from pipelines.sample import generate
from pipelines.settings import load
from pipelines.state import State
from pipelines.workerpool import pool

SCALE, RECEIVED = 0.02, "2026-09-21T21:30:00+08:00"
CORE = ("collect", "headquarters", "report", "push")
needs_spark = pytest.mark.skipif(not (HOME / ".ready").exists(), reason="no Spark: scripts/cluster fills var/spark")


@contextmanager
def pooled(folder):
    with job_service(folder) as on, pool("127.0.0.1:0", lambda _: None) as place:
        yield (*on, "environment_type=EXTERNAL", f"environment_config={place}")


@contextmanager
def spark(folder):
    with pytest.MonkeyPatch.context() as patch:
        # One Spark context for all jobs: starting its executors is most of what so small a job takes.
        patch.setenv("JAVA_TOOL_OPTIONS", "-Dbeam.spark.test.reuseSparkContext=true")
        with Cluster(HOME, folder / "cluster") as cluster:
            yield tuple(cluster.settings())


RUNNERS = {
    "two-processes": (lambda _: told("batch.workers=2"), []),
    "external-workers": (pooled, []),
    "prism": (lambda _: told("runner=prism", f"prism={PRISM}"), [needs_prism]),
    "spark": (spark, [needs_spark]),
}


class Nation:
    """A small nation that is run again and again, at one place."""

    def __init__(self, folder):
        self.place, self.sample, self.key = folder / "run", folder / "sample", folder / "keys" / "sealing.key"
        Sealer.open(self.key, create=True)
        generate(self.sample, 7, SCALE, judged_by=str(DEPLOY / "profiles" / "nation.toml"))
        self.embedded = self.run()

    def run(self, *settings):
        """All that the exchanges of the core leave."""
        shutil.rmtree(self.place, ignore_errors=True)
        state = self.place / "state"
        shutil.copytree(self.sample, state / "partners")
        shutil.copytree(self.key.parent, state / "keys")
        with State(state, own=True) as opened:
            for exchange in ("registrations", "operators", *CORE):
                overrides = [f"received_at={RECEIVED}", *(settings if exchange in CORE else ())]
                Coordinator(opened, load(DEPLOY / "exchanges" / f"{exchange}.toml", overrides, {})).run()
        stores = {path.stem: _rows(path) for path in sorted((state / "stores").glob("*.db"))}
        receipts = {path.name: path.read_bytes() for path in (state / "receipts").rglob("*") if path.is_file()}
        return {"stores": stores, "receipts": receipts, **outcome(self.place)}


def _rows(store):
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    return Nation(tmp_path_factory.mktemp("nation"))


def test_the_nation_has_something_of_everything(nation):
    made = nation.embedded
    assert len(made["stores"]) > 20
    assert {"ministry"} < set(made["stores"])
    assert len(made["letters"]) > 10
    assert len(made["receipts"]) > 10
    totals = made["totals"]
    assert [one for one in ("received", "delivered", "dead", "merged", "waiting") if not totals[one]] == [], totals
    assert made["problems"] == made["left"] == []


@pytest.mark.parametrize("runner", [pytest.param(name, marks=marks) for name, (_, marks) in RUNNERS.items()])
def test_every_runner_leaves_the_nation_as_the_embedded_one_does(nation, tmp_path, runner):
    with RUNNERS[runner][0](tmp_path) as settings:
        made = nation.run(*settings)
    for part, expected in nation.embedded.items():
        assert made[part] == expected, part
