"""The shipped bulk exchange from end to end: national NDJSON in, Avro files by home province and letters out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import date
from decimal import Decimal

import fastavro
import pytest
from sqlalchemy import select

from dlq.letters import LetterStore
from mappings.records import RepairRow
from mappings.vin import check_digit
from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.runcounts import counts_of
from pipelines.settings import load
from pipelines.state import State

MOMENT = "2026-01-05T12:00:00+08:00"


class Bulk:
    """One state and its output, fed with single files."""

    def __init__(self, root, folder, name="state"):
        self.root, self.folder, self.out = root, folder, folder / f"out-{name}"
        self.state = State(folder / name, own=True)
        self.named_while_running: list[str] = []

    def run(self, path, *more):
        settings = load(
            self.root / "deploy/exchanges/bulk-files.toml",
            [f"source.path={path}", f"sinks.provinces.path={self.out}", f"received_at={MOMENT}", *more],
            {},
        )
        run = Coordinator(self.state, settings, self.watch).run()
        counts = counts_of(self.state, run)
        assert counts.balanced, counts.problems
        return {name: n for name, n in counts.totals.items() if n and name != "flagged"}

    def watch(self, event):
        if event.name == "staged":
            self.named_while_running += [path.name for path in self.out.rglob("*.avro")]

    def records(self):
        found = []
        for path in sorted(self.out.rglob("*.avro")):
            with path.open("rb") as file:
                found += [(path.name.split("--")[0], record) for record in fastavro.reader(file)]
        return found

    def bytes(self):
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in self.out.rglob("*") if p.is_file()}

    def letters(self):
        with self.state.reading() as connection:
            store = LetterStore(connection, self.state.sealer())
            return [(letter, store.body(letter)) for letter in store.search()]


@pytest.fixture(scope="module")
def lines(root, tmp_path_factory):
    """Four hundred lines of the reference generator; about eight of them bad."""
    path = tmp_path_factory.mktemp("reference") / "in.ndjson"
    command = [sys.executable, str(root / "bench/reference/gen.py"), "400", str(path), "11"]
    subprocess.run(command, check=True)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")
    return path


@pytest.fixture
def bulk(root, tmp_path):
    made = Bulk(root, tmp_path)
    yield made
    made.state.close()


def good(record):
    basic = record["basicInfo"]
    vin = basic["vin"]
    return (
        vin[8] == check_digit(vin)
        and basic["settledate"] != "20251332"
        and "costlistcode" in basic
        and basic["repairmileage"] != "-5"
    )


def test_every_line_is_delivered_or_dead(bulk, lines, tmp_path):
    wanted = [record for record in lines if good(record)]
    assert 380 < len(wanted) < 400
    assert bulk.run(write(tmp_path / "in.ndjson", lines)) == {
        "received": 400, "delivered": len(wanted), "dead": 400 - len(wanted)
    }  # fmt: skip
    assert bulk.named_while_running == []
    found = {record["costlistcode"]: (name, record) for name, record in bulk.records()}
    assert len(found) == len(bulk.records()) == len(wanted)
    for record in wanted:
        basic = record["basicInfo"]
        destination, made = found[basic["costlistcode"]]
        assert set(RepairRow._fields) < set(made)
        assert made["companycode"] == basic["companycode"]
        assert made["settledate"] == date.fromisoformat(basic["settledate"])
        assert made["mileage"] == Decimal(basic["repairmileage"])
        assert isinstance(made["mileage"], Decimal)
        quantities = [Decimal(part["partsquantity"]) for part in record["vehiclepartslist"]]
        assert [part["quantity"] for part in made["parts"]] == quantities
        hours = [Decimal(project["workinghours"]) for project in record["repairprojectlist"]]
        assert [project["hours"] for project in made["projects"]] == hours
        assert (made["system"], made["version"], made["dialect"]) == ("bulk", 1, "national")
        if basic["vehicleplatenumber"][0] == "粤":
            assert destination == "province-44"
    assert {p.suffix for p in bulk.out.iterdir() if p.is_file()} == {".avro"}
    assert not list((bulk.state.path / "staging").iterdir())


def test_a_letter_tells_all_reasons_and_keeps_the_bytes(bulk, lines, tmp_path):
    bad = json.loads(json.dumps(next(record for record in lines if good(record))))
    bad["basicInfo"] |= {"settledate": "20251332", "repairmileage": "-5"}
    bad["vehiclepartslist"][1]["partsquantity"] = "two"
    del bad["basicInfo"]["costlistcode"]
    body = json.dumps(bad, ensure_ascii=False)
    path = tmp_path / "in.ndjson"
    path.write_text(f'{body}\n{{"basicInfo": \nnot json\n\n', "utf-8")
    assert bulk.run(path) == {"received": 3, "dead": 3}
    first, *rest = sorted(bulk.letters(), key=lambda found: found[0].offset)
    assert {(r.code, r.field) for r in first[0].reasons} == {
        ("DATE_FORMAT", "settledate"), ("MILEAGE_NEGATIVE", "mileage"),
        ("MANDATORY_MISSING", "costlistcode"), ("QUANTITY_NOT_NUMERIC", "parts[1].quantity"),
    }  # fmt: skip
    assert first[1] == body.encode()
    assert (first[0].stage, first[0].company) == ("judge", "")
    assert [letter.reasons[0].code for letter, _ in rest] == ["NOT_JSON", "NOT_JSON"]
    assert [kept for _, kept in rest] == [b'{"basicInfo": ', b"not json"]


def test_the_same_file_again_is_all_duplicates(bulk, lines, tmp_path):
    path = write(tmp_path / "in.ndjson", lines)
    bulk.run(path)
    before = bulk.bytes()
    assert bulk.run(path) == {"received": 400, "duplicate": 400}
    assert bulk.bytes() == before
    assert len(bulk.letters()) == 400 - len(bulk.records())


def test_the_same_records_in_another_file_are_duplicates_by_key(bulk, lines, tmp_path):
    wanted = [record for record in lines if good(record)]
    bulk.run(write(tmp_path / "one.ndjson", wanted))
    before = bulk.bytes()
    assert bulk.run(write(tmp_path / "two.ndjson", wanted[::-1])) == {"received": len(wanted), "duplicate": len(wanted)}
    assert bulk.bytes() == before


def test_a_correction_is_a_new_version_for_the_new_home_and_the_old(bulk, lines, tmp_path):
    record = json.loads(json.dumps(next(record for record in lines if good(record))))
    record["basicInfo"]["vehicleplatenumber"] = "粤A12345"
    others = [other for other in lines if good(other)][1:4]
    bulk.run(write(tmp_path / "one.ndjson", [record, *others]))
    record["basicInfo"]["vehicleplatenumber"] = "沪A12345"
    again = bulk.run(write(tmp_path / "two.ndjson", [*others, record]))
    assert again == {"received": 4, "delivered": 2, "duplicate": 3}
    code = record["basicInfo"]["costlistcode"]
    versions = sorted((name, r["version"], r["plate"]) for name, r in bulk.records() if r["costlistcode"] == code)
    assert versions == [("province-31", 2, "沪A12345"), ("province-44", 1, "粤A12345"), ("province-44", 2, "沪A12345")]
    record["basicInfo"]["vehicleplatenumber"] = "粤A12345"
    assert bulk.run(write(tmp_path / "three.ndjson", [record])) == {"received": 1, "delivered": 2}
    assert max(r["version"] for _, r in bulk.records() if r["costlistcode"] == code) == 3


def test_a_record_twice_in_one_file_counts_once_and_its_correction_follows(bulk, lines, tmp_path):
    record = json.loads(json.dumps(next(record for record in lines if good(record))))
    corrected = json.loads(json.dumps(record))
    corrected["basicInfo"]["faultdescription"] = "已更正"
    path = write(tmp_path / "in.ndjson", [record, record, corrected, corrected])
    assert bulk.run(path) == {"received": 4, "delivered": 2, "duplicate": 2}
    assert sorted((r["version"], r["faultdescription"]) for _, r in bulk.records()) == [
        (1, record["basicInfo"]["faultdescription"]),
        (2, "已更正"),
    ]


def test_two_states_make_the_same_bytes(bulk, root, lines, tmp_path):
    path = write(tmp_path / "in.ndjson", lines)
    other = Bulk(root, tmp_path, "other")
    counts = bulk.run(path), other.run(path, "batch.block=7")
    other.state.close()
    assert counts[0] == counts[1]
    assert {n.split("--")[0] for n in bulk.bytes()} == {n.split("--")[0] for n in other.bytes()}
    assert bulk.records() == other.records()
    third = Bulk(root, tmp_path, "third")
    third.run(path)
    third.state.close()
    assert third.bytes() == bulk.bytes()


def test_letters_and_states_hold_nothing_in_the_clear(bulk, lines, tmp_path):
    bulk.run(write(tmp_path / "in.ndjson", lines))
    bad = next(record["basicInfo"]["vin"] for record in lines if not good(record))
    with bulk.state.reading() as connection:
        assert connection.execute(select(tables.letters.letters)).first() is not None
    bulk.state.close()
    for path in bulk.state.path.rglob("*"):
        assert not path.is_file() or bad.encode() not in path.read_bytes(), path


class _Killed(BaseException):
    """The process is gone."""


def test_repeated_files_have_their_batch_wherever_a_run_is_killed(lines, root, tmp_path):
    inbox = tmp_path / "in"
    for name, records in (("a", lines[:5]), ("b", lines[:5]), ("c", lines[5:9]), ("d", lines[9:12])):
        write(inbox / f"{name}.ndjson", records)

    def batches(bulk):
        with bulk.state.reading() as connection:
            t = tables.batches
            return connection.execute(select(t.c.id, t.c.kind, t.c.received).order_by(t.c.number)).all()

    undisturbed = Bulk(root, tmp_path, "undisturbed")
    undisturbed.run(inbox, "batch.items=1")
    assert [kind for _, kind, _ in batches(undisturbed)] == ["source", "source", "known", "source"]
    disturbed = Bulk(root, tmp_path, "disturbed")
    closed = []

    def kill(event):
        if event.name == "closed":
            closed.append(event.batch)
            if len(closed) == 2:
                raise _Killed

    disturbed.watch = kill
    with pytest.raises(_Killed):
        disturbed.run(inbox, "batch.items=1")
    disturbed.run(inbox, "batch.items=1")
    assert batches(disturbed) == batches(undisturbed)
    assert disturbed.bytes() == undisturbed.bytes()
