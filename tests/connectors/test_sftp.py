"""The SFTP connectors keep the contracts against a real sshd; and what servers and networks do to them."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import sshd
from servers.cutting import Proxy

from connectors import registry
from connectors.contracts import Misconfigured, Unavailable, Unreadable
from connectors.sftpline import SftpSettings, session
from connectors.sftpremote import Remote
from connectors.sftpsink import SftpSink
from connectors.sftpsource import SftpSource
from connectors.testing import TEXT, PartSinkContract, SourceContract, small_files


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd.serving(tmp_path_factory.mktemp("sshd")) as running:
        yield running


class TestSftpSource(SourceContract):
    name = "sftp"

    @pytest.fixture(autouse=True)
    def _server(self, server, place):
        self.server = server
        (place / "out").mkdir()

    def put(self, place, numbers, size=0):
        if numbers:
            with (place / "out" / "in.ndjson").open("ab") as file:
                for n in numbers:
                    file.write(orjson.dumps(self.payload(n, size)) + b"\n")

    def source(self, place, *, small=False):
        return SftpSource(SftpSource.Settings(**self.working_settings(place), item_bytes=100 if small else 32 << 20))

    def spoil(self, place):
        for file in (place / "out" / "in.ndjson", place / "spool" / "in.ndjson"):
            with file.open("r+b") as opened:
                opened.truncate(400)
        (place / "out" / "linked.ndjson").symlink_to(place / "nowhere")

    def working_settings(self, place):
        return self.server.settings(place / "out") | {"path": str(place / "spool")}

    def broken_settings(self, place):
        return self.working_settings(place) | {"url": self.server.url(place / "nowhere")}


class TestSftpSink(PartSinkContract):
    name = "sftp"

    @pytest.fixture(autouse=True)
    def _server(self, server, place):
        self.server = server

    def sink(self, place):
        return SftpSink(SftpSink.Settings(**self.working_settings(place)))

    def record(self, number, size=0):
        return orjson.dumps({"n": number, "text": TEXT, "filler": os.urandom(size // 2).hex()})

    def at(self, place, part):
        return place / "in" / part.final.rpartition("/")[2]

    def stands(self, place):
        staged = [str(one) for one in (place / "staging").rglob("*") if one.is_file()]
        base = self.sink(place)._final("")
        return staged + [base + one.name for one in (place / "in").glob("*") if one.is_file()]

    def content(self, place, part):
        return [orjson.loads(one)["n"] for one in self.at(place, part).read_bytes().splitlines()]

    def tamper(self, place, part):
        path = self.at(place, part)
        path.write_bytes(path.read_bytes().replace(b"filler", b"FILLER", 1))

    def remove(self, place, part):
        self.at(place, part).unlink()

    @contextmanager
    def no_room(self, place):
        with small_files(300_000):
            yield self.sink(place)

    @pytest.mark.parametrize("step", [1, 7, 899])
    def test_how_records_are_handed_in_does_not_matter(self, place, step):
        records = [self.record(n) for n in range(900)]
        one, two = self.sink(place).open("d", "b", "i"), self.sink(place).open("d", "b", "i")
        for at in range(0, 900, step):
            one.add(records[at : at + step])
        two.add(records)
        assert one.close().sha256 == two.close().sha256

    def working_settings(self, place):
        return self.server.settings(place / "in") | {"staging": str(place / "staging")}

    def broken_settings(self, place):
        (place / "file").write_text("")
        return self.working_settings(place) | {"url": self.server.url(place / "file" / "in")}


# -- the sink ----------------------------------------------------------------------------------------------------------


def sink_of(server, tmp_path, port=0, **more):
    given = server.settings(tmp_path / "in", port) | {"staging": tmp_path / "staging"} | more
    return SftpSink(SftpSink.Settings(**given))


def part_of(sink, count=10, size=0, batch="b1"):
    writer = sink.open("d", batch, "i1")
    writer.add([orjson.dumps({"n": n, "filler": os.urandom(size // 2).hex()}) for n in range(count)])
    return writer.close()


def names(folder):
    return sorted(one.name for one in folder.iterdir()) if folder.exists() else []


def test_a_connection_cut_in_mid_upload_leaves_nothing_visible_and_heals(server, tmp_path):
    proxy = Proxy(server.port)
    sink = sink_of(server, tmp_path, proxy.port, call_seconds=5, owner="me")
    part = part_of(sink, 200, size=40_000)
    plain, sent = Remote.send, []

    def cutting(self, source, path, seen):
        def watched(data):
            seen(data)
            sent.append(len(data))
            if len(sent) == 60:
                proxy.cut()

        return plain(self, source, path, watched)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Remote, "send", cutting)
        with pytest.raises(Unavailable) as caught:
            sink.promote([part])
    assert caught.value.remedy
    assert 60 <= len(sent) < 240
    assert [one for one in names(tmp_path / "in") if not one.startswith(".")] == []
    assert len(names(tmp_path / "in")) == 1
    sink.promote([part])
    assert sink.verify("b1").count == 200
    assert sink.sweep([]) == 1
    assert len(names(tmp_path / "in")) == 1
    proxy.close()


def test_a_crash_between_naming_and_clearing_is_made_good(server, tmp_path):
    sink = sink_of(server, tmp_path)
    part = part_of(sink)
    kept = Path(part.temporary).read_bytes()
    sink.promote([part])
    Path(part.temporary).write_bytes(kept)
    sink.promote([part])
    assert not Path(part.temporary).exists()
    assert sink.verify("b1").count == 10


def test_what_stands_under_the_final_name_is_never_replaced(server, tmp_path, monkeypatch):
    sink = sink_of(server, tmp_path)
    part = part_of(sink)
    (tmp_path / "in").mkdir()
    final = tmp_path / "in" / part.final.rpartition("/")[2]
    final.write_text("another's")
    with pytest.raises(Misconfigured, match="something else"):
        sink.promote([part])
    final.unlink()
    # It comes while the part is on its way: after the look, before the name.
    plain = Remote.name

    def racing(self, old, new):
        final.write_text("another's")
        plain(self, old, new)

    monkeypatch.setattr(Remote, "name", racing)
    with pytest.raises(Misconfigured, match="something else"):
        sink.promote([part])
    assert final.read_text() == "another's"
    assert names(tmp_path / "in") == [final.name]
    assert Path(part.temporary).exists()


def test_a_staged_file_that_was_changed_is_not_given_away(server, tmp_path):
    sink = sink_of(server, tmp_path)
    part = part_of(sink)
    Path(part.temporary).write_text("{}\n")
    with pytest.raises(Misconfigured, match="changed"):
        sink.promote([part])
    assert names(tmp_path / "in") == []


def test_a_server_without_room_is_unavailable_and_keeps_nothing(tmp_path):
    with sshd.serving(tmp_path / "sshd", file_bytes=100_000) as small:
        sink = sink_of(small, tmp_path)
        part = part_of(sink, 50, size=5_000)
        with pytest.raises(Unavailable) as caught:
            sink.promote([part])
        assert "磁盘" in caught.value.remedy
        assert names(tmp_path / "in") == []
        assert Path(part.temporary).exists()


def test_another_owners_leftovers_are_not_swept(server, tmp_path):
    (tmp_path / "in").mkdir()
    for owner in ("me", "you"):
        (tmp_path / "in" / f".{owner}@{'0' * 16}-{'0' * 12}.part").write_text("")
    (tmp_path / "in" / ".me@notes.part").write_text("")
    assert sink_of(server, tmp_path, owner="me").sweep([]) == 1
    assert names(tmp_path / "in") == [".me@notes.part", f".you@{'0' * 16}-{'0' * 12}.part"]


def test_sweeping_goes_on_without_the_server(server, tmp_path):
    sink = sink_of(server, tmp_path, 1)
    part_of(sink)
    assert sink.sweep([]) == 1


# -- the line ----------------------------------------------------------------------------------------------------------


def test_an_unknown_host_is_never_talked_to(server, tmp_path):
    (tmp_path / "known").write_text("")
    sink = sink_of(server, tmp_path, known_hosts=tmp_path / "known")
    with pytest.raises(Misconfigured) as caught:
        sink.check()
    assert "SHA256:" in caught.value.message
    assert caught.value.remedy


def test_a_changed_host_key_is_never_talked_to(server, tmp_path):
    other = sshd.write_key(tmp_path / "other")
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other}\n")
    with pytest.raises(Misconfigured, match="changed"):
        sink_of(server, tmp_path, known_hosts=tmp_path / "known").check()


def test_a_fingerprint_stands_for_a_file(server, tmp_path):
    (tmp_path / "known").write_text("")
    with pytest.raises(Misconfigured) as caught:
        sink_of(server, tmp_path, known_hosts=tmp_path / "known").check()
    shown = next(one for one in caught.value.message.split() if one.startswith("SHA256:"))
    assert sink_of(server, tmp_path, known_hosts=None, fingerprint=shown).check()
    wrong = "SHA256:" + "A" * 43
    with pytest.raises(Misconfigured, match="another key"):
        sink_of(server, tmp_path, known_hosts=None, fingerprint=wrong).check()


def test_refused_logins_are_a_persons_affair_and_show_no_secret(server, tmp_path):
    sshd.write_key(tmp_path / "stranger")
    for more in ({"key": f"file:{tmp_path / 'stranger'}"}, {"key": None, "password": "s3cret-word"}):
        with pytest.raises(Misconfigured, match="AUTH_FAILED") as caught:
            sink_of(server, tmp_path, **more).check()
        assert "s3cret-word" not in str(caught.value)
    assert "s3cret-word" not in repr(sink_of(server, tmp_path, **more).settings)


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_keys_of_every_kind_and_with_a_passphrase(server, tmp_path, kind, monkeypatch):
    public = sshd.write_key(tmp_path / "mine", kind, phrase="s3cret")
    with (server.folder / "authorized").open("a") as file:
        file.write(public + "\n")
    monkeypatch.setenv("MY_PHRASE", "s3cret")
    mine = {"key": f"file:{tmp_path / 'mine'}"}
    assert sink_of(server, tmp_path, **mine | {"passphrase": "env:MY_PHRASE"}).check()
    for more in ({}, {"passphrase": "wrong"}):
        with pytest.raises(Misconfigured, match="passphrase"):
            sink_of(server, tmp_path, **mine | more).check()


def test_a_server_that_is_not_there_is_unavailable(server, tmp_path):
    with pytest.raises(Unavailable) as caught:
        sink_of(server, tmp_path, 1).check()
    assert caught.value.remedy


def test_a_server_that_says_nothing_is_unavailable(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unavailable):
            sink_of(server, tmp_path, port, connect_seconds=0.3).check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"known_hosts": None},
        {"fingerprint": "SHA256:" + "A" * 43},
        {"fingerprint": "md5"},
        {"key": None},
        {"url": "sftp://me:s3cret@host/in"},
        {"url": "ftp://me@host/in"},
        {"url": "sftp://host/in"},
    ],
)
def test_settings_that_cannot_work_are_refused(server, tmp_path, wrong):
    given = server.settings(tmp_path / "in") | {"staging": str(tmp_path)} | wrong
    with pytest.raises(Misconfigured) as caught:
        registry.sink("sftp", given)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 32_768, 32_769, 3_000_000])
def test_files_of_any_size_go_there_and_back(server, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "there").mkdir()
    (tmp_path / "data").write_bytes(data)
    settings = SftpSettings(**server.settings(tmp_path / "there"))
    with session(settings) as remote, (tmp_path / "data").open("rb") as file:
        assert remote.send(file, remote.path("x"), lambda piece: None) == size
        assert b"".join(remote.read(remote.path("x"))) == data
    assert (tmp_path / "there" / "x").read_bytes() == data


# -- the source --------------------------------------------------------------------------------------------------------


def source_of(server, tmp_path, port=0, clock=None, **more):
    (tmp_path / "out").mkdir(exist_ok=True)
    given = server.settings(tmp_path / "out", port) | {"path": tmp_path / "spool"} | more
    settings = SftpSource.Settings(**given)
    return SftpSource(settings, clock=clock) if clock else SftpSource(settings)


def drop(tmp_path, name, *numbers):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps({"n": n}) + b"\n" for n in numbers))
    return path


def read(source, done=None):
    found = [one for item in source.plan(done or {}) for one in source.read(item)]
    return [orjson.loads(body)["n"] for one in found for body in one.bodies]


def test_folders_layout_and_names_come_as_for_local_ones(server, tmp_path):
    drop(tmp_path, "hub/110105000001/a.ndjson", 1)
    drop(tmp_path, "hub/330103000001/b.ndjson", 2)
    drop(tmp_path, "hub/330103000001/b.txt", 3)
    source = source_of(server, tmp_path, layout="{system}/{company}/*", include=("*.ndjson",))
    items = list(source.plan({}))
    assert [(one.source, one.system, one.company) for one in items] == [
        ("hub/110105000001/a.ndjson", "hub", "110105000001"),
        ("hub/330103000001/b.ndjson", "hub", "330103000001"),
    ]


def test_csv_zip_and_json_are_read_as_from_a_folder(server, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.json").write_text('[{"n": 1}, {"n": 2}]')
    (tmp_path / "out" / "b.csv").write_text("n\n3\n")
    with zipfile.ZipFile(tmp_path / "out" / "c.zip", "w") as packed:
        packed.writestr("d.ndjson", '{"n": 4}\n')
    source = source_of(server, tmp_path)
    bodies = [body for item in source.plan({}) for one in source.read(item) for body in one.bodies]
    assert bodies == [b'{"n": 1}', b'{"n": 2}', b"n\n3\n", b'{"n": 4}']


def test_a_gbk_name_comes_through(server, tmp_path):
    (tmp_path / "out").mkdir()
    raw = os.fsencode(tmp_path / "out") + b"/" + "维修.ndjson".encode("gbk")
    with open(raw, "wb") as file:  # noqa: PTH123 - a path that is bytes
        file.write(b'{"n": 1}\n')
    source = source_of(server, tmp_path, finished="archive")
    items = list(source.plan({}))
    assert items[0].source.startswith("//%")
    assert read(source) == [1]
    source.finish([items[0].source])
    assert [os.fsencode(one.name) for one in (tmp_path / "out" / ".archive").iterdir()] == ["维修.ndjson".encode("gbk")]


def test_unfinished_files_wait(server, tmp_path):
    for name in ("a.part", "b.tmp", ".c", "d.ndjson.writing"):
        drop(tmp_path, name, 1)
    assert read(source_of(server, tmp_path)) == []
    drop(tmp_path, "e.ndjson", 2)
    assert read(source_of(server, tmp_path)) == [2]


def test_a_marker_completes_a_file(server, tmp_path):
    drop(tmp_path, "a.ndjson", 1)
    source = source_of(server, tmp_path, complete="marker", finished="archive")
    assert read(source) == []
    (tmp_path / "out" / "a.ndjson.done").write_text("")
    assert read(source) == [1]
    source.finish(["a.ndjson"])
    assert names(tmp_path / "out") == [".archive"]


def test_a_file_is_stable_when_two_looks_agree(server, tmp_path):
    now = [1000.0]
    path = drop(tmp_path, "a.ndjson", 1)
    make = {"complete": "stable", "stable_seconds": 60, "clock": lambda: now[0]}
    assert read(source_of(server, tmp_path, **make)) == []
    now[0] += 59
    assert read(source_of(server, tmp_path, **make)) == []
    drop(tmp_path, "a.ndjson", 1, 2)
    now[0] += 59
    assert read(source_of(server, tmp_path, **make)) == []
    now[0] += 60
    assert read(source_of(server, tmp_path, **make)) == [1, 2]
    assert path.exists()


@pytest.mark.parametrize("finished", ["keep", "mark", "archive"])
def test_what_is_finished_leaves_the_spool_and_is_not_planned_again(server, tmp_path, finished):
    drop(tmp_path, "x/a.ndjson", 1)
    source = source_of(server, tmp_path, finished=finished)
    done = {item.source: item.extra["mark"] for item in source.plan({})}
    source_of(server, tmp_path, finished=finished).finish(done)
    assert list((tmp_path / "spool").rglob("*.ndjson")) == []
    left = {
        "keep": ["x/a.ndjson"],
        "mark": ["x/a.ndjson", "x/a.ndjson.read"],
        "archive": [".archive/x/a.ndjson"],
    }[finished]
    found = sorted(str(one.relative_to(tmp_path / "out")) for one in (tmp_path / "out").rglob("*") if one.is_file())
    assert found == left
    assert read(source_of(server, tmp_path, finished=finished), done) == []
    assert list((tmp_path / "spool").rglob("*.ndjson")) == []
    if finished != "keep":
        assert read(source_of(server, tmp_path, finished=finished)) == []


def test_a_file_that_changed_since_is_not_archived(server, tmp_path):
    drop(tmp_path, "a.ndjson", 1)
    source = source_of(server, tmp_path, finished="archive")
    done = {item.source: item.extra["mark"] for item in source.plan({})}
    drop(tmp_path, "a.ndjson", 1, 2)
    source.finish(done)
    assert names(tmp_path / "out") == ["a.ndjson"]
    assert read(source, done) == [1, 2]


def test_an_archived_name_that_is_taken_gets_another(server, tmp_path):
    for n in (1, 2):
        drop(tmp_path, "a.ndjson", n)
        source = source_of(server, tmp_path, finished="archive")
        assert read(source) == [n]
        source.finish(["a.ndjson"])
    assert len(names(tmp_path / "out" / ".archive")) == 2
    assert {one.read_bytes() for one in (tmp_path / "out" / ".archive").iterdir()} == {b'{"n":1}\n', b'{"n":2}\n'}


def test_archiving_asks_for_no_extension_and_goes_over_what_is_archived(server, tmp_path, monkeypatch):
    def unsupported(*_):
        message = "Operation unsupported"
        raise OSError(message)

    monkeypatch.setattr("paramiko.SFTPClient.posix_rename", unsupported)
    for n in (1, 2, 2):
        drop(tmp_path, "a.ndjson", n)
        source = source_of(server, tmp_path, finished="archive")
        assert read(source) == [n]
        source.finish(["a.ndjson"])
    assert names(tmp_path / "out") == [".archive"]
    assert len(names(tmp_path / "out" / ".archive")) == 2


@pytest.mark.parametrize("path", ["/~", "/~/", "/~/in", "/~/in/"])
def test_a_folder_of_the_users_own_is_watched_and_its_archive_is_not(server, tmp_path, path):
    folder = server.home / path.removeprefix("/~").strip("/")
    folder.mkdir(exist_ok=True)
    (folder / "a.ndjson").write_bytes(b'{"n":1}\n')
    url = server.url(Path("/")).rstrip("/") + path
    archive = {"/~/in": "in/done", "/~/in/": "in/done"}.get(path, "done")
    source = source_of(server, tmp_path, url=url, finished="archive", archive=archive)
    assert read(source) == [1]
    source.finish(["a.ndjson"])
    assert read(source) == []
    assert names(folder) == ["done"]
    shutil.rmtree(folder / "done")
    if folder != server.home:
        folder.rmdir()


def test_a_file_missing_in_the_spool_is_fetched_again(server, tmp_path):
    drop(tmp_path, "a.ndjson", 1)
    source = source_of(server, tmp_path)
    items = list(source.plan({}))
    (tmp_path / "spool" / "a.ndjson").unlink()
    assert [body for one in source_of(server, tmp_path).read(items[0]) for body in one.bodies] == [b'{"n":1}']
    (tmp_path / "spool" / "a.ndjson").unlink()
    drop(tmp_path, "a.ndjson", 1, 2)
    with pytest.raises(Unreadable) as caught:
        list(source_of(server, tmp_path).read(items[0]))
    assert caught.value.remedy


def test_the_spool_is_bounded(server, tmp_path):
    for n in range(5):
        drop(tmp_path, f"{n}.ndjson", n)
    source = source_of(server, tmp_path, spool_bytes=20, finished="archive")
    seen = []
    while items := list(source.plan({})):
        assert len(items) <= 2
        seen += [orjson.loads(body)["n"] for item in items for one in source.read(item) for body in one.bodies]
        source.finish([item.source for item in items])
    assert seen == [0, 1, 2, 3, 4]


def test_a_spool_without_room_is_unavailable_and_heals(server, tmp_path):
    drop(tmp_path, "a.ndjson", *range(10_000))
    source = source_of(server, tmp_path)
    with small_files(50_000), pytest.raises(Unavailable):
        list(source.plan({}))
    assert [one for one in (tmp_path / "spool").rglob("*") if one.is_file()] == []
    assert read(source) == list(range(10_000))


def test_a_connection_cut_in_mid_download_heals(server, tmp_path, monkeypatch):
    proxy = Proxy(server.port)
    drop(tmp_path, "a.ndjson", *range(200_000))
    plain = Remote.read

    def cutting(self, path):
        for number, piece in enumerate(plain(self, path)):
            if number == 3:
                proxy.cut()
            yield piece

    source = source_of(server, tmp_path, proxy.port, call_seconds=5)
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "read", cutting)
        with pytest.raises(Unavailable):
            list(source.plan({}))
    assert [one for one in (tmp_path / "spool").rglob("*") if one.is_file()] == []
    assert len(read(source)) == 200_000
    proxy.close()


def test_a_file_that_grows_while_it_is_fetched_waits(server, tmp_path, monkeypatch):
    path = drop(tmp_path, "a.ndjson", 1)
    plain = Remote.read

    def growing(self, name):
        yield from plain(self, name)
        with path.open("ab") as file:
            file.write(b'{"n":2}\n')

    source = source_of(server, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "read", growing)
        assert read(source) == []
    assert read(source) == [1, 2]


def test_a_file_that_shrinks_while_it_is_fetched_waits(server, tmp_path, monkeypatch):
    path = drop(tmp_path, "a.ndjson", *range(20_000))

    def reading(self, name):
        for number, piece in enumerate(whole(self, name)):
            if number == 0:
                with path.open("r+b") as file:
                    file.truncate(path.read_bytes()[:40_000].rindex(b"\n") + 1)
            yield piece

    whole = Remote.read
    source = source_of(server, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("connectors.sftpremote._UNDER_WAY", 1)
        patch.setattr(Remote, "read", reading)
        assert read(source) == []
    assert len(read(source)) > 1000


def test_what_is_no_file_is_a_problem_with_its_name(server, tmp_path):
    drop(tmp_path, "good.ndjson", 1)
    os.mkfifo(tmp_path / "out" / "pipe.ndjson")
    (tmp_path / "out" / "link.ndjson").symlink_to(tmp_path / "nowhere")
    (tmp_path / "out" / "folder").symlink_to(tmp_path)
    source = source_of(server, tmp_path)
    items = list(source.plan({}))
    problems = {item.source: p[2] for item in items for one in source.read(item) for p in one.problems}
    assert set(problems) == {"pipe.ndjson", "link.ndjson"}
    done = {item.source: source.mark(item.source) for item in items}
    assert list(source_of(server, tmp_path).plan(done)) == []
    source.finish(done)


def test_a_folder_that_is_not_there_is_a_persons_affair(server, tmp_path):
    source = source_of(server, tmp_path)
    (tmp_path / "out").rmdir()
    with pytest.raises(Misconfigured, match="no such path"):
        list(source.plan({}))
