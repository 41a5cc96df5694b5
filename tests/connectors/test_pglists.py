"""Lists that go to PostgreSQL quickly arrive as those that go the driver's own way."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.pglists import QuickLists

TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), max_size=6)
ODD = [
    ['"'],
    ["\\"],
    ['","'],
    ["a", 'b"c'],
    ["{}", "NULL", "null", "", " ", ","],
    ["修", "\u2028", "\U0001f600"],
    ["\n\t"],
]


@pytest.fixture(scope="module")
def links(postgres_server):
    with postgres_server.shared() as server, server.database() as url:
        address = url.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(address, autocommit=True) as quick, psycopg.connect(address, autocommit=True) as plain:
            quick.adapters.register_dumper(list, QuickLists)
            yield quick, plain


def same(links, kind, values):
    there, back = (link.execute(f"SELECT CAST(%s AS {kind}[])", [values]).fetchone()[0] for link in links)
    assert there == back == values


@pytest.mark.parametrize("texts", ODD)
def test_odd_texts_arrive(links, texts):
    same(links, "text", texts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_any_texts_arrive(links, texts):
    same(links, "text", texts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=20), max_size=6), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6))
def test_bytes_and_numbers_arrive(links, many, numbers):
    same(links, "bytea", many)
    same(links, "bigint", numbers)


def test_what_is_missing_and_what_is_nested_goes_the_drivers_way(links):
    same(links, "text", ["a", None])
    same(links, "text", [["a", "b"], ["c", "d"]])
    same(links, "bool", [True, False])


def test_a_text_with_nul_is_refused_as_by_the_driver(links):
    for link in links:
        with pytest.raises(psycopg.DataError):
            link.execute("SELECT CAST(%s AS text[])", [["a\0b"]])
