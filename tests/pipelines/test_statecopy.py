"""Moving a state from SQLite to PostgreSQL: all of it, whole or not at all, and the exchanges go on where they were."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from engine_samples import lines, payload, run_bulk
from sqlalchemy import insert, select, update

from connectors.contracts import Misconfigured
from pipelines import statecopy, tables, versions
from pipelines.errors import StateBusy, StateMissing, StateNotEmpty
from pipelines.ledger import prove
from pipelines.state import State
from pipelines.statecopy import MOVED, copy_state
from pipelines.stateplace import ADDRESS, DATABASE
from pipelines.trace import trace

VINS = [payload(n)["basicInfo"]["vin"] for n in (0, 3, 60, 505, 777)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A state with corrections, letters, several runs of the index and a front."""
    monkeypatch.setattr(versions, "SMALL", 30)
    run_bulk(tmp_path, lines(120, broken=5), "a.ndjson")
    run_bulk(tmp_path, [payload(n, faultdescription="更正") for n in range(40)], "b.ndjson")
    run_bulk(tmp_path, [*lines(10, first=500), payload(3, faultdescription="再更正")], "c.ndjson")
    with State(tmp_path / "state", own=True) as state, state.unit_of_work() as connection:
        keys = [{"exchange": "e", "source": "s", "key": f"k{n}", "inbox": n, "received_at": "2026"} for n in range(3)]
        connection.execute(insert(tables.inbox_keys), keys)
    return tmp_path


def everything(state):
    """All rows of all tables that both databases keep, and what the index says of every key."""
    with state.reading() as connection:
        rows = {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in tables.metadata.sorted_tables
            if table.name not in ("version_runs", "version_front", "versions", "vin_journals", "leases")
        }
        if state.engine.dialect.name == "postgresql":
            held = connection.execute(select(tables.versions)).all()
            index = {row[0].bytes: tuple(row[1:]) for row in held}
        else:
            index = {}
            for run in state.versions.opened(connection):
                with run:
                    index |= {key(e): told(e) for e in run.slice(0, run.rows)}
            index |= {key(e): told(e) for e in state.versions.front(connection)}
    return rows, index


def key(entry):
    return versions.key_bytes(int(entry["hi"]), int(entry["lo"]))


def told(entry):
    return (versions.signed(int(entry["content"])), *(int(entry[name]) for name in ("intake", "version", "held")))


def test_everything_is_there_and_balanced_and_goes_on(folder, postgres_url):
    state = folder / "state"
    with State(state, own=True) as before:
        rows, index = everything(before)
        assert min(len(rows[name]) for name in ("letters", "journals", "parts", "inbox_keys")) > 0
        with before.reading() as connection:
            assert len(before.versions.opened(connection)) == 2
            assert len(before.versions.front(connection)) == 11
        found = [trace(before, before.sealer(), vin) for vin in VINS]
        assert [len(one["versions"]) for one in found] == [2, 3, 1, 1, 0]
    counts = copy_state(state, postgres_url)
    assert counts == {**{name: len(found) for name, found in rows.items()}, "versions": len(index)}
    with State(state, own=True) as after:
        assert everything(after) == (rows, index)
        assert prove(after).problems == []
        assert [trace(after, after.sealer(), vin) for vin in VINS] == found
    assert not (state / DATABASE).exists()
    assert (state / MOVED).is_file()
    run_bulk(folder, [*lines(10, first=500), payload(900), payload(1, faultdescription="三次")], "d.ndjson")
    with State(state, own=False) as after:
        proof = prove(after)
        assert (proof.problems, proof.totals["duplicate"]) == ([], 10)
        assert [len(trace(after, after.sealer(), vin)["versions"]) for vin in VINS] == [2, 3, 1, 2, 0]


def test_numbers_go_on_behind_those_that_were_given(folder, postgres_url):
    row = {
        "exchange": "e", "source": "s", "key": "", "company": "", "system": "", "dialect": "", "received_at": "2026",
        "vin": 0, "size": 1, "verdict": "", "body": b"x", "batch": None,
    }  # fmt: skip
    with State(folder / "state", own=True) as state, state.unit_of_work() as connection:
        connection.execute(insert(tables.inbox), [row] * 7)
        connection.execute(tables.inbox.delete())
    copy_state(folder / "state", postgres_url)
    with State(folder / "state", own=True) as state, state.unit_of_work() as connection:
        assert connection.execute(insert(tables.inbox), row).inserted_primary_key == (8,)
        run = {"exchange": "e", "started_at": "2026"}
        assert connection.execute(insert(tables.runs), run).inserted_primary_key == (4,)


def test_a_copy_that_is_cut_off_leaves_the_state_as_it_was(folder, postgres_url, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(statecopy, "_copy_versions", die)
        with pytest.raises(KeyboardInterrupt):
            copy_state(folder / "state", postgres_url)
    assert not (folder / "state" / ADDRESS).exists()
    with State(folder / "state", own=False) as state:
        assert state.engine.dialect.name == "sqlite"
        assert prove(state).problems == []
    copy_state(folder / "state", postgres_url)  # the target was left empty


@pytest.mark.parametrize("cut", ["keep_place", "rename"])
def test_a_copy_that_is_cut_off_behind_its_commit_is_finished_by_the_next_call(folder, postgres_url, monkeypatch, cut):
    def die(*_):
        raise KeyboardInterrupt

    with State(folder / "state", own=True) as before:
        rows, index = everything(before)
    with monkeypatch.context() as patch:
        patch.setattr(*(statecopy, cut) if cut == "keep_place" else (Path, cut), die)
        with pytest.raises(KeyboardInterrupt):
            copy_state(folder / "state", postgres_url)
    counts = copy_state(folder / "state", postgres_url)
    assert counts == {**{name: len(found) for name, found in rows.items()}, "versions": len(index)}
    assert (folder / "state" / MOVED).is_file()
    with State(folder / "state", own=True) as after:
        assert everything(after) == (rows, index)


def test_a_target_on_which_the_state_went_on_is_refused(folder, postgres_url, monkeypatch, tmp_path):
    monkeypatch.setattr(statecopy, "keep_place", lambda *_: None)
    shutil.copytree(folder / "state", tmp_path / "other")
    copy_state(folder / "state", postgres_url)
    with State(folder / "state", own=True, url=postgres_url) as state, state.unit_of_work() as connection:
        connection.execute(update(tables.batch_destinations).values(stands=tables.batch_destinations.c.stands + 1))
    with pytest.raises(StateNotEmpty):
        copy_state(tmp_path / "other", postgres_url)
    assert (tmp_path / "other" / DATABASE).is_file()


def test_a_target_that_holds_a_state_is_refused(folder, postgres_url, tmp_path):
    State(tmp_path / "other", own=True, url=postgres_url).close()
    with pytest.raises(StateNotEmpty, match="empty"):
        copy_state(folder / "state", postgres_url)
    assert (folder / "state" / DATABASE).is_file()


def test_a_state_that_somebody_has_open_is_not_moved(folder, postgres_url):
    with State(folder / "state", own=True), pytest.raises(StateBusy):
        copy_state(folder / "state", postgres_url)
    with closing(sqlite3.connect(folder / "state" / DATABASE)) as door:
        door.execute("SELECT * FROM meta").fetchall()  # a process beside the gateway
        with pytest.raises(StateBusy):
            copy_state(folder / "state", postgres_url)
    copy_state(folder / "state", postgres_url)


def test_what_is_no_state_on_sqlite_is_refused(tmp_path, postgres_url):
    with pytest.raises(StateMissing):
        copy_state(tmp_path / "none", postgres_url)
    State(tmp_path / "state", own=True).close()
    with pytest.raises(Misconfigured):
        copy_state(tmp_path / "state", "sqlite:///other.db")


def test_the_command_tells_what_it_moved(folder, postgres_url, root):
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "state",
        "copy",
        "--state",
        folder / "state",
        "--json",
        "--to",
        "env:U",
    ]
    done = subprocess.run(
        command, cwd=root, env={"PATH": "", "U": postgres_url}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["balanced"], found["problems"], found["rows"]["runs"]) == (True, 0, 3)
