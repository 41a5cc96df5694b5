"""Registrations of shops and vehicles, and token requests."""

from __future__ import annotations

from datetime import date

import judge_samples as s
import pytest

from mappings.records import Operator

CHENGDU = {
    "companyunifiedsocialcreditidentifier": "",
    "companyroadtransportationlicense": "",
    "companyeconomiccategory": "个体自营",
    "companycategory": "三类",
    "companyoperationstate": "营业",
}


def test_clean_registration_becomes_an_operator_without_its_password():
    found = s.judged("registration", s.REGISTRATION)
    assert isinstance(found.record, Operator)
    assert found.record.roadtransportationlicensestartdate == date(2018, 1, 1)
    assert found.record.roadtransportationlicenseenddate is None
    assert "Geheim-4711" not in repr(found)
    assert "companypassword" not in found.members


@pytest.mark.parametrize("written", ["9999-09-09", "9999/09/09", "9999-09-09 00:00:00", 99990909])
def test_a_licence_without_end_is_known_in_every_form_of_a_date(written):
    found = s.judged("registration", {**s.REGISTRATION, "roadtransportationlicenseenddate": written})
    assert (found.findings, found.record.roadtransportationlicenseenddate) == ((), None)


def test_texts_instead_of_codes_strict():
    assert s.seen(s.judged("registration", {**s.REGISTRATION, **CHENGDU})) == [
        ("MANDATORY_MISSING", "companyunifiedsocialcreditidentifier"),
        ("CODE_NOT_IN_TABLE", "companyeconomiccategory"),
        ("CODE_NOT_IN_TABLE", "companycategory"),
        ("CODE_NOT_IN_TABLE", "companyoperationstate"),
    ]


def test_texts_instead_of_codes_lenient():
    found = s.judged("registration", s.changed({**s.REGISTRATION, **CHENGDU}, {}), "lenient")
    assert [(f.code, f.value, f.expected) for f in found.findings[1:]] == [
        ("CODE_MAPPED", "个体自营", "175"),
        ("CODE_MAPPED", "三类", "03"),
        ("CODE_MAPPED", "营业", "1"),
    ]
    assert found.members["companycategory"] == "03"


MANDATORY = set(s.REGISTRATION) - {
    "companyroadtransportationlicense",
    "roadtransportationlicensestartdate",
    "roadtransportationlicenseenddate",
}


@pytest.mark.parametrize("field", sorted(s.REGISTRATION))
@pytest.mark.parametrize("value", [s.DROP, "无"])
def test_mandatory_members(field, value):
    found = s.judged("registration", s.changed(s.REGISTRATION, {field: value}))
    assert s.seen(found) == ([("MANDATORY_MISSING", field)] if field in MANDATORY else [])


@pytest.mark.parametrize("code", ["510107", "659001", "110000"])
def test_divisions_below_the_province_are_not_looked_up(code):
    assert s.judged("registration", {**s.REGISTRATION, "companyadministrativedivisioncode": code}).findings == ()


@pytest.mark.parametrize("code", ["51", "5101070", "810000", "51010a"])
def test_divisions_outside_the_table(code):
    found = s.judged("registration", {**s.REGISTRATION, "companyadministrativedivisioncode": code})
    assert s.seen(found) == [("CODE_NOT_IN_TABLE", "companyadministrativedivisioncode")]


def test_credentials_never_stand_in_a_finding():
    for kind in ("registration", "token"):
        for password in ({"Geheim-4711": 1}, ["Geheim-4711"], "Geheim-4711\ud800"):
            members = {**s.REGISTRATION, "companycode": "1", "companypassword": password}
            found = s.judged(kind, members)
            assert s.seen(found) == [("STRUCTURE_WRONG", "companypassword")]
            assert "Geheim" not in repr(found)


def test_token_request_shows_the_company_alone():
    found = s.judged("token", {"companycode": "330106000000001", "companypassword": "Geheim-4711"})
    assert (found.findings, found.members) == ((), {"companycode": "330106000000001"})
    assert s.seen(s.judged("token", {})) == [
        ("MANDATORY_MISSING", "companycode"),
        ("MANDATORY_MISSING", "companypassword"),
    ]


@pytest.mark.parametrize(("kept", "wanted"), [(True, []), (False, [("MANDATORY_MISSING", "companypassword")])])
def test_it_is_enough_to_know_that_a_password_was_sent(kept, wanted):
    assert s.seen(s.judged("token", {"companycode": "1", "companypassword": kept})) == wanted
    assert s.seen(s.judged("registration", {**s.REGISTRATION, "companypassword": kept})) == wanted


@pytest.mark.parametrize("home", ["71", "81", "82"])
def test_a_vehicle_may_be_registered_where_no_system_takes_part(home):
    found = s.judged("vehicle", {**s.VEHICLE, "home": home})
    assert (found.findings, found.record.home) == ((), home)


def test_vehicle_registration():
    found = s.judged("vehicle", s.VEHICLE)
    assert (found.record.vin, found.record.home, found.record.valid_to) == (
        "LVSHCAMB1CE054249",
        "31",
        date(2020, 12, 31),
    )
    open_ended = s.judged("vehicle", s.changed(s.VEHICLE, {"plate": "", "valid_to": s.DROP})).record
    assert (open_ended.plate, open_ended.valid_to) == (None, None)
    assert s.judged("vehicle", {**s.VEHICLE, "home": "bt"}).findings == ()
    wrong = {**s.VEHICLE, "home": "99", "valid_from": "2021-01-01"}
    assert s.seen(s.judged("vehicle", wrong)) == [("CODE_NOT_IN_TABLE", "home"), ("DATE_ORDER", "valid_from")]
    assert s.seen(s.judged("vehicle", {})) == [
        ("VIN_MISSING", "vin"),
        ("MANDATORY_MISSING", "home"),
        ("MANDATORY_MISSING", "valid_from"),
    ]
