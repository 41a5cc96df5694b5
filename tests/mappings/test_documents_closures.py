"""Closures, M stations and decisions: the forms they come in, and how closures go out."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import im_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.documents.closures import (
    JKID,
    Closure,
    ClosurePart,
    ClosureProject,
    body,
    closure_of,
    encode_line,
    encode_message,
    encode_withdrawn_line,
    encode_withdrawn_message,
    row_id,
    sql_rows,
)
from mappings.documents.imcases import Match, both_sides
from mappings.documents.mstations import MStation
from mappings.numbers import number
from mappings.records import Part, Project, RepairRow, Withdrawal

SENT = datetime(2024, 5, 31, 16, 30, tzinfo=UTC)
OTHER = "LSVAL41Z882104202"


def test_a_row_of_the_closure_table_is_judged_like_a_repair():
    found = s.judged(s.REPAIR)
    assert (found.kind, found.dialect) == ("closure", "repairinfo-m")
    assert s.told(found) == [("REPORT_LINK", "info", "test_no")]
    one = found.record
    assert isinstance(one, Closure)
    assert one.identity == ("330100000000001", f"WX240521001/{s.VIN}", date(2021, 8, 23), s.VIN)
    assert (one.test_no, one.mileage, one.area) == (s.REPORT, Decimal(48211), "330100")
    assert one.parts == (ClosurePart(name="三元催化器", quantity=Decimal(1), code="1205100"),)
    assert one.projects == (ClosureProject(name="更换三元催化器", hours=Decimal("2.5")),)
    assert "丙某" not in repr((one, dict(found.members), found.findings)), "the uploader may be a person"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"Vin": "LGXC16DF2A0069957"}, "VIN_CHECK_DIGIT", "vin"),
        ({"settledate": "20210821"}, "DATE_ORDER", "repairdate"),
        ({"repairmileage": "无"}, "MANDATORY_MISSING", "mileage"),
        ({"companyuniquecode": ""}, "MANDATORY_MISSING", "companycode"),
        ({"VehiclePartslist_M": [], "RepairProjectList_M": s.DROP}, "EMPTY_CONTENT", "parts"),
        ({"VehiclePartslist_M": "x"}, "STRUCTURE_WRONG", "parts"),
        ({"VehiclePartslist_M": [{"partsname": "件", "partscode": "1"}]}, "MANDATORY_MISSING", "parts[0].quantity"),
        ({"test_no": "1" * 33}, "TOO_LONG", "test_no"),
    ],
)
def test_what_rejects_it(changes, code, field):
    found = s.judged(s.changed(s.REPAIR, changes))
    assert (code, "reject", field) in s.told(found)
    assert found.record is None


def test_wire_paths_of_rows_are_the_partners():
    found = s.judged(s.changed(s.REPAIR, {"RepairProjectList_M": [{"repairproject": "x", "workinghours": "许久"}]}))
    assert [(one.field, one.wire) for one in found.findings if one.code == "HOURS_NOT_NUMERIC"] == [
        ("projects[0].hours", "RepairProjectList_M[0].workinghours")
    ]


def test_the_report_may_stand_in_the_fault_description_alone():
    text = "尾气超标 报告编码{330100112108211315501011}"
    assert s.judged(s.changed(s.REPAIR, {"test_no": "", "Faultdescription": text})).record.test_no == s.REPORT
    found = s.judged(s.changed(s.REPAIR, {"test_no": s.DROP}))
    assert ("REPORT_NUMBER_MISSING", "flag", "test_no") in s.told(found)
    assert found.record.test_no is None


def test_lists_of_a_row_may_be_text_and_strangers_are_left_out():
    given = s.changed(s.REPAIR, {"VehiclePartslist_M": json.dumps([{**s.REPAIR["VehiclePartslist_M"][0], "price": 9}])})
    found = s.judged(given)
    assert found.record == s.judged(s.REPAIR).record
    assert ("UNKNOWN_MEMBER", "info", "VehiclePartslist_M[0].price") in s.told(found)


TEXT = st.text(alphabet="汽车尾气治理ABCxyz019-", min_size=1, max_size=12).filter(lambda text: text.strip("-"))
AMOUNT = st.decimals(min_value=Decimal("0.1"), max_value=24, places=1).map(number)
DAY = st.dates(date(2015, 1, 1), date(2024, 5, 1))
ROWS = st.builds(
    RepairRow,
    companycode=st.from_regex(r"33010[0-9][0-9]{9}", fullmatch=True),
    companyname=TEXT,
    plate=st.sampled_from(["浙A12345", "浙AD12345", "沪BL7806"]),
    vin=st.sampled_from([s.VIN, OTHER]),
    repairdate=DAY,
    settledate=st.just(date(2024, 5, 2)),
    mileage=st.decimals(min_value=1, max_value=900_000, places=1).map(number),
    faultdescription=TEXT,
    costlistcode=TEXT,
    parts=st.lists(st.builds(Part, TEXT, AMOUNT, TEXT), min_size=1, max_size=3).map(tuple),
    projects=st.lists(st.builds(Project, TEXT, AMOUNT), max_size=3).map(tuple),
)
CLOSURES = st.builds(
    closure_of,
    ROWS,
    st.none() | st.just(s.REPORT),
    unique=st.sampled_from(["", "M330100001"]),
    area=st.sampled_from([None, "330106"]),
)


@given(CLOSURES)
def test_what_goes_out_reads_back_as_the_same_closure(one):
    for sent in (encode_line(one, "33", SENT), encode_message(one, "33", SENT, "Geheim88")):
        found = s.judged(sent)
        assert found.record == one, found.findings
        assert found.record.content() == one.content()
        assert "Geheim88" not in repr(found)


@given(CLOSURES)
def test_rows_for_sql_hold_the_columns_of_the_three_tables(one):
    tables = sql_rows(one, "33", SENT)
    (info,) = tables["RepairInfo_M"]
    assert list(info) == [
        *("RepairVeID", "Costlistcode", "test_no", "Vehicleplatenumber", "Vin", "repairmileage", "repairdate"),
        *("settledate", "companyname", "companyuniquecode", "Faultdescription", "uploader", "uploadTime"),
    ]
    assert len(info["RepairVeID"]) == 32
    rows = [*tables["VehiclePartslist_M"], *tables["RepairProjectList_M"]]
    assert {row["RepairVeID"] for row in rows} <= {info["RepairVeID"]}
    assert len(rows) == len(one.parts) + len(one.projects)
    assert sql_rows(one, "33", SENT) == tables


def test_the_json_forms_as_they_look():
    one = s.judged(s.REPAIR).record
    assert json.loads(encode_line(one, "33", SENT)) == {
        "RepairVeID": row_id("330100000000001", f"closure:WX240521001/{s.VIN}"),
        "Costlistcode": "WX240521001",
        "test_no": s.REPORT,
        "Vehicleplatenumber": "浙A12345",
        "Vin": s.VIN,
        "repairmileage": "48211",
        "repairdate": "20210822",
        "settledate": "20210823",
        "companyname": "杭州某某汽车维修有限公司",
        "companyuniquecode": "330100000000001",
        "Faultdescription": "尾气超标",
        "uploader": "33",
        "uploadTime": "20240601003000",
        "area": "330100",
        "vehiclepartslist": [{"partsname": "三元催化器", "partsquantity": "1", "partscode": "1205100"}],
        "repairprojectlist": [{"repairproject": "更换三元催化器", "workinghours": "2.5"}],
    }
    message = json.loads(encode_message(one, "33", SENT, "Geheim88"))
    assert message == {"jkid": JKID, "jksqm": "Geheim88", "data": [{"body": [body(one, "33", SENT)]}]}


def test_a_withdrawal_names_the_row_of_its_closure():
    one = s.judged(s.REPAIR).record
    taken = Withdrawal(one.identity.issuer, one.listed, "车辆识别代号更正")
    wanted = {"RepairVeID": body(one, "33", SENT)["RepairVeID"], "withdrawn": "车辆识别代号更正"}
    assert json.loads(encode_withdrawn_line(taken)) == wanted
    message = json.loads(encode_withdrawn_message(taken, "x"))
    assert (message["jkid"], message["data"]) == ("withdrawRepairClosureM", [{"body": [wanted]}])


def test_a_closure_of_another_vehicle_has_another_key():
    one = s.judged(s.REPAIR).record
    other = one.model_copy(update={"vin": OTHER})
    assert one.identity[:2] != other.identity[:2]
    assert body(one, "33", SENT)["RepairVeID"] != body(other, "33", SENT)["RepairVeID"]


def test_an_m_station_by_object_and_by_table():
    found = s.judged(s.MSTATION)
    assert (found.kind, found.dialect, found.findings) == ("m-station", "m-station", ())
    one = found.record
    assert one == MStation(
        companyuniquecode="M330100001",
        companycode="330100000000001",
        name="杭州某某汽车维修有限公司",
        address="某某路1号",
        area="330106",
        valid_from=date(2020, 1, 1),
    )
    table = ",".join(s.MSTATION) + "\n" + ",".join(s.MSTATION.values()) + "\n"
    for text in (table, "\ufeff" + table):
        by_table = s.judged(text.encode())
        assert (by_table.dialect, by_table.record) == ("m-station-csv", one)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"companyuniquecode": ""}, "MANDATORY_MISSING", "companyuniquecode"),
        ({"from": ""}, "MANDATORY_MISSING", "valid_from"),
        ({"from": "2020-13-01"}, "DATE_FORMAT", "valid_from"),
        ({"to": "20191231"}, "DATE_ORDER", "valid_from"),
        ({"area": "33"}, "CODE_NOT_IN_TABLE", "area"),
        ({"area": "990000"}, "CODE_NOT_IN_TABLE", "area"),
    ],
)
def test_what_rejects_an_m_station(changes, code, field):
    assert (code, "reject", field) in s.told(s.judged({**s.MSTATION, **changes}))


def test_a_decision_of_a_person():
    found = s.judged(s.MATCH)
    assert (found.kind, found.dialect, found.findings) == ("im-match", "im-match", ())
    one = found.record
    assert one.identity == ("330100", f"33|330100000000001|WX240521001/{s.VIN}", date(2021, 8, 30), s.VIN)
    assert both_sides(one) == (one,)


def test_a_decision_about_a_wrong_vehicle_stands_in_both_files():
    one = s.judged({**s.MATCH, "reportvin": OTHER}).record
    first, second = both_sides(one)
    assert (first.vin, second.vin) == (s.VIN, OTHER)
    assert first.identity[:2] != second.identity[:2]
    assert s.judged({**s.MATCH, "reportvin": OTHER, "vin": OTHER}).record == second


def test_a_decision_may_be_that_a_repair_belongs_to_no_report():
    one = s.judged(s.changed(s.MATCH, {"reportno": "", "reportvin": s.DROP})).record
    assert isinstance(one, Match)
    assert (one.reportno, one.reportvin) == (None, None)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"reason": "无"}, "MANDATORY_MISSING", "reason"),
        ({"decidedby": ""}, "MANDATORY_MISSING", "decidedby"),
        ({"decidedat": "昨天"}, "DATE_FORMAT", "decidedat"),
        ({"reportno": ""}, "MANDATORY_MISSING", "reportno"),
        ({"reportvin": ""}, "MANDATORY_MISSING", "reportvin"),
        ({"vin": OTHER}, "CODE_NOT_IN_TABLE", "vin"),
        ({"repair": ["x"]}, "STRUCTURE_WRONG", "repair"),
    ],
)
def test_what_rejects_a_decision(changes, code, field):
    assert (code, "reject", field) in s.told(s.judged({**s.MATCH, **changes}))


WILD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=6), st.lists(st.none() | st.text(), max_size=2)
)


@pytest.mark.parametrize("base", [s.REPAIR, s.MATCH, s.MSTATION], ids=["closure", "match", "station"])
@given(st.data())
def test_nothing_makes_the_judge_raise(base, data):
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(set(base) - {"schema"})), WILD, max_size=5))
    for name in ("strict", "lenient"):
        found = s.judged({**base, **changes}, name)
        assert (found.record is None) == found.rejected
