"""Each step on small loads: who goes on, who is dead where and why; directives obeyed; what is staged."""

# ruff: noqa: E501 - values that are tried stand side by side
from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import fastavro
import pytest

from connectors.contracts import WorkItem
from dlq import reasons
from dlq.sealing import Sealer
from dlq.segments import read_segment
from mappings.encoding import SCHEMA
from pipelines import steps
from pipelines.errors import SettingsError
from pipelines.journal import ADDRESSED, DEAD, DUPLICATE, FILTERED, FRAGMENT, UNPLACED, Journal
from pipelines.segments import PIECE, RECORD, REMARKS, read_rows
from pipelines.settings import Exchange
from pipelines.staging import LetterStager, Stager
from pipelines.work import Job, Load, Task
from pipelines.workbench import Workbench

AVRO = fastavro.parse_schema(SCHEMA)
RECEIVED = "2025-06-06T10:00:00.123+08:00"


def record(**changes):
    basic = {
        "companycode": "44030001",
        "companyname": "某某汽车维修有限公司",
        "vehicleplatenumber": "粤B12345",
        "vin": "LVSHCAMB1CE054249",
        "repairdate": "20250605",
        "repairmileage": "52000",
        "settledate": "20250605",
        "faultdescription": "发动机异响",
        "costlistcode": "JS1",
    } | changes
    parts = [{"partsname": "火花塞", "partsquantity": "6", "partscode": "999"}]
    projects = [{"repairproject": "更换火花塞", "workinghours": "2"}]
    return {"basicInfo": basic, "vehiclepartslist": parts, "repairprojectlist": projects}


def raw(payload):
    return payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()


class Bench:
    """A workbench over a folder of its own."""

    def __init__(self, folder, directives=None, **settings):
        self.folder = folder
        (folder / "staging").mkdir(exist_ok=True)
        (folder / "in").mkdir(exist_ok=True)
        Sealer.open(folder / "key", create=True)
        plain = {
            "name": "collect",
            "source": {"connector": "files", "path": str(folder / "in"), "format": "ndjson"},
            "mapping": {"dialect": "auto", "kinds": ["repair"]},
            "versions": {"system": "44"},
            "routing": {"table": "home"},
            "sinks": {"out": {"connector": "avro", "path": str(folder / "out")}},
        } | settings
        path = folder / "directives.json"
        path.write_text(json.dumps(directives or {}), "utf-8")
        exchange = Exchange.model_validate(plain).model_dump(mode="json", by_alias=True)
        job = Job(exchange, "collect-000007", 7, RECEIVED, str(folder / "staging"), str(folder / "key"))
        self.bench = Workbench(replace(job, directives=str(path) if directives else ""))

    def load(self, *payloads, company="", system="", **extra):
        item = WorkItem("a.ndjson", "d" * 64, company=company, system=system, extra=extra)
        bodies = [raw(payload) for payload in payloads]
        return Load(Task(0, item), list(range(len(bodies))), [i * 100 for i in range(len(bodies))], bodies)

    def through(self, load, last="address"):
        """The load after all steps up to `last`, and everything dead on the way: (stage, ordinal, codes)."""
        dead = []
        for step in (steps.decode, steps.judge, steps.address):
            load, died = step(self.bench, load)
            if died is not None:
                dead += [
                    (died.stage, o, [w[0] for w in whys]) for o, whys in zip(died.ordinals, died.whys, strict=True)
                ]
            if step.__name__ == last:
                break
        return load, dead

    def staged(self, load):
        encoded = steps.encode(self.bench, steps.Encoder(self.bench, load.task), load)
        stager = Stager(self.bench, load.task)
        stager.add(encoded)
        stager.add(Load(load.task, [], [], [], total=len(load.ordinals)))
        return encoded, stager.finish()

    def rows(self, path):
        return [(row.ordinal, row.kind, row.body) for row in read_rows(path, self.bench.sealer)]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def avro(staged):
    return fastavro.schemaless_reader(BytesIO(staged), AVRO, None)


def test_receive_gives_blocks_and_then_the_total(tmp_path):
    made = Bench(tmp_path, batch={"block": 2})
    (tmp_path / "in/a.ndjson").write_bytes(b"".join(raw(record(costlistcode=f"J{n}")) + b"\n" for n in range(5)))
    (item,) = list(made.bench.source.plan({}))
    loads = list(steps.receive(made.bench, Task(3, item)))
    assert [load.ordinals for load, _ in loads] == [[0, 1], [2, 3], [4], []]
    assert [load.total for load, _ in loads] == [-1, -1, -1, 5]
    assert [dead for _, dead in loads] == [None] * 4
    assert [json.loads(b)["basicInfo"]["costlistcode"] for load, _ in loads for b in load.bodies] == [
        f"J{n}" for n in range(5)
    ]


def test_the_dead_go_to_the_stage_that_they_died_at_with_all_reasons(bench):
    load, dead = bench.through(
        bench.load(
            b"not json",
            record(vin="LVSHCAMB2CE054249", settledate="20251332"),
            record(),
            {"companycode": "1", "companypassword": "secret"},
            record(vehicleplatenumber="Q1"),
        )
    )
    assert dead == [
        ("decode", 0, ["NOT_JSON"]),
        ("decode", 3, ["CREDENTIALS_IN_FILE"]),
        ("judge", 1, ["VIN_CHECK_DIGIT", "DATE_FORMAT"]),
        ("judge", 4, ["PLATE_PROVINCE_UNKNOWN"]),
    ]
    assert (load.ordinals, load.destinations) == ([2], [("province-44",)])


@pytest.fixture
def patient(tmp_path):
    """A bench whose profile only flags plates without a province: their home is unknown, and they wait."""
    profile = tmp_path / "patient.toml"
    profile.write_text('extends = "strict"\n[severities]\nPLATE_PROVINCE_UNKNOWN = "flag"\n', "utf-8")
    return Bench(tmp_path, mapping={"dialect": "auto", "profile": str(profile)})


def test_what_finds_no_home_waits_and_what_has_none_is_filtered(patient):
    load, dead = patient.through(
        patient.load(record(), record(vehicleplatenumber="Q1"), record(vehicleplatenumber="使123456"))
    )
    assert dead == []
    assert load.fates == {1: UNPLACED, 2: FILTERED}
    assert load.destinations == [("province-44",), (), ()]
    assert set(load.notes) == {1, 2}
    assert load.flags == {1: ("PLATE_SYNTAX", "PLATE_PROVINCE_UNKNOWN")}


def test_a_record_of_another_company_is_dead_beside_its_other_faults(tmp_path):
    made = Bench(tmp_path)
    _, dead = made.through(
        made.load(record(companycode="1"), record(companycode="1", repairmileage="-5"), record(), company="44030001")
    )
    assert sorted(dead) == [
        ("judge", 0, ["COMPANY_CODE_MISMATCH"]),
        ("judge", 1, ["MILEAGE_NEGATIVE", "COMPANY_CODE_MISMATCH"]),
    ]
    load, _ = steps.decode(made.bench, made.load(record(companycode="1"), company="44030001"))
    _, died = steps.judge(made.bench, load)
    assert (died.about[0].companycode, died.about[0].costlistcode) == ("1", "JS1")


@pytest.mark.parametrize("dialect", ["auto", "national"])
def test_where_the_source_has_to_name_the_company_what_it_does_not_name_is_dead(tmp_path, dialect):
    made = Bench(tmp_path, mapping={"dialect": dialect, "company": "source"})
    load, dead = made.through(made.load(record(), record(companycode="44030002", repairmileage="-5")))
    assert load.ordinals == []
    assert sorted(dead) == [
        ("judge", 0, ["COMPANY_NOT_NAMED"]),
        ("judge", 1, ["MILEAGE_NEGATIVE", "COMPANY_NOT_NAMED"]),
    ]
    load, dead = made.through(made.load(record(), company="44030001"))
    assert (load.ordinals, dead) == ([0], [])


def test_an_absent_company_is_filled_in_or_missed(bench):
    without = record()
    del without["basicInfo"]["companycode"]
    load, dead = bench.through(bench.load(without, company="44030009"))
    assert (load.values[0].companycode, dead) == ("44030009", [])
    assert bench.through(bench.load(without))[1] == [("judge", 0, ["MANDATORY_MISSING"])]


def test_kinds_that_are_not_taken_are_letters(bench, root):
    moved = json.loads((root / "mappings/data/mappings/examples/registration-feed/moved.in.json").read_text("utf-8"))
    assert bench.through(bench.load(moved))[1] == [("judge", 0, ["KIND_NOT_TAKEN"])]


def test_pieces_that_grew_too_old_are_letters_of_their_own_stage(bench):
    assert bench.through(bench.load(record(), **{"too-old": True}))[1] == [("assemble", 0, ["FRAGMENT_TOO_OLD"])]


@pytest.mark.parametrize(
    ("member", "value"),
    [("version", "x"), ("version", 0), ("version", 1 << 31), ("version", True), ("system", ""),
     ("repaircomefrom", None), ("received_at", "gestern"), ("received_at", "2025-01-01T00:00:00"), ("received_at", 5), ("dialect", 7)],
)  # fmt: skip
def test_what_other_systems_carry_is_checked_before_it_is_relied_on(bench, root, member, value):
    sent = json.loads((root / "mappings/data/mappings/examples/report/record.in.json").read_text("utf-8"))
    assert bench.through(bench.load(sent))[1] == []
    load = bench.load(sent | {member: value}, sent)
    alive, _ = steps.judge(bench.bench, steps.decode(bench.bench, load)[0])
    assert alive.ordinals == [1]


def test_directives_are_obeyed_beside_records_that_die_at_the_address(tmp_path, monkeypatch):
    told = {"0": {"0": [ADDRESSED, 2, ["province-44", "province-31"]], "2": [DUPLICATE, 1, []]}}
    made = Bench(tmp_path, told)
    route = made.bench.router.route_row

    def holed(plate, *rest):
        found = route(plate, *rest)
        hole = type("Hole", (Exception,), {})("no route")
        return found if plate != "鄂B00000" else replace_hole(found, hole)

    monkeypatch.setattr(reasons, "from_error", lambda _: reasons.reason("NO_ROUTE"))
    monkeypatch.setattr(made.bench.router, "route_row", holed, raising=False)
    load, dead = made.through(made.load(record(), record(vehicleplatenumber="鄂B00000"), record(), record()))
    assert dead == [("address", 1, ["NO_ROUTE"])]
    assert load.ordinals == [0, 2, 3]
    assert load.destinations == [("province-44", "province-31"), (), ("province-44",)]
    assert (load.versions, load.fates) == ({0: 2, 2: 1}, {0: ADDRESSED, 2: DUPLICATE})


def replace_hole(found, hole):
    return type("Found", (), {"routes": (), "hole": hole, "filtered": "", "waiting": ""})()


def test_records_are_staged_as_avro_with_where_they_came_from(bench):
    load, _ = bench.through(bench.load(record(), record(costlistcode="J2", repairmileage="0"), system="31"))
    encoded, receipt = bench.staged(load)
    first, second = map(avro, encoded.staged)
    assert (first["system"], first["version"], first["dialect"], first["findings"]) == ("31", 1, "national", [])
    assert first["received_at"] == datetime.fromisoformat(RECEIVED).astimezone(UTC)
    assert second["findings"] == ["MILEAGE_ZERO"]
    assert first["parts"] == [{"name": "火花塞", "quantity": Decimal(6), "code": "999"}]
    (part,) = receipt.parts
    assert (part.destination, part.count, receipt.total) == ("province-44", 2, 2)
    lines = Journal.unpack(Path(receipt.journal).read_bytes())
    assert lines.counts() == {"addressed": 2}
    assert lines.findings[lines.lines["findings"][1]] == ("MILEAGE_ZERO",)


def test_carried_members_are_staged_as_they_came(bench, root):
    sent = json.loads((root / "mappings/data/mappings/examples/report/record.in.json").read_text("utf-8"))
    load, _ = bench.through(bench.load(sent, record()))
    encoded, receipt = bench.staged(load)
    found = avro(encoded.staged[0])
    told = ("system", "version", "repaircomefrom", "dialect")
    assert {n: found[n] for n in told} == {n: sent[n] for n in told}
    assert found["received_at"] == datetime.fromisoformat(sent["received_at"])
    assert sent["findings"][0] in found["findings"]
    lines = Journal.unpack(Path(receipt.journal).read_bytes()).lines
    assert lines["version"].tolist() == [sent["version"], 1]


def test_pieces_beside_records_leave_the_records_avro(bench, root):
    piece = json.loads((root / "mappings/data/mappings/examples/shanghai/insert.in.json").read_text("utf-8"))
    load, dead = bench.through(bench.load(record(), piece, record(costlistcode="J2"), company="44030001"))
    assert (dead, load.fates) == ([], {1: FRAGMENT})
    encoded, receipt = bench.staged(load)
    assert [avro(encoded.staged[i])["costlistcode"] for i in (0, 2)] == ["JS1", "J2"]
    assert receipt.parts[0].count == 2
    ((ordinal, kind, body),) = bench.rows(receipt.rows)
    assert (ordinal, kind) == (1, PIECE)
    assert body.endswith(raw(piece))


def test_what_waits_is_staged_as_a_sealed_row(patient):
    load, _ = patient.through(patient.load(record(), record(vehicleplatenumber="Q1")))
    _, receipt = patient.staged(load)
    ((ordinal, kind, body),) = patient.rows(receipt.rows)
    assert (ordinal, kind, json.loads(body)["plate"]) == (1, RECORD, "Q1")
    sealed = Path(receipt.rows).read_bytes()
    assert b"LVSHCAMB1CE054249" not in sealed
    assert receipt.parts[0].count == 1


def test_row_sinks_get_canonical_rows_and_receipts_their_remarks(tmp_path):
    made = Bench(
        tmp_path,
        sinks={"store": {"connector": "memory", "hub": "steps"}},
        rules={"receipts": "receipts"},
    )  # fmt: skip
    load, _ = made.through(made.load(record(repairmileage="0")))
    _, receipt = made.staged(load)
    rows = made.rows(receipt.rows)
    assert [(kind, json.loads(body)) for _, kind, body in rows][1] == (
        REMARKS, ["44030001", "JS1", json.loads(rows[1][2])[2]]
    )  # fmt: skip
    assert rows[0][1] == RECORD
    assert json.loads(rows[0][2])["mileage"] == "0"
    assert json.loads(rows[1][2])[2][0][0] == "MILEAGE_ZERO"


def test_the_dead_become_letters_with_their_bytes_sealed(bench):
    _, died = steps.decode(bench.bench, bench.load(b"not json", record()))
    stager = LetterStager(bench.bench)
    stager.add(died)
    (receipt,) = stager.finish()
    (letter,) = read_segment(receipt.letters[0].path)
    assert (letter.stage, letter.reason, letter.offset, letter.batch) == ("decode", "NOT_JSON", 0, "collect-000007")
    assert b"not json" not in Path(receipt.letters[0].path).read_bytes()
    lines = Journal.unpack(Path(receipt.journal).read_bytes())
    assert lines.counts() == {"dead": 1}
    assert (lines.lines["fate"].tolist(), receipt.total) == ([DEAD], -1)


def test_the_future_is_counted_from_the_day_of_receipt(bench):
    ahead = datetime.fromisoformat(RECEIVED) + timedelta(days=1)
    later = ahead + timedelta(days=1)
    load = bench.load(record(settledate=f"{ahead:%Y%m%d}"), record(settledate=f"{later:%Y%m%d}"))
    assert bench.through(load)[1] == [("judge", 1, ["SETTLEDATE_IN_FUTURE"])]


def test_a_destination_that_no_sink_serves_is_named_with_its_remedy(tmp_path):
    made = Bench(tmp_path, sinks={"out": {"connector": "avro", "path": str(tmp_path / "out"), "for": "ministry"}})
    load, _ = made.through(made.load(record()))
    with pytest.raises(SettingsError, match="no sink serves province-44"):
        made.staged(load)
