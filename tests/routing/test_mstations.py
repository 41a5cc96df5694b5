"""The register of M stations: dates, both codes, every form, and errors that name the line."""

from datetime import date

import pytest

from routing.errors import TableError
from routing.mstations import MStations, load_m_stations

CSV = """companyuniquecode,companycode,name,address,area,from,to
M1,330100000000001,甲站,某路1号,330106,20200101,2022-12-31
M9,330100000000001,甲站,某路1号,330106,20230101,
330200000000002,,乙站,,,2021-01-01,
"""
NDJSON = """{"companyuniquecode": "M1", "companycode": "330100000000001", "from": "20200101", "to": "2022-12-31"}
{"companyuniquecode": "M9", "companycode": "330100000000001", "from": "20230101"}
{"companyuniquecode": "330200000000002", "from": "2021-01-01"}
"""
TOML = """
[[station]]
companyuniquecode = "M1"
companycode = "330100000000001"
from = 2020-01-01
to = 2022-12-31

[[station]]
companyuniquecode = "M9"
companycode = "330100000000001"
from = 2023-01-01

[[station]]
companyuniquecode = "330200000000002"
from = 2021-01-01
"""


@pytest.mark.parametrize(("text", "form"), [(CSV, "csv"), (NDJSON, "ndjson"), (TOML, "toml")])
def test_who_is_an_m_station_and_when(text, form):
    register = MStations(load_m_stations(text, form))
    assert len(register) == 3

    def code(company, day):
        station = register.of(company, day)
        return station and station.companyuniquecode

    assert code("330100000000001", date(2022, 12, 31)) == "M1"
    assert code("330100000000001", date(2023, 1, 1)) == "M9"
    assert code("330100000000001", date(2019, 12, 31)) is None
    assert code("M1", date(2021, 1, 1)) == "M1"
    assert code("330200000000002", date(2024, 1, 1)) == "330200000000002"
    assert code("330300000000003", date(2024, 1, 1)) is None


def test_a_divisions_code_follows_from_the_stations_where_none_is_given():
    assert [one.area for one in load_m_stations(CSV)] == ["330106", "330106", "330200"]


@pytest.mark.parametrize(
    ("row", "what"),
    [("M1,,,,,x,", "from"), (",,,,,20200101,", "companyuniquecode"), ("M1,,,,99,20200101,", "area")],
)
def test_an_error_names_line_and_member(row, what):
    with pytest.raises(TableError, match=what) as raised:
        load_m_stations(CSV + row + "\n", source="stations.csv")
    assert "5" in str(raised.value)
    assert "stations.csv" in str(raised.value)
