import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlq.masking import LONG, masked, masked_text
from dlq.views import SHOWN_BYTES, view_body
from mappings.shapes import HIDDEN, kind_of, mask_plate, mask_vin

PAYLOADS = Path(__file__).parent.parent / "payloads"

# What must never be readable, wherever it stands.
SHAPED = (
    "13800000012",
    "138-0000-0012",
    "+8613800000012",
    "0571-87654321",
    "(0571)87654321",
    "057187654321",
    "010-87654321",
    "400-800-1234",
    "110105194912310021",
    "11010519491231002X",
    "6222021234567890123",
    "6222 0212 3456 7890",
    "zhang.san@example.com",
    "LSVAL41Z882104202",
    "lsval41z882104202",
    "沪A12345",
    "沪A-12345",
    "粤AD12345",
    "京A1234警",
    "粤Z1234港",
    "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
)
CREDENTIALS = (
    "access_token",
    "Access-Token",
    "TOKEN",
    "companypassword",
    "passWord",
    "pwd",
    "sign",
    "appSign",
    "secretKey",
    "接口密码",
)
PERSONS = (
    "contact",
    "companylinkmanname",
    "linkMan",
    "vehicleOwner",
    "车主姓名",
    "contactDetails",
    "companysupereintendenttel",
)

names = st.sampled_from(("faultDescription", "remark", "a", "备注", "items", "basicInfo"))
fillers = st.sampled_from(("", "请联系 ", "电话：", "VIN ", "车架号", "（", ",", "\t", "x=", '"', "\\"))
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 9999) | st.text("abc汽修 ,", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def plant(tree, name, value):
    """The tree with one member more, as deep as it goes."""
    if isinstance(tree, dict) and tree:
        first = next(iter(tree))
        return {**tree, first: plant(tree[first], name, value)}
    if isinstance(tree, list) and tree:
        return [*tree[:-1], plant(tree[-1], name, value)]
    return {name: value}


def wires(tree):
    """The ways in which a payload of this content travels."""
    plain = json.dumps(tree, ensure_ascii=False)
    escaped = json.dumps(tree)
    yield plain
    yield escaped
    yield plain[:-1]
    yield escaped[:-1] + ",,"
    yield plain.encode()
    yield plain.encode("gb18030", "replace")
    yield b"\xff\xfe" + plain.encode("utf-16-le", "surrogatepass")
    yield "repairdata=" + quote(plain)
    yield "GET /api/upRepairInfo.ashx?x=1&repairdata=" + quote(quote(plain)) + " HTTP/1.1"
    yield json.dumps({"basicInfo": plain})
    yield json.dumps({"outer": json.dumps({"inner": plain})})[:-1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(trees, names, st.sampled_from(SHAPED), fillers, st.sampled_from(("", " 谢谢", "，", ";", ")")))
def test_shaped_canaries_never_survive(tree, name, canary, before, behind):
    for wire in wires(plant(tree, name, before + canary + behind)):
        assert canary not in str(masked(wire)), wire


@settings(max_examples=60, deadline=None, derandomize=True)
@given(trees, st.sampled_from(CREDENTIALS + PERSONS), st.sampled_from(("Canary7", "王小二canary", "Canary 7 x")))
def test_named_canaries_never_survive(tree, name, canary):
    for wire in wires(plant(tree, name, canary)):
        shown = str(masked(wire))
        assert canary not in shown, wire
        assert "anary" not in shown, wire


@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("value", [["canary"], {"x": {"y": "canary"}}, "canary", 7777777, '{"a":"canary"}'])
def test_credentials_show_nothing_at_all(name, value):
    shown = masked(json.dumps({"body": [{name: value}]}, ensure_ascii=False))
    assert json.loads(shown) == {"body": [{name: HIDDEN}]}


@pytest.mark.parametrize(
    "text",
    [
        "token=Canary",
        "access_token: 'Canary x'",
        'companypassword":"Canary',
        "签名：Canary",
        "Authorization: Bearer Canary123",
    ],
)
def test_credentials_in_free_text(text):
    assert "Canary" not in masked_text(text)


@pytest.mark.parametrize(
    "seen", ["１３８００００００１２", "138\u200b00000012", "1\x003\x008\x0000000012", "\\u0031380000\\u0030012"]
)
def test_disguised_phones(seen):
    assert masked_text(f"电话 {seen}") == "电话 138***12"


@pytest.mark.parametrize("name", ["mobile", "idCard", "contact", "frameNo", "plate"])
def test_what_stands_below_a_named_member_is_masked_like_it(name):
    shown = masked({name: {"home": ["canary-canary"], "work": {"x": "canary-canary"}}})
    assert "canary" not in json.dumps(shown)


def test_forms_are_masked_by_their_names():
    shown = masked_text("a=1&linkman=Canary&tel=%43anary5&x=%7B%22contact%22%3A%22Canary%22%7D&token=Canary")
    assert "anary" not in shown
    assert shown.startswith("a=1&linkman=***&tel=")


def test_numbers_in_json_are_masked_too():
    assert json.loads(masked('{"x": 13800000012, "y": [110105194912310021], "mileage": 48211}')) == {
        "x": "138***12",
        "y": ["11***21"],
        "mileage": 48211,
    }
    assert masked({"x": 13800000012, "n": None, "t": True}) == {"x": "138***12", "n": None, "t": True}


@pytest.mark.parametrize(
    "kept",
    [
        "330106000000001",
        "91310112MA1GBXYZ2Q",
        "R20210305001",
        "20201222106036",
        "2018-08-30 12:27:30",
        "车主自行保养",
        "嘉实多/Castrol 磁护 全合成机油 5W-40 SN级 4L",
        "OL-CA-MAGNATEC|1",
        "上海某某汽车修理有限公司",
        "44|440106000000001|R20210305001",
    ],
)
def test_what_an_operator_needs_stays(kept):
    assert masked_text(kept) == kept


def test_what_stays_of_vin_and_plate():
    assert mask_vin("LSVAL41Z882104202") == "LSV***4202"
    assert mask_vin("LSVAL") == "L***L"
    assert mask_plate("沪A12345") == mask_plate("沪A·12345") == "沪A***45"
    assert mask_plate("A1") == HIDDEN
    assert mask_vin("") == ""
    assert kind_of("vehiclePlateColor") is None
    assert kind_of("VIN") is mask_vin


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.name[:12])
def test_real_payloads_show_no_secret_and_stay_json(path):
    body = path.read_bytes()
    shown = view_body(body)
    parsed = json.loads(shown)
    assert isinstance(parsed, dict | list)
    assert "Test1234" not in shown
    assert "13800000000" not in shown
    for value in leaves(json.loads(body)):
        if (
            isinstance(value, str)
            and len(value) == 17
            and value.isalnum()
            and not value.isdigit()
            and not value.isalpha()
        ):
            assert value not in shown


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_input_gives_printable_text(value):
    shown = masked(value)
    assert isinstance(shown, str)
    shown.encode()
    assert not any(ord(sign) < 32 and sign not in "\t\n" for sign in shown)


def test_terminal_sequences_do_nothing():
    assert "\x1b" not in masked_text("\x1b]0;owned\x07\x1b[2J")


def test_photos_show_their_size_only():
    shown = masked(json.dumps({"carPhoto": "/9j/" + "A" * (2 * LONG)}))
    assert len(shown) < 100
    assert str(2 * LONG + 4) in shown


def test_deep_nesting_is_cut_and_harmless():
    assert "13800000012" not in str(masked("[" * 500 + '"13800000012"' + "]" * 500))
    assert "13800000012" not in str(masked("[" * 100_000 + '"13800000012"' + "]" * 100_000))
    deep = '"13800000012"'
    for _ in range(12):
        deep = json.dumps(deep)
    assert "13800000012" not in str(masked(deep))


def test_view_of_a_long_body_is_cut_without_leaving_half_a_value():
    for shift in range(14):
        start = SHOWN_BYTES - shift
        body = b"x," * (start // 2) + b"," * (start % 2) + b"13800000012 " + b"y " * 1000
        shown = view_body(body)
        assert "1380" not in shown
        assert len(shown) <= SHOWN_BYTES + 10


@pytest.mark.parametrize(
    "piece",
    ["a", "1", "token", '"a":"\\', "\\", "沪A", "a@", "1 ", " ", "a.b", "{", "(0", 'sign:"', "sign:[", "=%25", "a=b&"],
)
def test_hostile_text_costs_linear_time(piece):
    def cost(size):
        text = piece * (size // len(piece))
        started = time.process_time()
        masked_text(text)
        return time.process_time() - started

    cost(1_000)
    assert cost(64_000) < 0.5
