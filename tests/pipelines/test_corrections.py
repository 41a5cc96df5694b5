"""Corrections of records that were filtered, wait for a home or died: nobody keeps an old version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256

import pytest
from engine_samples import BULK, payload, run_bulk, write
from row_gate import Gate, record, registration
from sqlalchemy import select

from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.lettering import replay_letters
from pipelines.nation import DEPLOY
from pipelines.settings import load
from pipelines.state import State

HURRY = ("sinks.provinces.busy_seconds=0", "retry.first_seconds=0")
NATION = f"mapping.profile={DEPLOY / 'profiles' / 'nation.toml'}"


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


def all_the_way(gate, *payloads):
    gate.shop(*payloads)
    for name in ("collect", "report", "push"):
        gate.run(name)


def totals(folder):
    """What the ledger says of a bulk state that must balance: delivered, dead, duplicate, filtered, waiting."""
    with State(folder / "state", own=False) as state:
        proof = prove(state)
    assert proof.problems == []
    return tuple(proof.totals[name] for name in ("delivered", "dead", "duplicate", "filtered", "waiting"))


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_plate_corrected_to_one_without_a_home_reaches_who_holds_the_record(gate):
    all_the_way(gate, record("J1", plate="沪A12345"))
    all_the_way(gate, record("J1", plate="224578使"))
    assert gate.rows("province-31", "version, plate, current") == [(1, "沪A12345", 0), (2, "224578使", 1)]
    all_the_way(gate, record("J2", plate="224578使", serial=2))
    assert gate.account("push", "province-31") == {"addressed": 2, "delivered": 2}


def test_a_record_whose_newer_version_came_waits_for_no_home_and_is_sent_nowhere(gate):
    all_the_way(gate, record("J1", plate="未上牌", serial=1))
    all_the_way(gate, record("J1", plate="沪A12345", serial=2))
    gate.register(registration(1, "44"))
    gate.run("push")
    assert gate.waiting() == []
    all_the_way(gate, record("J1", plate="沪A12345", serial=2, fault="三"))
    assert gate.account("push", "province-44") == {}
    assert [row[1] for row in gate.rows("province-31")] == [2, 3]


def test_a_correction_that_is_filtered_ends_the_wait_of_the_old_version(gate):
    all_the_way(gate, record("J1", plate="未上牌"))
    all_the_way(gate, record("J1", plate="224578使"))
    gate.register(registration(2, "44"))
    gate.run("push")
    assert gate.waiting() == []
    gate.register(registration(1, "44", since="2026-09-01"))
    gate.run("push")
    assert [row[1] for row in gate.rows("province-44")] == [2]


def test_a_store_that_only_a_person_can_mend_keeps_no_other_from_its_records(gate):
    gate.shop(record("J1"))
    gate.run("collect")
    store = gate.folder / "stores" / "province-11.db"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("ALTER TABLE repairs RENAME COLUMN faultdescription TO gone")
    gate.shop(record("J2"))
    gate.shop(record("S1", company="310101000000001", plate="沪A12345"), company="310101000000001", system="31")
    Coordinator(gate.state, gate.exchange("collect", *HURRY)).run()
    assert gate.account("collect", "province-31") == {"addressed": 1, "delivered": 1}
    assert gate.account("collect", "province-11") == {"addressed": 2, "delivered": 1, "waiting": 1}
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("ALTER TABLE repairs RENAME COLUMN gone TO faultdescription")
    gate.run("collect", *HURRY)
    assert gate.account("collect", "province-11") == {"addressed": 2, "delivered": 2}


# -- files -------------------------------------------------------------------------------------------------------------


def test_dead_lines_of_a_file_that_is_cut_otherwise_are_known(tmp_path):
    records = [payload(i) for i in range(20)] + [payload(i, vin="LSVAA218XXX") for i in range(20, 23)]
    run_bulk(tmp_path, records)
    assert totals(tmp_path) == (20, 3, 0, 0, 0)
    run_bulk(tmp_path, records, "in.ndjson", "source.item_bytes=3000")
    assert totals(tmp_path) == (20, 3, 23, 0, 0)


@pytest.mark.parametrize("plate", ["未上牌", "使014578"])
def test_a_correction_without_a_home_goes_into_the_holders_files(tmp_path, plate):
    run_bulk(tmp_path, [payload(1, vehicleplatenumber="粤A12345")], "a.ndjson", NATION)
    run_bulk(tmp_path, [payload(1, vehicleplatenumber=plate)], "b.ndjson", NATION)
    assert totals(tmp_path) == (2, 0, 0, 0, 0)
    assert len(list((tmp_path / "out").glob("province-44--*.avro"))) == 2


def test_for_files_an_unknown_home_waits_until_the_record_is_sent_again(tmp_path):
    homeless = payload(1, vehicleplatenumber="未上牌")
    vehicle = {**registration(1, "31"), "vin": homeless["basicInfo"]["vin"]}
    asking = (NATION, "routing.registrations=true")
    run_bulk(tmp_path, [homeless], "a.ndjson", *asking)
    source = write(tmp_path / "vehicles.ndjson", [vehicle])
    with State(tmp_path / "state", own=True) as state:
        Coordinator(state, load(DEPLOY / "exchanges" / "registrations.toml", [f"source.path={source}"], {})).run()
    run_bulk(tmp_path, [payload(2)], "b.ndjson", *asking)
    assert totals(tmp_path) == (2, 0, 0, 0, 1)  # the registration itself is delivered too
    run_bulk(tmp_path, [homeless, payload(3)], "c.ndjson", *asking)
    assert totals(tmp_path) == (4, 0, 1, 0, 0)


def test_a_letter_by_reference_is_replayed_from_the_archive(tmp_path):
    token = {"companycode": "440100001", "companypassword": "secret1234"}
    write(tmp_path / "in" / "a.ndjson", [payload(1), token])
    told = [f"source.path={tmp_path / 'in'}", f"sinks.provinces.path={tmp_path / 'out'}"]
    exchange = load(BULK, [*told, "source.finished=archive", "mapping.dialect=auto"], {})
    t = tables.letters.letters
    with State(tmp_path / "state", own=True) as state:
        Coordinator(state, exchange).run()
        with state.reading() as connection:
            (letter,) = connection.execute(select(t.c.id, t.c.ref_path)).all()
        assert letter.ref_path == "a.ndjson"
        (outcome,) = replay_letters(state, [letter.id]).letters
    assert (outcome.outcome, outcome.why) == ("open", "CREDENTIALS_IN_FILE")
    assert totals(tmp_path) == (1, 2, 0, 0, 0)


def test_a_letter_by_reference_is_found_from_another_folder(tmp_path, monkeypatch):
    write(tmp_path / "in" / "a.ndjson", [{"companycode": "440100001", "companypassword": "secret1234"}])
    monkeypatch.chdir(tmp_path)
    with State(tmp_path / "state", own=True) as state:
        Coordinator(state, load(BULK, ["source.path=in", "sinks.provinces.path=out"], {})).run()
        with state.reading() as connection:
            (letter,) = connection.execute(select(tables.letters.letters.c.id)).scalars()
        monkeypatch.chdir("/")
        (outcome,) = replay_letters(state, [letter]).letters
    assert (outcome.outcome, outcome.why) == ("open", "CREDENTIALS_IN_FILE")


def test_a_line_that_is_too_long_is_kept_by_reference_with_its_hash(tmp_path):
    long = b'{"a":"' + b"x" * 300_000 + b'"}'
    source = write(tmp_path / "in.ndjson", [payload(1)])
    with source.open("ab") as file:
        file.write(long + b"\n")
    told = [f"source.path={source}", f"sinks.provinces.path={tmp_path / 'out'}", "source.max_payload_bytes=100000"]
    t = tables.letters.letters
    with State(tmp_path / "state", own=True) as state:
        Coordinator(state, load(BULK, told, {})).run()
        with state.reading() as connection:
            (letter,) = connection.execute(select(t.c.reason, t.c.body_sha256, t.c.body_size, t.c.ref_length)).all()
    assert tuple(letter) == ("PAYLOAD_TOO_LARGE", sha256(long).hexdigest(), len(long), len(long))
    assert totals(tmp_path) == (1, 1, 0, 0, 0)
    source.write_bytes(source.read_bytes().replace(b"xxx", b"yyy", 1))
    with State(tmp_path / "state", own=False) as state:
        assert [problem.kind for problem in prove(state).problems] == ["altered-letter"]
