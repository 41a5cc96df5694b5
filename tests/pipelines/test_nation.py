"""The nation at a small scale: its numbers are those that the generator knows, it doubles nothing, its laws hold."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select

from mappings import divisions, plates
from mappings.documents.creditfile import FileRefused, verify_file
from mappings.history import HISTORY_CODES
from mappings.records import Receipt
from pipelines import nation, tables
from pipelines.journal import ADDRESSED, FATES, Journal
from pipelines.state import State

SCALE = 0.05
OUTSIDE = (
    "environment", "solid-waste", "credit", "insurers", "market-regulation", "used-cars", "road-administration",
)  # fmt: skip
"""Destinations of what follows for systems outside."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nation") / "state"
    return nation.run(folder, scale=SCALE)


@pytest.fixture(scope="module")
def expected(ran):
    return json.loads((ran.state / "partners/expected.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def counted(ran):
    return {one.exchange: one for one in ran.counted}


@pytest.fixture(scope="module")
def fates(ran):
    """Exchange -> fate -> number, of envelopes that came from partners (assembled orders are counted apart)."""
    found = {}
    for batch, book in books(ran.state):
        if batch.kind == "source":
            found.setdefault(batch.exchange, Counter()).update(book.counts())
    for exchange, number in known(ran.state).items():
        found[exchange]["duplicate"] += number
    return found


def known(folder):
    """Exchange -> envelopes that were not read, since their whole file had come before."""
    b = tables.batches
    with State(folder, own=False) as state, state.reading() as connection:
        rows = connection.execute(select(b.c.exchange, b.c.duplicate_intake).where(b.c.kind == "known")).all()
    counts = Counter()
    for row in rows:
        counts[row.exchange] += row.duplicate_intake
    return counts


def books(folder):
    b, j = tables.batches, tables.journals
    with State(folder, own=False) as state, state.reading() as connection:
        rows = connection.execute(select(b.c.exchange, b.c.kind, j.c.lines).join(j, j.c.batch == b.c.id)).all()
    return [(row, Journal.unpack(row.lines)) for row in rows]


def rows(folder, pattern="*", columns="*", where="1"):
    found = []
    for store in sorted((folder / "stores").glob(f"{pattern}.db")):
        if not store.stem.startswith(("province-", "ministry")):
            continue  # stores of documents
        with closing(sqlite3.connect(store)) as connection:
            found += [(store.stem, *row) for row in connection.execute(f"SELECT {columns} FROM repairs WHERE {where}")]
    return found


# -- numbers that the generator knows ----------------------------------------------------------------------------------


def test_the_ledger_balances_and_says_how_many_there_were(ran, expected, counted):
    assert ran.problems == []
    empty = expected["special_files"]["empty"]
    assert counted["collect"].totals["received"] == expected["collect"] + empty
    assert counted["headquarters"].totals["received"] == expected["headquarters"]


@pytest.mark.parametrize("exchange", ["collect", "headquarters"])
def test_each_payload_met_the_fate_that_it_was_written_for(fates, expected, exchange):
    wanted = expected["exchanges"][exchange]
    empty = expected["special_files"]["empty"] if exchange == "collect" else 0
    assert fates[exchange] == +Counter(
        addressed=wanted["records"] + wanted["corrections"],
        duplicate=wanted["repeats"],
        dead=wanted["rejected"] + wanted["calls"] + empty,
        fragment=wanted["fragments"],
    )


def test_each_province_collected_what_its_shops_sent(expected, counted):
    delivered = {
        name.removeprefix("province-"): counts["delivered"]
        for name, counts in counted["collect"].destinations.items()
        if name.startswith("province-")
    }
    systems = expected["exchanges"]["collect"]["by_system"]
    orders = {"31": expected["shanghai"]["whole"]}
    assert len(delivered) == 32
    assert delivered == {key: one["records"] + one["corrections"] + orders.get(key, 0) for key, one in systems.items()}


def test_versions_are_the_corrections(ran, expected):
    wanted = expected["exchanges"]
    own = rows(ran.state, "province-*", "version", "repaircomefrom = 1")
    assert sum(version > 1 for _, version in own) == wanted["collect"]["corrections"]
    oem = rows(ran.state, "ministry", "version", "system LIKE 'oem-%'")
    assert sum(version > 1 for _, version in oem) == wanted["headquarters"]["corrections"]


def test_flags_are_those_that_content_explains(ran, expected):
    flagged = Counter()
    for batch, book in books(ran.state):
        if batch.kind == "source":
            bears = [bool(set(codes) - HISTORY_CODES) for codes in book.findings]
            lines = book.lines[book.lines["fate"] == ADDRESSED]
            flagged[batch.exchange] += sum(bears[index] for index in lines["findings"].tolist())
    for exchange in ("collect", "headquarters"):
        assert flagged[exchange] == expected["exchanges"][exchange]["flagged"]


def test_rejects_bear_the_codes_that_were_written_in(ran, expected):
    """Each letter bears every reason: over all letters a code that rejects occurs as often as it was written in."""
    t = tables.letters.letters
    with State(ran.state, own=False) as state, state.reading() as connection:
        letters = connection.execute(select(t)).mappings().all()
    found = Counter()
    for letter in letters:
        if letter["exchange"] in ("outside-in", *OUTSIDE):
            continue  # the generator knows of repairs
        found.update({reason[0] for reason in json.loads(letter["reasons"])})
    for code in ("VIN_MISSING", "VIN_LENGTH", "VIN_ALPHABET", "DATE_FORMAT", "DATE_ORDER", "MILEAGE_NOT_NUMERIC",
                 "MILEAGE_NEGATIVE", "EMPTY_CONTENT", "NOT_JSON", "STRUCTURE_WRONG", "DIALECT_UNKNOWN",
                 "SETTLEDATE_IN_FUTURE", "MANDATORY_MISSING"):  # fmt: skip
        assert found[code] == expected["findings"].get(code, 0), code
    assert len(letters) == ran.letters


def test_every_whole_order_became_a_record_and_the_others_wait(ran, expected):
    with State(ran.state, own=False) as state, state.reading() as connection:
        t = tables.fragments
        pieces = connection.execute(select(t.c.company, t.c.order, t.c.assembled)).all()
    whole = {(p.company, p.order) for p in pieces if p.assembled}
    assert len(whole) == expected["shanghai"]["whole"]
    assert len({(p.company, p.order) for p in pieces} - whole) <= expected["shanghai"]["incomplete"]
    stored = rows(ran.state, "province-31", "companycode, costlistcode, dialect", "dialect = 'shanghai-order'")
    assert {row[1:3] for row in stored} == whole


def test_visits_by_both_ways_are_merged_in_pairs(ran, expected):
    columns, where = "system, record_key, merged_into", "merged_into != ''"
    merged = rows(ran.state, "province-*", columns, where)
    pairs = Counter(store.removeprefix("province-") for store in {(s, k): s for s, _, k, _ in merged}.values())
    assert pairs == expected["merged"]["by_system"]
    assert all(system.startswith("oem-") for _, system, _, _ in merged)
    ministry = {key for _, _, key, _ in rows(ran.state, "ministry", columns, where)}
    assert len(ministry) == expected["merged"]["pairs"]


def test_receipts_answer_every_payload_that_was_read_and_every_whole_order(ran, expected, counted):
    receipts = counted["collect"].destinations["receipts"]
    read = counted["collect"].totals["received"] - known(ran.state)["collect"]
    assert receipts["delivered"] == read + expected["shanghai"]["whole"]
    lines = [line for path in (ran.state / "receipts").rglob("*.ndjson") for line in path.read_bytes().splitlines()]
    assert len(lines) == receipts["delivered"]
    told = Counter(Receipt.model_validate_json(line).verdict for line in lines)
    assert set(told) == {"accept", "reject"}


# -- laws --------------------------------------------------------------------------------------------------------------


def test_nothing_that_came_down_went_up(ran):
    assert {row[1] for row in rows(ran.state, "ministry", "repaircomefrom")} == {1}
    own = {row[1:] for row in rows(ran.state, "province-*", "record_key, version", "repaircomefrom = 1")}
    up = {row[1:] for row in rows(ran.state, "ministry", "record_key, version", "system NOT LIKE 'oem-%'")}
    assert up == own


def test_no_store_holds_a_version_twice_or_two_current_ones(ran):
    every = rows(ran.state, "*", "record_key, version, current")
    assert len({row[:3] for row in every}) == len(every)
    current = Counter(row[:2] for row in every if row[3])
    assert set(current.values()) == {1}


def homes_by_plate(plate, system):
    key = plates.province_key(plates.normalise(plate)) if not plates.special(plates.normalise(plate)) else None
    return divisions.BINGTUAN if key == "65" and system == divisions.BINGTUAN else key


def test_each_vehicle_repaired_elsewhere_stands_at_home(ran):
    """By an own, slower reading of the rules: registration in force, else plate; then every later home.

    A home that became known later gets what is current, not what was before.
    """
    registered = {}
    for name in ("reference/registrations.ndjson", "later/registrations-2.ndjson"):
        for line in (ran.state / "partners" / name).read_text("utf-8").splitlines():
            entry = json.loads(line)
            registered.setdefault(entry["vin"], {})[entry["valid_from"]] = entry
    held = {(store, key, version) for store, key, version in rows(ran.state, "province-*", "record_key, version")}
    missing, pushed = [], 0
    columns = "record_key, version, vin, plate, settledate, system, companycode"
    for _, key, version, vin, plate, day, system, company in rows(
        ran.state, "ministry", columns, "merged_into = '' AND current"
    ):
        entries = sorted(registered.get(vin, {}).values(), key=lambda e: e["valid_from"])
        now = [e for e in entries if e["valid_from"] <= day and (e["valid_to"] is None or day <= e["valid_to"])]
        homes = {now[-1]["home"] if now else homes_by_plate(plate, system)}
        homes |= {e["home"] for e in entries if e["valid_from"] > day}
        away = homes - {None, system if not system.startswith("oem-") else divisions.of_company(company)}
        pushed += len(away)
        missing += [(home, key, version) for home in away if (f"province-{home}", key, version) not in held]
    assert missing == []
    assert pushed > 100


def test_nothing_was_pushed_but_to_homes(ran, counted):
    down = rows(ran.state, "province-*", "record_key", "repaircomefrom = 2 AND system NOT LIKE 'oem-%'")
    oem = rows(ran.state, "province-*", "record_key", "repaircomefrom = 2 AND system LIKE 'oem-%'")
    delivered = sum(counts["delivered"] for counts in counted["push"].destinations.values())
    distributed = sum(
        counts["delivered"] + counts["merged"]
        for name, counts in counted["headquarters"].destinations.items()
        if name.startswith("province-")
    )
    assert len(down) + len(oem) == delivered + distributed


def test_unknown_homes_waited_and_were_placed(ran, expected, fates):
    """A record of unknown home that is merged into headquarters' record goes by that one."""
    unknown = {row[1] for row in rows(ran.state, "ministry", "record_key", "findings LIKE '%PLATE_PROVINCE_UNKNOWN%'")}
    assert len(unknown) == expected["homes"]["unknown"]
    alone = rows(ran.state, "ministry", "record_key", "findings LIKE '%PLATE_PROVINCE_UNKNOWN%' AND merged_into = ''")
    notes = Counter()
    for batch, book in books(ran.state):
        if batch.exchange == "push":
            notes.update(book.notes.values())
    waiting = sum(1 for note in notes.elements() if "unknown" in note)
    with State(ran.state, own=False) as state, state.reading() as connection:
        left = connection.execute(select(tables.waiting.c.vin)).all()
    assert waiting == len(left)
    assert len(alone) > len(left)
    assert fates["push"]["unplaced"] == len(left)
    assert set(FATES.values()) >= set(fates["push"])


# -- again -------------------------------------------------------------------------------------------------------------


def test_a_second_run_doubles_nothing_and_says_so(ran, capsys):
    before = sorted(rows(ran.state, "*", "delivery_id, seq"))
    again = nation.run(ran.state)
    assert again.again
    assert again.problems == []
    assert sorted(rows(ran.state, "*", "delivery_id, seq")) == before
    assert sum(c["delivered"] for one in again.counted for c in one.destinations.values()) == 0
    assert again.letters == ran.letters
    from pipelines.cli.nation import nation as command

    command(ran.state, as_json=False)
    out = capsys.readouterr().out
    assert "没有任何重复写入" in out
    assert out.count("vingate ") == 3


def test_another_size_is_refused_with_a_remedy(ran):
    with pytest.raises(nation.OtherSample, match="--state"):
        nation.run(ran.state, scale=0.5)


# -- systems outside ---------------------------------------------------------------------------------------------------


def taken_by(ran, name):
    with closing(sqlite3.connect(f"file:{ran.state}/stand-ins/{name}.db?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM received").fetchone()[0]


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_was_delivered_outside_is_what_the_stand_in_took(ran, counted, name):
    told = [one.destinations[name] for one in counted.values() if name in one.destinations]
    assert sum(counts["delivered"] for counts in told) == taken_by(ran, name)
    assert sum(counts["received"] for counts in told) == taken_by(ran, name)


def test_the_lanes_that_a_small_sample_fills_are_filled(ran):
    assert {name for name in OUTSIDE if taken_by(ran, name)} >= {
        "environment", "solid-waste", "credit", "insurers", "used-cars", "road-administration",
    }  # fmt: skip


def test_no_plate_is_told_where_none_may_be(ran):
    with closing(sqlite3.connect(f"file:{ran.state}/stores/province-44.db?mode=ro", uri=True)) as connection:
        known = {row[0] for row in connection.execute("SELECT DISTINCT plate FROM repairs WHERE length(plate) > 6")}
    assert len(known) > 50
    for name in ("solid-waste", "credit", "market-regulation", "used-cars", "road-administration"):
        with closing(sqlite3.connect(f"file:{ran.state}/stand-ins/{name}.db?mode=ro", uri=True)) as connection:
            told = "\n".join(row[0] for row in connection.execute("SELECT record FROM received"))
        assert [plate for plate in known if plate in told] == [], name


def test_the_page_lies_beside_the_state(ran):
    assert ran.page == ran.state / "report.html"
    assert "road-administration" in ran.page.read_text("utf-8")


def test_cases_tell_what_is_late_and_out_of_balance(ran, capsys):
    from pipelines.cli import main

    store = f"sqlite:///{ran.state}/stores/cases-44.db"
    assert main(["cases", "emissions", "--store", store, "--on", "2027-06-01", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cases"] == sum(told["states"].values()) > 0
    assert all(one["days"] > 0 for one in told["overdue"])
    assert {one["station"][0] for one in told["pass_rates"]} <= {"M"}
    assert {one["station"] for one in told["pass_rates_by_tester"]} == {"4401000001"}
    assert {code: len(cases) for code, cases in told["remarked"].items()} == told["findings"]
    assert main(["cases", "waste", "--store", store, "--json"]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert cases
    assert all(one["evidence"] for one in cases if one["reason"] != "silence")
    for command in ("emissions", "waste"):
        assert main(["cases", command, "--store", store]) == 0
        shown = capsys.readouterr().out
        assert not [vin for vin in vins(ran.state) if vin in shown]


def test_the_department_received_what_is_due_but_for_what_it_refused(ran, capsys):
    from pipelines.cli import main

    code = main(["cases", "closures", "--state", str(ran.state), "--json"])
    (told,) = json.loads(capsys.readouterr().out)["exchanges"]
    missing = [one["newest"] for day in told["days"] for one in day["missing"]]
    assert told["due"] == told["received"] + len(missing) > 0
    assert set(missing) <= {"dead"}
    assert code == int(bool(missing))


def vins(folder):
    with closing(sqlite3.connect(f"file:{folder}/stores/province-44.db?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute("SELECT DISTINCT vin FROM repairs WHERE vin IS NOT NULL")]


def test_a_store_that_is_not_there_is_said(capsys, tmp_path):
    from pipelines.cli import main

    assert main(["cases", "emissions", "--store", f"sqlite:///{tmp_path}/nowhere.db"]) == 2
    assert "nowhere.db" in capsys.readouterr().err
    assert not (tmp_path / "nowhere.db").exists()


def test_a_credit_entry_is_worked_out_again_as_it_was_sent(ran, capsys):
    from pipelines.cli import main

    with closing(sqlite3.connect(f"file:{ran.state}/stores/cases-44.db?mode=ro", uri=True)) as connection:
        asked = "SELECT companycode, members FROM documents WHERE kind = 'credit-entry' LIMIT 1"
        company, members = connection.execute(asked).fetchone()
    operators = ran.state / "partners/outside-registers/operators.csv"
    given = [str(nation.DEPLOY / "exchanges/credit.toml"), "--subject", company, "--state", str(ran.state)]
    given += ["--set", f"source.with.operators={operators}"]
    assert main(["derive", *given, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["members"] for one in told if one["kind"] == "credit-entry"] == [json.loads(members)]
    assert main(["derive", *given]) == 0
    assert "score" in capsys.readouterr().out
    assert main(["derive", str(nation.DEPLOY / "exchanges/collect.toml"), "--subject", company]) == 2


def test_credit_entries_leave_as_a_file_whose_signature_holds(ran, capsys, tmp_path):
    from pipelines.cli import main

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "signing.pem").write_bytes(pem)
    (tmp_path / "signing.pem").chmod(0o600)
    given = ["--key", str(tmp_path / "signing.pem"), "--on", "2026-10-01", "--out", str(tmp_path / "files")]
    store = ["--store", f"sqlite:///{ran.state}/stores/cases-44.db", "--period", "2026-09", "--json"]
    assert main(["cases", "credit-file", *given, *store]) == 0
    told = json.loads(capsys.readouterr().out)
    body, signature = (Path(told[name]).read_bytes() for name in ("file", "signature"))
    assert len(verify_file(body, signature, key.public_key()).entries) == told["entries"] > 0
    with pytest.raises(FileRefused):
        verify_file(body.replace(b"2026-09", b"2026-08"), signature, key.public_key())
    assert main(["cases", "credit-file", *given, *store]) == 0, "the same again is the same file"
    Path(told["file"]).write_bytes(b"sent before")
    assert main(["cases", "credit-file", *given, *store]) == 2
    assert ("--serial" in capsys.readouterr().err, Path(told["file"]).read_bytes()) == (True, b"sent before")
    assert main(["cases", "credit-file", *given, *store, "--serial", "2"]) == 0
    capsys.readouterr()
    assert main(["cases", "credit-file", *given, *store[:2], "--period", "2020-01", "--serial", "3"]) == 2
    assert "periods in the store: 2026-09" in " ".join(capsys.readouterr().err.split())
    assert len(list((tmp_path / "files").iterdir())) == 4, "a file and its signature, twice"
