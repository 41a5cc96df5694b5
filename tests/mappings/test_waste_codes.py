"""Waste codes as written -> as the catalogue has them; states of manifests and orders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.tables import table
from mappings.waste import manifests
from mappings.waste.codes import category_of, read_category, read_code, read_unit


@pytest.mark.parametrize(
    ("written", "code", "category", "prefix"),
    [
        ("900-214-08", "900-214-08", "HW08", ""),
        ("HW08-900-249-08", "900-249-08", "HW08", "HW08"),
        ("HW08 900-249-08", "900-249-08", "HW08", "HW08"),
        ("hw49-900-041-49", "900-041-49", "HW49", "HW49"),
        ("ＨＷ０８－９００－２１４－０８", "900-214-08", "HW08", "HW08"),
        ("90021408", "900-214-08", "HW08", ""),
        ("HW09-900-214-08", "900-214-08", "HW08", "HW09"),
        ("900-006-s17", "900-006-S17", "SW17", ""),
        ("SW17 900-006-S17", "900-006-S17", "SW17", "SW17"),
    ],
)
def test_written_forms(written, code, category, prefix):
    found = read_code(written)
    assert (found.text, found.category, found.prefix, found.old) == (code, category, prefix, "")


@pytest.mark.parametrize(
    "written", ["", "900-214", "900-214-8", "HW8-900-214-08", "900-214-08x", "²00-214-08", "废机油"]
)
def test_what_is_no_code(written):
    assert read_code(written) is None


def test_the_old_battery_code_is_mapped_and_both_categories_may_stand_beside_it():
    found = read_code("HW49-900-044-49")
    assert (found.text, found.category, found.old, found.prefix) == ("900-052-31", "HW31", "900-044-49", "HW49")
    assert found.fits("HW31")
    assert found.fits("HW49")
    assert not found.fits("HW08")


@pytest.mark.parametrize(
    ("written", "category"),
    [("HW08", "HW08"), ("hw8", "HW08"), ("08", "HW08"), ("HW08 废矿物油与含矿物油废物", "HW08"), ("含铅废物", "HW31"),
     ("油/水、烃/水混合物或乳化液", "HW09"), ("SW17", "SW17"), ("S17", "SW17"),
     ("废油", None), ("", None), ("HW123", None)],
)  # fmt: skip
def test_categories(written, category):
    assert read_category(written) == category


@pytest.mark.parametrize(
    ("written", "base", "factor"),
    [("kg", "kg", 1), ("KG", "kg", 1), ("千克", "kg", 1), ("公斤", "kg", 1), ("吨", "kg", 1000), ("t", "kg", 1000),
     ("件", "piece", 1), ("只", "piece", 1), ("条", "piece", 1)],
)  # fmt: skip
def test_units(written, base, factor):
    assert tuple(read_unit(written)) == (base, factor)


def test_litres_are_no_unit_of_account():
    assert read_unit("升") is None


@pytest.mark.parametrize("name", ["waste-hazardous", "waste-general"])
def test_every_code_of_the_tables_is_written_as_it_is_read_and_ends_in_its_category(name):
    for code, row in table(name).details.items():
        found = read_code(code)
        assert (found.text, found.category, found.name) == (code, row["category"], row["name"])
        assert row["category"] in table("waste-categories")
        assert row["mark"] in ("S", "M")


def test_old_codes_lead_to_codes_in_force():
    for old, row in table("waste-old-codes").details.items():
        assert row["now"] in table("waste-hazardous")
        assert old not in table("waste-hazardous")


@given(st.text(max_size=40))
def test_no_text_breaks_the_readers(text):
    found = read_code(text)
    read_category(text)
    read_unit(text)
    if found is not None:
        assert read_code(found.text) == found._replace(prefix="", old="", old_category="")
        assert category_of(found.text) == found.category


@given(st.lists(st.sampled_from([*manifests.FOLLOWS, "LOST"]), max_size=6))
def test_the_state_machine_never_leaves_its_table(states):
    """Whatever is asked for: the states up to the first wrong one are a way through the table, that one is none."""
    place = manifests.first_wrong(states)
    way = states if place is None else states[:place]
    for before, after in zip(["", *way], way, strict=False):
        assert after in manifests.FOLLOWS[before]
    if place is not None:
        assert states[place] not in manifests.FOLLOWS["" if not way else way[-1]]


def test_the_states_are_those_of_the_table_and_two_of_them_are_ends():
    assert set(manifests.FOLLOWS) - {""} == set(table("waste-manifest-states").entries)
    assert {state for state, after in manifests.FOLLOWS.items() if not after} == {"REJECTED", "RECEIVED"}


@pytest.mark.parametrize(
    ("signed", "status"),
    [((), "1"), (("transporter",), "2"), (("consumer",), "1"), (("transporter", "consumer"), "3")],
)
def test_the_status_of_an_order(signed, status):
    assert manifests.order_status(frozenset(signed)) == status
