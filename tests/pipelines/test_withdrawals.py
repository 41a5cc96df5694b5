"""Withdrawals through the shipped exchanges: collect, report, push, and into files; nobody keeps what is withdrawn."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from decimal import Decimal

import fastavro
import pytest
from engine_samples import payload, run_bulk
from row_gate import DEALER, SHOP, Gate, record, registration, vin, visit
from sqlalchemy import select

from mappings.avroschema import repair_schema
from pipelines import tables
from pipelines.ledger import prove
from pipelines.lettering import replay_letters
from pipelines.nation import DEPLOY
from pipelines.state import State
from pipelines.trace import trace

WHY = "重复上传，以另一单为准"
COLUMNS = "version, vin, plate, withdrawn, current, late, batch"
COLLECT = DEPLOY / "exchanges" / "collect.toml"
HURRY = ("sinks.provinces.busy_seconds=0", "retry.first_seconds=0")


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


def withdrawn(code, why=WHY, **others):
    return {"costlistcode": code, "withdrawn": why, **others}


def all_the_way(gate, *payloads, **others):
    gate.shop(*payloads, **others)
    for name in ("collect", "report", "push"):
        gate.run(name)


def again(one):
    """The same record in other bytes: a file with the bytes of a known one holds known envelopes."""
    return json.dumps(one, ensure_ascii=False).encode() + b" "


def traced(gate, serial=1):
    """Exchange, version, whether withdrawn, and fate of each line that trace finds."""
    found = trace(gate.state, gate.state.sealer(), vin(serial))["versions"]
    return [(one["exchange"], one["version"], one["withdrawn"], one["fate"]) for one in found]


def seen(gate, store):
    """Version, plate, reason, whether current, of each row of a store."""
    return [(row[0], row[2], row[3], row[4]) for row in gate.rows(store, COLUMNS)]


def died(gate):
    return [(one["reason"], one["stage"], one["state"]) for one in gate.letters()]


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_record_correction_withdrawal_and_upload_again(gate):
    """The golden chain: what each store holds after record, correction, withdrawal, the same record again."""
    first = record("J1", plate="沪A12345")
    for one in (first, record("J1", plate="沪A12345", fault="二"), withdrawn("J1"), again(first)):
        all_the_way(gate, one)
    chain = [(1, "沪A12345", None, 0), (2, "沪A12345", None, 0), (3, None, WHY, 0), (4, "沪A12345", None, 1)]
    for store in ("province-11", "ministry", "province-31"):
        assert seen(gate, store) == chain, store
    assert traced(gate) == [
        (name, version, version == 3, "addressed") for version in range(1, 5) for name in ("collect", "report", "push")
    ]
    assert died(gate) == []


def test_the_chain_in_one_run_of_each_exchange_ends_the_same(gate):
    first = record("J1", plate="沪A12345")
    all_the_way(gate, first, record("J1", plate="沪A12345", fault="二"), withdrawn("J1"), first, withdrawn("J1", "再"))
    chain = [(1, "沪A12345", None), (2, "沪A12345", None), (3, None, WHY), (4, "沪A12345", None), (5, None, "再")]
    for store in ("province-11", "ministry", "province-31"):
        assert [row[:3] for row in seen(gate, store)] == chain, store
    assert [one[2] for one in traced(gate)] == [False, False, True, False, True] * 3


def test_a_withdrawal_goes_where_an_older_version_is_held_and_nowhere_else(gate):
    all_the_way(gate, record("J1", plate="沪A12345"), record("J2", plate="粤A12345", serial=2))
    all_the_way(gate, record("J1", plate="浙A12345"))  # the old plate's province holds it still
    all_the_way(gate, withdrawn("J1"))
    assert seen(gate, "province-31")[-1] == (3, None, WHY, 1)
    assert seen(gate, "province-33")[-1] == (3, None, WHY, 1)
    assert seen(gate, "province-44") == [(1, "粤A12345", None, 1)]
    assert gate.account("push", "province-44") == {"addressed": 1, "delivered": 1}


def test_a_withdrawal_says_what_and_why_and_nothing_else_of_the_record(gate):
    all_the_way(gate, record("J1", plate="沪A12345"))
    all_the_way(gate, withdrawn("J1"))
    columns = "kind, system, companycode, costlistcode, companyname, vin, mileage, parts, repaircomefrom, withdrawn"
    (told,) = gate.rows("province-31", columns)[1:]
    assert told == ("push", "11", SHOP, "J1", None, None, None, None, 2, WHY)


def test_withdrawing_twice_is_a_duplicate_whatever_the_reason(gate):
    all_the_way(gate, record("J1", plate="沪A12345"))
    all_the_way(gate, withdrawn("J1"))
    gate.shop(withdrawn("J1"), withdrawn("J1", "另一个原因"))
    assert gate.run("collect").totals["duplicate"] == 2
    assert [row[0] for row in gate.rows("province-11", "version")] == [1, 2]
    assert died(gate) == []
    assert [one[2:] for one in traced(gate)][-2:] == [(True, "duplicate")] * 2


def test_a_withdrawal_of_what_is_not_known_is_a_letter(gate):
    gate.shop(withdrawn("J9"))
    gate.run("collect")
    assert died(gate) == [("WITHDRAWAL_UNKNOWN", "address", "open")]
    (letter,) = gate.letters()
    assert (letter["company"], letter["record_key"]) == (SHOP, f"11|{SHOP}|J9")
    receipts = [p for p in (gate.folder / "receipts").rglob("*") if p.is_file()]
    (line,) = [json.loads(one) for path in receipts for one in path.read_text("utf-8").splitlines()]
    assert (line["verdict"], line["costlistcode"], line["version"]) == ("reject", "J9", None)
    assert [one["code"] for one in line["findings"]] == ["WITHDRAWAL_UNKNOWN"]
    assert "没有可撤回的记录" in line["status"]


def test_another_companys_record_cannot_be_withdrawn(gate):
    all_the_way(gate, record("J1", plate="沪A12345"))
    other = "110105000000008"
    gate.shop(withdrawn("J1", companycode=SHOP), withdrawn("J1"), company=other)
    gate.run("collect")
    assert sorted(died(gate)) == [
        ("COMPANY_CODE_MISMATCH", "judge", "open"), ("WITHDRAWAL_UNKNOWN", "address", "open"),
    ]  # fmt: skip
    assert seen(gate, "province-11") == [(1, "沪A12345", None, 1)]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (withdrawn("J1", ""), "MANDATORY_MISSING"),
        (withdrawn("J1", "N/A"), "MANDATORY_MISSING"),
        (withdrawn("J1", ["x"]), "STRUCTURE_WRONG"),
        (withdrawn(""), "MANDATORY_MISSING"),
        (withdrawn("J1", plate="沪A12345", mileage=1, parts=[]), "DIALECT_UNKNOWN"),
    ],
)
def test_a_withdrawal_that_does_not_say_what_or_why_is_refused(gate, bad, code):
    gate.shop(record("J1"), bad)
    gate.run("collect")
    assert [one[0] for one in died(gate)] == [code]
    assert [row[0] for row in gate.rows("province-11", "version")] == [1]


# -- out of order ------------------------------------------------------------------------------------------------------


def test_a_withdrawal_that_came_before_its_record_is_a_letter_and_the_record_stands(gate):
    """Intake order decides: what comes after a withdrawal lives. Its replay changes nothing: a newer version stands."""
    gate.shop(withdrawn("J1"), record("J1", plate="沪A12345"))
    gate.run("collect")
    assert seen(gate, "province-11") == [(1, "沪A12345", None, 1)]
    (letter,) = gate.letters()
    (outcome,) = replay_letters(gate.state, [letter["id"]]).letters
    assert outcome.outcome == "resolved"
    assert seen(gate, "province-11") == [(1, "沪A12345", None, 1)]
    assert prove(gate.state).problems == []
    all_the_way(gate, withdrawn("J1"))
    assert seen(gate, "province-11")[-1] == (2, None, WHY, 1)


def test_a_record_that_died_before_its_withdrawal_stays_away_when_it_is_replayed(gate):
    good = record("J1", plate="沪A12345")
    gate.shop({**good, "basicInfo": {**good["basicInfo"], "repairmileage": "-1"}}, withdrawn("J1"))
    gate.run("collect")
    letters = {one["reason"]: one["id"] for one in gate.letters()}
    assert set(letters) == {"MILEAGE_NEGATIVE", "WITHDRAWAL_UNKNOWN"}
    softer = gate.folder / "softer.toml"
    softer.write_text('extends = "strict"\n[severities]\nMILEAGE_NEGATIVE = "flag"\n', "utf-8")
    told = replay_letters(gate.state, [letters["MILEAGE_NEGATIVE"]], COLLECT, [f"mapping.profile={softer}"])
    assert [one.outcome for one in told.letters] == ["resolved"]
    assert gate.rows("province-11") == []
    assert prove(gate.state).problems == []
    again = replay_letters(gate.state, [letters["WITHDRAWAL_UNKNOWN"]])
    assert [(one.outcome, one.why) for one in again.letters] == [("open", "WITHDRAWAL_UNKNOWN")]
    assert prove(gate.state).problems == []
    all_the_way(gate, good)
    assert seen(gate, "province-11") == [(1, "沪A12345", None, 1)], "it lives once it is sent again"


def test_a_record_that_came_by_a_replay_is_found_by_trace_as_withdrawn(gate):
    good = record("J1", plate="沪A12345")
    gate.shop({**good, "basicInfo": {**good["basicInfo"], "repairmileage": "-1"}})
    gate.run("collect")
    softer = gate.folder / "softer.toml"
    softer.write_text('extends = "strict"\n[severities]\nMILEAGE_NEGATIVE = "flag"\n', "utf-8")
    replay_letters(gate.state, [gate.letters()[0]["id"]], COLLECT, [f"mapping.profile={softer}"])
    gate.shop(withdrawn("J1"))
    gate.run("collect")
    assert [(one["version"], one["withdrawn"]) for one in trace(gate.state, gate.state.sealer(), vin(1))["versions"]
            if one["fate"] == "addressed"] == [(1, False), (2, True)]  # fmt: skip


def test_a_waiting_version_is_not_delivered_after_its_withdrawal(gate):
    gate.shop(record("J1"), record("J2", serial=2))
    gate.run("collect")
    with gate.locked("province-11"):
        gate.shop(record("J1", fault="二"))
        gate.run("collect", *HURRY)
        gate.shop(withdrawn("J1"))
        gate.run("collect", *HURRY)
        assert gate.account("collect", "province-11") == {"addressed": 4, "delivered": 2, "waiting": 1, "filtered": 1}
    gate.run("collect", *HURRY)
    assert gate.account("collect", "province-11") == {"addressed": 4, "delivered": 3, "filtered": 1}
    assert [row[:1] + row[2:] for row in seen(gate, "province-11")] == [(1, None, 0), (1, None, 1), (3, WHY, 1)]


def test_a_record_that_waits_for_its_home_is_withdrawn_without_a_delivery(gate):
    all_the_way(gate, record("J1", plate="未上牌"))
    all_the_way(gate, withdrawn("J1"))
    assert gate.account("report", "ministry") == {"addressed": 2, "delivered": 2}
    gate.register(registration(1, "44"))
    gate.run("push")
    assert gate.waiting() == []
    assert gate.rows("province-44") == []
    assert traced(gate)[-1] == ("push", 2, True, "filtered")


def test_a_vehicle_that_moves_takes_no_withdrawn_record_along(gate):
    all_the_way(gate, record("J1", plate="沪A12345"), record("J2", plate="沪A12345"))
    all_the_way(gate, withdrawn("J1"))
    gate.register(registration(1, "44", since="2026-09-15"))
    gate.run("push")
    assert gate.rows("province-44", "costlistcode") == [("J2",)]


# -- history and merging -----------------------------------------------------------------------------------------------


def test_history_rules_do_not_count_what_is_withdrawn(gate):
    gate.shop(record("J1", mileage="90000", day="20260901"))
    gate.run("collect")
    gate.shop(withdrawn("J1"), record("J2", mileage="50000"))
    gate.run("collect")
    assert "MILEAGE_REGRESSION" not in gate.rows("province-11", "findings")[-1][0]


def test_history_counts_it_until_it_is_withdrawn_also_within_a_file(gate):
    gate.shop(
        record("J1", mileage="90000", day="20260901"),
        record("J2", mileage="50000", day="20260902"),
        withdrawn("J1"),
        record("J3", mileage="50000", day="20260903"),
        withdrawn("J9"),
    )
    gate.run("collect")
    flagged = {code: "MILEAGE_REGRESSION" in findings for code, findings, why in
               gate.rows("province-11", "costlistcode, findings, withdrawn") if why is None}  # fmt: skip
    assert flagged == {"J1": False, "J2": True, "J3": False}


def test_of_a_merged_pair_the_other_one_stands_when_one_is_withdrawn(gate):
    shop = record("J1", company=DEALER, plate="京A12345")
    gate.shop(shop, company=DEALER)
    gate.run("collect")
    gate.put("headquarters/SVW", visit("J1"))
    gate.run("headquarters")
    merged = "system, version, merged_into, withdrawn"
    assert [(r[0], bool(r[2])) for r in gate.rows("province-11", merged)] == [("11", False), ("oem-SVW", True)]
    gate.shop(withdrawn("J1"), company=DEALER)
    gate.run("collect")
    gate.put("headquarters/SVW", visit("J1", complaint="二"))
    gate.run("headquarters")
    gate.shop(again(shop), company=DEALER)
    gate.run("collect")
    assert [(r[0], r[1], bool(r[2])) for r in gate.rows("province-11", merged)] == [
        ("11", 1, False), ("oem-SVW", 1, True), ("11", 2, False), ("oem-SVW", 2, False), ("11", 3, True),
    ]  # fmt: skip


# -- files -------------------------------------------------------------------------------------------------------------

OLD = {**repair_schema(), "fields": [f for f in repair_schema()["fields"] if f["name"] != "withdrawn"]}


def parts(folder, schema=None):
    found = []
    for path in sorted((folder / "out").glob("province-44--*.avro")):
        with path.open("rb") as file:
            found += list(fastavro.reader(file, reader_schema=schema))
    return found


def test_in_files_a_withdrawn_version_is_a_record_of_its_own(tmp_path):
    one = payload(1, vehicleplatenumber="粤A12345")
    company, code = (one["basicInfo"][name] for name in ("companycode", "costlistcode"))
    mixed = ("mapping.dialect=auto",)
    run_bulk(tmp_path, [one], "a.ndjson", *mixed)
    back = {"companycode": company, "costlistcode": code, "withdrawn": WHY}
    run_bulk(tmp_path, [payload(2), back, {**back, "costlistcode": "J9"}], "b.ndjson", *mixed)
    run_bulk(tmp_path, [payload(3), one], "c.ndjson", *mixed)
    mine = [r for r in parts(tmp_path) if r["costlistcode"] == code]
    assert [(r["version"], r["withdrawn"], r["vin"] != "") for r in mine] == [
        (1, None, True),
        (2, WHY, False),
        (3, None, True),
    ]
    assert [(r["companycode"], r["mileage"], r["parts"]) for r in mine[1:2]] == [(company, 0, [])]
    old = [r for r in parts(tmp_path, OLD) if r["costlistcode"] == code]
    assert [(r["version"], "withdrawn" in r) for r in old] == [(1, False), (2, False), (3, False)], "old readers go on"
    with State(tmp_path / "state", own=True) as state:
        assert prove(state).problems == []
        found = trace(state, state.sealer(), one["basicInfo"]["vin"])["versions"]
        assert [(v["version"], v["withdrawn"], v["costlistcode"]) for v in found] == [
            (1, False, code), (2, True, code), (3, False, code),
        ]  # fmt: skip
        t = tables.letters.letters
        with state.reading() as connection:
            assert connection.execute(select(t.c.reason)).scalars().all() == ["WITHDRAWAL_UNKNOWN"]


def test_a_new_reader_reads_files_of_before(tmp_path):
    path = tmp_path / "old.avro"
    values = {"string": "x", "int": 1}
    row = {f["name"]: values.get(str(f["type"])) for f in OLD["fields"]}
    row |= {
        "repairdate": 0,
        "settledate": 0,
        "mileage": Decimal(1),
        "parts": [],
        "projects": [],
        "received_at": 0,
        "findings": [],
    }
    with path.open("wb") as file:
        fastavro.writer(file, OLD, [row])
    with path.open("rb") as file:
        (found,) = fastavro.reader(file, reader_schema=repair_schema())
    assert found["withdrawn"] is None


# -- the ledger --------------------------------------------------------------------------------------------------------


def test_a_row_that_is_gone_accuses_no_withdrawn_one(gate):
    gate.shop(record("J1"))
    gate.run("collect")
    gate.shop(withdrawn("J1"), record("J3", serial=3))
    gate.run("collect")
    assert [row[3] for row in gate.rows("province-11", COLUMNS)] == [None, WHY, None]
    hand = sqlite3.connect(gate.folder / "stores/province-11.db")
    with closing(hand), hand:
        hand.execute("DELETE FROM repairs WHERE costlistcode = 'J3'")
    (found,) = prove(gate.state).problems
    assert (found.kind, found.batch, found.destination) == ("missing-record", "collect-000002", "province-11")
    hand = sqlite3.connect(gate.folder / "stores/province-11.db")
    with closing(hand), hand:
        hand.execute("UPDATE repairs SET withdrawn = NULL")
    assert [one.found for one in prove(gate.state).problems if one.kind == "altered-record"] == ["withdrawn"]
