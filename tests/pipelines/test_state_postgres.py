"""The State on PostgreSQL: owners and those who were stopped, the version table, one schema, where the database is."""

from __future__ import annotations

import pickle
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import test_migrations as schemas
import test_state as lite
import test_versions as index
from realtime.links import HALF, STALL, Links
from sqlalchemy import create_engine, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

import pipelines.migrations as history
from connectors.contracts import Misconfigured
from connectors.sqlstore import SqlSink
from pipelines import lease, tables, versiontable
from pipelines.errors import StateBusy, StateElsewhere, StateLost, StateMissing
from pipelines.lease import retried
from pipelines.state import State
from pipelines.stateplace import ADDRESS
from pipelines.storeform import REPAIRS
from pipelines.versions import key_bytes
from pipelines.versiontable import VersionTable


@pytest.fixture
def state(tmp_path, postgres_url):
    with State(tmp_path / "state", own=True, url=postgres_url) as made:
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Who finds the state taken says so soon."""
    monkeypatch.setattr(lease, "PATIENCE", 0.1)


SOON = {"connect_seconds": "2", "silent_seconds": "0.3", "connect_timeout": "2"}
"""Limits of a test's address: what is silent is lost soon."""


def begin(state):
    with state.unit_of_work() as connection:
        lite.begin(connection)


# -- what holds on SQLite too ------------------------------------------------------------------------------------------

test_a_second_owner = lite.test_a_second_owner_is_refused_with_what_to_do
test_a_killed_owner = lite.test_another_process_is_refused_too_and_a_killed_owner_frees_the_state
test_who_only_looks = lite.test_who_only_looks_needs_no_lock_and_makes_nothing
test_a_reader_never_waits = lite.test_a_reader_never_waits_for_the_writer_and_sees_what_was_committed
test_all_or_nothing = lite.test_a_unit_of_work_is_all_or_nothing
test_destination_sets = lite.test_destination_sets_are_numbered_once_and_forgotten_with_their_transaction
test_a_lost_key = lite.test_a_lost_key_is_told_and_never_made_anew_once_there_are_batches


# -- who owns it -------------------------------------------------------------------------------------------------------


def test_an_owner_elsewhere_is_refused_until_it_ends(state, tmp_path, postgres_url):
    with pytest.raises(StateBusy):
        State(tmp_path / "other", own=True, url=postgres_url)
    state.close()
    State(tmp_path / "other", own=True, url=postgres_url).close()


OWNER = """
import sys
from pathlib import Path
from sqlalchemy import insert
from pipelines import tables
from pipelines.state import State
state = State(Path(sys.argv[1]), own=True, url=sys.argv[2])
print("here", flush=True)
with state.unit_of_work() as connection:
    connection.execute(insert(tables.runs), {"exchange": "slow", "started_at": "2026-01-01"})
    print("inside", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def owner(tmp_path, postgres_url, root):
    """Another process that owns the state and stands in the middle of a transaction."""
    command = [sys.executable, "-c", OWNER, str(tmp_path / "first"), postgres_url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["here\n", "inside\n"]
            yield process
        finally:
            process.kill()


def test_a_killed_owner_elsewhere_frees_the_state_at_once(owner, tmp_path, postgres_url, monkeypatch):
    owner.kill()
    owner.wait()
    monkeypatch.setattr(lease, "PATIENCE", 60.0)  # the server notices in its own time
    taken = State(tmp_path / "second", own=True, url=postgres_url)
    assert lite.runs(taken) == 0
    taken.close()


def test_a_stopped_process_that_wakes_up_changes_nothing(owner, tmp_path, postgres, postgres_url):
    owner.send_signal(signal.SIGSTOP)
    with pytest.raises(StateBusy):
        State(tmp_path / "second", own=True, url=postgres_url)
    execute(postgres, postgres_url, "UPDATE leases SET expires = 0")  # as after half a minute
    with State(tmp_path / "second", own=True, url=postgres_url) as second:
        begin(second)
        owner.send_signal(signal.SIGCONT)
        _, said = owner.communicate("go on\n", timeout=60)
        assert "terminating connection" in said  # what it had locked was not to hold up its heir
        begin(second)
        with second.reading() as connection:
            assert set(connection.execute(select(tables.runs.c.exchange)).scalars()) == {"collect"}


def test_what_was_taken_over_commits_nothing(state, tmp_path, postgres, postgres_url):
    begin(state)
    execute(postgres, postgres_url, "UPDATE leases SET epoch = epoch + 1")
    with pytest.raises(StateLost, match="writes nothing more") as caught:
        begin(state)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own
    assert lite.runs(state) == 1


def test_a_take_over_waits_for_the_commit_under_way(state, tmp_path, postgres, postgres_url):
    """Between the proof of the epoch and the commit nobody can take over."""
    with state.unit_of_work() as connection:
        lite.begin(connection)
        state._lease.proved(connection)
        with pytest.raises(Exception, match="lock timeout"):
            execute(postgres, postgres_url, "SET lock_timeout = 50; UPDATE leases SET epoch = epoch + 1")
    assert lite.runs(state) == 1


def test_a_door_beside_the_owner_writes_without_the_lease(state):
    with State(state.path, own=False) as door:
        begin(door)
    assert lite.runs(state) == 1


def test_a_restart_of_the_server_costs_one_transaction_at_most(postgres_alone, tmp_path):
    with postgres_alone.database() as url, State(tmp_path / "state", own=True, url=url) as state:
        begin(state)
        with pytest.raises(DBAPIError), state.unit_of_work() as connection:  # noqa: PT012 - it ends with the error
            lite.begin(connection)
            with postgres_alone.down():
                pass
            lite.begin(connection)
        begin(state)
        assert lite.runs(state) == 2


# -- where it is -------------------------------------------------------------------------------------------------------


def test_the_folder_keeps_the_address_as_it_was_given(tmp_path, postgres_url, monkeypatch):
    monkeypatch.setenv("STATE_URL", postgres_url)
    State(tmp_path / "state", own=True, url="env:STATE_URL").close()
    assert (tmp_path / "state" / ADDRESS).read_text() == "env:STATE_URL\n"
    with State(tmp_path / "state", own=True) as again:
        assert again.engine.dialect.name == "postgresql"
    monkeypatch.delenv("STATE_URL")
    with pytest.raises(Misconfigured, match="STATE_URL"):
        State(tmp_path / "state", own=False)


def test_the_environment_serves_new_folders_only(tmp_path, postgres_url, monkeypatch):
    State(tmp_path / "lite", own=True).close()
    monkeypatch.setenv("VINGATE_STATE_URL", postgres_url)
    with State(tmp_path / "lite", own=True) as one, State(tmp_path / "new", own=True) as other:
        assert [one.engine.dialect.name, other.engine.dialect.name] == ["sqlite", "postgresql"]


def test_a_state_on_sqlite_is_not_forgotten_for_an_address(tmp_path, postgres_url):
    State(tmp_path / "state", own=True).close()
    with pytest.raises(StateElsewhere, match="state copy"):
        State(tmp_path / "state", own=True, url=postgres_url)


def test_an_empty_database_is_no_state(tmp_path, postgres_url):
    with pytest.raises(StateMissing):
        State(tmp_path / "state", own=False, url=postgres_url)


@pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://u:s3cret@h/d", "s3cret"])
def test_an_address_of_another_kind_is_refused(tmp_path, url):
    with pytest.raises(Misconfigured) as caught:
        State(tmp_path / "state", own=True, url=url)
    assert "s3cret" not in str(caught.value)
    State(tmp_path / "state", own=True).close()  # the lock came free


def test_a_database_that_sorts_by_a_language_is_refused_with_the_remedy(postgres, postgres_url, tmp_path):
    name = f"{postgres_url.rpartition('/')[2]}_zh"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'zh'")
    try:
        with pytest.raises(Misconfigured, match="LC_COLLATE 'C'"):
            State(tmp_path / "state", own=True, url=postgres.url(name))
    finally:
        postgres.execute(f"DROP DATABASE {name}")


# -- units of work -----------------------------------------------------------------------------------------------------


def test_sums_of_whole_numbers_are_whole_numbers(state):
    begin(state)
    with state.reading() as connection:
        total = connection.scalar(text("SELECT sum(CAST(id AS bigint)) FROM runs"))
    assert (total, type(total)) == (1, int)


def test_a_look_is_of_one_moment(state):
    with state.reading() as connection:
        before = connection.scalar(text("SELECT count(*) FROM runs"))
        begin(state)
        assert connection.scalar(text("SELECT count(*) FROM runs")) == before
        with pytest.raises(DBAPIError, match="read-only"):
            connection.execute(insert(tables.meta), {"name": "a", "value": "b"})


def test_a_deadlock_is_solved_by_trying_again(state):
    with state.unit_of_work() as connection:
        connection.execute(insert(tables.meta), [{"name": "a", "value": ""}, {"name": "b", "value": ""}])
    met, calls = threading.Barrier(2), []

    def change(first, second):
        def unit(connection):
            calls.append(first)
            for at, name in enumerate((first, second)):
                t = tables.meta
                connection.execute(update(t).where(t.c.name == name).values(value=t.c.value + first))
                if at == 0 and len(calls) <= 2:
                    met.wait(30)

        state.work(unit)

    other = threading.Thread(target=change, args=("a", "b"))
    other.start()
    change("b", "a")
    other.join()
    assert len(calls) > 2  # the server chooses who gives way, and may choose again
    with state.reading() as connection:
        values = connection.execute(select(tables.meta.c.value).where(tables.meta.c.name.in_(["a", "b"]))).scalars()
        assert [sorted(one) for one in values] == [["a", "b"]] * 2


def test_other_errors_are_not_tried_again():
    calls = []

    def work():
        calls.append(1)
        raise OperationalError("x", None, Exception("disk"))

    with pytest.raises(OperationalError):
        retried(work)
    assert calls == [1]


# -- the version table -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_additions_agrees_with_a_dict(state, seed, monkeypatch):
    monkeypatch.setattr(versiontable, "SMALL", 4)
    monkeypatch.setattr(versiontable, "_ASKED", 7)
    rnd = random.Random(seed)  # noqa: S311 - chance is seeded
    keys = [(hi, lo) for hi in index.EDGES for lo in (0, 1, index.TOP)]
    keys += [(rnd.getrandbits(64), rnd.getrandbits(64)) for _ in range(40)]
    model = index.Model(state)
    assert isinstance(state.versions, VersionTable)
    for step in range(30):
        size = rnd.choice([0, 1, 2, 4, 5, 9, 30])
        model.add(
            [
                (*rnd.choice(keys), rnd.getrandbits(64), step << 36, rnd.randrange(1, 9), rnd.randrange(5))
                for _ in range(size)
            ]
        )
        model.check(rnd.sample(keys, rnd.randrange(len(keys))))
        state.merge_versions()
    model.check_all((5, 5))
    with state.reading() as connection:
        assert state.versions.size(connection) == len(model.known)
    with state.unit_of_work() as connection:
        assert state.versions.sweep(connection) == 0


def test_two_additions_in_one_transaction(state):
    many = [[(n, n, n, part, part, 0) for n in range(5, 1000)] for part in (1, 2)]
    with state.unit_of_work() as connection:
        for rows in many:
            state.versions.add(connection, index.entries(rows))
        positions, found = state.versions.find(connection, *index.halves([(n, n) for n in range(5, 1000)]))
    assert len(positions) == 995
    assert np.unique(found["version"]).tolist() == [2]


test_needles_may_repeat = index.test_needles_may_repeat_and_come_in_any_order


@pytest.fixture(autouse=True)
def _version_states(monkeypatch, request):
    """States that the version tests open by folder are on PostgreSQL too."""
    if request.function.__module__ == index.__name__:
        url = request.getfixturevalue("postgres_url")
        monkeypatch.setattr(index, "State", lambda folder, own: State(folder, own=own, url=url))


# -- one schema --------------------------------------------------------------------------------------------------------


def test_migrated_state_is_what_create_all_makes(state, postgres):
    with postgres.database() as url:
        engine = create_engine(url)
        history.upgrade(engine)
        with state.reading() as fresh, engine.connect() as migrated:
            assert history.differences(migrated) == []
            assert schemas.shape(migrated) == schemas.shape(fresh)
        engine.dispose()


def test_versions_of_before_are_found_by_their_keys(postgres):
    hi, lo = np.array([7, 2**64 - 1], np.uint64), np.array([2**63, 0], np.uint64)
    with postgres.database() as url:
        engine = create_engine(url)
        history.upgrade(engine, revision="0013")
        with engine.begin() as connection:
            for at, halves in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
                row = {"key": key_bytes(*halves), "content": -1, "intake": at, "version": 3, "held": 1}
                connection.execute(text("INSERT INTO versions VALUES (:key, :content, :intake, :version, :held)"), row)
        history.upgrade(engine)
        with engine.connect() as connection:
            positions, found = VersionTable().find(connection, hi, lo)
        engine.dispose()
    assert positions.tolist() == found["intake"].tolist() == [0, 1]
    assert found["content"].tolist() == [2**64 - 1] * 2


@pytest.mark.parametrize("spec", [REPAIRS, schemas.KINDS], ids=lambda spec: spec.name)
def test_migrated_store_is_what_the_sink_makes(postgres, postgres_url, spec):
    with postgres.database() as url:
        migrated, fresh = create_engine(url), create_engine(postgres_url)
        history.upgrade(migrated, spec)
        with migrated.connect() as one:
            assert history.differences(one, spec) == []
        for place in (url, postgres_url):
            sink = SqlSink(SqlSink.Settings(url=place, table=spec))
            sink.create()  # which divides a table of before, where its spec wants that
            sink.close()
        with migrated.connect() as one, fresh.connect() as other:
            assert schemas.shape(one) == schemas.shape(other)
        migrated.dispose()
        fresh.dispose()


def test_a_state_that_another_owns_is_not_upgraded(state, tmp_path, postgres, postgres_url):
    execute(postgres, postgres_url, "UPDATE meta SET value = '0002' WHERE name = 'schema'")
    with pytest.raises(StateBusy):
        State(tmp_path / "newer", own=True, url=postgres_url)
    assert execute(postgres, postgres_url, "SELECT value FROM meta WHERE name = 'schema'") == [("0002",)]


def test_an_older_state_is_upgraded_by_its_owner(postgres_url, tmp_path):
    engine = create_engine(postgres_url)
    history.upgrade(engine, revision="0002")
    engine.dispose()
    with State(tmp_path / "state", own=True, url=postgres_url) as state:
        begin(state)
        assert lite.runs(state) == 1


def execute(server, url, statement):
    return server.execute(statement, database=url.rpartition("/")[2])


# -- a database that is silent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [STALL, HALF])
def test_a_silent_database_is_lost_and_taken_up_again(tmp_path, postgres, postgres_url, fault):
    """A unit of work ends instead of hanging; whether it was committed or not, the next one goes on from there."""
    links, address = Links(), make_url(postgres_url)
    through = address.set(port=links.add("state", postgres.port)).update_query_dict(SOON)
    with State(tmp_path / "state", own=True, url=through.render_as_string(hide_password=False)) as state:
        begin(state)

        def falls_silent(connection):
            lite.begin(connection)
            links.set("state", fault)

        with pytest.raises(OperationalError) as caught:
            state.work(falls_silent)
        assert caught.value.connection_invalidated
        links.set("state", "pass")
        begin(state)
        assert lite.runs(state) in (2, 3)
