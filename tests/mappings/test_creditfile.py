"""The signed file of credit entries: canonical, verifiable by others' tools, and refused when anything was touched."""

import base64
import hashlib
import shutil
import subprocess
from datetime import date
from decimal import Decimal

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mappings.documents.credit import Corrected, CreditEntry, CreditLine, Measure, Uncounted
from mappings.documents.creditfile import (
    CreditReceipt,
    FileRefused,
    Refusal,
    decode_entry,
    encode_entry,
    encode_receipt,
    encode_withdrawn,
    key_id,
    read_receipt,
    sign_file,
    verify_file,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
DAY = date(2026, 11, 29)
TEXTS = st.text(min_size=1, max_size=8)
NUMBERS = st.decimals(0, 1000, places=2)
ENTRIES = st.builds(
    CreditEntry,
    companycode=TEXTS,
    uscc=st.sampled_from(["91310112132259241T", "91440300MA5H0HLK5U"]),
    period=st.sampled_from(["2026-09", "2026-10"]),
    first=st.just(date(2026, 10, 1)),
    last=st.just(date(2026, 10, 31)),
    scoring=TEXTS,
    score=NUMBERS,
    full=st.just(Decimal(1000)),
    level=TEXTS,
    foundscore=NUMBERS,
    foundlevel=TEXTS,
    measures=st.lists(st.builds(Measure, name=TEXTS, found=st.none() | NUMBERS), max_size=2).map(tuple),
    lines=st.lists(
        st.builds(CreditLine, **dict.fromkeys(("weight", "percent", "points", "found"), NUMBERS)), max_size=2
    ).map(tuple),
    corrections=st.lists(st.builds(Corrected), max_size=1).map(tuple),
    uncounted=st.lists(st.builds(Uncounted), max_size=1).map(tuple),
)


def unique(entries):
    return list({(one.uscc, one.companycode, one.period): one for one in entries}.values())


@given(ENTRIES)
def test_an_entry_that_is_written_is_read_again(entry):
    body = encode_entry(entry)
    assert decode_entry(body) == entry
    assert b"\n" not in body
    assert orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS) == body


@given(st.lists(ENTRIES, max_size=4).map(unique), st.randoms(use_true_random=False))
def test_a_signed_file_is_the_same_in_any_order_and_verified_whole(entries, random):
    file = sign_file(entries, "44", DAY, 1, KEY)
    random.shuffle(entries)
    assert sign_file(entries, "44", DAY, 1, KEY) == file
    told = verify_file(file.body, file.signature, KEY.public_key())
    assert {encode_entry(one) for one in told.entries} == {encode_entry(one) for one in entries}
    assert (told.header.sender, told.header.day, told.header.count) == ("44", DAY, len(entries))
    assert file.name == told.header.name == "credit-44-20261129-0001.jsonl"
    assert file.body.count(b"\n") == len(entries) + 1


ENTRY = CreditEntry(
    companycode="S1",
    uscc="91310112132259241T",
    period="2026-10",
    first=date(2026, 10, 1),
    last=date(2026, 10, 31),
    scoring="vingate-1",
    score=Decimal("870.5"),
    full=Decimal(1000),
    level="AA",
    foundscore=Decimal(830),
    foundlevel="A",
    measures=(),
    lines=(),
)
FILE = sign_file([ENTRY], "44", DAY, 7, KEY)


@given(st.integers(0, len(FILE.body) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(at, by):
    touched = bytearray(FILE.body)
    touched[at] ^= by
    with pytest.raises(FileRefused, match="signature"):
        verify_file(bytes(touched), FILE.signature, KEY.public_key())


@given(st.binary(max_size=100))
def test_any_bytes_in_place_of_a_file_or_a_signature_are_refused(noise):
    for body, signature in ((noise, FILE.signature), (FILE.body, noise)):
        with pytest.raises(FileRefused):
            verify_file(body, signature, KEY.public_key())
    with pytest.raises(FileRefused):
        decode_entry(noise)


def signed(body):
    return body, base64.b64encode(KEY.sign(body))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "first line"),
        (FILE.body + encode_entry(ENTRY) + b"\n", "its first line says"),
        (FILE.body.split(b"\n")[0] + b"\n", "its first line says"),
        (FILE.body.rstrip(b"\n"), "its first line says"),
        (FILE.body.replace(b'"score":"870.5"', b'"score":[]'), "members"),
        (FILE.body.replace(b"vingate.credit/1", b"vingate.credit/9"), "vingate.credit/1"),
        (
            FILE.body.replace(key_id(KEY.public_key()).encode(), key_id(OTHER.public_key()).encode()),
            "its first line says",
        ),
    ],
)
def test_a_file_that_is_signed_and_wrong_all_the_same_is_refused(body, told):
    with pytest.raises(FileRefused, match=told):
        verify_file(*signed(body), KEY.public_key())


def test_another_key_does_not_fit():
    with pytest.raises(FileRefused, match="signature"):
        verify_file(FILE.body, FILE.signature, OTHER.public_key())


@pytest.mark.parametrize(("sender", "serial"), [("../x", 1), ("44", 0), ("", 1)])
def test_a_file_has_a_sound_name(sender, serial):
    with pytest.raises(ValidationError):
        sign_file([], sender, DAY, serial, KEY)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_verifies_the_file(tmp_path):
    (tmp_path / "file").write_bytes(FILE.body)
    (tmp_path / "sig").write_bytes(base64.b64decode(FILE.signature))
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "pub.pem").write_bytes(pem)
    verify = "openssl pkeyutl -verify -pubin -inkey pub.pem -rawin -in file -sigfile sig"
    assert subprocess.run(verify.split(), cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "file").write_bytes(FILE.body + b" ")
    assert subprocess.run(verify.split(), cwd=tmp_path, capture_output=True).returncode != 0


def receipt(sent=FILE.body, **members):
    return CreditReceipt(number="R1", day=DAY, sha256=hashlib.sha256(sent).hexdigest(), taken=1, **members)


def test_a_receipt_is_for_the_bytes_that_were_sent():
    one = receipt(file=FILE.name, refused=(Refusal(companycode="S2", period="2026-10", reason="无此主体"),))
    assert read_receipt(encode_receipt(one), FILE.body) == one
    assert orjson.loads(encode_receipt(one))["schema"] == "vingate.credit-receipt/1"
    with pytest.raises(FileRefused, match="other bytes"):
        read_receipt(encode_receipt(one), FILE.body + b" ")
    alone = receipt(encode_entry(ENTRY))
    assert read_receipt(encode_receipt(alone), encode_entry(ENTRY)) == alone


@given(st.binary(max_size=60))
def test_any_bytes_in_place_of_a_receipt_are_refused(noise):
    with pytest.raises(FileRefused):
        read_receipt(noise, FILE.body)


def test_a_withdrawn_entry_says_which_and_why():
    told = orjson.loads(encode_withdrawn("S1", "2026-10", "企业注销"))
    assert told == {"schema": "vingate.credit/1", "companycode": "S1", "period": "2026-10", "withdrawn": "企业注销"}
    with pytest.raises(FileRefused, match="members"):
        decode_entry(encode_withdrawn("S1", "2026-10", "企业注销"))
