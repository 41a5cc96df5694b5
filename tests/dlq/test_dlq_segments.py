import hashlib

import pytest
from letter_samples import letter

from dlq.errors import SegmentDamaged
from dlq.letter import BodyRef, tally_of
from dlq.reasons import reason
from dlq.segments import MAGIC, read_segment, write_segment


@pytest.fixture
def made():
    return [
        letter(0),
        letter(1, body=b""),
        letter(2, ref=BodyRef("x.ndjson", 0, 5), body=b"large"),
        letter(3)._replace(last_reasons=(reason("NO_ROUTE"),), generation=1, note="第二次"),
        letter(4, body=b"b" * 3_000_000),
    ]


def test_letters_come_back_and_nothing_else_lies_there(tmp_path, made):
    segment = write_segment(tmp_path / "item.letters", iter(made))
    assert list(read_segment(tmp_path / "item.letters")) == made
    assert segment.tally == tally_of(made)
    assert segment.sha256 == hashlib.sha256((tmp_path / "item.letters").read_bytes()).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["item.letters"]


def test_no_letters_make_a_segment_too(tmp_path):
    assert write_segment(tmp_path / "s", []).tally == (0, 0)
    assert list(read_segment(tmp_path / "s")) == []


def test_failure_leaves_nothing(tmp_path):
    def breaks():
        yield letter()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_segment(tmp_path / "s", breaks())
    assert list(tmp_path.iterdir()) == []


def test_every_cut_and_every_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "s"
    write_segment(path, [letter(0, body=b"x"), letter(1, body=b"y")])
    whole = path.read_bytes()
    damaged = [whole[:cut] for cut in range(0, len(whole), 7)]
    damaged += [whole[:n] + bytes([whole[n] ^ 0x41]) + whole[n + 1 :] for n in range(0, len(whole), 3)]
    damaged += [whole + b"x", b"", MAGIC, MAGIC + b"\xff" * 100]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(SegmentDamaged):
            list(read_segment(path))


def test_missing_segment_is_named(tmp_path):
    with pytest.raises(SegmentDamaged, match="missing"):
        list(read_segment(tmp_path / "none"))


def test_reading_streams(tmp_path, made):
    write_segment(tmp_path / "s", made)
    flow = read_segment(tmp_path / "s")
    assert next(flow) == made[0]
    flow.close()
