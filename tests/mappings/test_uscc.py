"""USCC: GB 32100 and GB 11714 on every code of domain table 5.2, and laws on generated ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings import uscc
from mappings.tables import table

lawful = settings(max_examples=150, derandomize=True, database=None, deadline=None)
bodies = st.text(alphabet=uscc.ALPHABET, min_size=6 + 8, max_size=6 + 8)
departments = st.sampled_from(sorted(table("uscc-departments").entries))

GOOD = """91350100M000100Y43 91440300MA5H0HLK5U 91133100MA0D8N1J7G 913205007317618904 91130607056539515C
91310112132259241T 91310115059353273T 914403001922038216 91110108551385082Q 91330100799655058B 91110000600037341L
91440300708461136T""".split()  # noqa: SIM905 - a table of codes reads better as one text
BAD = {
    "91370000MA3D3M001X": ["USCC_ORG_CODE"],
    "94630106MA2CDCP98B": ["USCC_CHECK_CHAR", "USCC_DEPARTMENT"],
    "91310113074582238P": ["USCC_CHECK_CHAR", "USCC_ORG_CODE"],
    "913101121322592441T": ["USCC_LENGTH"],
    "91350100M000100Y4Z": ["USCC_ALPHABET"],
    "10440119MA06M8503": ["USCC_LENGTH"],
    "9135O1": ["USCC_LENGTH", "USCC_ALPHABET"],
    "": ["USCC_LENGTH"],
}


def whole(department, body):
    code17 = department + body + uscc.org_check_char(body[6:])
    return code17 + uscc.check_char(code17)


@pytest.mark.parametrize("code", GOOD)
def test_known_good_ones(code):
    assert uscc.problems(code) == []


@pytest.mark.parametrize(("code", "codes"), BAD.items())
def test_known_bad_ones(code, codes):
    assert [found for found, _ in uscc.problems(code)] == codes


@pytest.mark.parametrize(
    ("code", "want"), [("94630106MA2CDCP98B", "9"), ("91310113074582238P", "K"), ("91310115MA1H8R7C6D", "7")]
)
def test_expected_check_character_is_named(code, want):
    assert dict(uscc.problems(code))["USCC_CHECK_CHAR"] == want


def test_recipe_without_31_minus_is_refused():
    code17 = "91350100M000100Y4"
    right = uscc.check_char(code17)
    wrong = uscc.ALPHABET[-uscc.ALPHABET.index(right) % 31]
    assert right == "3"
    assert ("USCC_CHECK_CHAR", "3") in uscc.problems(code17 + wrong)


@pytest.mark.parametrize("bad", ["", "9135", "91350100M000100YI", "91350100M000100Y43"])
def test_check_char_needs_17_characters(bad):
    with pytest.raises(ValueError, match="17 characters"):
        uscc.check_char(bad)


@pytest.mark.parametrize("bad", ["", "M000100", "M000100-", "M000100Y4"])
def test_org_check_char_needs_8_characters(bad):
    with pytest.raises(ValueError, match="8 characters"):
        uscc.org_check_char(bad)


def test_normalise():
    assert uscc.normalise(" ９１350100m000100y43 ") == "91350100M000100Y43"


@lawful
@given(departments, bodies)
def test_generated_codes_have_no_problem(department, body):
    code = whole(department, body)
    if code[16] != "X" or "X" in uscc.ALPHABET:
        assert uscc.problems(code) == []


@lawful
@given(departments, bodies, st.integers(0, 17), st.sampled_from(uscc.ALPHABET))
def test_one_wrong_character_is_always_found(department, body, position, other):
    good = whole(department, body)
    bad = good[:position] + other + good[position + 1 :]
    assert ("USCC_CHECK_CHAR" in dict(uscc.problems(bad))) is (bad != good)


@lawful
@given(departments, bodies, st.integers(0, 15))
def test_two_neighbours_swapped_are_always_found(department, body, position):
    good = whole(department, body)
    bad = good[:position] + good[position + 1] + good[position] + good[position + 2 :]
    assert ("USCC_CHECK_CHAR" in dict(uscc.problems(bad))) is (bad != good)


@lawful
@given(st.text(max_size=30))
def test_any_text_is_judged(text):
    written = uscc.normalise(text)
    assert uscc.normalise(written) == written
    assert uscc.problems(written) or len(written) == 18
