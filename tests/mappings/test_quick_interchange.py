"""The law of the quick path of messages between systems: what it accepts, the careful path judges the very same."""

# ruff: noqa: S311 - nasty values stand side by side; chance is seeded
from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payload_makers import NASTY_VALUES, clean, plain, written

from mappings.dates import day_in_shanghai
from mappings.encoding_interchange import MEMBERS, encode_interchange
from mappings.findings import profile
from mappings.judging import Context
from mappings.quickinterchange import MESSAGES, compile_carried_reader, iso_day, judgement
from mappings.quickjudge import compile_judge
from mappings.reading import Limits, judge, read

RECEIVED = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)
LATEST = day_in_shanghai(RECEIVED) + timedelta(days=1)
READERS = {name: compile_carried_reader(message) for name, message in MESSAGES.items()}
PROFILES = ("strict", "lenient")
JUDGES = {
    (name, remarks): compile_judge(profile(name), remarks=remarks, day=iso_day)
    for name in PROFILES
    for remarks in (True, False)
}
FORGIVEN = {True: set(), False: {"PLATE_LETTER_UNKNOWN"}}


def held(body: bytes, dialect: str = "report", company: str = "") -> int:
    """Check the law for one message under both profiles; how many judgements the quick path gave."""
    (carried,) = READERS[dialect]([body])
    if carried is None:
        return 0
    draft = read(body, dialect)
    assert draft.notes == (), body
    assert draft.provenance == carried.provenance, body
    given = 0
    for (name, remarks), quick in JUDGES.items():
        (row,) = quick([carried.raw], company, LATEST)
        if row is None:
            continue
        given += 1
        careful = judge(draft, Context(profile(name), RECEIVED, company=company, company_required=True))
        made = judgement(dialect, row, carried.provenance)
        assert {f.code for f in careful.findings} <= FORGIVEN[remarks], body
        for part in ("kind", "dialect", "record", "members", "step", "order", "provenance"):
            assert getattr(made, part) == getattr(careful, part), (part, body)
        assert plain(made.record) == plain(careful.record), body
    return given


def message(rnd: random.Random, dialect: str = "report") -> dict:
    """A message as a system sends it."""
    while True:
        draft = read(json.dumps(clean(rnd)).encode(), "national")
        row = judge(draft, Context(profile("lenient"), RECEIVED, company="31000001")).record
        if row is not None:
            break
    provenance = {
        "system": rnd.choice(["44", "bt", "oem-SVW"]),
        "version": rnd.choice([1, 2, 77]),
        "repaircomefrom": rnd.choice([1, 2]),
        "dialect": rnd.choice(["national", "chengdu"]),
        "received_at": rnd.choice(["2026-05-31T10:00:00+08:00", "2026-05-31T02:00:00.123456+00:00"]),
        "findings": rnd.choice([(), (), ("MILEAGE_REGRESSION",), ("SETTLED_LATE", "PLATE_MANY_VINS")]),
    }
    made = json.loads(encode_interchange(row, provenance, dialect))
    if dialect == "report" and rnd.random() < 0.5:
        made |= {"record_key": "44|31000001|JS1", "content": "0123456789abcdef", "merged_into": ""}
    return made


ODD = (
    *NASTY_VALUES, 2**31 - 1, 2**31, 2**63, 2**64, 10**40, 1.0, "2", "report", "push", ["A"], ["A", 1], ["无"], ["A B"],
    "2026-05-31", "2026-05-31T10:00:00", "2026-05-31T10:00:00Z", "2026-13-31T10:00:00+08:00", "x-y", "44 ",
    "2025-02-29",
)  # fmt: skip


def places(made: dict) -> list:
    """(holder, name) of every member."""
    rows = [row for name in ("parts", "projects") for row in made[name]]
    return [(holder, name) for holder in (made, *rows) for name in holder]


@pytest.mark.parametrize("dialect", MESSAGES)
def test_what_systems_send_takes_the_quick_path(dialect):
    rnd = random.Random(7)
    taken = [held(json.dumps(message(rnd, dialect), ensure_ascii=False).encode(), dialect) for _ in range(300)]
    assert sum(1 for given in taken if given == 4) > 250


@pytest.mark.parametrize("dialect", MESSAGES)
def test_thousands_of_mutations_keep_the_law(dialect):
    rnd = random.Random(20260601)
    accepted = 0
    for _ in range(2_000):
        made = message(rnd, dialect)
        for _ in range(rnd.choice([0, 1, 1, 2])):
            holder, name = rnd.choice(places(made))
            choice = rnd.randrange(10)
            if choice <= 6:
                holder[name] = rnd.choice(ODD)
            elif choice == 7:
                del holder[name]
            elif choice == 8:
                holder[rnd.choice([name.upper(), name + " ", "x", "merged_into", "sign"])] = rnd.choice(ODD)
            else:
                made[rnd.choice(["parts", "projects", "findings"])] = rnd.choice(ODD)
            if not all(isinstance(made.get(k), list) and all(isinstance(r, dict) for r in made[k])
                       for k in ("parts", "projects")):  # fmt: skip
                break
        accepted += held(written(rnd, made), dialect, rnd.choice(["", "31000001", "x" * 201])) > 0
    assert accepted > 250


@pytest.mark.parametrize("name", MEMBERS)
def test_every_odd_value_in_every_member(name):
    rnd = random.Random(name)
    for value in ODD:
        made = message(rnd) | {name: value}
        held(json.dumps(made).encode())
        held(json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(
    st.sampled_from(MEMBERS), st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.lists(st.text(max_size=5)))
)
def test_anything_in_any_member(name, value):
    held(json.dumps(message(random.Random(name)) | {name: value}).encode())


@given(st.binary(max_size=40))
def test_any_bytes_at_any_place(noise):
    rnd = random.Random(noise)
    body = json.dumps(message(rnd), ensure_ascii=False).encode()
    at = rnd.randrange(len(body))
    held(body[:at] + noise + body[at + rnd.randrange(9) :])


@pytest.mark.parametrize("gap", ["", " ", "\n"])
def test_a_member_that_stands_twice_is_never_quick(gap):
    text = json.dumps(message(random.Random(3)))
    assert READERS["report"]([text.encode()]) != [None]
    for name in MEMBERS:
        twice = text.replace(f'"{name}":', f'"{name}"{gap}: "A", "{name}":', 1)
        assert READERS["report"]([twice.encode()]) == [None]


def test_a_message_of_the_other_kind_is_left_to_the_careful_path():
    for dialect, other in (("report", "push"), ("push", "report")):
        assert READERS[other]([json.dumps(message(random.Random(4), dialect)).encode()]) == [None]


def test_limits_are_obeyed():
    made = message(random.Random(5))
    made["parts"] = [{"name": "机油", "quantity": "1", "code": "P1"}] * 4
    body = json.dumps(made).encode()
    for limits, fits in ((Limits(rows=4), True), (Limits(rows=3), False), (Limits(payload_bytes=len(body)), True),
                         (Limits(payload_bytes=len(body) - 1), False)):  # fmt: skip
        assert (compile_carried_reader(MESSAGES["report"], limits)([body]) != [None]) is fits
