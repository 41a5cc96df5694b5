"""Province <-> ministry: reading and judging what was encoded gives the same row again."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.encoding_interchange import MEMBERS, encode_interchange, encode_withdrawal
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read
from mappings.records import Part, Project, RepairRow, Withdrawal

WORDS = st.text("空调滤芯机油更换维修ABC-/()0123456789", min_size=1, max_size=20).filter(lambda text: text != "-")
NUMBERS = st.decimals(min_value=0, max_value=20, places=2) | st.sampled_from([Decimal("1E+1"), Decimal(3)])
DAYS = st.dates(date(2017, 1, 1), date(2026, 1, 1))
ROWS = st.builds(
    RepairRow,
    companycode=st.text("0123456789", min_size=12, max_size=15),
    companyname=WORDS,
    plate=st.sampled_from(["沪A12345", "浙AD12345", "粤Z1234港"]),
    vin=st.sampled_from(["LSVAL41Z882104202", "WP1AG2923CLA64129"]),
    repairdate=DAYS,
    settledate=st.just(date(2026, 1, 1)),
    mileage=st.decimals(min_value=0, max_value=999_999, places=1),
    faultdescription=WORDS,
    costlistcode=WORDS,
    parts=st.lists(st.builds(Part, WORDS, NUMBERS, WORDS), min_size=1, max_size=3).map(tuple),
    projects=st.lists(st.builds(Project, WORDS, NUMBERS), max_size=3).map(tuple),
)
RECEIVED = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROVENANCE = {
    "system": "31",
    "dialect": "national",
    "received_at": RECEIVED,
    "version": 3,
    "repaircomefrom": 1,
    "findings": ("MILEAGE_ZERO",),
}
ROW = RepairRow(
    "1",
    "某店",
    "沪A12345",
    "LSVAL41Z882104202",
    date(2025, 1, 1),
    date(2025, 1, 2),
    Decimal("1E+3"),
    "异响",
    "W1",
    (Part("机油", None, "O1"),),
    (),
)


def judged(body, name="strict"):
    return judge(read(body), Context(profile(name), RECEIVED + timedelta(hours=1)))


@settings(max_examples=120, deadline=None)
@given(ROWS, st.sampled_from(["report", "push"]))
def test_reading_and_judging_what_was_encoded_gives_the_same_row(row, kind):
    judgement = judged(encode_interchange(row, PROVENANCE, kind))
    assert judgement.record == row, judgement.findings
    assert judgement.dialect == kind
    assert judgement.provenance == {
        **PROVENANCE,
        "kind": kind,
        "received_at": RECEIVED.isoformat(),
        "findings": ["MILEAGE_ZERO"],
    }


@settings(max_examples=60, deadline=None)
@given(st.builds(Withdrawal, WORDS, WORDS, WORDS), st.sampled_from(["report", "push"]))
def test_reading_and_judging_an_encoded_withdrawal_gives_the_same_one(withdrawal, kind):
    judgement = judged(encode_withdrawal(withdrawal, PROVENANCE, kind))
    assert (judgement.record, judgement.kind, judgement.dialect) == (withdrawal, "withdrawal", kind)
    assert judgement.findings == ()
    assert (judgement.provenance["version"], judgement.provenance["system"]) == (3, "31")


def test_a_withdrawal_has_nothing_of_the_record_and_a_record_nothing_of_it():
    body = orjson.loads(encode_withdrawal(Withdrawal("1", "W1", "重复"), PROVENANCE, "report"))
    assert set(body) == {*MEMBERS} - {*RepairRow._fields} | {"companycode", "costlistcode", "withdrawn"}
    assert "withdrawn" not in orjson.loads(encode_interchange(ROW, PROVENANCE, "report"))


def test_members_are_all_there_in_their_order():
    body = orjson.loads(encode_interchange(ROW, PROVENANCE, "report"))
    assert tuple(body) == MEMBERS
    assert (body["mileage"], body["repairdate"], body["version"]) == ("1000", "2025-01-01", 3)


def test_a_quantity_that_was_none_stays_one_under_the_lenient_profile():
    assert judged(encode_interchange(ROW, PROVENANCE, "push"), "lenient").record == ROW


def test_the_same_record_gives_the_same_bytes():
    assert encode_interchange(ROW, PROVENANCE, "push") == encode_interchange(ROW, dict(PROVENANCE), "push")


def test_provenance_must_say_where_it_comes_from():
    with pytest.raises(KeyError):
        encode_interchange(ROW, {"dialect": "national"}, "report")
