"""The file connectors keep the contracts; and what files alone can do wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import time
import zipfile
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.contracts import Misconfigured, Unreadable
from connectors.files import FilesSink, FilesSource
from connectors.lines import lines, measure
from connectors.slicing import Rows, csv_payloads
from connectors.testing import TEXT, PartSinkContract, SourceContract, small_files


def make(path, **given):
    return FilesSource(FilesSource.Settings(path=path, **given))


def read(source, done=None):
    """All bodies, offsets and problems."""
    blocks = [one for item in source.plan(done or {}) for one in source.read(item)]
    return (
        [body for one in blocks for body in one.bodies],
        [offset for one in blocks for offset in one.offsets],
        [problem for one in blocks for problem in one.problems],
    )


class TestFilesSource(SourceContract):
    name = "files"

    def put(self, place, numbers, size=0):
        with (place / "in.ndjson").open("ab") as file:
            for n in numbers:
                file.write(orjson.dumps(self.payload(n, size)) + b"\n")
        if not (place / "in.ndjson").stat().st_size:
            (place / "in.ndjson").unlink()

    def source(self, place, *, small=False):
        return make(place, item_bytes=100 if small else 32 << 20)

    def spoil(self, place):
        with (place / "in.ndjson").open("r+b") as file:
            file.truncate(400)
        (place / "linked.ndjson").symlink_to(place / "nowhere")

    def working_settings(self, place):
        return {"path": str(place)}

    def broken_settings(self, place):
        return {"path": str(place / "nowhere")}


class TestSingleGzipFile(TestFilesSource):
    def put(self, place, numbers, size=0):
        with (place / "in.ndjson.gz").open("ab") as file:
            data = b"".join(orjson.dumps(self.payload(n, size)) + b"\n" for n in numbers)
            file.write(gzip.compress(data))

    def source(self, place, *, small=False):
        return make(place / "in.ndjson.gz")

    def spoil(self, place):
        path = place / "in.ndjson.gz"
        path.write_bytes(path.read_bytes()[:-30])

    def test_nothing_there_is_nothing_to_do(self, place):
        self.put(place, [])
        assert [reason for _, _, reason in read(self.source(place))[2]] == ["只有空白 / nothing but white space"]


class TestFilesSink(PartSinkContract):
    name = "files"

    def sink(self, place):
        return FilesSink(FilesSink.Settings(path=place / "out"))

    def record(self, number, size=0):
        return orjson.dumps({"n": number, "text": TEXT, "filler": os.urandom(size // 2).hex()})

    def part(self, sink, numbers, destination="d", batch="b1"):
        return super().part(sink, numbers, destination, batch)

    def stands(self, place):
        return [str(one) for one in (place / "out").rglob("*") if one.is_file()]

    def content(self, place, part):
        return [orjson.loads(one)["n"] for one in Path(part.final).read_bytes().splitlines()]

    def tamper(self, place, part):
        path = Path(part.final)
        path.write_bytes(path.read_bytes().replace(b"filler", b"FILLER", 1))

    def remove(self, place, part):
        Path(part.final).unlink()

    @contextmanager
    def no_room(self, place):
        with small_files(300_000):
            yield self.sink(place)

    def working_settings(self, place):
        return {"path": str(place / "out")}

    def broken_settings(self, place):
        (place / "file").write_bytes(b"")
        return {"path": str(place / "file")}

    @pytest.mark.parametrize("step", [1, 7, 899])
    def test_how_records_are_handed_in_does_not_matter(self, place, step):
        records = [self.record(n) for n in range(900)]
        one, two = self.sink(place).open("d", "b", "i"), self.sink(place).open("d", "b", "i")
        for at in range(0, 900, step):
            one.add(records[at : at + step])
        two.add(records)
        assert one.close().sha256 == two.close().sha256

    def test_file_and_folder_are_synced_before_the_receipt(self, place, monkeypatch):
        synced = []
        monkeypatch.setattr(os, "fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
        sink = self.sink(place)
        part = self.part(sink, [1])
        assert synced == [part.temporary, str(place / "out" / ".staging")]
        sink.promote([part])
        assert synced[2:] == [str(place / "out")]

    def test_a_folder_that_cannot_be_written_is_told_by_a_part(self, place, monkeypatch):
        part = FilesSink(FilesSink.Settings(**self.broken_settings(place))).open("d", "b", "i")
        part.add([b"{}"])
        with pytest.raises(Misconfigured, match="cannot be written"):
            part.close()

        def forbidden(*_, **__):
            raise PermissionError(13, "Permission denied")

        part = self.sink(place).open("d", "b", "i")
        part.add([b"{}"])
        monkeypatch.setattr(os, "open", forbidden)
        monkeypatch.setattr(Path, "unlink", forbidden)
        with pytest.raises(Misconfigured, match="Permission denied"):
            part.close()

    def test_a_record_with_a_line_break_is_refused(self, place):
        with pytest.raises(ValueError, match="line break"):
            self.sink(place).open("d", "b", "i").add([b'{\n"n": 1}'])


LINES = [b"", b" ", b"a", b"\r", b"b\r", b"\xff\x00", b'{"n": 1}', b"long" * 5]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=12), st.integers(1, 25), st.booleans())
def test_ranges_share_out_lines_exactly(texts, step, ended):
    data = b"\n".join(texts) + (b"\n" if ended else b"")
    expected, at = [], 0
    for line in data.split(b"\n"):
        if line.strip():
            expected.append((at, line))
        at += len(line) + 1
    found = []
    for offset in range(0, len(data), step):
        file = io.BytesIO(data)
        start = file.seek(max(offset - 1, 0))
        for run in lines(file.read, start, offset + step, 1 << 20, midway=offset > 0):
            found += zip(run.offsets, run.bodies, strict=True)
    assert found == expected


@pytest.mark.parametrize("chunk", [1, 2, 3, 10])
def test_lines_survive_short_reads(chunk):
    data = b"one\n\ntwo\r\nthree-is-too-long\nfour"
    file = io.BytesIO(data)
    runs = list(lines(lambda _: file.read(chunk), 0, -1, 5))
    assert [one for run in runs for one in zip(run.offsets, run.bodies, strict=True)] == [
        (0, b"one"),
        (5, b"two\r"),
        (28, b"four"),
    ]
    ((offset, whole),) = (one for run in runs for one in run.too_long)
    assert (offset, whole.first, whole.length) == (10, b"three-is-too-long", 17)
    told = (17, sha256(b"three-is-too-long").hexdigest(), None)
    assert measure(f"PAYLOAD_TOO_LARGE: {whole.text}") == ("PAYLOAD_TOO_LARGE: 17 bytes", told)
    assert measure(f"{whole.text}, header 2+30")[1] == (*told[:2], (2, 30))
    assert measure("17 bytes") == ("17 bytes", None)


def test_a_line_of_many_megabytes_is_a_problem_and_its_neighbours_are_read(tmp_path):
    path = tmp_path / "x.ndjson"
    path.write_bytes(b'{"n":1}\n' + b"y" * (5 << 20) + b'\n{"n":2}\n' + b"z" * (3 << 20))
    bodies, offsets, problems = read(make(path, max_payload_bytes=1 << 20))
    assert bodies == [b'{"n":1}', b'{"n":2}']
    assert offsets == [0, 8 + (5 << 20) + 1]
    assert [(offset, len(body)) for offset, body, _ in problems] == [(8, 1 << 16), (offsets[1] + 8, 1 << 16)]
    assert str(5 << 20) in problems[0][2]


@pytest.mark.parametrize("size", [100, 1 << 20, 3 << 20])
def test_a_long_line_over_many_items_belongs_to_one(tmp_path, size):
    path = tmp_path / "x.ndjson"
    path.write_bytes(b"a\n" + b"b" * size + b"\nc\n")
    bodies, _, problems = read(make(path, item_bytes=size // 3))
    assert [len(one) for one in bodies] == [1, size, 1]
    assert problems == []


def test_bytes_are_kept_as_they_came(tmp_path):
    data = [b'\xef\xbb\xbf{"n":1}\r', b"\x00\xff\xfe", b'{"n":"\xd6\xd0"}', b'"\\ud800"', b"1e400"]
    (tmp_path / "x.ndjson").write_bytes(b"\n".join(data))
    assert read(make(tmp_path))[0] == data


class TestWhatWaits:
    @pytest.mark.parametrize("name", ["x.ndjson.part", "x.tmp", "x.writing", ".x.ndjson"])
    def test_half_written_names_are_left_alone(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"{}\n")
        (tmp_path / "ok.ndjson").write_bytes(b"{}\n")
        assert [item.source for item in make(tmp_path).plan({})] == ["ok.ndjson"]

    def test_a_marker_says_that_it_is_complete(self, tmp_path):
        source = make(tmp_path, complete="marker")
        (tmp_path / "x.ndjson").write_bytes(b"{}\n")
        assert list(source.plan({})) == []
        (tmp_path / "x.ndjson.done").touch()
        assert [item.source for item in source.plan({})] == ["x.ndjson"]

    def test_stable_means_unchanged_for_a_while(self, tmp_path):
        (tmp_path / "x.ndjson").write_bytes(b"{}\n")
        os.utime(tmp_path / "x.ndjson", (1, 1))  # a copy that keeps old times is not stable yet
        assert list(make(tmp_path, complete="stable", stable_seconds=60).plan({})) == []
        time.sleep(0.06)
        assert len(list(make(tmp_path, complete="stable", stable_seconds=0.05).plan({}))) == 1

    def test_include_names_files_and_paths(self, tmp_path):
        for name in ("a.csv", "b.json", "sub/c.csv", "sub/d.json"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"{}")
        found = [item.source for item in make(tmp_path, include=["*.csv", "sub/d.*"]).plan({})]
        assert found == ["a.csv", "sub/c.csv", "sub/d.json"]

    def test_the_layout_names_system_and_company(self, tmp_path):
        (tmp_path / "hub" / "1101").mkdir(parents=True)
        (tmp_path / "hub" / "1101" / "x.ndjson").write_bytes(b"{}\n")
        (tmp_path / "stray.ndjson").write_bytes(b"{}\n")
        items = list(make(tmp_path, layout="{system}/{company}/*").plan({}))
        assert [(item.system, item.company, item.extra.get("problem", "")) for item in items] == [
            ("", "", "路径不符合 layout / path does not fit the layout '{system}/{company}/*'"),
            ("hub", "1101", ""),
        ]

    def test_a_layout_with_an_unknown_part_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="shop"):
            FilesSource.Settings(path=tmp_path, layout="{shop}/*")

    def test_a_touched_file_is_not_new_and_a_changed_one_is(self, tmp_path):
        path = tmp_path / "x.ndjson"
        path.write_bytes(b'{"n":1}\n')
        source = make(tmp_path)
        done = {item.source: item.extra["mark"] for item in source.plan({})}
        os.utime(path, ns=(1, 1))
        assert list(source.plan(done)) == []
        path.write_bytes(b'{"n":2}\n')
        assert len(list(source.plan(done))) == 1

    def test_unchanged_files_are_not_read_again(self, tmp_path, monkeypatch):
        (tmp_path / "x.ndjson").write_bytes(b"{}\n")
        source = make(tmp_path)
        done = {item.source: item.extra["mark"] for item in source.plan({})}
        monkeypatch.setattr("connectors.folders._prefix_digest", None)
        assert list(make(tmp_path).plan(done)) == []


class TestAfterReading:
    def test_archive_moves_and_keeps_both_of_a_name(self, tmp_path):
        (tmp_path / "in" / "s").mkdir(parents=True)
        for text in (b'{"n":1}\n', b'{"n":2}\n'):
            (tmp_path / "in" / "s" / "x.ndjson").write_bytes(text)
            source = make(tmp_path / "in", finished="archive", archive=tmp_path / "old")
            source.finish([item.source for item in source.plan({})])
        assert sorted(one.read_bytes() for one in (tmp_path / "old" / "s").iterdir()) == [b'{"n":1}\n', b'{"n":2}\n']
        assert read(source) == ([], [], [])

    def test_the_archive_inside_the_folder_is_not_watched(self, tmp_path):
        (tmp_path / "x.ndjson").write_bytes(b"{}\n")
        source = make(tmp_path, finished="archive", archive=tmp_path / "old")
        source.finish([item.source for item in source.plan({})])
        assert (tmp_path / "old" / "x.ndjson").exists()
        assert list(source.plan({})) == []

    @pytest.mark.parametrize("written", ["in/old", "in/sub/../old", "{here}/in/old", "link/old"])
    def test_the_archive_is_known_however_its_path_is_written(self, tmp_path, monkeypatch, written):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "link").symlink_to("in")
        (tmp_path / "in" / "x.ndjson").write_bytes(b"{}\n")
        for path in ("in", tmp_path / "in", "link"):
            source = make(path, finished="archive", archive=written.format(here=tmp_path))
            source.finish([item.source for item in source.plan({})])
            assert (tmp_path / "in" / "old" / "x.ndjson").exists()
            assert list(source.plan({})) == []

    @pytest.mark.parametrize("archive", ["in", "in/sub/..", "link"])
    def test_the_watched_folder_is_no_archive(self, tmp_path, monkeypatch, archive):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "link").symlink_to("in")
        with pytest.raises(Misconfigured, match="watched folder itself"):
            make(tmp_path / "in", finished="archive", archive=archive)

    def test_mark_lays_a_file_beside_and_a_change_is_seen(self, tmp_path):
        path = tmp_path / "x.ndjson"
        path.write_bytes(b"{}\n")
        source = make(tmp_path, finished="mark")
        source.finish([item.source for item in source.plan({})])
        assert (tmp_path / "x.ndjson.read").exists()
        assert list(make(tmp_path, finished="mark").plan({})) == []
        path.write_bytes(b"{}\n{}\n")
        assert len(list(make(tmp_path, finished="mark").plan({}))) == 1

    @pytest.mark.parametrize("finished", ["mark", "archive"])
    def test_a_file_that_grew_meanwhile_stays(self, tmp_path, finished):
        path = tmp_path / "x.ndjson"
        path.write_bytes(b"{}\n")
        source = make(tmp_path, finished=finished)
        items = list(source.plan({}))
        path.write_bytes(b"{}\n{}\n")
        source.finish([item.source for item in items])
        assert [one.name for one in tmp_path.iterdir()] == ["x.ndjson"]

    def test_after_a_restart_the_kept_marks_decide(self, tmp_path):
        path = tmp_path / "x.ndjson"
        path.write_bytes(b"{}\n")
        marks = {item.source: item.extra["mark"] for item in make(tmp_path).plan({})}
        path.write_bytes(b"{}\n{}\n")
        make(tmp_path, finished="archive").finish(marks)
        assert path.exists()
        path.write_bytes(b"{}\n")
        os.utime(path, ns=(0, int(marks["x.ndjson"].split(":")[1])))
        make(tmp_path, finished="archive").finish(marks)
        assert not path.exists()

    def test_a_single_file_is_never_moved(self, tmp_path):
        path = tmp_path / "x.ndjson.part"
        path.write_bytes(b"{}\n")
        source = make(path, finished="archive", archive=tmp_path / "old")
        source.finish([item.source for item in source.plan({})])
        assert [one.name for one in tmp_path.iterdir()] == ["x.ndjson.part"]


class TestBadFiles:
    def test_a_growing_file_gives_what_was_planned(self, tmp_path):
        path = tmp_path / "x.ndjson"
        path.write_bytes(b'{"n":1}\n{"n":2')
        source = make(tmp_path)
        items = list(source.plan({}))
        with path.open("ab") as file:
            file.write(b'2}\n{"n":3}\n')
        assert [one.bodies for item in items for one in source.read(item)] == [[b'{"n":1}'], [b'{"n":2']]

    def test_a_changed_file_is_refused_with_a_remedy(self, tmp_path):
        path = tmp_path / "x.ndjson"
        path.write_bytes(b'{"n":1}\n')
        source = make(tmp_path)
        items = list(source.plan({}))
        for data, sign in ((b'{"n":2}\n{"n":3}\n', "changed"), (b"{}", "shrank"), (None, "no such file")):
            path.unlink() if data is None else path.write_bytes(data)
            with pytest.raises(Unreadable, match=sign) as caught:
                list(source.read(items[0]))
            assert caught.value.remedy

    @pytest.mark.parametrize("name", ["x.ndjson", "x.json", "x.csv", "x.txt", "x.bin", "x.ndjson.gz", "x.zip"])
    def test_an_empty_file_is_one_problem(self, tmp_path, name):
        (tmp_path / name).touch()
        bodies, _, problems = read(make(tmp_path))
        assert (bodies, [reason for _, _, reason in problems]) == ([], ["空文件 / the file is empty"])

    def test_white_space_alone_is_one_problem(self, tmp_path):
        (tmp_path / "x.ndjson").write_bytes(b" \n\r\n\t")
        bodies, _, problems = read(make(tmp_path))
        assert (bodies, len(problems)) == ([], 1)

    @pytest.mark.parametrize(
        ("name", "data", "why"),
        [
            ("x.csv", b"a,b\n", "no line of data"),
            ("x.csv", b"a,b", "no line of data"),
            ("x.csv", b"\r\r\r", "no line of data"),
            ("x.csv", b"\n\n \r\n", "no line of data"),
            ("x.csv.gz", gzip.compress(b"a,b\n", mtime=0), "no line of data"),
            ("x.json", b"[ ]", "without elements"),
            ("x.dat", b"[]", "without elements"),
        ],
    )
    def test_a_file_without_a_payload_is_one_problem(self, tmp_path, name, data, why):
        (tmp_path / name).write_bytes(data)
        bodies, _, problems = read(make(tmp_path))
        assert (bodies, [why in reason for _, _, reason in problems]) == ([], [True])

    def test_links_that_lead_nowhere_and_pipes_are_problems(self, tmp_path):
        (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
        (tmp_path / "gone.json").symlink_to(tmp_path / "nothing")
        (tmp_path / "up").symlink_to(tmp_path)
        os.mkfifo(tmp_path / "pipe.json")
        (tmp_path / "ok.json").write_bytes(b"{}")
        source = make(tmp_path)
        items = list(source.plan({}))
        problems = {item.source: item.extra.get("problem") for item in items}
        assert [name for name, problem in problems.items() if problem is None] == ["ok.json"]
        assert sorted(problems) == ["gone.json", "loop.json", "ok.json", "pipe.json"]
        done = {item.source: source.mark(item.source) for item in items}
        assert list(make(tmp_path).plan(done)) == []

    def test_no_permission_is_a_problem_of_that_file(self, tmp_path, monkeypatch):
        for name in ("a.json", "b.json"):
            (tmp_path / name).write_bytes(b"{}")
        real = Path.open

        def guarded(self, *args, **kwargs):
            if self.name == "a.json":
                raise PermissionError(13, "Permission denied")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, "open", guarded)
        bodies, _, problems = read(make(tmp_path))
        assert bodies == [b"{}"]
        assert ["permission" in reason for _, _, reason in problems] == [True]

    def test_a_folder_where_a_file_is_named_is_just_a_folder(self, tmp_path):
        (tmp_path / "x.ndjson").mkdir()
        assert read(make(tmp_path / "x.ndjson")) == ([], [], [])

    def test_names_that_are_not_utf8_can_be_kept_and_read(self, tmp_path):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xd6\xd0.ndjson")).write_bytes(b"{}\n")
        source = make(tmp_path, finished="archive")
        (item,) = source.plan({})
        assert item.source == "//%D6%D0.ndjson"
        assert orjson.dumps(item.source)
        assert read(source)[0] == [b"{}"]
        source.finish([item.source])
        assert [os.fsencode(one.name) for one in (tmp_path / ".archive").iterdir()] == [b"\xd6\xd0.ndjson"]

    def test_an_item_cannot_lead_out_of_the_folder(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "secret").write_bytes(b"{}")
        with pytest.raises(Misconfigured):
            make(tmp_path / "in").mark("../secret")


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def zipped(members, **given):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **given) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


class TestCompressed:
    @pytest.mark.parametrize("ending", PACKERS)
    def test_all_lines_come(self, tmp_path, ending):
        data = b"".join(b'{"n":%d}\n' % n for n in range(50_000))
        (tmp_path / f"x.ndjson.{ending}").write_bytes(PACKERS[ending](data[:1000]) + PACKERS[ending](data[1000:]))
        bodies, offsets, problems = read(make(tmp_path))
        assert b"\n".join(bodies) + b"\n" == data
        assert offsets[2] == 16
        assert problems == []

    @pytest.mark.parametrize("ending", PACKERS)
    def test_cut_short_gives_what_is_there_and_one_problem(self, tmp_path, ending):
        data = b"".join(b'{"n":"%s"}\n' % os.urandom(20).hex().encode() for _ in range(20_000))
        (tmp_path / f"x.ndjson.{ending}").write_bytes(PACKERS[ending](data)[:-5000])
        bodies, _, problems = read(make(tmp_path))
        assert data.startswith(b"\n".join(bodies))
        assert (len(bodies) > 100, len(problems)) == (True, 1)

    @pytest.mark.parametrize("ending", [*PACKERS, "zip"])
    def test_a_bomb_is_a_problem(self, tmp_path, ending):
        bomb = (b" " * 4095 + b"\n") * (20 << 8)
        data = zipped({"x.ndjson": bomb}) if ending == "zip" else PACKERS[ending](bomb)
        (tmp_path / f"x.ndjson.{ending}").write_bytes(data)
        bodies, _, problems = read(make(tmp_path))
        assert (bodies, len(problems)) == ([], 1)
        assert "expands" in problems[0][2]

    @pytest.mark.parametrize("ending", [*PACKERS, "zip"])
    def test_what_is_no_archive_is_a_problem(self, tmp_path, ending):
        (tmp_path / f"x.ndjson.{ending}").write_bytes(b'{"n":1}\n' * 30)
        bodies, _, problems = read(make(tmp_path))
        assert (bodies, len(problems)) == ([], 1)

    def test_each_member_of_a_zip_is_an_item(self, tmp_path):
        data = zipped({"a.ndjson": b"{}\n{}\n", "d/b.json": b'[{"n":1}, 2]', "c.zip": b"PK"})
        (tmp_path / "x.zip").write_bytes(data)
        source = make(tmp_path)
        bodies, _, problems = read(source)
        assert (bodies, len(problems)) == ([b"{}", b"{}", b'{"n":1}', b"2"], 1)
        assert len({item.digest for item in source.plan({})}) == 3

    def test_a_member_that_cannot_be_read_costs_no_other(self, tmp_path):
        names = ["a.ndjson", "b.dat", "c.csv", "d.dat"]
        data = bytearray(zipped(dict.fromkeys(names, b"{}\n{}\n")))
        for name in (
            b"b.dat",
            b"c.csv",
        ):  # encrypted, say both of its headers: one is found by planning, one by reading
            data[data.index(name) - 30 + 6] |= 1
            data[data.rindex(name) - 46 + 8] |= 1
        (tmp_path / "x.zip").write_bytes(data)
        items = list(make(tmp_path).plan({}))
        bodies, _, problems = read(make(tmp_path))
        assert [item.extra["member_name"] for item in items] == names
        assert bodies == [b"{}"] * 4
        assert ["encrypted" in why for _, _, why in problems] == [True, True]

    def test_a_zip_without_files_is_one_problem(self, tmp_path):
        (tmp_path / "x.zip").write_bytes(zipped({}))
        (tmp_path / "y.zip").write_bytes(zipped({"folder/": b""}))
        bodies, _, problems = read(make(tmp_path))
        assert (bodies, len(problems)) == ([], 2)

    def test_the_directory_of_a_zip_is_read_once(self, tmp_path, monkeypatch):
        members = {f"{n}.{ending}": b"{}" for n in range(20) for ending in ("json", "dat")}
        (tmp_path / "x.zip").write_bytes(zipped(members))
        opened = []
        real = zipfile.ZipFile
        monkeypatch.setattr(zipfile, "ZipFile", lambda file: opened.append(1) or real(file))
        source = make(tmp_path)
        items = list(source.plan({}))
        again = make(tmp_path)
        assert [body for item in items for one in again.read(item) for body in one.bodies] == [b"{}"] * 40
        assert len(opened) == 2

    def test_members_may_be_read_side_by_side(self, tmp_path):
        data = {name: b"".join(b'{"%s":%d}\n' % (name.encode(), n) for n in range(1000)) for name in ("a.txt", "b.txt")}
        (tmp_path / "x.zip").write_bytes(zipped(data))
        source = make(tmp_path)
        both = zip(*(source.read(item, 100) for item in source.plan({})), strict=True)
        first, second, *_ = [[one.bodies[0] for one in pair] for pair in both]
        assert first == [b'{"a.txt":0}', b'{"b.txt":0}']
        assert second == [b'{"a.txt":100}', b'{"b.txt":100}']

    @pytest.mark.parametrize("ending", PACKERS)
    @pytest.mark.parametrize("zeros", [0, 4, 70_000, 140_000])
    def test_nuls_may_stand_between_members_and_behind_them(self, tmp_path, ending, zeros):
        packed = [PACKERS[ending](b"%d\n" % n) for n in range(2)]
        (tmp_path / f"x.txt.{ending}").write_bytes(packed[0] + bytes(zeros) + packed[1] + bytes(zeros))
        assert read(make(tmp_path)) == ([b"0", b"1"], [0, 2], [])

    def test_a_zip_of_too_many_members_is_a_problem(self, tmp_path):
        (tmp_path / "x.zip").write_bytes(zipped({f"{n}.json": b"{}" for n in range(11)}))
        bodies, _, problems = read(make(tmp_path, max_members=10))
        assert (bodies, len(problems)) == ([], 1)

    def test_an_absolute_bound_holds(self, tmp_path):
        (tmp_path / "x.ndjson.gz").write_bytes(gzip.compress(b"{}\n" * 1000))
        assert len(read(make(tmp_path, max_unpacked_bytes=2000))[2]) == 1


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "data", "bodies"),
        [
            ("a.json", b'{\n "n": 1\n}\n', [b'{\n "n": 1\n}\n']),
            ("b.json", b'[{"n": 1},\n {"t": "a,]}\\"["} , [1,[2]]]\n', [b'{"n": 1}', b'{"t": "a,]}\\"["}', b"[1,[2]]"]),
            ("d.json", b'[{"n": 1}, ', [b'[{"n": 1}, ']),
            ("e.json", b'[{"n": 1}] x', [b'[{"n": 1}] x']),
            ("f.json", b"[1,,2]", [b"[1,,2]"]),
            ("g.json", b'{"n":1}\n{"n":2}\n', [b'{"n":1}', b'{"n":2}']),
            ("h.json", b'{\n"n":1}\n{\n"n":2}\n', [b'{\n"n":1}\n{\n"n":2}\n']),
            ("i.json", b'\xef\xbb\xbf [ 1 , "\xe4\xb8\xad" ] ', [b"1", b'"\xe4\xb8\xad"']),
            ("j.dat", b'{"n":1}\n{"n":2}', [b'{"n":1}', b'{"n":2}']),
            ("k.dat", b"plain\ntext", [b"plain", b"text"]),
            ("l.dat", b"[1,\n2]", [b"1", b"2"]),
            ("m.json", b"[" * 5000, [b"[" * 5000]),
        ],
    )
    def test_json_and_what_looks_like_it(self, tmp_path, name, data, bodies):
        (tmp_path / name).write_bytes(data)
        found, offsets, problems = read(make(tmp_path))
        assert (found, problems) == (bodies, [])
        assert all(data[at : at + len(body)] == body for at, body in zip(offsets, found, strict=True))

    @pytest.mark.parametrize("name", ["x.xml", "x.dat"])
    def test_an_xml_file_is_one_payload(self, tmp_path, name):
        data = '<?xml version="1.0" encoding="GBK"?>\n<a>\n[定损]\n</a>\n'.encode("gbk")
        (tmp_path / name).write_bytes(data)
        assert read(make(tmp_path)) == ([data], [0], [])

    def test_a_format_that_is_told_is_not_guessed(self, tmp_path):
        (tmp_path / "x.json").write_bytes(b'{"n":1}\n{"n":2}\n')
        assert len(read(make(tmp_path, format="json"))[0]) == 1
        assert len(read(make(tmp_path, format="lines"))[0]) == 2

    def test_an_array_larger_than_a_payload_may_be_is_streamed(self, tmp_path):
        elements = [b'{"n":%d,"t":"%s"}' % (n, b"\\\\]" * 500) for n in range(3000)]
        (tmp_path / "x.json").write_bytes(b"[" + b", ".join(elements) + b"]")
        assert read(make(tmp_path, max_payload_bytes=1 << 20))[0::2] == (elements, [])

    def test_a_large_array_that_is_cut_gives_its_elements_and_a_problem(self, tmp_path):
        elements = [b'{"n":%d,"t":"%s"}' % (n, b"x" * 1000) for n in range(3000)]
        (tmp_path / "x.json").write_bytes(b"[" + b", ".join(elements)[:-50])
        bodies, _, problems = read(make(tmp_path, max_payload_bytes=1 << 20))
        assert (bodies, len(problems)) == (elements[:-1], 1)

    def test_one_json_payload_that_is_too_long_is_a_problem(self, tmp_path):
        (tmp_path / "x.json").write_bytes(b'{"t":"' + b"x" * (3 << 20) + b'"}')
        bodies, _, problems = read(make(tmp_path, max_payload_bytes=1 << 20))
        assert (bodies, [(at, len(body)) for at, body, _ in problems]) == ([], [(0, 1 << 16)])

    @settings(max_examples=100, deadline=None)
    @given(
        value=st.lists(
            st.recursive(st.text(max_size=5) | st.none(), lambda x: st.lists(x, max_size=3)), min_size=1, max_size=5
        )
    )
    def test_any_array_is_cut_into_its_elements(self, tmp_path_factory, value):
        path = tmp_path_factory.mktemp("a") / "x.json"
        path.write_bytes(orjson.dumps(value))
        bodies, _, problems = read(make(path))
        assert ([orjson.loads(one) for one in bodies], problems) == (value, [])


HEAD = "单号,配件,数量\r\n"


class TestCsv:
    @pytest.mark.parametrize("encoding", ["utf-8", "gbk", "utf-8-sig"])
    @pytest.mark.parametrize("told", ["auto", "gbk"])
    def test_consecutive_rows_of_a_group_are_one_envelope(self, tmp_path, encoding, told):
        if told == "gbk" and encoding != "gbk":
            pytest.skip("told another encoding than it is")
        data = (HEAD + '甲1,机油,1\r\n甲1,"滤,清""器\r\n二",2\r\n\r\n乙2,轮胎,4').encode(encoding)
        (tmp_path / "x.csv").write_bytes(data)
        bodies, offsets, problems = read(make(tmp_path, group_by="单号", encoding=told))
        head = data[: data.index(b"\n") + 1]
        assert problems == []
        assert [body.removeprefix(head).decode(encoding.replace("-sig", "")) for body in bodies] == [
            '甲1,机油,1\r\n甲1,"滤,清""器\r\n二",2\r\n',
            "乙2,轮胎,4",
        ]
        assert all(body.startswith(head) for body in bodies)
        assert [data[at:].startswith(body[len(head) :]) for at, body in zip(offsets, bodies, strict=True)] == [True] * 2

    def test_without_a_group_each_row_is_one(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"a;b\n1;2\n3;4\n")
        bodies, offsets, _ = read(make(tmp_path))
        assert (bodies, offsets) == ([b"a;b\n1;2\n", b"a;b\n3;4\n"], [4, 8])

    def test_rows_without_a_group_stay_apart(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"k,v\n,1\n,2\na,3\na,4\n")
        bodies, _, _ = read(make(tmp_path, group_by="k"))
        assert bodies == [b"k,v\n,1\n", b"k,v\n,2\n", b"k,v\na,3\na,4\n"]

    @pytest.mark.parametrize("ends", [b"\r", b"\n", b"\r\n"])
    def test_lines_may_end_in_any_way(self, tmp_path, ends):
        head, *rows = (line + ends for line in (b"k,v", b"1,a", b'1,"x', b'y"', b"", b"2,b"))
        (tmp_path / "x.csv").write_bytes(head + b"".join(rows))
        bodies, offsets, problems = read(make(tmp_path, group_by="k"))
        assert (bodies, problems) == ([head + b"".join(rows[:3]), head + rows[4]], [])
        assert offsets == [len(head), len(head + b"".join(rows[:4]))]

    @pytest.mark.parametrize("step", [1, 3, 1000])
    @pytest.mark.parametrize("ends", [b"\r", b"\n", b"\r\n"])
    def test_how_lines_end_is_seen_however_few_bytes_come(self, step, ends):
        lines = [b"a,b" + ends, b"1,2" + ends, b"3,4" + ends]
        file = io.BytesIO(b"".join(lines))
        pieces = csv_payloads(lambda count: file.read(min(count, step)), Rows("", "auto", "auto", 100))
        assert [one.body for one in pieces] == [lines[0] + lines[1], lines[0] + lines[2]]

    def test_a_line_that_is_too_long_and_ends_with_cr_is_measured(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"a,b\r1,2\r" + b"x" * 50 + b"\r3,4")
        bodies, offsets, ((at, _, why),) = read(make(tmp_path, max_payload_bytes=40))
        assert (bodies, offsets, at) == ([b"a,b\r1,2\r", b"a,b\r3,4"], [4, 59], 8)
        assert measure(why)[1] == (51, sha256(b"a,b\r" + b"x" * 50 + b"\r").hexdigest(), (0, 4))

    def test_a_missing_group_column_is_a_problem(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n")
        bodies, _, problems = read(make(tmp_path, group_by="c"))
        assert (bodies, len(problems)) == ([], 1)
        assert "'c'" in problems[0][2]

    def test_a_quote_that_never_closes_costs_one_line(self, tmp_path):
        rows = [b"%d,x\n" % n for n in range(500)]
        (tmp_path / "x.csv").write_bytes(b"a,b\n" + b"".join(rows[:10]) + b'9,"broken\n' + b"".join(rows[10:]))
        bodies, _, problems = read(make(tmp_path))
        assert [body.removeprefix(b"a,b\n") for body in bodies] == rows
        assert [body for _, body, _ in problems] == [b'9,"broken\n']

    def test_a_quote_inside_a_field_is_just_a_character(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b'a,b\n5" pipe,1\nx,2"\n')
        assert len(read(make(tmp_path))[0]) == 2

    def test_a_line_too_long_is_a_problem(self, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n" + b"x" * (2 << 20) + b"\n3,4\n")
        bodies, _, problems = read(make(tmp_path, max_payload_bytes=1 << 20))
        assert (len(bodies), [at for at, _, _ in problems]) == (2, [8])


ENDINGS = ["ndjson", "json", "csv", "xml", "dat", "gz", "bz2", "xz", "zip"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([f"a.{one}" for one in ENDINGS]))
def test_any_bytes_end_as_bodies_or_problems(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    bodies, offsets, problems = read(make(path))
    assert len(bodies) == len(offsets)
    assert bodies or problems
