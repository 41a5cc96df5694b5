"""The law of the quick path: what it accepts, the careful path accepts with the same row and nothing to remark."""

# ruff: noqa: S311 - nasty values stand side by side; chance is seeded
from __future__ import annotations

import json
import pickle
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from payload_makers import BASIC, NASTY_TEXTS, NASTY_VALUES, PART, PROJECT, clean, fixed, mutated, plain, written

from mappings.dates import day_in_shanghai
from mappings.findings import profile
from mappings.judging import Context
from mappings.quick import (
    NATIONAL,
    compile_block_reader,
    compile_reader,
    draft_maker,
)
from mappings.quickjudge import compile_judge
from mappings.reading import Limits, judge, read
from mappings.vin import check_digit
from mappings.vinarrays import check_vins

RECEIVED = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)
PROFILES = ("strict", "lenient")
READ, BLOCKS = compile_reader(NATIONAL), compile_block_reader(NATIONAL)
DRAFT = draft_maker(NATIONAL, "national")
JUDGES = {
    (name, remarks): compile_judge(profile(name), remarks=remarks) for name in PROFILES for remarks in (True, False)
}
FORGIVEN = {True: set(), False: {"PLATE_LETTER_UNKNOWN"}}


def held(body: bytes, company: str = "31000001", received: datetime = RECEIVED) -> int:
    """Check the law for one payload under both profiles; how many rows the quick path gave."""
    raw = READ(body)
    if raw is None:
        return 0
    draft = read(body, "national")
    made = DRAFT(raw)
    assert (made.kind, made.members, made.notes, made.provenance) == (
        draft.kind,
        draft.members,
        draft.notes,
        draft.provenance,
    )
    rows = 0
    for (name, remarks), quick in JUDGES.items():
        context = Context(profile(name), received, company=company, company_required=True)
        latest = day_in_shanghai(received) + timedelta(days=1)
        assert judge(made, context) == judge(draft, context)
        (row,) = quick([raw], company, latest)
        if row is None:
            continue
        rows += 1
        careful = judge(draft, context)
        assert {f.code for f in careful.findings} <= FORGIVEN[remarks], body
        assert plain(row) == plain(careful.record), body
    return rows


def test_thousands_of_mutations_keep_the_law():
    rnd = random.Random(20260601)
    accepted = 0
    for _ in range(2_500):
        record = clean(rnd)
        for _ in range(rnd.choice([0, 1, 1, 1, 2])):
            record = mutated(rnd, record) if isinstance(record.get("basicInfo"), dict) and all(
                isinstance(record.get(k), list) and all(isinstance(r, dict) and r for r in record[k])
                for k in ("vehiclepartslist", "repairprojectlist")) and record["basicInfo"] else record  # fmt: skip
        accepted += held(written(rnd, record), rnd.choice(["31000001", "", "x" * 201, "n/a"])) > 0
    assert accepted > 350


@pytest.mark.parametrize("name", BASIC)
def test_every_nasty_value_in_every_field(name):
    for value in NASTY_VALUES:
        record = fixed(**{name: value})
        held(json.dumps(record).encode())
        held(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(("rows", "names"), [("vehiclepartslist", PART), ("repairprojectlist", PROJECT)])
def test_every_nasty_value_in_every_row(rows, names):
    for value in NASTY_VALUES:
        for name in names:
            record = fixed()
            record[rows] = [dict.fromkeys(names, "1"), {**dict.fromkeys(names, "1"), name: value}]
            held(json.dumps(record).encode())


@given(st.sampled_from(BASIC), st.text(max_size=24))
def test_any_text_in_any_field(name, text):
    record = fixed(**{name: text})
    held(json.dumps(record).encode())
    held(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=80))
def test_any_bytes_at_any_place(noise):
    rnd = random.Random(noise)
    body = json.dumps(clean(rnd), ensure_ascii=False).encode()
    at, length = rnd.randrange(len(body)), rnd.randrange(9)
    held(body[:at] + noise + body[at + length :])


def test_clean_records_take_the_quick_path():
    rnd = random.Random(8)
    taken = [held(json.dumps(clean(rnd), ensure_ascii=False).encode()) for _ in range(300)]
    assert sum(1 for rows in taken if rows) > 270


def test_an_unknown_issuing_letter_is_clean_only_without_remarks():
    raw = READ(json.dumps(fixed(vehicleplatenumber="沪I12345")).encode())
    latest = day_in_shanghai(RECEIVED)
    assert JUDGES["strict", True]([raw], "", latest) == [None]
    assert JUDGES["strict", False]([raw], "", latest)[0].plate == "沪I12345"


def test_a_profile_that_minds_issuing_letters_is_obeyed():
    strict = profile("strict")
    minding = replace(strict, severities={**strict.severities, "PLATE_LETTER_UNKNOWN": "flag"})
    raw = READ(json.dumps(fixed(vehicleplatenumber="沪I12345")).encode())
    assert compile_judge(minding, remarks=False)([raw], "", day_in_shanghai(RECEIVED)) == [None]


def test_a_profile_with_a_lower_mileage_limit_is_obeyed():
    strict = profile("strict")
    low = replace(strict, limits={**strict.limits, "mileage_outlier": 50_000})
    for km, clean_too in (("9999", True), ("50001", False), ("999999", False)):
        raw = READ(json.dumps(fixed(repairmileage=km)).encode())
        (row,) = compile_judge(low)([raw], "", day_in_shanghai(RECEIVED))
        assert (row is not None) is clean_too, km


@pytest.mark.parametrize("year", [2026, 2029, 2030, 2031, 2038, 2041, 2060])
def test_model_years_are_read_against_the_year_of_receipt(year):
    received = datetime(year, 7, 1, tzinfo=UTC)
    for code in "ABCDEFGHJKLMNPRSTVWXY123456789":
        for repaired in ("20050605", "20120605", "20300605"):
            for head in ("LSV", "WBA", "1HG"):
                number = f"{head}AB12C0{code}E000001"
                vin = number[:8] + check_digit(number) + number[9:]
                record = fixed(vin=vin, repairdate=repaired, settledate=repaired)
                held(json.dumps(record).encode(), received=received)


@pytest.mark.parametrize("gap", ["", " ", "\t", "\n", "\r\n  "])
@pytest.mark.parametrize("fault", ["保养", "异响: 左前"])
def test_a_member_that_stands_twice_is_never_quick(gap, fault):
    text = json.dumps(fixed(faultdescription=fault), ensure_ascii=False)
    assert READ(text.encode()) is not None
    for name in BASIC[1:]:
        twice = text.replace(f'"{name}":', f'"{name}"{gap}:"A","{name}":', 1)
        assert READ(twice.encode()) is None
        assert "STRUCTURE_WRONG" in {note.code for note in read(twice.encode(), "national").notes}


def test_a_missing_member_does_not_hide_one_that_stands_twice():
    record = fixed()
    del record["basicInfo"]["faultdescription"]
    text = json.dumps(record)
    assert held(text.encode()) == 0
    assert READ(text.encode())[7] is None
    assert READ(text.replace('"costlistcode":', '"costlistcode": "A", "costlistcode":').encode()) is None


def test_more_rows_than_the_limits_allow_are_never_quick():
    few = compile_reader(NATIONAL, Limits(rows=3))
    rows = [{"partsname": "机油", "partsquantity": "1", "partscode": "P1"}]
    for number in range(8):
        record = fixed() | {"vehiclepartslist": rows * number}
        body = json.dumps(record).encode()
        if few(body) is not None:
            assert read(body, "national", Limits(rows=3)).notes == ()
    assert few(json.dumps(record | {"vehiclepartslist": rows * 4}).encode()) is None


def test_longer_payloads_than_the_limits_allow_are_never_quick():
    body = json.dumps(fixed()).encode()
    assert compile_reader(NATIONAL, Limits(payload_bytes=len(body)))(body) is not None
    assert compile_reader(NATIONAL, Limits(payload_bytes=len(body) - 1))(body) is None


def test_memos_give_way_and_long_values_are_not_kept():
    strict = profile("strict")
    quick = compile_judge(strict)
    latest = day_in_shanghai(RECEIVED)
    raws = []
    for number in range(300):
        record = clean(random.Random(number))
        record["basicInfo"]["faultdescription"] = f"异响{number}" + "长" * (number % 400)
        raws.append(READ(json.dumps(record).encode()))
    once, twice = quick(raws, "31000001", latest), quick(raws, "31000001", latest)
    assert once == twice == [quick([raw], "31000001", latest)[0] for raw in raws]


def test_raw_values_travel_between_processes():
    record = clean(random.Random(2)) | {"vehiclepartslist": [dict.fromkeys(PART, "1")]}
    raw = READ(json.dumps(record).encode())
    copied = pickle.loads(pickle.dumps(raw))  # noqa: S301 - our own
    latest = day_in_shanghai(RECEIVED)
    assert JUDGES["strict", True]([copied], "", latest) == JUDGES["strict", True]([raw], "31000001", latest)
    assert DRAFT(copied) == DRAFT(raw)


def test_blocks_are_read_as_payloads_one_by_one():
    rnd = random.Random(5)
    for _ in range(60):
        bodies = []
        for _ in range(rnd.randrange(1, 6)):
            record = clean(rnd)
            body = json.dumps(mutated(rnd, record) if rnd.random() < 0.3 else record).encode()
            if rnd.random() < 0.1:
                body = body.replace(b'"vin"', b'"vin": "x", "vin"')
            elif rnd.random() < 0.1:
                body = body[: rnd.randrange(len(body))]
            bodies.append(body)
        assert [as_text(raw) for raw in BLOCKS(bodies)] == [as_text(READ(body)) for body in bodies]


def as_text(raw):
    rows = [[msgspec.structs.asdict(row) for row in rows or ()] for rows in (raw[9], raw[10])] if raw else None
    return raw and (raw[:9], rows)


def test_a_repeated_member_is_seen_beside_one_that_is_missing():
    twice = json.dumps(fixed()).encode().replace(b'"vin"', b'"vin": "x", "vin"')
    record = fixed()
    del record["basicInfo"]["costlistcode"]
    raws = BLOCKS([json.dumps(record).encode(), twice, json.dumps(fixed()).encode()])
    assert [raw is not None for raw in raws] == [True, False, True]


@given(st.lists(st.one_of(st.sampled_from([t for t in NASTY_TEXTS]), st.text(max_size=20), st.none()), max_size=9))
def test_vins_are_checked_together_as_one_by_one(vins):
    assert check_vins(vins) == [check_vins([vin])[0] for vin in vins]
