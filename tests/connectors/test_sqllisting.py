"""Which versions stand under keys that begin alike, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from connectors.contracts import Delivery, Misconfigured
from connectors.sqllisting import SqlListing
from connectors.sqlstore import SqlSink, TableSpec

SPEC = TableSpec(name="things", columns={"text": "text", "since": "text"})
KEYS = ["44|a_1|x", "44|a_1|y", "44|a_1|中", "44|a%1|x", "44|ab1|x", "44|A_1|x", "44|a_12|x", "33|a_1|x"]


@pytest.fixture(params=["sqlite", "postgres"])
def listing(request, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    settings = SqlSink.Settings(url=url, table=SPEC)
    sink = SqlSink(settings)
    sink.create()
    given = [(key, version) for key in KEYS for version in (1, 2)]
    made = [
        Delivery(f"{key}{v}", "d", key, v, f"{v:016x}", SPEC.body({"text": "t", "since": f"2026-01-0{v}"}), "b", "")
        for key, v in given
    ]
    assert {one.status for one in sink.write(made)} == {"accepted"}
    sink.close()
    found = SqlListing(settings, "since")
    yield found
    found.close()


def pages(listing, begins, since="", most=2):
    found, after = [], ("", 0)
    while page := listing.page(begins, since, after, most):
        assert len(page) <= most
        found += page
        after = page[-1].key, page[-1].version
    return [(one.key, one.version) for one in found]


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_each_version_is_told_once_whatever_the_page(listing, most):
    found = pages(listing, ["44|a_1|"], most=most)
    assert sorted(found) == sorted((f"44|a_1|{code}", version) for code in "xy中" for version in (1, 2))
    assert len(found) == 6
    assert [one for one in found if one[0] == "44|a_1|x"] == [("44|a_1|x", 1), ("44|a_1|x", 2)]


def test_signs_of_patterns_mean_themselves(listing):
    assert {key for key, _ in pages(listing, ["44|a%1|"])} == {"44|a%1|x"}


def test_several_beginnings_and_a_moment(listing):
    assert sorted(pages(listing, ["44|ab1|", "33|"], "2026-01-02")) == [("33|a_1|x", 2), ("44|ab1|x", 2)]
    assert pages(listing, ["55|"]) == []


def test_a_moment_that_is_no_column_is_refused(tmp_path):
    with pytest.raises(Misconfigured):
        SqlListing(SqlSink.Settings(url=f"sqlite:///{tmp_path}/s.db", table=SPEC), "when")
