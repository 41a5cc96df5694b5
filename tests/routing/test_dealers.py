"""Dealer register and OEM list: dates, forms, and errors that name the line and the remedy."""

from datetime import date
from importlib.resources import files

import pytest

from routing.dealers import Dealers, load_dealers, load_oems
from routing.errors import TableError

DEALERS_CSV = """companycode,oem,from,to
4401,SVW,20200101,2022-12-31
4401,BYD,2023-01-01,
"""
DEALERS_NDJSON = """{"companycode": "4401", "oem": "SVW", "from": "20200101", "to": "2022-12-31"}

{"companycode": "4401", "oem": "BYD", "from": "2023-01-01"}
"""
DEALERS_TOML = """
[[dealer]]
companycode = "4401"
oem = "SVW"
from = 2020-01-01
to = 2022-12-31

[[dealer]]
companycode = "4401"
oem = "BYD"
from = 2023-01-01
"""
OEMS = """
[[oem]]
oem = "SVW"
names = ["上汽大众", "SAIC Volkswagen"]
wmis = ["LSV"]
from = 2017-07-01
to = 2022-06-30

[[oem]]
oem = "BYD"
from = 2017-07-01
"""


def register():
    return Dealers(load_dealers(DEALERS_CSV), load_oems(OEMS))


@pytest.mark.parametrize(
    ("text", "form"),
    [(DEALERS_CSV, "csv"), ("\ufeff" + DEALERS_CSV, "csv"), (DEALERS_NDJSON, "ndjson"), (DEALERS_TOML, "toml")],
)
def test_every_form_gives_the_same_register(text, form):
    found = load_dealers(text, form)
    assert [(d.companycode, d.oem, d.valid_from, d.valid_to) for d in found] == [
        ("4401", "SVW", date(2020, 1, 1), date(2022, 12, 31)),
        ("4401", "BYD", date(2023, 1, 1), None),
    ]


def test_oem_list_in_csv():
    (found,) = load_oems("oem,names,wmis,from\nSVW,上汽大众|SAIC Volkswagen,LSV|LSW,2017-07-01\n", "csv")
    assert (found.names, found.wmis) == (("上汽大众", "SAIC Volkswagen"), ("LSV", "LSW"))


@pytest.mark.parametrize(
    ("company", "day", "oem"),
    [
        ("4401", date(2019, 12, 31), ""),
        ("4401", date(2020, 1, 1), "SVW"),
        ("4401", date(2022, 6, 30), "SVW"),
        ("4401", date(2022, 7, 1), ""),  # no longer on the ministry's list
        ("4401", date(2023, 1, 1), "BYD"),
        ("4402", date(2023, 1, 1), ""),
    ],
)
def test_dealer_on_a_day(company, day, oem):
    assert register().oem_of(company, day) == oem


def test_of_two_entries_the_latest_begun_counts():
    text = "companycode,oem,from\n4401,SVW,2018-01-01\n4401,BYD,2020-01-01\n"
    both = Dealers(load_dealers(text), load_oems(OEMS))
    assert (both.oem_of("4401", date(2019, 1, 1)), both.oem_of("4401", date(2021, 1, 1))) == ("SVW", "BYD")


def test_wmi_says_plausible_implausible_or_nothing():
    known = register()
    assert known.plausible("LSVAL41Z882104202", "SVW") is True
    assert known.plausible("LFV2A21KXE4176550", "SVW") is False
    assert known.plausible("LFV2A21KXE4176550", "BYD") is None


def test_names_of_an_oem():
    assert register().names("SVW") == ("上汽大众", "SAIC Volkswagen")
    assert register().names("???") == ()


def test_the_shipped_list_reads():
    found = load_oems(files("routing").joinpath("data/oems.toml").read_text("utf-8"))
    assert len({entry.oem for entry in found}) == len(found) >= 3
    assert all(entry.names and entry.wmis for entry in found)


@pytest.mark.parametrize(
    ("load", "text", "form", "line", "words"),
    [
        (load_dealers, "companycode,oem,from\n1,SVW,2020-01-01\n2,SVW,20201332\n", "csv", 3, "from"),
        (load_dealers, "companycode,oem,from\n1,SVW\n", "csv", 2, "columns"),
        (load_dealers, "companycode,oem,from,colour\n1,SVW,2020-01-01,red\n", "csv", 2, "no such name"),
        (load_dealers, 'companycode,oem,from\n1,"SVW\n', "csv", 2, "CSV"),
        (load_dealers, "companycode,oem,from,to\n1,SVW,2020-01-02,2020-01-01\n", "csv", 2, "earlier"),
        (load_dealers, '{"companycode": "1", "oem": "S V"}\n', "ndjson", 1, "from"),
        (load_dealers, '\n{"companycode": ', "ndjson", 2, "JSON"),
        (load_dealers, "[" * 100_000, "ndjson", 1, "JSON"),
        (load_dealers, "[1]", "ndjson", 1, "object"),
        (load_dealers, '[[dealer]]\noem = "SVW"\nfrom = 2020-01-01\n', "toml", 1, "companycode"),
        (load_dealers, "[[dealer]]\noem = \n", "toml", 2, "TOML"),
        (load_dealers, "[[dealers]]\n", "toml", 0, "[[dealer]]"),
        (load_dealers, "dealer = 3\n", "toml", 0, "[[dealer]]"),
        (load_dealers, "", "xml", 0, "ndjson"),
        (load_oems, OEMS + '[[oem]]\noem = "B"\nwmis = ["L"]\nfrom = 2020-01-01\n', "toml", 12, "wmis"),
        (load_oems, "oem,from,to\nA,2020-01-01,\nA,2021-01-01,\n", "csv", 0, "twice"),
    ],
)  # fmt: skip
def test_errors_name_line_and_remedy(load, text, form, line, words):
    with pytest.raises(TableError) as caught:
        load(text, form, "register")
    assert caught.value.line == line
    assert words in str(caught.value)
    assert caught.value.remedy
    assert caught.value.source == "register"
