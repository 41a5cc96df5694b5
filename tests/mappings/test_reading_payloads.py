"""Golden results for the sample payloads, and what holds for any bytes and any JSON."""

import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.documents.kinds import FORMS
from mappings.reading import MappingError, dialect_names, read

PAYLOADS = Path(__file__).parents[1] / "payloads"
# file -> kind, dialect, step, header_date, some members, codes of the notes
GOLDEN = {
    "01": ("token", "national", "", None, {"companycode": "330106000000001", "companypassword": "***"}, []),
    "02": ("repair", "national", "", None, {"vin": "", "plate": "沪A-12345", "mileage": "48211"}, ["UNKNOWN_MEMBER"]),
    "04": ("repair", "national", "", None, {"mileage": 15230, "costlistcode": 21873301}, []),
    "05": ("token", "chengdu", "", "20170918", {"companycode": "510107000000001"}, []),
    "06": ("repair", "chengdu", "", "20170918", {"vin": "LFV2A21K8G4043336", "plate": "川A12345"}, []),
    "07": ("registration", "chengdu", "", "20170901", {"companyoperationstate": "营业", "companypassword": "***"}, []),
    "09": ("token", "foshan", "", "20181208", {"companycode": "440604000000001", "companypassword": "***"}, []),
    "10": ("repair", "foshan", "", "20180826", {"vin": "4454465656565", "plate": "粤EFS888"}, ["UNKNOWN_MEMBER"]),
    "13": ("registration", "national", "", None, {"roadtransportationlicenseenddate": "99990909"}, []),
    "15": ("repair", "national", "", None, {"vin": "WP1AG2923CLA64129", "costlistcode": "20180413-01"}, []),
    "16": ("step", "shanghai", "insert", None, {"vin": "qw1231", "plate": "GK12001"}, ["SIGN_NOT_CHECKED"]),
    "17": ("step", "shanghai", "items", None, {"costlistcode": "1"}, ["SIGN_NOT_CHECKED", "ORDER_NOT_CHECKED"]),
    "19": ("step", "shanghai", "insert", None, {"faultdescription": "更换刹车片，剩余20％"}, ["SIGN_NOT_CHECKED"]),
    "20": ("step", "secondary", "car", None, {"plate": "沪A099E8", "engine": "xxxxxxyyyy"}, ["SIGN_NOT_CHECKED"]),
    "23": ("document", "waste-order", "", None, {"wastetype": "HW09", "preweight": 666}, []),
    "24": ("document", "istation", "", None, {"jkid": "uploadInspResultDIDLE"}, []),
    "25": ("repair", "national", "", None, {"plate": "浙AD12345", "costlistcode": "WX240318007"}, ["UNKNOWN_MEMBER"]),
    "27": ("document", "damage-estimate", "", None, {"estimate_no": "ES2018042300001"}, []),
}
ROWS = {
    "02": (
        [
            {"name": "机油滤清器", "quantity": "1.00", "code": "N/A"},
            {"name": "机油", "quantity": "N/A", "code": "QPJY-AM-01C"},
        ],
        [{"name": "更换机油机滤", "hours": "N/A"}],
    ),
    "06": (
        [{"name": "马勒/MAHLE 机油滤清器", "quantity": 1, "code": "OF-MA-OC|5"}],
        [{"name": "小保养服务", "hours": Decimal("50.0")}],
    ),
    "10": (
        [{"name": "机油", "quantity": "1.1", "code": "js0001"}, {"name": "皮带", "quantity": "2", "code": "js0002"}],
        [{"name": "换机油", "hours": "2.1"}, {"name": "换皮带", "hours": "1"}],
    ),
    "17": ([{"name": "机油机滤", "quantity": "9", "code": "1024"}], [{"name": "更换机油机滤", "hours": "8"}]),
}


def body_of(number):
    (path,) = PAYLOADS.glob(f"{number}_*.json")
    return path.read_bytes()


def test_every_payload_has_its_golden_result():
    assert {path.name[:2] for path in PAYLOADS.glob("*.json")} == set(GOLDEN)


@pytest.mark.parametrize("number", sorted(GOLDEN))
def test_payload(number):
    kind, dialect, step, header_date, some, codes = GOLDEN[number]
    draft = read(body_of(number))
    assert (draft.kind, draft.dialect, draft.step, draft.header_date) == (kind, dialect, step, header_date)
    assert {name: draft.members.get(name) for name in some} == some
    assert [note.code for note in draft.notes] == codes
    parts, projects = ROWS.get(number, (None, None))
    if parts:
        assert (draft.members["parts"], draft.members["projects"]) == (parts, projects)


def test_an_order_without_vin_is_answered_with_the_dialects_that_are_known():
    donghu = {"date": "2023/02/03", "orderNo": "1", "plateNo": "沪A12345", "factory": "x", "details": []}
    (note,) = read(json.dumps(donghu).encode()).notes
    assert note.code == "DIALECT_UNKNOWN"
    assert all(name in note.expected for name in (*dialect_names(), *FORMS))


@pytest.mark.parametrize("number", ["09", "10"])
def test_foshan_travels_url_encoded(number):
    name = {"09": "companydata", "10": "repairdata"}[number]
    assert read(f"{name}={quote(body_of(number).decode())}".encode()) == read(body_of(number))


@pytest.mark.parametrize("number", ["01", "07", "09", "13", "15"])
def test_no_credential_is_in_a_draft(number):
    shown = repr(read(body_of(number)))
    assert "Test1234" not in shown
    assert "6f9619ff" not in shown
    assert "0123456789ABCDEF" not in shown


@pytest.mark.parametrize("body", [b"[]", b"5", b'"text"', b"null", b'[{"basicInfo":{}}]'])
def test_a_root_that_is_no_object_is_of_the_wrong_kind(body):
    (note,) = read(body).notes
    assert (note.code, note.severity) == ("STRUCTURE_WRONG", "reject")


def test_a_named_dialect_is_not_left_for_another_one():
    assert read(body_of("15"), "chengdu").notes[0].code == "DIALECT_UNKNOWN"
    assert read(body_of("15"), "national").kind == "repair"


def test_an_unknown_dialect_name_is_wrong_use():
    with pytest.raises(MappingError, match="national"):
        read(b"{}", "klingon")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NAMES = st.sampled_from(
    [
        *("basicInfo", "vin", "VIN", "vehiclepartslist", "repairprojectlist", "partsname", "costlistcode", "findings"),
        *("orderCode", "repairProjectList", "repairPartList", "payTime", "transaction", "body", "reqInfo", "header"),
        *("lines", "type", "vehicle", "visit", "dealerCode", "companypassword", "access_token", "schema", "kind"),
        "parts",
    ]
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["vingate.repair/1", "report", "{}", "[", '{"vin":[]}', "[{}]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from(["auto", *dialect_names()]))
def test_any_json_gives_a_draft_of_scalars_and_rows(value, dialect):
    draft = read(json.dumps(value, default=str).encode(), dialect)
    assert draft.kind or draft.notes
    for name, member in draft.members.items():
        if name in ("parts", "projects"):
            assert all(not isinstance(cell, dict | list) for row in member for cell in row.values())
        else:
            assert not isinstance(member, dict | list)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["auto", "csv", "national", "oem"]))
def test_any_bytes_give_a_draft(body, dialect):
    draft = read(body, dialect)
    assert draft.kind or draft.notes
