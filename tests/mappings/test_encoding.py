"""Avro bytes against an independent reader, the schema file against the records, and digests that must never change."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from typing import NamedTuple, get_type_hints

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import avroschema, records
from mappings.avroschema import compile_encoder, repair_schema, schema_text, zigzag
from mappings.encoding import (
    SCHEMA,
    company_bytes,
    content_bytes,
    content_digest,
    content_digests,
    contents_of,
    delivery_id,
    key_digest,
    key_digests,
    provenance_bytes,
    record_key,
    vin_digest,
    withdrawn_bytes,
)
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read
from mappings.records import Part, Project, Provenance, RepairRecord, RepairRow, Withdrawal

PARSED = fastavro.parse_schema(repair_schema())
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
DECIMALS = st.builds(
    lambda whole, places: Decimal(whole).scaleb(-places), st.integers(-(10**16) + 1, 10**16 - 1), st.integers(0, 4)
).filter(lambda d: abs(d) < 10**12)
AMOUNTS = st.none() | DECIMALS
DAYS = st.dates(date(1950, 1, 1), date(2200, 12, 31))
ROWS = st.builds(
    RepairRow,
    *[TEXTS] * 4,
    DAYS,
    DAYS,
    DECIMALS,
    *[TEXTS] * 2,
    st.lists(st.builds(Part, TEXTS, AMOUNTS, TEXTS), max_size=5).map(tuple),
    st.lists(st.builds(Project, TEXTS, AMOUNTS), max_size=5).map(tuple),
)
ROW = RepairRow(
    "44030001",
    "某某汽车维修有限公司",
    "粤B12345",
    "LVSHCAMB1CE054249",
    date(2025, 6, 4),
    date(2025, 6, 5),
    Decimal(52000),
    "发动机异响",
    "JS1",
    (Part("火花塞", Decimal("4.5"), "999"), Part("机油", None, "")),
    (Project("更换火花塞", Decimal(2)),),
)
RECEIVED = datetime(2025, 6, 6, 10, 0, 0, 123000, timezone(timedelta(hours=8)))


def whole(row, *provenance):
    return company_bytes(row.companycode) + content_bytes(row[1:]) + provenance_bytes(*provenance)


def decoded(data):
    stream = BytesIO(data)
    found = fastavro.schemaless_reader(stream, PARSED, None)
    assert not stream.read()
    return found


def expected(row):
    return {
        **row._asdict(),
        "parts": [part._asdict() for part in row.parts],
        "projects": [project._asdict() for project in row.projects],
        "withdrawn": None,
    }


@given(ROWS, TEXTS, st.integers(1, 2**31 - 1), st.lists(TEXTS, max_size=3))
def test_an_independent_reader_sees_the_same_values(row, text, version, findings):
    found = decoded(whole(row, text, version, 2, "national", RECEIVED, findings))
    told = {"system": text, "version": version, "repaircomefrom": 2, "dialect": "national"}
    assert found == expected(row) | told | {"received_at": RECEIVED, "findings": findings}
    provenance = Provenance(**told, received_at=RECEIVED, findings=tuple(findings))
    assert RepairRecord.from_delivered(found) == RepairRecord.from_row(row, provenance)
    assert RepairRecord.from_delivered(found).row() == row


@given(TEXTS, TEXTS, TEXTS)
def test_a_withdrawn_version_names_the_record_and_says_why(company, code, why):
    found = decoded(
        withdrawn_bytes(Withdrawal(company, code, why)) + provenance_bytes("44", 2, 1, "record", RECEIVED, (), why)
    )
    assert (found["companycode"], found["costlistcode"], found["withdrawn"], found["version"]) == (
        company,
        code,
        why,
        2,
    )
    assert (found["vin"], found["plate"], found["mileage"], found["parts"]) == ("", "", 0, [])
    with pytest.raises(ValueError, match="withdrawn"):
        RepairRecord.from_delivered(found)


def test_the_record_is_the_row_with_provenance():
    fields = get_type_hints(RepairRow) | {"provenance": Provenance}
    assert {name: info.annotation for name, info in RepairRecord.model_fields.items()} == fields
    assert RepairRecord.from_row(ROW, Provenance(system="44", dialect="national", received_at=RECEIVED)).row() == ROW


@pytest.mark.parametrize("name", ["national", "chengdu", "root", "csv", "oem", "shanghai-order"])
def test_every_golden_record_is_one(root, name):
    held = Provenance(system="44", dialect=name, received_at=RECEIVED)
    examples = sorted((root / "mappings/data/mappings/examples" / name).glob("*.in.*"))
    drafts = [draft for draft in (read(path.read_bytes(), name) for path in examples) if draft.kind == "repair"]
    judged = [judge(draft, Context(profile("lenient"), RECEIVED, company="440100000000001")).record for draft in drafts]
    rows = [row for row in judged if isinstance(row, RepairRow)]
    assert rows
    assert [RepairRecord.from_row(row, held).row() for row in rows] == rows


@given(st.lists(ROWS, max_size=4))
def test_many_rows_are_encoded_as_one_by_one(rows):
    assert contents_of(rows) == [content_bytes(row[1:]) for row in rows]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200, 9_000])
def test_lists_of_any_length(count):
    row = ROW._replace(parts=(Part("件", Decimal(1), "c"),) * count, projects=(Project("项", None),) * count)
    assert decoded(whole(row, "44", 1, 1, "n", RECEIVED, ())) == expected(row) | {
        "system": "44", "version": 1, "repaircomefrom": 1, "dialect": "n", "received_at": RECEIVED, "findings": []
    }  # fmt: skip


@pytest.mark.parametrize(
    "number",
    ["0", "-0.0001", "0.0001", "1", "-1", "54975581.3887", "54975581.3888", "54975581.3889", "-54975581.3888",
     "999999999999.9999", "-999999999999.9999", "1E+3", "1.5000"],
)  # fmt: skip
def test_decimals_are_exact_at_every_size(number):
    row = ROW._replace(mileage=Decimal(number), parts=(Part("件", Decimal(number), "c"),))
    found = decoded(whole(row, "44", 1, 1, "national", RECEIVED, ()))
    assert found["mileage"] == found["parts"][0]["quantity"] == Decimal(number)
    assert isinstance(found["mileage"], Decimal)


def test_equal_values_are_equal_bytes_however_they_are_written():
    quantities = [Decimal("4.5"), Decimal("4.50"), Decimal("45E-1")]
    rows = [ROW._replace(mileage=q, parts=(Part("件", q, "c"),)) for q in quantities]
    assert len(set(contents_of(rows))) == 1


def test_texts_longer_than_a_memo_keeps():
    row = ROW._replace(faultdescription="响" * 5_000, costlistcode="J" * 70_000)
    assert decoded(whole(row, "44", 1, 1, "national", RECEIVED, ()))["costlistcode"] == "J" * 70_000


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)), st.integers(-12, 14))  # noqa: DTZ001 - zones follow
def test_moments_keep_their_millisecond(moment, hours):
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(hours=hours)))
    assert decoded(whole(ROW, "44", 1, 1, "national", moment, ()))["received_at"] == moment


@given(st.integers(-(2**63), 2**63 - 1))
def test_zigzag_is_what_readers_take_for_a_long(number):
    assert fastavro.schemaless_reader(BytesIO(zigzag(number)), "long", None) == number


def test_a_type_without_an_encoding_is_refused_when_the_encoder_is_made():
    schema = {"name": "Odd", "fields": [{"name": "a", "type": {"type": "map", "values": "string"}}]}
    with pytest.raises(ValueError, match="map"):
        compile_encoder(schema, ("a",))


def test_the_schema_file_is_the_generated_schema(root):
    kept = (root / "mappings/data/repair.avsc").read_text("utf-8")
    assert kept == schema_text(), "python -m mappings.avroschema > mappings/data/repair.avsc"
    assert json.loads(kept) == SCHEMA
    command = [sys.executable, "-m", "mappings.avroschema"]
    assert subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode() == kept


def test_the_schema_has_the_members_of_the_records():
    names = [field["name"] for field in SCHEMA["fields"]]
    assert names == [*RepairRow._fields, *Provenance.model_fields, "withdrawn"]
    assert SCHEMA["fields"][-1]["default"] is None, "readers of either edition read both"
    types = {field["name"]: field["type"] for field in SCHEMA["fields"]}
    assert [f["name"] for f in types["parts"]["items"]["fields"]] == list(Part._fields)
    assert [f["name"] for f in types["projects"]["items"]["fields"]] == list(Project._fields)
    logical = {n: t.get("logicalType") for n, t in types.items() if isinstance(t, dict)}
    assert logical["repairdate"] == logical["settledate"] == "date"
    assert (logical["mileage"], logical["received_at"]) == ("decimal", "timestamp-millis")


def test_a_member_s_type_is_that_of_its_annotation(monkeypatch):
    class Part(NamedTuple):
        name: str
        quantity: int | None
        code: str

    hints = get_type_hints
    monkeypatch.setattr(avroschema, "get_type_hints", lambda kind: hints(Part if kind is records.Part else kind))
    assert schema_text() != json.dumps(SCHEMA, ensure_ascii=False, indent=2) + "\n"
    Part.__annotations__["quantity"] = "complex"
    with pytest.raises(ValueError, match="complex"):
        repair_schema()


def test_digests_stay_what_they_are():
    """States and stores hold these: a change here makes every known record new."""
    assert content_digest(content_bytes(ROW[1:])).hex() == "ecc3c7bdac390946"
    assert key_digest("collect", "44", "44030001", "JS1").hex() == "8a0e9645d1ad89edee4375511d99ecb2"
    assert vin_digest("LVSHCAMB1CE054249").hex() == "da5f0e3e080c4dd5"
    assert delivery_id("44|44030001|JS1", 2, "ab", "province-44") == "3a566fdb65b4717818104d656251e964"


TRICKY = ["", "1", "11", "1:1", ":", "|", "%", "%7C", "a|b", "0:", "3:abc", "\ud800", "编码"]


def test_different_keys_have_different_digests():
    keys = [(a, b, c, d) for a in TRICKY for b in TRICKY for c in TRICKY for d in TRICKY]
    assert len({key_digest(*key) for key in keys}) == len(keys)


@given(TEXTS, TEXTS, st.lists(ROWS, max_size=5))
def test_keys_of_many_rows_are_those_of_each(scope, system, rows):
    each = [key_digest(scope, system, row.companycode, row.costlistcode) for row in rows]
    codes = [row.companycode for row in rows], [row.costlistcode for row in rows]
    assert key_digests(scope, system, *codes) == each


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_digests_of_many_contents_are_those_of_each(contents):
    assert content_digests(contents) == [content_digest(content) for content in contents]


@given(*[st.text(alphabet="|%7C2a5编", max_size=8)] * 3)
def test_a_record_key_can_be_taken_apart(system, company, code):
    parts = record_key(system, company, code).split("|")
    assert [part.replace("%7C", "|").replace("%25", "%") for part in parts] == [system, company, code]


def test_a_delivery_is_told_apart_by_each_of_its_four_parts():
    base = ("k", 1, "c", "d")
    others = [("K", 1, "c", "d"), ("k", 2, "c", "d"), ("k", 1, "C", "d"), ("k", 1, "c", "D")]
    assert len({delivery_id(*one) for one in (base, *others)}) == 5
    assert delivery_id(*base) == delivery_id(*base)


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(TypeError):
        provenance_bytes("44", 1, 1, "national", RECEIVED.replace(tzinfo=None), ())
    assert provenance_bytes("44", 1, 1, "n", RECEIVED, ()) == provenance_bytes(
        "44", 1, 1, "n", RECEIVED.astimezone(UTC), ()
    )
