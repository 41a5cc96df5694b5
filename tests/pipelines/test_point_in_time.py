"""Restored to a moment of a real PostgreSQL: the store behind its state, and the state behind its store."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import typer
from engine_samples import TO_STORES, payload, write
from typer.testing import CliRunner

from pipelines.cli.reconcile import reconcile
from pipelines.cli.state import app
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.local.postgres import FAST, USER, Cluster, programs
from pipelines.local.processes import wait_for
from pipelines.settings import load
from pipelines.state import State
from pipelines.trace import trace

PASSWORD = "s3cret"  # noqa: S105 - guards nothing
MOMENT = "between"
TOTALS = ("received", "delivered", "dead", "duplicate")


class Archived:
    """A cluster whose log is archived, with a base backup of it, and itself as it was at a moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.mkdir()
        self.log.chmod(0o777)
        options = {
            **FAST,
            "archive_mode": "on",
            "archive_command": f"cp %p {self.log}/.%f && mv {self.log}/.%f {self.log}/%f",  # whole, or not there
            "wal_level": "replica",
            "max_wal_senders": "4",
        }
        self.cluster = Cluster(folder / "first", PASSWORD, options=options)
        self.cluster.make()
        self.cluster.start()
        self.cluster.wait()
        self.cluster.execute("CREATE DATABASE kept")

    @property
    def url(self) -> str:
        return self.cluster.url("kept")

    def back_up(self) -> None:
        """As docs/backup.md has it: a base backup, while the server goes on."""
        command = [programs() / "pg_basebackup", "-D", self.folder / "base", "-h", "127.0.0.1", "-p"]
        given = [str(self.cluster.port), "-U", USER, "--checkpoint=fast", "-X", "none", "-w"]
        subprocess.run([*command, *given], check=True, env={"PGPASSWORD": PASSWORD}, capture_output=True)

    def mark(self) -> None:
        self.cluster.execute("SELECT pg_create_restore_point(%s)", MOMENT)

    def crash(self) -> None:
        """What the log holds until the moment was archived; then the server goes, and its disk with it."""
        (switched,) = self.cluster.execute("SELECT pg_walfile_name(pg_switch_wal())")
        wait_for(lambda: (self.log / switched[0]).is_file(), "the log archived")
        self.cluster.kill()
        shutil.rmtree(self.cluster.folder)

    def restore(self) -> None:
        """Base backup and log give the cluster as it was at the moment, at its old place and port."""
        data = self.cluster.folder / "data"
        self.cluster.folder.mkdir()
        shutil.copytree(self.folder / "base", data)
        wanted = f"restore_command = 'cp {self.log}/%f %p'\nrecovery_target_name = '{MOMENT}'\n"
        with (data / "postgresql.auto.conf").open("a") as file:
            file.write(f"{wanted}recovery_target_action = 'promote'\n")
        (data / "recovery.signal").touch()
        for path in (self.cluster.folder, *self.cluster.folder.rglob("*")):
            shutil.chown(path, "postgres", "postgres")
        data.chmod(0o700)
        self.cluster.start()
        self.cluster.wait()
        recovering = "SELECT pg_is_in_recovery()"  # it answers meanwhile, and can be read only
        wait_for(lambda: self.cluster.execute(recovering) == [(False,)], "the end of the recovery")


@pytest.fixture
def archived():
    folder = Path(tempfile.mkdtemp(prefix="pitr-"))
    folder.chmod(0o711)
    kept = Archived(folder)
    yield kept
    kept.cluster.stop()
    shutil.rmtree(folder)


class World:
    """An exchange of files into a store; state and store each where they are told."""

    def __init__(self, folder, store, state=""):
        self.folder, self.store, self.state = folder, store, state
        self.source = folder / "in"
        self.source.mkdir()

    def take(self, name="", records=()):
        if name:
            write(self.source / name, list(records))
        text = TO_STORES.replace("{source}", str(self.source)).replace("sqlite:///{stores}/{store}.db", self.store)
        text = text.replace('"keep"', '"archive"')
        (self.folder / "exchange.toml").write_text(text, "utf-8")
        exchange = load(self.folder / "exchange.toml", [], {})
        with State(self.folder / "state", own=True, url=self.state) as state:
            Coordinator(state, exchange).run()
        return exchange

    def proof(self):
        with State(self.folder / "state", own=False) as state:
            return prove(state)

    def told(self, record):
        with State(self.folder / "state", own=False) as state:
            return trace(state, state.sealer(), record["basicInfo"]["vin"])["versions"]


def record(seed, **changes):
    return payload(seed, vehicleplatenumber=f"粤A{seed:05d}", **changes)


def rows(cluster, database="kept"):
    return cluster.execute("SELECT record_key, version, current FROM repairs ORDER BY 1, 2", database=database)


def test_a_store_that_was_set_back_gets_what_it_lost(archived, tmp_path):
    """The state stands: journals say what went, the source is read again, letters are replayed."""
    world = World(tmp_path, archived.url)
    world.take("1.ndjson", [record(n) for n in range(40)])
    archived.back_up()
    world.take("2.ndjson", [record(n) for n in range(40, 60)])
    archived.mark()
    bad = record(99, settledate="20990101")
    world.take("3.ndjson", [*[record(n) for n in range(60, 90)], record(5, faultdescription="更正"), bad])
    before, stood = world.proof(), rows(archived.cluster)
    assert (before.problems, before.totals["delivered"], before.totals["dead"]) == ([], 91, 1)
    archived.crash()
    archived.restore()
    assert len(rows(archived.cluster)) == 60
    assert not world.proof().balanced
    done = CliRunner().invoke(
        _app(reconcile),
        ["--state", str(tmp_path / "state"), "--from", "2020-01-01", "--to", "2099-01-01", "--backfill"],
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    world.take()
    after = world.proof()
    assert (after.problems, rows(archived.cluster)) == ([], stood)
    assert {name: after.totals[name] for name in TOTALS} == {name: before.totals[name] for name in TOTALS}


def test_a_state_that_was_set_back_learns_from_its_store(archived, tmp_path, postgres, postgres_url):
    """The store stands: what it holds is known again, under the old numbers, before anything is collected."""
    world = World(tmp_path, postgres_url, archived.url)
    world.take("1.ndjson", [record(n) for n in range(40)])
    archived.back_up()
    world.take("2.ndjson", [record(n) for n in range(40, 60)])
    archived.mark()
    world.take("3.ndjson", [*[record(n) for n in range(60, 90)], record(5, faultdescription="更正")])
    world.take("4.ndjson", [record(7, faultdescription="更正"), record(5, faultdescription="再更正")])
    known = world.told(record(5))
    count = "SELECT count(*), sum(version), count(*) FILTER (WHERE current) FROM repairs"
    name = postgres_url.rpartition("/")[2]
    stood = postgres.execute(count, database=name)
    archived.crash()
    archived.restore()
    assert world.proof().totals["delivered"] == 60
    found = CliRunner().invoke(app, ["relearn", "--state", str(tmp_path / "state"), "--json"])
    assert found.exit_code == 0, (found.output, [str(one) for one in world.proof().problems])
    assert json.loads(found.stdout)["exchanges"]["to-stores"] == {"batches": 2, "records": 33}
    again = CliRunner().invoke(app, ["relearn", "--state", str(tmp_path / "state"), "--json"])
    assert json.loads(again.stdout)["exchanges"]["to-stores"] == {"batches": 0, "records": 0}
    world.take()
    proof = world.proof()
    assert (proof.problems, proof.totals["delivered"]) == ([], 93)
    assert postgres.execute(count, database=name) == stood
    assert [one["version"] for one in world.told(record(5)) if one["fate"] == "addressed"] == [1, 2, 3]
    assert [one["version"] for one in known] == [1, 2, 3]
    world.take("5.ndjson", [record(5, faultdescription="末次"), record(200)])
    proof = world.proof()
    assert (proof.problems, proof.totals["delivered"]) == ([], 95)
    assert world.told(record(5))[-1]["version"] == 4


def test_a_state_that_went_on_is_told(archived, tmp_path, postgres_url):
    """Its number 2 is another batch than the store's: the ledger says so, whatever is learnt."""
    world = World(tmp_path, postgres_url, archived.url)
    world.take("1.ndjson", [record(1)])
    archived.back_up()
    archived.mark()
    world.take("2.ndjson", [record(2)])
    archived.crash()
    archived.restore()
    world.take("3.ndjson", [record(3)])
    found = CliRunner().invoke(app, ["relearn", "--state", str(tmp_path / "state"), "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["balanced"] is False


def _app(command):
    app = typer.Typer()
    app.command()(command)
    return app
