"""Segments of staged rows: sealed, in order, and never half read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq.errors import Tampered
from dlq.sealing import Sealer
from pipelines.errors import Incomplete
from pipelines.segments import PIECE, RECORD, REMARKS, RowWriter, StagedRow, read_rows

SEALER = Sealer(bytes(range(32)))
ROWS = st.lists(
    st.lists(st.builds(StagedRow, st.integers(0, 2**32 - 1), st.sampled_from([RECORD, PIECE, REMARKS]), st.binary()))
)


def written(path, *loads):
    writer = RowWriter(path, SEALER)
    for load in loads:
        writer.add(load)
    return writer.close()


@given(ROWS)
def test_rows_come_back_in_order(tmp_path_factory, loads):
    path = written(tmp_path_factory.mktemp("rows") / "a.rows", *loads)
    assert list(read_rows(path, SEALER)) == [row for load in loads for row in load]


def test_nothing_lies_in_the_clear(tmp_path):
    path = written(tmp_path / "a.rows", [StagedRow(0, RECORD, b"LVSHCAMB1CE054249")])
    assert b"LVSHCAMB" not in (tmp_path / "a.rows").read_bytes()
    with pytest.raises(Exception, match=r".") as caught:
        list(read_rows(path, Sealer(bytes(32))))
    assert b"LVSHCAMB" not in str(caught.value).encode()


def test_a_cut_file_is_incomplete_wherever_it_is_cut(tmp_path):
    path = tmp_path / "a.rows"
    written(path, [StagedRow(0, RECORD, b"a" * 40)], [StagedRow(1, PIECE, b"b" * 40)])
    whole = path.read_bytes()
    first = 4 + int.from_bytes(whole[:4], "big")
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        if length == first:
            assert [row.ordinal for row in read_rows(str(path), SEALER)] == [0]
            continue
        with pytest.raises(Incomplete, match="cut"):
            list(read_rows(str(path), SEALER))


def test_a_changed_byte_is_found(tmp_path):
    path = tmp_path / "a.rows"
    written(path, [StagedRow(0, RECORD, b"a" * 40)])
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(Tampered):
        list(read_rows(str(path), SEALER))


def test_an_attempt_never_writes_over_another(tmp_path):
    written(tmp_path / "a.rows")
    with pytest.raises(FileExistsError):
        RowWriter(tmp_path / "a.rows", SEALER)
