"""The law of sheets: what the columns accept, the careful path accepts with the same content and nothing to remark."""

# ruff: noqa: S311 - chance is seeded
from __future__ import annotations

import json
import pickle
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payload_makers import BASIC, NASTY_VALUES, PART, PROJECT, clean, fixed, mutated, plain, written

from mappings.dates import day_in_shanghai
from mappings.encoding import company_bytes, content_of
from mappings.findings import profile
from mappings.judging import REPAIR, Context, Draft
from mappings.quick import NATIONAL, compile_reader, wire_names
from mappings.quickjudge import compile_judge
from mappings.reading import Limits, judge, read
from mappings.sheet import Sheet
from mappings.sheetencoding import records_of
from mappings.sheetjudge import compile_sheet_judge
from mappings.sheetreader import FEWEST, compile_sheet_reader
from mappings.vin import check_digit

RECEIVED = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)
LATEST = day_in_shanghai(RECEIVED) + timedelta(days=1)
READ, ONE = compile_sheet_reader(NATIONAL), compile_reader(NATIONAL)
STUBBORN = compile_sheet_reader(NATIONAL, fewest=1, refusals=100_000)
WAYS = [(name, remarks) for name in ("strict", "lenient") for remarks in (True, False)]
JUDGES = {way: compile_sheet_judge(profile(way[0]), remarks=way[1]) for way in WAYS}
ROWS = {way: compile_judge(profile(way[0]), remarks=way[1]) for way in WAYS}
FORGIVEN = {True: set(), False: {"PLATE_LETTER_UNKNOWN"}}
STRICT = Context(profile("strict"), RECEIVED, company="31000001", company_required=True)
WIRE, MEMBERS = wire_names(NATIONAL), 11


def body_of(record: dict) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")


def block(bodies: list[bytes]) -> list[bytes]:
    """The bodies among as many clean ones as a block must have."""
    rnd = random.Random(len(bodies))
    return [*bodies, *(body_of(clean(rnd)) for _ in range(FEWEST))]


def held(bodies: list[bytes], company: str = "31000001") -> dict[tuple[str, bool], list[int]]:
    """Check the law for a block; which of its payloads each judge accepted."""
    sheet = STUBBORN(bodies)
    assert sorted([*sheet.places.tolist(), *sheet.odd]) == list(range(len(bodies)))
    drafts = {i: read(bodies[i], "national") for i in sheet.places.tolist()}
    for i, members in sheet.members(sheet.places.tolist()).items():
        if len(members) == MEMBERS:
            made = Draft(REPAIR, "national", members, WIRE)
            assert (made.kind, made.members, ()) == (drafts[i].kind, drafts[i].members, drafts[i].notes), bodies[i]
            assert judge(made, STRICT) == judge(drafts[i], STRICT)
    accepted = {}
    for (name, remarks), quick in JUDGES.items():
        context = Context(profile(name), RECEIVED, company=company, company_required=True)
        judged, doubtful = quick(sheet, company, LATEST)
        accepted[name, remarks] = judged.places.tolist()
        assert sorted([*judged.places.tolist(), *doubtful]) == list(range(len(bodies)))
        whole = judged.with_odd(dict.fromkeys(doubtful))
        for i, row in enumerate(whole):
            if row is None:
                continue
            careful = judge(drafts[i], context)
            assert {f.code for f in careful.findings} <= FORGIVEN[remarks], bodies[i]
            assert plain(row) == plain(careful.record), bodies[i]
        contents, records = records_of(whole, b"tail")
        assert contents == [content_of(row) for row in whole]
        assert records == [company_bytes(row.companycode) + content_of(row) + b"tail" if row else b"" for row in whole]
    return accepted


def test_thousands_of_mutations_keep_the_law():
    rnd = random.Random(20260701)
    bodies = []
    while len(bodies) < 1_200:
        record = clean(rnd)
        bodies.append(written(rnd, mutated(rnd, record) if rnd.random() < 0.7 else record))
    accepted = held(block(bodies))
    assert len(accepted["lenient", False]) > 400


@pytest.mark.parametrize("name", BASIC)
def test_every_nasty_value_in_every_field(name):
    records = [fixed(**{name: value}) for value in NASTY_VALUES]
    held(block([body_of(record) for record in records]))
    held(block([json.dumps(record).encode() for record in records]))


@pytest.mark.parametrize(("rows", "names"), [("vehiclepartslist", PART), ("repairprojectlist", PROJECT)])
def test_every_nasty_value_in_every_row(rows, names):
    bodies = []
    for value in NASTY_VALUES:
        for name in names:
            row = dict.fromkeys(names, "1")
            bodies.append(body_of(fixed() | {rows: [row, {**row, name: value}]}))
    held(block(bodies))


@settings(max_examples=10)
@given(st.lists(st.tuples(st.sampled_from(BASIC), st.text(max_size=24)), min_size=30, max_size=60))
def test_any_text_in_any_field(given_texts):
    records = [fixed(**{name: text}) for name, text in given_texts]
    held(block([body_of(record) for record in records]))
    held(block([json.dumps(record).encode() for record in records]))


@settings(max_examples=10)
@given(st.lists(st.binary(max_size=80), min_size=30, max_size=60))
def test_any_bytes_at_any_place(noises):
    bodies = []
    for noise in noises:
        rnd = random.Random(noise)
        body = body_of(clean(rnd))
        at, length = rnd.randrange(len(body)), rnd.randrange(9)
        bodies.append(body[:at] + noise + body[at + length :])
    held(block(bodies))


@pytest.mark.parametrize("way", WAYS)
def test_what_the_quick_judge_of_rows_accepts_columns_accept(way):
    rnd = random.Random(31)
    bodies = [body_of(mutated(rnd, clean(rnd)) if rnd.random() < 0.5 else clean(rnd)) for _ in range(600)]
    sheet = STUBBORN(block(bodies))
    judged, _ = JUDGES[way](sheet, "31000001", LATEST)
    raws = {i: ONE(body) for i, body in enumerate(bodies)}
    rows = {i: ROWS[way]([raw], "31000001", LATEST)[0] for i, raw in raws.items() if raw is not None}
    assert {i for i, row in rows.items() if row is not None} <= set(judged.places.tolist())


def test_halves_of_payloads_make_no_record_together():
    body = body_of(fixed())
    at = body.index(b', "vehiclepartslist"')
    pieces = [body[:at], body[at + 1 :], body + body, body[:-1], b"}", b"{", b"{}", b"[]", body + b"\n" + body]
    code = body.index(b"P1")
    split = [body.replace("保养".encode(), b'}"', 1), b'{"', body[:code] + b"}", b"{" + body[code:]]
    assert all(STUBBORN([one]) is None for one in (*pieces, *split) if one != b"{}")
    bodies = block([*pieces, *split, body])
    assert set(range(len(pieces) + len(split))) <= set(STUBBORN(bodies).odd)
    held(bodies)


@pytest.mark.parametrize("token", [b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe4\xbd"])
def test_texts_that_are_not_utf8_are_left_alone_even_where_they_carry_nothing(token):
    body = b'{"access_token": "' + token + b'", ' + body_of(fixed())[1:]
    assert set(STUBBORN(block([body])).odd) == {0}


def test_a_payload_to_blame_is_left_alone_with_few_others():
    bodies = [body_of(fixed(costlistcode=f"JS{i}")) for i in range(4_000)]
    bodies[1_234] = b"{"
    bodies[3_000] = body_of({"order": 1})
    sheet = READ(bodies)
    assert {1_234, 3_000} <= set(sheet.odd)
    assert len(sheet.odd) < 4 * FEWEST


def test_a_block_of_another_shape_is_left_alone():
    assert READ([body_of({"gd_id": i} | fixed()) for i in range(2_000)]) is None
    assert READ([body_of(fixed())] * (FEWEST - 1)) is None


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_lines_end_as_they_like(end):
    bodies = block([body_of(fixed()) + end for _ in range(50)])
    assert set(range(50)) <= set(held(bodies)["strict", True])


def test_companies_stand_in_one_by_one():
    records = [fixed(costlistcode=f"JS{i}") for i in range(2 * FEWEST)]
    for i, record in enumerate(records):
        if i % 2:
            del record["basicInfo"]["companycode"]
    sheet = READ([body_of(record) for record in records])
    judged, doubtful = JUDGES["strict", True](sheet, [f"C{i}" if i != 3 else "" for i in range(len(records))], LATEST)
    assert doubtful == [3]
    codes = judged.with_odd({3: None}).column("companycode")
    assert codes[:6] == ["31000001", "C1", "31000001", None, "31000001", "C5"]


def test_longer_payloads_and_more_rows_than_the_limits_allow_are_left_alone():
    rows = [{"partsname": "机油", "partsquantity": "1", "partscode": "P1"}] * 30
    bodies = [*[body_of(fixed())] * (9 * FEWEST), body_of(fixed() | {"vehiclepartslist": rows})]
    few = compile_sheet_reader(NATIONAL, Limits(rows=2 * len(bodies[0])))
    assert few(bodies).odd == {}
    for limits in (Limits(payload_bytes=len(bodies[0])), Limits(rows=len(bodies[0]) // 5 + 1)):
        assert len(bodies) - 1 in compile_sheet_reader(NATIONAL, limits)(bodies).odd


@pytest.mark.parametrize("year", [2026, 2029, 2030, 2031, 2041])
def test_model_years_are_read_against_the_year_of_receipt(year):
    received = datetime(year, 7, 1, tzinfo=UTC)
    latest = day_in_shanghai(received) + timedelta(days=1)
    bodies = []
    for code in "ABCDEFGHJKLMNPRSTVWXY0123456789UZ":
        for repaired in ("20050605", "20120605", "20300605"):
            number = f"LSVAB12C0{code}E000001"
            record = fixed(vin=number[:8] + check_digit(number) + number[9:], repairdate=repaired, settledate=repaired)
            bodies.append(body_of(record))
    context = Context(profile("strict"), received, company="31000001", company_required=True)
    judged, doubtful = compile_sheet_judge(profile("strict"))(READ(bodies), "31000001", latest)
    remarked = {i for i, body in enumerate(bodies) if judge(read(body, "national"), context).findings}
    assert remarked <= set(doubtful)
    assert len(judged.places) > 10


def test_profiles_are_obeyed():
    strict = profile("strict")
    low = replace(strict, limits={**strict.limits, "mileage_outlier": 50_000})
    none = replace(strict, limits={**strict.limits, "mileage_outlier": 5})
    short = replace(strict, lengths={**strict.lengths, "parts.code": 1, "costlistcode": 2_000})
    records = [fixed(repairmileage=km, costlistcode="J" * 40) for km in ("9999", "50001", "999999")]
    sheet = READ(block([body_of(record) for record in records]))
    assert [i for i in compile_sheet_judge(low)(sheet, "", LATEST)[1] if i < 3] == [1, 2]
    assert [i for i in compile_sheet_judge(none)(sheet, "", LATEST)[1] if i < 3] == [0, 1, 2]
    assert [i for i in compile_sheet_judge(short)(sheet, "", LATEST)[1] if i < 3] == [0, 1, 2]


def test_many_hours_together_are_doubtful():
    projects = [{"repairproject": "检查", "workinghours": hours} for hours in ("24", "24", "24", "24", "4", "0.1")]
    sheet = READ(block([body_of(fixed() | {"repairprojectlist": projects[:count]}) for count in range(7)]))
    assert [i for i in JUDGES["strict", True](sheet, "", LATEST)[1] if i < 7] == [6]


def test_sheets_travel_and_lose_rows_like_lists():
    rnd = random.Random(4)
    bodies = [body_of(mutated(rnd, clean(rnd)) if i % 3 == 0 else clean(rnd)) for i in range(200)]
    judged, doubtful = JUDGES["lenient", False](STUBBORN(bodies), "31000001", LATEST)
    whole = judged.with_odd(dict.fromkeys(doubtful))
    rows = list(whole)
    alive = [rnd.random() < 0.7 for _ in bodies]
    kept = whole.taken(alive)
    assert isinstance(kept, Sheet)
    assert list(kept) == [row for row, stays in zip(rows, alive, strict=True) if stays]
    assert [kept[i] for i in range(len(kept))] == list(kept)
    assert list(pickle.loads(pickle.dumps(kept))) == list(kept)  # noqa: S301 - our own
    assert kept.column("vin") == [row and row.vin for row in kept]
    assert len(kept) == sum(alive)
