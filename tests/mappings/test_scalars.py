"""Placeholders, numbers and dates as partners send them."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.dates import SHANGHAI, day, day_in_shanghai, is_long_term, moment
from mappings.folding import compact, half_width
from mappings.numbers import number
from mappings.placeholders import clean, is_placeholder
from mappings.reportnumbers import area_of, folded, linked

lawful = settings(max_examples=200, derandomize=True, database=None, deadline=None)

HUGE = "1e999999999"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "　",
        "\t\n",
        "N/A",
        "n/a",
        " N/a ",
        "Ｎ／Ａ",
        "无",
        " 无 ",
        "-",
        "－",
        "undefined",
        "UNDEFINED",
        "null",
        "NULL",
    ],
)
def test_placeholders(value):
    assert is_placeholder(value)


@pytest.mark.parametrize("value", ["0", 0, 0.0, False, "无异响", "NA", "--", "none", "nil", "机油", [], {}, Decimal(0)])
def test_no_placeholders(value):
    assert not is_placeholder(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        ("  Ａ b ", "Ａ b"),
        (12, "12"),
        (-3, "-3"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (1e22, "10000000000000000000000"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.50"), "0.50"),
        (Decimal(HUGE), "1E+999999999"),
        (Decimal("1e-999999999"), "1E-999999999"),
        (10**30, "1" + "0" * 30),
        (float("nan"), "NaN"),
        ([1], ""),
        ({}, ""),
    ],
)
def test_clean(value, text):
    assert clean(value) == text


def test_a_huge_integer_is_text_but_no_number_and_no_day():
    huge = 10**5000
    assert clean(huge) == "1" + "0" * 5000
    assert number(huge) is None
    assert number(-huge) is None
    assert day(huge) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12", "12"), ("007", "7"), (" 1.5 ", "1.5"), ("１２．５", "12.5"), ("1.00", "1"), ("50.0", "50"),
        (50.0, "50"), (0.1, "0.1"), ("+3", "3"), ("-5", "-5"), ("-0.0", "0"), ("0.0000", "0"), (".5", "0.5"),
        ("5.", "5"), ("1e3", "1000"), ("1.5E-3", "0.0015"), (1e3, "1000"), (Decimal("2.50"), "2.5"),
        (Decimal("1E+2"), "100"), ("999999999999", "999999999999"), ("999999999999.9999", "999999999999.9999"),
        ("0.00010", "0.0001"), ("0000000000000000000012.5", "12.5"), (0, "0"), ("1.50000000000000000000", "1.5"),
        (10**12 - 1, "999999999999"), ("0e9999", "0"),
    ],
)  # fmt: skip
def test_numbers(value, expected):
    assert str(number(value)) == expected


@pytest.mark.parametrize(
    "value",
    [
        None, "", " ", "N/A", "abc", "1,000", "1_000", "0x10", "1 2", "NaN", "Infinity", "-inf", "1e400", HUGE,
        "1e-999999999", "1000000000000", 10**12, "0.00001", "1.00001", True, False, float("nan"), float("inf"), 1e300,
        5e-324, Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal(HUGE), Decimal("1e-999999999"),
        "9" * 100_000, "²", "10²", "①", "½", "٣", "--1", "+", ".", "e5", "1e", "1e99999", [1], {}, b"1",
    ],
)  # fmt: skip
def test_no_numbers(value):
    assert number(value) is None


@lawful
@given(st.decimals(min_value=-(10**12) + 1, max_value=10**12 - 1, places=4))
def test_number_round_trip(value):
    found = number(str(value))
    assert found == value
    assert found == number(value)
    assert str(number(str(found))) == str(found)
    assert "E" not in str(found)
    assert "." not in str(found) or str(found)[-1] != "0"


@lawful
@given(st.integers(-(10**12) + 1, 10**12 - 1))
def test_whole_numbers_in_every_type(value):
    assert number(value) == number(str(value)) == number(float(value)) == value


@lawful
@given(st.one_of(st.text(max_size=20), st.floats(), st.decimals(), st.integers()))
def test_any_scalar_is_a_number_in_bounds_or_none(value):
    found = number(value)
    if found is not None:
        exponent = found.as_tuple().exponent
        assert abs(found) < 10**12
        assert isinstance(exponent, int)
        assert -4 <= exponent <= 0


@pytest.mark.parametrize(
    "value",
    [
        "20210305", " 20210305 ", "２０２１０３０５", 20210305, Decimal(20210305), "2021-03-05", "2021/03/05",
        "2021/3/5", "2021-03-05 08:09:10", "2021-03-05 08:09", "2021/3/5 8:09:10", "2021-03-05T08:09:10",
        "2021-03-05T08:09:10.123", "2021-03-05T08:09:10+08:00", "2021-03-04T23:59:00Z", "2021-03-04T11:30:00-05:00",
        "2021-03-05T00:00:00+0800", date(2021, 3, 5), datetime(2021, 3, 5, 1, tzinfo=UTC),
    ],
)  # fmt: skip
def test_every_form_of_a_day(value):
    assert day(value) == date(2021, 3, 5)


@pytest.mark.parametrize(
    "value",
    [
        None, "", "N/A", "20251332", "20250229", "2025-02-30", "2025-13-01", "2025-1-5", "20250000", "00000000",
        "99990909", "19491231", "22010101", "2025.01.05", "2025年1月5日", "05/01/2025", "250105", "202501051",
        "2025-01-05 25:00:00", "2025-01-05 24:00:00", "2025-01-05 10:61:00", "2025-01-05x", "2025-01/05",
        "2025-01-05T10:00:00+99:00", True, 1.5, 20210305.0, -20210305, Decimal("NaN"), Decimal(HUGE),
        Decimal("20210305.5"), "2" * 100, [20210305], "２０２５１３３２", "2025010²",
    ],
)  # fmt: skip
def test_no_day(value):
    assert day(value) is None


def test_trimmed_day():
    assert day("2025-01-05 ") == date(2025, 1, 5)


@pytest.mark.parametrize(
    "value",
    [
        "99990909", 99990909, Decimal(99990909), " 9999-09-09 ", "9999/09/09", "9999/9/9", "9999-09-09 00:00:00",
        "９９９９-０９-０９", date(9999, 9, 9),
    ],
)  # fmt: skip
def test_long_term_is_no_day_in_any_form(value):
    assert is_long_term(value)
    assert day(value) is None


@pytest.mark.parametrize("value", ["9999-09-08", "99991231", "long", "", None, True, [], {}])
def test_only_one_day_is_long_term(value):
    assert not is_long_term(value)


@lawful
@given(st.dates(date(1950, 1, 1), date(2200, 12, 31)), st.times())
def test_day_round_trip(value, clock):
    stamp = f"{clock:%H:%M:%S}"
    forms = [f"{value:%Y%m%d}", f"{value:%Y-%m-%d}", f"{value:%Y/%m/%d}", f"{value.year}/{value.month}/{value.day}"]
    forms += [f"{value:%Y-%m-%d} {stamp}", f"{value:%Y/%m/%d} {stamp}", f"{value:%Y-%m-%d}T{stamp}+08:00"]
    assert {day(form) for form in forms} == {value}
    assert day(int(f"{value:%Y%m%d}")) == value


@lawful
@given(st.one_of(st.text(max_size=25), st.from_regex(r"\d{4}[-/]?\d{2}[-/]?\d{2}", fullmatch=True)))
def test_any_text_is_a_day_or_none(text):
    found = day(text)
    assert found is None or 1950 <= found.year <= 2200


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2025, 12, 31, 15, 59, tzinfo=UTC), date(2025, 12, 31)),
        (datetime(2025, 12, 31, 16, 0, tzinfo=UTC), date(2026, 1, 1)),
        (datetime(2026, 1, 1, 0, 30, tzinfo=SHANGHAI), date(2026, 1, 1)),
        (datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=9))), date(2025, 12, 31)),
    ],
)
def test_day_in_shanghai(moment, expected):
    assert day_in_shanghai(moment) == expected


def test_a_moment_without_zone_has_no_day():
    with pytest.raises(ValueError, match="time zone"):
        day_in_shanghai(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


def test_the_fixed_offset_is_that_of_the_zone():
    try:
        zone = ZoneInfo("Asia/Shanghai")
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zone database")
    for year in range(1992, 2060):
        for month in range(1, 13):
            moment = datetime(year, month, 1, tzinfo=UTC)
            assert moment.astimezone(zone).utcoffset() == moment.astimezone(SHANGHAI).utcoffset()


@lawful
@given(st.text(max_size=20))
def test_folding_is_idempotent(text):
    assert half_width(half_width(text)) == half_width(text)
    assert compact(compact(text)) == compact(text)


def test_folding_of_every_single_character_is_idempotent():
    for point in range(0x10000):
        character = chr(point)
        assert compact(compact(character)) == compact(character)
        assert half_width(half_width(character)) == half_width(character)


@pytest.mark.parametrize(
    "value",
    [
        "20240520093011", 20240520093011, "２０２４０５２００９３０１１", "2024-05-20 09:30:11", "2024/5/20 9:30:11",
        "2024-05-20T09:30:11", "2024-05-20T01:30:11Z", "2024-05-20T10:30:11.5+09:00",
        datetime(2024, 5, 20, 1, 30, 11, tzinfo=UTC), datetime(2024, 5, 20, 9, 30, 11),  # noqa: DTZ001 - China's time
    ],
)  # fmt: skip
def test_a_moment_in_every_form(value):
    found = moment(value)
    assert found == datetime(2024, 5, 20, 9, 30, 11, tzinfo=SHANGHAI)
    assert found.utcoffset() == timedelta(hours=8)


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            "20240520",
            "2024052009301",
            "20240230093011",
            "20240520093061",
            "2024-05-20",
            "2024-05-20 25:00:00",
        ),
        *(
            "00010101000000",
            "99991231235959",
            "-20240520093011",
            True,
            1.5,
            10**14,
            "x" * 100,
            "9999-12-31T23:59:59-12:00",
        ),
    ],
)
def test_what_is_no_moment(value):
    assert moment(value) is None


@lawful
@given(st.one_of(st.text(max_size=20), st.integers(), st.from_regex(r"\A[0-9]{14}\Z"), st.floats(), st.binary()))
def test_no_input_makes_a_moment_raise(value):
    found = moment(value)
    assert found is None or found.tzinfo is not None


def test_report_numbers_in_texts_and_their_divisions():
    assert linked("尾气 报告编码｛330100112108211315501011｝") == "330100112108211315501011"
    assert linked("编号 330100112108211315501011") is None
    assert folded(" jh２０２４ 01") == "JH202401"
    numbers = {
        "330100112108211315501011": "330100",
        "229583001": "229583",
        "990100112": None,
        "3301": None,
        "３３０１００": None,
    }
    assert {number: area_of(number) for number in numbers} == numbers
