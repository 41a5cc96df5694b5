"""JSON dialects: spelling, double encoding, wrong kinds, unknown members, rows under rows."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import Limits, judge, read

BASIC = {
    "vehicleplatenumber": "浙A12345",
    "companyname": "杭州某某汽车维修有限公司",
    "vin": "LSVAL41Z882104202",
    "repairdate": "20240318",
    "repairmileage": 21560,
    "settledate": "20240319",
    "faultdescription": "空调不制冷",
    "costlistcode": "WX240318007",
}
PARTS = [{"partsname": "空调滤芯", "partsquantity": "1.5", "partscode": "P1"}]
PROJECTS = [{"repairproject": "更换空调滤芯", "workinghours": 2}]
RECORD = {"basicInfo": BASIC, "vehiclepartslist": PARTS, "repairprojectlist": PROJECTS}


def read_json(value, dialect="auto", **limits):
    return read(json.dumps(value, ensure_ascii=False).encode(), dialect, Limits(**limits))


def notes_of(draft):
    return [(note.code, note.field) for note in draft.notes]


PLAIN = read_json(RECORD)


def respelled(value, spell):
    if isinstance(value, dict):
        return {spell(name): respelled(inner, spell) for name, inner in value.items()}
    return [respelled(inner, spell) for inner in value] if isinstance(value, list) else value


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_case_and_blanks_of_names_do_not_matter(data):
    def spell(name):
        upper = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
        mixed = "".join(c.upper() if up else c.lower() for c, up in zip(name, upper, strict=True))
        return data.draw(st.sampled_from(["", " ", "\t"])) + mixed + data.draw(st.sampled_from(["", " "]))

    draft = read_json(respelled(RECORD, spell))
    assert (draft.members, draft.notes) == (PLAIN.members, ())


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(sorted(RECORD))), st.booleans(), st.booleans())
def test_double_encoded_members_are_parsed_once_more(encoded, rows, whole):
    record = {**RECORD, "vehiclepartslist": [json.dumps(PARTS[0])] if rows else PARTS}
    record = {name: json.dumps(value) if name in encoded else value for name, value in record.items()}
    draft = read_json(json.dumps(record) if whole else record)
    assert (draft.members, draft.notes) == (PLAIN.members, ())


@pytest.mark.parametrize("wrap", ["transaction", "body", "reqInfo"])
def test_an_envelope_may_be_double_encoded_too(wrap):
    body = {"reqInfo": json.dumps(RECORD) if wrap == "reqInfo" else RECORD}
    inner = {"header": {"date": 20170918}, "body": json.dumps(body) if wrap == "body" else body}
    draft = read_json({"transaction": json.dumps(inner) if wrap == "transaction" else inner})
    assert (draft.dialect, draft.header_date, draft.members) == ("chengdu", "20170918", PLAIN.members)


@pytest.mark.parametrize("value", [1, "1", Decimal("1.50"), True, None, "N/A"])
def test_scalars_stay_as_sent(value):
    sent = float(value) if isinstance(value, Decimal) else value
    draft = read_json({**RECORD, "basicInfo": {**BASIC, "repairmileage": sent}})
    assert draft.members["mileage"] == value
    assert type(draft.members["mileage"]) is type(value)


def test_a_member_that_was_not_sent_is_absent():
    draft = read_json({"basicInfo": {"vin": "X"}})
    assert draft.members == {"vin": "X"}


def test_company_code_stands_in_basic_info_or_beside_it():
    assert read_json({"basicInfo": {**BASIC, "companycode": "1"}}).members["companycode"] == "1"
    assert read_json({**RECORD, "companycode": "2"}).members["companycode"] == "2"


def test_unknown_members_are_named_once_and_never_shown():
    rows = [{**PARTS[0], "Price": "9.99"}, {**PARTS[0], "price": "8.88"}]
    draft = read_json({**RECORD, "ownerPhone": "13800000000", "vehiclepartslist": rows})
    assert notes_of(draft) == [("UNKNOWN_MEMBER", "ownerPhone"), ("UNKNOWN_MEMBER", "vehiclepartslist[].Price")]
    assert not any(text in repr(draft) for text in ("13800000000", "9.99", "8.88"))


def test_many_unknown_members_are_counted():
    def found(count):
        draft = read_json({"basicInfo": BASIC} | {f"x{number}": number for number in range(count)})
        assert {note.code for note in draft.notes} == {"UNKNOWN_MEMBER"}
        return [(note.field, note.value) for note in draft.notes]

    named = [(f"x{number}", f"x{number}") for number in range(50)]
    assert found(50) == named
    assert found(80) == [*named, ("", "+30")]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"basicInfo": [BASIC]}, "basicInfo"),
        ({"basicInfo": "{broken"}, "basicInfo"),
        ({"basicInfo": {**BASIC, "vin": ["LSVAL41Z882104202"]}}, "vin"),
        ({"basicInfo": {**BASIC, "vin": {"a": 1}}}, "vin"),
        ({"vehiclepartslist": PARTS[0]}, "parts"),
        ({"vehiclepartslist": 7}, "parts"),
        ({"vehiclepartslist": [*PARTS, "text"]}, "parts[1]"),
        ({"vehiclepartslist": [*PARTS, {"partsname": []}]}, "parts[1].name"),
        ({"repairprojectlist": [{"workinghours": {}}]}, "projects[0].hours"),
    ],
)
def test_a_member_of_the_wrong_kind_is_one_note_and_the_rest_is_read(change, field):
    draft = read_json({**RECORD, **change})
    assert notes_of(draft) == [("STRUCTURE_WRONG", field)]
    assert draft.kind == "repair"
    assert len(draft.members) >= 2


@pytest.mark.parametrize("empty", [None, "", "N/A", "无"])
def test_a_placeholder_in_place_of_a_list_is_no_list(empty):
    draft = read_json({**RECORD, "vehiclepartslist": empty})
    assert "parts" not in draft.members
    assert draft.notes == ()


def test_a_repeated_member_is_named_by_our_name_and_theirs():
    draft = read(b'{"basicInfo":{"vin":"A","VIN":"B"},"vehiclepartslist":[{},{"partsname":"x","partsname":"y"}]}')
    found = {(note.field, note.wire) for note in draft.notes if note.code == "STRUCTURE_WRONG"}
    assert found == {("vin", "basicInfo.VIN"), ("parts[1].name", "vehiclepartslist[1].partsname")}


def test_too_many_rows_are_refused_by_name():
    draft = read_json({**RECORD, "vehiclepartslist": PARTS * 4}, rows=3)
    assert notes_of(draft) == [("STRUCTURE_WRONG", "parts")]


def test_wire_names_lead_back_to_what_the_partner_wrote():
    assert PLAIN.wire["vin"] == "basicInfo.vin"
    assert PLAIN.wire["parts[].quantity"] == "vehiclepartslist[].partsquantity"
    enveloped = read_json({"transaction": {"body": {"reqInfo": RECORD}}})
    assert enveloped.wire["vin"] == "transaction.body.reqInfo.basicInfo.vin"
    misspelt = {"companyname": "x", "companyaddress": "y", "companyeconomicategory": "150"}
    assert read_json(misspelt).wire["companyeconomiccategory"] == "companyeconomicategory"


def test_misspelt_members_are_taken():
    draft = read_json({"companyname": "x", "companyaddress": "y", "companysupereintendenttel": "1"})
    assert (draft.kind, draft.members["companysuperintendenttel"], draft.notes) == ("registration", "1", ())


def test_root_and_foshan_are_flat():
    flat = {**BASIC, "vehiclePartsList": PARTS, "repairProjectList": PROJECTS}
    assert read_json(flat).dialect == "root"
    foshan = read_json({"header": {"date": "20240320"}, "body": flat})
    assert (foshan.dialect, foshan.header_date) == ("foshan", "20240320")
    assert read_json(flat).members == foshan.members == PLAIN.members


def test_shanghai_parts_are_flattened_and_equal_codes_added():
    def part(code, quantity, name="油"):
        return {"partName": name, "partCode": code, "partQty": quantity}

    groups = [[part("B", "1.5"), part("", 1), part("C", "x")], [part("B", 0.5), part("", 2), part("C", 1)]]
    items = [{"projectName": "p", "workingHours": 1, "repairPartList": rows} for rows in groups]
    draft = read_json({"orderCode": 7, "repairProjectList": items})
    found = [(row["code"], row["quantity"]) for row in draft.members["parts"]]
    assert found == [("B", Decimal("2.0")), ("", 1), ("C", "x"), ("", 2), ("C", 1)]
    assert (draft.order, draft.step, len(draft.members["projects"])) == ("7", "items", 2)


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ({"orderCode": "1", "payTime": "2023-02-03 10:00:00"}, "settle"),
        ({"orderCode": "1", "totalCost": 5}, "settle"),
        ({"orderCode": "1", "vin": "x"}, "correction"),
        ({"orderCode": "1", "vpn": "x", "repairProjectList": []}, "correction"),
        ({"orderCode": "1", "vpn": "x", "repairTime": "", "faultDesc": "", "natureOfUse": 1}, "insert"),
    ],
)
def test_shanghai_steps_are_known_by_their_members(body, step):
    assert read_json(body).step == step


def test_oem_lines_are_told_apart_and_none_is_lost():
    visit = {"dealerCode": "D1", "maker": "SVW", "vehicle": {"vin": "V"}, "visit": {"orderNo": "O"}}
    lines = [{"type": "part", "description": "a"}, {"type": "LABOUR", "description": "b", "hours": 1}, {"type": "FEE"}]
    draft = read_json({**visit, "lines": lines})
    assert draft.members["parts"] == [{"name": "a"}]
    assert draft.members["projects"] == [{"name": "b", "hours": 1}]
    assert draft.provenance == {"maker": "SVW", "dealercode": "D1"}
    assert draft.notes == ()
    strange = read_json({**visit, "lines": [{"type": "GIFT", "description": "c"}]})
    assert notes_of(strange) == [("STRUCTURE_WRONG", "lines[0].type")]


def test_a_registration_feed_is_a_vehicle():
    feed = {"schema": "vingate.registration/1", "vin": "V", "plate": None, "home": "bt", "valid_from": "2024-01-01"}
    draft = read_json(feed)
    assert (draft.kind, draft.members["home"], draft.notes) == ("vehicle", "bt", ())


STRICT = Context(profile("strict"), datetime(2024, 6, 1, tzinfo=UTC))


def places_of(draft, code):
    """Field -> place on the wire of the findings with a code."""
    return {finding.field: finding.wire for finding in judge(draft, STRICT).findings if finding.code == code}


def test_equal_codes_are_added_only_where_nothing_is_to_be_said():
    def kept(*quantities, **second):
        rows = [{"partName": "油", "partCode": "B", "partQty": quantity} for quantity in quantities]
        rows[1] |= second
        draft = read_json({"orderCode": 7, "repairProjectList": [{"projectName": "p", "repairPartList": rows}]})
        return [row["quantity"] for row in draft.members["parts"]]

    assert kept("5", "2") == [7]
    assert kept("-3", "5") == ["-3", "5"]
    assert kept("5", "-3") == ["5", "-3"]
    assert kept("0", "5") == ["0", "5"]
    assert kept("5", True) == ["5", True]
    assert kept("5", "2", partName="") == ["5", "2"]


def test_a_row_is_named_by_the_number_that_the_partner_gave_it():
    lines = [{"type": "FEE"}, {"type": "LABOR", "description": "b", "hours": -1}, {"type": "PART", "quantity": "x"}]
    visit = {"dealerCode": "D1", "vehicle": {"vin": "V"}, "visit": {"orderNo": "O"}}
    draft = read_json({**visit, "lines": [*lines, {"type": "PART", "description": [], "quantity": "y"}]})
    assert places_of(draft, "HOURS_NEGATIVE") == {"projects[0].hours": "lines[1].hours"}
    assert places_of(draft, "QUANTITY_NOT_NUMERIC") == {
        "parts[0].quantity": "lines[2].quantity",
        "parts[1].quantity": "lines[3].quantity",
    }
    assert places_of(draft, "STRUCTURE_WRONG") == {"parts[1].name": "lines[3].description"}
    assert places_of(draft, "MANDATORY_MISSING")["parts[0].name"] == "lines[2].description"


def test_a_member_that_stands_twice_in_a_row_is_named_by_our_number():
    lines = b'{"type":"FEE"},{"type":"PART","description":"a","number":"1","number":"2","description":"b"}'
    draft = read(b'{"dealerCode":"D1","vehicle":{"vin":"V"},"visit":{"orderNo":"O"},"lines":[' + lines + b"]}")
    found = {(note.field, note.wire) for note in draft.notes if note.value == "repeated"}
    assert found == {("parts[0].code", "lines[1].number"), ("parts[0].name", "lines[1].description")}


def test_rows_that_were_nested_and_added_up_keep_their_places():
    def part(code, quantity):
        return {"partName": "油", "partCode": code, "partQty": quantity}

    items = [
        {"projectName": "p", "repairPartList": [part("B", 1), part("B", 2)]},
        {"projectName": "q", "repairPartList": [part("B", 3), {**part("C", "x"), "partName": {}}]},
    ]
    draft = read_json({"orderCode": 7, "repairProjectList": items})
    assert places_of(draft, "QUANTITY_NOT_NUMERIC") == {
        "parts[1].quantity": "repairProjectList[1].repairPartList[1].partQty"
    }
    assert places_of(draft, "STRUCTURE_WRONG") == {"parts[1].name": "repairProjectList[1].repairPartList[1].partName"}
