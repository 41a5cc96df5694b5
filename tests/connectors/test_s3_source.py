"""The S3 source keeps the contract against a real server; and what stores, networks and other writers do to it."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import ssl
import sys
import tracemalloc
import zipfile
from functools import partial
from hashlib import md5 as _md5
from pathlib import Path

import fastavro
import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import certificates, s3proxy

from connectors import registry, s3line, s3remote
from connectors.contracts import Misconfigured, Unavailable, Unreadable
from connectors.s3line import S3Settings
from connectors.s3source import FoundObject, S3Source
from connectors.storages import Changed
from connectors.testing import SourceContract
from connectors.testing.common import copy

md5 = partial(_md5, usedforsecurity=False)
NAMES = (f"bucket-{number}" for number in itertools.count())


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


class TestS3Source(SourceContract):
    name = "s3"

    @pytest.fixture(autouse=True)
    def _server(self, server, bucket):
        self.server, self.bucket = server, bucket

    def put(self, place, numbers, size=0):
        if numbers:
            client, key = self.server.client, {"Bucket": self.bucket, "Key": "in/a.ndjson"}
            there = client.list_objects_v2(Bucket=self.bucket, Prefix="in/").get("Contents")
            before = client.get_object(**key)["Body"].read() if there else b""
            client.put_object(
                **key, Body=before + b"".join(orjson.dumps(self.payload(n, size)) + b"\n" for n in numbers)
            )

    def source(self, place, *, small=False):
        return S3Source(S3Source.Settings(**self.working_settings(place), item_bytes=100 if small else 32 << 20))

    def spoil(self, place):
        client = self.server.client
        whole = client.get_object(Bucket=self.bucket, Key="in/a.ndjson")["Body"].read()
        client.put_object(Bucket=self.bucket, Key="in/a.ndjson", Body=whole[:400])
        client.put_object(Bucket=self.bucket, Key="in/b.ndjson.gz", Body=gzip.compress(whole)[:-20])

    def working_settings(self, place):
        return self.server.settings(self.bucket, "in")

    def broken_settings(self, place):
        return self.server.settings("no-such-bucket", "in")


# -- by hand -----------------------------------------------------------------------------------------------------------

FEW = {"tries": 2, "connect_seconds": 2.0, "call_seconds": 20.0}


def made(server, bucket, port=0, **settings):
    return S3Source(S3Source.Settings(**{**server.settings(bucket, "in", port), **FEW, **settings}))


def put(server, bucket, key, content):
    server.client.put_object(Bucket=bucket, Key=f"in/{key}", Body=content)


def line(number, size=0):
    return orjson.dumps({"n": number, "filler": "x" * size}) + b"\n"


def numbers(source, items):
    blocks = [one for item in items for one in source.read(item)]
    assert [one.problems for one in blocks if one.problems] == []
    return [orjson.loads(body)["n"] for one in blocks for body in one.bodies]


def found(source, done=()):
    items = list(source.plan(dict(done)))
    return items, {item.source: item.extra["mark"] for item in items}


def test_keys_of_any_language_and_formats_of_any_kind_are_read(server, bucket):
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("内.ndjson", line(7) + line(8))
    for key, content in {
        "广东/企业 一/甲+乙%20#?&é.ndjson": line(1),
        "a.ndjson.gz": gzip.compress(line(2) + line(3)),
        "b.ndjson.bz2": bz2.compress(line(4)),
        "c.json": b"[" + line(5).strip() + b", " + line(6).strip() + b"]",
        "d.zip": zipped.getvalue(),
    }.items():
        put(server, bucket, key, content)
    source = made(server, bucket)
    assert sorted(numbers(source, source.plan({}))) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_only_what_lies_below_the_prefix_and_is_no_side_file_is_read(server, bucket):
    client = server.client
    read = ["in/1.ndjson", "in/sub/2.ndjson", "inner/3.ndjson", "4.ndjson"]
    for key in (*read, "in/.staging/5.ndjson", "in/6.ndjson.part", "in/.7.ndjson", "in/8.csv", "in/folder/"):
        client.put_object(Bucket=bucket, Key=key, Body=line(int("".join(filter(str.isdigit, key)) or 0)))
    source = made(server, bucket, include=["*.ndjson"])
    assert numbers(source, source.plan({})) == [1, 2]
    source = made(server, bucket, include=["sub/*"])
    assert numbers(source, source.plan({})) == [2]
    whole = S3Source(S3Source.Settings(**server.settings(bucket, ""), include=["*.ndjson"]))
    assert sorted(numbers(whole, whole.plan({}))) == [1, 2, 3, 4]


def test_the_layout_says_who_sends(server, bucket):
    put(server, bucket, "44/440300000000001/a.ndjson", line(1))
    put(server, bucket, "astray.ndjson", line(2))
    source = made(server, bucket, layout="{system}/{company}/*")
    items, _ = found(source)
    assert [(item.system, item.company, bool(item.extra.get("problem"))) for item in items] == [
        ("44", "440300000000001", False),
        ("", "", True),
    ]
    assert any("layout" in line for line in source.check())
    assert list(made(server, bucket, layout="{system}/{company}/*").plan(found(source)[1])) == []


def test_avro_files_are_read_too(server, bucket):
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}]}
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [{"n": number} for number in range(3000)], "deflate")
    put(server, bucket, "a.avro", out.getvalue())
    put(server, bucket, "cut.avro", out.getvalue()[:-30])
    source = made(server, bucket, format="avro", include=["*.avro"])
    whole, cut = source.plan({})
    assert numbers(source, [whole]) == list(range(3000))
    assert [one.problems for one in source.read(cut) if one.problems]


def test_limits_hold_as_for_files(server, bucket):
    put(server, bucket, "bomb.ndjson.gz", gzip.compress(b" " * (64 << 20)))
    put(server, bucket, "long.ndjson", line(1, 5000) + line(2))
    put(server, bucket, "none.ndjson", b"")
    source = made(server, bucket, max_payload_bytes=1000)
    problems = {item.source: [why for one in source.read(item) for *_, why in one.problems] for item in source.plan({})}
    assert [name for name, whys in problems.items() if len(whys) == 1] == [
        "bomb.ndjson.gz",
        "long.ndjson",
        "none.ndjson",
    ]
    assert "ARCHIVE_BOMB" in problems["bomb.ndjson.gz"][0]
    assert "PAYLOAD_TOO_LARGE" in problems["long.ndjson"][0]


# -- what is known, and what another writer does -----------------------------------------------------------------------


def test_a_replaced_object_is_new_and_the_same_bytes_again_are_not(server, bucket):
    put(server, bucket, "a.ndjson", line(1))
    put(server, bucket, "b.ndjson", line(2))
    items, done = found(made(server, bucket))
    put(server, bucket, "a.ndjson", line(3))
    put(server, bucket, "b.ndjson", line(2))
    source = made(server, bucket)
    again, _ = found(source, done)
    assert numbers(source, again) == [3]
    assert again[0].digest not in {item.digest for item in items}
    assert source.mark("b.ndjson").split(":")[::2] == done["b.ndjson"].split(":")[::2]
    assert source.mark("gone.ndjson") == ""


def test_equal_content_under_two_keys_is_one_content(server, bucket):
    put(server, bucket, "a.ndjson", line(1))
    put(server, bucket, "b.ndjson", line(1))
    first, second = made(server, bucket).plan({})
    assert first.digest == second.digest


def test_an_etag_that_is_no_digest_stands_for_its_key_alone():
    """Of an object that was uploaded in pieces, or is encrypted, stores tell a text of their own."""
    tags = {"md5": "1140572397f33cc17261d4a3f8367ac5", "pieces": "1140572397f33cc17261d4a3f8367ac5-2", "none": ""}
    same = {
        name: len({FoundObject(key, 7, 1, digest=tag).identity for key in ("a.ndjson", "b.ndjson")})
        for name, tag in tags.items()
    }
    assert same == {"md5": 1, "pieces": 2, "none": 2}
    assert FoundObject("a", 7, 1).identity != FoundObject("a", 7, 2).identity
    assert FoundObject("a", 7, 1, digest=tags["md5"]).identity != FoundObject("a", 8, 1, digest=tags["md5"]).identity


def test_without_etags_size_and_time_tell(server, bucket):
    server.lay(bucket, "in/a.ndjson", line(1))
    source = made(server, bucket)
    items, done = found(source)
    assert done["a.ndjson"].endswith(":")
    assert numbers(source, items) == [1]
    assert found(made(server, bucket), done)[0] == []
    server.lay(bucket, "in/a.ndjson", line(10))
    assert len(found(made(server, bucket), done)[0]) == 1


def test_one_that_vanishes_after_listing_stops_the_work_in_words(server, bucket):
    put(server, bucket, "a.ndjson", line(1))
    source = made(server, bucket)
    items, _ = found(source)
    server.client.delete_object(Bucket=bucket, Key="in/a.ndjson")
    with pytest.raises(Changed, match="removed after it was listed") as caught:
        numbers(source, items)
    assert isinstance(caught.value, Unreadable)
    assert caught.value.remedy
    assert found(source)[0] == []


def test_one_that_is_half_as_long_as_listed_is_not_read_as_if_whole(server, bucket):
    whole = b"".join(map(line, range(1000)))
    put(server, bucket, "a.ndjson", whole)
    source = made(server, bucket, item_bytes=5000)
    items, _ = found(source)
    put(server, bucket, "a.ndjson", whole[: len(whole) // 2])
    for item in (items[0], items[-1]):
        with pytest.raises(Changed, match="replaced after it was listed"):
            numbers(source, [item])


def test_without_etags_another_length_is_seen(server, bucket):
    server.lay(bucket, "in/a.ndjson", line(1) + line(2))
    source = made(server, bucket)
    items, _ = found(source)
    server.lay(bucket, "in/a.ndjson", line(1))
    with pytest.raises(Changed, match="another length"):
        numbers(source, items)


@pytest.mark.parametrize("form", ["ndjson", "avro"])
def test_one_that_is_replaced_while_it_is_read_is_no_mixture_and_no_letter(server, bucket, form):
    if form == "avro":
        out = io.BytesIO()
        schema = {"type": "record", "name": "R", "fields": [{"name": "t", "type": "string"}]}
        fastavro.writer(out, fastavro.parse_schema(schema), [{"t": "x" * 900}] * 3000, "null")
        whole = out.getvalue()
    else:
        whole = b"".join(line(n, 900) for n in range(3000))
    put(server, bucket, f"a.{form}", whole)
    source = made(server, bucket, format=form)
    (item,), _ = found(source)
    reading = source.read(item)
    next(reading)
    put(server, bucket, f"a.{form}", whole[::-1])
    with pytest.raises(Changed):
        list(reading)


# -- a listing of many -------------------------------------------------------------------------------------------------


def test_many_objects_are_listed_by_the_page_and_known_ones_cost_a_page_a_thousand(server, bucket, gate):
    """`bench/objects.py` does the same with 100,000."""
    many = 4_500
    for number in range(many):
        server.lay(bucket, f"in/{number // 1000:03d}/{number:06d}.ndjson", line(number), md5(line(number)).digest())
    source = made(server, bucket, gate.port)
    planning = source.plan({})
    next(planning)
    assert len(gate.calls) == 1, "the first items are there before the second page is asked for"
    _, done = found(source)
    assert len(done) == many
    gate.calls.clear()
    again = made(server, bucket, gate.port)
    tracemalloc.start()
    assert list(again.plan(done)) == []
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(gate.calls) == 5
    assert all("list-type=2" in call for call in gate.calls), "nothing of a known object is asked for"
    assert most < 12 << 20, "a page is held at a time"
    gate.calls.clear()
    server.lay(bucket, "in/002/002345.ndjson", line(7), md5(line(7)).digest())
    assert numbers(again, again.plan(done)) == [7]
    assert [call.partition(" ")[0] for call in gate.calls if "list-type" not in call] == ["GET"]


# -- servers and networks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"secret_key": "wr0ng-s3cret"}, {"access_key": "nobody"}])
def test_wrong_credentials_are_refused_and_no_secret_is_told(server, bucket, wrong):
    source = made(server, bucket, **wrong)
    for ask in (source.check, lambda: list(source.plan({}))):
        with pytest.raises(Misconfigured, match="AUTH_FAILED") as caught:
            ask()
        assert "access_key" in caught.value.remedy
        assert "wr0ng-s3cret" not in str(caught.value)
        assert s3proxy.SECRET not in str(caught.value)


def test_credentials_come_from_files_and_the_environment_and_are_read_anew_after_a_refusal(
    server, bucket, tmp_path, monkeypatch
):
    put(server, bucket, "a.ndjson", line(1))
    monkeypatch.setenv("S3_KEY_OF_TEST", s3proxy.KEY)
    (tmp_path / "secret").write_text("old\n", "utf-8")
    source = made(server, bucket, access_key="env:S3_KEY_OF_TEST", secret_key=f"file:{tmp_path / 'secret'}")
    with pytest.raises(Misconfigured, match="AUTH_FAILED"):
        source.check()
    (tmp_path / "secret").write_text(s3proxy.SECRET + "\n", "utf-8")
    assert numbers(copy(source), source.plan({})) == [1]


def test_without_credentials_it_is_said(server, bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    source = made(server, bucket, access_key=None, secret_key=None)
    with pytest.raises(Misconfigured, match="no credentials were found") as caught:
        source.check()
    assert "access_key" in caught.value.remedy


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("403 AccessDenied", Misconfigured, "no permission"),
        ("403 RequestTimeTooSkewed", Misconfigured, "the clock of this machine is off"),
        ("400 AuthorizationHeaderMalformed", Misconfigured, "region or address"),
        ("400 ExpiredToken", Misconfigured, "AUTH_FAILED"),
        ("400 InvalidRequest", Misconfigured, "the request is refused"),
        ("503 SlowDown", Unavailable, "the store is busy"),
        ("500 InternalError", Unavailable, "the store is busy"),
    ],
)
def test_what_a_refusal_means(server, bucket, gate, fault, kind, words):
    gate.faults = lambda _: fault
    with pytest.raises(kind, match=words) as caught:
        made(server, bucket, gate.port).check()
    assert caught.value.remedy
    assert len(gate.calls) == (2 if kind is Unavailable else 1), "only what may heal by itself is tried again"


def test_a_bucket_that_is_not_there_is_named(server):
    with pytest.raises(Misconfigured, match=r"no-such-bucket/in/: .*there is no such bucket"):
        list(made(server, "no-such-bucket").plan({}))


def test_a_store_that_slows_us_down_is_waited_for(server, bucket, gate):
    put(server, bucket, "a.ndjson", line(1))
    faults = iter(["503 SlowDown", "", "503 SlowDown", ""])
    gate.faults = lambda _: next(faults)
    source = made(server, bucket, gate.port)
    assert numbers(source, source.plan({})) == [1]
    assert len(gate.calls) == 4


def test_an_answer_that_breaks_off_is_asked_for_again(server, bucket, gate):
    put(server, bucket, "a.ndjson", b"".join(map(line, range(500))))
    source = made(server, bucket, gate.port)
    items, _ = found(source)
    faults = iter(["half", ""])
    gate.faults = lambda _: next(faults)
    assert numbers(source, items) == list(range(500))
    gate.faults = lambda _: "half"
    with pytest.raises(Unavailable):
        numbers(source, items)


def test_a_lost_connection_is_tried_as_often_as_settings_say(server, bucket, gate):
    put(server, bucket, "a.ndjson", line(1))
    source = made(server, bucket, gate.port, tries=2)
    items, _ = found(source)
    gate.calls.clear()
    gate.faults = lambda _: "none"
    with pytest.raises(Unavailable):
        numbers(source, items)
    assert len(gate.calls) == 2


class Forgetful(dict):
    """Clients of a process in which another thread's credentials are refused whenever a client was made."""

    def __setitem__(self, name, made):
        super().__setitem__(name, made)
        s3line.forget()


def test_a_client_that_another_thread_forgets_is_good_for_its_call(server, bucket, monkeypatch):
    monkeypatch.setattr(s3line, "_clients", Forgetful())
    put(server, bucket, "a.ndjson", line(1))
    source = made(server, bucket)
    assert numbers(source, source.plan({})) == [1]


class Whole:
    """A store that takes no notice of ranges and conditions."""

    def get_object(self, **_):
        return {"ContentLength": 100, "Body": io.BytesIO(b"0123456789" * 10), "ETag": '"now"'}


def test_a_store_that_gives_no_ranges_is_refused(monkeypatch):
    monkeypatch.setattr(s3remote, "client", lambda _: Whole())
    bucket, entry = s3remote.Bucket(S3Settings(url="s3://b/in")), s3remote.Entry("in/a", 100, 0, "")
    with pytest.raises(Misconfigured, match="does not give ranges"):
        bucket.read(entry, 50, 10)
    assert len(bucket.read(entry, 0, 100)) == 100  # all of it was wanted


def test_a_store_that_knows_no_conditions_gives_no_other_object(monkeypatch):
    monkeypatch.setattr(s3remote, "client", lambda _: Whole())
    bucket, entry = s3remote.Bucket(S3Settings(url="s3://b/in")), s3remote.Entry("in/a", 100, 0, "then")
    with pytest.raises(Changed, match="replaced after it was listed"):
        bucket.read(entry, 0, 100)
    assert bucket.read(entry._replace(etag="now"), 0, 100)


def test_a_server_that_restarts_in_the_middle_loses_and_doubles_nothing(server, bucket):
    put(server, bucket, "a.ndjson", b"".join(line(n, 900) for n in range(10_000)))
    source = made(server, bucket, tries=1)
    (item,), _ = found(source)
    reading = source.read(item, 10)
    seen = [orjson.loads(body)["n"] for body in next(reading).bodies]
    with server.away():
        with pytest.raises(Unavailable, match="cannot be reached"):
            list(reading)
        with pytest.raises(Unavailable):
            source.check()
    assert seen == list(range(10))
    assert numbers(source, [item]) == list(range(10_000))


def test_the_server_proves_itself(server, bucket, tmp_path):
    certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    gate = s3proxy.Gate(server.port, context)
    endpoint = f"https://127.0.0.1:{gate.port}"
    try:
        assert made(server, bucket, endpoint=endpoint, ca=tmp_path / "ca.pem").check()
        for ca in (tmp_path / "other-ca.pem", None):
            with pytest.raises(Misconfigured, match="certificate"):
                made(server, bucket, endpoint=endpoint, ca=ca, tries=1).check()
        with pytest.raises(Misconfigured, match="no such file"):
            made(server, bucket, endpoint=endpoint, ca=tmp_path / "none.pem").check()
    finally:
        gate.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "https://bucket/in"},
        {"url": "s3://user:secret@bucket/in"},
        {"url": "s3:///in"},
        {"endpoint": "host:9000"},
        {"endpoint": "https://user:secret@host"},
        {"secret_key": None},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong):
    good = {"url": "s3://bucket/in", "endpoint": "http://127.0.0.1:1", "access_key": "a", "secret_key": "b"}
    with pytest.raises(Misconfigured) as caught:
        registry.source("s3", {**good, **wrong})
    assert "user:secret" not in str(caught.value)


def test_windows_grow_as_an_object_is_read_on(server, bucket, gate):
    put(server, bucket, "a.ndjson", b"".join(line(n, 90_000) for n in range(100)))
    source = made(server, bucket, gate.port)
    (item,) = source.plan({})
    gate.calls.clear()
    assert numbers(source, [item]) == list(range(100))
    assert len(gate.calls) == 5, "each four times as large as the one before, up to 4 MB"
    assert s3remote._WINDOW == 4 << 20
