"""An operator's bad day: each trouble ends with a message that says what to do, and the next run makes good."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from engine_samples import BULK, TO_STORES, lines, write
from sqlalchemy import event, select

from connectors.contracts import ConnectorError, Misconfigured, Unavailable, Unreadable
from dlq.errors import KeyLost, KeyUnsafe, WrongKey
from dlq.sealing import Sealer
from pipelines import ledger, runcounts, tables
from pipelines.cli.failures import explained
from pipelines.coordinator import Coordinator
from pipelines.errors import StateBusy, WorkFailed
from pipelines.settings import load
from pipelines.staging import JournalWriter
from pipelines.state import State
from pipelines.stopping import unwrapped


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)


class Gate:
    """The bulk exchange on a folder of its own; every run that ends is proved."""

    def __init__(self, folder):
        self.folder, self.state, self.out = folder, folder / "state", folder / "out"
        self.source = write(folder / "in.ndjson", lines(30, broken=2))

    def settings(self, *more):
        paths = [f"source.path={self.source}", f"sinks.provinces.path={self.out}"]
        return load(BULK, [*paths, "received_at=2026-09-21T21:30:00+08:00", *more], {})

    def run(self, *more, prepare=lambda state: None):
        with State(self.state, own=True) as state:
            prepare(state)
            run = Coordinator(state, self.settings(*more)).run()
            return runcounts.counts_of(state, run)

    def fails(self, error, said, *more, prepare=lambda state: None):
        """A run fails with words for a person: in both languages, with no trace of a program."""
        with pytest.raises(error) as found:
            self.run(*more, prepare=prepare)
        text, code = explained(found.value)
        assert said in text
        assert " / " in text
        assert not [word for word in ("Traceback", "while running", "a bug") if word in text]
        assert code in (2, 3)

    def makes_good(self, delivered=28, dead=2):
        """The next run does it all, and the whole proof holds."""
        totals = self.run().totals
        assert (totals["received"], totals["delivered"], totals["dead"]) == (30, delivered, dead)
        self.proved()
        assert list((self.state / "staging").iterdir()) == []
        assert list((self.out / ".staging").iterdir()) == []

    def proved(self):
        with State(self.state, own=False) as state:
            assert [str(problem) for problem in ledger.prove(state).problems] == []


# -- no room -----------------------------------------------------------------------------------------------------------

_LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from pipelines.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
sys.exit(main({arguments!r}))
"""


def _limited(gate, limit):
    """`vingate run` in a process whose files may not grow beyond a limit: what a full disk looks like to it."""
    arguments = ["run", str(BULK), "--set", f"source.path={gate.source}", "--set", f"sinks.provinces.path={gate.out}"]
    arguments += ["--set", "received_at=2026-09-21T21:30:00+08:00", "--state", str(gate.state)]
    program = _LIMITED.format(tests=str(Path(__file__).parent), limit=limit, arguments=arguments)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("limit", [20_000, 90_000, 300_000])
def test_files_that_cannot_grow(gate, limit):
    write(gate.source, lines(3_000, broken=2))
    found = _limited(gate, limit)
    assert found.returncode == 3
    assert [remedy for remedy in ("free some disk space", "make room") if remedy in found.stderr]
    assert "Traceback" not in found.stderr
    assert "a bug" not in found.stderr
    assert gate.run().totals["delivered"] == 2_998
    gate.proved()


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system of its own can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_no_room_for_what_is_staged(gate, small_disk):
    gate.out = small_disk / "out"
    write(gate.source, lines(3_000, broken=2))
    gate.fails(Unavailable, "free some disk space")
    assert list((gate.out / ".staging").iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert gate.run().totals["delivered"] == 2_998
    gate.proved()


def test_no_room_for_a_journal_is_told_in_words(gate, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/staging/0.journal")

    monkeypatch.setattr(JournalWriter, "write", full)
    gate.fails(Unavailable, "/staging/0.journal: No space left on device")
    monkeypatch.undo()
    gate.makes_good()


FROM_A_WORKER = """Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "pipelines/steps.py", line 42, in receive
{error} [while running 'receive/ParDo(_Receive)']
"""


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        ("connectors.contracts.Unreadable: 变短 / it shrank - run again", Unreadable, "变短 / it shrank - run again"),
        ("pipelines.errors.Gone: 变短 / it shrank\n - run again", WorkFailed, "变短 / it shrank\n - run again"),
        ("OSError: [Errno 28] No space left on device: '/s'", Unavailable, "free some disk space"),
        ("PermissionError: [Errno 13] Permission denied: '/s'", Misconfigured, "check the path and its rights"),
    ],
)
def test_what_a_worker_process_died_of_is_told_in_words(error, kind, said):
    found = unwrapped(RuntimeError(FROM_A_WORKER.replace("{error}", error)))
    assert type(found) is kind
    assert said in str(found)
    assert "while running" not in str(found)


def test_a_bug_is_left_as_it_is():
    bug = RuntimeError(FROM_A_WORKER.replace("{error}", "KeyError: 'x'"))
    assert unwrapped(bug) is bug


@pytest.mark.parametrize("room", [0, 4, 16])
def test_no_room_in_the_state(gate, room):
    def full(state):
        pages = []

        @event.listens_for(state.engine, "begin")
        def begin(connection):
            if not pages:
                pages.append(connection.exec_driver_sql("PRAGMA page_count").scalar() + room)
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages[0]}")

    with State(gate.state, own=True):
        pass
    write(gate.source, lines(400, broken=200))
    with State(gate.state, own=True) as state:
        full(state)
        with pytest.raises(Exception) as found:  # noqa: PT011 - what is said of it is looked at
            Coordinator(state, gate.settings()).run()
    text, code = explained(found.value)
    assert code == 3
    assert "make room and run again" in text
    totals = gate.run().totals
    assert (totals["delivered"], totals["dead"]) == (200, 200)
    gate.proved()


# -- the key -----------------------------------------------------------------------------------------------------------


def test_a_lost_key_stops_the_run_and_is_never_replaced(gate):
    gate.run()
    key = gate.state / "keys/sealing.key"
    kept = key.rename(gate.folder / "backup.key")
    gate.fails(KeyLost, "Put the key's backup back")
    assert not key.exists()
    kept.rename(key)
    assert gate.run().already_done
    gate.proved()


def test_another_key_is_told_by_its_fingerprint(gate):
    gate.run()
    key = gate.state / "keys/sealing.key"
    kept = key.rename(gate.folder / "backup.key")
    other = Sealer.open(key, create=True)
    gate.fails(WrongKey, other.fingerprint)
    key.unlink()
    kept.rename(key)
    assert gate.run().already_done
    gate.proved()


def test_a_key_that_others_may_read_is_refused(gate):
    gate.run()
    key = gate.state / "keys/sealing.key"
    key.chmod(0o644)
    gate.fails(KeyUnsafe, f"run chmod 600 {key}")
    key.chmod(0o600)
    assert gate.run().already_done


# -- others ------------------------------------------------------------------------------------------------------------


def test_a_state_in_use_is_left_alone_and_free_when_its_owner_is_killed(gate):
    hold = (
        "import sys, time\nfrom pathlib import Path\nfrom pipelines.state import State\n"
        f"state = State(Path({str(gate.state)!r}), own=True)\nprint('here', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "here\n"
        gate.fails(StateBusy, "wait for it to end")
        os.kill(owner.pid, signal.SIGKILL)
    gate.makes_good()


def test_a_part_of_the_same_name_with_other_content_is_never_replaced(gate):
    gate.run()
    first = {path.name: path.read_bytes() for path in gate.out.glob("*.avro")}
    gate.state = gate.folder / "other-state"
    gate.fails(Misconfigured, "holds something else", "received_at=2026-09-22T21:30:00+08:00")
    gate.fails(Misconfigured, "holds something else", "received_at=2026-09-22T21:30:00+08:00")
    assert {path.name: path.read_bytes() for path in gate.out.glob("*.avro")} == first
    away = gate.folder / "away"
    away.mkdir()
    for path in gate.out.glob("*.avro"):
        path.rename(away / path.name)
    gate.makes_good()


def test_a_part_that_is_there_already_with_the_same_content_is_taken_as_done(gate):
    gate.run()
    gate.state = gate.folder / "other-state"
    gate.makes_good()


def test_an_output_folder_that_is_a_file(gate):
    gate.out.write_bytes(b"")
    gate.fails((ConnectorError, OSError), str(gate.out))
    gate.out.unlink()
    gate.makes_good()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_output_folder_that_may_not_be_written(gate):
    gate.out.mkdir(mode=0o500)
    gate.fails(ConnectorError, "check the path and its rights")
    gate.out.chmod(0o700)
    gate.makes_good()


def test_an_output_folder_that_is_lost_after_staging(gate, monkeypatch):
    from connectors.parts import PartFolder

    promote = PartFolder.promote

    def refused(sink, parts):
        raise Misconfigured("cannot be written / 无法写入", "check the path and its rights / 请检查路径与权限")

    monkeypatch.setattr(PartFolder, "promote", refused)
    gate.fails(Misconfigured, "check the path and its rights")
    monkeypatch.setattr(PartFolder, "promote", promote)
    gate.makes_good()


def test_a_source_that_is_gone_or_a_folder_that_is_no_file(gate):
    kept = gate.source.rename(gate.folder / "kept.ndjson")
    gate.fails(ConnectorError, "no such path")
    kept.rename(gate.source)
    gate.makes_good()


def test_a_source_whose_file_is_lost_between_plan_and_read(gate, monkeypatch):
    from connectors.files import FilesSource

    plan = FilesSource.plan

    def planned_then_gone(source, done):
        yield from plan(source, done)
        gate.source.rename(gate.folder / "kept.ndjson")

    monkeypatch.setattr(FilesSource, "plan", planned_then_gone)
    gate.fails(ConnectorError, "put the original file back and run again")
    monkeypatch.undo()
    (gate.folder / "kept.ndjson").rename(gate.source)
    gate.makes_good()


# -- stores ------------------------------------------------------------------------------------------------------------


class StoreGate(Gate):
    """The same input into SQLite stores, one a province."""

    def settings(self, *more):
        text = TO_STORES.replace("{source}", str(self.source)).replace("{stores}", str(self.folder / "stores"))
        file = self.folder / "stores.toml"
        file.write_text(text.replace("{store}", "all") + "busy_seconds = 0.03\n[retry]\nfirst_seconds = 0\n", "utf-8")
        return load(file, list(more), {})


def test_a_store_that_another_process_holds_makes_deliveries_wait_and_the_next_run_delivers(tmp_path):
    gate = StoreGate(tmp_path)
    write(gate.source, lines(2, first=500))
    gate.run()
    write(gate.source, lines(30, broken=2))
    with closing(sqlite3.connect(tmp_path / "stores/all.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        counts = gate.run()
        assert counts.balanced
        assert (counts.totals["waiting"], counts.totals["delivered"], counts.totals["dead"]) == (28, 0, 2)
        other.execute("ROLLBACK")
    gate.run()
    with closing(sqlite3.connect(tmp_path / "stores/all.db")) as store:
        assert store.execute("SELECT count(*), count(DISTINCT record_key) FROM repairs").fetchone() == (30, 30)
    with State(gate.state, own=False) as state:
        proof = ledger.prove(state)
    assert [str(problem) for problem in proof.problems] == []
    assert (proof.totals["waiting"], proof.totals["delivered"]) == (0, 30)


def test_a_store_that_is_no_database_is_named_with_what_to_check(tmp_path):
    gate = StoreGate(tmp_path)
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores/all.db").write_bytes(b"no database at all" * 100)
    counts = gate.run()
    assert (counts.totals["waiting"], counts.balanced) == (28, True)
    with State(gate.state, own=False) as state, state.reading() as connection:
        reasons = set(connection.execute(select(tables.waiting.c.reason)).scalars())
    assert all("check path, rights" in reason for reason in reasons)
    (tmp_path / "stores/all.db").unlink()
    totals = gate.run().totals
    with State(gate.state, own=False) as state:
        proof = ledger.prove(state)
    assert [str(problem) for problem in proof.problems] == []
    assert proof.totals["delivered"] == 28, totals
