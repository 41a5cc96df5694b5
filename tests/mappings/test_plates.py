"""Plates: every form of GA 36 as domain table 7.2 lists them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings import divisions, plates
from mappings.plates import Plate

lawful = settings(max_examples=150, derandomize=True, database=None, deadline=None)
serials = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"

FORMS = [
    ("粤A12345", plates.NORMAL, "44", "A"),
    ("沪A12345", plates.NORMAL, "31", "A"),
    ("京N8K2P9", plates.NORMAL, "11", "N"),
    ("新A12345", plates.NORMAL, "65", "A"),
    ("冀O12345", plates.NORMAL, "13", "O"),
    ("宁U00001", plates.NORMAL, "64", "U"),
    ("粤BD12345", plates.NEV_SMALL, "44", "B"),
    ("粤BDF1234", plates.NEV_SMALL, "44", "B"),
    ("浙AK12345", plates.NEV_SMALL, "33", "A"),
    ("粤B12345D", plates.NEV_LARGE, "44", "B"),
    ("川A12345K", plates.NEV_LARGE, "51", "A"),
    ("京A1234警", plates.POLICE, "11", "A"),
    ("鲁OA123警", plates.POLICE, "37", "O"),
    ("苏A1234学", plates.TRAINER, "32", "A"),
    ("吉A1234试", plates.TRIAL, "22", "A"),
    ("豫A1B34挂", plates.TRAILER, "41", "A"),
    ("224578使", plates.EMBASSY, "", ""),
    ("使224578", plates.EMBASSY, "", ""),
    ("沪A1234领", plates.CONSULATE, "31", "A"),
    ("粤22401领", plates.CONSULATE, "44", ""),
    ("粤Z1234港", plates.HK_MACAU, "44", "Z"),
    ("粤ZF12M澳", plates.HK_MACAU, "44", "Z"),
    ("浙X1234应急", plates.RESCUE, "33", "X"),
    ("京S0123应急", plates.RESCUE, "11", "S"),
    ("GK12001", plates.MILITARY, "", ""),
    ("VA02356", plates.MILITARY, "", ""),
    ("WJ粤12345", plates.ARMED_POLICE, "", ""),
    ("WJ京1234X", plates.ARMED_POLICE, "", ""),
    ("WJ12345", plates.ARMED_POLICE, "", ""),
    ("临A12345", plates.TEMPORARY, "", ""),
    ("粤B12345临", plates.TEMPORARY, "", ""),
    ("京A临0012", plates.TEMPORARY, "", ""),
]
BROKEN = [
    "", "粤", "粤A1234", "粤A1234567", "粤AI2345", "粤A1O345", "粤BI12345", "粤BABC12", "粤BL12345", "粤B12345L",
    "粤112345", "A12345", "京AE123警", "湘Z1234港", "GK1200", "AK12001", "22457使", "使", "WJ", "WJA12345", "N/A",
    "港粤Z1234", "粤A１２３４５", "粤a12345", "粤A12345\n",
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "province", "letter"), FORMS)
def test_every_form(text, kind, province, letter):
    assert plates.parse(text) == Plate(text, kind, province, letter, letter_known=True)
    assert plates.special(text) is (province == "")


@pytest.mark.parametrize("text", BROKEN)
def test_no_form_fits(text):
    assert plates.parse(text) is None


@pytest.mark.parametrize("text", ["宁Z12345", "琼G12345", "藏HD12345", "冀W1234学", "京I12345"])
def test_unknown_letter_parses_and_says_so(text):
    found = plates.parse(text)
    assert found is not None
    assert not found.letter_known
    assert found.province


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("沪A-12345", "沪A12345"),
        ("沪A－12345", "沪A12345"),
        ("沪A·12345", "沪A12345"),
        ("沪A.12345", "沪A12345"),
        ("沪A・12345", "沪A12345"),
        (" 沪 a １２３４５ ", "沪A12345"),
        ("粤Ｚ·1234港", "粤Z1234港"),
    ],
)
def test_normalise(written, meant):
    assert plates.normalise(written) == meant


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("粤", "44"),
        ("新A", "65"),
        ("沪-1", "31"),
        ("使224578", ""),
        ("WJ粤12345", ""),
        ("", ""),
        ("港A", ""),
        ("台A12345", ""),
    ],
)
def test_province_of_the_first_character(text, key):
    assert plates.province_key(text) == key


@pytest.mark.parametrize(
    ("text", "special"),
    [
        ("WJ1", True),
        ("22使", True),
        ("临时牌照", True),
        ("1234应急", True),
        ("A12345", False),
        ("粤应急", False),
        ("", False),
    ],
)
def test_broken_plate_with_a_special_mark(text, special):
    assert plates.parse(text) is None
    assert plates.special(text) is special


def test_known_prefixes_are_those_whose_letter_is_known():
    prefixes = plates.known_prefixes()
    assert "粤B" in prefixes
    assert "宁Z" not in prefixes
    for character in divisions.BY_CHARACTER:
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            found = plates.parse(f"{character}{letter}12345")
            assert found is not None
            assert found.letter_known is (character + letter in prefixes)


@lawful
@given(
    st.sampled_from(sorted(divisions.BY_CHARACTER)),
    st.sampled_from("ABCDEFGH"),
    st.text(alphabet=serials, min_size=5, max_size=5),
)
def test_normal_plates_have_at_most_two_letters(character, letter, serial):
    found = plates.parse(character + letter + serial)
    if sum(c.isalpha() for c in serial) <= 2:
        assert found is not None
        assert found.kind == plates.NORMAL
        assert found.province == divisions.by_character(character)
    else:
        assert found is None


@lawful
@given(
    st.sampled_from(sorted(divisions.BY_CHARACTER)),
    st.sampled_from("ABCDEFGHJK"),
    st.integers(0, 99999),
    st.booleans(),
)
def test_new_energy_plates(character, mark, serial, small):
    found = plates.parse(f"{character}A{mark}{serial:05d}" if small else f"{character}A{serial:05d}{mark}")
    assert found is not None
    assert found.kind == (plates.NEV_SMALL if small else plates.NEV_LARGE)


@lawful
@given(st.text(max_size=12))
def test_normalise_is_idempotent_and_parse_never_fails(text):
    written = plates.normalise(text)
    assert plates.normalise(written) == written
    found = plates.parse(written)
    assert found is None or found.text == written
