"""Loads that go by columns end as they do row by row: who lives, who dies where and why, what is staged."""

# ruff: noqa: S311 - chance is seeded
from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from payload_makers import clean, mutated
from test_steps import Bench, record

from mappings.encoding_interchange import encode_interchange
from mappings.findings import profile
from mappings.judging import Context
from mappings.quick import NATIONAL
from mappings.reading import judge, read
from mappings.sheetreader import FEWEST, compile_sheet_reader
from pipelines import steps
from pipelines.journal import ADDRESSED, DUPLICATE, Journal

CONTEXT = Context(profile("strict"), datetime(2026, 1, 1, tzinfo=UTC))
TABLES = ("collect", "report", "push", "home")


def followed(bench, load):
    """Everything that the steps say of a load."""
    alive, dead = bench.through(load)
    seen = (
        [alive.ordinals, alive.offsets, alive.bodies, list(alive.values), alive.companies, alive.flags],
        [alive.destinations, alive.fates, alive.notes, alive.versions],
        sorted(dead),
    )
    encoded, receipt = bench.staged(alive)
    journal = Journal.unpack(Path(receipt.journal).read_bytes())
    return *seen, encoded.contents, encoded.staged, journal.lines.tolist(), journal.routes, journal.findings


def agree(tmp_path, payloads, told=None, table="home", columns=True, **options):
    """Both ways over the same payloads; what came out."""
    settings = {"routing": {"table": table}, "sinks": {"out": {"connector": "avro", "path": str(tmp_path / "out")}}}
    made = Bench(tmp_path, {"0": told} if told else None, **settings)
    assert made.bench.sheet_read is not None
    made.bench.sheet_read = compile_sheet_reader(NATIONAL, fewest=1, refusals=100_000)
    load = made.load(*payloads, **options)
    assert isinstance(steps.decode(made.bench, load)[0].values, list) is not columns
    by_columns = followed(made, load)
    made.bench.sheet_read = None
    assert by_columns == followed(made, made.load(*payloads, **options))
    return by_columns


def carried(i: int) -> bytes:
    """A record that came from another system, some of them from above."""
    row = judge(read(json.dumps(record(costlistcode=f"R{i}")).encode(), "national"), CONTEXT).record
    about = {"system": "11", "version": 3, "repaircomefrom": 1 + i % 2, "dialect": "national"}
    return encode_interchange(row, {**about, "received_at": CONTEXT.received_at, "findings": ("X",)}, "report")


def clean_ones(count: int = 2 * FEWEST) -> list[dict]:
    rnd = random.Random(count)
    made = [clean(rnd) for _ in range(count)]
    for i, one in enumerate(made):
        one["basicInfo"]["costlistcode"] = f"JS{i}"
        one["basicInfo"].setdefault("companycode", "31000001")
    return made


@pytest.mark.parametrize("table", TABLES)
def test_records_of_other_systems_go_by_what_they_carry(tmp_path, table):
    payloads = clean_ones(16 * FEWEST)
    for at in (3, 40, 41, 100):
        payloads.insert(at, carried(at))
    (ordinals, *_), _, dead, *_ = agree(tmp_path, payloads, table=table)
    assert {3, 40, 41, 100} <= set(ordinals), dead


@pytest.mark.parametrize("company", ["", "31000001"])
def test_whatever_partners_do(tmp_path, company):
    rnd = random.Random(7)
    payloads = [mutated(rnd, one) if i % 4 == 0 else one for i, one in enumerate(clean_ones(600))]
    payloads[5] = b"not json"
    payloads[9] = {"companycode": "1", "companypassword": "secret"}
    agree(tmp_path, payloads, company=company)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        record(vin="LVSHCAMB2CE054249"),
        record(faultdescription="无"),
        record(vehicleplatenumber="WJ12345"),
        record(vehicleplatenumber="使123456"),
    ],
)
def test_blocks_of_which_nothing_is_plainly_clean(tmp_path, payload):
    agree(tmp_path, [payload] * (2 * FEWEST))


def test_blocks_of_which_nothing_is_left(tmp_path):
    *_, lines, _, _ = agree(tmp_path, [record(vin="LVSHCAMB2CE054249")] * (2 * FEWEST))
    assert lines == []


def test_directives_of_a_second_run(tmp_path):
    told = {"3": [ADDRESSED, 2, ["province-44", "province-31"]], "5": [DUPLICATE, 1, []], "9": [ADDRESSED, 7, []]}
    payloads = clean_ones()
    payloads[9] = record(faultdescription="无")
    _, (destinations, *_), *_ = agree(tmp_path, payloads, told)
    assert destinations[3] == ("province-44", "province-31")


def test_payloads_of_another_dialect_are_read_in_it(tmp_path):
    _, _, dead, *_ = agree(tmp_path, clean_ones(), columns=False, dialect="report")
    assert {(stage, *codes) for stage, _, codes in dead} == {("decode", "DIALECT_UNKNOWN")}
