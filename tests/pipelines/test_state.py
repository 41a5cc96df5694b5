"""The State: one owner at a time, all or nothing, and errors that say what to do."""

from __future__ import annotations

import pickle
import stat
import subprocess
import sys

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from dlq.errors import KeyLost
from pipelines import tables
from pipelines.errors import PipelineError, StateBusy, StateMissing
from pipelines.state import State


@pytest.fixture
def state(tmp_path):
    with State(tmp_path / "state", own=True) as made:
        yield made


def runs(state):
    with state.reading() as connection:
        return connection.execute(select(func.count()).select_from(tables.runs)).scalar_one()


def begin(connection):
    connection.execute(insert(tables.runs), {"exchange": "collect", "started_at": "2026-01-01"})


def test_a_second_owner_is_refused_with_what_to_do(state):
    with pytest.raises(StateBusy, match="wait for it to end or name another --state") as caught:
        State(state.path, own=True)
    assert str(state.path) in str(caught.value)
    state.close()
    State(state.path, own=True).close()


def test_another_process_is_refused_too_and_a_killed_owner_frees_the_state(state, root):
    code = f"from pathlib import Path\nfrom pipelines.state import State\nState(Path({str(state.path)!r}), own=True)"
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert "StateBusy" in told.stderr
    state.close()
    died = subprocess.run([sys.executable, "-c", f"{code}\nimport os\nos._exit(9)"], cwd=root, check=False)
    assert died.returncode == 9
    State(state.path, own=True).close()


def test_who_only_looks_needs_no_lock_and_makes_nothing(state, tmp_path):
    with state.unit_of_work() as connection:
        begin(connection)
    with State(state.path, own=False) as looking:
        assert runs(looking) == 1
        assert looking.versions is None
        looking.merge_versions()
    with pytest.raises(StateMissing, match="run `vingate run` first"):
        State(tmp_path / "none", own=False)
    assert not (tmp_path / "none").exists()


def test_a_reader_never_waits_for_the_writer_and_sees_what_was_committed(state):
    with state.unit_of_work() as connection:
        begin(connection)
        assert runs(state) == 0
    assert runs(state) == 1


def test_a_unit_of_work_is_all_or_nothing(state):
    with pytest.raises(ZeroDivisionError), state.unit_of_work() as connection:  # noqa: PT012 - it ends with the error
        begin(connection)
        raise ZeroDivisionError
    assert runs(state) == 0


def test_destination_sets_are_numbered_once_and_forgotten_with_their_transaction(state):
    with pytest.raises(ZeroDivisionError), state.unit_of_work() as connection:  # noqa: PT012 - it ends with the error
        assert state.destination_set(connection, ["lost"]) == 1
        raise ZeroDivisionError
    with state.unit_of_work() as connection:
        assert state.destination_set(connection, []) == 0
        assert state.destination_set(connection, ["b", "a", "b"]) == 1
        assert state.destination_set(connection, ["a", "b"]) == 1
        assert state.destination_set(connection, ["编"]) == 2
    state.close()
    with State(state.path, own=True) as again, again.reading() as connection:
        assert again.destination_sets(connection) == [(), ("a", "b"), ("编",)]


def test_a_state_is_its_owners_only_and_keeps_foreign_keys(state):
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
    row = {"batch": "none", "item": 0, "source": "a", "lines": b""}
    with pytest.raises(IntegrityError, match="FOREIGN KEY"), state.unit_of_work() as connection:
        connection.execute(insert(tables.journals), row)


def test_a_lost_key_is_told_and_never_made_anew_once_there_are_batches(state):
    state.sealer()
    row = {"id": "collect-000001", "exchange": "collect", "number": 1, "run": 1, "kind": "source", "state": "open",
           "received_at": "2026-01-01", "items": b"[]"}  # fmt: skip
    with state.unit_of_work() as connection:
        begin(connection)
        connection.execute(insert(tables.batches), row)
    state.key_path.unlink()
    with pytest.raises(KeyLost):
        state.sealer()
    assert not state.key_path.exists()


def test_errors_travel_between_processes_whole(tmp_path):
    for error in (StateBusy(tmp_path), StateMissing(tmp_path)):
        copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(copied), str(copied), copied.path) == (type(error), str(error), tmp_path)
        assert isinstance(error, PipelineError)
