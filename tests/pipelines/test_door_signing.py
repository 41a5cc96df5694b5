"""Signatures: over what was sent, as it was sent; the same however it is ordered; no other secret fits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.trees import TreeError
from pipelines.door.signing import (
    check_placement,
    maintenance_sign,
    members_as_sent,
    same,
    sign,
    signed_text,
    within_window,
)

PAYLOADS = Path(__file__).parents[1] / "payloads"
NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)
MINUTES = timedelta(minutes=1)

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
NAMES = st.text(alphabet="abcXYZ09", min_size=1, max_size=4)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=8)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)


def body_of(number):
    (path,) = PAYLOADS.glob(f"{number}_*.json")
    return path.read_bytes()


def digest(text):
    return md5(text.encode()).hexdigest()  # noqa: S324 - what the interface prescribes


def test_the_documents_form_by_hand():
    members = members_as_sent(body_of("19"))
    wanted = (
        "appId=demo-app-id&carPhoto=&drivingPermitPhoto=&faultDesc=更换刹车片，剩余20％&fuelType=A&natureOfUse=2"
        "&nonce=1589178775&orderCode=R20230203001&repairMileage=66666&repairTime=2023-02-03 09:12:44&requirement="
        "&serviceType=一般维修&timestamp=1675386764000&vin=WVWLJ57N4FV028811&vpn=沪A12345"
    )
    assert signed_text(members) == wanted
    assert sign(members, "s3cret") == digest(wanted + "s3cret")
    assert sign(members, "s3cret", "{secret}{text}") == digest("s3cret" + wanted)
    assert sign(members, "s3cret", "{text}&key={secret}") == digest(wanted + "&key=s3cret")


def test_nested_objects_and_lists_are_gone_through():
    wanted = (
        "orderCode=1&repairProjectList=projectName=更换机油机滤&projectType=保养&repairPartList=brandName=天美牌"
        "&partCode=1024&partName=机油机滤&partQty=9&partType=铝制品&unit=个&workingHours=8"
    )
    assert signed_text(members_as_sent(body_of("17"))) == wanted
    assert signed_text({"b": [], "a": {}, "c": [1, "x", None]}) == "a=&b=&c=1&x&"


def test_numbers_count_as_they_were_written():
    body = b'{"a": 10.50, "b": 1e3, "c": -0, "d": 12345678901234567890123, "e": true, "f": null, "g": false}'
    assert signed_text(members_as_sent(body)) == "a=10.50&b=1e3&c=-0&d=12345678901234567890123&e=true&f=&g=false"


@given(OBJECTS, st.text(max_size=8), st.randoms())
def test_the_order_of_members_does_not_matter(value, secret, chance):
    names = list(value)
    chance.shuffle(names)
    shuffled = json.dumps({name: value[name] for name in names}, ensure_ascii=False).encode()
    straight = json.dumps(value).encode()
    assert sign(members_as_sent(shuffled), secret) == sign(members_as_sent(straight), secret)


@given(OBJECTS, st.text(alphabet="xyz{}", max_size=8), st.sampled_from(["sign", "Sign"]))
def test_the_sign_itself_is_not_signed_and_any_secret_is_taken_as_it_is(value, secret, name):
    members = members_as_sent(json.dumps(value).encode())
    assert sign({**members, name: "0" * 32}, secret) == sign(members, secret) == digest(signed_text(members) + secret)


@given(OBJECTS, st.text(max_size=8), st.text(max_size=8))
def test_another_secret_is_another_signature(value, one, other):
    members = members_as_sent(json.dumps(value).encode())
    assert same(sign(members, one), sign(members, other)) == (one == other)


@given(OBJECTS.filter(bool), st.text(max_size=8))
def test_a_changed_member_is_another_signature(value, secret):
    members = members_as_sent(json.dumps(value).encode())
    name = sorted(members)[0]
    changed = {**members, name: "something else entirely"}
    assert sign(changed, secret) != sign(members, secret)


def test_spelling_counts():
    assert sign({"orderCode": "1"}, "s") != sign({"ordercode": "1"}, "s")


def test_the_maintenance_signature():
    wanted = digest("keycompanyIdentity=91310112132259241T&nonce=1589178775&timestamp=1611407123")
    assert maintenance_sign("91310112132259241T", "1589178775", "1611407123", "key") == wanted


@pytest.mark.parametrize("given", [None, 5, "", "0" * 31, ["x"], "签名", "\ud800"])
def test_what_is_no_signature_is_not_the_same(given):
    assert not same(given, "0" * 32)


def test_upper_case_and_blanks_are_taken():
    assert same(f" {'AB' * 16} ", "ab" * 16)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"5", b"{", b'{"a":1,"a":2}', b'{"a":{"b":1,"b":2}}', b'{"a":' * 17 + b"1" + b"}" * 17, b"\xff\xff"],
)
def test_what_cannot_be_signed_is_said(body):
    with pytest.raises(TreeError):
        members_as_sent(body)


def test_a_flood_of_values_is_refused():
    with pytest.raises(TreeError, match="commas"):
        members_as_sent(b'{"a":[' + b"1," * 100_001 + b"1]}")


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\nulltrue01e.', max_size=40).map(str.encode))
def test_any_bytes_are_signed_or_refused(body):
    try:
        members = members_as_sent(body)
    except TreeError:
        return
    assert len(sign(members, "s")) == 32


@pytest.mark.parametrize(
    "placement", ["{text}", "{secret}", "", "{text}{text}{secret}", "{text}{secret}{x}", "{text}{"]
)
def test_placements_that_cannot_be(placement):
    with pytest.raises(ValueError, match="secret"):
        check_placement(placement)


@pytest.mark.parametrize("placement", ["{text}{secret}", "{secret}{text}{secret}", "{text}&appSecret={secret}"])
def test_placements_that_can(placement):
    check_placement(placement)
    assert sign({"a": "{secret}"}, "{text}", placement) == digest(
        placement.replace("{text}", "\0").replace("{secret}", "{text}").replace("\0", "a={secret}")
    )


@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize(
    ("ahead", "fine"), [(0, True), (10, True), (-10, True), (11, False), (-11, False), (60, False)]
)
def test_the_window(scale, ahead, fine):
    stamp = int((NOW + ahead * MINUTES).timestamp() * scale)
    assert within_window(str(stamp), NOW) == within_window(stamp, NOW) == fine


@pytest.mark.parametrize("stamp", ["", None, True, 1.5e9, "x" * 10, "-790769600", "1" * 11, "１" * 10, "1" * 5000, []])
def test_what_is_no_timestamp_is_outside(stamp):
    assert not within_window(stamp, NOW, timedelta(days=100_000))


@given(st.integers(-700, 700), st.integers(1, 600))
def test_the_window_is_a_setting(seconds, window):
    stamp = str(int(NOW.timestamp()) + seconds)
    assert within_window(stamp, NOW, timedelta(seconds=window)) == (abs(seconds) <= window)
