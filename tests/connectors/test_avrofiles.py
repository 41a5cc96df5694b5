"""The Avro connectors keep the contracts; and what Avro files alone can do wrong."""

from __future__ import annotations

import io
import os
import zlib
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import fastavro
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.avroblocks import count_records, header, zigzag
from connectors.avrofiles import AvroSink, AvroSource
from connectors.contracts import Misconfigured
from connectors.testing import TEXT, PartSinkContract, SourceContract, small_files

SCHEMA = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": name, "type": kind} for name, kind in (("n", "long"), ("text", "string"), ("filler", "string"))
    ],
}


def avro(records, schema=SCHEMA, codec="deflate", interval=4000):
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, sync_interval=interval)
    return out.getvalue()


def encoded(record, schema=SCHEMA):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def read(source):
    blocks = [one for item in source.plan({}) for one in source.read(item)]
    bodies = [orjson.loads(body) for one in blocks for body in one.bodies]
    return bodies, [at for one in blocks for at in one.offsets], [one for block in blocks for one in block.problems]


def make(path, **given):
    return AvroSource(AvroSource.Settings(path=path, **given))


class TestAvroSource(SourceContract):
    name = "avro"
    codec = "deflate"

    def put(self, place, numbers, size=0):
        if not numbers:
            return
        number = len(list(place.iterdir()))
        records = [self.payload(n, size) for n in numbers]
        (place / f"{number:03}.avro").write_bytes(avro(records, codec=self.codec))

    def source(self, place, *, small=False):
        return make(place)

    def spoil(self, place):
        path = place / "000.avro"
        path.write_bytes(path.read_bytes()[:-100])

    def working_settings(self, place):
        return {"path": str(place), "schema": SCHEMA}

    def broken_settings(self, place):
        return {"path": str(place), "schema": str(place / "nowhere.avsc")}


class TestBzip2Source(TestAvroSource):
    codec = "bzip2"


class TestAvroSink(PartSinkContract):
    name = "avro"
    codec = "deflate"

    def sink(self, place):
        return AvroSink(AvroSink.Settings(path=place / "out", schema=SCHEMA, codec=self.codec))

    def record(self, number, size=0):
        filler = b"".join(zlib.crc32(b"%d:%d" % (number, n)).to_bytes(4) for n in range(size // 8 + 1)).hex()
        return encoded({"n": number, "text": TEXT, "filler": filler[:size]})

    def stands(self, place):
        return [str(one) for one in (place / "out").rglob("*") if one.is_file()]

    def content(self, place, part):
        with Path(part.final).open("rb") as file:
            return [one["n"] for one in fastavro.reader(file)]

    def tamper(self, place, part):
        data = bytearray(Path(part.final).read_bytes())
        data[-20] ^= 1
        Path(part.final).write_bytes(data)

    def remove(self, place, part):
        Path(part.final).unlink()

    @contextmanager
    def no_room(self, place):
        with small_files(300_000):
            yield self.sink(place)

    def working_settings(self, place):
        return {"path": str(place / "out"), "schema": SCHEMA}

    def broken_settings(self, place):
        (place / "file").write_bytes(b"")
        return {"path": str(place / "file" / "out"), "schema": SCHEMA}

    def test_blocks_are_small_and_counted_without_decoding(self, place):
        sink = self.sink(place)
        part = self.part(sink, range(20_000))
        sink.promote([part])
        data = Path(part.final).read_bytes()
        with Path(part.final).open("rb") as file:
            blocks = [block.num_records for block in fastavro.block_reader(file)]
        assert (sum(blocks), len(blocks) > 8) == (20_000, True)
        assert count_records(memoryview(data)) == 20_000
        assert count_records(memoryview(data[:-1])) == 20_000 - blocks[-1]

    def test_blocks_behind_a_damaged_marker_are_not_counted(self, place):
        part = self.part(self.sink(place), range(20_000))
        data = bytearray(Path(part.temporary).read_bytes())
        marker = bytes(data[-16:])
        second = data.index(marker, data.index(marker) + 1)
        data[second] ^= 1
        assert 0 == count_records(memoryview(data)) < count_records(memoryview(data[:second] + marker))

    def test_the_header_names_schema_and_codec(self, place):
        part = self.part(self.sink(place), [1])
        with Path(part.temporary).open("rb") as file:
            reader = fastavro.reader(file)
            assert (reader.metadata["avro.codec"], orjson.loads(reader.metadata["avro.schema"])) == (self.codec, SCHEMA)

    def test_parts_of_other_items_have_other_sync_markers(self, place):
        sink = self.sink(place)
        data = []
        for item in ("i1", "i2"):
            writer = sink.open("d", "b", item)
            writer.add([self.record(1)])
            data.append(Path(writer.close().temporary).read_bytes())
        assert data[0][-16:] != data[1][-16:]
        assert data[0][:-16].replace(data[0][-16:], b"") == data[1][:-16].replace(data[1][-16:], b"")


class TestUncompressedSink(TestAvroSink):
    codec = "null"


@given(st.integers(-(2**63), 2**63 - 1))
def test_zigzag_is_what_avro_writes(value):
    assert zigzag(value) == encoded(
        {"v": value}, {"type": "record", "name": "R", "fields": [{"name": "v", "type": "long"}]}
    )


LOGICAL = {
    "type": "record",
    "name": "L",
    "fields": [
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4}},
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "list", "type": {"type": "array", "items": "double"}},
    ],
}


def test_records_of_a_block_are_decoded_as_they_are_wanted(tmp_path, monkeypatch):
    """A few bytes unpack to millions of records: they are never all held."""
    (tmp_path / "x.avro").write_bytes(avro([{"n": n, "text": "", "filler": ""} for n in range(50)], interval=100_000))
    decoded = []
    real = fastavro.schemaless_reader
    monkeypatch.setattr(fastavro, "schemaless_reader", lambda *given: decoded.append(1) or real(*given))
    source = make(tmp_path)
    blocks = source.read(*source.plan({}), 20)
    assert (next(blocks).offsets, len(decoded)) == (list(range(20)), 20)
    assert [(one.offsets[0], len(one.bodies)) for one in blocks] == [(20, 20), (40, 10)]


def test_a_file_without_records_is_one_problem(tmp_path):
    (tmp_path / "x.avro").write_bytes(avro([]))
    assert read(make(tmp_path)) == ([], [], [(0, b"", "没有记录 / no record")])


def test_values_become_plain_json(tmp_path):
    record = {
        "day": date(2025, 6, 5),
        "at": datetime(2025, 6, 5, 1, 2, 3, tzinfo=UTC),
        "price": Decimal("0.0000"),
        "raw": b"\xff\x00",
        "id": "123e4567-e89b-12d3-a456-426614174000",
        "list": [1.5],
    }
    (tmp_path / "x.avro").write_bytes(avro([record, {**record, "raw": None}], LOGICAL))
    bodies, offsets, problems = read(make(tmp_path))
    assert (offsets, problems) == ([0, 1], [])
    assert bodies[0] == {
        "day": "2025-06-05",
        "at": "2025-06-05T01:02:03+00:00",
        "price": "0.0000",
        "raw": "/wA=",
        "id": record["id"],
        "list": [1.5],
    }
    assert bodies[1]["raw"] is None


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_anywhere_gives_its_whole_records_and_one_problem(tmp_path, codec, share):
    data = avro([{"n": n, "text": os.urandom(50).hex(), "filler": ""} for n in range(1000)], codec=codec)
    (tmp_path / "x.avro").write_bytes(data[: int(len(data) * share)])
    bodies, offsets, problems = read(make(tmp_path))
    assert [one["n"] for one in bodies] == offsets == list(range(len(bodies)))
    assert len(problems) == 1
    assert problems[0][0] == len(bodies)
    assert len(bodies) > 1000 * share - 60


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("cut", range(1, 18))
def test_a_file_cut_at_its_last_sync_marker_gives_all_its_records(tmp_path, codec, cut):
    data = avro([{"n": n, "text": "t", "filler": ""} for n in range(50)], codec=codec, interval=100_000)
    (tmp_path / "x.avro").write_bytes(data[:-cut])
    bodies, offsets, problems = read(make(tmp_path))
    whole = 50 if cut <= 16 else len(bodies)
    assert [one["n"] for one in bodies] == offsets == list(range(whole))
    assert (whole >= 49, [at for at, _, _ in problems]) == (True, [whole])


def test_a_block_behind_which_the_marker_is_wrong_is_kept_in_its_letter(tmp_path):
    data = bytearray(avro([{"n": 1, "text": "kept", "filler": ""}], codec="null"))
    data[-1] ^= 1
    (tmp_path / "x.avro").write_bytes(data)
    bodies, _, problems = read(make(tmp_path))
    assert bodies == []
    ((at, left, why),) = problems
    assert (at, left) == (0, encoded({"n": 1, "text": "kept", "filler": ""}))
    assert "marker" in why


def test_a_damaged_block_is_one_problem_and_the_next_one_is_read(tmp_path):
    data = avro([{"n": n, "text": os.urandom(50).hex(), "filler": ""} for n in range(200)])
    at = data.index(data[-16:]) + 16 + 200  # inside the first block
    (tmp_path / "x.avro").write_bytes(data[:at] + bytes(30) + data[at + 30 :])
    bodies, offsets, problems = read(make(tmp_path))
    numbers = [one["n"] for one in bodies]
    ((_, left, _),) = problems
    assert bytes(30) in left
    assert 100 < len(numbers) < 200
    assert numbers[-1] == offsets[-1] == 199


def test_a_foreign_schema_is_a_problem(tmp_path):
    other = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "int"}]}
    (tmp_path / "x.avro").write_bytes(avro([{"x": 1}], other))
    bodies, _, problems = read(make(tmp_path, schema=SCHEMA))
    assert (bodies, len(problems)) == ([], 1)
    assert read(make(tmp_path))[0] == [{"x": 1}]


def test_a_schema_that_resolves_fills_its_defaults(tmp_path):
    wider = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "more", "type": "int", "default": 7}]}
    (tmp_path / "x.avro").write_bytes(avro([{"n": 1, "text": "", "filler": ""}]))
    assert read(make(tmp_path, schema=wider))[0] == [{"n": 1, "text": "", "filler": "", "more": 7}]


def test_a_block_that_expands_too_far_is_a_problem(tmp_path):
    record = {"n": 1, "text": "", "filler": "x" * (2 << 20)}
    (tmp_path / "x.avro").write_bytes(avro([record] * 3, interval=1))
    bodies, _, problems = read(make(tmp_path, max_block_bytes=1 << 20))
    assert (bodies, len(problems)) == ([], 3)
    assert all("expands" in reason for _, _, reason in problems)


def test_a_file_whose_many_blocks_expand_too_far_together_is_a_problem_from_there(tmp_path):
    record = {"n": 1, "text": "", "filler": "x" * (1 << 20)}
    (tmp_path / "x.avro").write_bytes(avro([record] * 40, interval=1))
    bodies, _, problems = read(make(tmp_path))
    assert len(bodies) == 15  # 16 MB are harmless
    assert [reason.partition(":")[0] for _, _, reason in problems] == ["ARCHIVE_BOMB"]
    assert len(read(make(tmp_path, max_expansion=2_000))[0]) == 40
    assert len(read(make(tmp_path, max_expansion=2_000, max_unpacked_bytes=5 << 20))[0]) == 4


@pytest.mark.parametrize("schema", [b"", b"{", b'"nonsense"'])
def test_a_schema_that_cannot_be_used_is_a_problem(tmp_path, schema):
    data = header({"avro.schema": schema, "avro.codec": b"null"}, bytes(16)) + zigzag(1) + zigzag(1) + bytes(1 + 16)
    (tmp_path / "x.avro").write_bytes(data)
    bodies, _, problems = read(make(tmp_path))
    assert (bodies, len(problems)) == ([], 1)


def doubling(levels):
    """Records of two of the one before: a value of the last one is 2^levels of nothing."""
    first = {"type": "record", "name": "r0", "fields": [{"name": "v", "type": "null"}]}
    fields = [{"name": "f0", "type": first}]
    for n in range(1, levels):
        inner = [{"name": one, "type": f"r{n - 1}"} for one in "ab"]
        fields.append({"name": f"f{n}", "type": {"type": "record", "name": f"r{n}", "fields": inner}})
    return fields


EMPTY = {"type": "record", "name": "E", "fields": []}
DEEP = [
    {"name": f"f{n}", "type": {"type": "record", "name": f"r{n}", "fields": [{"name": "v", "type": f"r{n - 1}"}]}}
    for n in range(1, 1_000)
]
ENDLESS = {
    "array of null": [{"name": "a", "type": {"type": "array", "items": "null"}}],
    "array of null, told otherwise": [{"name": "a", "type": {"type": "array", "items": {"type": "null"}}}],
    "array of empty records": [{"name": "a", "type": {"type": "array", "items": EMPTY}}],
    "by name": [{"name": "e", "type": EMPTY}, {"name": "a", "type": {"type": "array", "items": "x.E"}}],
    "fixed": [{"name": "a", "type": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}}],
    "inside a union": [{"name": "a", "type": ["int", {"type": "array", "items": EMPTY}]}],
    "doubling": doubling(60),
    "within itself": [{"name": "a", "type": "R"}],
    "a chain": [{"name": "a", "type": ["null", "R"]}],
    "deep": [{"name": "f0", "type": {**EMPTY, "name": "r0"}}, *DEEP],
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_schema_without_bounds_is_a_problem_and_is_not_decoded(tmp_path, name):
    """What it could hold would not end, or end the process."""
    schema = {"type": "record", "name": "R", "namespace": "x", "fields": ENDLESS[name]}
    block = zigzag(1) + zigzag(8) + b"\x02" * 8
    data = header({"avro.schema": orjson.dumps(schema), "avro.codec": b"null"}, bytes(16)) + block + bytes(16)
    (tmp_path / "x.avro").write_bytes(data)
    bodies, _, problems = read(make(tmp_path))
    assert (bodies, ["no bounds" in why for _, _, why in problems]) == ([], [True])


def test_nothing_may_stand_where_it_is_bounded(tmp_path):
    free = {"type": "record", "name": "E", "fields": [{"name": "v", "type": "null"}]}
    fields = [
        {"name": "n", "type": "null"},
        {"name": "e", "type": ["int", free]},
        {"name": "m", "type": {"type": "map", "values": "E"}},
        {"name": "a", "type": {"type": "array", "items": ["null", "E"]}},
    ]
    record = {"n": None, "e": {"v": None}, "m": {"k": {"v": None}}, "a": [None, {"v": None}]}
    schema = {"type": "record", "name": "R", "fields": fields}
    (tmp_path / "x.avro").write_bytes(avro([record], schema))
    assert read(make(tmp_path))[::2] == ([record], [])


@pytest.mark.parametrize("claim", [(2**60, 8), (-5, 8), (1, 2**60), (1, -1)])
def test_a_block_that_lies_about_its_size_is_a_problem(tmp_path, claim):
    schema = orjson.dumps({"type": "record", "name": "R", "fields": []})
    data = header({"avro.schema": schema}, bytes(16)) + zigzag(claim[0]) + zigzag(claim[1]) + bytes(8) + bytes(16)
    (tmp_path / "x.avro").write_bytes(data)
    assert len(read(make(tmp_path))[2]) == 1


def test_no_claim_takes_the_offsets_out_of_bounds(tmp_path):
    schema = orjson.dumps({"type": "record", "name": "R", "fields": [{"name": "v", "type": "int"}]})
    blocks = (zigzag(2**63 - 1) + zigzag(0) + bytes(16)) * 4
    (tmp_path / "x.avro").write_bytes(header({"avro.schema": schema}, bytes(16)) + blocks)
    bodies, _, problems = read(make(tmp_path))
    assert (bodies, [at < 2**63 for at, _, _ in problems]) == ([], [True])


def test_an_unknown_codec_is_a_problem(tmp_path):
    data = avro([{"n": 1, "text": "", "filler": ""}], codec="null").replace(b"\x08null", b"\x08nope")
    (tmp_path / "x.avro").write_bytes(data)
    assert "nope" in read(make(tmp_path))[2][0][2]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_change_ends_as_records_or_problems(tmp_path_factory, data):
    whole = bytearray(avro([{"n": n, "text": "t", "filler": ""} for n in range(20)], codec="null"))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("any") / "x.avro"
    path.write_bytes(whole)
    bodies, offsets, problems = read(make(path))
    assert len(bodies) == len(offsets) == len(set(offsets))
    assert bodies or problems


def test_a_sink_without_a_usable_schema_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="schema"):
        AvroSink(AvroSink.Settings(path=tmp_path, schema={"type": "record"}))
