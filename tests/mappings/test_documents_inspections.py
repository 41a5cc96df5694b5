"""Results of emission tests: both forms, every method, what rejects and what is only remarked."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import im_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dlq.masking import masked
from mappings.documents.inspections import ControlUnit, Inspection, Measure
from mappings.documents.interchange import encode_document
from mappings.findings import catalogue, profile
from mappings.judging import Context, Draft
from mappings.rules.case import Case

PAYLOADS = Path(__file__).parents[1] / "payloads"
CHINA = timezone(timedelta(hours=8))


def test_the_given_message_is_taken_whole():
    found = s.judged((PAYLOADS / "24_istation_didle_result.json").read_bytes())
    assert (found.kind, found.dialect, found.findings) == ("inspection", "istation", ())
    one = found.record
    assert isinstance(one, Inspection)
    assert one.identity == (
        "3307020001",
        "JH20190520000123/d41d8cd98f00b204e9800998ecf8427e",
        one.endtime.date(),
        "LGXC16DF1A0069957",
    )
    assert (one.plate, one.platecolour, one.platekind, one.fuel, one.method) == ("浙G12345", "1", "02", "A", "didle")
    assert (one.passed, one.area, one.reportno) == (False, "330702", None)
    assert one.endtime == datetime(2019, 5, 20, 9, 41, 2, tzinfo=CHINA)
    measures = {measure.item: measure for measure in one.measures}
    assert measures["lsco"] == Measure(item="lsco", value=Decimal("0.92"), upper=Decimal("0.6"), passed=False)
    assert measures["lambda"].lower == Decimal("0.95")
    assert measures["gdszs"].value == 2510


@pytest.mark.parametrize("kind", sorted(s.BODIES))
@pytest.mark.parametrize("name", ["strict", "lenient"])
def test_every_kind_of_message_is_accepted_without_a_remark(kind, name):
    found = s.judged(s.message(kind), name)
    assert found.findings == ()
    assert found.record.method == kind.lower()
    assert found.record.passed


def test_a_check_of_the_diagnosis_keeps_its_parts():
    found = s.judged(s.message("OBD", {"communicationFalseRes": "1,3", "isRecheck": "1", "reJudge": "0"})).record
    assert found.identity.number.endswith("/obd")
    told = found.diagnosis
    assert told.units == (ControlUnit(name="发动机控制单元", calid="37805-5A2", cvn="A1B2C3D4"),)
    assert (told.faults, told.unready, told.reasons) == (("P0420", "P0171"), ("5", "6"), ("1", "3"))
    assert (told.mileage, told.recheck, told.rechecked) == (48211, True, False)
    assert not found.passed, "the second check is the result"


def test_a_row_of_the_environment_system():
    found = s.judged(s.ROW)
    assert (found.dialect, found.findings) == ("inspection-row", ())
    one = found.record
    assert one.identity[:2] == ("330100001", "7001")
    assert (one.reportno, one.method, one.nature, one.times) == (s.REPORT, "vmas", "02", 2)
    assert (one.passed, one.area, one.emissionstandard, one.use) == (False, "330100", "5", "A")
    assert one.starttime == datetime(2021, 8, 21, 13, 5, 50, tzinfo=CHINA)
    assert s.judged(s.changed(s.ROW, {"InspectionDataID": s.DROP})).record.identity.number == s.REPORT


REJECTED = [
    ("DIDLE", {"LSCOJudge": "0", "LSCOResult": "0.9"}, "JUDGE_INCONSISTENT", "passed"),
    ("LIGHTPROOF", {"SmokeKJudge": "0", "SmokeAvg": "1.3"}, "JUDGE_INCONSISTENT", "passed"),
    ("LUGDOWN", {"MaxhpJudge": "0", "ActMaxhp": "59"}, "JUDGE_INCONSISTENT", "passed"),
    ("VMAS", {"NOxJudge": "0", "NOx": "0.9"}, "JUDGE_INCONSISTENT", "passed"),
    ("OBD", {"communicationCheck": "0"}, "JUDGE_INCONSISTENT", "passed"),
    ("OBD", {"indicatorCheck": "0"}, "JUDGE_INCONSISTENT", "passed"),
    ("DIDLE", {"VIN": "LGXC16DF1A006995"}, "VIN_LENGTH", "vin"),
    ("DIDLE", {"VIN": "LGXC16DF2A0069957"}, "VIN_CHECK_DIGIT", "vin"),
    ("DIDLE", {"VIN": ""}, "VIN_MISSING", "vin"),
    ("DIDLE", {"License": "Q1"}, "PLATE_PROVINCE_UNKNOWN", "plate"),
    ("DIDLE", {"LicenseType": "8"}, "CODE_NOT_IN_TABLE", "platecolour"),
    ("DIDLE", {"LicenseCode": "77"}, "CODE_NOT_IN_TABLE", "platekind"),
    ("DIDLE", {"FuelType": "W"}, "CODE_NOT_IN_TABLE", "fuel"),
    ("DIDLE", {"TestType": "3"}, "CODE_NOT_IN_TABLE", "testtype"),
    ("DIDLE", {"TestJudge": "2"}, "CODE_NOT_IN_TABLE", "passed"),
    ("DIDLE", {"TestJudge": True}, "STRUCTURE_WRONG", "passed"),
    ("DIDLE", {"OperatorName": ""}, "MANDATORY_MISSING", "operator"),
    ("DIDLE", {"DriverName": "无"}, "MANDATORY_MISSING", "driver"),
    ("DIDLE", {"LSHCLimit": s.DROP}, "MANDATORY_MISSING", "measures.lshc.upper"),
    ("DIDLE", {"LambdaJudge": s.DROP}, "MANDATORY_MISSING", "measures.lambda.passed"),
    ("DIDLE", {"HSCOResult": "高"}, "MEASURE_NOT_NUMERIC", "measures.hsco.value"),
    ("DIDLE", {"HSCOResult": ["0.2"]}, "STRUCTURE_WRONG", "measures.hsco.value"),
    ("DIDLE", {"TsNo": s.DROP}, "MANDATORY_MISSING", "stationcode"),
    ("DIDLE", {"inspregid": s.DROP}, "MANDATORY_MISSING", "inspectionid"),
    ("DIDLE", {"Testetime": "20240520"}, "DATE_FORMAT", "endtime"),
    ("DIDLE", {"Testetime": "20240230101010"}, "DATE_FORMAT", "endtime"),
    ("DIDLE", {"Teststime": "20240520094103"}, "DATE_ORDER", "starttime"),
    ("DIDLE", {"Teststime": s.DROP}, "MANDATORY_MISSING", "starttime"),
    ("DIDLE", {"Testetime": "20240603000000"}, "TIME_IN_FUTURE", "endtime"),
    ("VMAS", dict.fromkeys(("HCJudge", "COJudge", "NOxJudge"), s.DROP), "MANDATORY_MISSING", "measures.co.passed"),
    ("OBD", {"communicationFalseRes": "1,9"}, "CODE_NOT_IN_TABLE", "reasons"),
    ("OBD", {"noReadyStatePros": "0"}, "CODE_NOT_IN_TABLE", "unready"),
    ("OBD", {"faultCodes": ",".join(map(str, range(65)))}, "TOO_LONG", "faults"),
]


@pytest.mark.parametrize(("kind", "changes", "code", "field"), REJECTED)
def test_what_rejects_a_message(kind, changes, code, field):
    found = s.judged(s.message(kind, changes))
    assert found.rejected
    assert found.record is None
    assert (code, "reject", field) in s.told(found)


REMARKED = [
    ("DIDLE", {"LSCOResult": "0.9"}, "JUDGE_AGAINST_LIMIT", "measures.lsco.passed"),
    ("DIDLE", {"TestJudge": "0", "LSCOJudge": "0"}, "JUDGE_AGAINST_LIMIT", "measures.lsco.passed"),
    ("LUGDOWN", {"ActMaxhp": "59"}, "JUDGE_AGAINST_LIMIT", "measures.maxhp.passed"),
    ("DIDLE", {"Lambda": "1.2"}, "JUDGE_AGAINST_LIMIT", "measures.lambda.passed"),
    ("DIDLE", {"TestType": "7"}, "METHOD_MISMATCH", "testtype"),
    ("DIDLE", {"FuelType": "B"}, "METHOD_MISMATCH", "fuel"),
    ("LIGHTPROOF", {"FuelType": "AO"}, "METHOD_MISMATCH", "fuel"),
    ("DIDLE", {"testno": "JH20240520000123"}, "REPORT_NUMBER_AREA", "reportno"),
    ("DIDLE", {"Extra": "x"}, "UNKNOWN_MEMBER", "data[0].body[0].Extra"),
    ("DIDLE", {"VIN": "LGXC16DF5Z0069957"}, "VIN_MODEL_YEAR", "vin"),
    ("DIDLE", {"License": "浙A12"}, "PLATE_SYNTAX", "plate"),
]


@pytest.mark.parametrize(("kind", "changes", "code", "field"), REMARKED)
def test_what_is_remarked_and_accepted(kind, changes, code, field):
    found = s.judged(s.message(kind, changes), "lenient")
    assert not found.rejected, found.findings
    assert (code, field) in [(one.code, one.field) for one in found.findings]


def test_a_failure_without_a_failed_item_may_have_grounds_of_its_own():
    assert s.judged(s.message("DIDLE", {"TestJudge": "0"})).findings == ()


def test_a_hydrogen_or_local_fuel_is_known():
    assert s.judged(s.message("DIDLE", {"FuelType": "ao"})).record.fuel == "AO"


def test_the_wire_path_stands_beside_the_canonical_one():
    found = s.judged(s.message("DIDLE", {"LSCOLimit": "x"}))
    assert [one.wire for one in found.findings] == ["data[0].body[0].LSCOLimit"]


def test_lists_as_text_are_opened_once_more():
    sent = s.message("DIDLE")
    sent["data"] = json.dumps(sent["data"])
    assert s.judged(sent).record == s.judged(s.message("DIDLE")).record
    twice = {**s.message("DIDLE"), "data": '[{"body": [{"VIN": "a", "vin": "b"}]}]'}
    assert "repeated" in [one.value for one in s.judged(twice).findings]


@pytest.mark.parametrize("data", [[], [1], None, "x", [{}], [{"body": []}], [{"body": [{}, {}]}], {"body": "["}])
def test_a_message_holds_exactly_one_result(data):
    found = s.judged({**s.message("DIDLE"), "data": data})
    assert [one.code for one in found.findings] == ["STRUCTURE_WRONG"]


def test_other_calls_of_the_interface_hold_no_result():
    found = s.judged({**s.message("DIDLE"), "jkid": "uploadInspProcessDIDLE"})
    assert s.told(found) == [("CODE_NOT_IN_TABLE", "reject", "jkid")]


def test_the_credential_and_the_persons_are_neither_kept_nor_shown():
    for changes in ({}, {"LSCOJudge": "0"}, {"VIN": ""}, {"OperatorName": ["甲某"], "jksqm": "Geheim88"}):
        found = s.judged(s.message("DIDLE", changes))
        shown = repr((found.record, dict(found.members), found.findings))
        assert not any(secret in shown for secret in ("Geheim88", "甲某", "乙某")), shown
    case = Case(Draft("document", "istation", {}), Context(profile("strict"), s.RECEIVED))
    case.add("STRUCTURE_WRONG", "jksqm", "Geheim88")
    assert case.findings[0].value == ""
    view = repr(masked(json.dumps(s.message("DIDLE"), ensure_ascii=False).encode()))
    assert not any(secret in view for secret in ("Geheim88", "甲某", "乙某")), view


def test_a_row_needs_its_report_number_and_a_known_method():
    assert ("MANDATORY_MISSING", "reject", "reportno") in s.told(s.judged({**s.ROW, "InspectionReportNo": ""}))
    assert ("CODE_NOT_IN_TABLE", "reject", "iutype") in s.told(s.judged({**s.ROW, "IUTYPE": "Q"}))
    assert ("CODE_NOT_IN_TABLE", "reject", "nature") in s.told(s.judged({**s.ROW, "InspectionNature": "05"}))
    assert ("MEASURE_NOT_NUMERIC", "reject", "times") in s.told(s.judged({**s.ROW, "InspectionTimes": "1.5"}))


@pytest.mark.parametrize("payload", [s.message(kind) for kind in sorted(s.BODIES)] + [s.ROW])
def test_our_exchange_form_gives_the_same_inspection_again(payload):
    one = s.judged(payload).record
    assert Inspection.of_members(one.members()) == one
    told = {"system": "33", "dialect": "istation", "received_at": "2024-06-01T00:00:00+08:00"}
    again = s.judged(encode_document(one, told))
    assert again.record == one
    assert again.record.content() == one.content()


def test_a_moment_in_our_exchange_form_names_its_zone_and_is_written_one_way():
    one = s.judged(s.ROW).record
    for text, same in (
        ("2021-08-21T05:15:50Z", True),
        ("2021-08-21T13:15:50+08:00", True),
        ("2021-08-21T13:15:51Z", False),
    ):
        again = Inspection.of_members({**one.members(), "endtime": text})
        assert (again.content() == one.content()) == same
    for text in ("2021-08-21T13:15:50", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+08:00"):
        with pytest.raises(ValidationError):
            Inspection.of_members({**one.members(), "endtime": text})


WILD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=8),
        st.sampled_from(["", "N/A", "1", "0", "1e400", "NaN", "99999999999999", "20240230999999", "[", '{"a":', "Ａ"]),
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(sorted(s.BODIES)), st.data(), st.sampled_from(["strict", "lenient"]))
def test_no_message_makes_the_judge_raise(kind, data, name):
    names = st.sampled_from(sorted(s.BODIES[kind]))
    found = s.judged(s.message(kind, data.draw(st.dictionaries(names, WILD, max_size=6))), name)
    assert all(one.code in catalogue() for one in found.findings)
    assert (found.record is None) == found.rejected


@given(st.dictionaries(st.sampled_from(sorted(s.ROW)), WILD, max_size=6))
def test_no_row_makes_the_judge_raise(changes):
    found = s.judged({**s.ROW, **changes}, dialect="inspection-row")
    assert (found.record is None) == found.rejected


@given(st.sampled_from(["DIDLE", "VMAS", "LUGDOWN", "LIGHTPROOF"]), st.data())
def test_a_pass_with_any_failed_item_is_always_rejected(kind, data):
    judges = sorted(name for name in s.BODIES[kind] if name.endswith("Judge") and name != "TestJudge")
    failed = data.draw(st.sets(st.sampled_from(judges), min_size=1))
    for overall in ("1", "0"):
        found = s.judged(s.message(kind, {**dict.fromkeys(failed, "0"), "TestJudge": overall}))
        assert ("JUDGE_INCONSISTENT" in [one.code for one in found.findings]) == (overall == "1")
