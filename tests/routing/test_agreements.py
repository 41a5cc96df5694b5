"""Agreements: what they let through, when, and that nothing else gets out, whatever stands in a record."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encoding_interchange import MEMBERS
from routing.agreements import (
    ALWAYS,
    REPAIR_PATHS,
    SHIPPED,
    STATUTORY,
    Agreements,
    Terms,
    load_agreement,
    parse_agreement,
)
from routing.errors import TableError
from routing.telling import WITHDRAWN_TEXT
from routing.treatments import BAND, MASK, PASS, WITHHOLD

OUTSIDE = sorted(set(SHIPPED) - set(STATUTORY))
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
HEAD = """
id = "some"
version = 2
zh = "某"
en = "some"
destinations = ["here", "there-*"]
approval = "A-1"
basis = ["clause"]
purpose = "why"
from = 2026-03-01
until = 2026-09-30
"""
RECORD = {
    "schema": "vingate.repair/1",
    "kind": "report",
    "system": "44",
    "companycode": "440300000000001",
    "companyname": "深圳某某汽修厂",
    "plate": "粤B12345",
    "vin": "LSVAL41Z882104202",
    "repairdate": "2026-03-01",
    "settledate": "2026-03-02",
    "mileage": "45678.5",
    "faultdescription": "深圳某某汽修厂 电话13800138000 身份证110105194912310021 异响",
    "costlistcode": "JS20260302001",
    "parts": [{"name": "机油", "quantity": "4", "code": "P-0001"}, {"name": "滤芯", "quantity": "1", "code": "P-0002"}],
    "projects": [{"name": "更换机油", "hours": "1.5"}],
    "version": 3,
    "repaircomefrom": 1,
    "dialect": "national",
    "received_at": "2026-03-02T18:00:00+08:00",
    "findings": ["MILEAGE_ZERO"],
}

NAMES = [{"name": "机油"}, {"name": "滤芯"}]


def agreed(rules, head=HEAD):
    return parse_agreement(f"{head}\n[kinds.repair]\n{rules}", "some.toml")


def told(rules, record=RECORD):
    return agreed(rules).terms("repair").apply(record)


# -- what leaves -------------------------------------------------------------------------------------------------------


def test_what_nothing_names_does_not_leave():
    assert told('vin = "pass"') == {n: RECORD[n] for n in ("schema", "kind", "vin", "version")}


@pytest.mark.parametrize(
    ("rules", "path", "left"),
    [
        ('plate = "province"', "plate", "44"),
        ('companycode = "province"', "companycode", "44"),
        ('settledate = "month"', "settledate", "2026-03"),
        ('received_at = "month"', "received_at", "2026-03"),
        ('mileage = "band:10000"', "mileage", "40000-50000"),
        ('version = "withhold"', "version", 3),
        ('vin = "mask"', "vin", "LSV***4202"),
        ('plate = "mask"', "plate", "粤B***45"),
        ('parts = "pass"\n"parts.code" = "withhold"\n"parts.quantity" = "withhold"', "parts", NAMES),
        ('"*" = "withhold"\nparts = "withhold"\n"parts.name" = "pass"', "parts", NAMES),
        ('"*" = "pass"', "projects", RECORD["projects"]),
        ('"*" = "pass"\nprojects = "withhold"', "projects", None),
        ('faultdescription = "pass"', "faultdescription", RECORD["faultdescription"]),
    ],
)  # fmt: skip
def test_a_treatment(rules, path, left):
    assert told(rules).get(path) == left


@pytest.mark.parametrize(
    ("rules", "changes"),
    [
        ('mileage = "band:10000"', {"mileage": "N/A"}),
        ('mileage = "band:10000"', {"mileage": "9" * 400}),
        ('mileage = "band:10000"', {"mileage": "NaN"}),
        ('settledate = "month"', {"settledate": "einmal 2026-03-02"}),
        ('plate = "province"', {"plate": "使123456"}),
    ],
)
def test_what_cannot_be_generalised_is_withheld(rules, changes):
    assert set(told(rules, RECORD | changes)) == set(ALWAYS)


def test_masked_text_holds_neither_phones_nor_what_is_withheld_elsewhere():
    text = told('faultdescription = "mask"')["faultdescription"]
    assert "异响" in text
    assert not any(one in text for one in ("13800138000", "110105194912310021", RECORD["companyname"]))


def test_a_withdrawn_version_says_that_it_is_and_not_why():
    gone = {"schema": "vingate.repair/1", "kind": "report", "system": "44", "companycode": "1", "costlistcode": "2"}
    gone |= {"version": 4, "withdrawn": "车主王五 13800138000 要求"}
    assert told('vin = "pass"', gone)["withdrawn"] == WITHDRAWN_TEXT
    assert told('"*" = "pass"', gone) == gone


def test_a_document_goes_by_its_own_members_and_prices_stay_in_the_insurers_lane():
    rules = '[kinds.claim]\nsystem = "pass"\n"members.*" = "pass"\n"members.plate" = "withhold"\n'
    document = {
        "schema": "vingate.document/1", "kind": "claim", "system": "44", "issuer": "X", "number": "1", "version": 1,
        "members": {
            "plate": "粤B12345", "totalsum": "1200", "ownername": "王五", "lines": [{"price": "3", "part": "杠"}],
        },
    }  # fmt: skip
    plain = parse_agreement(HEAD + rules).terms("claim")
    assert plain.apply(document)["members"] == {"lines": [{"part": "杠"}]}
    lane = parse_agreement(HEAD + 'lane = "insurers"\n' + rules).terms("claim")
    assert lane.apply(document)["members"] == {k: v for k, v in document["members"].items() if k != "plate"}
    with pytest.raises(TableError, match="insurers' lane"):
        parse_agreement(HEAD + '[kinds.claim]\n"members.totalsum" = "pass"\n')


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=9)
LEAVES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*MEMBERS, "name", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(LEAVES)
def test_nothing_that_stands_in_a_record_breaks_it(value):
    for name in SHIPPED:
        terms = load_agreement(name).terms("repair") if load_agreement(name).covers(name, "repair") else None
        if terms is not None:
            terms.apply({"schema": "x", "parts": value, "mileage": value, "faultdescription": value, "plate": value})


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "more", "stands"),
    [
        ("2026-02-28T15:59:59+00:00", "", False),
        ("2026-02-28T16:00:00+00:00", "", True),
        ("2026-09-30T15:59:59+00:00", "", True),
        ("2026-09-30T16:00:00+00:00", "", False),
        ("2026-06-01T11:59:59+08:00", "revoked = 2026-06-01T12:00:00+08:00", True),
        ("2026-06-01T12:00:00+08:00", "revoked = 2026-06-01T12:00:00+08:00", False),
    ],
)
def test_its_days_are_those_of_china(moment, more, stands):
    one = agreed('vin = "pass"', HEAD + more)
    at = datetime.fromisoformat(moment)
    assert one.in_force(at) is stands
    assert (one.why_not(at) == "") is stands
    assert (Agreements([one]).in_force("here", "repair", at) is not None) is stands


def test_the_first_in_force_counts_and_only_what_it_covers():
    old = agreed('vin = "pass"')
    new = agreed('"*" = "pass"', HEAD.replace("version = 2", "version = 3").replace("2026-09-30", "2027-09-30"))
    both = Agreements([old, new])
    assert both.in_force("there-1", "repair", NOON).version == 2
    assert both.in_force("there-1", "repair", NOON + timedelta(days=60)).version == 3
    assert both.in_force("there-1", "repair", NOON + timedelta(days=600)) is None
    assert both.in_force("elsewhere", "repair", NOON) is None
    assert both.in_force("here", "claim", NOON) is None


def test_terms_are_made_again_from_what_is_kept_of_them():
    one = agreed('vin = "pass"\nsettledate = "month"').terms("repair")
    again = Terms.restored(one.packed)
    assert (again.digest, again.apply(RECORD), again.fields) == (one.digest, one.apply(RECORD), one.fields)
    assert again.fields == {"settledate": "month", "vin": "pass"}
    assert agreed('vin = "pass"').terms("repair").digest != one.digest


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('vin = "show"', "no such treatment"),
        ('mileage = "band:0"', "no such treatment"),
        ('vinn = "pass"', "no such member"),
        ('"parts.price" = "pass"', "no such member"),
        ('"*" = "mask"', "passed or withheld"),
        ('companycode = "mask"', "no masked form"),
        ('VIN = "pass"', "kinds"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rules, said):
    with pytest.raises(TableError, match=said):
        agreed(rules)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("until = 2026-09-30", "until = 2026-02-01"),
        ('approval = "A-1"', ""),
        ('basis = ["clause"]', "basis = []"),
        ("version = 2", "version = 0"),
        ('purpose = "why"', 'purpose = "why"\nrevoked = 2026-01-01T00:00:00'),
        ('purpose = "why"', 'purpos = "why"'),
    ],
)
def test_an_agreement_that_lacks_something_is_refused_with_its_line(before, after):
    with pytest.raises(TableError, match=r"some\.toml"):
        agreed('vin = "pass"', HEAD.replace(before, after))


def test_what_is_not_there_is_said(tmp_path):
    for name in ("nothing", str(tmp_path / "gone.toml")):
        with pytest.raises(TableError, match="agreement"):
            load_agreement(name)


# -- those that are shipped --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATUTORY)
def test_statutory_agreements_pass_everything_and_have_no_end(name):
    one = load_agreement(name)
    assert one.valid_until is None
    assert one.terms("repair").whole
    assert one.terms("repair").names
    assert set(one.terms("repair").fields) == set(REPAIR_PATHS)


def test_what_the_notices_demand_has_a_destination():
    all_ = Agreements.load(STATUTORY)
    for destination in ("province", "province-44", "province-bt", "ministry", "store"):
        assert all_.in_force(destination, "repair", NOON).whole
    assert all_.in_force("used-cars", "repair", NOON) is None


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_others_end_and_let_only_some_of_it_through(name):
    one = load_agreement(name)
    assert one.valid_until is not None
    assert one.covers(name, "repair") is (name != "maker"), "makers get leads, and no single repair"
    for kind in one.kinds:
        assert not one.terms(kind).whole
    if "repair" in one.kinds:
        assert set(one.terms("repair").fields) < set(REPAIR_PATHS)
    assert one.id == name


def canary(chance, path):
    """A value that occurs nowhere else, of the form that such a member has."""
    number = chance.randrange(10**9, 10**10)
    forms = {
        "vin": f"LSVAL4{number}1", "plate": f"粤B{number % 10**5:05d}", "mileage": f"{number % 10**6 + 100_000}.5",
        "companycode": f"4403{number}1", "repairdate": f"20{number % 90 + 10}-0{number % 8 + 1}-17",
        "settledate": f"20{number % 90 + 10}-0{number % 8 + 1}-18", "parts.quantity": f"7.{number}",
        "projects.hours": f"9.{number}",
        "received_at": f"2026-0{number % 8 + 1}-21T0{number % 9}:11:{number % 49 + 10}Z",
        "system": f"oem-{number}", "dialect": f"d{number}",
    }  # fmt: skip
    return forms.get(path, f"词{number}")


def canaries(chance):
    """A record with a canary in every member, phones and ID numbers in the free texts, and its values by path."""
    values = {
        path: canary(chance, path) for path in REPAIR_PATHS if path not in ("repaircomefrom", "findings", "withdrawn")
    }
    phones = [f"13{chance.randrange(10**8, 10**9)}" for _ in range(4)]
    numbers = [f"11010519491231{chance.randrange(1000, 9999)}" for _ in range(2)]
    for path, phone in zip(("faultdescription", "parts.name", "projects.name"), phones, strict=False):
        values[path] += f" 电话{phone} 身份证{numbers[0]}"
    values["faultdescription"] += f" {values['companyname']} {values['plate']} 车主：王小五 {phones[3]}"
    record = {"schema": "vingate.repair/1", "kind": "report", "version": 1, "repaircomefrom": 1, "findings": ["X1"]}
    for name in MEMBERS:
        if name in values:
            record[name] = values[name]
    record["parts"] = [{n: values[f"parts.{n}"] for n in ("name", "quantity", "code")}] * 2
    record["projects"] = [{n: values[f"projects.{n}"] for n in ("name", "hours")}]
    return record, values, [*phones, *numbers, "王小五"]


@pytest.mark.parametrize("name", [name for name in OUTSIDE if load_agreement(name).covers(name, "repair")])
def test_no_withheld_value_leaves_whatever_the_record(name):
    chance = random.Random(name)  # noqa: S311 - test data
    terms = load_agreement(name).terms("repair")
    gone = [path for path in REPAIR_PATHS if terms.treatment(path) == WITHHOLD]
    changed = [
        p for p in REPAIR_PATHS if terms.treatment(p) not in (PASS, WITHHOLD, MASK) or BAND.match(terms.treatment(p))
    ]
    assert gone
    for _ in range(1_000):
        record, values, personal = canaries(chance)
        body = orjson.dumps(terms.apply(record)).decode()
        assert [path for path in (*gone, *changed) if path in values and values[path] in body] == []
        assert [one for one in personal if one in body] == []
        assert [
            path
            for path in terms.fields
            if terms.treatment(path) == PASS and path in values and values[path] not in body
        ] == []
