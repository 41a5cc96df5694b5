"""The ledger's proof: balanced after undisturbed runs, and every tampering found with batch and destination."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from engine_samples import BULK, lines, payload, run_bulk, run_stores, write
from sqlalchemy import func, insert, select, update
from typer.testing import CliRunner

from dlq.letters import LetterStore
from dlq.replay import after
from pipelines import tables, verifying
from pipelines.accounts import ENDS
from pipelines.cli.ledger import ledger
from pipelines.coordinator import Coordinator
from pipelines.errors import SettingsError
from pipelines.ledger import TOTALS, Proof, destinations, prove, totals
from pipelines.progress import Event
from pipelines.settings import load
from pipelines.state import State
from pipelines.trace import trace

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BATCH, STORES = "bulk-files-000001", "to-stores-000001"


def proof_of(folder: Path, **options: Any) -> Proof:
    with State(folder / "state", own=False) as state:
        return prove(state, **options)


def change(folder: Path, *statements: str) -> None:
    """Change the state's database by hand."""
    with closing(sqlite3.connect(folder / "state" / "vingate.db")) as database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement
        database.commit()


def problem(proof: Proof, kind: str) -> Any:
    """The one problem of a kind."""
    found = [p for p in proof.problems if p.kind == kind]
    assert len(found) == 1, [p.as_dict() for p in proof.problems]
    return found[0]


@pytest.fixture(scope="module")
def bulk_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bulk")
    good = lines(200, broken=5)
    run_bulk(folder, [*good, good[0], payload(907, vehicleplatenumber="使014578")])
    return folder


@pytest.fixture(scope="module")
def stores_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    run_stores(folder, lines(120, broken=3))
    return folder


@pytest.fixture
def bulk(bulk_once: Path, tmp_path: Path) -> Iterator[Path]:
    """A finished state with its parts, to be tampered with; it stands where it ran, and is put back."""
    shutil.copytree(bulk_once, tmp_path / "copy")
    yield bulk_once
    shutil.rmtree(bulk_once)
    shutil.copytree(tmp_path / "copy", bulk_once)


@pytest.fixture
def stores(stores_once: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(stores_once, tmp_path / "copy")
    yield stores_once
    shutil.rmtree(stores_once)
    shutil.copytree(tmp_path / "copy", stores_once)


# -- balanced ----------------------------------------------------------------------------------------------------------


def test_bulk_run_is_balanced(bulk: Path) -> None:
    proof = proof_of(bulk)
    assert proof.balanced, [p.as_dict() for p in proof.problems]
    assert proof.totals == dict(zip(TOTALS, (202, 195, 5, 1, 0, 1, 0, 0), strict=True))
    assert proof.verified
    assert proof.batches == 1
    assert not proof.unfinished
    for counts in proof.destinations.values():
        assert counts["records"] == counts["delivered"] == counts["received"] > 0


def test_second_run_is_all_duplicates_and_balanced(bulk: Path) -> None:
    good = lines(200, broken=5)
    run_bulk(bulk, [*good, good[0], payload(907, vehicleplatenumber="使014578")])
    proof = proof_of(bulk)
    assert proof.balanced
    assert proof.totals["duplicate"] == 1 + 202
    assert proof.totals["received"] == sum(proof.totals[name] for name in TOTALS[1:])


def test_stores_are_balanced_and_counted(stores: Path) -> None:
    proof = proof_of(stores)
    assert proof.balanced, [p.as_dict() for p in proof.problems]
    assert sum(counts["records"] for counts in proof.destinations.values()) == 117


def test_one_store_for_all_destinations_is_compared_whole(tmp_path: Path) -> None:
    run_stores(tmp_path, lines(40), store="all")
    proof = proof_of(tmp_path)
    assert proof.balanced
    assert sum(counts["records"] for counts in proof.destinations.values()) == 40
    with closing(sqlite3.connect(tmp_path / "stores" / "all.db")) as store:
        plate = store.execute("SELECT plate FROM repairs WHERE seq = 7").fetchone()[0]
        store.execute("DELETE FROM repairs WHERE seq = 7")
        store.commit()
    found = problem(proof_of(tmp_path), "missing-record")
    assert found.destination in proof.destinations, plate


def test_the_same_file_twice_is_read_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "in" / f"{name}.ndjson", lines(10, broken=3))
    exchange = load(BULK, [f"source.path={tmp_path / 'in'}", f"sinks.provinces.path={tmp_path / 'out'}"], {})
    for _ in range(2):
        with State(tmp_path / "state", own=True) as state:
            Coordinator(state, exchange).run()
            with state.reading() as connection:
                kinds = connection.execute(
                    select(tables.batches.c.kind, tables.batches.c.received).order_by(tables.batches.c.number)
                ).all()
        assert kinds == [("source", 10), ("known", 20)]
        proof = proof_of(tmp_path)
        assert proof.balanced, [p.as_dict() for p in proof.problems]
        assert (proof.totals["delivered"], proof.totals["dead"], proof.totals["duplicate"]) == (7, 3, 20)


def test_killed_before_the_copies_were_counted_gives_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.ndjson", lines(10, broken=3))
    exchange = load(BULK, [f"source.path={tmp_path / 'in'}", f"sinks.provinces.path={tmp_path / 'out'}"], {})

    def stop_after_the_batch(event: Event) -> None:
        if event.name == "closed":
            raise KeyboardInterrupt

    with State(tmp_path / "state", own=True) as state, pytest.raises(KeyboardInterrupt):
        Coordinator(state, exchange, stop_after_the_batch).run()
    for _ in range(2):
        with State(tmp_path / "state", own=True) as state:
            Coordinator(state, exchange).run()
        proof = proof_of(tmp_path)
        assert proof.balanced
        assert proof.totals["received"] == 20


def test_corrections_leave_both_batches_balanced(tmp_path: Path) -> None:
    first = lines(30)
    run_stores(tmp_path, first)
    for record in first[:10]:
        record["basicInfo"]["faultdescription"] = "更换前刹车片"
    run_stores(tmp_path, first, "later.ndjson")
    proof = proof_of(tmp_path)
    assert proof.balanced, [p.as_dict() for p in proof.problems]
    assert proof.totals["delivered"] == 40
    assert proof.totals["duplicate"] == 20


def test_totals_add_up_by_run_and_exchange(bulk: Path) -> None:
    with State(bulk / "state", own=False) as state, state.reading() as connection:
        by_run = totals(connection, run=1)
        assert by_run == totals(connection, exchange="bulk-files") == totals(connection)
        assert by_run["received"] == sum(by_run[name] for name in TOTALS[1:])
        assert totals(connection, exchange="nobody") == dict.fromkeys(TOTALS, 0)
        for counts in destinations(connection).values():
            assert counts["received"] == sum(counts[end] for end in ENDS)


def test_receipts_stand_among_destinations_and_not_in_totals(bulk: Path) -> None:
    change(bulk, "UPDATE runs SET receipts = 'province-44'")
    with State(bulk / "state", own=False) as state, state.reading() as connection:
        there = destinations(connection)["province-44"]["delivered"]
        assert there > 0
        assert totals(connection)["delivered"] == 195 - there


def test_pieces_and_orders_count_once(bulk: Path) -> None:
    with State(bulk / "state", own=True) as state, state.unit_of_work() as connection:
        b, f = tables.batches, tables.fragments
        common = {"exchange": "steps", "run": 1, "state": "closed", "received_at": "2026-01-01", "items": b"[]"}
        pieces = {"id": "steps-000008", "number": 8, "kind": "source", "received": 5, "fragments": 5}
        order = {"id": "steps-000009", "number": 9, "kind": "fragments", "received": 1, "decoded": 1, "addressed": 1}
        connection.execute(insert(b), {**common, **pieces})
        connection.execute(insert(b), {**common, **order})
        connection.execute(
            insert(tables.batch_destinations),
            {"batch": "steps-000009", "destination": "province-31", "sink": "x", "addressed": 1, "delivered": 1},
        )
        for number in range(5):
            names = ("id", "exchange", "system", "company", "order", "step", "source", "received_at")
            row = dict.fromkeys(names, str(number)) | {"intake": number, "offset": number, "body": b""}
            connection.execute(insert(f), {**row, "batch": "steps-000008", "assembled": 9 if number < 3 else 0})
        told = totals(connection, exchange="steps")
    assert told["received"] == 5
    assert (told["delivered"], told["waiting"], told["fragments"]) == (1, 2, 2)
    assert told["received"] == sum(told[name] for name in TOTALS[1:])


def test_exchange_filter_leaves_others_out(bulk: Path) -> None:
    change(bulk, "UPDATE batches SET received = received + 1")
    assert proof_of(bulk, exchanges=["another"]).balanced
    assert not proof_of(bulk, exchanges=["bulk-files"]).balanced


# -- stored counts and journals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["received", "decoded", "addressed", "dead_intake", "dead_records", "filtered"])
def test_changed_batch_count_is_found(bulk: Path, column: str) -> None:
    change(bulk, f"UPDATE batches SET {column} = {column} + 1")
    proof = proof_of(bulk, verify=False)
    assert not proof.balanced
    assert {p.batch for p in proof.problems} == {BATCH}
    assert {"equation", "journal"} <= {p.kind for p in proof.problems}


@pytest.mark.parametrize("column", ["addressed", "delivered", "duplicate", "waiting", "dead", "in_flight", "stands"])
def test_changed_destination_count_is_found(bulk: Path, column: str) -> None:
    where = "destination = 'province-44'"
    change(bulk, f"UPDATE batch_destinations SET {column} = {column} + 1 WHERE {where}")
    proof = proof_of(bulk, verify=False)
    assert {(p.batch, p.destination) for p in proof.problems} == {(BATCH, "province-44")}


def test_counts_changed_so_that_equations_hold_are_found_by_journals(stores: Path, store: Any) -> None:
    name = store.path.stem
    values = "delivered = delivered - 1, duplicate = 1, stands = stands - 1"
    change(stores, f"UPDATE batch_destinations SET {values} WHERE destination = '{name}'")
    proof = proof_of(stores, verify=False)
    assert {(p.kind, p.destination, p.detail) for p in proof.problems} == {
        ("journal", name, "delivered"),
        ("journal", name, "duplicate"),
    }


def test_removed_destination_row_is_found(bulk: Path) -> None:
    change(bulk, "DELETE FROM batch_destinations WHERE destination = 'province-44'")
    assert ("journal", "province-44") in {(p.kind, p.destination) for p in proof_of(bulk, verify=False).problems}


@pytest.mark.parametrize("value", ["x'00'", "x'0000000100000001'", "substr(lines, 1, length(lines) - 9)"])
def test_damaged_journal_is_found(bulk: Path, value: str) -> None:
    change(bulk, f"UPDATE journals SET lines = {value}")
    proof = proof_of(bulk)
    assert ("journal", BATCH) in {(p.kind, p.batch) for p in proof.problems}


def test_removed_journal_is_found(bulk: Path) -> None:
    change(bulk, "DELETE FROM journals")
    assert problem(proof_of(bulk), "journal").detail == "items"


# -- parts -------------------------------------------------------------------------------------------------------------


def part(folder: Path, destination: str = "province-44") -> Path:
    (found,) = (folder / "out").glob(f"{destination}--*.avro")
    return found


def test_deleted_part_is_found(bulk: Path) -> None:
    path = part(bulk)
    path.unlink()
    found = problem(proof_of(bulk), "missing-part")
    assert (found.batch, found.destination, found.record) == (BATCH, "province-44", str(path))
    assert proof_of(bulk).destinations["province-44"]["records"] == 0


def test_flipped_byte_in_part_is_found(bulk: Path) -> None:
    path = part(bulk)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = problem(proof_of(bulk), "altered-part")
    assert (found.batch, found.destination, found.record) == (BATCH, "province-44", str(path))


def test_extra_part_is_found(bulk: Path) -> None:
    path = part(bulk)
    extra = path.with_name(path.name.replace("--00000-", "--00001-"))
    shutil.copy(path, extra)
    found = problem(proof_of(bulk), "extra-part")
    assert (found.batch, found.destination, found.record) == (BATCH, "province-44", str(extra))


@pytest.fixture
def relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state whose sink was given a relative path, seen from another folder than the run's."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_bulk(tmp_path / "here", lines(40), "in.ndjson", "sinks.provinces.path=out")
    monkeypatch.chdir(tmp_path / "there")
    return tmp_path / "here"


@pytest.mark.parametrize("noted", ["as it is noted", "as older ones noted it"])
def test_parts_of_a_relative_path_are_found_from_every_folder(relative: Path, noted: str) -> None:
    if noted.startswith("as older"):
        change(relative, f"UPDATE parts SET final = replace(final, '{relative}/', '')")
    proof = proof_of(relative)
    assert proof.balanced, [p.as_dict() for p in proof.problems]
    assert all(one["records"] == one["delivered"] > 0 for one in proof.destinations.values())
    with State(relative / "state", own=False) as state:
        found = trace(state, state.sealer(), payload(1)["basicInfo"]["vin"])["versions"]
        assert [(one["costlistcode"], one["proved"]) for one in found] == [("JS20250612000001", True)]
    part = sorted((relative / "out").glob("*.avro"))[0]
    part.unlink()
    missing = problem(proof_of(relative), "missing-part")
    assert (missing.batch, missing.destination, missing.record) == (BATCH, part.name.split("--")[0], str(part))


def test_removed_row_of_parts_is_found(bulk: Path) -> None:
    change(bulk, "DELETE FROM parts WHERE destination = 'province-44'")
    kinds = {(p.kind, p.destination) for p in proof_of(bulk).problems}
    assert ("extra-part", "province-44") in kinds


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(stores: Path) -> Iterator[Callable[[str], None]]:
    """Change the store of the province with most records by hand."""
    path = max((stores / "stores").glob("*.db"), key=lambda p: _count(p))

    def do(statement: str) -> None:
        with closing(sqlite3.connect(path)) as database:
            assert database.execute(statement).rowcount == 1
            database.commit()

    do.path = path  # type: ignore[attr-defined]
    return do


def _count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM repairs").fetchone()[0])


FIRST = "WHERE seq = (SELECT min(seq) FROM repairs)"


def test_deleted_row_is_found_with_its_place(stores: Path, store: Any) -> None:
    store(f"DELETE FROM repairs {FIRST}")
    found = problem(proof_of(stores), "missing-record")
    assert (found.batch, found.destination) == (STORES, store.path.stem)
    assert found.record.startswith("in.ndjson@")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("mileage", "'999999'", "columns"),
        ("vin", "'LSVAA218XK2000000'", "columns"),
        ("parts", "'[]'", "columns"),
        ("content", "'0000000000000000'", "content"),
        ("companycode", "'44010099'", "companycode"),
        ("findings", "'[\"TEXT_EMPTY\"]'", "findings"),
        ("current", "0", "current"),
    ],
)
def test_changed_column_is_found_with_its_record(stores: Path, store: Any, column: str, value: str, told: str) -> None:
    store(f"UPDATE repairs SET {column} = {value} {FIRST}")
    found = problem(proof_of(stores), "altered-record")
    assert (found.batch, found.destination, found.found) == (STORES, store.path.stem, told)
    assert "v1" in found.record


def test_changed_provenance_is_found_though_not_which(stores: Path, store: Any) -> None:
    store(f"UPDATE repairs SET received_at = '2000-01-01' {FIRST}")
    found = problem(proof_of(stores), "changed-store")
    assert (found.batch, found.destination) == (STORES, store.path.stem)


def test_runs_with_equal_settings_share_their_sinks_and_let_go_of_them(tmp_path: Path, monkeypatch: Any) -> None:
    for first in (0, 3, 6):
        run_stores(tmp_path, lines(3, first), store="all")
    made = []

    class Counted(verifying.Sinks):
        def __init__(self, *told: Any, **more: Any) -> None:
            super().__init__(*told, **more)
            made.append(self)

    monkeypatch.setattr(verifying, "Sinks", Counted)
    with State(tmp_path / "state", own=False) as state:
        verifier = verifying.Verifier(state, state.sealer())
        assert not any(verifier.batches([f"to-stores-00000{n}" for n in (1, 2, 3)]).values())
        assert [sinks._made for sinks in made] == [{}]


def test_extra_row_is_found(stores: Path, store: Any) -> None:
    with closing(sqlite3.connect(store.path)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(repairs)") if row[1] != "seq"]
    own = {"delivery_id": "'x'", "record_key": "'shops|44019999|JS1'", "version": "1"}
    given = ", ".join(own.get(name, name) for name in columns)
    store(f"INSERT INTO repairs ({', '.join(columns)}) SELECT {given} FROM repairs {FIRST}")
    found = problem(proof_of(stores), "extra-record")
    assert (found.batch, found.destination) == (STORES, store.path.stem)


def test_store_that_is_gone_is_said_and_not_made(stores: Path, store: Any) -> None:
    for left in store.path.parent.glob(f"{store.path.name}*"):
        left.unlink()
    found = problem(proof_of(stores), "unasked")
    assert (found.batch, found.destination) == (STORES, store.path.stem)
    assert not store.path.exists()
    assert proof_of(stores, verify=False).balanced


# -- letters -----------------------------------------------------------------------------------------------------------


def a_letter(folder: Path) -> str:
    with State(folder / "state", own=False) as state, state.reading() as connection:
        return str(connection.execute(select(func.min(tables.letters.letters.c.id))).scalar_one())


def test_deleted_letter_is_found(bulk: Path) -> None:
    name = a_letter(bulk)
    change(bulk, f"DELETE FROM letter_bodies WHERE id = '{name}'", f"DELETE FROM letters WHERE id = '{name}'")
    found = problem(proof_of(bulk), "missing-letter")
    assert (found.batch, found.destination, found.expected) == (BATCH, "letters", name)
    assert found.record.startswith("in.ndjson@")


def test_changed_body_of_letter_is_found(bulk: Path) -> None:
    name = a_letter(bulk)
    with State(bulk / "state", own=True) as state, state.unit_of_work() as connection:
        t = tables.letters.bodies
        sealed = bytearray(connection.execute(select(t.c.sealed).where(t.c.id == name)).scalar_one())
        sealed[-1] ^= 1
        connection.execute(update(t).where(t.c.id == name).values(sealed=bytes(sealed)))
    found = problem(proof_of(bulk), "altered-letter")
    assert (found.batch, found.destination, found.record) == (BATCH, "letters", name)


def test_deleted_body_of_letter_is_found(bulk: Path) -> None:
    name = a_letter(bulk)
    change(bulk, f"DELETE FROM letter_bodies WHERE id = '{name}'")
    assert problem(proof_of(bulk), "altered-letter").record == name


@pytest.mark.parametrize(
    "edit",
    [
        *("state = 'discarded'", "attempts = 1", "generation = 3", "parked = 1", "resolved_by = 'x'", "note = 'x'"),
        *("offset = offset + 1", "source_key = 'x'", "reasons = replace(reasons, 'VIN', 'VIM')", "mark = ''"),
    ],
)
def test_a_letter_changed_by_hand_is_found_with_the_letter(bulk: Path, edit: str) -> None:
    name = a_letter(bulk)
    change(bulk, f"UPDATE letters SET {edit} WHERE id = '{name}'")
    found = problem(proof_of(bulk), "altered-letter")
    assert (found.batch, found.destination, found.record) == (BATCH, "letters", name)
    assert call(bulk)[0] == 1


def test_letters_changed_by_the_store_itself_are_no_problem_and_then_by_hand_they_are(bulk: Path) -> None:
    with State(bulk / "state", own=True) as state, state.unit_of_work() as connection:
        store = LetterStore(connection, state.sealer())
        first, second, third, *_ = (letter.id for letter in store.search())
        for name in (first, second, third):
            store.discard(name, "测试 / a test", NOW)
        store.reopen(second, NOW, "again")
        store.claim(second, BATCH, NOW)
        before = store.get(second)
        store.settle(before, after(before, BATCH, (), NOW), BATCH)
    assert proof_of(bulk).balanced
    for statement in (
        f"UPDATE letters SET state = 'open' WHERE id = '{first}'",
        f"UPDATE letters SET resolved_by = 'x' WHERE id = '{second}'",
        f"UPDATE letters SET note = '' WHERE id = '{third}'",
    ):
        change(bulk, statement)
    assert {p.record for p in proof_of(bulk).problems} == {first, second, third}


@pytest.mark.parametrize("column", ["generation", "outcome", "reasons", "at"])
def test_a_changed_or_removed_replay_is_found_with_its_letter(bulk: Path, column: str) -> None:
    with State(bulk / "state", own=True) as state, state.unit_of_work() as connection:
        store = LetterStore(connection, state.sealer())
        name = next(store.search()).id
        store.claim(name, BATCH, NOW)
        before = store.get(name)
        store.settle(before, after(before, BATCH, (), NOW), BATCH)
    assert proof_of(bulk).balanced
    change(bulk, f"UPDATE letter_replays SET {column} = {'7' if column == 'generation' else repr('waiting')}")
    assert problem(proof_of(bulk), "altered-letter").record == name
    change(bulk, "DELETE FROM letter_replays")
    assert problem(proof_of(bulk), "altered-letter").record == name


def test_what_was_changed_by_hand_stays_named_whatever_becomes_of_the_letter(bulk: Path) -> None:
    name = a_letter(bulk)
    change(bulk, f"UPDATE letters SET attempts = 2 WHERE id = '{name}'")
    with State(bulk / "state", own=True) as state, state.unit_of_work() as connection:
        store = LetterStore(connection, state.sealer())
        store.discard(name, "note", NOW)
        store.reopen(name, NOW)
    change(bulk, f"UPDATE letters SET attempts = 0 WHERE id = '{name}'")
    assert problem(proof_of(bulk), "altered-letter").record == name


def test_a_changed_sum_of_letters_is_found_though_no_letter_is_to_blame(bulk: Path) -> None:
    change(bulk, "UPDATE batches SET letters_digest = '1'")
    assert problem(proof_of(bulk), "changed-letters").batch == BATCH


# -- items -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE items SET stop = stop + 1", ["stop"]),
        ("UPDATE items SET envelopes = envelopes - 1", ["envelopes"]),
        ("UPDATE items SET run = run + 1", ["run"]),
        ("UPDATE items SET sender = 'x|y'", ["missing", "extra"]),
        ("UPDATE items SET digest = 'x'", ["missing", "extra"]),
        ("UPDATE items SET start = start + 1", ["missing", "extra"]),
        ("UPDATE items SET exchange = 'another'", ["missing", "extra"]),
        ("UPDATE items SET batch = 'bulk-files-000099'", ["missing", "extra"]),
        ("DELETE FROM items", ["missing"]),
    ],
)
def test_items_changed_by_hand_are_found_with_the_batch_and_the_file(
    bulk: Path, statement: str, told: list[str]
) -> None:
    change(bulk, statement)
    found = [p for p in proof_of(bulk, verify=False).problems if p.kind == "items"]
    assert [p.detail for p in found] == told
    assert found[0].batch == BATCH
    assert found[0].record == "in.ndjson@0"
    code, text = call(bulk, "--json")
    assert code == 1
    assert BATCH in text


def test_an_item_read_again_in_other_ranges_is_the_later_batchs(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.ndjson", lines(10))
    size = (tmp_path / "in" / "a.ndjson").stat().st_size
    given = [f"source.path={tmp_path / 'in' / 'a.ndjson'}", f"sinks.provinces.path={tmp_path / 'out'}"]
    for item_bytes in (size, size // 2, size):
        with State(tmp_path / "state", own=True) as state:
            Coordinator(state, load(BULK, [*given, f"source.item_bytes={item_bytes}"], {})).run()
        assert proof_of(tmp_path).problems == []


def test_letter_of_no_batch_is_found(bulk: Path) -> None:
    name = a_letter(bulk)
    change(bulk, f"UPDATE letters SET batch = 'bulk-files-000099' WHERE id = '{name}'")
    kinds = {p.kind for p in proof_of(bulk).problems}
    assert kinds == {"missing-letter", "extra-letter"}


# -- beside a running gateway ------------------------------------------------------------------------------------------


def test_batch_that_is_not_closed_is_not_asked_for(bulk: Path) -> None:
    part(bulk).unlink()
    change(
        bulk,
        "UPDATE batches SET state = 'decided'",
        "UPDATE parts SET promoted = 0",
        "UPDATE batch_destinations SET in_flight = delivered, delivered = 0, stands = 0",
    )
    proof = proof_of(bulk)
    assert proof.balanced, [p.as_dict() for p in proof.problems]
    assert proof.unfinished == [BATCH]
    assert proof.totals["waiting"] == 195


def test_works_while_another_owns_the_state(bulk: Path) -> None:
    with State(bulk / "state", own=True), State(bulk / "state", own=False) as looking:
        assert prove(looking).balanced


def test_settings_lie_sealed(stores: Path) -> None:
    with State(stores / "state", own=False) as state, state.reading() as connection:
        sealed = connection.execute(select(tables.runs.c.settings)).scalar_one()
    assert b"sqlite" not in sealed
    assert b"provinces" not in sealed


# -- the command -------------------------------------------------------------------------------------------------------


def call(folder: Path, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(ledger)
    found = CliRunner().invoke(app, ["--state", str(folder / "state"), *arguments])
    return found.exit_code, found.stdout


def test_command_gives_one_object(bulk: Path) -> None:
    code, text = call(bulk, "--json")
    told = json.loads(text)
    assert code == 0
    assert told["balanced"] is True
    assert told["problems"] == []
    assert told["totals"]["received"] == 202
    assert told["destinations"]["province-44"]["records"] == told["destinations"]["province-44"]["delivered"]


def test_command_fails_and_names_batch_and_destination(bulk: Path) -> None:
    part(bulk).unlink()
    code, text = call(bulk, "--json")
    assert code == 1
    (found,) = json.loads(text)["problems"]
    assert (found["batch"], found["destination"]) == (BATCH, "province-44")
    code, text = call(bulk)
    assert code == 1
    assert BATCH in text
    assert "province-44" in text
    assert call(bulk, "--no-verify")[0] == 0


def test_command_shows_a_table(stores: Path, store: Any) -> None:
    code, text = call(stores, "--exchange", "to-stores")
    assert code == 0
    assert "to-stores" in text
    assert store.path.stem in text
    assert "balanced" in text


def test_command_refuses_an_unknown_exchange(bulk: Path) -> None:
    with pytest.raises(SettingsError, match="bulk-files"):
        ledger(bulk / "state", ["nobody"])


def test_a_lost_file_of_the_version_index_is_named(tmp_path):
    from sqlalchemy import insert

    from pipelines import tables
    from pipelines.state import State

    with State(tmp_path / "state", own=True) as state:
        with state.unit_of_work() as connection:
            connection.execute(insert(tables.version_runs), {"name": "0123456789abcdef.run", "rows": 3})
        proof = prove(state)

    assert [(p.kind, p.record, p.found) for p in proof.problems] == [("lost-versions", "0123456789abcdef.run", -1)]
    assert not proof.balanced
