"""Exchanges whose state is on PostgreSQL: tests of the SQLite state, chosen from each kind, run again there."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time

import pytest
import test_corrections as corrections
import test_exchange_rows as rows
import test_ledger as ledger
import test_replay as replay
from engine_samples import BULK, TO_STORES, lines, payload, write
from postgres_states import states_on
from row_gate import record
from sqlalchemy import select, text

from pipelines import accounts, tables
from pipelines.closing import amend
from pipelines.coordinator import Coordinator
from pipelines.journal import Journal
from pipelines.ledger import prove
from pipelines.replaying import prepare
from pipelines.settings import Exchange, load
from pipelines.state import State
from pipelines.stateplace import ADDRESS, DATABASE
from pipelines.trace import trace
from pipelines.workbench import make_source

gate, place, steps = corrections.gate, replay.place, rows.steps


@pytest.fixture(autouse=True)
def on_postgres(postgres, monkeypatch):
    with states_on(postgres, monkeypatch):
        yield


@pytest.fixture(autouse=True)
def no_sqlite(on_postgres, tmp_path):
    """What a test leaves was really kept on PostgreSQL."""
    yield
    assert list(tmp_path.rglob(ADDRESS))
    assert not list(tmp_path.rglob(DATABASE))


test_correction_without_a_home = corrections.test_a_plate_corrected_to_one_without_a_home_reaches_who_holds_the_record
test_correction_ends_a_wait = corrections.test_a_correction_that_is_filtered_ends_the_wait_of_the_old_version
test_replay_of_a_letter = replay.test_a_letter_goes_through_once_its_cause_is_mended
test_replay_twice = replay.test_a_replay_done_twice_does_nothing_twice
test_replay_of_an_older_version = replay.test_an_older_version_that_is_replayed_never_overtakes_a_newer_one
test_replay_of_hundreds = replay.test_hundreds_of_letters_are_replayed_in_portions_and_die_again_under_short_keys
test_replay_of_a_delivery = replay.test_a_refused_delivery_is_delivered_again_to_its_one_destination
test_ledger_of_corrections = ledger.test_corrections_leave_both_batches_balanced
test_ledger_of_the_same_file = ledger.test_the_same_file_twice_is_read_once
test_three_versions = rows.test_there_and_back_is_three_versions
test_carried_versions = rows.test_versions_are_carried_through_report_and_push
test_a_locked_store = rows.test_a_locked_store_makes_deliveries_wait_and_the_next_run_delivers_them
test_registration_places_what_waits = rows.test_an_unknown_home_waits_and_a_registration_places_it
test_a_move = rows.test_a_move_pushes_what_is_held_to_the_new_home_once
test_merged_visits = rows.test_later_versions_of_a_merged_visit_stay_with_their_pair
test_steps_of_an_order = rows.test_a_correction_of_a_whole_order_is_a_new_version


def test_a_replayed_delivery_loses_nothing_of_what_another_settles_in_its_batch(place):
    """Two gateways at an old batch: each reads its journal and counts once nobody else is changing them."""
    replay.feed(place, replay.record(1), replay.record(2))
    refusing = replay.exchange(place, sinks={"out": {"connector": "memory", "hub": "held", "mode": "refuse"}})
    with State(place / "state", own=True) as state:
        replay.run(state, refusing)
        first, second = sorted(replay.letters(state), key=lambda letter: letter.intake)
        going = threading.Thread(target=prepare, args=(state, refusing, state.sealer(), [first.id]))
        with state.engine.begin() as other:
            accounts.hold(other, [first.batch])
            going.start()
            waits_for_a_lock(state)
            amend(other, second.batch, 0, lambda book: book.outcomes["1"].update({second.destination: "filtered"}))
            account = accounts.Account()
            account.counts.update(dead=-1, filtered=1)
            accounts.change(other, second.batch, second.destination, account)
        going.join()
        with state.reading() as connection:
            book = Journal.unpack(connection.execute(select(tables.journals.c.lines)).scalar_one())
            counts = connection.execute(select(tables.batch_destinations)).one()
        assert book.outcomes == {"0": {first.destination: "waiting"}, "1": {second.destination: "filtered"}}
        assert (counts.dead, counts.filtered, counts.waiting) == (0, 1, 1)


def waits_for_a_lock(state):
    """Return once some session of the database waits for a lock."""
    mine = "datname = current_database() AND wait_event_type = 'Lock'"
    asked = text(f"SELECT count(*) FROM pg_stat_activity WHERE {mine}")
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with state.engine.connect() as connection:
            if connection.execute(asked).scalar_one():
                return
        time.sleep(0.01)
    raise TimeoutError


def test_the_command_keeps_its_state_where_it_is_told(postgres_url, tmp_path, root):
    """`run --state-url`, then `ledger` that is told the folder only: balanced, and the password is nowhere shown."""
    source = write(tmp_path / "in.ndjson", lines(300, broken=20))
    told = run(
        root, "run", BULK, "--set", f"source.path={source}", "--set", f"sinks.provinces.path={tmp_path / 'out'}",
        "--state", tmp_path / "state", "--state-url", postgres_url, "--json",
    )  # fmt: skip
    assert json.loads(told)["totals"]["received"] == 300
    proved = json.loads(run(root, "ledger", "--state", tmp_path / "state", "--json"))
    assert proved["balanced"] is True
    with State(tmp_path / "state", own=False) as state:
        assert state.engine.dialect.name == "postgresql"
        assert prove(state).problems == []
    assert "s3cret" not in told
    assert (tmp_path / "state" / ADDRESS).stat().st_mode & 0o077 == 0


@pytest.fixture
def stores(postgres_url, tmp_path, monkeypatch):
    """An exchange into one store for all provinces, on PostgreSQL as the state is."""
    monkeypatch.setenv("STORE_URL", postgres_url)
    settings = tmp_path / "to-stores.toml"
    text = TO_STORES.replace("{source}", str(tmp_path / "in.ndjson"))
    settings.write_text(text.replace('"sqlite:///{stores}/{store}.db"', '"env:STORE_URL"'), "utf-8")

    def run(records):
        write(tmp_path / "in.ndjson", records)
        with State(tmp_path / "state", own=True) as state:
            Coordinator(state, load(settings, [], {})).run()
            return prove(state)

    return run


def test_state_and_store_on_postgresql_balance_and_alterations_are_named(stores, postgres, postgres_url, tmp_path):
    assert stores(lines(60, broken=3)).problems == []
    proof = stores([payload(n, faultdescription="更正") for n in range(9)])
    assert proof.problems == []
    assert proof.totals["delivered"] == 66
    with State(tmp_path / "state", own=False) as state:
        told = trace(state, state.sealer(), payload(3)["basicInfo"]["vin"])
    assert [(one["version"], one["destinations"][0]["outcome"]) for one in told["versions"]] == [
        (1, "delivered"),
        (2, "delivered"),
    ]
    name = postgres_url.rpartition("/")[2]
    postgres.execute("UPDATE repairs SET plate = 'x' WHERE seq = 7", database=name)
    postgres.execute("DELETE FROM repairs WHERE seq = 9", database=name)
    with State(tmp_path / "state", own=False) as state:
        assert {one.kind for one in prove(state).problems} >= {"altered-record", "missing-record"}


def noise(length):
    """Text that does not become shorter by compression."""
    rnd = random.Random(length)  # noqa: S311 - the same in every run
    return "".join(rnd.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(length))


def test_codes_that_no_index_of_the_store_holds_are_letters(stores):
    proof = stores([payload(1), payload(2, costlistcode=noise(9000)), payload(3)])
    assert (proof.problems, proof.totals["delivered"], proof.totals["dead"]) == ([], 2, 1)


def test_codes_that_no_index_of_the_state_holds_hold_up_nothing(gate):
    gate.shop(record("J1"), record(noise(9001)), record("J3", plate="京A" + noise(9002)), record("J4"))
    gate.run("collect")
    assert prove(gate.state).problems == []


def run(root, *words):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *map(str, words)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_source_of_a_store_on_a_server_is_made_once(postgres_url, tmp_path):
    place = {"connector": "sql", "url": postgres_url}
    exchange = Exchange.model_validate({"name": "report", "source": {**place, "where": {"repaircomefrom": 1}}})
    other = Exchange.model_validate({"name": "report", "source": place})
    assert make_source(exchange) is make_source(exchange.model_copy())
    assert make_source(other) is not make_source(exchange)
    State(tmp_path / "state", own=True).close()
