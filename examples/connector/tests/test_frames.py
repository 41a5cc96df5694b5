"""Frames do what every source must do: the contract suite, and what is particular to frames."""

import os

import orjson
import pytest
from vingate_frames import FramesSource

from connectors.contracts import Unreadable
from connectors.testing import SourceContract


def frame(body):
    return len(body).to_bytes(4) + body


class TestFrames(SourceContract):
    name = "frames"

    def put(self, place, numbers, size=0):
        bodies = [orjson.dumps(self.payload(number, size)) for number in numbers]
        path = place / f"{len(list(place.iterdir())):03}.frames"
        path.with_suffix(".part").write_bytes(b"".join(map(frame, bodies)))
        path.with_suffix(".part").rename(path)

    def source(self, place, *, small=False):
        return FramesSource(FramesSource.Settings(path=place, item_bytes=500 if small else 4 << 20))

    def spoil(self, place):
        path = next(place.glob("*.frames"))
        path.write_bytes(path.read_bytes()[:-10])

    def working_settings(self, place):
        return {"path": str(place)}

    def broken_settings(self, place):
        return {"path": str(place / "nowhere")}


def test_a_payload_beyond_the_limit_is_a_problem_and_the_next_one_is_read(tmp_path):
    (tmp_path / "a.frames").write_bytes(frame(b"x" * 50) + frame(b"{}"))
    source = FramesSource(FramesSource.Settings(path=tmp_path, max_payload_bytes=40))
    (item,) = source.plan({})
    (block,) = source.read(item)
    assert (block.bodies, block.offsets) == ([b"{}"], [54])
    assert [(at, len(body)) for at, body, _ in block.problems] == [(0, 50)]


def test_what_a_wrong_length_hides_is_kept(tmp_path):
    (tmp_path / "a.frames").write_bytes(frame(b"{}") + b"\xff" + frame(b"rest"))
    source = FramesSource(FramesSource.Settings(path=tmp_path))
    (item,) = source.plan({})
    (block,) = source.read(item)
    assert block.bodies == [b"{}"]
    assert [(at, body) for at, body, _ in block.problems] == [(6, b"\xff" + frame(b"rest"))]


def test_another_file_in_its_place_is_refused_and_a_file_that_is_gone_has_no_mark(tmp_path):
    path = tmp_path / "a.frames"
    path.write_bytes(frame(b"1"))
    source = FramesSource(FramesSource.Settings(path=tmp_path))
    (item,) = source.plan({})
    path.write_bytes(frame(b"2"))
    os.utime(path, (1, 1))
    with pytest.raises(Unreadable, match="changed"):
        list(source.read(item))
    path.unlink()
    assert source.mark("a.frames") == ""
