"""The law of the quick path of documents: what it takes is judged as by the careful path, to the last member."""

import json
from datetime import UTC, datetime

import orjson
import pytest
from document_canaries import Maker, chance
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents import quickinterchange
from mappings.documents.interchange import encode_document, encode_withdrawn
from mappings.documents.kinds import KINDS, kind
from mappings.documents.quickinterchange import compile_written_reader, write_document
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read
from mappings.records import Withdrawal
from mappings.trees import Limits
from routing.agreements import load_agreement

CONTEXT = Context(profile("strict"), datetime(2026, 11, 29, 2, 0, tzinfo=UTC), company_required=True)
CARRIED = {
    "system": "44",
    "version": 3,
    "dialect": "document",
    "received_at": "2026-09-21T08:00:00+08:00",
    "findings": ["VIN_CHECKSUM_MISMATCH"],
}
quickly = compile_written_reader()


def document(name: str, *seed: object):
    members = Maker(name, load_agreement("own-store").terms(name), chance(name, *seed)).made().members
    if name == "transmission":  # no part is more than the whole
        members |= {member: 0 for member, value in members.items() if isinstance(value, int) and member != "count"}
    return kind(name).of_members(members)


def carefully(body: bytes):
    return judge(read(body, "document"), CONTEXT)


@pytest.mark.parametrize("provenance", [{}, CARRIED], ids=["own", "carried"])
@pytest.mark.parametrize("name", KINDS)
def test_what_we_write_goes_the_quick_way(name, provenance):
    for seed in range(5):
        written = document(name, seed)
        [found] = quickly([encode_document(written, provenance)])
        assert found is not None
        assert found.document == written
        assert found.judgement() == carefully(encode_document(written, provenance))


@pytest.mark.parametrize("name", KINDS)
def test_what_this_process_wrote_is_found_again_and_read_as_ever(name):
    written = document(name, "found")
    body = write_document(written)
    assert body == encode_document(written, {})
    [found], [again] = quickly([body]), quickly([bytes(bytearray(body))])
    assert found.document is written
    assert again.document is not written
    assert found == again
    assert found.judgement() == carefully(body)


def test_limits_hold_for_what_this_process_wrote():
    body = write_document(document("waste-case", "limits"))
    assert compile_written_reader(Limits(payload_bytes=len(body) - 1))([body]) == [None]


def test_what_nobody_reads_is_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(quickinterchange, "_AT_HAND", 3)
    written = [document("complaint", n) for n in range(9)]
    bodies = [write_document(one) for one in written]
    assert len(quickinterchange._at_hand) == 3
    found = quickly(bodies)
    assert [one.document for one in found] == written
    assert [one.document is other for one, other in zip(found, written, strict=True)] == [False] * 6 + [True] * 3


BODY = encode_document(document("waste-case", "odd"), CARRIED)
ODD = {
    "blank": BODY.replace(b'"kind":', b'"kind": '),
    "twice": BODY.replace(b'"kind":', b'"kind":"waste-case","kind":'),
    "unknown member": BODY[:-1] + b',"more":1}',
    "unknown member of the kind": BODY.replace(b'"members":{', b'"members":{"more":1,'),
    "no such kind": BODY.replace(b'"kind":"waste-case"', b'"kind":"waste-box"'),
    "another kind": BODY.replace(b'"kind":"waste-case"', b'"kind":"closure"'),
    "another issuer": BODY.replace(b'"companycode":"', b'"companycode":"9'),
    "another day": BODY.replace(b'"day":"20', b'"day":"19', 1),
    "no members": BODY.replace(b'"members":{', b'"members":null,"x":{'),
    "number as text": BODY.replace(b'"version":3', b'"version":"3"'),
    "number with a point": BODY.replace(b'"version":3', b'"version":3.0'),
    "beyond 64 bits": BODY.replace(b'"version":3', b'"version":18446744073709551616'),
    "null": BODY.replace(b'"version":3', b'"version":null'),
    "NUL": BODY.replace(b'"zh":"', b'"zh":"\\u0000').replace(b'"issuer":"', b'"issuer":"\\u0000'),
    "escaped": BODY.replace(b'"issuer":"', b'"issuer":"\\u8bcd'),
    "half a character": BODY.replace(b'"issuer":"', b'"issuer":"\\ud800'),
    "no UTF-8": BODY.replace("词".encode(), "词".encode("gbk"), 1),
    "another form": orjson.dumps({"schema": "vingate.waste/1"}),
    "cut": BODY[:-1],
    "more behind": BODY + b"{}",
    "no object": b"[]",
    "empty": b"",
    "withdrawn": encode_withdrawn(Withdrawal("1", "waste-case:1", "why"), CARRIED),
}


@pytest.mark.parametrize("name", ODD)
def test_all_else_is_left_to_the_careful_path(name):
    assert quickly([BODY, ODD[name], BODY])[1] is None


@pytest.mark.parametrize(
    ("name", "member", "value"),
    [
        ("waste-plan", "year", 18446744073709551616),
        ("defect-lead", "count", 18446744073709551616),
        ("defect-lead", "month", "0000-01"),
        ("waste-case", "found", "1E+300000000"),
    ],
)
def test_what_cannot_be_written_out_is_wrong_and_stops_nobody(name, member, value):
    told = json.loads(encode_document(document(name, 1), {}))
    told["members"][member] = value
    body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    assert quickly([body]) == [None]
    assert [one.code for one in carefully(body).findings] == ["STRUCTURE_WRONG"]


@given(st.data())
def test_whatever_is_changed(data):
    body = bytearray(BODY)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"0", b'"', b",", b"1", b"a", b" "])
        )
    [found] = quickly([bytes(body)])
    assert found is None or found.judgement() == carefully(bytes(body))


@pytest.mark.parametrize(
    "limits",
    [Limits(payload_bytes=len(BODY) - 1), Limits(rows=9), Limits(members=9), Limits(values=9), Limits(depth=3)],
)
def test_limits_are_those_of_the_careful_path(limits):
    assert compile_written_reader(limits)([BODY]) == [None]


def test_a_copy_forgets_what_was_asked_of_its_original():
    one = document("complaint", 1)
    before = one.content()
    other = one.model_copy(update={"number": "9"})
    assert other.content() != before == one.content()
    assert other.members()["number"] == "9"
