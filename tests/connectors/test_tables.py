"""A body that is written with its row: the same bytes, and the same row as whoever reads them finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contracts import Delivery
from connectors.tables import RowMap, TableSpec, UnmappableError, WrittenBody

COLUMNS = dict(n="int", text="text", day="date", price="decimal", parts="json", more="json", end="text")
SPEC = TableSpec(name="things", columns=COLUMNS)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
likely = {
    "text": texts,
    "int": st.integers(-(2**63), 2**63 - 1),
    "date": st.dates().map(str),
    "decimal": st.decimals(-99, 99, places=2).map(str),
    "json": anything,
}
values = st.fixed_dictionaries({}, optional={name: likely[kind] | anything for name, kind in COLUMNS.items()})


def found(body: bytes) -> object:
    try:
        return RowMap(SPEC).row(body)
    except UnmappableError:
        return None


@given(values)
def test_a_written_body_is_the_canonical_one_and_its_row_the_one_that_is_read(members):
    rows = RowMap(SPEC)
    body = rows.write(members)
    assert bytes(body) == SPEC.body(members)
    assert isinstance(body, WrittenBody) == (found(bytes(body)) is not None)
    if isinstance(body, WrittenBody):
        assert rows.row(body) == found(bytes(body))


def test_the_row_is_taken_from_who_wrote_the_body_and_read_where_it_was_written_for_another_table():
    rows, other = RowMap(SPEC), RowMap(TableSpec(name="others", columns={"text": "text"}))
    body = rows.write({"text": "a", "parts": [1]})
    assert isinstance(body, WrittenBody)
    assert rows.row(body) is body.row
    with pytest.raises(UnmappableError):
        other.row(body)


def test_a_body_that_was_changed_on_its_way_is_read():
    rows = RowMap(SPEC)
    sent = Delivery("i", "d", "k", 1, "c", rows.write({"text": "a", "end": "b"}), "b1")
    told = replace(sent, body=sent.body.replace(b"b", b"~"))
    assert rows.row(told.body) == ("a", None, None, None, None, None, "~")
