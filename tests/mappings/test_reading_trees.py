"""Untrusted bytes: encodings, limits, numbers, what stands twice and what is no text."""

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.forms import FORM_BYTES
from mappings.trees import Limits, TreeError, parse

TEXT = '{"车牌":"沪A12345"}'


@pytest.mark.parametrize(
    "body",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("gb18030"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
    ],
    ids=["utf-8", "bom", "gb18030", "utf-16", "utf-16-be"],
)
def test_every_encoding_reads_the_same(body):
    assert parse(body).root == {"车牌": "沪A12345"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "NOT_JSON"),
        (b"  \n", "NOT_JSON"),
        (b'{"vin": "LSV', "NOT_JSON"),
        (b"{} {}", "NOT_JSON"),
        (b'{"a":1}x', "NOT_JSON"),
        (b'{"a": NaN}', "NOT_JSON"),
        (b'{"a": -Infinity}', "NOT_JSON"),
        (b'{"a": "x\x00y"}', "NOT_JSON"),
        (b"\x00\x01\x02", "NOT_JSON"),
        (b"\xff\xff\xff", "NOT_JSON"),
        (b"\xff\xfe\x00\xd8", "NOT_JSON"),
        (b"[" * 100_000, "STRUCTURE_WRONG"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "STRUCTURE_WRONG"),
        (b"repairdata=%7B" + b"%20" * (FORM_BYTES // 3 + 1), "STRUCTURE_WRONG"),
    ],
)
def test_what_is_no_tree_says_so_and_nothing_else_is_raised(body, code):
    with pytest.raises(TreeError) as caught:
        parse(body)
    assert caught.value.code == code
    assert caught.value.expected


def test_depth_counts_brackets_outside_texts_only():
    body = json.dumps({"a": "[{" * 500}).encode()
    assert parse(body).root == {"a": "[{" * 500}
    assert parse(b"[" * 64 + b"]" * 64).root
    with pytest.raises(TreeError, match="STRUCTURE_WRONG"):
        parse(b"[" * 65 + b"]" * 65)


def test_a_depth_limit_beyond_the_parser_is_no_crash():
    with pytest.raises(TreeError, match="STRUCTURE_WRONG"):
        parse(b"[" * 90_000 + b"]" * 90_000, Limits(depth=100_000))


@pytest.mark.parametrize(
    ("body", "limits"),
    [
        (b'{"a":"0123456789"}', Limits(payload_bytes=10)),
        (b'{"a":1,"b":2,"c":3}', Limits(members=2)),
        (b"[[],[],[],[],[]]", Limits(values=3)),
    ],
)
def test_limits_hold(body, limits):
    with pytest.raises(TreeError, match="STRUCTURE_WRONG"):
        parse(body, limits)
    assert parse(body).root


def test_numbers_stay_exact_and_never_overflow():
    root = parse(b"[0.1, 50.0, 7, 1e400, 1E+99999999999999999999, 1e-400, " + b"9" * 5000 + b"]").root
    assert root[:3] == [Decimal("0.1"), Decimal("50.0"), 7]
    assert str(root[1]) == "50.0"
    assert root[3:6] == ["1e400", "1E+99999999999999999999", "1e-400"]
    assert isinstance(root[6], str)


def test_members_that_stand_twice_are_named_with_their_path_whatever_their_case():
    tree = parse(b'{"basicInfo":{"VIN":"A","vin ":"B"},"rows":[{"x":1},{"x":1,"x":2}]}')
    assert {problem.path for problem in tree.problems} == {("basicinfo", "vin"), ("rows", 1, "x")}
    assert tree.root["basicinfo"]["vin"] == "A"
    assert tree.spelled["basicinfo"] == "basicInfo"


def test_texts_that_are_no_text_are_mended_and_named():
    tree = parse(rb'{"a":{"b":["ok","x\ud800y","n\u0000l"]},"\udfff":1,"pair":"\ud83d\ude97"}')
    assert {problem.path for problem in tree.problems} == {("a", "b", 1), ("a", "b", 2)}
    assert tree.root["pair"] == "🚗"
    str(tree.root).encode("utf-8")
    assert "\0" not in json.dumps(tree.root, ensure_ascii=False)


@pytest.mark.parametrize(
    "body",
    [
        b"companydata=%7B%22a%22%3A%22b+c%22%7D",
        b"%7b%22a%22:%22b%20c%22%7d",
        b"?x=1&repairdata=%7B%22a%22%3A%22b%20c%22%7D&y=2",
        b'companydata={"a":"b c"}',
        b"/api/upRepairInfo.ashx?repairdata=%7B%22a%22%3A%22b%20c%22%7D",
    ],
)
def test_url_encoded_json_is_unwrapped(body):
    assert parse(body).root == {"a": "b c"}


def test_url_encoded_gbk_is_read():
    assert parse(b"repairdata=%7B%22a%22%3A%22%BB%A6%22%7D").root == {"a": "沪"}


@pytest.mark.parametrize("body", [b" " * 2_000_000, b'"' + b'\\"' * 500_000, b"a?" * 500_000, b"[" + b'"[' * 300_000])
def test_hostile_bytes_take_linear_time(body):
    start = time.process_time()
    with pytest.raises(TreeError):
        parse(body)
    assert time.process_time() - start < 2


def test_messages_never_show_content():
    with pytest.raises(TreeError) as caught:
        parse(b'companydata={"companypassword":"Geheim123",}')
    assert "Geheim" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_tree_or_a_tree_error(body):
    try:
        parse(body)
        code = ""
    except TreeError as error:
        code = error.code
    assert code in ("", "NOT_JSON", "STRUCTURE_WRONG")
