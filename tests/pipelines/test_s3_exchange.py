"""The bulk exchange from bucket to bucket, on every runner and against crashes: what a run over folders leaves."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import sys
from collections import defaultdict
from pathlib import Path

import fastavro
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from engine_samples import BULK, Killed, lines, payload
from servers import s3proxy
from test_runners import told
from test_runners_nation import needs_spark, pooled, spark

from connectors.s3remote import Bucket
from connectors.storages import Changed
from dlq.letters import LetterStore
from pipelines import ledger
from pipelines.batchwork import BatchWork
from pipelines.cli import main
from pipelines.coordinator import Coordinator
from pipelines.settings import load
from pipelines.state import State

S3 = BULK.with_name("bulk-s3.toml")
TOLD = ("received_at=2026-09-21T21:30:00+08:00", "batch.block=32")
NAMES = (f"exchange-{number}" for number in itertools.count())
RUNNERS = {
    "embedded": (lambda _: told(), []),
    "two-processes": (lambda _: told("batch.workers=2"), []),
    "external-workers": (pooled, []),
    "spark": (spark, [needs_spark]),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3proxy.serving(tmp_path_factory.mktemp("s3") / "server") as running:
        (running.folder / "secret").write_text(s3proxy.SECRET + "\n", "utf-8")
        yield running


@pytest.fixture(scope="module")
def files():
    """Two inputs: the second repeats and corrects records of the first."""
    first = lines(120, broken=4)
    corrected = [payload(seed, faultdescription="更换机油") for seed in range(5, 15)]
    return {"first": _ndjson(first), "second": _ndjson(first[20:40] + corrected + lines(10, first=500, broken=2))}


def _ndjson(records):
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records).encode()


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory, files):
    """What runs over folders leave, as Avro and as lines."""
    left = {}
    for form in ("avro", "ndjson"):
        place = tmp_path_factory.mktemp(form)
        (place / "in").mkdir()
        connector = {"avro": "avro", "ndjson": "files"}[form]
        settings = [f"source.path={place / 'in'}", f"sinks.provinces.path={place / 'out'}"]
        for name, content in files.items():
            (place / "in" / f"{name}.ndjson").write_bytes(content)
            run(place, BULK, *settings, f"sinks.provinces.connector={connector}", "source.item_bytes=20000")
        left[form] = outcome(place, {one.name: one.read_bytes() for one in (place / "out").iterdir() if one.is_file()})
    return left


def run(place, exchange, *settings):
    with State(place / "state", own=True) as state:
        Coordinator(state, load(exchange, [*TOLD, *settings], {})).run()


def settings_of(server, bucket, form="avro"):
    there = {
        "endpoint": f"http://127.0.0.1:{server.port}",
        "access_key": s3proxy.KEY,
        "secret_key": f"file:{server.folder / 'secret'}",
    }
    ends = {"source": f"s3://{bucket}/in", "sinks.provinces": f"s3://{bucket}/out/各省"}
    told = [f"{end}.{name}={value}" for end in ends for name, value in there.items()]
    urls = [f"{end}.url={url}" for end, url in ends.items()]
    return [*told, *urls, f"sinks.provinces.format={form}", "source.item_bytes=20000"]


def objects(server, bucket, prefix="out/各省/"):
    listed = server.client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())
    keys = [one["Key"] for one in listed]
    return {key.removeprefix(prefix): server.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def outcome(place, written):
    """What runs leave that does not hang on where the files lie: records by destination and batch, letters, sums."""
    records = defaultdict(list)
    for name, content in written.items():
        rows = fastavro.reader(io.BytesIO(content)) if name.endswith(".avro") else map(json.loads, content.splitlines())
        records[name.rpartition("--")[0].replace("bulk-s3", "bulk-files")] += [
            json.dumps(row, default=str) for row in rows
        ]
    with State(place / "state", own=False) as state:
        proof = ledger.prove(state)
        with state.reading() as connection:
            store = LetterStore(connection, state.sealer())
            letters = sorted((str(letter.reasons), store.body(letter)) for letter in store.search())
    assert list(proof.problems) == []
    sums = {name: dict(counts) for name, counts in proof.destinations.items()}
    return {"records": {name: sorted(rows) for name, rows in records.items()}, "letters": letters, "sums": sums}


def test_the_folder_run_has_something_of_everything(folder_run):
    assert {form: sum(map(len, left["records"].values())) for form, left in folder_run.items()} == {
        "avro": 134,
        "ndjson": 134,
    }
    assert len(folder_run["avro"]["letters"]) == 6


@pytest.mark.parametrize("runner", [pytest.param(name, marks=marks) for name, (_, marks) in RUNNERS.items()])
@pytest.mark.parametrize("form", ["avro", "ndjson"])
def test_every_runner_leaves_in_a_bucket_what_a_folder_run_leaves(tmp_path, server, files, folder_run, runner, form):
    bucket = server.bucket(next(NAMES))
    with RUNNERS[runner][0](tmp_path) as on:
        for name, content in files.items():
            server.client.put_object(Bucket=bucket, Key=f"in/{name}.ndjson", Body=content)
            run(tmp_path, S3, *settings_of(server, bucket, form), *on)
    written = objects(server, bucket)
    assert [name for name in written if ".staging" in name] == []
    assert outcome(tmp_path, written) == folder_run[form]


def test_packed_objects_give_the_same(tmp_path, server, files, folder_run):
    bucket = server.bucket(next(NAMES))
    for name, content in files.items():
        server.client.put_object(Bucket=bucket, Key=f"in/{name}.ndjson.gz", Body=gzip.compress(content))
        run(tmp_path, S3, *settings_of(server, bucket))
    assert outcome(tmp_path, objects(server, bucket))["records"] == folder_run["avro"]["records"]


# -- crashes and other writers -----------------------------------------------------------------------------------------


def test_killed_between_staging_and_commit_orphans_go_and_nothing_is_doubled(
    tmp_path, server, files, folder_run, monkeypatch
):
    bucket = server.bucket(next(NAMES))
    settings = settings_of(server, bucket)
    for name, content in files.items():
        server.client.put_object(Bucket=bucket, Key=f"in/{name}.ndjson", Body=content)
        with monkeypatch.context() as patch:
            patch.setattr(BatchWork, "decide", _killed)
            with pytest.raises(Killed):
                run(tmp_path, S3, *settings)
        assert any(".staging" in name for name in objects(server, bucket)), "parts are staged and nothing is decided"
        run(tmp_path, S3, *settings)
    written = objects(server, bucket)
    assert [name for name in written if ".staging" in name] == []
    assert outcome(tmp_path, written) == folder_run["avro"]


def _killed(*_):
    raise Killed


@pytest.mark.parametrize("step", ["copy", "remove"])
def test_killed_while_parts_are_promoted_the_rest_follows(tmp_path, server, files, folder_run, monkeypatch, step):
    bucket = server.bucket(next(NAMES))
    settings = settings_of(server, bucket)
    done = getattr(Bucket, step)
    for name, content in files.items():
        server.client.put_object(Bucket=bucket, Key=f"in/{name}.ndjson", Body=content)
        left = itertools.count()

        def some(self, *keys, left=left):
            if next(left) == 3:
                raise Killed
            return done(self, *keys)

        with monkeypatch.context() as patch:
            patch.setattr(Bucket, step, some)
            with pytest.raises(Killed):
                run(tmp_path, S3, *settings)
        run(tmp_path, S3, *settings)
    written = objects(server, bucket)
    assert [name for name in written if ".staging" in name] == []
    assert outcome(tmp_path, written) == folder_run["avro"]


def test_an_object_that_vanishes_or_is_replaced_stops_the_run_and_the_next_one_reads_what_is_there(
    tmp_path, server, files, monkeypatch
):
    bucket = server.bucket(next(NAMES))
    settings = settings_of(server, bucket)
    for name in ("a", "b"):
        server.client.put_object(Bucket=bucket, Key=f"in/{name}.ndjson", Body=files["first"])
    read = Bucket.read

    def replaced(self, found, start, count):
        server.client.delete_object(Bucket=bucket, Key="in/b.ndjson")
        server.client.put_object(Bucket=bucket, Key="in/a.ndjson", Body=files["second"])
        return read(self, found, start, count)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "read", replaced)
        with pytest.raises(Changed, match="replaced after it was listed"):
            run(tmp_path, S3, *settings)
    run(tmp_path, S3, *settings)
    with State(tmp_path / "state", own=False) as state:
        proof = ledger.prove(state)
    assert (proof.totals["received"], list(proof.problems)) == (files["second"].count(b"\n"), [])


def test_a_change_by_hand_in_the_bucket_is_named(tmp_path, server, files):
    bucket = server.bucket(next(NAMES))
    server.client.put_object(Bucket=bucket, Key="in/first.ndjson", Body=files["first"])
    run(tmp_path, S3, *settings_of(server, bucket))
    name = sorted(objects(server, bucket))[0]
    server.client.delete_object(Bucket=bucket, Key=f"out/各省/{name}")
    with State(tmp_path / "state", own=False) as state:
        problems = list(ledger.prove(state).problems)
    assert len(problems) == 1
    assert name.partition("--")[0] in str(problems[0])


# -- as a person calls it ----------------------------------------------------------------------------------------------


def call(command, capsys, settings, *more):
    capsys.readouterr()
    told = [part for one in settings for part in ("--set", one)]
    code = main([command, str(S3), *told, *more, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_check_tells_what_lies_there_and_where_it_would_go(tmp_path, server, files, capsys, monkeypatch):
    bucket = server.bucket(next(NAMES))
    server.client.put_object(Bucket=bucket, Key="in/first.ndjson", Body=files["first"])
    code, told = call("check", capsys, settings_of(server, bucket))
    assert (code, told["problems"], told["dry_run"]["received"], told["dry_run"]["dead"]) == (0, [], 120, 4)
    assert f"{bucket}/in/: 1 个对象" in told["source"][0]
    assert objects(server, bucket) == {}
    for name, value in (("S3_ACCESS_KEY", s3proxy.KEY), ("S3_SECRET_KEY", s3proxy.SECRET)):
        monkeypatch.setenv(name, value)
    named = [one for one in settings_of(server, bucket) if "_key=" not in one]
    assert call("check", capsys, named)[0] == 0, "as the shipped settings have it: keys from the environment"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("endpoint=http://127.0.0.1:1", "cannot be reached"),
        ("secret_key=wr0ng", "AUTH_FAILED"),
        ("url=s3://nowhere/in", "there is no such bucket"),
        ("secret_key=env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_check_says_what_is_wrong_at_either_end(server, files, capsys, wrong, words):
    bucket = server.bucket(next(NAMES))
    settings = [*settings_of(server, bucket), f"source.{wrong}", f"sinks.provinces.{wrong}"]
    settings += [f"{end}.tries=1" for end in ("source", "sinks.provinces")]
    code, told = call("check", capsys, settings)
    assert code == 1
    assert [problem.partition(":")[0] for problem in told["problems"]] == ["source", "provinces"]
    assert all(words in problem and "wr0ng" not in problem for problem in told["problems"])


def test_a_run_that_cannot_begin_says_why(tmp_path, server, capsys):
    settings = [*settings_of(server, server.bucket(next(NAMES))), "source.url=s3://nowhere/in"]
    code = main(
        ["run", str(S3), *[p for s in settings for p in ("--set", s)], "--state", str(tmp_path / "state"), "--json"]
    )
    assert code == 2
    assert "there is no such bucket" in capsys.readouterr().err
