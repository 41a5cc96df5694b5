"""Profiles as data: the shipped ones are those of table 9.1, own ones are held against the catalogue."""

from __future__ import annotations

import pickle

import judge_samples as s
import pytest

from mappings.findings import catalogue, profile
from mappings.profiles import ALWAYS_REJECT, SHIPPED, InvalidProfile, ProfileError, UnknownProfile, load

SOFTER = {
    "VIN_CHECK_DIGIT",
    "QUANTITY_NOT_NUMERIC",
    "HOURS_NOT_NUMERIC",
    "QUANTITY_NEGATIVE",
    "HOURS_NEGATIVE",
    "TOO_LONG",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_weigh_every_code(name):
    assert profile(name).severities.keys() == catalogue().keys()
    assert profile(name).name == name


def test_catalogue_speaks_both_languages_and_names_its_ground():
    for code, text in catalogue().items():
        assert text.zh, code
        assert text.en.isascii(), code
        assert text.clause, code


def test_lenient_differs_from_strict_where_the_table_says_so():
    strict, lenient = profile("strict"), profile("lenient")
    assert {c for c in strict.severities if strict.severities[c] != lenient.severities[c]} == SOFTER
    assert all((strict.severities[c], lenient.severities[c]) == ("reject", "flag") for c in SOFTER)
    assert (strict.maps_codes, lenient.maps_codes) == (False, True)
    assert (strict.lengths, strict.limits) == (lenient.lengths, lenient.limits)


def test_lengths_of_domain_table_1_2():
    wanted = {
        "plate": 16,
        "companyname": 100,
        "costlistcode": 50,
        "faultdescription": 500,
        "parts.name": 100,
        "parts.code": 50,
        "projects.name": 100,
    }
    assert wanted.items() <= profile("strict").lengths.items()


def test_own_profile_extends_a_shipped_one(tmp_path):
    (tmp_path / "base.toml").write_text('extends = "lenient"\n[limits]\nmileage_outlier = 10\n', "utf-8")
    own = tmp_path / "own.toml"
    own.write_text('extends = "base.toml"\n[severities]\nPLATE_SYNTAX = "info"\n', "utf-8")
    loaded = load(str(own))
    assert (loaded.name, loaded.maps_codes) == ("own", True)
    found = s.judged("repair", {**s.REPAIR, "mileage": 11, "plate": "沪1"}, loaded)
    assert [(f.code, f.severity) for f in found.findings] == [("PLATE_SYNTAX", "info"), ("MILEAGE_OUTLIER", "flag")]


@pytest.mark.parametrize("name", ["stern", "", "/nowhere/x.toml", "\0"])
def test_unknown_profile_names_those_shipped(name):
    with pytest.raises(UnknownProfile, match="strict, lenient") as raised:
        load(name)
    assert pickle.loads(pickle.dumps(raised.value)).remedy == raised.value.remedy  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("maps_codes =", "TOML"),
        ("extends = 3", "extends"),
        ('extends = "own.toml"', "circle"),
        ("maps_codes = true", "missing in severities"),
        ('extends = "strict"\nmaps_codes = 1', "maps_codes"),
        ('extends = "strict"\nseverity = "x"', "unknown settings: severity"),
        ('extends = "strict"\nlimits = 3', "limits"),
        ('extends = "strict"\n[severities]\nVIN_LENGHT = "flag"', "VIN_LENGHT"),
        ('extends = "strict"\n[severities]\nVIN_LENGTH = "warn"', "VIN_LENGTH"),
        ('extends = "strict"\n[severities]\nDATE_FORMAT = "flag"', "DATE_FORMAT"),
        ('extends = "strict"\n[lengths]\nplate = -1', "lengths.plate"),
        ('extends = "strict"\n[limits]\nlate_days = true', "limits.late_days"),
        ('extends = "strict"\n[limits]\nhours = 3', "unknown in limits: hours"),
    ],
)
def test_invalid_profiles_say_what_is_wrong(tmp_path, text, what):
    own = tmp_path / "own.toml"
    own.write_text(text, "utf-8")
    with pytest.raises(InvalidProfile, match=what) as raised:
        load(str(own))
    assert isinstance(raised.value, ProfileError)
    assert 'extends = "strict"' in raised.value.remedy


def test_a_profile_that_is_no_utf_8_is_invalid(tmp_path):
    own = tmp_path / "own.toml"
    own.write_bytes(b'extends = "strict" # \xff')
    with pytest.raises(InvalidProfile, match="UTF-8"):
        load(str(own))


def test_codes_that_leave_no_record_can_only_reject():
    assert all(profile(name).severities[code] == "reject" for name in SHIPPED for code in ALWAYS_REJECT)
