"""Derivations by their names, with the registers that settings name."""

from __future__ import annotations

import inspect
import re
from datetime import date

import pytest
from case_facts import VIN, facts, repair
from pydantic import ValidationError

from mappings.documents.kinds import KINDS
from routing.cases import REPAIR
from routing.cases.shipped import DERIVATIONS, derivation
from routing.errors import TableError
from routing.wasterules import shipped_waste_rules


@pytest.mark.parametrize("name", DERIVATIONS)
def test_each_is_made_without_settings_and_gives_nothing_of_nothing(name):
    made = derivation(name, {})
    assert made.name == name
    assert made.takes <= {REPAIR, *KINDS}
    assert made.gives <= set(KINDS)
    assert list(made.derive("LSVAL41Z882104202", [], date(2026, 10, 1))) == []


@pytest.mark.parametrize("name", DERIVATIONS)
def test_nothing_follows_without_what_it_needs(name):
    made = derivation(name, {})
    assert made.needs <= made.takes - {REPAIR}
    told = "尾气超标 报告编码{440100202610010001234567}"
    others = [repair("W1"), repair("W2", faultdescription=told[:2] if not made.words else "异响")]
    assert not made.needs or list(made.derive(VIN, facts(*others), date(2026, 10, 1))) == []


def test_who_skims_repairs_names_none_of_what_they_list():
    skimming = [name for name in DERIVATIONS if derivation(name, {}).skims]
    assert skimming == ["credit", "road-administration"]
    for name in skimming:
        code = inspect.getsource(inspect.getmodule(type(derivation(name, {}))))
        assert not re.search(r"\.(parts|projects)\b", code)


@pytest.mark.parametrize("name", DERIVATIONS)
def test_what_a_derivation_does_not_know_is_refused(name):
    with pytest.raises(ValidationError):
        derivation(name, {"colour": "red"})


@pytest.mark.parametrize(
    ("name", "option"),
    [("emissions", "stations"), ("credit", "operators"), ("credit", "scoring"), ("claims", "shops"), ("waste", "rules"),
     ("waste", "licences"), ("waste", "producers")],
)  # fmt: skip
def test_a_register_that_is_not_there_is_named(name, option, tmp_path):
    with pytest.raises(TableError, match="nowhere"):
        derivation(name, {option: str(tmp_path / "nowhere.csv")})


def test_registers_are_read_by_their_paths(tmp_path):
    (tmp_path / "shops.csv").write_text("companycode,from\n440103000000002,2024-01-01\n", "utf-8")
    made = derivation("claims", {"shops": str(tmp_path / "shops.csv")})
    assert made._settings.shops[0].companycode == "440103000000002"


@pytest.mark.parametrize(
    ("part", "waste"),
    [
        ("机油", ("900-214-08", False)),
        ("蓄电池", ("900-052-31", True)),
        ("三元催化器", ("900-049-50", True)),
        ("火花塞", None),
    ],
)
def test_a_part_becomes_the_waste_that_the_rules_say(part, waste):
    assert shipped_waste_rules().of_part(part) == waste
