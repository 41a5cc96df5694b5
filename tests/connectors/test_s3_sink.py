"""The S3 sink keeps the contract against a real server, lines and Avro; and what stores and crashes do to it."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path

import fastavro
import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import s3proxy

from connectors import s3line, s3remote
from connectors.contracts import Misconfigured, Tally, Unavailable
from connectors.registry import sink as registered
from connectors.s3sink import S3Sink, _scratch
from connectors.testing import TEXT, PartSinkContract, small_files
from connectors.testing.common import copy

NAMES = (f"bucket-{number}" for number in itertools.count())
SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "n", "type": "int"}, {"name": "text", "type": "string"}, {"name": "filler", "type": "string"}],
}
PARSED = fastavro.parse_schema(SCHEMA)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3proxy.serving(tmp_path_factory.mktemp("s3") / "server") as running:
        yield running


@pytest.fixture
def bucket(server):
    return server.bucket(next(NAMES))


@pytest.fixture
def gate(server):
    made = s3proxy.Gate(server.port)
    yield made
    made.close()


def standing(server, bucket):
    found = server.client.list_objects_v2(Bucket=bucket).get("Contents", ())
    return [f"s3://{bucket}/{one['Key']}" for one in found]


def key_of(name):
    return name.split("/", 3)[3]


class _Contract(PartSinkContract):
    name = "s3"

    @pytest.fixture(autouse=True)
    def _server(self, server, bucket):
        self.server, self.bucket = server, bucket

    def working_settings(self, place):
        return self.server.settings(self.bucket, "out")

    def broken_settings(self, place):
        return self.server.settings("no-such-bucket", "out")

    def sink(self, place):
        return registered("s3", self.working_settings(place))

    def stands(self, place):
        return standing(self.server, self.bucket)

    def fetched(self, part):
        return self.server.client.get_object(Bucket=self.bucket, Key=key_of(part.final))["Body"].read()

    def tamper(self, place, part):
        self.server.client.put_object(Bucket=self.bucket, Key=key_of(part.final), Body=self.fetched(part)[:-7])

    def remove(self, place, part):
        self.server.client.delete_object(Bucket=self.bucket, Key=key_of(part.final))

    @contextmanager
    def no_room(self, place):
        with small_files(300_000):
            yield self.sink(place)


class TestLines(_Contract):
    def record(self, number, size=0):
        return orjson.dumps({"n": number, "text": TEXT, "filler": "x" * size})

    def content(self, place, part):
        return [orjson.loads(one)["n"] for one in self.fetched(part).splitlines()]


class TestAvro(_Contract):
    def working_settings(self, place):
        return {**super().working_settings(place), "format": "avro", "schema": SCHEMA, "codec": "null"}

    def broken_settings(self, place):
        return {**super().broken_settings(place), "format": "avro", "schema": SCHEMA}

    def record(self, number, size=0):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, PARSED, {"n": number, "text": TEXT, "filler": "x" * size})
        return out.getvalue()

    def content(self, place, part):
        return [one["n"] for one in fastavro.reader(io.BytesIO(self.fetched(part)))]


# -- by hand -----------------------------------------------------------------------------------------------------------


def made(server, bucket, port=0, **settings):
    few = {"tries": 2, "connect_seconds": 2.0, "call_seconds": 20.0}
    return S3Sink(S3Sink.Settings(**{**server.settings(bucket, "out", port), **few, **settings}))


def staged(sink, batch="b1", destination="d", count=3):
    writer = sink.open(destination, batch, "i1")
    writer.add([orjson.dumps({"n": n}) for n in range(count)])
    return writer.close()


def test_nobody_sweeps_anothers_and_orphans_of_a_crash_go(server, bucket):
    mine, other = made(server, bucket, owner="a1"), made(server, bucket, owner="a2")
    orphan, kept, his = staged(mine), staged(mine, "b2"), staged(other)
    assert copy(mine).sweep([kept.temporary]) == 1
    assert sorted(standing(server, bucket)) == sorted([kept.temporary, his.temporary])
    assert orphan.temporary not in standing(server, bucket)
    mine.promote([kept])
    other.promote([his])
    assert sorted(standing(server, bucket)) == sorted([kept.final, his.final])


def test_a_crash_between_copy_and_removal_is_made_good(server, bucket, gate):
    sink = made(server, bucket, gate.port)
    part = staged(sink)
    gate.faults = lambda call: "503 SlowDown" if call.startswith("DELETE") else ""
    with pytest.raises(Unavailable):
        sink.promote([part])
    gate.faults = lambda _: ""
    assert sorted(standing(server, bucket)) == sorted([part.final, part.temporary])
    copy(sink).promote([part])
    assert standing(server, bucket) == [part.final]
    assert sink.verify("b1").count == 3


def test_a_store_that_is_away_while_parts_are_promoted_gets_them_later(server, bucket):
    sink = made(server, bucket, tries=1)
    parts = [staged(sink, destination=name) for name in ("d1", "d2")]
    with server.away():
        with pytest.raises(Unavailable, match="cannot be reached"):
            sink.promote(parts)
        with pytest.raises(Unavailable):
            staged(sink)
        assert sink.sweep([]) == 0
    sink.promote(parts)
    assert sorted(standing(server, bucket)) == sorted(part.final for part in parts)
    assert list(_scratch_files()) == [], "nothing is left here of what could not be put there"


def test_what_a_killed_process_left_here_goes_with_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("connectors.s3sink._JUST_MADE", -1.0)
    program = (
        "import os; from connectors.s3sink import _scratch;"
        "(_scratch(os.getpid()) / 'a.part').write_text('half'); print(flush=True); input()"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        _scratch.cache_clear()
        own = _scratch(os.getpid())
        assert len(list(tmp_path.iterdir())) == 2  # it lives
        other.kill()
    _scratch.cache_clear()
    newer = _scratch(os.getpid())
    assert set(tmp_path.iterdir()) == {own, newer}
    _scratch.cache_clear()


def _scratch_files():
    return (path for path in _scratch(os.getpid()).rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"secret_key": "wr0ng-s3cret"}, "AUTH_FAILED"), ({"url": "s3://no-such/out"}, "no such bucket")],
)
def test_what_only_a_person_can_mend_is_said(server, bucket, wrong, words):
    sink = made(server, bucket, **wrong)
    for ask in (sink.check, lambda: staged(sink), lambda: sink.verify("b1")):
        with pytest.raises(Misconfigured, match=words) as caught:
            ask()
        assert caught.value.remedy
        assert "wr0ng-s3cret" not in str(caught.value)


def test_who_may_read_and_not_write_is_told_so(server, bucket, gate):
    gate.faults = lambda call: "403 AccessDenied" if call.startswith("PUT") else ""
    with pytest.raises(Misconfigured, match="no permission"):
        made(server, bucket, gate.port).check()


def test_what_arrives_damaged_is_refused_by_the_store(server, bucket, monkeypatch):
    monkeypatch.setattr(s3remote, "md5", lambda **_: md5(b"another", usedforsecurity=False))
    with pytest.raises(Misconfigured, match="BadDigest"):
        staged(made(server, bucket))
    assert standing(server, bucket) == []


def test_a_part_that_no_single_request_can_carry_is_refused(server, bucket, monkeypatch):
    monkeypatch.setattr(s3remote, "LARGEST", 10)
    with pytest.raises(Misconfigured, match="too large"):
        staged(made(server, bucket))
    assert standing(server, bucket) == []


def test_settings_of_another_bucket_do_not_promote_what_was_staged(server, bucket):
    part = staged(made(server, bucket))
    with pytest.raises(Misconfigured, match="another bucket"):
        made(server, server.bucket(next(NAMES))).promote([part])


def test_a_bucket_may_be_had_whole(server, bucket):
    sink = S3Sink(S3Sink.Settings(**{**server.settings(bucket, ""), "ending": ".jsonl"}))
    part = staged(sink, destination="省/广东")
    assert sink.verify("b1") == Tally(0, 0)
    sink.promote([part])
    assert part.final == f"s3://{bucket}/省%2F广东--b1--i1.jsonl"
    assert sink.verify("b1").count == 3
    assert "1 个对象" in sink.check()[0]


def test_avro_needs_a_schema(server, bucket):
    with pytest.raises(Misconfigured, match="schema"):
        registered("s3", {**server.settings(bucket, "out"), "format": "avro"})


def test_new_keys_are_taken_up_where_a_refusal_has_no_words(server, bucket, tmp_path):
    """What asks for an object's headers alone is refused without a code: keys may be the reason."""
    secret = tmp_path / "secret"
    secret.write_text(s3proxy.SECRET)
    sink = S3Sink(S3Sink.Settings(**{**server.settings(bucket, "out"), "secret_key": f"file:{secret}"}))
    part = sink.open("province-44", "b1", "i1")
    part.add([b"{}"])
    staged = part.close()
    secret.write_text("of before")
    s3line.forget()
    with pytest.raises(Misconfigured):
        sink.promote([staged])
    secret.write_text(s3proxy.SECRET)
    sink.promote([staged])
    assert sink.verify("b1").count == 1


@pytest.mark.parametrize(("status", "kept"), [(400, False), (403, False), (501, True)])
def test_clients_are_forgotten_where_their_keys_may_be_what_is_refused(server, bucket, gate, status, kept):
    sink = made(server, bucket, gate.port)
    part = staged(sink)
    gate.faults = lambda call: f"{status} ExpiredToken" if call.startswith("HEAD") else ""
    with pytest.raises(Misconfigured):
        sink.promote([part])
    assert bool(s3line._clients) is kept
